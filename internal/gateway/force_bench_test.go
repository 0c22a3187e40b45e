package gateway

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
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/evidence"
	"github.com/fairway-dev/fairway/internal/gateway/match"
	"github.com/fairway-dev/fairway/internal/gateway/proxy"
	"github.com/fairway-dev/fairway/internal/load"
)

// BenchmarkWeightsComeIntoForce is from the decision to move all requests to the other of two backends to the first moment at
// which every new request follows, beside 10,000 rules of other routes and under 2,000 requests a second. A request that is
// sent after that moment and answered by the wrong backend fails it.
func BenchmarkWeightsComeIntoForce(b *testing.B) {
	route := Route{Kind: "HTTPRoute", Name: config.Name{Namespace: "shop", Name: "web"}}
	rule := &config.Rule{Key: config.RuleKey{Kind: route.Kind, Name: route.Name, Rule: "0"}}
	host := &config.Host{Matches: []config.Match{{Path: config.PathMatch{Kind: config.PathPrefix}, Rule: rule}}}
	address := netip.MustParseAddrPort("127.0.0.1:0")
	c := &config.Config{Version: 1, Rules: []*config.Rule{rule}, Sockets: []config.Socket{{Address: address, Listeners: []*config.Listener{{Section: "http", Hosts: []*config.Host{host}}}}}}
	counters := newCounters(evidence.New())
	data := proxy.New(proxy.Options{Observe: counters, Log: slog.New(slog.DiscardHandler), Seed: 1})
	defer data.Close()
	for i, name := range []string{"stable", "canary"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Revision", name) }))
		defer server.Close()
		at := netip.MustParseAddrPort(server.Listener.Addr().String())
		backend := &config.Backend{Index: i, Key: config.BackendKey{Name: config.Name{Namespace: "shop", Name: name}, Port: 80}, Policy: config.Defaults()}
		c.Backends = append(c.Backends, backend)
		rule.Backends = append(rule.Backends, config.Share{Backend: backend, Service: name, Weight: 1})
		data.SetEndpoints(backend.Key, []config.Endpoint{{Address: at.Addr().String(), Port: int32(at.Port()), UID: name, Pod: name, Revision: name}})
	}
	for i := range 10_000 {
		other := &config.Rule{Index: i + 1, Key: config.RuleKey{Kind: route.Kind, Name: config.Name{Namespace: "shop", Name: "other-" + strconv.Itoa(i)}, Rule: "0"}, Backends: rule.Backends[:1]}
		c.Rules = append(c.Rules, other)
	}
	if problems := data.Publish(c, match.NewIndex(c)); len(problems) > 0 {
		b.Fatal(problems[0])
	}
	w := weights{data: data, held: map[config.RuleKey]*held{}, log: slog.New(slog.DiscardHandler), tell: func(Route, string, string) {}, config: c}

	loading, enough := context.WithCancel(b.Context())
	loaded := make(chan *load.Result, 1)
	go func() {
		result, err := load.Run(loading, load.Options{URL: "http://" + data.Address(address).String() + "/", Rate: 2000, For: time.Hour, Connections: 64, By: "X-Revision", Dial: (&net.Dialer{}).DialContext})
		if err != nil {
			b.Error(err)
		}
		loaded <- result
	}()
	nc, err := net.Dial("tcp4", data.Address(address).String())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	r := bufio.NewReader(nc)
	names, force, answer := []string{"stable", "canary"}, []float64{}, []float64{}
	for i := 0; b.Loop(); i++ {
		time.Sleep(5 * time.Millisecond)
		to := Weights{Stable: 100}
		if i%2 == 0 {
			to = Weights{Canary: 100}
		}
		began := time.Now()
		if _, err := w.Set(route, "", "canary", "stable", to); err != nil {
			b.Fatal(err)
		}
		force = append(force, time.Since(began).Seconds()*1e3)
		fmt.Fprint(nc, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		answer = append(answer, time.Since(began).Seconds()*1e3)
		if got := response.Header.Get("X-Revision"); got != names[(i+1)%2] {
			b.Fatalf("change %d: answered by %q", i, got)
		}
	}
	b.StopTimer()
	enough()
	result := <-loaded
	if result == nil {
		b.FailNow() // it is told why
	}
	if result.Failed > 0 {
		b.Fatalf("%d of %d requests failed: %v", result.Failed, result.Done, result.Errors)
	}
	for what, ms := range map[string][]float64{"force": force, "answer": answer} {
		slices.Sort(ms)
		b.ReportMetric(ms[len(ms)/2], what+"-p50-ms")
		b.ReportMetric(ms[min(len(ms)-1, len(ms)*99/100)], what+"-p99-ms")
	}
	b.ReportMetric(result.Achieved, "requests/s")
}
