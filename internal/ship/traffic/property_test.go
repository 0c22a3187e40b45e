package traffic

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"pgregory.net/rapid"
)

// routerFixtures are files of testdata whose objects random intents start from, and what their routers can do.
var routerFixtures = []struct {
	file                          string
	experiments, headers, mirrors bool
	exactOnly                     bool
}{
	{file: "istio-weights-of-named-routes", experiments: true},
	{file: "istio-managed-routes", experiments: true, headers: true, mirrors: true},
	{file: "istio-experiment-ends", experiments: true},
	{file: "nginx-first-weight"},
	{file: "nginx-next-weight"},
	{file: "alb-weights", experiments: true},
	{file: "alb-header-routes", experiments: true, headers: true, exactOnly: true},
	{file: "smi-first-weight", experiments: true},
	{file: "smi-next-weight", experiments: true},
	{file: "ambassador-first-weight"},
	{file: "traefik-weights"},
	{file: "apisix-weights-and-headers", headers: true},
	{file: "gatewayapi-weights", experiments: true},
	{file: "gatewayapi-kinds-and-selectors", experiments: true},
	{file: "gatewayapi-header-and-mirror", experiments: true, headers: true, mirrors: true},
}

// experimentServices are those of the experiments that the properties draw.
var experimentServices = []string{"exp-x", "exp-y"}

// drawIntent draws what a Rollout may want next.
func drawIntent(t *rapid.T, rest Intent, experiments, headers, mirrors, exactOnly bool) Intent {
	in := rest
	left := in.max()
	in.Weight = rapid.Int32Range(0, left).Draw(t, "weight")
	left -= in.Weight
	if experiments {
		for _, name := range experimentServices {
			if left > 0 && rapid.Bool().Draw(t, name) {
				weight := rapid.Int32Range(1, left).Draw(t, name+" weight")
				left -= weight
				in.Additional = append(in.Additional, argo.WeightDestination{ServiceName: name, PodTemplateHash: "h" + name, Weight: weight})
			}
		}
	}
	in.HoldHash = rapid.Bool().Draw(t, "hold hash")
	in.Remove = rapid.IntRange(0, 4).Draw(t, "remove") == 0
	for _, m := range in.Routing.ManagedRoutes {
		switch rapid.IntRange(0, 2).Draw(t, m.Name) {
		case 0:
			if headers {
				value := argo.StringMatch{Exact: rapid.StringMatching("[a-z]{1,3}").Draw(t, "value")}
				if !exactOnly && rapid.Bool().Draw(t, "prefix") {
					value = argo.StringMatch{Prefix: value.Exact}
				}
				in.Headers = append(in.Headers, argo.SetHeaderRoute{Name: m.Name, Match: []argo.HeaderRoutingMatch{{HeaderName: "X-A", HeaderValue: &value}}})
			}
		case 1:
			if mirrors {
				in.Mirrors = append(in.Mirrors, argo.SetMirrorRoute{Name: m.Name, Match: []argo.RouteMatch{{Path: &argo.StringMatch{Prefix: "/p"}}}})
			}
		}
	}
	return in
}

// restOf is the intent of a Rollout that is not updating.
func restOf(g golden) Intent {
	return Intent{Namespace: g.Intent.Namespace, Name: g.Intent.Name, UID: g.Intent.UID, Routing: g.Routing, Max: g.Intent.Max,
		CanaryService: g.Intent.CanaryService, StableService: g.Intent.StableService, CanaryHash: "same", StableHash: "same", Port: 8080}
}

func TestAnyIntentsAreWrittenOnceSumUpAndLeaveNoTrace(t *testing.T) {
	t.Parallel()
	for _, f := range routerFixtures {
		t.Run(f.file, func(t *testing.T) {
			t.Parallel()
			g := load(t, "testdata/"+f.file+".yaml")
			start := world(t, g.Objects)
			rest := restOf(g)
			clean, _, _, err := translate(rest, start)
			if err != nil {
				t.Fatal(err)
			}
			rapid.Check(t, func(t *rapid.T) {
				objects, former := clean, []argo.WeightDestination(nil)
				for range rapid.IntRange(1, 5).Draw(t, "intents") {
					in := drawIntent(t, rest, f.experiments, f.headers, f.mirrors, f.exactOnly)
					in.Former = former
					before := snapshot(objects)
					after, _, _, err := translate(in, objects)
					if err != nil {
						t.Fatal(err)
					}
					if !same(before, objects) {
						t.Fatal("the objects given were changed")
					}
					if again, _, writes, err := translate(in, after); err != nil || writes != 0 {
						t.Fatalf("the second translation writes %d times (%v):\n%s\nafter:\n%s", writes, err, yamlOf(again), yamlOf(after))
					}
					checkSums(t, in, after)
					objects, former = after, in.Additional
				}
				rest.Former = former
				end, _, _, err := translate(rest, objects)
				if err != nil {
					t.Fatal(err)
				}
				if !same(end, clean) {
					t.Fatalf("at rest again, but the objects are:\n%s\nat first:\n%s", yamlOf(end), yamlOf(clean))
				}
			})
		})
	}
}

// checkSums demands that wherever canary and stable share traffic, all weights sum up to the maximum.
func checkSums(t *rapid.T, in Intent, objects Objects) {
	shares := 0
	sum := func(where string, weights map[string]int32) {
		var total int32
		for _, w := range weights {
			total += w
		}
		shares++
		if total != in.max() {
			t.Fatalf("%s: weights %v sum up to %d, want %d", where, weights, total, in.max())
		}
	}
	for ref, o := range objects {
		switch ref.Kind {
		case "VirtualService":
			for _, section := range []string{"http", "tls", "tcp"} {
				routes, _ := items(o.Object, "spec", section)
				for _, route := range routes {
					sumOf(route, "route", func(d map[string]any) string {
						return text(d, "destination", "host") + "/" + text(d, "destination", "subset")
					}, func(w map[string]int32) {
						sum(ref.String(), w)
					}, "stable")
				}
			}
		case "HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute":
			rules, _ := items(o.Object, "spec", "rules")
			for _, rule := range rules {
				if ref.Name == "web" && ref.Namespace == "edge" && text(rule, "name") != "argo" || ref.Name == "web-3" {
					continue
				}
				sumOf(rule, "backendRefs", func(d map[string]any) string { return text(d, "name") }, func(w map[string]int32) { sum(ref.String(), w) }, in.CanaryService, in.StableService)
			}
		case "TrafficSplit":
			sumOf(o.Object["spec"].(map[string]any), "backends", func(d map[string]any) string { return text(d, "service") }, func(w map[string]int32) { sum(ref.String(), w) })
		case "ApisixRoute":
			rules, _ := items(o.Object, "spec", "http")
			for _, rule := range rules {
				sumOf(rule, "backends", func(d map[string]any) string { return text(d, "serviceName") }, func(w map[string]int32) { sum(ref.String(), w) }, in.StableService)
			}
		case "TraefikService":
			services, _ := items(o.Object, "spec", "weighted", "services")
			sum(ref.String(), map[string]int32{"canary": weightOf(services[1]), "stable": weightOf(services[0])})
		case "Ingress":
			for key, value := range o.GetAnnotations() {
				if !strings.HasSuffix(key, "/actions.web-root") && !strings.HasSuffix(key, "/actions.web-stable") {
					continue
				}
				var action albAction
				if err := json.Unmarshal([]byte(value), &action); err != nil {
					t.Fatal(err)
				}
				weights := map[string]int32{}
				for _, g := range action.ForwardConfig.TargetGroups {
					weights[g.ServiceName] = int32(*g.Weight)
				}
				sum(ref.String(), weights)
			}
		}
	}
	if in.Routing.Nginx == nil && in.Routing.Ambassador == nil && shares == 0 {
		t.Fatal("no weights were found at all")
	}
}

// sumOf hands over the weights of a list of destinations, if all the names are among them.
func sumOf(parent map[string]any, field string, name func(map[string]any) string, f func(map[string]int32), names ...string) {
	destinations, _ := items(parent, field)
	weights := map[string]int32{}
	found := 0
	for _, d := range destinations {
		weights[name(d)] += weightOf(d)
		for _, n := range names {
			if strings.Contains(name(d), n) {
				found++
			}
		}
	}
	if len(destinations) > 0 && found >= len(names) {
		f(weights)
	}
}

func TestWeightsThatCannotSumUpAreAnErrorInEveryRouter(t *testing.T) {
	t.Parallel()
	for _, f := range routerFixtures {
		g := load(t, "testdata/"+f.file+".yaml")
		objects := world(t, g.Objects)
		for _, weight := range []int32{-1, restOf(g).max() + 1} {
			in := restOf(g)
			in.Weight = weight
			after, _, writes, err := translate(in, objects)
			if err == nil || writes != 0 || !same(after, objects) {
				t.Errorf("%s: weight %d is no error", f.file, weight)
			}
		}
		in := restOf(g)
		in.Weight, in.Additional = in.max(), []argo.WeightDestination{{ServiceName: "exp-x", Weight: 1}}
		if _, _, _, err := translate(in, objects); err == nil {
			t.Errorf("%s: an experiment without room is no error", f.file)
		}
	}
}

// spoil replaces one value somewhere below at by one of another kind, or takes it away.
func spoil(t *rapid.T, at map[string]any) {
	for depth := 0; ; depth++ {
		keys := slices.Sorted(maps.Keys(at))
		if len(keys) == 0 {
			return
		}
		key := rapid.SampledFrom(keys).Draw(t, "key")
		var inner map[string]any
		switch v := at[key].(type) {
		case map[string]any:
			inner = v
		case []any:
			if len(v) > 0 {
				inner, _ = v[rapid.IntRange(0, len(v)-1).Draw(t, "index")].(map[string]any)
			}
		}
		if inner != nil && rapid.IntRange(0, 5).Draw(t, "deeper") > 0 {
			at = inner
			continue
		}
		switch rapid.IntRange(0, 5).Draw(t, "by") {
		case 0:
			delete(at, key)
		case 1:
			at[key] = "text"
		case 2:
			at[key] = int64(7)
		case 3:
			at[key] = []any{"a", int64(1), map[string]any{}}
		case 4:
			at[key] = map[string]any{"a": []any{}}
		case 5:
			at[key] = nil
		}
		return
	}
}

func TestObjectsThatAreNotAsTheirSchemasSayAreErrorsAndNeverWrittenInPart(t *testing.T) {
	t.Parallel()
	for _, f := range routerFixtures {
		t.Run(f.file, func(t *testing.T) {
			t.Parallel()
			g := load(t, "testdata/"+f.file+".yaml")
			rest := restOf(g)
			if len(g.Objects) == 0 {
				t.Skip("there is nothing to spoil")
			}
			rapid.Check(t, func(t *rapid.T) {
				objects := world(t, g.Objects)
				for range rapid.IntRange(1, 4).Draw(t, "times") {
					refs := slices.SortedFunc(maps.Keys(objects), func(a, b Ref) int { return strings.Compare(a.String(), b.String()) })
					o := objects[rapid.SampledFrom(refs).Draw(t, "object")]
					if spec, ok := o.Object["spec"].(map[string]any); ok {
						spoil(t, spec)
					}
				}
				before := snapshot(objects)
				in := drawIntent(t, rest, f.experiments, f.headers, f.mirrors, f.exactOnly)
				after, _, writes, err := translate(in, objects)
				if !same(before, objects) {
					t.Fatal("the objects given were changed")
				}
				if err != nil && (writes > 0 || !same(after, objects)) {
					t.Fatal("something was written although there was an error", err)
				}
				if err == nil {
					if _, _, writes, err := translate(in, after); err != nil || writes > 0 {
						t.Fatalf("the second translation writes %d times (%v)", writes, err)
					}
				}
			})
		})
	}
}
