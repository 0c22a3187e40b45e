package live_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/jsonpath"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/live/house"
)

// routerCase is a file of testdata/routers: a router's objects, and what is in them at each stage of a canary.
type routerCase struct {
	About   string                      `json:"about"`
	Kinds   []routerKind                `json:"kinds"`
	Routing *argo.RolloutTrafficRouting `json:"routing"`
	// Routes are steps between the first pause and the second, for managed routes.
	Routes []argo.CanaryStep `json:"routes,omitempty"`
	// Objects of the user. The first is the one that goes missing for a while; none goes when it is the router's own.
	Objects []map[string]any `json:"objects"`
	Look    []routerLook     `json:"look"`
	// Refused is whether a Rollout without that object is an invalid one: then it says so, else that traffic cannot be routed.
	Refused bool `json:"refused,omitempty"`
	// Keep are names of objects whose spec is not the same at the end, because hashes of revisions are in it.
	Keep []string `json:"keep,omitempty"`
}

// routerKind is a kind to define, with the schema of its spec where defaults or rules of the real one matter.
type routerKind struct {
	Group, Version, Kind string
	Spec                 json.RawMessage `json:"spec,omitempty"`
}

// routerLook is a JSONPath into an object, and what it gives: at rest (before the update, and after it), at 20 % and at 60 %,
// and after an abort. An object that does not exist gives "absent". CANARY and STABLE stand for the hashes of revisions.
type routerLook struct {
	Kind, Name, Path           string
	Rest, First, Second, Abort string
}

const routedByAny = `
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: "web:1", ports: [{name: http, containerPort: 8080}]}]}
  strategy:
    canary:
      stableService: web
      canaryService: web-canary
      steps: [{setWeight: 20}, {pause: {}}, {setWeight: 60}, {pause: {}}]
`

// A canary is played with every router: to 20 %, its object away and back, to 60 % with managed routes, aborted, and to the end.
func TestEveryRouterFollowsACanaryAndIsLeftAsItWas(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/routers/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := &routerPlay{T: t}
			if err := yaml.UnmarshalStrict(b, &p.routerCase, yaml.DisallowUnknownFields); err != nil {
				t.Fatal(err)
			}
			p.play()
		})
	}
}

type routerPlay struct {
	*testing.T
	routerCase
	c              *kubetest.Cluster
	h              *wiring
	ns             string
	ro             *rollouts.Rollout
	canary, stable string // hashes
}

func (p *routerPlay) play() {
	p.c, p.h = serve(p.T)
	for _, k := range p.Kinds {
		house.Define(p.T, p.c, schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind}, string(k.Spec))
	}
	p.ns = p.c.Namespace(p.T)
	p.ro = house.Read(p.T, &rollouts.Rollout{}, p.ns, routedByAny)
	canary := p.ro.Spec.Strategy.Canary
	canary.TrafficRouting = p.Routing
	canary.Steps = slices.Insert(canary.Steps, 2, p.Routes...)
	house.Create(p.T, p.c, service(p.ns, "web"), service(p.ns, "web-canary"))
	for _, o := range p.Objects {
		house.Create(p.T, p.c, p.object(o))
	}
	house.Create(p.T, p.c, p.ro)

	p.await(argo.RolloutPhaseHealthy, nil)
	p.stable = p.ro.Status.StableRS
	p.looks("at rest", func(l routerLook) string { return l.Rest })
	before := p.specs()

	patch(p.T, p.c, p.ro, image("2"))
	p.await(argo.RolloutPhasePaused, at(1))
	p.canary = p.ro.Status.CurrentPodHash
	p.looks("at 20 %", func(l routerLook) string { return l.First })
	if len(p.Objects) > 0 && p.Look[0].Name == p.object(p.Objects[0]).GetName() {
		p.lose()
	}

	second := int32(3 + len(p.Routes))
	p.status(`{"status":{"pauseConditions":null}}`)
	p.await(argo.RolloutPhasePaused, at(second))
	p.looks("at 60 %", func(l routerLook) string { return l.Second })

	p.status(`{"status":{"abort":true}}`)
	p.await(argo.RolloutPhaseDegraded, nil)
	p.looks("after an abort", func(l routerLook) string { return l.Abort })

	p.status(`{"status":{"abort":false,"promoteFull":true}}`)
	p.await(argo.RolloutPhaseHealthy, func(ro *rollouts.Rollout) string {
		if ro.Status.StableRS != p.canary {
			return "the new revision is not stable yet"
		}
		return ""
	})
	p.stable = p.canary
	p.looks("at the end", func(l routerLook) string { return l.Rest })
	p.compare(before)
	const writesMax = 60 // an update takes about 25; a controller that fights with defaults takes hundreds
	if w := p.h.writes.In(p.ns); len(w) > writesMax {
		p.Errorf("%d writes: %v", len(w), w)
	}
}

// await a phase and take over the Rollout.
func (p *routerPlay) await(phase argo.RolloutPhase, more func(*rollouts.Rollout) string) {
	p.Helper()
	p.ro = await(p.T, p.c, p.ro, phase, more)
}

func (p *routerPlay) status(body string) {
	p.Helper()
	patchStatus(p.T, p.c, p.ro, body)
}

// lose takes the first object away, looks whether the others and the record stay as they are, and brings it back.
func (p *routerPlay) lose() {
	p.Helper()
	lost := p.object(p.Objects[0])
	if err := p.c.Objects.Delete(p.Context(), lost); err != nil {
		p.Fatal(err)
	}
	if p.Refused {
		p.await(argo.RolloutPhaseDegraded, func(ro *rollouts.Rollout) string {
			if !strings.Contains(ro.Status.Message, "InvalidSpec") || !strings.Contains(ro.Status.Message, lost.GetName()) {
				return "the message is " + ro.Status.Message
			}
			return ""
		})
	} else {
		p.told("TrafficRoutingError", lost.GetName())
	}
	if err := p.c.Objects.Get(p.Context(), client.ObjectKeyFromObject(p.ro), p.ro); err != nil {
		p.Fatal(err)
	}
	if w := p.ro.Status.Canary.Weights; w == nil || w.Canary.Weight != 20 || *p.ro.Status.CurrentStepIndex != 1 {
		p.Errorf("without %s the weights on record are %+v at step %v", lost.GetName(), w, p.ro.Status.CurrentStepIndex)
	}
	for _, l := range p.Look {
		if l.Name != lost.GetName() {
			p.look(l, "while another object is missing", l.First)
		}
	}
	house.Create(p.T, p.c, p.object(p.Objects[0]))
	p.looks("when it is back", func(l routerLook) string { return l.First })
	p.await(argo.RolloutPhasePaused, at(1))
}

// told waits for an Event on the Rollout.
func (p *routerPlay) told(reason, about string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), kubetest.Patience)
	defer cancel()
	w, err := p.c.Objects.Watch(ctx, &corev1.EventList{}, client.InNamespace(p.ns))
	if err != nil {
		p.Fatal(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if e, ok := e.Object.(*corev1.Event); ok && e.Reason == reason && strings.Contains(e.Message, about) {
			return
		}
	}
	p.Errorf("no event %s tells of %s", reason, about)
}

func (p *routerPlay) looks(stage string, want func(routerLook) string) {
	p.Helper()
	for _, l := range p.Look {
		p.look(l, stage, want(l))
	}
}

// look waits until a path gives what is wanted.
func (p *routerPlay) look(l routerLook, stage, want string) {
	p.Helper()
	want = strings.NewReplacer("CANARY", p.canary, "STABLE", p.stable).Replace(want)
	if want == "absent" {
		kubetest.Gone(p.T, p.c, p.named(l.Kind, l.Name))
		return
	}
	kubetest.Eventually(p.T, p.c, p.named(l.Kind, l.Name), func(u *unstructured.Unstructured) string {
		path := jsonpath.New(l.Name).AllowMissingKeys(true) // one for each look: an error in the middle of a range stays in it
		if err := path.Parse(l.Path); err != nil {
			return err.Error()
		}
		var got bytes.Buffer
		if err := path.Execute(&got, u.Object); err != nil {
			return err.Error()
		}
		if got.String() != want {
			return fmt.Sprintf("%s: %s of %s %s is %q, want %q", stage, l.Path, l.Kind, l.Name, got.String(), want)
		}
		return ""
	})
}

// object of the user in the test's namespace.
func (p *routerPlay) object(o map[string]any) *unstructured.Unstructured {
	p.Helper()
	b, err := json.Marshal(o)
	u := &unstructured.Unstructured{}
	if err == nil {
		err = u.UnmarshalJSON(b)
	}
	if err != nil {
		p.Fatal(err)
	}
	u.SetNamespace(p.ns)
	return u
}

// named is an object of one of the case's kinds, by its name alone.
func (p *routerPlay) named(kind, name string) *unstructured.Unstructured {
	p.Helper()
	i := slices.IndexFunc(p.Kinds, func(k routerKind) bool { return k.Kind == kind })
	if i < 0 {
		p.Fatalf("the case defines no kind %s", kind)
	}
	k := p.Kinds[i]
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind})
	u.SetNamespace(p.ns)
	u.SetName(name)
	return u
}

// specs are the user's objects as they are: what people write of them, without the hashes of revisions.
func (p *routerPlay) specs() map[string]string {
	p.Helper()
	out := map[string]string{}
	for _, o := range p.Objects {
		u := p.object(o)
		if err := p.c.Objects.Get(p.Context(), client.ObjectKeyFromObject(u), u); err != nil && !apierrors.IsNotFound(err) {
			p.Fatal(err)
		}
		b, err := yaml.Marshal(map[string]any{"labels": u.GetLabels(), "annotations": u.GetAnnotations(), "spec": u.Object["spec"]})
		if err != nil {
			p.Fatal(err)
		}
		text := string(b)
		for _, hash := range []string{p.canary, p.stable} {
			if hash != "" {
				text = strings.ReplaceAll(text, hash, "HASH")
			}
		}
		out[u.GetKind()+" "+u.GetName()] = text
	}
	return out
}

func (p *routerPlay) compare(before map[string]string) {
	p.Helper()
	after := p.specs()
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if !slices.Contains(p.Keep, name) && before[name] != after[name] {
			p.Errorf("%s was\n%s\nand is in the end\n%s", name, before[name], after[name])
		}
	}
}

// A field that another controller or a person adds in the middle of an update is theirs.
func TestFieldsOfOthersOnARouterStayWhileWeightsChange(t *testing.T) {
	t.Parallel()
	c, _ := serve(t)
	ns := c.Namespace(t)
	kind := schema.GroupVersionKind{Group: "traefik.io", Version: "v1alpha1", Kind: "TraefikService"}
	house.Define(t, c, kind, "")
	split := house.Read(t, &unstructured.Unstructured{}, ns, `
apiVersion: traefik.io/v1alpha1
kind: TraefikService
metadata: {name: web}
spec: {weighted: {services: [{name: web, port: 80}, {name: web-canary, port: 80}]}}
`)
	ro := house.Read(t, &rollouts.Rollout{}, ns, routedByAny)
	ro.Spec.Strategy.Canary.TrafficRouting = &argo.RolloutTrafficRouting{Traefik: &argo.TraefikTrafficRouting{WeightedTraefikServiceName: "web"}}
	house.Create(t, c, service(ns, "web"), service(ns, "web-canary"), split, ro)
	await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	patch(t, c, ro, image("2"))
	await(t, c, ro, argo.RolloutPhasePaused, at(1))
	body := `{"metadata":{"annotations":{"team":"shop"}},"spec":{"weighted":{"sticky":{"cookie":{"name":"lb"}}}}}`
	if err := c.Objects.Patch(t.Context(), split, client.RawPatch(types.MergePatchType, []byte(body))); err != nil {
		t.Fatal(err)
	}
	patchStatus(t, c, ro, `{"status":{"pauseConditions":null}}`)
	await(t, c, ro, argo.RolloutPhasePaused, at(3))
	split = &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"namespace": ns, "name": "web"}}}
	split.SetGroupVersionKind(kind)
	kubetest.Eventually(t, c, split, func(u *unstructured.Unstructured) string {
		services, _, _ := unstructured.NestedSlice(u.Object, "spec", "weighted", "services")
		cookie, _, _ := unstructured.NestedString(u.Object, "spec", "weighted", "sticky", "cookie", "name")
		if len(services) != 2 || services[1].(map[string]any)["weight"] != int64(60) || cookie != "lb" || u.GetAnnotations()["team"] != "shop" {
			return fmt.Sprintf("%+v", u.Object)
		}
		return ""
	})
}

// Weights that somebody else writes are put right at once: the Rollout's are the ones that count.
func TestWeightThatSomebodyElseWritesIsPutRight(t *testing.T) {
	t.Parallel()
	c, _ := serve(t)
	ns := c.Namespace(t)
	ro := routed(t, c, ns)
	patch(t, c, ro, image("2"))
	await(t, c, ro, argo.RolloutPhasePaused, at(1))
	weight(t, c, ns, "10")
	_, err := c.Client.NetworkingV1().Ingresses(ns).Patch(t.Context(), "web-web-canary", types.MergePatchType,
		[]byte(`{"metadata":{"annotations":{"`+weightAnnotation+`":"99"}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	weight(t, c, ns, "10")
}
