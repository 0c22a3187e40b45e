package platform

import (
	"net/netip"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/evidence"
	"github.com/fairway-dev/fairway/internal/gateway/flowpath"
	"github.com/fairway-dev/fairway/internal/kube/route"
	"github.com/fairway-dev/fairway/internal/kube/sketch"
)

// TestTheGatewayOfARehearsalIsThatOfTheLifeInCharge: weights that a life of the controllers had set are gone with it, as with a
// process; evidence goes to the life in charge, which brings it up to date before it reads.
func TestTheGatewayOfARehearsalIsThatOfTheLifeInCharge(t *testing.T) {
	t.Parallel()
	rerouted, counted := 0, 0
	g := &flowGateway{rerouted: func() { rerouted++ }, counted: func() { counted++ }, table: flowpath.New(1)}
	backend := func(name string) *config.Backend {
		return &config.Backend{Key: config.BackendKey{Name: config.Name{Namespace: "shop", Name: name}, Port: 80}}
	}
	stable, canary := backend("stable"), backend("canary")
	rule := &config.Rule{Key: config.RuleKey{Kind: "HTTPRoute", Name: config.Name{Namespace: "shop", Name: "web"}},
		Backends: []config.Share{{Backend: stable, Weight: 100}, {Backend: canary}}}
	served := &config.Config{Version: 1, Rules: []*config.Rule{rule}, Backends: []*config.Backend{stable, canary}, Sockets: []config.Socket{{
		Address: netip.MustParseAddrPort("127.0.0.1:80"), Listeners: []*config.Listener{{Section: "http", Hosts: []*config.Host{{Hostname: "shop.example",
			Matches: []config.Match{{Path: config.PathMatch{Kind: config.PathPrefix}, Rule: rule}}}}}}}}}

	first, second := evidence.New(), evidence.New()
	g.begin(first)
	before := g.Version()
	if problems := g.Publish(served, nil); len(problems) > 0 || g.Version() == before || rerouted == 0 {
		t.Errorf("publishing leaves version %d (%d before), poked %d times, problems %v", g.Version(), before, rerouted, problems)
	}
	if err := g.SetWeights(rule.Key, []int32{80, 20}); err != nil {
		t.Fatal(err)
	}
	if w, ok := g.Weights(rule.Key); !ok || w[1] != 20 {
		t.Errorf("weights %v after 20 was set", w)
	}
	now := time.Now()
	if way := g.Way(route.Request{Host: "shop.example"}, now); len(way.Shares) != 2 {
		t.Errorf("requests go %+v", way)
	}
	g.begin(second)
	if w, ok := g.Weights(rule.Key); !ok || w[1] != 0 {
		t.Errorf("weights %v in the next life, want those of the route", w)
	}
	g.Count(route.Account{Namespace: "shop", Revision: "abc", Route: "HTTPRoute/shop/web", Requests: 10, Errors: 1, Latency: new(sketch.Sketch)}, now)
	q := evidence.Question{Metric: evidence.SuccessRate, Namespace: "shop", Revision: "abc", Window: time.Minute}
	a, err := second.Measure(q, now.Add(time.Second))
	if err != nil || a.Count != 10 || counted == 0 {
		t.Errorf("the life in charge knows of %v requests (%v), brought up to date %d times", a.Count, err, counted)
	}
	if a, err := first.Measure(q, now.Add(time.Second)); err != nil || a.Count != 0 {
		t.Errorf("a life that is over knows of %v requests (%v)", a.Count, err)
	}
}
