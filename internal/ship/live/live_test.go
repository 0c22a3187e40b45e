// Package live_test tries the controllers of Rollouts against the real API server and virtual pods: the wiring, for the
// deciding is tried without a cluster where it is done.
package live_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/live/house"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

// TestMain runs many tests at once: they share one cluster and mostly wait for it.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "8"); err != nil { // what the command line says comes later and wins
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	kubetest.Main(m)
}

// current is the controller that all tests but those that start their own share.
var (
	mu      sync.Mutex
	current *wiring
)

// wiring is a manager with the controller of Rollouts in it.
type wiring struct {
	controller *rollout.Controller
	events     *rollout.Events
	writes     *house.Writes
	end        func()
}

// serve is the cluster with the controller running.
func serve(t testing.TB) (*kubetest.Cluster, *wiring) {
	t.Helper()
	c := house.Cluster(t)
	mu.Lock()
	defer mu.Unlock()
	if current == nil {
		current = start(t, c, nil)
	}
	return c, current
}

// start a controller. With an instance, it carries out Rollouts with that label alone.
func start(t testing.TB, c *kubetest.Cluster, change func(*rollout.Controller)) *wiring {
	t.Helper()
	return startWith(t, c, change, nil)
}

// startWith is start with a client between the controller and the API server.
func startWith(t testing.TB, c *kubetest.Cluster, change func(*rollout.Controller), between func(client.Client) client.Client) *wiring {
	t.Helper()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	h := &wiring{}
	var m manager.Manager
	m, h.writes = house.Manager(t, c, house.Options{Between: between,
		Cache: ctrlcache.Options{ByObject: rollout.Cached(""), DefaultTransform: ctrlcache.TransformStripManagedFields()}})
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
