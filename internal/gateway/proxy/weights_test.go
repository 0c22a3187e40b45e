package proxy

import (
	"slices"
	"testing"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
)

func TestWeightsOfARouteHoldAtEachOfItsGateways(t *testing.T) {
	t.Parallel()
	g := New(Options{})
	t.Cleanup(g.Close)
	key := config.RuleKey{Kind: "HTTPRoute", Name: config.Name{Namespace: "shop", Name: "web"}, Rule: "0"}
	c := &config.Config{Version: 1}
	for i, gateway := range []string{"inner", "outer"} {
		of := key
		of.Gateway = config.Name{Namespace: "shop", Name: gateway}
		c.Rules = append(c.Rules, &config.Rule{Index: i, Key: of, Backends: []config.Share{{Weight: 3}, {Weight: 1}}})
	}
	g.Publish(c, match.NewIndex(c))
	inForce := func() (all [][]int32) {
		for _, s := range g.current.Load().rules {
			all = append(all, *s.weights.Load())
		}
		return all
	}
	for _, step := range []struct{ set, want []int32 }{{[]int32{80, 20}, []int32{80, 20}}, {nil, []int32{3, 1}}} {
		if err := g.SetWeights(key, step.set); err != nil {
			t.Fatal(err)
		}
		for i, got := range inForce() {
			if !slices.Equal(got, step.want) {
				t.Errorf("after %v, Gateway %s has %v, want %v", step.set, c.Rules[i].Key.Gateway.Name, got, step.want)
			}
		}
		if got, ok := g.Weights(key); !ok || !slices.Equal(got, step.want) {
			t.Errorf("after %v the weights are told as %v, want %v", step.set, got, step.want)
		}
	}
	if g.SetWeights(key, []int32{1}) == nil {
		t.Error("one weight for two backends is taken")
	}
	empty := &config.Config{Version: 2}
	g.Publish(empty, match.NewIndex(empty))
	if _, ok := g.Weights(key); ok || g.SetWeights(key, []int32{1, 1}) == nil {
		t.Error("weights of a route that is not served any more are taken")
	}
}
