package serve

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"strconv"
)

// welcome is what the TCP echo server says first.
const welcome = "Gateway API Test TCP Server\n"

// echoedLines is what the TCP echo server answers to TEST.
type echoedLines struct {
	Namespace string         `json:"namespace"`
	Ingress   string         `json:"ingress"`
	Service   string         `json:"service"`
	Pod       string         `json:"pod"`
	TCPPort   string         `json:"tcpport"`
	TLSPort   string         `json:"tlsport"`
	IsTLS     bool           `json:"isTLS"`
	TLS       *echoedLineTLS `json:"tls,omitempty"`
}

type echoedLineTLS struct {
	Version            string `json:"version"`
	ServerName         string `json:"serverName"`
	NegotiatedProtocol string `json:"negotiatedProtocol,omitempty"`
	Curves             string `json:"curves,omitempty"`
	CipherSuite        string `json:"cipherSuite"`
}

// echoLines talks in lines: it answers TEST with what it knows of the connection, IS_TLS and PING; it ends with the client.
func (w *What) echoLines(c net.Conn, secure *tls.Config) {
	defer func() { c.Close() }()
	told := echoedLines{Namespace: w.Namespace, Ingress: w.Env["INGRESS_NAME"], Service: w.Env["SERVICE_NAME"], Pod: w.Name, IsTLS: secure != nil,
		TCPPort: strconv.Itoa(int(portIn(w.Env, envTCPPort, defaultHTTP))), TLSPort: strconv.Itoa(int(portIn(w.Env, envTLSPort, defaultSecure)))}
	if secure != nil {
		t := tls.Server(c, secure)
		c = t
		if err := t.Handshake(); err != nil {
			w.log("TLS handshake failed: " + err.Error())
			return
		}
		state := t.ConnectionState()
		told.TLS = &echoedLineTLS{Version: tls.VersionName(state.Version), ServerName: state.ServerName, NegotiatedProtocol: state.NegotiatedProtocol,
			Curves: state.CurveID.String(), CipherSuite: tls.CipherSuiteName(state.CipherSuite)}
	}
	test, err := json.Marshal(told)
	if err != nil {
		return
	}
	answers := map[string]string{"TEST": string(test) + "\n", "IS_TLS": strconv.FormatBool(secure != nil) + "\n", "PING": "PONG\n"}
	if _, err := io.WriteString(c, welcome); err != nil {
		return
	}
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if _, err := io.WriteString(c, answers[lines.Text()]); err != nil {
			return
		}
	}
}
