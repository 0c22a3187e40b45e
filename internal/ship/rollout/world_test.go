package rollout

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// tester is what both testing.T and rapid.T are.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// world is a cluster in memory: what plans do to it, ReplicaSets that make pods, pods that become ready, and users.
type world struct {
	t       tester
	now     time.Time
	version int
	ro      *rollouts.Rollout
	sets    map[string]*appsv1.ReplicaSet
	pods    map[types.UID][]*corev1.Pod
	svcs    map[string]*corev1.Service
	runs    []*argo.AnalysisRun
	exps    []*argo.Experiment
	objects traffic.Objects
	routers []traffic.Router
	tmpls   map[string]*argo.AnalysisTemplate
	work    *Workload
	calls   map[string]CallResult
	refused map[types.UID]time.Time
	refuse  bool                   // a budget refuses all evictions
	balance func(*Call) CallResult // answers for load balancers; nil = nobody asks them
	events  []string
	told    []Event
	warned  []Event // by the plan before
	writes  int
	plan    Plan // the last
	// watch is called before each Op is carried out.
	watch func(Op)
	// done is called after each Op.
	done func(Op)
	// conflict is the Op that meets a newer object; 0 = none.
	conflict int
	past     *Snapshot
	behind   bool // it is decided on what was so a while ago
	// lostRoute is the router's object while it is away.
	lostRoute *unstructured.Unstructured
	// unanswered are the questions that plugins keep to themselves; nil = they answer at once.
	unanswered map[string]bool
	// die ends the execution of plans after so many Ops; 0 = never.
	die int
}

func newWorld(t tester, ro *rollouts.Rollout) *world {
	w := &world{t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), sets: map[string]*appsv1.ReplicaSet{}, pods: map[types.UID][]*corev1.Pod{},
		svcs: map[string]*corev1.Service{}, objects: traffic.Objects{}, calls: map[string]CallResult{}, refused: map[types.UID]time.Time{}}
	ro.Namespace, ro.Name, ro.UID, ro.Generation = "shop", "web", "ro", 1
	ro.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	if len(ro.Spec.Template.Spec.Containers) == 0 {
		ro.Spec.Template = tmpl("v1")
	}
	w.ro = ro
	w.stamp(ro)
	for _, name := range ServiceNames(ro) {
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}}}
		w.stamp(svc)
		w.svcs[name] = svc
	}
	if routed(ro) {
		w.routers = []traffic.Router{fakeRouter{}}
		route := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "fake/v1", "kind": "Route", "metadata": map[string]any{"namespace": "shop", "name": "route"}}}
		w.stamp(route)
		w.objects[routeRef] = route
	}
	return w
}

func tmpl(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:" + image}}}}
}

func canaryRollout(n int32, c argo.CanaryStrategy) *rollouts.Rollout {
	return &rollouts.Rollout{Spec: argo.RolloutSpec{Replicas: &n, Strategy: argo.RolloutStrategy{Canary: &c}}}
}

func greenRollout(n int32, b argo.BlueGreenStrategy) *rollouts.Rollout {
	return &rollouts.Rollout{Spec: argo.RolloutSpec{Replicas: &n, Strategy: argo.RolloutStrategy{BlueGreen: &b}}}
}

func ptr[T any](v T) *T { return &v }

func weight(n int32) argo.CanaryStep { return argo.CanaryStep{SetWeight: &n} }

func pauseFor(s string) argo.CanaryStep {
	if s == "" {
		return argo.CanaryStep{Pause: &argo.RolloutPause{}}
	}
	return argo.CanaryStep{Pause: &argo.RolloutPause{Duration: ptr(intstr.Parse(s))}}
}

func (w *world) stamp(o client.Object) {
	w.version++
	o.SetResourceVersion(strconv.Itoa(w.version))
	if o.GetUID() == "" {
		o.SetUID(types.UID(fmt.Sprintf("u%d", w.version)))
	}
	if o.GetCreationTimestamp().Time.IsZero() {
		o.SetCreationTimestamp(metav1.Time{Time: w.now.Truncate(time.Second)})
	}
}

// snapshot is what a cache would hold: copies.
func (w *world) snapshot() Snapshot {
	s := Snapshot{Rollout: w.ro.DeepCopy(), Hash: Hash(&w.ro.Spec.Template, w.ro.Status.CollisionCount), Services: map[string]*corev1.Service{},
		Pods: w.pods, Refused: w.refused, Objects: maps.Clone(w.objects), Routers: w.routers, Templates: w.tmpls, Calls: w.calls, Asked: w.unanswered, Workload: w.work, Uncounted: w.plan.Uncounted, Balanced: w.balance != nil}
	if c := w.ro.Spec.Strategy.Canary; c != nil {
		s.StepsHash = StepsHash(c.Steps)
	}
	for _, rs := range w.sets {
		s.ReplicaSets = append(s.ReplicaSets, rs.DeepCopy())
	}
	slices.SortFunc(s.ReplicaSets, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(firstRevision(a.Annotations), firstRevision(b.Annotations)), strings.Compare(a.Name, b.Name))
	})
	s.New = FindNew(s.Rollout, s.Hash, s.ReplicaSets)
	for k, v := range w.svcs {
		s.Services[k] = v.DeepCopy()
	}
	for _, r := range w.runs {
		s.Runs = append(s.Runs, r.DeepCopy())
	}
	for _, e := range w.exps {
		s.Experiments = append(s.Experiments, e.DeepCopy())
	}
	return s
}

// roundsMax is how many plans one change may take until there is nothing left to do, beside one for each step.
const roundsMax = 14

// reconcile decides and acts until there is nothing left to do, or the process dies.
func (w *world) reconcile() {
	w.t.Helper()
	var trail []string
	for range roundsMax + steps(w.ro) {
		s := w.snapshot()
		w.plan = Decide(s, w.now)
		if w.version%7 == 0 && w.frozen(s) != w.frozen(w.snapshot()) {
			w.t.Fatalf("Decide changed its snapshot")
		}
		for _, e := range w.plan.Warnings {
			if !slices.Contains(w.warned, e) {
				w.told = append(w.told, e)
			}
		}
		w.warned = w.plan.Warnings
		if len(w.plan.Ops) == 0 {
			return
		}
		for _, o := range w.plan.Ops {
			trail = append(trail, describe(o))
		}
		trail = append(trail, "--")
		if !w.carryOut(w.plan) {
			return
		}
	}
	w.t.Fatalf("no end after %d rounds:\n%s", roundsMax, strings.Join(trail, "\n"))
}

func (w *world) frozen(s Snapshot) string {
	b, err := json.Marshal([]any{s.Rollout, s.ReplicaSets, s.Services, s.Runs, s.Experiments, s.Pods})
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	return string(b)
}

func describe(o Op) string {
	name := func(c client.Object) string {
		if c == nil || reflect.ValueOf(c).IsNil() {
			return ""
		}
		return fmt.Sprintf("%T %s", c, c.GetName())
	}
	s := fmt.Sprintf("%d %s -> %s %d", o.Verb, name(o.Before), name(o.After), o.Replicas)
	if (o.Verb == Patch || o.Verb == PatchStatus) && o.Before != nil && o.After != nil {
		b, _ := json.Marshal(diff(asJSON(o.Before), asJSON(o.After)))
		s += " " + string(b)
	}
	for _, e := range o.Events {
		s += " !" + e.Reason + "(" + e.Message + ")"
	}
	return s
}

// carryOut the Ops of a plan in order. It is false when the process died.
func (w *world) carryOut(p Plan) bool {
	returned, deleted := map[types.UID]string{}, map[types.UID]bool{}
	for _, o := range p.Ops {
		if testing.Verbose() {
			w.t.Logf("%s", describe(o))
		}
		if w.conflict > 0 {
			if w.conflict--; w.conflict == 0 {
				return true
			}
		}
		if w.watch != nil && (o.Before == nil || o.Verb == Ask || w.live(o.Before) != nil) {
			w.watch(o)
		}
		if w.behind && (o.Verb == Create && w.live(o.After) != nil || o.Verb == Ask) {
			return true // it is there already
		}
		if o.Before != nil && o.Verb != Ask && o.Verb != Tell {
			uid, want := o.Before.GetUID(), o.Before.GetResourceVersion()
			if deleted[uid] {
				w.t.Fatalf("the plan writes what it has deleted: %s", describe(o))
			}
			deleted[uid] = o.Verb == Delete
			if v, ok := returned[uid]; ok {
				want = v
			}
			if live := w.live(o.Before); live == nil || live.GetResourceVersion() != want {
				return true // a conflict: decided anew
			}
			w.do(o)
			if live := w.live(o.Before); live != nil {
				returned[uid] = live.GetResourceVersion()
			}
		} else {
			w.do(o)
		}
		if w.done != nil {
			w.done(o)
		}
		for _, e := range o.Events {
			w.events = append(w.events, e.Reason)
			w.told = append(w.told, e)
		}
		if w.die > 0 {
			if w.die--; w.die == 0 {
				return false
			}
		}
		if o.Barrier {
			break
		}
	}
	return true
}

func (w *world) live(o client.Object) client.Object {
	switch o := o.(type) {
	case *rollouts.Rollout:
		return w.ro
	case *appsv1.ReplicaSet:
		if rs := w.sets[o.Name]; rs != nil {
			return rs
		}
	case *corev1.Service:
		return w.svcs[o.Name]
	case *argo.AnalysisRun:
		if i := slices.IndexFunc(w.runs, func(r *argo.AnalysisRun) bool { return r.Name == o.Name }); i >= 0 {
			return w.runs[i]
		}
	case *argo.Experiment:
		if i := slices.IndexFunc(w.exps, func(r *argo.Experiment) bool { return r.Name == o.Name }); i >= 0 {
			return w.exps[i]
		}
	case *corev1.Pod:
		for _, pods := range w.pods {
			for _, p := range pods {
				if p.Name == o.Name {
					return p
				}
			}
		}
	case *unstructured.Unstructured:
		if u := w.objects[refOf(o)]; u != nil {
			return u
		}
	case *appsv1.Deployment:
		return w.work.Object
	}
	return nil
}

func (w *world) do(o Op) {
	if o.Verb != Tell && o.Verb != Ask && o.Verb != Evict {
		w.writes++
	}
	switch o.Verb {
	case Create:
		w.create(o.After)
	case Patch, PatchStatus:
		if _, ok := o.Before.(*unstructured.Unstructured); ok {
			after := o.After.DeepCopyObject().(*unstructured.Unstructured)
			w.stamp(after)
			w.objects[refOf(after)] = after
			return
		}
		live := w.live(o.Before)
		d := diff(asJSON(o.Before), asJSON(o.After))
		if _, isRollout := live.(*rollouts.Rollout); isRollout {
			status := map[string]any{}
			if st, ok := d["status"]; ok {
				status["status"] = st
			}
			if delete(d, "status"); o.Verb == PatchStatus {
				d = status
			} else if _, ok := d["spec"]; ok {
				w.ro.Generation++
			}
		}
		merged := merge(asJSON(live), d)
		b, _ := json.Marshal(merged)
		fresh := reflect.New(reflect.TypeOf(live).Elem())
		if err := json.Unmarshal(b, fresh.Interface()); err != nil {
			w.t.Fatalf("%v", err)
		}
		reflect.ValueOf(live).Elem().Set(fresh.Elem())
		w.stamp(live)
		if rs, ok := live.(*appsv1.ReplicaSet); ok {
			rs.Generation++
		}
	case Delete:
		switch b := o.Before.(type) {
		case *appsv1.ReplicaSet:
			delete(w.pods, w.sets[b.Name].UID)
			delete(w.sets, b.Name)
		case *argo.AnalysisRun:
			w.runs = slices.DeleteFunc(w.runs, func(r *argo.AnalysisRun) bool { return r.Name == b.Name })
		case *argo.Experiment:
			w.exps = slices.DeleteFunc(w.exps, func(r *argo.Experiment) bool { return r.Name == b.Name })
		}
	case Evict:
		if w.refuse {
			w.refused[o.Before.GetUID()] = w.now
			return
		}
		for uid, pods := range w.pods {
			w.pods[uid] = slices.DeleteFunc(pods, func(p *corev1.Pod) bool { return p.Name == o.Before.GetName() })
		}
	case Scale:
		w.work.Replicas = ptr(o.Replicas)
	case Ask:
		if r, ok := w.calls[o.Call.Key]; ok && r.Of == o.Call.Of && r.Err == "" && (r.Verified == nil || *r.Verified) {
			w.t.Fatalf("asked twice: %s", o.Call.Key)
		}
		if w.unanswered != nil {
			w.unanswered[o.Call.Key] = true
			return
		}
		answer := w.answer(o.Call)
		answer.Of = o.Call.Of
		w.calls[o.Call.Key] = answer
	}
}

// answer of a step plugin: it is done after two runs.
func (w *world) answer(c *Call) CallResult {
	now := metav1.Time{Time: w.now.Truncate(time.Second)}
	if c.Kind == Balancer {
		r := w.balance(c)
		r.At = w.now
		return r
	}
	if c.Plugin == "broken" {
		return CallResult{At: w.now, Err: "there is no such plugin"}
	}
	if c.Kind == RouterPlugin {
		return CallResult{At: w.now, Verified: ptr(true)}
	}
	st := argo.StepPluginStatus{Index: c.Index, Name: c.Plugin, Operation: argo.StepPluginOperation(c.Method), Phase: argo.StepPluginPhaseSuccessful, UpdatedAt: &now, StartedAt: c.Status.StartedAt}
	if c.Method == RunMethod {
		if st.Executions = c.Status.Executions + 1; st.Executions < 2 {
			st.Phase, st.Backoff = argo.StepPluginPhaseRunning, "30s"
		}
	}
	return CallResult{At: w.now, Status: &st}
}

func refOf(u *unstructured.Unstructured) traffic.Ref {
	return traffic.Ref{GroupVersionKind: u.GroupVersionKind(), Namespace: u.GetNamespace(), Name: u.GetName()}
}

func (w *world) create(o client.Object) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		u = u.DeepCopy()
		w.stamp(u)
		w.objects[refOf(u)] = u
		return
	}
	b, _ := json.Marshal(o)
	fresh := reflect.New(reflect.TypeOf(o).Elem()).Interface().(client.Object)
	if err := json.Unmarshal(b, fresh); err != nil {
		w.t.Fatalf("%v", err)
	}
	w.stamp(fresh)
	switch o := fresh.(type) {
	case *appsv1.ReplicaSet:
		if w.sets[o.Name] != nil {
			w.t.Fatalf("%s exists", o.Name)
		}
		o.Generation = 1
		w.sets[o.Name] = o
	case *argo.AnalysisRun:
		w.runs = append(w.runs, o)
	case *argo.Experiment:
		w.exps = append(w.exps, o)
	default:
		w.t.Fatalf("unexpected %T", o)
	}
}
