package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"sync/atomic"
	"syscall"

	"github.com/fairway-dev/fairway/internal/gateway"
	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/evidence"
	"github.com/fairway-dev/fairway/internal/gateway/match"
	"github.com/fairway-dev/fairway/internal/gateway/proxy"
)

// counting counts failed requests besides what the product counts.
type counting struct {
	proxy.Observer
	failed atomic.Uint64
}

func (c *counting) Observe(r *proxy.Record) {
	c.Observer.Observe(r)
	if r.Status >= 500 {
		c.failed.Add(1)
	}
}

// serveGateway serves one route with two backends, 80 to 20, until it is told to end.
func serveGateway(address string, backends []string, profile string) error {
	runtime.GOMAXPROCS(1) // as nginx with one worker
	socket, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	count := &counting{Observer: gateway.NewObserver(evidence.New())} // metrics, and evidence by revision
	g := proxy.New(proxy.Options{Observe: count})
	defer g.Close()
	rule := &config.Rule{Key: config.RuleKey{Kind: "HTTPRoute", Name: config.Name{Namespace: "bench", Name: "web"}, Rule: "0"},
		Timeouts: config.Timeouts{Request: config.RequestTimeout}}
	c := &config.Config{Version: 1, Rules: []*config.Rule{rule}, Sockets: []config.Socket{{Address: socket, Listeners: []*config.Listener{{
		Gateway: config.Name{Namespace: "bench", Name: "gateway"}, Section: "http", Hosts: []*config.Host{{Matches: []config.Match{
			{Path: config.PathMatch{Kind: config.PathPrefix}, Rule: rule}}}}}}}}}
	for i, b := range backends {
		at, err := netip.ParseAddrPort(b)
		if err != nil {
			return err
		}
		key := config.BackendKey{Name: config.Name{Namespace: "bench", Name: fmt.Sprint("b", i)}, Port: 80}
		c.Backends = append(c.Backends, &config.Backend{Index: i, Key: key, Policy: config.Defaults()})
		rule.Backends = append(rule.Backends, config.Share{Backend: c.Backends[i], Weight: []int32{80, 20}[i%2]})
		g.SetEndpoints(key, []config.Endpoint{{Address: at.Addr().String(), Port: int32(at.Port()), Revision: fmt.Sprint("revision-", i)}})
	}
	for _, problem := range g.Publish(c, match.NewIndex(c)) {
		return problem
	}
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGQUIT, os.Interrupt)
	<-ended
	if n := count.failed.Load(); n > 0 {
		return fmt.Errorf("%d requests failed", n)
	}
	return nil
}
