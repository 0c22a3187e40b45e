package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	health "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// patient is a backend of three endpoints, of which the last can be made ill.
type patient struct {
	addresses []net.Addr
	ill       func(bool)
}

// often is a policy whose probes show what they find soon.
func often(change ...func(*config.Health)) *config.Health {
	h := config.DefaultHealth()
	h.Path, h.Interval, h.Timeout = "/healthz?deep=1", 20*time.Millisecond, time.Minute
	for _, c := range change {
		c(&h)
	}
	return &h
}

// webPatient serves HTTP; an ill one answers its probes with 500, and all else as before.
func webPatient(start func(*httptest.Server)) func(*testing.T) patient {
	return func(t *testing.T) patient {
		var p patient
		var ill atomic.Bool
		p.ill = ill.Store
		for i := range 3 {
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/healthz" && (r.URL.RawQuery != "deep=1" || i == 2 && ill.Load()):
					w.WriteHeader(http.StatusInternalServerError)
				case r.URL.Path == "/healthz":
					w.WriteHeader(http.StatusFound) // is within 200-399, and not followed
				default:
					fmt.Fprint(w, i)
				}
			}))
			start(s)
			t.Cleanup(s.Close)
			p.addresses = append(p.addresses, s.Listener.Addr())
		}
		return p
	}
}

func grpcPatient(t *testing.T) patient {
	var p patient
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s, h := grpc.NewServer(), grpchealth.NewServer()
		h.SetServingStatus("shop", health.HealthCheckResponse_SERVING)
		health.RegisterHealthServer(s, h)
		go s.Serve(l)
		t.Cleanup(s.Stop)
		p.addresses = append(p.addresses, l.Addr())
		if i == 2 {
			p.ill = func(ill bool) {
				status := health.HealthCheckResponse_SERVING
				if ill {
					status = health.HealthCheckResponse_NOT_SERVING
				}
				h.SetServingStatus("shop", status)
			}
		}
	}
	return p
}

// unhealthy waits until exactly those endpoints (by place) are, and returns what was found of the last of them.
func (h *house) unhealthy(t *testing.T, want ...int) (why string) {
	t.Helper()
	var got []int
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		got, why = nil, ""
		states := h.State().Backends
		for _, e := range states[len(states)-1].Endpoints {
			if e.Unhealthy != "" {
				got, why = append(got, int(e.Revision[0]-'0')), e.Unhealthy
			}
		}
		slices.Sort(got)
		if slices.Equal(got, want) {
			return why
		}
	}
	t.Fatalf("unhealthy are %v (%s), want %v", got, why, want)
	return ""
}

// answering are the endpoints that a dozen requests go to.
func (h *house) answering(t *testing.T, c *http.Client) map[string]bool {
	t.Helper()
	before, got := len(h.seen.all()), map[string]bool{}
	for range 12 {
		get(t, c, h.url("/"))
	}
	for len(h.seen.all()) < before+12 {
		<-h.seen.changed
	}
	for _, r := range h.seen.all()[before:] {
		got[r.Endpoint.Revision] = true
	}
	return got
}

func TestEndpointsWhoseProbesFailGetNoRequestsUntilTheyAreWell(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	pair, _, _ := a.sign("web.shop.svc")
	trust := &config.BackendTLS{ServerName: "web.shop.svc", CAs: a.pem}
	secure := func(http2 bool) func(*httptest.Server) {
		return func(s *httptest.Server) {
			s.EnableHTTP2 = http2
			s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
			s.StartTLS()
		}
	}
	h2c := func(s *httptest.Server) {
		s.Config.Protocols = &http.Protocols{}
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
	}
	for name, c := range map[string]struct {
		start  func(*testing.T) patient
		speech config.Speech
		tls    *config.BackendTLS
		policy *config.Health
		why    string
	}{
		"HTTP/1.1":             {webPatient((*httptest.Server).Start), config.SpeakHTTP1, nil, often(), "GET /healthz?deep=1: status 500"},
		"HTTP/2 in clear text": {webPatient(h2c), config.SpeakH2C, nil, often(), "status 500"},
		"HTTP/1.1 within TLS":  {webPatient(secure(false)), config.SpeakAuto, trust, often(), "status 500"},
		"HTTP/2 within TLS":    {webPatient(secure(true)), config.SpeakAuto, trust, often(), "status 500"},
		"gRPC":                 {grpcPatient, config.SpeakH2C, nil, often(func(h *config.Health) { h.GRPC, h.Service = true, "shop" }), `gRPC health of "shop": NOT_SERVING`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := c.start(t)
			h := newHouse(t, Options{}, says(""))
			b := h.backend("spoken", c.speech)
			b.TLS, b.Policy.Health, b.Policy.Algorithm = c.tls, c.policy, config.RoundRobin
			var endpoints []config.Endpoint
			for i, address := range p.addresses {
				endpoints = append(endpoints, endpointOf(address, fmt.Sprint(i)))
			}
			h.SetEndpoints(b.Key, endpoints)
			h.change(func(r *config.Rule) { r.Backends = []config.Share{{Backend: b, Weight: 1}} })
			client := newClient(t)
			h.unhealthy(t)
			if got := h.answering(t, client); len(got) != 3 {
				t.Fatalf("while all are well, %v answer", got)
			}
			p.ill(true)
			if why := h.unhealthy(t, 2); !strings.Contains(why, c.why) {
				t.Errorf("it is unhealthy because of %q, want %q", why, c.why)
			}
			if got := h.answering(t, client); got["2"] {
				t.Errorf("an unhealthy endpoint gets requests: %v", slices.Sorted(maps.Keys(got)))
			}
			p.ill(false)
			h.unhealthy(t)
			if got := h.answering(t, client); len(got) != 3 {
				t.Errorf("once it is well again, %v answer", slices.Sorted(maps.Keys(got)))
			}
		})
	}
}

func TestOfBytesOnlyTheConnectionIsProbed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says(""))
	b := h.backend("spoken", config.SpeakBytes)
	b.Policy.Health = often()
	var endpoints []config.Endpoint
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		endpoints = append(endpoints, endpointOf(l.Addr(), fmt.Sprint(i)))
		if i == 2 {
			l.Close()
		} else {
			t.Cleanup(func() { l.Close() })
		}
	}
	h.SetEndpoints(b.Key, endpoints)
	h.publish()
	if why := h.unhealthy(t, 2); !strings.Contains(why, "refused") {
		t.Error(why)
	}
}

func TestWithoutProbesOrWhileMostAreIllAllEndpointsGetRequests(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says(""))
	var all []config.Endpoint
	for i := range 3 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/healthz" && i > 0 {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}))
		t.Cleanup(s.Close)
		all = append(all, endpointOf(s.Listener.Addr(), fmt.Sprint(i)))
	}
	h.SetEndpoints(h.config.Backends[0].Key, all)
	h.policy(func(p *config.Policy) { p.Health, p.Algorithm = often(), config.RoundRobin })
	h.unhealthy(t, 1, 2)
	client := newClient(t)
	if got := h.answering(t, client); len(got) != 3 {
		t.Errorf("while 1 of 3 is healthy %v answer, want all: below 50 %% nobody is spared", slices.Sorted(maps.Keys(got)))
	}
	h.policy(func(p *config.Policy) {
		o := config.DefaultOutlier()
		o.PanicBelowPercent = 30
		p.Outlier = &o
	})
	if got := h.answering(t, client); len(got) != 1 {
		t.Errorf("while 30 %% are enough %v answer, want the healthy one", slices.Sorted(maps.Keys(got)))
	}
	h.policy(func(p *config.Policy) { p.Health = nil })
	h.unhealthy(t)
	if got := h.answering(t, client); len(got) != 3 {
		t.Errorf("without probes %v answer, want all", slices.Sorted(maps.Keys(got)))
	}
}

// In virtual time: each endpoint is asked once an interval, they are spread over it, a hanging one is timed out, and the probes
// end with their policy (a goroutine left over fails the test).
func TestProbesAreSpreadOverTheirInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const endpoints, minutes = 100, 5
		var mu sync.Mutex
		asked := map[string][]time.Time{}
		dial := func(_ context.Context, _, address string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			mu.Lock()
			asked[address] = append(asked[address], time.Now())
			mu.Unlock()
			go func() {
				defer theirs.Close()
				r := bufio.NewReader(theirs)
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				if address == "10.0.0.7:80" {
					_, _ = r.ReadByte() // until it is given up
					return
				}
				_, _ = io.WriteString(theirs, "HTTP/1.1 204 No Content\r\n\r\n")
			}()
			return ours, nil
		}
		h := newHouse(t, Options{Dial: dial, Log: slog.New(slog.DiscardHandler), Listen: func(string, string) (net.Listener, error) { return newMemory(), nil }})
		b := h.backend("b", config.SpeakHTTP1)
		policy := config.DefaultHealth()
		b.Policy.Health = &policy
		var all []config.Endpoint
		for i := range endpoints {
			all = append(all, config.Endpoint{Address: fmt.Sprintf("10.0.0.%d", i), Port: 80, Revision: "r"})
		}
		h.SetEndpoints(b.Key, all)
		h.publish()
		time.Sleep(minutes * time.Minute)
		mu.Lock()
		at := map[time.Time]int{}
		for address, times := range asked {
			if least, most := minutes*60/5*9/10-2, minutes*60/5+1; len(times) < least || len(times) > most {
				t.Errorf("%s was asked %d times in %d minutes, want %d to %d", address, len(times), minutes, least, most)
			}
			for _, one := range times {
				at[one.Truncate(policy.Interval/probeSlots)]++
			}
		}
		if len(asked) != endpoints {
			t.Errorf("%d of %d endpoints were asked", len(asked), endpoints)
		}
		mu.Unlock()
		for one, n := range at {
			if n > endpoints/8 {
				t.Errorf("%d were asked at %v", n, one)
			}
		}
		for _, e := range h.State().Backends[0].Endpoints {
			if want := map[bool]string{true: "no answer within 1s"}[e.Address == "10.0.0.7"]; e.Unhealthy != want {
				t.Errorf("%s: %q, want %q", e.Address, e.Unhealthy, want)
			}
		}
		h.Close()
	})
}
