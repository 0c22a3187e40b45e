package traffic

import (
	"strings"
	"testing"
)

// TestRoutersAreVerifiedByWhatADataPathHasLoaded, whatever router their objects were made for.
func TestRoutersAreVerifiedByWhatADataPathHasLoaded(t *testing.T) {
	t.Parallel()
	rule := func(name string, canary, stable int32) RuleWeights {
		return RuleWeights{name, Weights{Canary: canary, Stable: stable}}
	}
	for name, c := range map[string]struct {
		file, kind, object string
		weight             int32
		loaded             []RuleWeights
		want               string
	}{
		"not served":                       {"nginx-first-weight", "Ingress", "", 20, nil, ""},
		"nginx follows":                    {"nginx-next-weight", "Ingress", "a", 20, []RuleWeights{rule("0/0", 20, 80)}, "true"},
		"nginx is behind":                  {"nginx-next-weight", "Ingress", "a", 20, []RuleWeights{rule("0/0", 20, 80), rule("0/1", 10, 90)}, "false"},
		"smi follows in smallest numbers":  {"smi-next-weight", "TrafficSplit", "split", 20, []RuleWeights{rule("80", 1, 4)}, "true"},
		"smi is behind":                    {"smi-next-weight", "TrafficSplit", "split", 20, []RuleWeights{rule("80", 1, 9)}, "false"},
		"istio follows in the named rules": {"istio-weights-of-named-routes", "VirtualService", "web", 20, []RuleWeights{rule("primary", 20, 80), rule("api", 20, 80), rule("other", 0, 100)}, "true"},
		"istio is behind in one":           {"istio-weights-of-named-routes", "VirtualService", "web", 20, []RuleWeights{rule("primary", 20, 80), rule("api", 0, 100)}, "false"},
		"the stable pays for a user's own": {"istio-subsets-hashes", "VirtualService", "web", 30, []RuleWeights{{"0", Weights{Canary: 30, Stable: 60, Additional: map[string]int32{"web/beta": 10}}}}, "true"},
		"a user's own comes on top":        {"istio-subsets-hashes", "VirtualService", "web", 30, []RuleWeights{{"0", Weights{Canary: 30, Stable: 70, Additional: map[string]int32{"web/beta": 10}}}}, "true"},
		"all weights are gone":             {"smi-next-weight", "TrafficSplit", "split", 20, []RuleWeights{rule("80", 0, 0)}, "false"},
	} {
		g := load(t, "testdata/"+c.file+".yaml")
		in := g.Intent
		in.Weight = c.weight
		written, _, _, err := translate(in, world(t, g.Objects))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		in.Loaded = map[Ref][]RuleWeights{}
		for ref := range written {
			if ref.Kind == c.kind && ref.Name == c.object {
				in.Loaded[ref] = c.loaded
			}
		}
		_, result, _, err := translate(in, written)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := ""
		if result.Verified != nil {
			got = map[bool]string{true: "true", false: "false"}[*result.Verified]
		}
		if got != c.want || (got == "false") != strings.Contains(result.Message, "the gateway still sends") {
			t.Errorf("%s: verified %q (%s), want %q", name, got, result.Message, c.want)
		}
	}
}
