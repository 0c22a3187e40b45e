package play

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/controlplane"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
	"github.com/fairway-dev/fairway/internal/rehearse/flow"
	"github.com/fairway-dev/fairway/internal/rehearse/load"
	"github.com/fairway-dev/fairway/internal/rehearse/model"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// House is a booted cluster, as the platform builds it: the control plane, the engine that plays its nodes, and Fairway's
// capabilities.
type House struct {
	Plane  *controlplane.ControlPlane
	Engine *virtual.Engine
	// Run keeps the engine and the capabilities going until ctx ends.
	Run func(ctx context.Context) error
	// Router is the gateway; nil when nothing of the document needs one.
	Router Router
}

// HouseOptions are what a run asks of the house.
type HouseOptions struct {
	Document *Document
	Plane    controlplane.Options
	Engine   virtual.Options
	// Dial connects whatever Fairway itself asks (the metrics of analyses) to the Services and pods of the run, as their
	// containers are played; nil when nobody asks. Nothing leaves the process.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Lives are those of Fairway's own controllers; nil = they live as long as the run.
	Lives *Lives
	// Rerouted is to be called when the Router's Version may have grown.
	Rerouted func()
	// Counted brings what the Router was told of requests up to now: to be called before it is read, and not under its locks.
	Counted func()
}

// Boot builds a house. The informers of the plane are not started yet, so that the run can register its own.
type Boot func(ctx context.Context, o HouseOptions) (*House, error)

// run is one run in progress. mu guards the model, the cluster's state and everything that follows from them.
type run struct {
	doc        *Document
	spec       specView
	out        *recorder
	mu         sync.Mutex
	wake       chan struct{}
	cluster    *cluster
	demand     *demand
	sampler    *sampler
	topology   topology
	deleters   deleters
	background sync.WaitGroup
	metrics    *podMetrics
	applier    *applier
	client     kubernetes.Interface
	house      *House
	hpa        *controlplane.HPA
	steps      *stepRunner
	checker    *checker // nil unless the document asks for it
	holds      holds
	heap       []metrics.Sample
	registry   []*virtual.RegistryFault // of the steps in force, the last one counts
	rescales   map[string]string
	rollouts   bool      // the document has objects of that group
	start      time.Time // measuring begins
	end        time.Time
	failed     string // why the run stops early
}

// errStopped ends a run that was told to stop.
var errStopped = errors.New("stopped")

// errShape is the answer to a document of another version.
var errShape = errors.New("fairway and fairway-rehearse are of different versions: build both anew with `make build`, or fairway-rehearse alone with `fairway rehearse build -o FILE`")

// Run plays the document and writes its record to out. The error says why no usable answer came about; the stream holds
// what is known by then.
func Run(ctx context.Context, doc *Document, out io.Writer, boot Boot, versions map[string]string, build string) error {
	began := startMeter()
	r := &run{doc: doc, out: newRecorder(record.NewWriter(out)), wake: make(chan struct{}, 1), rescales: map[string]string{}, holds: holds{}}
	if doc.Shape != Shape() {
		return errors.Join(errShape, r.out.end(record.End{Time: time.Now().UTC(), Incomplete: errShape.Error()}))
	}
	err := r.play(ctx, boot, versions, build, began)
	end := record.End{Time: time.Now().UTC(), Execution: began.execution(r)}
	if r.cluster != nil {
		end.BudgetBreaks = r.cluster.breaks
	}
	if err != nil {
		end.Incomplete = err.Error()
	}
	return errors.Join(err, r.out.end(end))
}

func (r *run) play(ctx context.Context, boot Boot, versions map[string]string, build string, m *meter) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := r.prepare(); err != nil {
		return err
	}
	if err := r.boot(ctx, boot); err != nil {
		return err
	}
	r.out.event(record.Event{Start: &record.Start{Seed: r.doc.Seed, Versions: versions, Build: build, SampleStep: r.spec.sample, PlayFrom: r.start.UTC(), PlayTo: r.end.UTC()}})
	for _, a := range append(r.doc.Assumed, r.topology.Assumed...) {
		r.out.event(record.Event{Assumed: &a})
	}
	for _, l := range r.topology.Limits {
		r.out.event(record.Event{Limit: &l})
	}
	if err := r.setUp(ctx); err != nil {
		return err
	}
	r.out.mute(false)
	r.waiting()
	m.playing()
	if err := r.measure(ctx); err != nil {
		return err
	}
	m.played(r)
	broken := r.checker.atEnd(ctx)
	r.finish()
	return broken
}

// prepare builds the model from the document: everything that needs no cluster.
func (r *run) prepare() error {
	var err error
	if r.spec, err = viewOf(&r.doc.Scenario); err != nil {
		return err
	}
	r.rollouts = r.doc.Names(rollouts.GroupVersion.String())
	r.start, r.end = r.spec.start, r.spec.start.Add(r.spec.duration)
	objects, err := typed(r.doc.Objects)
	if err != nil {
		return err
	}
	profiles, err := r.profiles()
	if err != nil {
		return err
	}
	spec := r.doc.Scenario.Spec
	spec.Load = r.mixes(profiles)
	programs, err := r.programs()
	if err != nil {
		return err
	}
	built, err := model.Build(model.Input{Scenario: &spec, Objects: objects, MeanRate: r.meanRates(profiles), Start: time.Now(), Seed: r.doc.Seed, Programs: programs})
	if err != nil {
		return err
	}
	r.topology = topology{built}
	cfg := built.Config
	system, err := flow.New(cfg)
	if err != nil {
		return err
	}
	r.cluster = newCluster(r)
	r.demand = &demand{r: r, system: system, services: cfg.Services, nodes: map[string]flow.NodeID{}, ordinals: map[string]*ordinals{}, byUID: map[string]*pod{}}
	for range cfg.Services {
		r.demand.revisions = append(r.demand.revisions, map[string]int{})
	}
	for i := range cfg.Loads {
		l := loadState{spec: cfg.Loads[i], origin: built.Loads[i]}
		if o := built.Loads[i].Scenario; o >= 0 {
			l.profile = profiles[o]
			routes := cfg.Services[l.spec.Service].Model.Routes
			l.profile.SetCheapest(cheapest(l.profile.Routes(), built.Entries[l.spec.Service].Routes, func(k int) float64 { return routes[k].CPU.Seconds() }))
		}
		r.demand.loads = append(r.demand.loads, l)
	}
	r.demand.route()
	r.sampler = newSampler(r, len(cfg.Services), len(cfg.Loads))
	r.steps, err = newStepRunner(r)
	return err
}

func (r *run) profiles() ([]*load.Profile, error) {
	var out []*load.Profile
	for i := range r.doc.Scenario.Spec.Load {
		l := &r.doc.Scenario.Spec.Load[i]
		p, err := load.New(l, load.Options{Start: r.start, End: r.end, Seed: r.doc.Seed})
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (r *run) boot(ctx context.Context, boot Boot) error {
	groups, err := r.nodeGroups()
	if err != nil {
		return err
	}
	v := r.doc.Scenario.Spec.Virtual
	book, err := r.containers()
	if err != nil {
		return err
	}
	var behaviour virtual.Behaviour = book
	if r.doc.Names(model.CheckAnnotation) {
		behaviour = &checks{Behaviour: book, r: r, done: map[string]virtual.Model{}}
	}
	var dial func(ctx context.Context, network, address string) (net.Conn, error)
	var inside *network
	if r.rollouts {
		inside = newNetwork(r, book)
		dial = inside.dialer.DialContext(vnet.From{})
	}
	provisioners, class := r.storage()
	house, err := boot(ctx, HouseOptions{
		Document: r.doc, Dial: dial, Lives: r.lives(), Rerouted: r.poke, Counted: r.counted,
		Plane: controlplane.Options{Profile: controlplane.Rehearsal, Requests: r.request, Events: r.kubeEvent, Scheduler: r.doc.Scheduler, APIServerArgs: r.admission(),
			Features: r.doc.Scenario.Spec.Controllers.Kubernetes.FeatureGates},
		Engine: virtual.Options{NodeGroups: groups, PodStart: virtual.Modelled, PodWrites: virtual.WritePolicy(v.PodWrites), PodEvents: virtual.EventPolicy(v.PodEvents),
			Heartbeat: virtual.Heartbeat(v.NodeHeartbeat), TimeGrain: v.TimeGrain.Duration, Workers: 1, Seed: r.doc.Seed, Behaviour: behaviour, Images: r.images(book), Provisioners: provisioners, DefaultClass: class, Usage: r.demand, OnEvent: r.kubeletEvent},
	})
	if err != nil {
		return err
	}
	r.house = house
	if g := r.demand.routed; g != nil {
		if g.router = house.Router; g.router == nil {
			return errors.New("a load comes through a gateway, and none is there: this is an error of the program")
		}
	}
	cfg := house.Plane.ConfigAs(userSteps, "system:masters")
	if r.client, err = kubernetes.NewForConfig(cfg); err != nil {
		return err
	}
	if r.applier, err = newApplier(cfg); err != nil {
		return err
	}
	if err := r.cluster.observe(house.Plane.Informers()); err != nil {
		return err
	}
	if inside != nil {
		if err := inside.observe(house.Plane.Informers()); err != nil {
			return err
		}
	}
	if r.doc.Check {
		if r.checker, err = newChecker(r, house.Plane.Informers()); err != nil {
			return err
		}
	}
	if err := r.followRollouts(ctx, cfg); err != nil {
		return err
	}
	r.metrics = &podMetrics{r: r, pods: house.Plane.PodsByLabel()}
	hpa, err := house.Plane.NewHPA(ctx, controlplane.HPAOptions{Metrics: r.metrics, SyncPeriod: r.spec.hpaSync})
	if err != nil {
		return err
	}
	house.Plane.StartInformers(ctx)
	hpa.Start(ctx)
	r.hpa = hpa
	go func() {
		if err := house.Run(ctx); err != nil && ctx.Err() == nil {
			r.stop(err)
		}
	}()
	return nil
}

// admission leaves out a plugin that polls the OpenAPI documents every second, when nothing in this run is for it.
func (r *run) admission() []string {
	const kind = "MutatingAdmissionPolicy"
	used := false
	for _, o := range r.doc.Objects {
		used = used || bytes.Contains(o.Object, []byte(kind))
	}
	for i := range r.doc.Scenario.Spec.Steps {
		for _, a := range r.doc.Scenario.Spec.Steps[i].Apply {
			used = used || bytes.Contains(a.Object, []byte(kind))
		}
	}
	var off []string
	if !used {
		off = append(off, kind)
	}
	if r.doc.Plant == PlantIgnoreQuota {
		off = append(off, "ResourceQuota")
	}
	if len(off) == 0 {
		return nil
	}
	return []string{"--disable-admission-plugins=" + strings.Join(off, ",")}
}

// stop ends the run early.
func (r *run) stop(err error) {
	r.mu.Lock()
	if r.failed == "" {
		r.failed = err.Error()
	}
	r.mu.Unlock()
	r.poke()
}

// setUp applies the manifests and plays until the cluster is at rest and the settling time has passed.
func (r *run) setUp(ctx context.Context) error {
	left := func(o Object, err error) {
		r.out.event(record.Event{Limit: &record.Limit{What: "an object was left out", Why: err.Error()}})
	}
	if err := r.awaitNodes(ctx); err != nil {
		return err
	}
	if err := r.applier.setUp(ctx, r.doc.Objects, r.doc.Lenient, left); err != nil {
		return err
	}
	if err := r.applyEdits(ctx); err != nil {
		return err
	}
	return r.advanceTo(ctx, r.start, false)
}

// awaitNodes lets the pools' first nodes join, so that pods are spread over all of them and not over those that came first.
func (r *run) awaitNodes(ctx context.Context) error {
	deadline := r.start.Add(-r.spec.settle / 2)
	for time.Now().Before(deadline) {
		r.mu.Lock()
		ready := 0
		for _, n := range r.cluster.nodes {
			if n.ready {
				ready++
			}
		}
		failed := r.failed
		r.mu.Unlock()
		if failed != "" {
			return errors.New(failed)
		}
		if ready >= r.spec.nodes {
			return nil
		}
		if err := r.sleep(ctx, time.Now().Add(time.Second)); err != nil {
			return err
		}
	}
	return nil
}

func (d *demand) podOf(id flow.PodID) *pod {
	for _, p := range d.scraped {
		if p.demand.id == id {
			return p
		}
	}
	return nil
}

func (r *run) entry(e record.Entry) { r.out.entry(e) }

// scaleReason is why a workload's size changed, as far as an autoscaler said so.
func (r *run) scaleReason(object string) (why, actor string) {
	if m, ok := r.rescales[short(object)]; ok {
		delete(r.rescales, short(object))
		return m, "horizontal-pod-autoscaler"
	}
	return "", ""
}

// ownerOf is the workload of a pod by name.
func (r *run) ownerOf(ns, name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.cluster.byName[ns+"/"+name]; p != nil {
		return p.rec.Workload
	}
	return ""
}

// request sees every write of a client in this process.
func (r *run) request(q controlplane.Request) {
	r.out.request(q)
	r.deleters.request(q)
	r.checker.request(q)
}

// applyEdits makes the quick edits of the scenario's cluster: numbers of replicas and patches.
func (r *run) applyEdits(ctx context.Context) error {
	c := &r.doc.Scenario.Spec.Cluster
	for _, name := range sortedKeys(c.Replicas) {
		if _, err := r.actScale(ctx, &v1alpha1.ScaleAction{Workload: v1alpha1.Workload(name), Replicas: c.Replicas[name]}); err != nil {
			return fmt.Errorf("cluster.replicas: %s: %w", name, err)
		}
	}
	for i := range c.Patch {
		if _, err := r.actPatch(ctx, &c.Patch[i]); err != nil {
			return fmt.Errorf("cluster.patch %d: %w", i+1, err)
		}
	}
	return nil
}

// began notes where the workloads stand when measuring begins.
func (r *run) began(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sampler.take(now, false)
	for _, w := range r.cluster.workloads {
		w.availFrom, w.reversals, w.direction, w.revisions = w.availability(), 0, 0, 0
	}
}

func (w *workload) availability() float64 {
	if w.desired <= 0 {
		return 1
	}
	return min(1, float64(w.ready)/float64(w.desired))
}

// finish writes the tables at the end.
func (r *run) finish() {
	r.steps.finish()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.demand.loads {
		r.out.event(record.Event{Load: ptr(r.sampler.loads[i].record(r.demand.loads[i].spec.Name, false, r.demand.target(i)))})
	}
	for i := range r.demand.services {
		if !r.demand.services[i].Constant {
			r.out.event(record.Event{Load: ptr(r.sampler.services[i].record(r.demand.services[i].Name, true, ""))})
		}
	}
	r.demand.tellUnsteered()
	for _, e := range r.sampler.calls() {
		r.out.event(record.Event{Call: &e})
	}
	for _, name := range r.cluster.names {
		w := r.cluster.workloads[name]
		if w.update != nil && w.revisions > 0 {
			r.out.event(record.Event{Update: w.atEnd()})
		}
		r.out.event(record.Event{Workload: w.record(r)})
	}
	now := time.Now()
	for _, p := range r.cluster.living() {
		if p.demand.known {
			p.rec.CPUUsedCoreSeconds = r.demand.system.CPUSeconds(p.demand.id, now)
		}
		if p.obj.Spec.NodeName == "" {
			p.rec.Reason, p.rec.Message = "Unschedulable", conditionMessage(p.obj, corev1.PodScheduled)
		}
		r.out.event(record.Event{Pod: &p.rec})
	}
	for _, name := range sortedKeys(r.cluster.nodes) {
		r.out.event(record.Event{Node: &r.cluster.nodes[name].rec})
	}
}

func (w *workload) record(r *run) *record.Workload {
	out := &record.Workload{Object: w.object, ReplicasEnd: int(w.ready), DesiredEnd: int(max(w.desired, 0)), Reversals: w.reversals, Revisions: w.revisions,
		AvailabilityStart: max(w.availFrom, 0), AvailabilityEnd: w.availability(), Service: r.topology.serviceName(w.object)}
	w.recordRollout(out)
	sum := 0.0
	for i, n := range w.samples {
		sum += float64(n)
		if i == 0 || int(n) < out.ReplicasMin {
			out.ReplicasMin = int(n)
		}
		out.ReplicasMax = max(out.ReplicasMax, int(n))
	}
	if len(w.samples) > 0 {
		out.ReplicasMean = sum / float64(len(w.samples))
	}
	return out
}

func ptr[T any](v T) *T { return &v }

func sortedKeys[M ~map[K]V, K ~string, V any](m M) []K {
	return slices.Sorted(maps.Keys(m))
}
