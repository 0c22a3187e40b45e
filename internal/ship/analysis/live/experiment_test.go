package live_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/live/house"
)

func TestAnExperimentBringsPodsAServiceAndAnAnalysisAndTakesThemAway(t *testing.T) {
	t.Parallel()
	h := serve(t)
	ns := h.Namespace(t)
	create(t, h, &argo.AnalysisTemplate{}, ns, `
metadata: {name: rate}
spec:
  args: [{name: hash}]
  metrics:
  - {name: "rate-{{args.hash}}", count: 2, interval: 1s, successCondition: result > 0.9, provider: {web: {url: "http://x/", jsonPath: "{$.rate}"}}}
`)
	create(t, h, &argo.Experiment{}, ns, `
metadata: {name: exp}
spec:
  scaleDownDelaySeconds: 1
  templates:
  - name: baseline
    replicas: 2
    service: {}
    selector: {matchLabels: {app: web}}
    template:
      metadata: {labels: {app: web}}
      spec: {containers: [{name: main, image: nginx, ports: [{containerPort: 80}]}]}
  - name: canary
    selector: {matchLabels: {app: web, kind: canary}}
    template:
      metadata: {labels: {app: web, kind: canary}}
      spec: {containers: [{name: main, image: "nginx:2"}]}
  analyses:
  - {name: rate, templateName: rate, requiredForCompletion: true, args: [{name: hash, value: "{{templates.canary.podTemplateHash}}"}]}
`)
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "exp-baseline"}}
	kubetest.Eventually(t, h.Cluster, rs, func(rs *appsv1.ReplicaSet) string {
		if rs.Status.AvailableReplicas != 2 {
			return fmt.Sprintf("%d available", rs.Status.AvailableReplicas)
		}
		return ""
	})
	svc := kubetest.Eventually(t, h.Cluster, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "exp-baseline"}}, func(*corev1.Service) string { return "" })
	if svc.Spec.Ports[0].Port != 80 || svc.Spec.Selector["app"] != "web" {
		t.Errorf("%+v", svc.Spec)
	}
	ex := kubetest.Eventually(t, h.Cluster, &argo.Experiment{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "exp"}}, func(ex *argo.Experiment) string {
		if ex.Status.Phase != argo.AnalysisPhaseSuccessful {
			return fmt.Sprintf("%s %q", ex.Status.Phase, ex.Status.Message)
		}
		return ""
	})
	run := ends(t, h, ns, "exp-rate", argo.AnalysisPhaseSuccessful)
	if name := run.Status.MetricResults[0].Name; name != "rate-"+hash(t, h, ns, "exp-canary") || !metav1.IsControlledBy(run, ex) {
		t.Errorf("the metric is %s", name)
	}
	kubetest.Eventually(t, h.Cluster, rs, func(rs *appsv1.ReplicaSet) string {
		if ptr.Deref(rs.Spec.Replicas, 1) != 0 || rs.Status.Replicas != 0 {
			return "it still has pods"
		}
		return ""
	})
	kubetest.Gone(t, h.Cluster, svc)
	kubetest.Eventually(t, h.Cluster, ex, func(ex *argo.Experiment) string {
		for _, st := range ex.Status.TemplateStatuses {
			if st.Replicas != 0 || st.AvailableReplicas != 0 || st.ServiceName != "" {
				return fmt.Sprintf("%+v", st)
			}
		}
		return ""
	})
	t.Logf("writes: %v", h.writes.In(ns))
	for _, reason := range []string{"Normal ExperimentPending", "Normal ExperimentRunning", "Normal ExperimentSuccessful", "Normal TemplateRunning", "Normal AnalysisRunSuccessful"} {
		h.told.until(t, ns, func(got []string) string {
			if !slices.Contains(got, reason) {
				return reason + " was not told"
			}
			return ""
		})
	}
}

// behind is a cache that has seen no AnalysisTemplate yet, and no AnalysisRun with the label unseen.
type behind struct{ client.Client }

func (b behind) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if _, ok := o.(*argo.AnalysisTemplate); ok {
		return apierrors.NewNotFound(argo.Resource("analysistemplates"), key.Name)
	}
	return b.Client.Get(ctx, key, o, opts...)
}

func (b behind) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	err := b.Client.List(ctx, list, opts...)
	if runs, ok := list.(*argo.AnalysisRunList); ok {
		runs.Items = slices.DeleteFunc(runs.Items, func(r argo.AnalysisRun) bool { return r.Labels["unseen"] != "" })
	}
	return err
}

func TestACacheThatIsBehindEndsNoExperiment(t *testing.T) {
	t.Parallel()
	h := serve(t)
	ns := h.Namespace(t)
	life, end := context.WithCancel(t.Context())
	late := start(life, t, h.Cluster, "late", func(c client.Client) client.Client { return behind{c} })
	// One that was just applied, with the template of its analysis.
	create(t, h, &argo.AnalysisTemplate{}, ns, `
metadata: {name: rate}
spec: {metrics: [{name: rate, successCondition: result > 0.9, provider: {web: {url: "http://x/", jsonPath: "{$.rate}"}}}]}
`)
	const text = `
metadata: {name: %s, labels: {argo-rollouts.argoproj.io/controller-instance-id: late}}
spec:
  scaleDownDelaySeconds: 0
  templates:
  - name: main
    selector: {matchLabels: {app: %s}}
    template:
      metadata: {labels: {app: %s}}
      spec: {containers: [{name: main, image: nginx}]}
  analyses:
  - {name: rate, templateName: rate, requiredForCompletion: true}
`
	create(t, h, &argo.Experiment{}, ns, fmt.Sprintf(text, "applied", "applied", "applied"))
	// One whose analysis went on while another process carried it out.
	ex := create(t, h, &argo.Experiment{}, ns, strings.Replace(fmt.Sprintf(text, "taken", "taken", "taken"), ": late", ": nobody", 1))
	run := house.Read(t, &argo.AnalysisRun{}, ns, `
metadata: {name: taken-rate, labels: {unseen: "yes"}}
spec: {metrics: [{name: rate, successCondition: result > 0.9, provider: {web: {url: "http://x/", jsonPath: "{$.rate}"}}}]}
`)
	run.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(ex, argo.SchemeGroupVersion.WithKind("Experiment"))}
	if err := h.Objects.Create(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	ends(t, h, ns, run.Name, argo.AnalysisPhaseSuccessful)
	now := metav1.Now()
	ex.Labels["argo-rollouts.argoproj.io/controller-instance-id"] = "late"
	ex.Status = argo.ExperimentStatus{Phase: argo.AnalysisPhaseRunning, AvailableAt: &now,
		TemplateStatuses: []argo.TemplateStatus{{Name: "main", Status: argo.TemplateStatusRunning}},
		AnalysisRuns:     []argo.ExperimentAnalysisRunStatus{{Name: "rate", Phase: argo.AnalysisPhaseRunning, AnalysisRun: run.Name}}}
	if err := h.Objects.Update(t.Context(), ex); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"applied", "taken"} {
		kubetest.Eventually(t, h.Cluster, &argo.Experiment{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}, func(ex *argo.Experiment) string {
			if bad := ex.Status.Phase; bad.Completed() && bad != argo.AnalysisPhaseSuccessful {
				t.Fatalf("%s ended in %s: %q %+v", name, bad, ex.Status.Message, ex.Status.AnalysisRuns)
			}
			if ex.Status.Phase != argo.AnalysisPhaseSuccessful {
				return fmt.Sprintf("%s %q", ex.Status.Phase, ex.Status.Message)
			}
			return ""
		})
	}
	end()
	if err := <-late.ended; err != nil {
		t.Error(err)
	}
}

func TestAnObjectWithAFieldThatDoesNotDecodeStopsNobody(t *testing.T) {
	t.Parallel()
	h := serve(t)
	ns := h.Namespace(t)
	bad := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(`
apiVersion: argoproj.io/v1alpha1
kind: Experiment
metadata: {name: bad}
spec:
  templates:
  - name: baseline
    selector: {matchLabels: {app: web}}
    template:
      metadata: {labels: {app: web}}
      spec: {containers: [{name: main, image: nginx, resources: {requests: {memory: invalid}}}]}
`), bad); err != nil {
		t.Fatal(err)
	}
	bad.SetNamespace(ns)
	if err := h.Objects.Create(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	life, end := context.WithCancel(t.Context())
	again := start(life, t, h.Cluster, "lenient", nil) // lists the object, while the other watches it
	create(t, h, &argo.AnalysisRun{}, ns, `
metadata: {name: run, labels: {argo-rollouts.argoproj.io/controller-instance-id: lenient}}
spec: {metrics: [{name: m, provider: {web: {url: "http://x/"}}}]}
`)
	ends(t, h, ns, "run", argo.AnalysisPhaseSuccessful)
	kubetest.Eventually(t, h.Cluster, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "bad-baseline"}}, func(rs *appsv1.ReplicaSet) string {
		if rs.Status.AvailableReplicas != 1 {
			return "it has no pod"
		}
		return ""
	})
	end()
	if err := <-again.ended; err != nil {
		t.Error(err)
	}
}

func TestAnExperimentWhosePodsAreRefusedIsAnErrorWithTheReason(t *testing.T) {
	t.Parallel()
	h := serve(t)
	ns := h.Namespace(t)
	create(t, h, &argo.Experiment{}, ns, `
metadata: {name: exp}
spec:
  templates:
  - name: baseline
    selector: {matchLabels: {app: web}}
    template:
      metadata: {labels: {app: web}}
      spec: {containers: [{name: Not_A_Name, image: nginx}]}
`)
	kubetest.Eventually(t, h.Cluster, &argo.Experiment{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "exp"}}, func(ex *argo.Experiment) string {
		if ex.Status.Phase != argo.AnalysisPhaseError || !strings.Contains(ex.Status.Message, "Failed to create ReplicaSet for template 'baseline'") || !strings.Contains(ex.Status.Message, "Not_A_Name") {
			return fmt.Sprintf("%s %q", ex.Status.Phase, ex.Status.Message)
		}
		return ""
	})
	h.told.until(t, ns, func(got []string) string {
		if !slices.Contains(got, "Warning ReplicaSetCreateError") || !slices.Contains(got, "Warning ExperimentError") {
			return "not the events of a refusal"
		}
		return ""
	})
}

func hash(t *testing.T, h *wiring, ns, set string) string {
	t.Helper()
	rs := &appsv1.ReplicaSet{}
	if err := h.Objects.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: set}, rs); err != nil {
		t.Fatal(err)
	}
	return rs.Labels[argo.DefaultRolloutUniqueLabelKey]
}
