package traffic

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
)

func TestForReturnsTheRoutersConfiguredInAFixedOrderWithoutPlugins(t *testing.T) {
	t.Parallel()
	routing := &argo.RolloutTrafficRouting{
		Apisix: &argo.ApisixTrafficRouting{}, Traefik: &argo.TraefikTrafficRouting{}, Ambassador: &argo.AmbassadorTrafficRouting{},
		SMI: &argo.SMITrafficRouting{}, ALB: &argo.ALBTrafficRouting{}, Nginx: &argo.NginxTrafficRouting{}, Istio: &argo.IstioTrafficRouting{},
		Plugins: map[string]json.RawMessage{"z/last": nil, GatewayAPIPlugin: json.RawMessage(`{"httpRoute":"web"}`), "a/first": nil},
	}
	routers, err := For("shop", routing)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, r := range routers {
		kinds = append(kinds, r.Kind())
	}
	if got := strings.Join(kinds, " "); got != "Istio Nginx ALB SMI Ambassador Traefik Apisix GatewayAPI" {
		t.Error(got)
	}
	if got := strings.Join(Plugins(routing), " "); got != "a/first z/last" {
		t.Error(got)
	}
	if routers, err := For("shop", nil); routers != nil || err != nil || Plugins(nil) != nil {
		t.Error("a Rollout without traffic routing has routers", routers, err)
	}
}

func TestVersionsChangeTheObjectsThatRoutersAskFor(t *testing.T) {
	t.Parallel()
	routing := &argo.RolloutTrafficRouting{
		Istio:      &argo.IstioTrafficRouting{VirtualService: &argo.IstioVirtualService{Name: "web"}},
		Ambassador: &argo.AmbassadorTrafficRouting{Mappings: []string{"web"}},
		Traefik:    &argo.TraefikTrafficRouting{WeightedTraefikServiceName: "web"},
		Plugins:    map[string]json.RawMessage{GatewayAPIPlugin: json.RawMessage(`{"tlsRoute":"web"}`)},
	}
	v := Versions{Istio: "v1", Ambassador: "x.getambassador.io/v3alpha1", Traefik: "traefik.containo.us/v1alpha1", TLSRoute: "v1alpha3"}
	routers, err := v.For("shop", routing)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range routers {
		for _, ref := range r.Refs(Intent{Name: "web", Namespace: "shop"}) {
			got = append(got, ref.GroupVersion().String()+" "+ref.String())
		}
	}
	want := []string{
		"networking.istio.io/v1 VirtualService shop/web",
		"x.getambassador.io/v3alpha1 AmbassadorMapping shop/web",
		"x.getambassador.io/v3alpha1 AmbassadorMapping shop/web-canary",
		"traefik.containo.us/v1alpha1 TraefikService shop/web",
		"gateway.networking.k8s.io/v1alpha3 TLSRoute shop/web",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestRefsHaveEverythingThatATranslationReads(t *testing.T) {
	t.Parallel()
	for _, f := range routerFixtures {
		g := load(t, "testdata/"+f.file+".yaml")
		in := restOf(g)
		in.Weight = 1
		in.Additional = nil
		if f.experiments {
			in.Additional = []argo.WeightDestination{{ServiceName: "exp-x", PodTemplateHash: "h", Weight: 1}}
		}
		all := world(t, g.Objects)
		routers, err := For(in.Namespace, in.Routing)
		if err != nil {
			t.Fatal(err)
		}
		asked := Objects{}
		for _, r := range routers {
			for _, ref := range r.Refs(in) {
				for have, o := range all {
					if have == ref || ref.Selector != "" && have.GroupVersionKind == ref.GroupVersionKind && have.Namespace == ref.Namespace {
						asked[have] = o
					}
				}
			}
		}
		whole, _, _, err := translate(in, all)
		if err != nil {
			t.Fatal(err)
		}
		part, _, _, err := translate(in, asked)
		if err != nil {
			t.Fatalf("%s: with only what Refs ask for: %v", f.file, err)
		}
		for ref, o := range part {
			if !equal(o.Object, whole[ref].Object) {
				t.Errorf("%s: %s differs when only Refs are given", f.file, ref)
			}
		}
	}
}

func TestThePortOfAnExperimentIsTheOneNamedHTTPElseTheFirst(t *testing.T) {
	t.Parallel()
	template := &corev1.PodTemplateSpec{}
	if Port(template) != 0 {
		t.Error("a port of nothing")
	}
	template.Spec.Containers = []corev1.Container{{}, {Ports: []corev1.ContainerPort{{ContainerPort: 9090}}}, {Ports: []corev1.ContainerPort{{Name: "grpc", ContainerPort: 1}, {Name: "http", ContainerPort: 8080}}}}
	if got := Port(template); got != 8080 {
		t.Error(got)
	}
	template.Spec.Containers = template.Spec.Containers[:2]
	if got := Port(template); got != 9090 {
		t.Error(got)
	}
}

func TestAnIntentCanBeWrittenAsJSON(t *testing.T) {
	t.Parallel()
	if _, err := json.Marshal(Intent{Loaded: map[Ref][]RuleWeights{{Name: "a"}: {}}}); err != nil {
		t.Error(err)
	}
}

// onePath is a data path that serves one route.
type onePath struct {
	name    string
	weights Weights
}

func (onePath) SetWeights(context.Context, Ref, string, string, string, Weights) (func(string, error), error) {
	return func(string, error) {}, nil
}

func (p onePath) LoadedWeights(route Ref, canary, stable string) ([]RuleWeights, bool) {
	return []RuleWeights{{"0", p.weights}}, route.Name == p.name && canary == "web-canary" && stable == "web-stable"
}

func TestLoadedHasTheRoutesThatTheDataPathServes(t *testing.T) {
	t.Parallel()
	g := load(t, "testdata/gatewayapi-header-and-mirror.yaml")
	objects := world(t, g.Objects)
	routers, err := Versions{}.For(g.Intent.Namespace, g.Routing)
	if err != nil {
		t.Fatal(err)
	}
	if got := Loaded(nil, g.Intent, routers, objects); got != nil {
		t.Error(got)
	}
	got := Loaded(onePath{"plain", Weights{Canary: 20, Stable: 80}}, g.Intent, routers, objects)
	if len(got) != 1 {
		t.Fatal(got)
	}
	for ref, w := range got {
		if ref.Name != "plain" || ref.Kind != "HTTPRoute" || len(w) != 1 || w[0].Canary != 20 {
			t.Error(ref, w)
		}
	}
	if got := Loaded(onePath{name: "plain"}, Intent{}, routers, objects); len(got) != 0 {
		t.Error("another Rollout's Services are served", got)
	}
}

func TestNamesOfVirtualServicesMayHaveANamespaceAndDots(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][2]string{
		"web":                     {"", "web"},
		"web.edge":                {"edge", "web"},
		"web.edge.cluster.local":  {"edge", "web"},
		"web.v1.edge":             {"edge", "web.v1"},
		"web.v1.ns.cluster.local": {"ns", "web.v1"},
		"cluster.local":           {"local", "cluster"},
	} {
		if namespace, short := VirtualServiceName(name); namespace != want[0] || short != want[1] {
			t.Errorf("%s: %q %q, want %q", name, namespace, short, want)
		}
	}
}

func TestNamesOfCanaryIngressesAreCutToWhatKubernetesTakes(t *testing.T) {
	t.Parallel()
	if got := CanaryIngress("web", "edge"); got != "web-edge-canary" {
		t.Error(got)
	}
	if got := CanaryIngress(strings.Repeat("r", 200), strings.Repeat("i", 200)); len(got) != 253 || !strings.HasSuffix(got, "i-canary") {
		t.Error(len(got), got)
	}
}

func TestIstioTakesTrafficAwayBeforeItMovesASubsetAndGivesItAfter(t *testing.T) {
	t.Parallel()
	g := load(t, "testdata/istio-managed-routes.yaml")
	objects := world(t, g.Objects)
	for weight, first := range map[int32]string{0: "VirtualService", 60: "DestinationRule"} {
		in := restOf(g)
		in.CanaryHash, in.StableHash, in.Weight = "newer", "old1", weight
		routers, err := For(in.Namespace, in.Routing)
		if err != nil {
			t.Fatal(err)
		}
		result, err := routers[0].Translate(in, objects)
		if err != nil {
			t.Fatal(err)
		}
		if len(result.Changes) != 3 || result.Changes[0].After.GetKind() != first {
			t.Errorf("weight %d: first of %d changes is %s, want %s of 3", weight, len(result.Changes), result.Changes[0].After.GetKind(), first)
		}
	}
}

func TestReleaseOfADestinationRuleTakesHashesAndMarkAway(t *testing.T) {
	t.Parallel()
	objects := world(t, []map[string]any{{
		"apiVersion": "networking.istio.io/v1alpha3", "kind": "DestinationRule",
		"metadata": map[string]any{"name": "web", "namespace": "shop", "annotations": map[string]any{managedByAnnotation: "web", "keep": "me"}},
		"spec": map[string]any{"host": "web", "subsets": []any{
			map[string]any{"name": "stable", "labels": map[string]any{"app": "web", hashLabel: "abc"}},
			map[string]any{"name": "canary", "labels": map[string]any{hashLabel: "def"}},
		}},
	}})
	for _, o := range objects {
		if got := Managers(o); !slices.Equal(got, []string{"web"}) {
			t.Error(got)
		}
		if change, err := Release(o, "other"); change != nil || err != nil {
			t.Error("released for another Rollout", change, err)
		}
		change, err := Release(o, "web")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(yamlOf(Objects{{}: change.After}), hashLabel) || len(Managers(change.After)) > 0 || change.After.GetAnnotations()["keep"] != "me" {
			t.Error(yamlOf(Objects{{}: change.After}))
		}
		if again, err := Release(change.After, "web"); again != nil || err != nil {
			t.Error("released twice", again, err)
		}
	}
}

func TestReleaseOfAnIngressSendsAllTrafficToTheServiceAndKeepsOthersBooks(t *testing.T) {
	t.Parallel()
	g := load(t, "testdata/alb-header-routes.yaml")
	after, _, _, err := translate(g.Intent, world(t, g.Objects))
	if err != nil {
		t.Fatal(err)
	}
	ingress := after[ingressRef("shop", "web")]
	books, _ := readBooks(ingress)
	books["other"] = []string{"alb.example.com/actions.elsewhere"}
	if err := books.write(ingress); err != nil {
		t.Fatal(err)
	}
	if got := Managers(ingress); !slices.Equal(got, []string{"other", "web"}) {
		t.Error(got)
	}
	change, err := Release(ingress, "web")
	if err != nil {
		t.Fatal(err)
	}
	annotations := change.After.GetAnnotations()
	want := map[string]string{
		"alb.example.com/actions.web-stable": `{"Type":"forward","ForwardConfig":{"TargetGroups":[{"ServiceName":"web-stable","ServicePort":"80","Weight":100}]}}`,
		albBookkeeping:                       `{"other":["alb.example.com/actions.elsewhere"]}`,
	}
	if len(annotations) != len(want) {
		t.Error(annotations)
	}
	for key, value := range want {
		if annotations[key] != value {
			t.Errorf("%s is %s, want %s", key, annotations[key], value)
		}
	}
	if ingressServes(change.After, "vip") || !ingressServes(change.After, "web-stable") || !ingressServes(change.After, "static") {
		t.Error("paths are not those of the user:", yamlOf(Objects{{}: change.After}))
	}
}

func TestAWeightedActionOfAFormerRootServiceIsTakenBack(t *testing.T) {
	t.Parallel()
	g := load(t, "testdata/alb-weights.yaml")
	after, _, _, err := translate(g.Intent, world(t, g.Objects))
	if err != nil {
		t.Fatal(err)
	}
	in := g.Intent
	routing := *in.Routing.DeepCopy()
	routing.ALB.RootService = "other-root"
	routing.ALB.Ingresses = []string{"web"}
	in.Routing = &routing
	if after, _, _, err = translate(in, after); err != nil {
		t.Fatal(err)
	}
	got := after[ingressRef("shop", "web")].GetAnnotations()["alb.ingress.kubernetes.io/actions.web-root"]
	if !strings.Contains(got, `"TargetGroups":[{"ServiceName":"web-stable","ServicePort":"443","Weight":100}]`) {
		t.Error(got)
	}
}

func TestBooksThatCannotBeReadAreAnErrorAndNothingIsWritten(t *testing.T) {
	t.Parallel()
	g := load(t, "testdata/alb-weights.yaml")
	objects := world(t, g.Objects)
	objects[ingressRef("shop", "web-internal")].SetAnnotations(map[string]string{albBookkeeping: "web: actions"})
	_, _, writes, err := translate(g.Intent, objects)
	if err == nil || !strings.Contains(err.Error(), "Ingress shop/web-internal: annotation "+albBookkeeping) || writes != 0 {
		t.Error(err, writes)
	}
}

func BenchmarkTranslateOfARouteThatIsAsItShouldBe(b *testing.B) {
	g := load(b, "testdata/gatewayapi-weights.yaml")
	objects, _, _, err := translate(g.Intent, world(b, g.Objects))
	if err != nil {
		b.Fatal(err)
	}
	routers, _ := For(g.Intent.Namespace, g.Intent.Routing)
	b.ReportAllocs()
	for b.Loop() {
		if result, err := routers[0].Translate(g.Intent, objects); err != nil || len(result.Changes) > 0 {
			b.Fatal(result, err)
		}
	}
}
