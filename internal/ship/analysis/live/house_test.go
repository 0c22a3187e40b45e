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
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
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
	"github.com/fairway-dev/fairway/internal/ship/lenient"
)

// kinds of argoproj.io, by the names of their definitions.
var kinds = []string{"rollouts.argoproj.io", "analysistemplates.argoproj.io", "clusteranalysistemplates.argoproj.io", "analysisruns.argoproj.io", "experiments.argoproj.io"}

// house is a manager with both controllers in it.
type house struct {
	*kubetest.Cluster
	told       *told
	writes     *writes
	collectors []prometheus.Collector
	ended      chan error // of the manager
	web        string     // what every name leads to
	asked      sync.Map   // how often each path was, as *atomic.Int32
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
		install(t, c)
		current = start(context.Background(), t, c, "") // it ends with the process, as the cluster does
	}
	return current
}

// start the controllers of an instance, until ctx ends.
func start(ctx context.Context, t *testing.T, c *kubetest.Cluster, instance string) *house {
	t.Helper()
	h := &house{Cluster: c, ended: make(chan error, 1), told: &told{by: map[string][]string{}}, writes: &writes{by: map[string][]string{}}}
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
	cfg.Wrap(lenient.Wrap(c.Scheme, slog.New(slog.DiscardHandler)))
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
	runs := &analysis.Controller{Client: m.GetClient(), Reader: m.GetAPIReader(), Recorder: h.told, FieldOwner: "fairway", Log: log, InstanceID: instance,
		Providers: provider.All(provider.Config{Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, h.web)
		}})}
	experiments := &experiment.Controller{Client: m.GetClient(), Recorder: h.told, FieldOwner: "fairway", Log: log, InstanceID: instance}
	if err := runs.SetUp(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	if err := experiments.SetUp(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	h.collectors = append(runs.Collectors(), experiments.Collectors()...)
	go func() { h.ended <- m.Start(ctx) }()
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
