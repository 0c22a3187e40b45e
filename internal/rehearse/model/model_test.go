package model

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/flow"
	"sigs.k8s.io/yaml"
)

var begin = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

func read(t testing.TB, file string) []runtime.Object {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []runtime.Object
	for _, doc := range strings.Split(string(data), "\n---") {
		lines := slices.DeleteFunc(strings.Split(doc, "\n"), func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), "#") || strings.TrimSpace(l) == "" })
		if len(lines) == 0 {
			continue
		}
		o, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(doc), nil, nil)
		if err != nil {
			t.Fatalf("%s: %v in\n%s", file, err, doc)
		}
		out = append(out, o)
	}
	return out
}

func spec(t testing.TB, text string) *v1alpha1.ScenarioSpec {
	t.Helper()
	var s v1alpha1.ScenarioSpec
	if err := yaml.UnmarshalStrict([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

func build(t testing.TB, text string, rates ...float64) *Topology {
	t.Helper()
	top, err := Build(Input{Scenario: spec(t, text), Objects: read(t, filepath.Join("testdata", "bakery.yaml")), MeanRate: rates, Start: begin, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := flow.New(top.Config); err != nil {
		t.Fatalf("the flow model refuses what Build made: %v", err)
	}
	return top
}

func find(t testing.TB, top *Topology, name string) (int, flow.Service) {
	t.Helper()
	for i, s := range top.Config.Services {
		if s.Name == name {
			return i, s
		}
	}
	t.Fatalf("no service %s", name)
	return 0, flow.Service{}
}

func TestEdgesAreFoundInEnvironmentArgumentsAndConfigMaps(t *testing.T) {
	t.Parallel()
	var got []string
	for _, e := range Edges(read(t, filepath.Join("testdata", "bakery.yaml"))) {
		got = append(got, e.From+" "+e.To+" "+e.Because)
	}
	want := []string{
		"Deployment/bakery/oven bakery/flour ConfigMap oven-config key application.yaml",
		"Deployment/bakery/shop bakery/oven environment variable OVEN_URL",
		"Deployment/bakery/shop stores/ledger environment variable LEDGER from ConfigMap shop-config",
		"Deployment/bakery/shop bakery/till argument --till=till.bakery.svc.cluster.local:9000",
	}
	if !slices.Equal(got, want) {
		t.Errorf("edges are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestLoadGeneratorBecomesAClosedLoop(t *testing.T) {
	t.Parallel()
	top := build(t, `{}`)
	if len(top.Config.Loads) != 1 {
		t.Fatalf("loads are %+v, want the generator's", top.Config.Loads)
	}
	l := top.Config.Loads[0]
	i, _ := find(t, top, "bakery/shop")
	if l.Name != "bakery/customers" || l.Users != 50 || l.Service != i || l.Think != 5500*time.Millisecond {
		t.Errorf("the load is %+v, want 2 pods × 25 users to bakery/shop thinking 5.5s", l)
	}
}

func TestLoadGeneratorIsSwitchedOffWhenTheScenarioLoadsItsTarget(t *testing.T) {
	t.Parallel()
	top := build(t, `load: [{name: users, to: bakery/shop, rate: 100}]`, 100)
	if len(top.Config.Loads) != 1 || top.Config.Loads[0].Name != "users" {
		t.Errorf("loads are %+v, want the scenario's alone", top.Config.Loads)
	}
	if !assumed(top, "bakery/customers load", "switched off") {
		t.Errorf("nothing says that the generator is off: %+v", top.Assumed)
	}
}

func assumed(top *Topology, what, value string) bool {
	for _, a := range top.Assumed {
		if a.What == what && strings.Contains(a.Value, value) {
			return true
		}
	}
	return false
}

func TestCPUARequestFollowsFromRequestRateAndAutoscaler(t *testing.T) {
	t.Parallel()
	top := build(t, `load: [{name: users, to: bakery/shop, rate: 100}]`, 100)
	_, shop := find(t, top, "bakery/shop")
	// 3 replicas × 500m × 50 % ÷ 100/s.
	if got := shop.Model.Routes[0].CPU; got != 7500*time.Microsecond {
		t.Errorf("shop costs %v a request, want 7.5ms", got)
	}
	// The HPA of oven aims at 50 %: 2 × 1 core × 40 % ÷ 100/s.
	_, oven := find(t, top, "bakery/oven")
	if got := oven.Model.Routes[0].CPU; got != 8*time.Millisecond {
		t.Errorf("oven costs %v a request, want 8ms", got)
	}
	if !assumed(top, "bakery/oven cpu a request", "8ms") {
		t.Errorf("the cost of oven is not among the assumptions")
	}
}

func TestRuntimeSetsThreadsAndWarmup(t *testing.T) {
	t.Parallel()
	top := build(t, `load: [{name: users, to: bakery/shop, rate: 100}]`, 100)
	_, oven := find(t, top, "bakery/oven")
	if m := oven.Model; !m.ThreadsByLimit || m.Warmup.Factor != 3 || m.Warmup.StartCores != 1 || !m.Memory.KeepsPeak {
		t.Errorf("oven runs on a JVM, its model is %+v", m)
	}
	_, flour := find(t, top, "bakery/flour")
	if flour.Model.Threads != 1 {
		t.Errorf("redis uses %d threads, want 1", flour.Model.Threads)
	}
	_, till := find(t, top, "bakery/till")
	if till.Model.Balance != flow.Connection {
		t.Errorf("a gRPC port through a ClusterIP is balanced as %v, want by connection", till.Model.Balance)
	}
	_, shop := find(t, top, "bakery/shop")
	if shop.Model.Threads != 4 {
		t.Errorf("four python workers make %d threads", shop.Model.Threads)
	}
}

func TestUnreachedWorkloadsUseAConstant(t *testing.T) {
	t.Parallel()
	top := build(t, `load: [{name: users, to: bakery/oven, rate: 100}]`, 100)
	_, logger := find(t, top, "bakery/logger")
	if !logger.Constant || logger.Usage.CPURequestShare != .5 || logger.Usage.MemoryRequestShare != .7 {
		t.Errorf("the DaemonSet is %+v, want half of its CPU request and 70 %% of its memory request", logger)
	}
	_, flour := find(t, top, "bakery/flour")
	if flour.Constant {
		t.Errorf("flour is called by oven, yet it is constant")
	}
}

func TestLaterEntriesOverrideFieldByField(t *testing.T) {
	t.Parallel()
	top := build(t, `
load: [{name: users, to: bakery/shop, rate: 100, mix: {buy: 1, look: 9}}]
services:
- {match: "bakery/*", cpu: 2ms, errors: 1%, timeout: 3s}
- match: Deployment/bakery/shop
  cpu: 4ms
  retries: {max: 2, budget: 20%}
  routes:
    buy: {cpu: 9ms, calls: ["till*2", [oven, "flour?"]]}
- {match: {selector: app=oven}, cpu: 5ms}
- {match: bakery/shop, image: "*:v2.4", cpuFactor: 1.3, errors: 1.5%}
`, 100)
	i, shop := find(t, top, "bakery/shop")
	m := shop.Model
	if m.Client.Timeout != 3*time.Second || m.Client.Retries != 2 || m.Client.RetryBudget != .2 {
		t.Errorf("shop as a client is %+v", m.Client)
	}
	routes := map[string]flow.Route{}
	for _, r := range m.Routes {
		routes[r.Name] = r
	}
	if routes["*"].CPU != 4*time.Millisecond || routes["look"].CPU != 4*time.Millisecond || routes["buy"].CPU != 9*time.Millisecond {
		t.Errorf("CPU by route is %v", m.Routes)
	}
	if routes["buy"].Errors != .01 || len(routes["look"].Calls) != 3 {
		t.Errorf("route look is %+v, want the three inferred calls; buy fails %v", routes["look"], routes["buy"].Errors)
	}
	c := routes["buy"].Calls
	if len(c) != 3 || c[0].Count != 2 || c[0].Parallel != 0 || c[1].Parallel == 0 || c[1].Parallel != c[2].Parallel || !c[2].Optional {
		t.Errorf("calls of buy are %+v", c)
	}
	if _, oven := find(t, top, "bakery/oven"); oven.Model.Routes[0].CPU != 5*time.Millisecond {
		t.Errorf("oven by selector costs %v", oven.Model.Routes[0].CPU)
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "registry.example/bakery/shop:v2.4"}}}}
	if r := top.RevisionOf(i, pod); r.CPUFactor != 1.3 || r.Errors != .015 {
		t.Errorf("the bad release is %+v", r)
	}
	pod.Spec.Containers[0].Image = "registry.example/bakery/shop:v2.3"
	if r := top.RevisionOf(i, pod); r.CPUFactor != 1 || r.Errors != 0 {
		t.Errorf("the good release is %+v", r)
	}
}

func TestSetStepsChangeAndRestoreAModel(t *testing.T) {
	t.Parallel()
	top := build(t, `load: [{name: users, to: bakery/shop, rate: 100}]`, 100)
	i, before := find(t, top, "bakery/shop")
	slow := v1alpha1.DurationOf(50 * time.Millisecond)
	h, concerned, err := top.Set(v1alpha1.Service{Match: v1alpha1.Match{Name: "bakery/shop"}, ServiceModel: v1alpha1.ServiceModel{RouteModel: v1alpha1.RouteModel{CPU: &slow}}})
	if err != nil || !slices.Equal(concerned, []int{i}) {
		t.Fatalf("set concerns %v (%v), want %d", concerned, err, i)
	}
	if got := top.Config.Services[i].Model.Routes[0].CPU; got != slow.Duration {
		t.Errorf("after set a request costs %v", got)
	}
	top.Unset(h)
	if got := top.Config.Services[i].Model.Routes[0].CPU; got != before.Model.Routes[0].CPU {
		t.Errorf("after the step is undone a request costs %v, before %v", got, before.Model.Routes[0].CPU)
	}
	if _, _, err := top.Set(v1alpha1.Service{Match: v1alpha1.Match{Name: "bakery/nobody"}}); err == nil || !strings.Contains(err.Error(), "bakery/shop") {
		t.Errorf("a set step without match says %v", err)
	}
}

func TestEndlessCallCirclesAreRefused(t *testing.T) {
	t.Parallel()
	_, err := Build(Input{Objects: read(t, filepath.Join("testdata", "bakery.yaml")), Start: begin, Scenario: spec(t, `
load: [{name: users, to: bakery/shop, rate: 1}]
services: [{match: bakery/shop, calls: [oven]}, {match: bakery/oven, calls: [shop]}]
`)})
	if err == nil || !strings.Contains(err.Error(), "bakery/shop → bakery/oven → bakery/shop") {
		t.Errorf("the error is %v, want the circle by name", err)
	}
	top, err := Build(Input{Objects: read(t, filepath.Join("testdata", "bakery.yaml")), Start: begin, Scenario: spec(t, `
load: [{name: users, to: bakery/shop, rate: 1}]
services: [{match: bakery/shop, calls: [oven]}, {match: bakery/oven, calls: ["shop*0.3"]}]
`)})
	if err != nil {
		t.Errorf("a circle that dies out is refused: %v", err)
	} else if _, err := flow.New(top.Config); err != nil {
		t.Error(err)
	}
}

func TestPodsFindTheirService(t *testing.T) {
	t.Parallel()
	top := build(t, `load: [{name: users, to: bakery/shop, rate: 100}]`, 100)
	i, _ := find(t, top, "bakery/shop")
	pod := &corev1.Pod{}
	pod.Namespace, pod.Labels = "bakery", map[string]string{"app": "shop"}
	if got := top.ServiceOf(pod, "Deployment/bakery/shop"); got != i {
		t.Errorf("by workload: %d, want %d", got, i)
	}
	if got := top.ServiceOf(pod, "Rollout/bakery/new"); got != i {
		t.Errorf("by labels: %d, want %d", got, i)
	}
	pod.Labels = nil
	if got := top.ServiceOf(pod, "Deployment/bakery/unknown"); got != len(top.Config.Services)-1 {
		t.Errorf("unknown: %d, want the catch-all", got)
	}
}

func TestExternalListsWhatIsReachableFromOutside(t *testing.T) {
	t.Parallel()
	if got := External(read(t, filepath.Join("testdata", "bakery.yaml"))); !slices.Equal(got, []string{"bakery/shop"}) {
		t.Errorf("reachable from outside are %v, want bakery/shop by its Ingress and load balancer, once", got)
	}
}

func TestOnlineBoutiqueHasFifteenEdgesAndALoadGenerator(t *testing.T) {
	t.Parallel()
	objects := read(t, filepath.Join("..", "..", "..", "examples", "boutique", "manifests.yaml"))
	if edges := Edges(objects); len(edges) != 15 {
		t.Errorf("%d edges, want 15: %+v", len(edges), edges)
	}
	if gens := Generators(objects); len(gens) != 1 || gens[0].Users != 10 || gens[0].To != "default/frontend" {
		t.Errorf("generators are %+v, want one of 10 users to default/frontend", gens)
	}
	top, err := Build(Input{Objects: objects, Start: begin, Scenario: spec(t, `load: [{name: users, to: default/frontend, rate: 100}]`), MeanRate: []float64{100}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := flow.New(top.Config); err != nil {
		t.Fatal(err)
	}
}

func TestProgramsSayWhatRequestsCostAndEntriesWinOverThem(t *testing.T) {
	t.Parallel()
	cost := func(image string) *v1alpha1.ServiceModel {
		text := `cpu: 3ms
latency: {p50: 10ms, p99: 40ms}
errors: 0.2%
concurrency: 8
routes: {buy: {errors: 1%}}`
		switch {
		case strings.HasSuffix(image, ":bad"):
			text = strings.NewReplacer("0.2%", "2%", "1%", "5%").Replace(text)
		case strings.HasSuffix(image, ":slow"):
			text = strings.NewReplacer("3ms", "6ms", "p50: 10ms, p99: 40ms", "p50: 20ms, p99: 80ms").Replace(text)
		case strings.HasSuffix(image, ":narrow"):
			text = strings.Replace(text, "concurrency: 8", "concurrency: 2", 1)
		case !strings.Contains(image, "bakery/shop"):
			return nil
		}
		var m v1alpha1.ServiceModel
		if err := yaml.UnmarshalStrict([]byte(text), &m); err != nil {
			t.Error(err)
		}
		return &m
	}
	top, err := Build(Input{Start: begin, Seed: 1, MeanRate: []float64{100}, Objects: read(t, filepath.Join("testdata", "bakery.yaml")), Scenario: spec(t, `
load: [{name: users, to: bakery/shop, rate: 100, mix: {look: 3, buy: 1}}]
services: [{match: bakery/shop, cpu: 4ms}]
`), Programs: func(namespace string, _ *corev1.PodTemplateSpec, c *corev1.Container) *v1alpha1.ServiceModel {
		if m := cost(c.Image); m != nil && namespace != "bakery" {
			t.Errorf("asked for namespace %q", namespace)
		}
		return cost(c.Image)
	}})
	if err != nil {
		t.Fatal(err)
	}
	i, shop := find(t, top, "bakery/shop")
	r := shop.Model.Routes[0]
	if r.CPU != 4*time.Millisecond || r.LatencyP50 != 10*time.Millisecond || r.Errors != .002 || shop.Model.Concurrency != 8 {
		t.Errorf("a request is %+v with %d workers; want the entry's CPU, and the rest of the Program", r, shop.Model.Concurrency)
	}
	buy := slices.IndexFunc(shop.Model.Routes, func(r flow.Route) bool { return r.Name == "buy" })
	if shop.Model.Routes[buy].Errors != .01 {
		t.Errorf("route buy fails %v", shop.Model.Routes[buy].Errors)
	}
	pod := func(tag string) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "registry.example/bakery/shop:" + tag, Ports: []corev1.ContainerPort{{ContainerPort: 8000}}}}}}
	}
	if r := top.RevisionOf(i, pod("v2.4")); r.RouteErrors != nil || r.CPUFactor != 1 || r.LatencyFactor != 1 {
		t.Errorf("a revision with the same Program differs: %+v", r)
	}
	if r := top.RevisionOf(i, pod("bad")); len(r.RouteErrors) <= buy || r.RouteErrors[0] != .02 || r.RouteErrors[buy] != .05 || r.Errors != 0 {
		t.Errorf("the bad revision is %+v", r)
	}
	if r := top.RevisionOf(i, pod("slow")); r.CPUFactor != 1 || r.LatencyFactor <= 2 {
		t.Errorf("the slow revision is %+v; its CPU is said by the entry, its latency beyond that by the Program", r)
	}
	if top.Unmodelled(i, pod("bad")) || top.Unmodelled(i, pod("slow")) || !top.Unmodelled(i, pod("narrow")) {
		t.Error("what of a revision is not modelled is told wrongly: another concurrency alone is")
	}
	if m := top.Entries[i].Model; m.CPU == nil || m.Errors != nil {
		t.Errorf("what the scenario says is %+v", m)
	}
}
