package stage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"

	"github.com/fairway-dev/fairway/internal/kube/controlplane"
)

// A ConfigMap goes new → warm (at once) → hot (later) → gone; a template that fails holds its own object only.
const journey = `
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: warm}
spec:
  resourceRef: {apiGroup: v1, kind: ConfigMap}
  selector: {matchLabels: {journey: "yes"}, matchExpressions: [{key: .data.state, operator: DoesNotExist}]}
  immediateNextStage: true
  steps:
  - event: {type: Normal, reason: Warmed, message: it is warm}
    finalizers: {add: [{value: example.com/hold}]}
  - patch: {type: merge, template: "data: {state: warm, by: {{ .metadata.name | Quote }}}"}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: hot}
spec:
  resourceRef: {apiGroup: v1, kind: ConfigMap}
  selector: {matchLabels: {journey: "yes"}, matchExpressions: [{key: .data.state, operator: In, values: [warm]}]}
  delay: {durationMilliseconds: 300}
  steps: [{apply: {type: apply, template: "{data: {state: hot}}"}}]
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: gone}
spec:
  resourceRef: {apiGroup: v1, kind: ConfigMap}
  selector: {matchLabels: {journey: "yes"}, matchExpressions: [{key: .data.state, operator: In, values: [hot]}]}
  steps: [{finalizers: {empty: true}}, {delete: true}]
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: broken}
spec:
  resourceRef: {apiGroup: v1, kind: ConfigMap}
  selector: {matchLabels: {journey: broken}}
  steps: [{patch: {type: merge, template: '{{ fail "no way" }}'}}]
`

func TestRunnerMovesObjectsOfAnyKindThroughTheirStages(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	plane, err := controlplane.Start(ctx, controlplane.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer plane.Stop(context.WithoutCancel(ctx))
	config := plane.ConfigAs("stages", "system:masters")
	config.ContentType, config.AcceptContentTypes = "application/json", "application/json"
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var events []string
	runner, err := NewRunner(RunnerOptions{Set: compile(t, journey), Client: func(string) dynamic.Interface { return client },
		OnEvent: func(_ schema.GroupVersionKind, o metav1.Object, e Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, o.GetName()+" "+e.Reason)
		}})
	if err != nil {
		t.Fatal(err)
	}
	gvk := schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
	gvr := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	factory := dynamicinformer.NewDynamicSharedInformerFactory(client, 0)
	if _, err := runner.Observe(gvk, gvr, factory.ForResource(gvr).Informer()); err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	var ran sync.WaitGroup
	ran.Go(func() { runner.Run(ctx) })

	maps := client.Resource(gvr).Namespace("default")
	create := func(name, journey string) {
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{"name": name, "labels": map[string]any{"journey": journey}}}}
		if _, err := maps.Create(ctx, u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	watch, err := maps.Watch(ctx, metav1.ListOptions{LabelSelector: "journey=yes"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	create("broken", "broken")
	for i := range 3 {
		create(fmt.Sprint("m", i), "yes")
	}
	states := map[string][]string{}
	patience := time.After(time.Minute)
	for gone := 0; gone < 3; {
		select {
		case e := <-watch.ResultChan():
			u, ok := e.Object.(*unstructured.Unstructured)
			if !ok {
				t.Fatalf("watch ended: %v", e)
			}
			state, _, _ := unstructured.NestedString(u.Object, "data", "state")
			if seen := states[u.GetName()]; len(seen) == 0 || seen[len(seen)-1] != state {
				states[u.GetName()] = append(seen, state)
			}
			if e.Type == "DELETED" {
				gone++
			}
			if state == "warm" && (!slices.Equal(u.GetFinalizers(), []string{"example.com/hold"}) || u.Object["data"].(map[string]any)["by"] != u.GetName()) {
				t.Errorf("warm without its finalizer or template: %v", u.Object)
			}
		case <-patience:
			t.Fatalf("states so far: %v", states)
		}
	}
	for name, seen := range states {
		if strings.Join(seen, ">") != ">warm>hot" {
			t.Errorf("%s went through %q", name, seen)
		}
	}
	if _, err := maps.Get(ctx, "m0", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("m0 is still there: %v", err)
	}
	// Changes are met in their order: who has met this one has met the deletions.
	create("last", "broken")
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		mu.Lock()
		met := slices.Contains(events, "last StageFailed")
		mu.Unlock()
		if met {
			break
		}
		if time.Now().After(end) {
			t.Fatal("an object made later is not met")
		}
	}
	cancel()
	ran.Wait()
	slices.Sort(events)
	if want := []string{"broken StageFailed", "last StageFailed", "m0 Warmed", "m1 Warmed", "m2 Warmed"}; !slices.Equal(slices.Compact(events), want) {
		t.Errorf("events %q; want %q", events, want)
	}
	if len(runner.due) != 0 {
		t.Errorf("%d moves are still planned", len(runner.due))
	}
}
