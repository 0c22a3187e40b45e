package rollout

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// observer makes Snapshots of what the caches hold. It reads nothing from the API server itself.
type observer struct {
	stores   *stores
	written  *written
	versions traffic.Versions
	dataPath traffic.DataPath // nil = none
	served   servedVersions
	// instanceID of the objects that are carried out.
	instanceID string

	mu    sync.Mutex
	memos map[types.UID]*memo
}

// memo of what is worth remembering between two looks at a Rollout.
type memo struct {
	of              string // what the hash was computed of
	hash, stepsHash string
	problems        []Problem // of the spec by itself
	checked         bool
	sets            string // what the new ReplicaSet was looked for among
	found           types.UID
}

// look is a Snapshot in the making, with the objects it looked at.
type look struct {
	*observer
	ctx  context.Context
	s    Snapshot
	ids  []id
	memo *memo
	// current are the versions of routers' objects, with those that were found where none was asked for.
	current traffic.Versions
}

// rollout returns the Rollout as it is known, nil when there is none.
func (o *observer) rollout(name types.NamespacedName) *rollouts.Rollout {
	key := id{Kind, name.Namespace, name.Name}
	cached, _ := lookup(o.stores.have(Kind), key)
	ro, _ := o.written.over(key, cached).(*rollouts.Rollout)
	return ro
}

// observe a Rollout and everything around it. The ids are of what was looked at by name, whether it exists or not.
func (o *observer) observe(ctx context.Context, ro *rollouts.Rollout, now time.Time) (Snapshot, []id, error) {
	l := look{observer: o, ctx: ctx, memo: o.memoOf(ro.UID), s: Snapshot{Rollout: ro}}
	l.s.Peer = o.peer(ro, now)
	if err := l.workload(); err != nil {
		return l.s, l.ids, err
	}
	ro = l.s.Rollout
	l.hash()
	l.replicaSets()
	if NeedsPods(ro, now) {
		if err := l.pods(); err != nil {
			return l.s, l.ids, err
		}
	}
	l.services()
	l.templates()
	l.runs()
	if err := l.routers(); err != nil {
		return l.s, l.ids, err
	}
	l.check()
	slices.SortFunc(l.ids, func(a, b id) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Kind, b.Kind), strings.Compare(a.namespace, b.namespace), strings.Compare(a.name, b.name))
	})
	return l.s, slices.Compact(l.ids), nil
}

func (o *observer) memoOf(uid types.UID) *memo {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.memos == nil {
		o.memos = map[types.UID]*memo{}
	}
	m := o.memos[uid]
	if m == nil {
		m = &memo{}
		o.memos[uid] = m
	}
	return m
}

func (o *observer) forget(uid types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.memos, uid)
}

// get an object by name, and remember that it was looked at.
func (l *look) get(kind schema.GroupVersionKind, namespace, name string) client.Object {
	key := id{kind, namespace, name}
	l.ids = append(l.ids, key)
	cached, _ := lookup(l.stores.have(kind), key)
	return l.written.over(key, cached)
}

// owned are the objects of a kind that the owner controls.
func owned[T client.Object](o *observer, kind schema.GroupVersionKind, owner types.UID) []T {
	var out []T
	ix := o.stores.have(kind)
	if ix == nil {
		return nil
	}
	got, err := ix.ByIndex(byController, string(owner))
	if err != nil {
		return nil
	}
	made := o.written.created(owner, kind)
	for _, g := range got {
		obj, ok := g.(client.Object)
		if !ok {
			continue
		}
		key := idOf(obj)
		if i := slices.Index(made, key); i >= 0 {
			made = slices.Delete(made, i, i+1)
		}
		if t, ok := o.written.over(key, obj).(T); ok {
			out = append(out, t)
		}
	}
	for _, key := range made {
		cached, _ := lookup(ix, key)
		if t, ok := o.written.over(key, cached).(T); ok && metav1.GetControllerOfNoCopy(t) != nil && metav1.GetControllerOfNoCopy(t).UID == owner {
			out = append(out, t)
		}
	}
	return out
}

// hash of the template and of the steps, computed anew only when they may have changed.
func (l *look) hash() {
	ro := l.s.Rollout
	l.s.New = nil
	of := strings.Join([]string{string(ro.UID), itoa(ro.Generation), itoa(int64(orDefault(ro.Status.CollisionCount, -1)))}, "/")
	if w := l.s.Workload; w != nil {
		of += "/" + string(w.Object.GetUID()) + "/" + itoa(w.Generation)
	}
	if l.memo.of != of {
		*l.memo = memo{of: of, hash: Hash(&ro.Spec.Template, ro.Status.CollisionCount)}
		if c := ro.Spec.Strategy.Canary; c != nil {
			l.memo.stepsHash = StepsHash(c.Steps)
		}
	}
	l.s.Hash, l.s.StepsHash = l.memo.hash, l.memo.stepsHash
}

// replicaSets of the Rollout, and which of them is the template's.
func (l *look) replicaSets() {
	ro := l.s.Rollout
	sets := owned[*appsv1.ReplicaSet](l.observer, replicaSetKind, ro.UID)
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(firstRevision(a.Annotations), firstRevision(b.Annotations)), cmp.Compare(a.Name, b.Name))
	})
	l.s.ReplicaSets = sets
	l.s.New = l.findNew(sets)
	if l.s.New == nil {
		l.s.NameTaken = l.get(replicaSetKind, ro.Namespace, ro.Name+"-"+l.s.Hash) != nil
	}
}

// findNew remembers which ReplicaSet is the template's, where its hash does not say so: comparing templates is dear.
func (l *look) findNew(sets []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	if rs := withHash(sets, l.s.Hash); rs != nil || len(sets) == 0 {
		return rs
	}
	var b strings.Builder
	for _, rs := range sets {
		b.WriteString(string(rs.UID))
		b.WriteString(itoa(rs.Generation))
	}
	if l.memo.sets != b.String() {
		l.memo.sets, l.memo.found = b.String(), ""
		if rs := FindNew(l.s.Rollout, l.s.Hash, sets); rs != nil {
			l.memo.found = rs.UID
		}
	}
	for _, rs := range sets {
		if rs.UID == l.memo.found {
			return rs
		}
	}
	return nil
}

// orphans are ReplicaSets without a controller whose labels the Rollout's selector matches: of a Rollout that was deleted
// without them. They are taken in.
func (o *observer) orphans(ro *rollouts.Rollout) []*appsv1.ReplicaSet {
	ix := o.stores.have(replicaSetKind)
	if ix == nil || ro.DeletionTimestamp != nil || ro.Spec.Selector == nil {
		return nil
	}
	got, err := ix.ByIndex(byOrphanage, ro.Namespace)
	if err != nil || len(got) == 0 {
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(ro.Spec.Selector)
	if err != nil || selector.Empty() {
		return nil
	}
	var out []*appsv1.ReplicaSet
	for _, g := range got {
		rs, ok := g.(*appsv1.ReplicaSet)
		if !ok || !selector.Matches(labels.Set(rs.Labels)) {
			continue
		}
		if rs, ok = o.written.over(idOf(rs), rs).(*appsv1.ReplicaSet); ok && rs.DeletionTimestamp == nil && metav1.GetControllerOfNoCopy(rs) == nil {
			out = append(out, rs)
		}
	}
	slices.SortFunc(out, func(a, b *appsv1.ReplicaSet) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// pods of each ReplicaSet. Their changes concern the Rollout from now on.
func (l *look) pods() error {
	if _, err := l.stores.need(l.ctx, podKind); err != nil {
		return err
	}
	l.s.Pods = map[types.UID][]*corev1.Pod{}
	for _, rs := range l.s.ReplicaSets {
		l.ids = append(l.ids, id{podKind, rs.Namespace, rs.Name})
		pods := owned[*corev1.Pod](l.observer, podKind, rs.UID)
		slices.SortFunc(pods, func(a, b *corev1.Pod) int {
			return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
		})
		l.s.Pods[rs.UID] = pods
	}
	return nil
}

// services that the Rollout names, and those that bear its mark.
func (l *look) services() {
	ro := l.s.Rollout
	l.s.Services = map[string]*corev1.Service{}
	add := func(name string) {
		if svc, ok := l.get(serviceKind, ro.Namespace, name).(*corev1.Service); ok {
			l.s.Services[name] = svc
		}
	}
	for _, name := range ServiceNames(ro) {
		add(name)
	}
	for _, o := range l.marked(serviceKind, ro.Namespace, ro.Name) {
		if l.s.Services[o.GetName()] == nil {
			add(o.GetName())
		}
	}
}

// marked are the objects of a kind that bear a Rollout's mark, by name.
func (o *observer) marked(kind schema.GroupVersionKind, namespace, name string) []client.Object {
	ix := o.stores.have(kind)
	if ix == nil {
		return nil
	}
	got, err := ix.ByIndex(byMark, namespace+"/"+name)
	if err != nil {
		return nil
	}
	var out []client.Object
	for _, g := range got {
		if obj, ok := g.(client.Object); ok {
			out = append(out, obj)
		}
	}
	slices.SortFunc(out, func(a, b client.Object) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out
}

// runs and experiments of the Rollout, and names of theirs that others have.
func (l *look) runs() {
	ro := l.s.Rollout
	l.s.Runs = owned[*argo.AnalysisRun](l.observer, runKind, ro.UID)
	l.s.Experiments = owned[*argo.Experiment](l.observer, experimentKind, ro.UID)
	slices.SortFunc(l.s.Runs, func(a, b *argo.AnalysisRun) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	slices.SortFunc(l.s.Experiments, func(a, b *argo.Experiment) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	if len(l.s.Templates)+len(l.s.ClusterTemplates) == 0 && !hasExperiments(ro) {
		return // it makes none
	}
	l.s.TakenNames = map[string]bool{}
	for _, kind := range [...]schema.GroupVersionKind{runKind, experimentKind} {
		ix := l.stores.have(kind)
		if ix == nil {
			continue
		}
		for _, key := range ix.ListKeys() {
			name, ok := strings.CutPrefix(key, ro.Namespace+"/")
			if !ok || !strings.HasPrefix(name, ro.Name+"-") {
				continue
			}
			cached, _ := lookup(ix, id{kind, ro.Namespace, name})
			if cached == nil {
				continue
			}
			if c := metav1.GetControllerOfNoCopy(cached); c == nil || c.UID != ro.UID {
				l.s.TakenNames[name] = true
			}
		}
	}
}

func hasExperiments(ro *rollouts.Rollout) bool {
	c := ro.Spec.Strategy.Canary
	return c != nil && slices.ContainsFunc(c.Steps, func(s argo.CanaryStep) bool { return s.Experiment != nil })
}
