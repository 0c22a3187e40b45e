package play

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// holds counts the steps in force by what they hold, so that the end of one does not heal what another still breaks. It is
// used by steps alone, which act one after the other.
type holds map[string]int

func (h holds) take(key string) { h[key]++ }

// drop tells that nothing holds the key any more.
func (h holds) drop(key string) bool {
	if h[key]--; h[key] > 0 {
		return false
	}
	delete(h, key)
	return true
}

// choose draws count or a share of names, sorted; zero count and no share means all.
func (r *run) choose(purpose string, names []string, count *int32, share *v1alpha1.Share, all int) []string {
	n := all
	switch {
	case count != nil:
		n = int(*count)
	case share != nil:
		n = int(math.Ceil(float64(*share) * float64(len(names))))
	}
	if n >= len(names) {
		return names
	}
	order := append([]string(nil), names...)
	sort.SliceStable(order, func(i, j int) bool {
		return uniform(r.doc.Seed, purpose, order[i], 0) < uniform(r.doc.Seed, purpose, order[j], 0)
	})
	order = order[:max(n, 0)]
	sort.Strings(order)
	return order
}

// nodes resolves a target to names.
func (r *run) nodes(t *v1alpha1.NodeTarget, unsaid int) ([]string, error) {
	sel, err := labels.Parse(t.Selector)
	if err != nil {
		return nil, err
	}
	list, err := r.client.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{LabelSelector: sel.String(), ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range list.Items {
		n := &list.Items[i]
		if t.Node != "" && n.Name != t.Node || t.Pool != "" && n.Labels[v1alpha1.LabelNodeGroup] != t.Pool {
			continue
		}
		names = append(names, n.Name)
	}
	sort.Strings(names)
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no node now %s", wanted(t))
	}
	if unsaid == 0 {
		unsaid = len(names)
	}
	return r.choose("nodes", names, t.Count, t.Share, unsaid), nil
}

// wanted says what a target looks for.
func wanted(t *v1alpha1.NodeTarget) string {
	var parts []string
	for _, x := range []struct{ what, value string }{{"named", t.Node}, {"of pool", t.Pool}, {"with labels", t.Selector}} {
		if x.value != "" {
			parts = append(parts, x.what+" "+x.value)
		}
	}
	return strings.Join(parts, ", ")
}

// namedMax is how many objects a text names before it counts them.
const namedMax = 3

// named writes a list of objects: "node a", "nodes a, b", "12 nodes (a, b, c, …)".
func named(noun string, names []string) string {
	switch n := len(names); {
	case n == 1:
		return noun + " " + names[0]
	case n <= namedMax:
		return noun + "s " + strings.Join(names, ", ")
	default:
		return fmt.Sprintf("%d %ss (%s, …)", n, noun, strings.Join(names[:namedMax], ", "))
	}
}

func nodeObjects(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = "Node/" + n
	}
	return out
}

func (r *run) actNodeCrash(a *v1alpha1.NodeCrashAction) (outcome, error) {
	names, err := r.nodes(&a.NodeTarget, 1)
	if err != nil {
		return outcome{}, err
	}
	mode := virtual.CrashMode(a.Mode)
	if mode == "" {
		mode = virtual.CrashStop
	}
	var back time.Duration
	if a.Back != nil {
		back = a.Back.Duration
	}
	for _, n := range names {
		if err := r.house.Engine.CrashNode(n, mode, back); err != nil {
			return outcome{}, err
		}
	}
	return outcome{what: fmt.Sprintf("crash (%s) of %s", mode, named("node", names)), targets: nodeObjects(names)}, nil
}

func (r *run) actNotReady(a *v1alpha1.NodeNotReadyAction) (outcome, error) {
	names, err := r.nodes(&a.NodeTarget, 0)
	if err != nil {
		return outcome{}, err
	}
	var rest []*time.Timer
	for i, n := range names {
		after := a.Gap.Duration * time.Duration(i)
		r.holds.take("ready/" + n)
		rest = append(rest, r.later(after, func() error { return r.house.Engine.NotReady(n, a.Message) }))
	}
	return outcome{what: named("node", names) + " not ready", targets: nodeObjects(names), undo: func(context.Context) error {
		leave(rest)
		var errs []error
		for _, n := range names {
			if !r.holds.drop("ready/" + n) {
				continue
			}
			if r.house.Engine.Alive(n) { // it may have been lost meanwhile
				errs = append(errs, r.house.Engine.Heal(n))
			}
		}
		return errors.Join(errs...)
	}}, nil
}

// later does something after a while of this run, on a goroutine that ends with it. The timer, nil when it was done at once,
// leaves it undone.
func (r *run) later(d time.Duration, f func() error) *time.Timer {
	do := func() {
		if err := f(); err != nil {
			r.warn("a step", err)
		}
	}
	if d <= 0 {
		do()
		return nil
	}
	return time.AfterFunc(d, do)
}

// leave lets go of what was to be done later.
func leave(rest []*time.Timer) {
	for _, t := range rest {
		if t != nil {
			t.Stop()
		}
	}
}

func (r *run) actZoneOutage(a *v1alpha1.ZoneOutageAction) (outcome, error) {
	if err := r.house.Engine.ZoneOutage(a.Zone, a.Mode != v1alpha1.OutageNetwork); err != nil {
		return outcome{}, err
	}
	r.holds.take("zone/" + a.Zone)
	return outcome{what: "outage of zone " + a.Zone, data: map[string]string{"zone": a.Zone}, undo: func(context.Context) error {
		if r.holds.drop("zone/" + a.Zone) {
			return r.house.Engine.HealZone(a.Zone)
		}
		return nil
	}}, nil
}

func (r *run) actSpotReclaim(a *v1alpha1.SpotReclaimAction) (outcome, error) {
	names, err := r.nodes(&v1alpha1.NodeTarget{Pool: a.Pool, Share: a.Share, Count: a.Count}, 1)
	if err != nil {
		return outcome{}, err
	}
	notice := 2 * time.Minute
	if a.Notice != nil {
		notice = a.Notice.Duration
	}
	for i, n := range names {
		after := time.Duration(0)
		if len(names) > 1 {
			after = a.Over.Duration * time.Duration(i) / time.Duration(len(names)-1)
		}
		if a.Rebalance.Duration > 0 {
			r.later(after, func() error {
				r.entry(record.Entry{Kind: record.KindEvent, Object: "Node/" + n, What: "rebalance recommendation: " + n + " is likely to be reclaimed", Actor: userSteps})
				return nil
			})
			after += a.Rebalance.Duration
		}
		r.later(after, func() error { return r.house.Engine.SpotReclaim(n, notice) })
	}
	return outcome{what: "spot reclaim of " + named("node", names), targets: nodeObjects(names), data: map[string]string{"pool": a.Pool}}, nil
}

func (r *run) actNoCapacity(a *v1alpha1.NoCapacityAction) (outcome, error) {
	pools := []string{}
	for _, p := range r.doc.Scenario.Spec.Cluster.Pools {
		if (a.Pool == "" || p.Name == a.Pool) && (a.Type == "" || p.Type == a.Type) {
			pools = append(pools, p.Name)
		}
	}
	set := func(dry bool) error {
		for _, p := range pools {
			if key := "capacity/" + p + "/" + a.Zone; dry {
				r.holds.take(key)
			} else if !r.holds.drop(key) {
				continue
			}
			if err := r.house.Engine.NoCapacity(p, a.Zone, !dry); err != nil {
				return err
			}
		}
		return nil
	}
	return outcome{what: "no capacity", data: map[string]string{"zone": a.Zone, "pool": a.Pool}, undo: func(context.Context) error { return set(false) }}, set(true)
}

func (r *run) actRegistry(a *v1alpha1.RegistryAction) (outcome, error) {
	f := virtual.RegistryFault{Match: a.Match}
	switch a.State {
	case v1alpha1.RegistryDown:
		f.Down = true
	case v1alpha1.RegistrySlow:
		factor := 10.0
		if a.Factor != nil {
			factor = *a.Factor
		}
		f.Slow = 1 / factor
	case v1alpha1.RegistryLimited:
		f.Limited = true
	}
	r.registry = append(r.registry, &f)
	r.house.Engine.Registry(f)
	return outcome{what: "registry " + a.State, undo: func(context.Context) error {
		r.registry = slices.DeleteFunc(r.registry, func(x *virtual.RegistryFault) bool { return x == &f })
		var left virtual.RegistryFault
		if n := len(r.registry); n > 0 {
			left = *r.registry[n-1]
		}
		r.house.Engine.Registry(left)
		return nil
	}}, nil
}

func (r *run) actCordon(ctx context.Context, a *v1alpha1.CordonAction) (outcome, error) {
	names, err := r.nodes(&a.NodeTarget, 0)
	if err != nil {
		return outcome{}, err
	}
	var rest []*time.Timer
	for i, n := range names {
		r.holds.take("cordon/" + n)
		rest = append(rest, r.later(a.Gap.Duration*time.Duration(i), func() error { return r.cordon(ctx, n, true) }))
	}
	return outcome{what: "cordon " + named("node", names), targets: nodeObjects(names), undo: func(ctx context.Context) error {
		leave(rest)
		return r.uncordon(names)(ctx)
	}}, nil
}

func (r *run) cordon(ctx context.Context, name string, on bool) error {
	_, err := r.client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, asJSON(map[string]any{"spec": map[string]any{"unschedulable": on}}), metav1.PatchOptions{FieldManager: managerSteps})
	return err
}

func (r *run) uncordon(names []string) undo {
	return func(ctx context.Context) error {
		for _, n := range names {
			if !r.holds.drop("cordon/" + n) {
				continue
			}
			if err := r.cordon(ctx, n, false); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
		return nil
	}
}

// actDrain empties nodes one after the other, as kubectl drain --ignore-daemonsets --delete-emptydir-data does: evictions
// ask the disruption budgets and are tried again every five seconds.
func (r *run) actDrain(ctx context.Context, a *v1alpha1.DrainAction) (outcome, error) {
	names, err := r.nodes(&a.NodeTarget, 0)
	if err != nil {
		return outcome{}, err
	}
	timeout := time.Hour
	if a.Timeout != nil {
		timeout = a.Timeout.Duration
	}
	for _, n := range names {
		r.holds.take("cordon/" + n)
	}
	draining, stop := context.WithCancel(ctx)
	r.background.Go(func() {
		defer stop()
		for i, n := range names {
			if i > 0 && a.Gap.Duration > 0 {
				time.Sleep(a.Gap.Duration)
			}
			if err := r.drain(draining, n, a.Grace, timeout); err != nil && draining.Err() == nil {
				r.warn("draining "+n, err)
			}
		}
	})
	return outcome{what: "drain " + named("node", names), targets: nodeObjects(names), undo: func(ctx context.Context) error {
		stop() // nodes whose turn has not come are left alone
		return r.uncordon(names)(ctx)
	}}, nil
}

// evictAgain is kubectl's pause after an eviction that a budget refused.
const evictAgain = 5 * time.Second

func (r *run) drain(ctx context.Context, name string, grace *v1alpha1.Duration, timeout time.Duration) error {
	if err := r.cordon(ctx, name, true); err != nil {
		return err
	}
	deadline := time.Now().Add(timeout)
	for {
		left, err := r.evictAll(ctx, name, grace)
		if err != nil {
			return err
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d pod(s) are still there after %s", left, timeout)
		}
		time.Sleep(evictAgain)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// evictAll asks for the eviction of every pod of a node that is not yet being deleted, and counts those left.
func (r *run) evictAll(ctx context.Context, name string, grace *v1alpha1.Duration) (int, error) {
	pods, err := r.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + name})
	if err != nil {
		return 0, err
	}
	left := 0
	for i := range pods.Items {
		p := &pods.Items[i]
		if ref := metav1.GetControllerOf(p); ref != nil && ref.Kind == "DaemonSet" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		left++
		if p.DeletionTimestamp != nil {
			continue
		}
		e := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace}}
		if grace != nil {
			s := int64(grace.Seconds())
			e.DeleteOptions = &metav1.DeleteOptions{GracePeriodSeconds: &s}
		}
		if r.checker != nil && r.doc.Plant == PlantIgnoreBudget {
			err = r.checker.evictRegardless(ctx, p.Namespace, p.Name)
		} else {
			err = r.client.PolicyV1().Evictions(p.Namespace).Evict(ctx, e)
		}
		if err != nil && !apierrors.IsTooManyRequests(err) && !apierrors.IsNotFound(err) {
			return left, err
		}
	}
	return left, nil
}

func (r *run) actKillPods(ctx context.Context, a *v1alpha1.KillPodsAction) (outcome, error) {
	pods, err := r.podsOf(ctx, &a.PodTarget)
	if err != nil {
		return outcome{}, err
	}
	var o outcome
	var names []string
	for _, p := range pods {
		ns, name := p.Namespace, p.Name
		names = append(names, ns+"/"+name)
		o.targets = append(o.targets, "Pod/"+ns+"/"+name)
		if !slices.Contains(o.targets, p.Workload) {
			o.targets = append(o.targets, p.Workload)
		}
		switch a.Mode {
		case v1alpha1.KillExit, v1alpha1.KillOOM:
			err = r.house.Engine.KillContainer(ns, name, "", 137, a.Mode == v1alpha1.KillOOM)
		default:
			d := metav1.DeleteOptions{}
			if a.Grace != nil {
				s := int64(a.Grace.Seconds())
				d.GracePeriodSeconds = &s
			}
			err = ignoreMissing(r.client.CoreV1().Pods(ns).Delete(ctx, name, d))
		}
		if err != nil {
			return o, err
		}
	}
	o.what = "kill " + named("pod", names)
	return o, nil
}

// podsOf draws from the pods a target selects.
func (r *run) podsOf(ctx context.Context, t *v1alpha1.PodTarget) ([]*record.Pod, error) {
	workload := ""
	if t.Workload != "" {
		gvk, u, err := r.find(ctx, t.Workload)
		if err != nil {
			return nil, err
		}
		workload = object(gvk, u)
	}
	sel, err := labels.Parse(t.Selector)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	byKey, keys := map[string]*record.Pod{}, []string{}
	for _, p := range r.cluster.living() {
		if workload != "" && p.rec.Workload != workload || t.Namespace != "" && p.rec.Namespace != t.Namespace || !sel.Matches(labels.Set(p.obj.Labels)) || p.obj.DeletionTimestamp != nil {
			continue
		}
		key := p.demand.key
		if key == "" {
			key = p.rec.Namespace + "/" + p.rec.Name
		}
		byKey[key] = &p.rec
		keys = append(keys, key)
	}
	r.mu.Unlock()
	if len(keys) == 0 {
		return nil, fmt.Errorf("no pod matches (workload %q, selector %q)", t.Workload, t.Selector)
	}
	sort.Strings(keys)
	var out []*record.Pod
	for _, k := range r.choose("pods", keys, t.Count, t.Share, 1) {
		out = append(out, byKey[k])
	}
	return out, nil
}
