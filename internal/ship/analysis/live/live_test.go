// Package live_test tries the controllers of AnalysisRuns and Experiments against the real API server and virtual pods: the
// wiring, for the deciding is tried without a cluster where it is done.
package live_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/prometheus/client_golang/prometheus"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

// ends waits for a run to end.
func ends(t *testing.T, h *wiring, ns, name string, want argo.AnalysisPhase) *argo.AnalysisRun {
	t.Helper()
	run := kubetest.Eventually(t, h.Cluster, &argo.AnalysisRun{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}, func(r *argo.AnalysisRun) string {
		if r.Status.Phase.Completed() {
			return ""
		}
		return "it has not ended: " + string(r.Status.Phase)
	})
	if run.Status.Phase != want {
		t.Fatalf("%s %q, want %s: %+v", run.Status.Phase, run.Status.Message, want, run.Status.MetricResults)
	}
	return run
}

// job is a run with one metric that is a Job, on nodes with a label.
func job(spec, nodes, image string) string {
	return fmt.Sprintf(`
metadata: {name: run}
spec:
  metrics:
  - name: test
    provider:
      job:
        metadata: {labels: {team: shop}}
        spec:
          backoffLimit: 0
          %s
          template:
            spec:
              restartPolicy: Never
              nodeSelector: {%s}
              containers: [{name: main, image: %s}]
`, spec, nodes, image)
}

func TestAJobThatSucceedsFailsOrCannotStartGivesTheVerdict(t *testing.T) {
	t.Parallel()
	h := serve(t)
	for name, c := range map[string]struct {
		spec, nodes, image string
		phase              argo.AnalysisPhase
	}{
		"succeeds":            {"", "", "busybox", argo.AnalysisPhaseSuccessful},
		"passes its deadline": {"activeDeadlineSeconds: 1", "no: node", "busybox", argo.AnalysisPhaseFailed},
		"has no image":        {"", "", `"busybox:error"`, argo.AnalysisPhaseInconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := h.Namespace(t)
			run := create(t, h, &argo.AnalysisRun{}, ns, job(c.spec, c.nodes, c.image))
			run = ends(t, h, ns, run.Name, c.phase)
			x := run.Status.MetricResults[0].Measurements[0]
			made := &batchv1.Job{}
			if err := h.Objects.Get(t.Context(), types.NamespacedName{Namespace: x.Metadata["job-namespace"], Name: x.Metadata["job-name"]}, made); err != nil {
				t.Fatal(err)
			}
			if made.Name != string(run.UID)+".test.1" || made.Labels["team"] != "shop" || made.Labels[analysis.JobRunUIDLabel] != string(run.UID) || !metav1.IsControlledBy(made, run) {
				t.Errorf("%+v", made.ObjectMeta)
			}
			h.told.until(t, ns, func(got []string) string {
				if len(got) != 2 || !strings.HasSuffix(got[0], "Metric"+string(c.phase)) || !strings.HasSuffix(got[1], "AnalysisRun"+string(c.phase)) {
					return "not the events of a run that ends"
				}
				return ""
			})
			if got := h.writes.In(ns); len(got) != 3 {
				t.Errorf("%d writes: %v", len(got), got)
			}
		})
	}
}

func TestASecretThatIsPartOfAJobsNameDoesNotLoseTheJob(t *testing.T) {
	t.Parallel()
	h := serve(t)
	ns := h.Namespace(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "api"}, StringData: map[string]string{"token": "est"}}
	if err := h.Objects.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	args := "spec:\n  args: [{name: token, valueFrom: {secretKeyRef: {name: api, key: token}}}]"
	run := create(t, h, &argo.AnalysisRun{}, ns, strings.Replace(job("", "", "busybox"), "spec:", args, 1))
	run = ends(t, h, ns, run.Name, argo.AnalysisPhaseSuccessful)
	if name := run.Status.MetricResults[0].Measurements[0].Metadata["job-name"]; name != string(run.UID)+".test.1" {
		t.Errorf("the measurement names its Job %q", name)
	}
}

func TestATerminatedRunEndsItsJob(t *testing.T) {
	t.Parallel()
	h := serve(t)
	ns := h.Namespace(t)
	run := create(t, h, &argo.AnalysisRun{}, ns, job("suspend: true", "", "busybox"))
	run = kubetest.Eventually(t, h.Cluster, run, func(r *argo.AnalysisRun) string {
		if len(r.Status.MetricResults) == 0 {
			return "nothing is measured"
		}
		return ""
	})
	name := run.Status.MetricResults[0].Measurements[0].Metadata["job-name"]
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"terminate":true}}`))
	if err := h.Objects.Patch(t.Context(), run, patch); err != nil {
		t.Fatal(err)
	}
	run = ends(t, h, ns, "run", argo.AnalysisPhaseInconclusive)
	if r := run.Status.MetricResults[0]; r.Message != "Metric Terminated" {
		t.Errorf("%+v", r)
	}
	kubetest.Gone(t, h.Cluster, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}})
}

func TestAWebMetricIsMeasuredAsOftenAsItSaysAndItsSecretStaysOne(t *testing.T) {
	t.Parallel()
	h := serve(t)
	ns := h.Namespace(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "api"}, StringData: map[string]string{"token": "t0p-s3cret-value"}}
	if err := h.Objects.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	create(t, h, &argo.AnalysisRun{}, ns, `
metadata: {name: run}
spec:
  args:
  - {name: token, valueFrom: {secretKeyRef: {name: api, key: token}}}
  - {name: path, value: token}
  ttlStrategy: {secondsAfterFailure: 0}
  metrics:
  - name: token
    count: 3
    interval: 1s
    successCondition: result["you sent"] == "Bearer {{args.token}}"
    provider:
      web: {url: "http://metrics.shop.svc:9090/{{args.path}}", headers: [{key: Authorization, value: "Bearer {{ args.token }}"}]}
`)
	run := ends(t, h, ns, "run", argo.AnalysisPhaseSuccessful)
	if r := run.Status.MetricResults[0]; r.Count != 3 || r.Successful != 3 || r.Measurements[0].Value != `{"you sent":"Bearer *****"}` {
		t.Errorf("%+v", r)
	}
	if b, err := json.Marshal(run); err != nil || strings.Contains(string(b), "t0p-s3cret-value") {
		t.Errorf("the secret is in %s, %v", b, err)
	}
}

func TestEveryMeasurementIsMadeOnceThoughOthersWriteTheRunAllTheTime(t *testing.T) {
	t.Parallel()
	h := serve(t)
	ns := h.Namespace(t)
	run := create(t, h, &argo.AnalysisRun{}, ns, fmt.Sprintf(`
metadata: {name: run}
spec:
  metrics:
  - {name: m, count: 3, interval: 1s, provider: {web: {url: "http://x/%s"}}}
`, ns))
	ended := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-ended:
				return
			default:
			}
			patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"n":"%d"}}}`, n))
			if err := h.Objects.Patch(context.WithoutCancel(t.Context()), run.DeepCopy(), patch); err != nil {
				t.Error(err)
				return
			}
		}
	})
	run = ends(t, h, ns, "run", argo.AnalysisPhaseSuccessful)
	close(ended)
	others.Wait()
	asked, _ := h.asked.Load("/" + ns)
	if n := asked.(*atomic.Int32).Load(); n != 3 || run.Status.MetricResults[0].Count != 3 {
		t.Errorf("asked %d times, counted %d, want 3", n, run.Status.MetricResults[0].Count)
	}
}

func TestARunGoesOnWhereAControllerThatEndedLeftIt(t *testing.T) {
	t.Parallel()
	c := serve(t).Cluster
	ns := c.Namespace(t)
	life, end := context.WithCancel(t.Context())
	first := start(life, t, c, "again", nil)
	run := create(t, first, &argo.AnalysisRun{}, ns, `
metadata: {name: run, labels: {argo-rollouts.argoproj.io/controller-instance-id: again}}
spec:
  metrics:
  - {name: rate, count: 4, interval: 1s, provider: {web: {url: "http://x/", jsonPath: "{$.rate}"}}}
  - name: job
    provider:
      job: {spec: {backoffLimit: 0, suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: main, image: busybox}]}}}}
`)
	kubetest.Eventually(t, c, run, func(r *argo.AnalysisRun) string {
		if len(r.Status.MetricResults) < 2 || r.Status.MetricResults[0].Count == 0 {
			return "not both metrics have begun"
		}
		return ""
	})
	end()
	if err := <-first.ended; err != nil {
		t.Fatalf("the manager's end: %v", err)
	}
	start(t.Context(), t, c, "again", nil)
	var jobs batchv1.JobList
	if err := c.Objects.List(t.Context(), &jobs, client.InNamespace(ns)); err != nil || len(jobs.Items) != 1 {
		t.Fatalf("%d jobs, %v", len(jobs.Items), err)
	}
	if err := c.Objects.Patch(t.Context(), &jobs.Items[0], client.RawPatch(types.MergePatchType, []byte(`{"spec":{"suspend":false}}`))); err != nil {
		t.Fatal(err)
	}
	run = ends(t, first, ns, "run", argo.AnalysisPhaseSuccessful)
	if a, b := run.Status.MetricResults[0], run.Status.MetricResults[1]; a.Count != 4 || a.Successful != 4 || b.Count != 1 {
		t.Errorf("%+v", run.Status.MetricResults)
	}
	if err := c.Objects.List(t.Context(), &jobs, client.InNamespace(ns)); err != nil || len(jobs.Items) != 1 {
		t.Errorf("%d jobs, %v", len(jobs.Items), err)
	}
}

func TestARunGoesWhenItsTimeToLiveIsOver(t *testing.T) {
	t.Parallel()
	h := serve(t)
	ns := h.Namespace(t)
	run := create(t, h, &argo.AnalysisRun{}, ns, `
metadata: {name: run}
spec:
  ttlStrategy: {secondsAfterFailure: 1}
  metrics:
  - {name: rate, failureCondition: "result < 1", provider: {web: {url: "http://x/", jsonPath: "{$.rate}"}}}
`)
	ends(t, h, ns, "run", argo.AnalysisPhaseFailed)
	kubetest.Gone(t, h.Cluster, run)
}

func TestRunsOfOtherInstancesAreLeftAlone(t *testing.T) {
	t.Parallel()
	h := serve(t)
	ns := h.Namespace(t)
	text := `
metadata: {name: %s, labels: {%s}}
spec: {metrics: [{name: m, provider: {web: {url: "http://x/"}}}]}
`
	other := create(t, h, &argo.AnalysisRun{}, ns, fmt.Sprintf(text, "other", analysis.InstanceLabel+": blue"))
	create(t, h, &argo.AnalysisRun{}, ns, fmt.Sprintf(text, "own", ""))
	ends(t, h, ns, "own", argo.AnalysisPhaseSuccessful)
	if err := h.Objects.Get(t.Context(), client.ObjectKeyFromObject(other), other); err != nil || other.Status.Phase != "" {
		t.Errorf("%+v, %v", other.Status, err)
	}
}

func TestMetricsHaveThePeersNames(t *testing.T) {
	t.Parallel()
	h := serve(t)
	ns := h.Namespace(t)
	create(t, h, &argo.AnalysisRun{}, ns, `
metadata: {name: run}
spec:
  dryRun: [{metricName: m}]
  metrics: [{name: m, provider: {web: {url: "http://x/fail"}}, consecutiveErrorLimit: 0}]
`)
	ends(t, h, ns, "run", argo.AnalysisPhaseSuccessful)
	registry := prometheus.NewPedanticRegistry()
	for _, c := range h.collectors {
		registry.MustRegister(c)
	}
	// The cache that a scrape reads may be a moment behind.
	for deadline := time.Now().Add(kubetest.Patience); ; time.Sleep(20 * time.Millisecond) {
		found, missing := scrape(t, registry, ns), []string{}
		for _, want := range []string{
			"analysis_run_info name=run phase=Successful 1", "analysis_run_phase name=run phase=Successful 1", "analysis_run_phase name=run phase=Failed 0",
			"analysis_run_metric_type metric=m name=run type=Web 1", "analysis_run_metric_phase dry_run=true metric=m name=run phase=Error type=Web 1",
		} {
			if !slices.Contains(found, want) {
				missing = append(missing, want)
			}
		}
		if len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("missing %v in %v", missing, found)
		}
	}
}

// scrape lists the samples of a namespace.
func scrape(t *testing.T, r *prometheus.Registry, ns string) (out []string) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			text, in := f.GetName(), false
			for _, l := range m.Label {
				if l.GetName() == "namespace" {
					in = l.GetValue() == ns
					continue
				}
				text += " " + l.GetName() + "=" + l.GetValue()
			}
			if in && m.Gauge != nil {
				out = append(out, fmt.Sprint(text, " ", m.Gauge.GetValue()))
			}
		}
	}
	return out
}
