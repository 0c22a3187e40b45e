package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// loopback is the socket of the tests: any port of it.
var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// house is a gateway with the Config it serves.
type house struct {
	*Gateway
	t      testing.TB
	config *config.Config
	seen   *seen
}

// seen keeps the records.
type seen struct {
	mu      sync.Mutex
	records []Record
	changed chan struct{}
}

func (s *seen) Observe(r *Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, *r)
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *seen) all() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Record(nil), s.records...)
}

// wait until a record fits.
func (s *seen) wait(t testing.TB, fits func(Record) bool) Record {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		for _, r := range s.all() {
			if fits(r) {
				return r
			}
		}
		select {
		case <-s.changed:
		case <-deadline:
			t.Fatalf("no such record among %+v", s.all())
		}
	}
}

// newHouse starts a gateway that serves one rule for everything, with a backend for each handler.
func newHouse(t testing.TB, o Options, backends ...http.Handler) *house {
	t.Helper()
	h := &house{t: t, seen: &seen{changed: make(chan struct{}, 1)}}
	o.Observe, o.Log, o.Seed = h.seen, slog.New(slog.DiscardHandler), 1
	h.Gateway = New(o)
	t.Cleanup(h.Close)
	rule := &config.Rule{Key: config.RuleKey{Kind: "HTTPRoute", Name: config.Name{Namespace: "shop", Name: "web"}, Rule: "0"}}
	h.config = &config.Config{Version: 1, Rules: []*config.Rule{rule}, Sockets: []config.Socket{{Address: loopback, Listeners: []*config.Listener{
		{Gateway: config.Name{Namespace: "shop", Name: "gw"}, Section: "http", Hosts: []*config.Host{{Matches: []config.Match{
			{Path: config.PathMatch{Kind: config.PathPrefix}, Rule: rule}}}}}}}}}
	for i, handler := range backends {
		b := h.backend(fmt.Sprintf("b%d", i), config.SpeakHTTP1)
		rule.Backends = append(rule.Backends, config.Share{Backend: b, Weight: 1, Service: b.Key.Name.Name})
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		h.SetEndpoints(b.Key, []config.Endpoint{endpointOf(server.Listener.Addr(), b.Key.Name.Name)})
	}
	h.publish()
	return h
}

func (h *house) rule() *config.Rule { return h.config.Rules[0] }

func (h *house) backend(name string, speech config.Speech) *config.Backend {
	b := &config.Backend{Index: len(h.config.Backends), Key: config.BackendKey{Name: config.Name{Namespace: "shop", Name: name}, Port: 80,
		Dress: strconv.Itoa(int(speech))}, Speech: speech, Policy: config.Defaults()}
	h.config.Backends = append(h.config.Backends, b)
	return b
}

func endpointOf(a net.Addr, revision string) config.Endpoint {
	ap := netip.MustParseAddrPort(a.String())
	return config.Endpoint{Address: ap.Addr().String(), Port: int32(ap.Port()), UID: "uid-" + a.String(), Pod: "pod-" + revision, Revision: revision}
}

// publish puts the Config in force as it is now: rules, hosts and listeners are copied, for those published do not change.
func (h *house) publish() {
	h.t.Helper()
	h.config.Version++
	c := *h.config
	if problems := h.Publish(&c, match.NewIndex(&c)); len(problems) > 0 {
		h.t.Fatal(problems[0])
	}
}

// change publishes a Config whose only rule is changed so.
func (h *house) change(f func(*config.Rule)) {
	h.t.Helper()
	rule := *h.rule()
	f(&rule)
	h.config.Rules = []*config.Rule{&rule}
	s := h.config.Sockets[0]
	l := *s.Listeners[0]
	l.Hosts = []*config.Host{{Matches: []config.Match{{Path: config.PathMatch{Kind: config.PathPrefix}, Rule: &rule}}}}
	s.Listeners = []*config.Listener{&l}
	h.config.Sockets = []config.Socket{s}
	h.publish()
}

func (h *house) address() string { return h.Address(loopback).String() }

func (h *house) url(path string) string { return "http://" + h.address() + path }

// newClient returns a client with connections of its own.
func newClient(t testing.TB) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// get asks once, and returns the answer with its body.
func get(t testing.TB, c *http.Client, url string, headers ...string) (*http.Response, string) {
	t.Helper()
	return ask(t, c, http.MethodGet, url, nil, headers...)
}

func ask(t testing.TB, c *http.Client, method, url string, body io.Reader, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		} else {
			r.Header.Add(headers[i], headers[i+1])
		}
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(b)
}

// raw is a client that sends what it likes.
type raw struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func dialRaw(t testing.TB, address string) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	return &raw{t, nc, bufio.NewReader(nc)}
}

func (r *raw) send(text string) {
	r.t.Helper()
	if _, err := io.WriteString(r, text); err != nil {
		r.t.Fatal(err)
	}
}

// answer reads a response with its body.
func (r *raw) answer(method string) (*http.Response, string) {
	r.t.Helper()
	resp, err := http.ReadResponse(r.r, &http.Request{Method: method})
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(b)
}

// closed reports whether nothing more comes.
func (r *raw) closed() bool {
	_, err := r.r.ReadByte()
	return err != nil
}

// says answers with a text, and tells what it was asked in headers.
func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Seen-Host", r.Host)
		w.Header().Set("Seen-Uri", r.RequestURI)
		w.Header().Set("Seen-Method", r.Method)
		for name, values := range r.Header {
			for _, v := range values {
				w.Header().Add("Seen-"+name, v)
			}
		}
		_, _ = io.WriteString(w, text)
	})
}

// scripted is a backend that answers each connection with what the function writes.
func scripted(t testing.TB, f func(net.Conn, *bufio.Reader)) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { nc.Close() })
			wg.Go(func() {
				defer stop()
				defer nc.Close()
				f(nc, bufio.NewReader(nc))
			})
		}
	})
	return l.Addr()
}

var loopbackTwo = netip.MustParseAddrPort("127.0.0.2:0")

func addressOf(a net.Addr) netip.AddrPort { return netip.MustParseAddrPort(a.String()) }

func indexOf(c *config.Config) *match.Index { return match.NewIndex(c) }
