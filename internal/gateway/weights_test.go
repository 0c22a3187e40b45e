package gateway

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
	"github.com/fairway-dev/fairway/internal/gateway/proxy"
)

// sink keeps the weights that are set.
type sink map[string][]int32

func (sink) Publish(*config.Config, *match.Index) []*proxy.SocketError { return nil }
func (sink) SetEndpoints(config.BackendKey, []config.Endpoint)         {}
func (sink) Drain(context.Context) error                               { return nil }
func (s sink) SetWeights(key config.RuleKey, weights []int32) error {
	s[key.Rule] = weights
	return nil
}
func (s sink) Weights(key config.RuleKey) ([]int32, bool) {
	w, ok := s[key.Rule]
	return w, ok
}

func TestOnlyRulesThatDivideBetweenCanaryAndStableAreSteered(t *testing.T) {
	t.Parallel()
	route := Route{Kind: "HTTPRoute", Name: config.Name{Namespace: "shop", Name: "web"}}
	rule := func(name string, backends ...config.Share) *config.Rule {
		return &config.Rule{Key: config.RuleKey{Kind: route.Kind, Name: route.Name, Rule: name}, Backends: backends}
	}
	to := func(service string) config.Share { return config.Share{Service: service, Weight: 7} }
	subset := func(name string) config.Share {
		return config.Share{Service: "web", Backend: &config.Backend{Key: config.BackendKey{Kind: config.SubsetBackend, Subset: name}}}
	}
	c := &config.Config{Rules: []*config.Rule{rule("admin", to("web")), rule("beta", to("web-canary")), rule("main", to("web"), to("other"), to("web-canary")),
		rule("own", to("web-canary"), to("web")), rule("mesh", subset("stable"), subset("canary")), nil}}
	for name, one := range map[string]struct {
		called, canary, stable string
		want                   map[string][]int32
	}{
		"all that divide":    {"", "web-canary", "web", map[string][]int32{"main": {100, 7, 0}, "own": {0, 100}}},
		"the one of a name":  {"main", "web-canary", "web", map[string][]int32{"main": {100, 7, 0}}},
		"subsets":            {"", "web/canary", "web/stable", map[string][]int32{"mesh": {100, 0}}},
		"none":               {"", "web-canary", "web-stable", nil},
		"none of that name":  {"admin", "web-canary", "web", nil},
		"none for no canary": {"", "", "web", nil},
	} {
		s := sink{}
		w := weights{data: s, held: map[config.RuleKey]*held{}, log: slog.Default(), tell: func(Route, string, string) {}, config: c}
		_, err := w.Set(route, one.called, one.canary, one.stable, Weights{Stable: 100})
		if (err == nil) != (len(one.want) > 0) || len(s) != len(one.want) {
			t.Errorf("%s: %v %v, want %v", name, err, s, one.want)
		}
		for rule, want := range one.want {
			if !slices.Equal(s[rule], want) {
				t.Errorf("%s: rule %s has %v, want %v", name, rule, s[rule], want)
			}
		}
		loaded, ok := w.Loaded(route, one.canary, one.stable)
		if ok != (len(one.want) > 0) || len(loaded) != len(one.want) {
			t.Errorf("%s: loaded %v, want those of %v", name, loaded, one.want)
		}
	}
}

func TestWeightsAreOfTheRulesThatWerePublishedLast(t *testing.T) {
	t.Parallel()
	route := Route{Kind: "HTTPRoute", Name: config.Name{Namespace: "shop", Name: "web"}}
	serving := func(rules ...string) *config.Config {
		c := &config.Config{}
		for _, name := range rules {
			c.Rules = append(c.Rules, &config.Rule{Key: config.RuleKey{Kind: route.Kind, Name: route.Name, Rule: name},
				Backends: []config.Share{{Service: "web"}, {Service: "web-canary"}}})
		}
		return c
	}
	s := sink{}
	w := weights{data: s, held: map[config.RuleKey]*held{}, log: slog.Default(), tell: func(Route, string, string) {}}
	set := func() error {
		clear(s)
		_, err := w.Set(route, "", "web-canary", "web", Weights{Canary: 20, Stable: 80})
		return err
	}
	versions := func(Route) string { return "1" }
	if set() == nil {
		t.Error("weights are taken before anything is served")
	}
	for _, rules := range [][]string{{"a"}, {"a", "b"}, {"b"}, {}, {"a"}} {
		w.published(serving(rules...), versions)
		err := set()
		if got := slices.Sorted(maps.Keys(s)); !slices.Equal(got, rules) && len(got)+len(rules) > 0 || (err == nil) != (len(rules) > 0) {
			t.Errorf("rules %v are served, and %v were set: %v", rules, got, err)
		}
	}
}
