package flowpath

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/kube/route"
)

var begin = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// served is a Config of one host with the rules of the route shop/web, by path.
func served(rules map[string]*config.Rule, backends ...*config.Backend) *config.Config {
	h := &config.Host{Hostname: "shop.example"}
	var all []*config.Rule
	for _, path := range []string{"/cart", "/old", ""} {
		if r := rules[path]; r != nil {
			r.Key = config.RuleKey{Kind: "HTTPRoute", Name: config.Name{Namespace: "shop", Name: "web"}, Rule: path}
			h.Matches = append(h.Matches, config.Match{Path: config.PathMatch{Kind: config.PathPrefix, Value: path}, Rule: r})
			all = append(all, r)
		}
	}
	return &config.Config{Version: 1, Rules: all, Backends: backends, Sockets: []config.Socket{{Address: netip.MustParseAddrPort("127.0.0.1:80"),
		Listeners: []*config.Listener{{Section: "http", Hosts: []*config.Host{h}}}}}}
}

func backendOf(name string, policy config.Policy) *config.Backend {
	return &config.Backend{Key: config.BackendKey{Name: config.Name{Namespace: "shop", Name: name}, Port: 80}, Policy: policy}
}

func pods(n int, name string) (out []config.Endpoint) {
	for i := range n {
		out = append(out, config.Endpoint{Address: fmt.Sprintf("10.128.0.%d", i+1), Port: 8080, Pod: fmt.Sprint(name, "-", i), UID: fmt.Sprint(name, "-", i)})
	}
	return out
}

func TestSharesEqualWeightsAndAnAbortedCanaryGetsNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		table := New(1)
		var all []*config.Backend
		rule := &config.Rule{}
		sum := int32(0)
		for i := range rapid.IntRange(1, 4).Draw(t, "backends") {
			b := backendOf(fmt.Sprint("b", i), config.Defaults())
			all = append(all, b)
			w := int32(rapid.SampledFrom([]int{0, 1, 5, 20, 95, 100}).Draw(t, "weight"))
			rule.Backends = append(rule.Backends, config.Share{Backend: b, Weight: w, Service: b.Key.Name.Name})
			sum += w
		}
		table.Publish(served(map[string]*config.Rule{"": rule}, all...), nil)
		for _, b := range all {
			table.SetEndpoints(b.Key, pods(rapid.IntRange(1, 5).Draw(t, "endpoints"), b.Key.Name.Name), begin)
		}
		w := table.Way(route.Request{Route: "HTTPRoute/shop/web"}, begin)
		if sum == 0 {
			if w.Status != 500 {
				t.Fatalf("without weights: %+v", w)
			}
			return
		}
		parts := map[string]float64{}
		for _, s := range w.Shares {
			parts[s.Service] = s.Part
			whole := 0.0
			for _, e := range s.Endpoints {
				whole += e.Part
			}
			if math.Abs(whole-1) > 1e-9 {
				t.Fatalf("the endpoints of %s get %v of its requests", s.Service, whole)
			}
		}
		for _, b := range rule.Backends {
			if want := float64(b.Weight) / float64(sum); math.Abs(parts["shop/"+b.Service]-want) > 1e-9 {
				t.Fatalf("%s with weight %d of %d gets %v", b.Service, b.Weight, sum, parts["shop/"+b.Service])
			}
		}
	})
}

func TestRequestsAreRoutedAsTheGatewayRoutesThem(t *testing.T) {
	t.Parallel()
	web, cart := backendOf("web", config.Defaults()), backendOf("cart", config.Defaults())
	table := New(1)
	table.Publish(served(map[string]*config.Rule{
		"/cart": {Backends: []config.Share{{Backend: cart, Weight: 1}, {Weight: 1, Service: "gone"}}, Timeouts: config.Timeouts{Request: time.Second},
			Retry: &config.Retry{Attempts: 2, Codes: []int{500}, Timeout: true, Backoff: 10 * time.Millisecond}},
		"/old": {Filters: []config.Filter{{Redirect: &config.Redirect{Status: 301}}}},
		"":     {Backends: []config.Share{{Backend: web, Weight: 1}}},
	}, web, cart), nil)
	table.SetEndpoints(cart.Key, pods(2, "cart"), begin)
	for what, c := range map[string]struct {
		q      route.Request
		status int
		shares string
	}{
		"the root, whose backend is empty": {route.Request{Route: "HTTPRoute/shop/web"}, 0, "shop/web 1 503 0"},
		"a path":                           {route.Request{Route: "HTTPRoute/shop/web", Path: "/cart/1"}, 0, "shop/cart 0.5 0 2, gone 0.5 500 0"},
		"by host name":                     {route.Request{Host: "shop.example", Path: "/cart"}, 0, "shop/cart 0.5 0 2, gone 0.5 500 0"},
		"a redirect":                       {route.Request{Host: "shop.example", Path: "/old"}, 301, ""},
		"another host":                     {route.Request{Host: "other.example"}, 404, ""},
		"another port":                     {route.Request{Host: "shop.example", Port: 81}, 404, ""},
		"another route":                    {route.Request{Route: "HTTPRoute/shop/other"}, 404, ""},
	} {
		w := table.Way(c.q, begin)
		got := ""
		for i, s := range w.Shares {
			if i > 0 {
				got += ", "
			}
			got += fmt.Sprintf("%s %v %d %d", s.Service, s.Part, s.Status, len(s.Endpoints))
		}
		if w.Status != c.status || got != c.shares || w.Status == 404 && w.Why == "" {
			t.Errorf("%s: status %d (%s), shares %s; want %d, %s", what, w.Status, w.Why, got, c.status, c.shares)
		}
	}
	get, post := table.Way(route.Request{Host: "shop.example", Path: "/cart"}, begin), table.Way(route.Request{Host: "shop.example", Method: "POST", Path: "/cart"}, begin)
	if want := (route.Retry{Attempts: 2, Errors: true, Timeouts: true, BackoffSeconds: .01}); get.Retry != want || get.TimeoutSeconds != 1 {
		t.Errorf("retries %+v within %v s, want %+v within 1 s", get.Retry, get.TimeoutSeconds, want)
	}
	if post.Retry.Timeouts || !post.Retry.Errors {
		t.Errorf("a POST is tried again by %+v; its code is named, a timeout leaves open whether it was carried out", post.Retry)
	}
	if s := get.Shares[0]; s.BudgetShare != .2 || s.BudgetPerSecond != 10 {
		t.Errorf("the budget is %v or %v/s", s.BudgetShare, s.BudgetPerSecond)
	}
}

func TestEndpointsThatFailInARowAreEjectedForAWhile(t *testing.T) {
	t.Parallel()
	policy := config.Defaults()
	outlier := config.DefaultOutlier()
	policy.Outlier = &outlier
	web := backendOf("web", policy)
	table := New(3)
	table.Publish(served(map[string]*config.Rule{"": {Backends: []config.Share{{Backend: web, Weight: 1}}}}, web), nil)
	table.SetEndpoints(web.Key, pods(10, "web"), begin)
	ask := func(now time.Time) (left int) {
		return len(table.Way(route.Request{Host: "shop.example"}, now).Shares[0].Endpoints)
	}
	few := []route.Outcome{{Backend: "shop/web:80", UID: "web-0", PerSecond: 20, Failures: .02}}
	if next, changed := table.Observe(few, begin); changed || !next.IsZero() && next.Before(begin.Add(24*time.Hour)) {
		t.Errorf("2 %% of errors are to eject at %v", next)
	}
	all := []route.Outcome{{Backend: "shop/web:80", UID: "web-0", PerSecond: 20, Failures: 1}, {Backend: "shop/web:80", UID: "web-1", PerSecond: 20, Failures: 1}}
	now, ejected := begin, time.Time{}
	for range 20 {
		next, changed := table.Observe(all, now)
		if changed && ejected.IsZero() {
			ejected = now
		}
		if n := ask(now); n < 9 {
			t.Fatalf("%d of 10 endpoints are left, although a tenth may be ejected at once", n)
		}
		if next.IsZero() || !next.After(now) {
			t.Fatalf("after %v comes %v", now, next)
		}
		if ejected.IsZero() && ask(now) != 10 {
			t.Fatal("an endpoint is gone that was not ejected")
		}
		now = next
	}
	if d := ejected.Sub(begin); d <= 0 || d > 5*time.Second {
		t.Errorf("who fails always was ejected after %v at 20 tries a second", d)
	}
	if ask(ejected) != 9 || ask(ejected.Add(time.Hour)) != 10 {
		t.Error("an ejected endpoint stays, or does not come back")
	}
}

func TestWeightsThatWereSetHoldUntilTheyAreTakenBackOrTheRuleChanges(t *testing.T) {
	t.Parallel()
	table := New(1)
	stable, canary := backendOf("stable", config.Policy{}), backendOf("canary", config.Policy{})
	rule := func() *config.Rule {
		return &config.Rule{Backends: []config.Share{{Backend: stable, Weight: 100}, {Backend: canary, Weight: 0}}}
	}
	// Endpoints that come before the Config are those of the backend once it is there.
	table.SetEndpoints(stable.Key, pods(1, "stable"), begin)
	table.SetEndpoints(canary.Key, pods(1, "canary"), begin)
	first := rule()
	table.Publish(served(map[string]*config.Rule{"": first}, stable, canary), nil)
	part := func() (canary float64) {
		for _, s := range table.Way(route.Request{Host: "shop.example"}, begin).Shares {
			if s.Status != 0 {
				t.Fatalf("share %+v has no endpoint", s)
			}
			if s.Service == "shop/canary" {
				canary = s.Part
			}
		}
		return canary
	}
	key := first.Key
	key.Gateway = config.Name{Namespace: "shop", Name: "edge"} // weights are those of all Gateways
	if err := table.SetWeights(key, []int32{80, 20}); err != nil || part() != 0.2 {
		t.Errorf("with 20 set the canary gets %v (%v)", part(), err)
	}
	table.Publish(served(map[string]*config.Rule{"": rule()}, stable, canary), nil)
	if w, ok := table.Weights(key); part() != 0.2 || !ok || w[1] != 20 {
		t.Errorf("after the next Config the canary gets %v, weights %v", part(), w)
	}
	if table.SetWeights(key, []int32{1}) == nil {
		t.Error("weights of another number of backends are taken")
	}
	if err := table.SetWeights(key, nil); err != nil || part() != 0 {
		t.Errorf("after the weights were taken back the canary gets %v (%v)", part(), err)
	}
	if err := table.SetWeights(key, []int32{0, 1}); err != nil {
		t.Fatal(err)
	}
	table.Publish(served(map[string]*config.Rule{"": {Backends: rule().Backends[:1]}}, stable, canary), nil)
	if part() != 0 {
		t.Errorf("weights of two backends hold for a rule of one")
	}
	if other := (config.RuleKey{Kind: "HTTPRoute", Name: config.Name{Namespace: "shop", Name: "other"}}); table.SetWeights(other, nil) == nil {
		t.Error("weights of a route that is not served are taken")
	}
}

func TestSubsetsOfOneServiceAreWaysOfTheirOwn(t *testing.T) {
	t.Parallel()
	table := New(1)
	subset := func(name string) *config.Backend {
		b := backendOf("web", config.Policy{})
		b.Key.Kind, b.Key.Subset = config.SubsetBackend, name
		return b
	}
	stable, canary := subset("stable"), subset("canary")
	rule := &config.Rule{Backends: []config.Share{{Backend: stable, Weight: 80}, {Backend: canary, Weight: 20}}}
	table.Publish(served(map[string]*config.Rule{"": rule}, stable, canary), nil)
	table.SetEndpoints(stable.Key, pods(3, "old"), begin)
	table.SetEndpoints(canary.Key, pods(1, "new"), begin)
	w := table.Way(route.Request{Host: "shop.example"}, begin)
	if len(w.Shares) != 2 {
		t.Fatalf("shares %+v, want one for each subset", w.Shares)
	}
	for i, want := range []struct {
		part float64
		pods int
		pod  string
	}{{.8, 3, "shop/old-0"}, {.2, 1, "shop/new-0"}} {
		s := w.Shares[i]
		if s.Part != want.part || s.Service != "shop/web" || len(s.Endpoints) != want.pods || s.Endpoints[0].Pod != want.pod {
			t.Errorf("share %d: %+v, want %v of the requests at %d pods from %s on", i, s, want.part, want.pods, want.pod)
		}
	}
	if w.Shares[0].Backend == w.Shares[1].Backend {
		t.Errorf("two subsets have one name, %s", w.Shares[0].Backend)
	}
}
