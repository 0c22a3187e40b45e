// Package live_test tries the controllers of AnalysisRuns and Experiments against the real API server and virtual pods: the
// wiring, for the deciding is tried without a cluster where it is done.
package live_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/config/crd"
	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/analysis/provider"
	"github.com/fairway-dev/fairway/internal/ship/experiment"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

// kinds of argoproj.io, by the names of their definitions.
var kinds = []string{"rollouts.argoproj.io", "analysistemplates.argoproj.io", "clusteranalysistemplates.argoproj.io", "analysisruns.argoproj.io", "experiments.argoproj.io"}

// house is a manager with both controllers in it.
type house struct {
	*kubetest.Cluster
	told       *told
	writes     *writes
	collectors []prometheus.Collector
	web        string   // what every name leads to
	asked      sync.Map // how often each path was, as *atomic.Int32
}

// told keeps Events by namespace.
type told struct {
	mu sync.Mutex
	by map[string][]string
}

func (e *told) Event(o runtime.Object, kind, reason, _ string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ns := o.(client.Object).GetNamespace()
	e.by[ns] = append(e.by[ns], kind+" "+reason)
}

func (e *told) Eventf(o runtime.Object, kind, reason, format string, args ...any) {
	e.Event(o, kind, reason, fmt.Sprintf(format, args...))
}

func (e *told) AnnotatedEventf(o runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	e.Eventf(o, kind, reason, format, args...)
}

func (e *told) in(ns string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.by[ns])
}

// until waits for Events: they are told after the write that a watch sees.
func (e *told) until(t *testing.T, ns string, missing func(events []string) string) {
	t.Helper()
	for deadline := time.Now().Add(kubetest.Patience); ; time.Sleep(5 * time.Millisecond) {
		why := missing(e.in(ns))
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", why, e.in(ns))
		}
	}
}

// writes counts what a client writes, by namespace.
type writes struct {
	client.Client
	mu sync.Mutex
	by map[string][]string
}

func (w *writes) note(verb string, o client.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.by[o.GetNamespace()] = append(w.by[o.GetNamespace()], fmt.Sprintf("%s %T", verb, o))
}

func (w *writes) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	w.note("create", o)
	return w.Client.Create(ctx, o, opts...)
}

func (w *writes) Patch(ctx context.Context, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	w.note("patch", o)
	return w.Client.Patch(ctx, o, p, opts...)
}

func (w *writes) Delete(ctx context.Context, o client.Object, opts ...client.DeleteOption) error {
	w.note("delete", o)
	return w.Client.Delete(ctx, o, opts...)
}

func (w *writes) in(ns string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.by[ns])
}

var (
	mu      sync.Mutex
	current *house
)

// serve is the package's cluster with the controllers running.
func serve(t *testing.T) *house {
	t.Helper()
	c := kubetest.Start(t, rollouts.AddToScheme, apiextensionsv1.AddToScheme)
	mu.Lock()
	defer mu.Unlock()
	if current == nil {
		current = start(t, c)
	}
	return current
}

func start(t *testing.T, c *kubetest.Cluster) *house {
	t.Helper()
	h := &house{Cluster: c, told: &told{by: map[string][]string{}}, writes: &writes{by: map[string][]string{}}}
	install(t, c)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := h.asked.LoadOrStore(r.URL.Path, new(atomic.Int32))
		n.(*atomic.Int32).Add(1)
		switch r.URL.Path {
		case "/token":
			fmt.Fprintf(w, `{"you sent":%q}`, r.Header.Get("Authorization"))
		case "/fail":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			fmt.Fprint(w, `{"rate":0.99}`)
		}
	}))
	h.web = strings.TrimPrefix(server.URL, "http://")
	cfg := rest.CopyConfig(c.Config)
	cfg.ContentType, cfg.AcceptContentTypes = "", ""
	again := true
	m, err := manager.New(cfg, manager.Options{Scheme: c.Scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: &again},
		NewClient: func(cfg *rest.Config, o client.Options) (client.Client, error) {
			inner, err := client.New(cfg, o)
			h.writes.Client = inner
			return h.writes, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	runs := &analysis.Controller{Client: m.GetClient(), Reader: m.GetAPIReader(), Recorder: h.told, FieldOwner: "fairway", Log: log,
		Providers: provider.All(provider.Config{Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, h.web)
		}})}
	experiments := &experiment.Controller{Client: m.GetClient(), Recorder: h.told, FieldOwner: "fairway", Log: log}
	if err := runs.SetUp(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	if err := experiments.SetUp(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	h.collectors = append(runs.Collectors(), experiments.Collectors()...)
	// The manager ends with the process, as the cluster does.
	go func() {
		if err := m.Start(context.Background()); err != nil {
			panic(err)
		}
	}()
	return h
}

func install(t *testing.T, c *kubetest.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), kubetest.Patience)
	defer cancel()
	for _, name := range kinds {
		b, err := crd.Definition(name, false)
		if err != nil {
			t.Fatal(err)
		}
		def := &apiextensionsv1.CustomResourceDefinition{}
		if err := json.Unmarshal(b, def); err != nil {
			t.Fatal(err)
		}
		if err := c.Objects.Create(ctx, def); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		kubetest.Eventually(t, c, &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: name}}, func(d *apiextensionsv1.CustomResourceDefinition) string {
			for _, cond := range d.Status.Conditions {
				if cond.Type == apiextensionsv1.Established && cond.Status == apiextensionsv1.ConditionTrue {
					return ""
				}
			}
			return "it is not established"
		})
	}
	for _, list := range []client.ObjectList{&rollouts.RolloutList{}, &argo.AnalysisTemplateList{}, &argo.ClusterAnalysisTemplateList{}, &argo.AnalysisRunList{}, &argo.ExperimentList{}} {
		for c.Objects.List(ctx, list) != nil { // served a moment after it is established
			if ctx.Err() != nil {
				t.Fatal(ctx.Err())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// create an object of YAML in a namespace.
func create[T client.Object](t *testing.T, h *house, o T, ns, text string) T {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), o); err != nil {
		t.Fatal(err)
	}
	o.SetNamespace(ns)
	if err := h.Objects.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return o
}

// ends waits for a run to end.
func ends(t *testing.T, h *house, ns, name string, want argo.AnalysisPhase) *argo.AnalysisRun {
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
			if got := h.writes.in(ns); len(got) != 3 {
				t.Errorf("%d writes: %v", len(got), got)
			}
		})
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
	t.Logf("writes: %v", h.writes.in(ns))
	for _, reason := range []string{"Normal ExperimentPending", "Normal ExperimentRunning", "Normal ExperimentSuccessful", "Normal TemplateRunning", "Normal AnalysisRunSuccessful"} {
		h.told.until(t, ns, func(got []string) string {
			if !slices.Contains(got, reason) {
				return reason + " was not told"
			}
			return ""
		})
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

func hash(t *testing.T, h *house, ns, set string) string {
	t.Helper()
	rs := &appsv1.ReplicaSet{}
	if err := h.Objects.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: set}, rs); err != nil {
		t.Fatal(err)
	}
	return rs.Labels[argo.DefaultRolloutUniqueLabelKey]
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
