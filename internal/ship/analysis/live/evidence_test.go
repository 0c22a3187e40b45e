package live_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

func TestRestartsOfARevisionsPodsFailItsAnalysis(t *testing.T) {
	t.Parallel()
	h := serve(t)
	ns := h.Namespace(t)
	// Pods that no node takes up: what becomes of them is written here, as a kubelet would.
	for name, restarts := range map[string]int32{"good": 0, "bad": 2} {
		p := create(t, h, &corev1.Pod{}, ns, fmt.Sprintf(`
metadata: {name: %s, labels: {pod-template-hash: %s}}
spec: {nodeSelector: {no: node}, containers: [{name: app, image: busybox}]}
`, name, name))
		before := p.DeepCopy() // a patch: the scheduler writes, too, that no node takes the pod
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", RestartCount: restarts}}
		if err := h.Objects.Status().Patch(t.Context(), p, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	// What was written is known here a moment later.
	bad := analysis.Question{Source: analysis.KubeEvidence, Namespace: ns, Hash: "bad", Metric: analysis.Restarts, Window: time.Minute}
	for deadline := time.Now().Add(kubetest.Patience); ; time.Sleep(5 * time.Millisecond) {
		a, err := h.pods.Measure(t.Context(), bad)
		if err == nil && a.Value == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v, %v; want the 2 restarts", a, err)
		}
	}
	for revision, want := range map[string]argo.AnalysisPhase{"good": argo.AnalysisPhaseSuccessful, "bad": argo.AnalysisPhaseFailed, "none": argo.AnalysisPhaseError} {
		run := create(t, h, &argo.AnalysisRun{}, ns, fmt.Sprintf(`
metadata: {name: %s}
spec:
  metrics:
  - name: restarts
    consecutiveErrorLimit: 0
    successCondition: result == 0
    provider: {plugin: {fairway/kube: {metric: restarts, hash: %s, window: 5m}}}
`, revision, revision))
		run = ends(t, h, ns, run.Name, want)
		x := run.Status.MetricResults[0].Measurements[0]
		if revision == "none" && !strings.Contains(x.Message, "revision none has no pod") || revision == "good" && x.Value != "0" || revision == "bad" && x.Value == "0" {
			t.Errorf("%s: %+v", revision, x)
		}
	}
}
