package live_test

import (
	"context"
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

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/analysis/provider"
	"github.com/fairway-dev/fairway/internal/ship/analysis/provider/podlife"
	"github.com/fairway-dev/fairway/internal/ship/experiment"
	"github.com/fairway-dev/fairway/internal/ship/lenient"
	"github.com/fairway-dev/fairway/internal/ship/live/house"
)

// wiring is a manager with both controllers in it.
type wiring struct {
	*kubetest.Cluster
	told       *told
	pods       *podlife.Watch
	writes     *house.Writes
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

var (
	mu      sync.Mutex
	current *wiring
)

// serve is the package's cluster with the controllers running.
func serve(t *testing.T) *wiring {
	t.Helper()
	c := house.Cluster(t)
	mu.Lock()
	defer mu.Unlock()
	if current == nil {
		current = start(context.Background(), t, c, "", nil) // it ends with the process, as the cluster does
	}
	return current
}

// start the controllers of an instance, until ctx ends. cached changes what Experiments are read from; nil = nothing does.
func start(ctx context.Context, t *testing.T, c *kubetest.Cluster, instance string, cached func(client.Client) client.Client) *wiring {
	t.Helper()
	h := &wiring{Cluster: c, ended: make(chan error, 1), told: &told{by: map[string][]string{}}}
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
	var m manager.Manager
	m, h.writes = house.Manager(t, c, house.Options{Wrap: func(cfg *rest.Config) { cfg.Wrap(lenient.Wrap(c.Scheme, slog.New(slog.DiscardHandler))) }})
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	var err error
	h.pods, err = podlife.NewWatch(ctx, m.GetCache(), func(p *corev1.Pod) string { return p.Labels["pod-template-hash"] })
	if err != nil {
		t.Fatal(err)
	}
	runs := &analysis.Controller{Client: m.GetClient(), Reader: m.GetAPIReader(), Recorder: h.told, FieldOwner: "fairway", Log: log, InstanceID: instance,
		Providers: provider.All(provider.Config{Evidence: h.pods, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, h.web)
		}})}
	from := m.GetClient()
	if cached != nil {
		from = cached(from)
	}
	experiments := &experiment.Controller{Client: from, Reader: m.GetAPIReader(), Recorder: h.told, FieldOwner: "fairway", Log: log, InstanceID: instance}
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

// create an object of YAML in a namespace.
func create[T client.Object](t *testing.T, h *wiring, o T, ns, text string) T {
	t.Helper()
	house.Create(t, h.Cluster, house.Read(t, o, ns, text))
	return o
}
