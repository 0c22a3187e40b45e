package play

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/fairway-dev/fairway/api/rollouts"
)

const (
	// seenWithin is how old the state may be that a controller has decided on: what changed later is not held against it.
	seenWithin = 5 * time.Second
	// deafMax is how long a router may send traffic to a revision that has lost all pods, while another has some.
	deafMax = time.Minute
	// stormWrites is how often a Rollout may be written in a minute: more is a controller that does not come to rest.
	stormWrites = 150
)

// rolloutCheck holds the controllers of Rollouts against what they must never do. It sees objects in the order in which they
// were written, whatever the order of informers: their resourceVersions are those of one store.
type rolloutCheck struct {
	k *checker
	// Under k.mu: what informers have told and nobody has looked at, and the last write of the controllers.
	news        []changed
	written     time.Time
	writtenWhat string

	rollouts map[string]*rolloutTrail // by namespace/name
	sets     map[types.UID]*setTrail
	services map[string]*corev1.Service
	routes   map[string]*routeTrail
}

// changed is a state of an object, as one of the informers told of it.
type changed struct {
	version uint64
	at      time.Time
	obj     metav1.Object
	gone    bool
}

// rolloutTrail is a Rollout, and the sizes it had lately.
type rolloutTrail struct {
	is       *rollouts.Rollout
	replicas lately
	minute   time.Time
	writes   int // in that minute
}

// setTrail is a ReplicaSet, and how many of its pods were available lately.
type setTrail struct {
	is        *appsv1.ReplicaSet
	available lately
}

// routeTrail is an Ingress that a router made for a canary.
type routeTrail struct {
	is        *networkingv1.Ingress
	deafSince time.Time // it sends traffic to nobody since then; zero = it does not
}

// lately is a number, and what it was a moment ago.
type lately []struct {
	at time.Time
	n  int32
}

func (l *lately) set(at time.Time, n int32) {
	for len(*l) > 1 && (*l)[1].at.Before(at.Add(-seenWithin)) {
		*l = (*l)[1:]
	}
	*l = append(*l, struct {
		at time.Time
		n  int32
	}{at, n})
}

// most and least that it was within the last moment before an instant.
func (l lately) most(at time.Time) (n int32) {
	for i := range l {
		if i == len(l)-1 || !l[i+1].at.Before(at.Add(-seenWithin)) {
			n = max(n, l[i].n)
		}
	}
	return n
}

func (l lately) least(at time.Time) int32 {
	n := int32(-1)
	for i := range l {
		if i == len(l)-1 || !l[i+1].at.Before(at.Add(-seenWithin)) {
			if n < 0 || l[i].n < n {
				n = l[i].n
			}
		}
	}
	return max(n, 0)
}

// checkRollouts registers with the informers; the caller starts them.
func (k *checker) checkRollouts(f informers.SharedInformerFactory) error {
	k.ship = &rolloutCheck{k: k, rollouts: map[string]*rolloutTrail{}, sets: map[types.UID]*setTrail{}, services: map[string]*corev1.Service{}, routes: map[string]*routeTrail{}}
	for _, i := range []cache.SharedIndexInformer{f.Apps().V1().ReplicaSets().Informer(), f.Core().V1().Services().Informer(), f.Networking().V1().Ingresses().Informer()} {
		if _, err := i.AddEventHandler(k.ship.handler()); err != nil {
			return err
		}
	}
	return nil
}

// handler notes what an informer tells.
func (c *rolloutCheck) handler() cache.ResourceEventHandlerFuncs {
	note := func(o any, gone bool) {
		if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = d.Obj
		}
		m, ok := o.(metav1.Object)
		if !ok {
			return
		}
		version, err := strconv.ParseUint(m.GetResourceVersion(), 10, 64)
		if err != nil {
			return
		}
		c.k.mu.Lock()
		defer c.k.mu.Unlock()
		c.news = append(c.news, changed{version, time.Now(), m, gone})
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: func(o any) { note(o, false) }, UpdateFunc: func(_, o any) { note(o, false) }, DeleteFunc: func(o any) { note(o, true) }}
}

// replay what has happened since the last look, in the order in which it was written. A check that is nil finds nothing.
func (c *rolloutCheck) replay(now time.Time) {
	if c == nil {
		return
	}
	c.k.mu.Lock()
	news := c.news
	c.news = nil
	c.k.mu.Unlock()
	slices.SortStableFunc(news, func(a, b changed) int { return cmp.Compare(a.version, b.version) })
	for _, n := range news {
		c.mindRoutes(n.at)
		switch o := n.obj.(type) {
		case *rollouts.Rollout:
			c.rollout(o, n)
		case *appsv1.ReplicaSet:
			c.set(o, n)
		case *corev1.Service:
			c.service(o, n)
		case *networkingv1.Ingress:
			c.route(o, n)
		}
	}
	c.mindRoutes(now)
}

// fail tells of something that one change has brought about.
func (c *rolloutCheck) fail(invariant string, o metav1.Object, kind string, at time.Time, format string, args ...any) {
	c.k.fail(invariant, kind+"/"+o.GetNamespace()+"/"+o.GetName(), "at %s %s", at.UTC().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

func key(o metav1.Object) string { return o.GetNamespace() + "/" + o.GetName() }

// rollout looks at one write of a Rollout: no pause is forgotten, and no result that says neither yes nor no is passed over.
func (c *rolloutCheck) rollout(o *rollouts.Rollout, n changed) {
	t := c.rollouts[key(o)]
	if n.gone {
		delete(c.rollouts, key(o))
		return
	}
	if t == nil || t.is.UID != o.UID {
		t = &rolloutTrail{}
		c.rollouts[key(o)] = t
	}
	replicas := int32(1)
	if o.Spec.Replicas != nil {
		replicas = *o.Spec.Replicas
	}
	t.replicas.set(n.at, replicas)
	if minute := n.at.Truncate(time.Minute); minute.Equal(t.minute) {
		if t.writes++; t.writes == stormWrites {
			c.fail("writes come to an end", o, rolloutKind, n.at, "it was written %d times within a minute", t.writes)
		}
	} else {
		t.minute, t.writes = minute, 1
	}
	if t.is != nil {
		c.forgets(t.is, o, n.at)
	}
	t.is = o
}

func (c *rolloutCheck) forgets(was, is *rollouts.Rollout, at time.Time) {
	a, b := &was.Status, &is.Status
	same := a.CurrentPodHash == b.CurrentPodHash && a.CurrentStepHash == b.CurrentStepHash
	inconclusive := slices.ContainsFunc(a.PauseConditions, func(p argo.PauseCondition) bool { return p.Reason == argo.PauseReasonInconclusiveAnalysis })
	if inconclusive && same && a.StableRS != b.StableRS && !a.PromoteFull && !b.PromoteFull && is.Spec.RollbackWindow == nil {
		c.fail("nothing inconclusive is promoted", is, rolloutKind, at, "it promotes %s while an inconclusive analysis waits for somebody", b.CurrentPodHash)
	}
	if a.StableRS != "" && b.StableRS == "" {
		c.fail("the stable revision is remembered", is, rolloutKind, at, "its stable revision %s is forgotten", a.StableRS)
	}
}

// set looks at one write of a ReplicaSet: who loses pods may lose them.
func (c *rolloutCheck) set(o *appsv1.ReplicaSet, n changed) {
	owner := metav1.GetControllerOf(o)
	if owner == nil || owner.Kind != rolloutKind {
		return
	}
	t := c.sets[o.UID]
	r := c.rollouts[o.Namespace+"/"+owner.Name]
	if n.gone {
		if r != nil && r.is.UID == owner.UID && r.is.DeletionTimestamp == nil {
			if h := o.Labels[argo.DefaultRolloutUniqueLabelKey]; h == r.is.Status.StableRS || o.Spec.Replicas != nil && *o.Spec.Replicas > 0 {
				c.fail("what is needed is not deleted", o, "ReplicaSet", n.at, "it is gone with size %d; the stable revision is %s", *o.Spec.Replicas, r.is.Status.StableRS)
			}
		}
		delete(c.sets, o.UID)
		return
	}
	if t == nil {
		t = &setTrail{}
		c.sets[o.UID] = t
	}
	was := t.is
	t.is = o
	if was != nil && r != nil && r.is.UID == owner.UID && sizeOf(o) < sizeOf(was) {
		c.shrinks(r, t, sizeOf(was), n.at)
	}
	t.available.set(n.at, o.Status.AvailableReplicas)
}

func sizeOf(rs *appsv1.ReplicaSet) int32 {
	if rs.Spec.Replicas == nil {
		return 1
	}
	return *rs.Spec.Replicas
}

// shrinks: what serves keeps the pods it needs.
func (c *rolloutCheck) shrinks(r *rolloutTrail, t *setTrail, from int32, at time.Time) {
	ro, h, to := r.is, t.is.Labels[argo.DefaultRolloutUniqueLabelKey], sizeOf(t.is)
	replicas := r.replicas.least(at)
	if to >= replicas {
		return
	}
	fail := func(why string, args ...any) {
		c.fail("what serves keeps its pods", t.is, "ReplicaSet", at, "it is scaled from %d to %d, while %s", from, to, fmt.Sprintf(why, args...))
	}
	switch s := ro.Spec.Strategy; {
	case s.BlueGreen != nil:
		if svc := c.services[ro.Namespace+"/"+s.BlueGreen.ActiveService]; svc != nil && svc.Spec.Selector[argo.DefaultRolloutUniqueLabelKey] == h {
			fail("the active Service selects it and the Rollout is to have %d", replicas)
		}
	case s.Canary == nil:
	case s.Canary.TrafficRouting == nil:
		was, is := int32(0), int32(0)
		for _, o := range c.setsOf(ro) {
			n := o.available.most(at)
			size := sizeOf(o.is)
			if o == t {
				was += min(n, from)
			} else {
				was += min(n, size)
			}
			is += min(n, size)
		}
		if floor := replicas - unavailable(ro, replicas); is < min(was, floor) {
			fail("that leaves %d available pods of %d; %d are needed", is, was, floor)
		}
	case !s.Canary.DynamicStableScale && h == ro.Status.StableRS && ro.Status.CurrentPodHash != ro.Status.StableRS:
		fail("it is the stable revision and the Rollout is to have %d", replicas)
	}
}

func (c *rolloutCheck) setsOf(ro *rollouts.Rollout) (out []*setTrail) {
	for _, t := range c.sets {
		if metav1.IsControlledBy(t.is, ro) {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *setTrail) int { return cmp.Compare(a.is.Name, b.is.Name) })
	return out
}

func (c *rolloutCheck) withHash(ro *rollouts.Rollout, hash string) *setTrail {
	for _, t := range c.setsOf(ro) {
		if t.is.Labels[argo.DefaultRolloutUniqueLabelKey] == hash {
			return t
		}
	}
	return nil
}
