package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// serverTLS is how a listener ends TLS. Keys of session tickets are those of the socket, for they outlive Configs.
func serverTLS(l *config.Listener, p config.Protocol, log *slog.Logger) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: l.Certificates}
	if p == config.HTTPS {
		c.NextProtos = []string{"h2", "http/1.1"}
	}
	v := l.Clients
	if v == nil {
		return c
	}
	// A session that began elsewhere must not stand in for a certificate here.
	c.SessionTicketsDisabled = true
	if v.Insecure {
		c.ClientAuth = tls.RequestClientCert
		return c
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(v.CAs) {
		// With an empty pool every client is refused, which is what a listener that trusts nobody must do.
		log.Warn("a listener has no certificate of an authority to validate clients by; it refuses all", "gateway", l.Gateway, "listener", l.Section)
	}
	return c
}

var errNoServer = errors.New("no listener has this server name")

// tlsConfig finds the listener of each connection by its server name.
func (s *socket) tlsConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		snapshot, place := s.pin()
		if place < 0 {
			return nil, errNoServer
		}
		l := snapshot.index.Listener(place, hello.ServerName)
		if l == nil {
			return nil, errNoServer
		}
		return snapshot.tls[l], nil
	}}
}

// serveTLS ends TLS and serves what is within.
func (s *socket) serveTLS(nc net.Conn, p *peer) {
	hc := &handedConn{Conn: nc, peer: p}
	t := tls.Server(hc, s.tls)
	if !s.handshake(t) {
		return
	}
	state := t.ConnectionState()
	p.tls, p.serverName = true, strings.ToLower(state.ServerName)
	if state.NegotiatedProtocol == "h2" {
		if !s.queue.hand(t) {
			_ = t.Close()
		}
		return
	}
	newConn(p, t).serve()
}

// handshake ends within headTimeout, and with the socket.
func (s *socket) handshake(t *tls.Conn) bool {
	guard := &plainCloser{t}
	if !s.add(guard) {
		_ = t.Close()
		return false
	}
	defer s.remove(guard)
	ctx, cancel := context.WithTimeout(s.g.ctx, headTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		s.g.log.Debug("a TLS handshake failed", "address", s.address, "client", t.RemoteAddr(), "error", err)
		_ = t.Close()
		return false
	}
	return true
}

// plainCloser is a connection that is closed only with its socket.
type plainCloser struct{ net.Conn }

func (plainCloser) closeIdle(int64) {}

// backendTLS is how the gateway speaks to a backend.
func backendTLS(b *config.Backend) (*tls.Config, error) {
	t := b.TLS
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, ClientSessionCache: tls.NewLRUClientSessionCache(64)}
	if t.CAs != nil {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(t.CAs) {
			return nil, fmt.Errorf("speak TLS to %s: its authorities are not certificates in PEM", b.Key.Name)
		}
	}
	if t.Certificate != nil {
		pair, err := tls.X509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("speak TLS to %s: the gateway's own certificate: %w", b.Key.Name, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if len(t.SANs) > 0 {
		// The name that is sent and the names that are trusted differ, so the chain is verified here.
		c.InsecureSkipVerify = true
		c.VerifyConnection = func(state tls.ConnectionState) error { return verifySANs(state, c.RootCAs, t.SANs) }
	}
	return c, nil
}

// verifySANs verifies the chain, and that the certificate has one of the names.
func verifySANs(state tls.ConnectionState, roots *x509.CertPool, sans []string) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the backend has shown no certificate")
	}
	leaf := state.PeerCertificates[0]
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: time.Now()}
	for _, c := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(options); err != nil {
		return err
	}
	for _, san := range sans {
		if !strings.Contains(san, "://") {
			if leaf.VerifyHostname(san) == nil {
				return nil
			}
			continue
		}
		for _, u := range leaf.URIs {
			if u.String() == san {
				return nil
			}
		}
	}
	return fmt.Errorf("the backend's certificate is for none of %s", strings.Join(sans, ", "))
}

// serveBytes passes a connection on by the server name in its TLS hello: as it is, or what is within.
func (s *socket) serveBytes(nc net.Conn, p *peer) {
	hello := &peekedConn{Conn: nc}
	_ = nc.SetReadDeadline(time.Now().Add(headTimeout))
	name, err := hello.serverName()
	_ = nc.SetReadDeadline(time.Time{})
	snapshot, place := s.pin()
	if err != nil || place < 0 {
		_ = nc.Close()
		return
	}
	l, server := snapshot.index.Server(place, name)
	if server == nil {
		_ = nc.Close()
		return
	}
	var in net.Conn = &handedConn{Conn: nc, peer: p, read: hello.read.Bytes()}
	if server.Terminate {
		t := tls.Server(in, snapshot.tls[l])
		if !s.handshake(t) {
			return
		}
		in = t
	}
	x := &exchange{g: s.g, peer: p, proto: "TLS", client: noClient{}, head: match.Head{Host: name}, draw: s.g.draws(),
		snapshot: snapshot, place: place, rule: server.Rule, state: snapshot.rules[server.Rule.Index]}
	x.passOn(in, l)
}

// peekedConn reads and remembers, and sends nothing.
type peekedConn struct {
	net.Conn
	read bytes.Buffer
	name string
}

// helloMax bounds what is read before the server name is known: a TLS record and its neighbours.
const helloMax = 64 << 10

var errPeeked = errors.New("the server name is known")

// serverName reads the hello of the client and answers nothing.
func (c *peekedConn) serverName() (string, error) {
	found := false
	err := tls.Server(c, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		c.name, found = strings.ToLower(h.ServerName), true
		return nil, errPeeked
	}}).Handshake()
	if found {
		return c.name, nil
	}
	return "", err
}

// Read implements net.Conn.
func (c *peekedConn) Read(p []byte) (int, error) {
	if c.read.Len() > helloMax {
		return 0, io.ErrShortBuffer
	}
	n, err := c.Conn.Read(p)
	c.read.Write(p[:n])
	return n, err
}

// Write implements net.Conn: the alert that follows is not for the client.
func (c *peekedConn) Write(p []byte) (int, error) { return len(p), nil }
