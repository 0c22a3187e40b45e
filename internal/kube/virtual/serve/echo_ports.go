package serve

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"strconv"
)

// Variables of an echo server's environment, by the names that the image of the Gateway API's conformance tests reads.
const (
	envGRPC, envTCP, envUDP                = "GRPC_ECHO_SERVER", "TCP_ECHO_SERVER", "UDP_ECHO_SERVER"
	envHTTPPort, envH2CPort, envHTTPSPort  = "HTTP_PORT", "H2C_PORT", "HTTPS_PORT"
	envTCPPort, envTLSPort                 = "TCP_PORT", "TLS_PORT"
	envCertificate, envKey, envTCPKey      = "TLS_SERVER_CERT", "TLS_SERVER_PRIVKEY", "TLS_SERVER_PRIV_KEY"
	envClientCAs                           = "TLS_CLIENT_CACERTS"
	defaultHTTP, defaultH2C, defaultSecure = 3000, 3001, 8443
)

// Port is how a container's port takes connections.
type Port struct {
	// Handler answers HTTP requests. TLS, if not nil, is how it secures connections.
	Handler http.Handler
	TLS     *tls.Config
	// Raw takes the whole connection, in place of both.
	Raw func(net.Conn)
}

// EchoPorts are the TCP ports that an echo server with this environment listens on.
func EchoPorts(env map[string]string) []uint16 {
	secure := env[envCertificate] != ""
	var out []uint16
	switch {
	case env[envUDP] != "" && env[envGRPC] == "" && env[envTCP] == "":
	case env[envTCP] != "" && env[envGRPC] == "":
		out = append(out, portIn(env, envTCPPort, defaultHTTP))
		if secure && env[envTCPKey] != "" {
			out = append(out, portIn(env, envTLSPort, defaultSecure))
		}
	default:
		out = append(out, portIn(env, envHTTPPort, defaultHTTP))
		if env[envGRPC] == "" {
			out = append(out, portIn(env, envH2CPort, defaultH2C))
		}
		if secure && env[envKey] != "" {
			out = append(out, portIn(env, envHTTPSPort, defaultSecure))
		}
	}
	return out
}

func portIn(env map[string]string, name string, otherwise uint16) uint16 {
	if n, err := strconv.ParseUint(env[name], 10, 16); err == nil && n > 0 {
		return uint16(n)
	}
	return otherwise
}

// Port returns how a container's port serves.
func (s *Servers) Port(w What) Port {
	if !w.Echo {
		return Port{Handler: s.Handler(w)}
	}
	if w.Env[envTCP] != "" && w.Env[envGRPC] == "" {
		secure := w.secured(envTCPKey)
		if w.Port != portIn(w.Env, envTLSPort, defaultSecure) {
			secure = nil
		}
		return Port{Raw: func(c net.Conn) { w.echoLines(c, secure) }}
	}
	p := Port{Handler: s.Handler(w)}
	if w.Port == portIn(w.Env, envHTTPSPort, defaultSecure) {
		p.TLS = w.secured(envKey)
	}
	return p
}

// secured is the TLS that the environment asks for, by the files it names; nil without, or when they cannot be read, which
// the container's log then says.
func (w *What) secured(keyName string) *tls.Config {
	certFile, keyFile := w.Env[envCertificate], w.Env[keyName]
	if certFile == "" || keyFile == "" {
		return nil
	}
	cert, err := w.file(certFile)
	if err == nil {
		var key []byte
		if key, err = w.file(keyFile); err == nil {
			var pair tls.Certificate
			if pair, err = tls.X509KeyPair(cert, key); err == nil {
				config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
				if keyName == envKey {
					config.NextProtos = []string{"h2", "http/1.1"}
				}
				if err = w.trust(config); err == nil {
					return config
				}
			}
		}
	}
	w.log("TLS is not served by the files that are named: " + err.Error())
	return nil
}

// trust the authorities that are named: a certificate that a client shows is verified by them, but none is asked for.
func (w *What) trust(config *tls.Config) error {
	file := w.Env[envClientCAs]
	if file == "" {
		return nil
	}
	text, err := w.file(file)
	if err != nil {
		return err
	}
	config.ClientAuth, config.ClientCAs = tls.VerifyClientCertIfGiven, x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s has no certificate", file)
	}
	return nil
}

func (w *What) file(path string) ([]byte, error) {
	if w.File == nil {
		return nil, fmt.Errorf("%s: no files are known", path)
	}
	return w.File(path)
}

func (w *What) log(line string) {
	if w.Log != nil {
		w.Log(line)
	}
}
