// Package live_test tries the controllers of Rollouts against the real API server and virtual pods: the wiring, for the
// deciding is tried without a cluster where it is done.
package live_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/config/crd"
	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

// kinds of argoproj.io, by the names of their definitions.
var kinds = []string{"rollouts.argoproj.io", "analysistemplates.argoproj.io", "clusteranalysistemplates.argoproj.io",
	"analysisruns.argoproj.io", "experiments.argoproj.io"}

var (
	once    sync.Once
	quiet   sync.Once
	running *kubetest.Cluster
	current *house
	crds    error
)

// cluster is the package's cluster with the kinds installed, and no controller of Rollouts.
func cluster(t testing.TB) *kubetest.Cluster {
	t.Helper()
	c := kubetest.Start(t, rollouts.AddToScheme, apiextensionsv1.AddToScheme)
	once.Do(func() { running, crds = c, install(c) })
	if crds != nil {
		t.Fatalf("installing the kinds: %v", crds)
	}
	return c
}

func install(c *kubetest.Cluster) error {
	ctx, cancel := context.WithTimeout(context.Background(), kubetest.Patience)
	defer cancel()
	for _, name := range kinds {
		b, err := crd.Definition(name, os.Getenv("FAIRWAY_TEST_SMALL") != "")
		if err != nil {
			return err
		}
		def := &apiextensionsv1.CustomResourceDefinition{}
		if err := json.Unmarshal(b, def); err != nil {
			return err
		}
		if err := c.Objects.Create(ctx, def); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	for _, list := range []client.ObjectList{&rollouts.RolloutList{}, &argo.AnalysisTemplateList{}, &argo.ClusterAnalysisTemplateList{}, &argo.AnalysisRunList{}, &argo.ExperimentList{}} {
		for c.Objects.List(ctx, list) != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// house is a manager with the controller of Rollouts in it.
type house struct {
	controller *rollout.Controller
	events     *rollout.Events
	writes     *counting
	end        func()
}

// counting counts a client's writes by what they write.
type counting struct {
	client.Client
	mu sync.Mutex
	by map[string]int
}

func (c *counting) note(verb string, obj client.Object) {
	if _, ok := obj.(*corev1.Event); ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[fmt.Sprintf("%s %s %T", obj.GetNamespace(), verb, obj)]++
}

// of a namespace so far.
func (c *counting) of(ns string) (n int, what []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(c.by)) {
		if rest, ok := strings.CutPrefix(k, ns+" "); ok {
			n += c.by[k]
			what = append(what, fmt.Sprintf("%d× %s", c.by[k], rest))
		}
	}
	return n, what
}

// Create implements client.Client.
func (c *counting) Create(ctx context.Context, obj client.Object, o ...client.CreateOption) error {
	c.note("create", obj)
	return c.Client.Create(ctx, obj, o...)
}

// Patch implements client.Client.
func (c *counting) Patch(ctx context.Context, obj client.Object, p client.Patch, o ...client.PatchOption) error {
	c.note("patch", obj)
	return c.Client.Patch(ctx, obj, p, o...)
}

// Delete implements client.Client.
func (c *counting) Delete(ctx context.Context, obj client.Object, o ...client.DeleteOption) error {
	c.note("delete", obj)
	return c.Client.Delete(ctx, obj, o...)
}

// SubResource implements client.Client.
func (c *counting) SubResource(name string) client.SubResourceClient {
	return countingSub{c.Client.SubResource(name), c, name}
}

type countingSub struct {
	client.SubResourceClient
	c    *counting
	name string
}

// Patch implements client.SubResourceWriter.
func (s countingSub) Patch(ctx context.Context, obj client.Object, p client.Patch, o ...client.SubResourcePatchOption) error {
	s.c.note("patch "+s.name, obj)
	return s.SubResourceClient.Patch(ctx, obj, p, o...)
}

// Create implements client.SubResourceWriter.
func (s countingSub) Create(ctx context.Context, obj, sub client.Object, o ...client.SubResourceCreateOption) error {
	s.c.note("create "+s.name, obj)
	return s.SubResourceClient.Create(ctx, obj, sub, o...)
}

// serve is the cluster with the controller running.
func serve(t testing.TB) (*kubetest.Cluster, *house) {
	t.Helper()
	c := cluster(t)
	mu.Lock()
	defer mu.Unlock()
	if current == nil {
		current = start(t, c, nil)
	}
	return c, current
}

var mu sync.Mutex

// start a controller. With an instance, it carries out Rollouts with that label alone.
func start(t testing.TB, c *kubetest.Cluster, change func(*rollout.Controller)) *house {
	t.Helper()
	return startWith(t, c, change, nil)
}

// startWith is start with a client between the controller and the API server.
func startWith(t testing.TB, c *kubetest.Cluster, change func(*rollout.Controller), between func(client.Client) client.Client) *house {
	t.Helper()
	cfg := rest.CopyConfig(c.Config)
	cfg.ContentType, cfg.AcceptContentTypes = "", ""
	again := true
	quiet.Do(func() { ctrllog.SetLogger(logr.Discard()) })
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	h := &house{writes: &counting{by: map[string]int{}}}
	m, err := manager.New(cfg, manager.Options{Scheme: c.Scheme, Metrics: metricsserver.Options{BindAddress: "0"},
		Cache:      ctrlcache.Options{ByObject: rollout.Cached(), DefaultTransform: ctrlcache.TransformStripManagedFields()},
		Controller: config.Controller{SkipNameValidation: &again},
		NewClient: func(cfg *rest.Config, o client.Options) (client.Client, error) {
			inner, err := client.New(cfg, o)
			if err == nil && between != nil {
				inner = between(inner)
			}
			h.writes.Client = inner
			return h.writes, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	h.events = rollout.NewEvents(h.writes, "fairway", log)
	h.controller = &rollout.Controller{Events: h.events, FieldOwner: "fairway", Log: log}
	if change != nil {
		change(h.controller)
	}
	if err := h.controller.SetUp(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	if err := m.Add(h.events); err != nil {
		t.Fatal(err)
	}
	life, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Start(life) }()
	h.end = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the manager: %v", err)
		}
	}
	return h
}

// read an object of YAML into a namespace.
func read[T client.Object](t testing.TB, obj T, ns, text string) T {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), obj); err != nil {
		t.Fatal(err)
	}
	obj.SetNamespace(ns)
	return obj
}

func create(t testing.TB, c *kubetest.Cluster, objs ...client.Object) {
	t.Helper()
	for _, o := range objs {
		if err := c.Objects.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// patch an object as kubectl and its plugins do.
func patch(t testing.TB, c *kubetest.Cluster, ro *rollouts.Rollout, body string) {
	t.Helper()
	o := &rollouts.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: ro.Namespace, Name: ro.Name}}
	if err := c.Objects.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(body))); err != nil {
		t.Fatalf("patching with %s: %v", body, err)
	}
}

// patchStatus patches the status subresource.
func patchStatus(t testing.TB, c *kubetest.Cluster, ro *rollouts.Rollout, body string) {
	t.Helper()
	o := &rollouts.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: ro.Namespace, Name: ro.Name}}
	if err := c.Objects.Status().Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(body))); err != nil {
		t.Fatalf("patching the status with %s: %v", body, err)
	}
}

func image(tag string) string {
	return fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"web:%s"}]}}}}`, tag)
}

// await a phase of the Rollout, observed at its present generation.
func await(t testing.TB, c *kubetest.Cluster, ro *rollouts.Rollout, phase argo.RolloutPhase, more func(*rollouts.Rollout) string) *rollouts.Rollout {
	t.Helper()
	return kubetest.Eventually(t, c, &rollouts.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: ro.Namespace, Name: ro.Name}}, func(ro *rollouts.Rollout) string {
		if ro.Status.ObservedGeneration != fmt.Sprint(ro.Generation) || ro.Status.Phase != phase {
			return fmt.Sprintf("generation %d, observed %s, phase %s (%s), want %s", ro.Generation, ro.Status.ObservedGeneration, ro.Status.Phase, ro.Status.Message, phase)
		}
		if more != nil {
			return more(ro)
		}
		return ""
	})
}

func at(step int32) func(*rollouts.Rollout) string {
	return func(ro *rollouts.Rollout) string {
		if ro.Status.CurrentStepIndex == nil || *ro.Status.CurrentStepIndex != step {
			return fmt.Sprintf("step %v, want %d", ro.Status.CurrentStepIndex, step)
		}
		return ""
	}
}

// reasons of the Events on a Rollout, in the order in which they were written.
func reasons(t testing.TB, c *kubetest.Cluster, ro *rollouts.Rollout) []string {
	t.Helper()
	list, err := c.Client.CoreV1().Events(ro.Namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	events := slices.DeleteFunc(list.Items, func(e corev1.Event) bool {
		return e.InvolvedObject.Kind != "Rollout" || e.InvolvedObject.Name != ro.Name
	})
	slices.SortFunc(events, func(a, b corev1.Event) int { return strings.Compare(a.Name, b.Name) })
	var out []string
	for _, e := range events {
		out = append(out, e.Reason)
	}
	return out
}

func sets(t testing.TB, c *kubetest.Cluster, ns string) map[string]*appsv1.ReplicaSet {
	t.Helper()
	var list appsv1.ReplicaSetList
	if err := c.Objects.List(t.Context(), &list, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	out := map[string]*appsv1.ReplicaSet{}
	for i := range list.Items {
		out[list.Items[i].Labels[rollout.HashLabel]] = &list.Items[i]
	}
	return out
}
