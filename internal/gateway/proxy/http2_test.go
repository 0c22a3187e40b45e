package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// h2c is a client that speaks HTTP/2 in clear text from the beginning.
func h2c(t testing.TB) *http.Client {
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

// h2cServer is a backend that speaks HTTP/2 in clear text.
func h2cServer(t testing.TB, handler http.Handler) net.Addr {
	s := httptest.NewUnstartedServer(handler)
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	s.Config.Protocols = p
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr()
}

// speak makes the first backend speak another protocol at that address.
func (h *house) speak(speech config.Speech, a net.Addr, t *config.BackendTLS) {
	b := h.backend("spoken", speech)
	b.TLS = t
	h.SetEndpoints(b.Key, []config.Endpoint{endpointOf(a, "r")})
	h.change(func(r *config.Rule) { r.Backends = []config.Share{{Backend: b, Weight: 1}} })
}

func TestHTTP2InClearTextReachesBackendsInBothProtocols(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says("one"))
	c := h2c(t)
	resp, body := get(t, c, h.url("/a%2Fb?x=1"), "X-Kept", "yes")
	if resp.ProtoMajor != 2 || body != "one" || resp.Header.Get("Seen-Uri") != "/a%2Fb?x=1" || resp.Header.Get("Seen-X-Kept") != "yes" {
		t.Errorf("answered %s %q %v", resp.Proto, body, resp.Header)
	}
	h.speak(config.SpeakH2C, h2cServer(t, says("two")), nil)
	for _, path := range []string{"/a%2Fb?x=1", "//a", "/"} {
		resp, body = get(t, c, h.url(path))
		if body != "two" || resp.Header.Get("Seen-Uri") != path {
			t.Errorf("%s: answered %d %q %v", path, resp.StatusCode, body, resp.Header)
		}
	}
	resp, body = ask(t, newClient(t), "POST", h.url("/x"), struct{ io.Reader }{io.LimitReader(zeros{}, 100_000)})
	if body != "two" || resp.Header.Get("Seen-Method") != "POST" {
		t.Errorf("from HTTP/1.1: answered %d %q", resp.StatusCode, body)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestStreamsWithTrailersPassAsTheyCome(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says(""))
	h.speak(config.SpeakH2C, h2cServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		_ = http.NewResponseController(w).Flush()
		b := make([]byte, 1)
		for {
			if _, err := io.ReadFull(r.Body, b); err != nil {
				break
			}
			_, _ = w.Write([]byte{b[0] + 1})
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set("Grpc-Status", "9")
	})), nil)
	h.change(func(r *config.Rule) { r.GRPC = true })
	in, out := io.Pipe()
	r, _ := http.NewRequest("POST", h.url("/shop.Cart/Watch"), in)
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	resp, err := h2c(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b := make([]byte, 1)
	for i := range byte(5) {
		_, _ = out.Write([]byte{i})
		if _, err := io.ReadFull(resp.Body, b); err != nil || b[0] != i+1 {
			t.Fatalf("sent %d, got %d (%v)", i, b[0], err)
		}
	}
	_ = out.Close()
	_, _ = io.ReadAll(resp.Body)
	if got := resp.Trailer.Get("Grpc-Status"); got != "9" {
		t.Errorf("the status is %q", got)
	}
	h.seen.wait(t, func(r Record) bool { return r.GRPC == 9 })
}

func TestFailuresOfTheGatewayAreStatusesToGRPC(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says(""))
	h.change(func(r *config.Rule) { r.GRPC = true })
	h.SetEndpoints(h.config.Backends[0].Key, nil)
	resp, _ := ask(t, h2c(t), "POST", h.url("/shop.Cart/Get"), nil, "Content-Type", "application/grpc")
	if resp.StatusCode != 200 || resp.Header.Get("Grpc-Status") != "14" || resp.Header.Get("Content-Type") != "application/grpc" {
		t.Errorf("answered %d %v", resp.StatusCode, resp.Header)
	}
}

func TestRequestsThatTheClientGivesUpAreGivenUpAtTheBackend(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	h := newHouse(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(ended)
	}))
	ctx, cancel := context.WithCancel(context.Background())
	r, _ := http.NewRequestWithContext(ctx, "GET", h.url("/"), nil)
	resp, err := h2c(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	resp.Body.Close()
	<-ended
}

// authority signs certificates.
type authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
	n    int64
}

func newAuthority(t testing.TB) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, key: key, n: 1}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// sign returns a certificate for the names, and it and its key in PEM.
func (a *authority) sign(names ...string) (tls.Certificate, []byte, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.n++
	template := &x509.Certificate{SerialNumber: big.NewInt(a.n), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, _ := x509.MarshalPKCS8PrivateKey(key)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		a.t.Fatal(err)
	}
	return pair, certPEM, keyPEM
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// secure makes the socket one of HTTPS with a listener for each host name.
func (h *house) secure(listeners ...*config.Listener) {
	s := h.config.Sockets[0]
	s.Protocol, s.Listeners = config.HTTPS, nil
	for _, l := range listeners {
		l.Gateway = config.Name{Namespace: "shop", Name: "gw"}
		if l.Hosts == nil {
			l.Hosts = []*config.Host{{Matches: []config.Match{{Path: config.PathMatch{Kind: config.PathPrefix}, Rule: h.rule()}}}}
		}
		s.Listeners = append(s.Listeners, l)
	}
	h.config.Sockets = []config.Socket{s}
	h.publish()
}

// over returns a client that reaches the gateway whatever the host name.
func (h *house) over(t testing.TB, c *tls.Config, http2 bool) *http.Client {
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: http2, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, h.address())
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

func TestTLSIsEndedByTheMostSpecificListenerAndReloadedWithTheConfig(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	exact, _, _ := a.sign("a.example.com")
	wild, _, _ := a.sign("*.example.com")
	h := newHouse(t, Options{}, says("hello"))
	h.secure(&config.Listener{Hostname: "a.example.com", Certificates: []tls.Certificate{exact}},
		&config.Listener{Hostname: "*.example.com", Certificates: []tls.Certificate{wild}})
	for _, http2 := range []bool{true, false} {
		for host, want := range map[string]string{"a.example.com": "a.example.com", "b.example.com": "*.example.com"} {
			resp, body := get(t, h.over(t, &tls.Config{RootCAs: a.pool()}, http2), "https://"+host+"/")
			if got := resp.TLS.PeerCertificates[0].Subject.CommonName; got != want || body != "hello" || (resp.ProtoMajor == 2) != http2 {
				t.Errorf("%s: %s answered %q with the certificate of %s", host, resp.Proto, body, got)
			}
			if resp.Header.Get("Seen-X-Forwarded-Proto") != "https" {
				t.Errorf("the backend sees the scheme %q", resp.Header.Get("Seen-X-Forwarded-Proto"))
			}
		}
	}
	if _, err := h.over(t, &tls.Config{RootCAs: a.pool()}, true).Get("https://example.org/"); err == nil {
		t.Error("a host name of no listener is served")
	}
	// The host of another listener on this connection.
	c := h.over(t, &tls.Config{RootCAs: a.pool(), ServerName: "b.example.com"}, true)
	if resp, _ := get(t, c, "https://b.example.com/", "Host", "a.example.com"); resp.StatusCode != 421 {
		t.Errorf("a misdirected request is answered %d", resp.StatusCode)
	}
	next, _, _ := a.sign("a.example.com", "next")
	h.secure(&config.Listener{Hostname: "a.example.com", Certificates: []tls.Certificate{next}})
	resp, _ := get(t, h.over(t, &tls.Config{RootCAs: a.pool()}, true), "https://a.example.com/")
	if len(resp.TLS.PeerCertificates[0].DNSNames) != 2 {
		t.Error("the certificate before is still shown")
	}
}

func TestClientsAreValidatedWhereTheListenerAsksForIt(t *testing.T) {
	t.Parallel()
	a, other := newAuthority(t), newAuthority(t)
	server, _, _ := a.sign("a.example.com")
	good, _, _ := a.sign("client")
	evil, _, _ := other.sign("client")
	h := newHouse(t, Options{}, says("hello"))
	for _, insecure := range []bool{false, true} {
		h.secure(&config.Listener{Hostname: "a.example.com", Certificates: []tls.Certificate{server}, Clients: &config.ClientValidation{CAs: a.pem, Insecure: insecure}})
		for name, certificates := range map[string][]tls.Certificate{"good": {good}, "evil": {evil}, "none": nil} {
			c := &tls.Config{RootCAs: a.pool(), GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if certificates == nil {
					return &tls.Certificate{}, nil
				}
				return &certificates[0], nil
			}}
			resp, err := h.over(t, c, true).Get("https://a.example.com/")
			if err == nil {
				resp.Body.Close()
			}
			if served := err == nil; served != (name == "good" || insecure) {
				t.Errorf("insecure %v, certificate %s: served %v (%v)", insecure, name, served, err)
			}
		}
	}
}

func TestBackendsAreSpokenToInTLSAndMustShowWhoTheyAre(t *testing.T) {
	t.Parallel()
	a, other := newAuthority(t), newAuthority(t)
	server, _, _ := a.sign("web.shop.svc")
	_, clientPEM, keyPEM := a.sign("gateway")
	for _, http2 := range []bool{false, true} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.Proto+" "+r.TLS.ServerName+" "+r.TLS.PeerCertificates[0].Subject.CommonName)
		}))
		s.EnableHTTP2 = http2
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool()}
		s.StartTLS()
		t.Cleanup(s.Close)
		proto := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2]
		for name, c := range map[string]struct {
			tls  config.BackendTLS
			want string
		}{
			"name":          {config.BackendTLS{ServerName: "web.shop.svc", CAs: a.pem}, proto + " web.shop.svc gateway"},
			"other name":    {config.BackendTLS{ServerName: "other", CAs: a.pem, SANs: []string{"nobody", "web.shop.svc"}}, proto + " other gateway"},
			"wrong name":    {config.BackendTLS{ServerName: "other", CAs: a.pem}, ""},
			"wrong SAN":     {config.BackendTLS{ServerName: "web.shop.svc", CAs: a.pem, SANs: []string{"spiffe://a/b"}}, ""},
			"wrong root":    {config.BackendTLS{ServerName: "web.shop.svc", CAs: other.pem}, ""},
			"no root":       {config.BackendTLS{ServerName: "web.shop.svc", CAs: []byte("nonsense")}, ""},
			"system's root": {config.BackendTLS{ServerName: "web.shop.svc"}, ""},
		} {
			h := newHouse(t, Options{}, says(""))
			c.tls.Certificate, c.tls.Key = clientPEM, keyPEM
			h.speak(config.SpeakAuto, s.Listener.Addr(), &c.tls)
			client := newClient(t)
			for range 3 {
				resp, body := get(t, client, h.url("/"))
				if c.want == "" && resp.StatusCode != 502 || c.want != "" && body != c.want {
					t.Errorf("%s, HTTP/2 %v: answered %d %q", name, http2, resp.StatusCode, body)
				}
			}
		}
	}
}

func TestTLSPassesThroughByServerNameOrEndsHere(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	inner, _, _ := a.sign("through.example.com")
	outer, _, _ := a.sign("ends.example.com")
	s := httptest.NewUnstartedServer(says("through"))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{inner}}
	s.StartTLS()
	t.Cleanup(s.Close)
	plain := httptest.NewServer(says("ended"))
	t.Cleanup(plain.Close)
	h := newHouse(t, Options{}, says(""))
	through, ends := h.backend("through", config.SpeakBytes), h.backend("ends", config.SpeakBytes)
	h.SetEndpoints(through.Key, []config.Endpoint{endpointOf(s.Listener.Addr(), "r")})
	h.SetEndpoints(ends.Key, []config.Endpoint{endpointOf(plain.Listener.Addr(), "r")})
	h.config.Rules = []*config.Rule{{Index: 0, Key: config.RuleKey{Kind: "TLSRoute", Rule: "0"}, Backends: []config.Share{{Backend: through, Weight: 1}}},
		{Index: 1, Key: config.RuleKey{Kind: "TLSRoute", Rule: "1"}, Backends: []config.Share{{Backend: ends, Weight: 1}}}}
	h.config.Sockets = []config.Socket{{Address: loopback, Protocol: config.TLS, Listeners: []*config.Listener{{Certificates: []tls.Certificate{outer},
		Servers: []*config.Server{{Hostname: "through.example.com", Rule: h.config.Rules[0]}, {Hostname: "ends.example.com", Rule: h.config.Rules[1], Terminate: true}}}}}}
	h.publish()
	for host, want := range map[string]string{"through.example.com": "through", "ends.example.com": "ended"} {
		c := h.over(t, &tls.Config{RootCAs: a.pool()}, false)
		if resp, body := get(t, c, "https://"+host+"/"); body != want {
			t.Errorf("%s: answered %d %q", host, resp.StatusCode, body)
		}
		c.CloseIdleConnections()
	}
	if _, err := h.over(t, &tls.Config{RootCAs: a.pool()}, false).Get("https://nobody.example.com/"); err == nil {
		t.Error("a server name of no route is served")
	}
	h.seen.wait(t, func(r Record) bool { return r.Protocol == "TLS" && r.Host == "through.example.com" && r.Out > 0 })
}

func TestDrainingLetsStreamsOfHTTP2End(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	h := newHouse(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-leave
		_, _ = io.WriteString(w, "done")
	}))
	answered := make(chan string, 1)
	go func() {
		_, body := get(t, h2c(t), h.url("/"))
		answered <- body
	}()
	<-entered
	drained := make(chan error, 1)
	go func() { drained <- h.Drain(context.Background()) }()
	for h.Ready() {
		time.Sleep(time.Millisecond)
	}
	close(leave)
	if body := <-answered; body != "done" {
		t.Errorf("answered %q", body)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}
