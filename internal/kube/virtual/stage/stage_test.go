package stage

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/kwok/pkg/apis/v1alpha1"
)

type addresses struct{}

func (addresses) NodeIPs(string) []string { return []string{"10.112.0.2"} }

func (addresses) PodIPs(_ string, hostNetwork bool, _, _, _ string) ([]string, error) {
	if hostNetwork {
		return []string{"10.112.0.2"}, nil
	}
	return []string{"10.128.0.5"}, nil
}

func read(t testing.TB, texts ...string) []*v1alpha1.Stage {
	t.Helper()
	var out []*v1alpha1.Stage
	for _, text := range texts {
		stages, _, err := Read("s.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, stages...)
	}
	return out
}

func compile(t testing.TB, texts ...string) *Set {
	t.Helper()
	s, problems := Compile(read(t, texts...), addresses{}, 1)
	if problems != nil {
		t.Fatal(problems)
	}
	return s
}

func newPod() *corev1.Pod { return fresh(Pod).(*corev1.Pod).DeepCopy() }

// play carries the effects of the next stage out on a pod, as the engine would; it returns the stage's name.
func play(t testing.TB, s *Set, p *corev1.Pod, n int) (stage string, deleted bool) {
	t.Helper()
	m, ok, err := s.Next(t.Context(), p, Pod, "shop/web#0", n, time.Now())
	if err != nil || !ok {
		t.Fatalf("no stage: %v", err)
	}
	effects, err := m.Effects(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range effects {
		if e.Delete {
			deleted = true
		}
		if e.Patch == nil || e.Patch.Type != types.StrategicMergePatchType {
			continue
		}
		before, _ := json.Marshal(p)
		after, err := strategicpatch.StrategicMergePatch(before, e.Patch.Data, p)
		if err != nil {
			t.Fatal(err)
		}
		*p = corev1.Pod{}
		if err := json.Unmarshal(after, p); err != nil {
			t.Fatal(err)
		}
	}
	return m.Stage, deleted
}

func TestStockStagesTakeAPodThroughItsLife(t *testing.T) {
	t.Parallel()
	s := compile(t, podfast.DefaultPodReady, podfast.DefaultPodComplete, podfast.DefaultPodDelete)
	p := newPod()
	if stage, _ := play(t, s, p, 0); stage != "pod-ready" {
		t.Fatalf("first stage %s", stage)
	}
	if p.Status.Phase != corev1.PodRunning || p.Status.PodIP != "10.128.0.5" || p.Status.HostIP != "10.112.0.2" || !p.Status.ContainerStatuses[0].Ready {
		t.Fatalf("status %+v", p.Status)
	}
	if _, ok, err := s.Next(t.Context(), p, Pod, "x", 1, time.Now()); ok || err != nil {
		t.Fatalf("a running pod of a Deployment has no next stage: %v %v", ok, err)
	}
	p.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Name: "j"}}
	if stage, _ := play(t, s, p, 1); stage != "pod-complete" || p.Status.Phase != corev1.PodSucceeded {
		t.Fatalf("stage %s, phase %s", stage, p.Status.Phase)
	}
	now := metav1.Now()
	p.DeletionTimestamp = &now
	if stage, deleted := play(t, s, p, 2); stage != "pod-delete" || !deleted {
		t.Fatalf("stage %s, deleted %v", stage, deleted)
	}
}

func TestStockStagesAreLeftToTheNativeEngineAndOthersAreNot(t *testing.T) {
	t.Parallel()
	stockSet := compile(t, podfast.DefaultPodReady, podfast.DefaultPodComplete, podfast.DefaultPodDelete)
	changed := compile(t, strings.Replace(podfast.DefaultPodReady, "restartCount: 0", "restartCount: 1", 1), podfast.DefaultPodComplete, podfast.DefaultPodDelete)
	chaos := compile(t, podfast.DefaultPodReady, podfast.DefaultPodComplete, podfast.DefaultPodDelete, failing)
	deleteOnly := compile(t, podfast.DefaultPodDelete)
	for i, c := range []struct {
		set   *Set
		gvk   schema.GroupVersionKind
		owned bool
		asked Mode
		want  Mode
	}{
		{stockSet, Pod, true, Auto, None},
		{stockSet, Pod, true, Replace, Replace},
		{changed, Pod, true, Auto, Replace},
		{changed, Pod, false, Auto, Overlay},
		{chaos, Pod, true, Auto, Replace},
		{deleteOnly, Pod, true, Auto, Overlay},
		{deleteOnly, Node, true, Auto, None},
	} {
		if got := c.set.Mode(c.gvk, c.owned, c.asked); got != c.want {
			t.Errorf("case %d: %s; want %s", i, got, c.want)
		}
	}
	for text, ok := range map[string]bool{"auto": true, "overlay": true, "none": false, "": false} {
		if _, err := ParseMode(text); (err == nil) != ok {
			t.Errorf("mode %q: %v", text, err)
		}
	}
}

const failing = `
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: fail}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchLabels: {chaos: "true"}
    matchExpressions:
    - {key: .status.phase, operator: In, values: [Running]}
    - {cel: {expression: "self.spec.nodeName != ''"}}
  weight: 3
  delay: {durationMilliseconds: 1000, jitterDurationMilliseconds: 5000}
  steps:
  - event: {type: Warning, reason: Chaos, message: boom}
    finalizers: {add: [{value: example.com/hold}]}
  - patch: {subresource: status, root: status, type: merge, impersonation: {username: eve}, template: "phase: Failed"}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: survive}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchLabels: {chaos: "true"}
    matchExpressions: [{key: .status.phase, operator: In, values: [Running]}]
  weight: 1
  immediateNextStage: true
  steps: [{delete: true}]
`

func TestChoiceAndDelayAreDrawnByWeightAndRepeat(t *testing.T) {
	t.Parallel()
	s := compile(t, failing)
	p := newPod()
	p.Labels, p.Status.Phase = map[string]string{"chaos": "true"}, corev1.PodRunning
	failed := 0
	const moves = 800
	for n := range moves {
		m, ok, err := s.Next(t.Context(), p, Pod, "shop/web#0", n, time.Now())
		again, _, _ := s.Next(t.Context(), p, Pod, "shop/web#0", n, time.Now())
		if err != nil || !ok || again.Stage != m.Stage || again.After != m.After {
			t.Fatalf("%+v, then %+v, %v", m, again, err)
		}
		if m.Stage == "survive" {
			if m.After != 0 || !m.Immediate {
				t.Fatalf("%+v", m)
			}
			continue
		}
		failed++
		if m.After < time.Second || m.After >= 5*time.Second {
			t.Fatalf("delay %v; want 1s to 5s", m.After)
		}
	}
	if failed < moves*65/100 || failed > moves*85/100 {
		t.Errorf("%d of %d took the stage of weight 3 to 1", failed, moves)
	}
}

func TestEffectsComeInOrderWithTheirForms(t *testing.T) {
	t.Parallel()
	s := compile(t, failing)
	p := newPod()
	p.Labels, p.Status.Phase = map[string]string{"chaos": "true"}, corev1.PodRunning
	for n := range 100 {
		m, _, _ := s.Next(t.Context(), p, Pod, "x", n, time.Now())
		if m.Stage != "fail" {
			continue
		}
		e, err := m.Effects(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(e) != 3 || e[0].Event.Reason != "Chaos" || e[1].Patch.Type != types.JSONPatchType || e[2].Patch.Type != types.MergePatchType ||
			e[2].Patch.User != "eve" || e[2].Patch.Subresource != "status" || string(e[2].Patch.Data) != `{"status":{"phase":"Failed"}}` {
			t.Fatalf("%+v", e)
		}
		return
	}
	t.Fatal("the stage never came")
}

func TestAStageThatCannotWorkIsLeftOutAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	stage := func(name, spec string) string {
		return fmt.Sprintf("apiVersion: kwok.x-k8s.io/v1alpha1\nkind: Stage\nmetadata: {name: %s}\nspec: {resourceRef: {kind: Pod}, %s}\n", name, spec)
	}
	const all = `selector: {matchLabels: {a: b}}`
	stages := read(t, stage("good", all), stage("good", all), stage("noselector", "weight: 1"),
		stage("jq", `selector: {matchExpressions: [{key: ".a[", operator: Exists}]}`),
		stage("cel", `selector: {matchExpressions: [{cel: {expression: "self.nosuch == 1"}}]}`),
		stage("template", all+`, steps: [{patch: {template: "{{ nosuch }}"}}]`),
		stage("ref", all), failing)
	stages[6].Spec.ResourceRef.APIGroup = "a/b/c"
	s, problems := Compile(stages, addresses{}, 1)
	got := map[string]string{}
	for _, p := range problems {
		got[p.Stage] = p.Reason
		if !strings.Contains(p.Message, p.Stage) || Available(&p, metav1.Now()).Status != v1alpha1.ConditionFalse {
			t.Errorf("%+v", p)
		}
	}
	want := map[string]string{"good": "Duplicate", "noselector": "NoSelector", "jq": "InvalidExpression", "cel": "InvalidExpression",
		"template": "InvalidTemplate", "ref": "InvalidResourceRef"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v; want %v", problems, want)
	}
	p := newPod()
	p.Labels = map[string]string{"a": "b"}
	if m, ok, err := s.Next(t.Context(), p, Pod, "x", 0, time.Now()); !ok || err != nil || m.Stage != "good" {
		t.Errorf("%+v %v %v", m, ok, err)
	}
}

func TestStagesWorkOnAnyKind(t *testing.T) {
	t.Parallel()
	s := compile(t, `
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: bind}
spec:
  resourceRef: {apiGroup: example.com/v1, kind: Widget}
  selector: {matchExpressions: [{key: .status.phase, operator: DoesNotExist}]}
  delay: {durationFrom: {expressionFrom: ".spec.after"}}
  next: {statusTemplate: "phase: {{ .spec.want | Quote }}"}
`)
	gvk := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"}
	if s.Mode(gvk, false, Auto) != Replace || len(s.Kinds()) != 1 {
		t.Errorf("mode %s of %v", s.Mode(gvk, false, Auto), s.Kinds())
	}
	w := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Widget",
		"metadata": map[string]any{"name": "w"}, "spec": map[string]any{"after": "90s", "want": "Bound"}}}
	m, ok, err := s.Next(t.Context(), w, gvk, "w", 0, time.Now())
	if err != nil || !ok || m.After != 90*time.Second {
		t.Fatalf("%+v %v %v", m, ok, err)
	}
	e, err := m.Effects(w)
	if err != nil || len(e) != 1 || string(e[0].Patch.Data) != `{"status":{"phase":"Bound"}}` || e[0].Patch.Subresource != "status" {
		t.Fatalf("%+v %v", e, err)
	}
	if _, _, err := s.Next(t.Context(), newPod(), gvk, "w", 0, time.Now()); err == nil {
		t.Error("a pod was taken for a Widget")
	}
}

func TestFilesOfOtherKindsAreRefusedOrNamed(t *testing.T) {
	t.Parallel()
	const api = "apiVersion: kwok.x-k8s.io/v1alpha1\n"
	for text, want := range map[string]string{
		"kind: Pod\napiVersion: v1\n":                                   "s.yaml:1: apiVersion",
		api + "kind: Stage\nspec: {}\n":                                 "s.yaml:1: metadata.name",
		api + "kind: Stage\nmetadata: {name: x}\nspec: {selectr: {}}\n": "s.yaml:1:",
		"---\n" + api + "kind: [\n":                                     "s.yaml: not valid YAML",
	} {
		if _, _, err := Read("s.yaml", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v; want %s", text, err, want)
		}
	}
	if stages, ignored, err := Read("s.yaml", []byte(api+"kind: Metric\nmetadata: {name: m}\n---\n"+podfast.DefaultPodReady)); err != nil ||
		len(stages) != 1 || len(ignored) != 1 || !strings.HasPrefix(ignored[0], "s.yaml:1: kind Metric") {
		t.Errorf("%v %v %v", stages, ignored, err)
	}
}

func BenchmarkStage(b *testing.B) {
	s := compile(b, podfast.DefaultPodReady, podfast.DefaultPodComplete, podfast.DefaultPodDelete)
	p := newPod()
	b.Run("match", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _, _ = s.Next(b.Context(), p, Pod, "x", 0, time.Now())
		}
	})
	m, _, _ := s.Next(b.Context(), p, Pod, "x", 0, time.Now())
	b.Run("render", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = m.Effects(p)
		}
	})
}
