package play

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// KindInvariant is the kind of a timeline entry that says a promise of the house was broken: a bug of Fairway, never of
// what was rehearsed.
const KindInvariant = "invariant"

// checkEvery is how often the promises that concern the whole cluster are looked at. Those about one object are looked at
// on each of its changes.
const checkEvery = time.Minute

// violationsMax bounds how many broken promises one run tells of; it ends with the first look that finds any.
const violationsMax = 20

// checker holds a run against what must be true of every cluster at every time. Only documents with Check have one.
type checker struct {
	r       *run
	pods    corelisters.PodLister
	nodes   corelisters.NodeLister
	quotas  corelisters.ResourceQuotaLister
	budgets policylisters.PodDisruptionBudgetLister
	ship    *rolloutCheck // nil without Rollouts
	next    time.Time
	planted bool

	mu        sync.Mutex // of the rest, which informers write
	broken    []violation
	quotaMost map[types.UID]*quotaBound
	healthy   map[types.UID]*lately // pods that budgets wanted, lately
}

// violation is one broken promise.
type violation struct {
	invariant string
	at        time.Time
	object    string
	what      string
}

func (v violation) String() string {
	return fmt.Sprintf("invariant %q broken at %s by %s: %s", v.invariant, v.at.UTC().Format(time.RFC3339Nano), v.object, v.what)
}

// newChecker registers with the informers; the caller starts them.
func newChecker(r *run, f informers.SharedInformerFactory) (*checker, error) {
	k := &checker{r: r, quotaMost: map[types.UID]*quotaBound{}, healthy: map[types.UID]*lately{}}
	k.pods, k.nodes, k.quotas = f.Core().V1().Pods().Lister(), f.Core().V1().Nodes().Lister(), f.Core().V1().ResourceQuotas().Lister()
	k.budgets = f.Policy().V1().PodDisruptionBudgets().Lister()
	_, err := f.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: k.podAdded, UpdateFunc: func(old, new any) {
		before, ok := old.(*corev1.Pod)
		after, ok2 := new.(*corev1.Pod)
		if ok && ok2 && before.UID == after.UID {
			k.podChanged(before, after)
		}
	}})
	if err != nil {
		return nil, err
	}
	seen := func(o any) {
		if q, ok := o.(*corev1.ResourceQuota); ok {
			k.quotaChanged(q)
		}
	}
	_, err = f.Core().V1().ResourceQuotas().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: seen, UpdateFunc: func(_, o any) { seen(o) }})
	if err != nil {
		return nil, err
	}
	wants := func(o any) {
		if b, ok := o.(*policyv1.PodDisruptionBudget); ok {
			k.budgetChanged(b)
		}
	}
	_, err = f.Policy().V1().PodDisruptionBudgets().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: wants, UpdateFunc: func(_, o any) { wants(o) }})
	if err == nil && r.rollouts {
		err = k.checkRollouts(f)
	}
	return k, err
}

// fail notes a broken promise.
func (k *checker) fail(invariant, object, format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.broken) < violationsMax {
		k.broken = append(k.broken, violation{invariant: invariant, at: time.Now(), object: object, what: fmt.Sprintf(format, args...)})
	}
}

// turn looks at the whole cluster when a minute has passed, and returns when to look again. The error ends the run. A
// checker that is nil finds nothing.
func (k *checker) turn(ctx context.Context, now time.Time) (time.Time, error) {
	if k == nil {
		return time.Time{}, nil
	}
	if now.Before(k.next) {
		return k.next, k.verdict()
	}
	time.Sleep(quiet) // so that every informer has what was written at this instant
	k.next = now.Truncate(checkEvery).Add(checkEvery)
	if err := k.plant(ctx, now); err != nil {
		return k.next, fmt.Errorf("a break cannot be planted: %w", err)
	}
	pods, err := k.sortedPods()
	if err != nil {
		return k.next, err
	}
	k.ship.replay(time.Now())
	k.ledger(pods)
	k.quotasKept(pods)
	k.placed(pods, time.Now())
	k.accounts()
	return k.next, k.verdict()
}

// verdict writes the broken promises to the record and returns the first as the reason to stop.
func (k *checker) verdict() error {
	k.mu.Lock()
	broken := k.broken
	k.broken = nil
	k.mu.Unlock()
	if len(broken) == 0 {
		return nil
	}
	sort.SliceStable(broken, func(i, j int) bool {
		a, b := broken[i], broken[j]
		if !a.at.Equal(b.at) {
			return a.at.Before(b.at)
		}
		return a.invariant+a.object < b.invariant+b.object
	})
	texts := make([]string, len(broken))
	for i, v := range broken {
		texts[i] = v.String()
		k.r.entry(record.Entry{Time: v.at, Kind: KindInvariant, Object: v.object, What: "invariant " + v.invariant + " is broken", Why: v.what, Severity: record.Severe,
			Data: map[string]string{"invariant": v.invariant}})
	}
	return fmt.Errorf("%s (seed %d)", strings.Join(texts, "; "), k.r.doc.Seed)
}

// sortedPods are all pods by namespace and name, so that equal runs find the same first.
func (k *checker) sortedPods() ([]*corev1.Pod, error) {
	pods, err := k.pods.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	sort.Slice(pods, func(i, j int) bool { return podName(pods[i]) < podName(pods[j]) })
	return pods, nil
}

func podName(p *corev1.Pod) string { return p.Namespace + "/" + p.Name }

func podObject(p *corev1.Pod) string { return "Pod/" + podName(p) }

func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// budgetsOf are the budgets that cover a pod.
func (k *checker) budgetsOf(p *corev1.Pod) []*policyv1.PodDisruptionBudget {
	all, err := k.budgets.GetPodPodDisruptionBudgets(p)
	if err != nil {
		return nil // the lister's word for none
	}
	return all
}

// accounts: what was offered to each load and service is served, failed, rejected, abandoned or still inside.
func (k *checker) accounts() {
	k.r.mu.Lock()
	defer k.r.mu.Unlock()
	check := func(object string, t *total) {
		c := &t.counts
		if out := c.Served + c.Failed + c.Rejected + c.Abandoned + c.Inside; t.began && c.Offered != out {
			k.fail("every request has an end", object, "%d offered, but %d served + %d failed + %d rejected + %d abandoned + %d inside = %d", c.Offered, c.Served, c.Failed, c.Rejected, c.Abandoned, c.Inside, out)
		}
	}
	for i := range k.r.sampler.loads {
		check("load "+k.r.demand.loads[i].spec.Name, &k.r.sampler.loads[i])
	}
	for i := range k.r.sampler.services {
		check("Service/"+k.r.demand.services[i].Name, &k.r.sampler.services[i])
	}
}
