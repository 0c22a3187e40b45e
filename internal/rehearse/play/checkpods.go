package play

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	resourcehelper "k8s.io/component-helpers/resource"
)

// evictionReason is the reason of the condition DisruptionTarget that the Eviction API writes.
const evictionReason = "EvictionByEvictionAPI"

// How long a pod may go without an explanation, or stay after its grace has passed.
const (
	unexplainedMax = 2 * time.Minute
	startingMax    = 10 * time.Minute
	overdueMax     = 5 * time.Minute
)

// podChanged looks at one change of a pod: it moves forward only, what it says of itself is not contradictory, and if it
// was evicted its budget allowed it.
func (k *checker) podChanged(before, after *corev1.Pod) {
	object := podObject(after)
	if !slices.Equal(before.Status.PodIPs, after.Status.PodIPs) {
		k.addresses(after)
	}
	if b, a := phaseRank(before), phaseRank(after); a < b && !initialisesAgain(after) || ended(before) && before.Status.Phase != after.Status.Phase {
		k.fail("phases move forward", object, "from %s to %s", before.Status.Phase, after.Status.Phase)
	}
	restarts := map[string]int32{}
	for i := range before.Status.ContainerStatuses {
		restarts[before.Status.ContainerStatuses[i].Name] = before.Status.ContainerStatuses[i].RestartCount
	}
	allReady := len(after.Status.ContainerStatuses) == len(after.Spec.Containers)
	for i := range after.Status.ContainerStatuses {
		s := &after.Status.ContainerStatuses[i]
		if was := restarts[s.Name]; s.RestartCount < was {
			k.fail("restart counts never fall", object, "container %s from %d to %d", s.Name, was, s.RestartCount)
		}
		allReady = allReady && s.Ready
	}
	// The pod garbage collector fails the pods of a node that is gone and leaves their conditions as they were.
	if isReady(after) && (!allReady || after.Status.Phase != corev1.PodRunning) && !disrupted(after, "DeletionByPodGC") {
		k.fail("a ready pod has ready containers", object, "Ready is True in phase %s, all containers ready: %t", after.Status.Phase, allReady)
	}
	if before.DeletionTimestamp == nil && after.DeletionTimestamp != nil && disrupted(after, evictionReason) && isReady(before) {
		for _, b := range k.budgetsOf(after) {
			k.budgetKept(after, b)
		}
	}
}

// initialisesAgain tells that a pod's init containers run once more, as after a reboot of its node: kubelets then call it
// pending again.
func initialisesAgain(p *corev1.Pod) bool {
	for i := range p.Status.InitContainerStatuses {
		if p.Status.InitContainerStatuses[i].State.Terminated == nil {
			return true
		}
	}
	return false
}

// phaseRank orders the phases of a life.
func phaseRank(p *corev1.Pod) int {
	switch p.Status.Phase {
	case corev1.PodRunning:
		return 1
	case corev1.PodSucceeded, corev1.PodFailed:
		return 2
	}
	return 0
}

// disrupted tells why a pod is being removed; whoever removes it writes that before.
func disrupted(p *corev1.Pod, reason string) bool {
	for i := range p.Status.Conditions {
		c := &p.Status.Conditions[i]
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == reason {
			return true
		}
	}
	return false
}

// budgetKept counts what an evicted pod leaves behind, from the pods themselves.
func (k *checker) budgetKept(evicted *corev1.Pod, b *policyv1.PodDisruptionBudget) {
	sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		return
	}
	pods, err := k.pods.Pods(b.Namespace).List(sel)
	if err != nil {
		return
	}
	var left int32
	for _, p := range pods {
		if p.UID != evicted.UID && isReady(p) {
			left++
		}
	}
	k.mu.Lock()
	wanted := b.Status.DesiredHealthy
	if l := k.healthy[b.UID]; l != nil { // a workload that has just grown wants more than the eviction was held against
		wanted = min(wanted, l.least(time.Now()))
	}
	k.mu.Unlock()
	if left < wanted {
		k.fail("evictions keep their budgets", podObject(evicted), "the eviction leaves %d ready pods, PodDisruptionBudget/%s/%s wants %d", left, b.Namespace, b.Name, wanted)
	}
}

// budgetChanged notes what a budget wants.
func (k *checker) budgetChanged(b *policyv1.PodDisruptionBudget) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.healthy[b.UID] == nil {
		k.healthy[b.UID] = &lately{}
	}
	k.healthy[b.UID].set(time.Now(), b.Status.DesiredHealthy)
}

// podAdded looks at a pod that appears.
func (k *checker) podAdded(o any) {
	if p, ok := o.(*corev1.Pod); ok {
		k.addresses(p)
	}
}

// addresses: no two pods that have not ended share one, unless it is their node's.
func (k *checker) addresses(p *corev1.Pod) {
	if ended(p) || p.Spec.HostNetwork || len(p.Status.PodIPs) == 0 {
		return
	}
	pods, err := k.sortedPods()
	if err != nil {
		return
	}
	for _, other := range pods {
		if other.UID == p.UID || ended(other) || other.Spec.HostNetwork {
			continue
		}
		for _, ip := range other.Status.PodIPs {
			if slices.Contains(p.Status.PodIPs, ip) {
				k.fail("an address belongs to one pod", podObject(p), "%s is also that of %s (nodes %s and %s)", ip.IP, podObject(other), p.Spec.NodeName, other.Spec.NodeName)
			}
		}
	}
}

// room is what pods request of a node, and how many they are.
type room struct {
	cpu, memory resource.Quantity
	pods        int64
}

func (r *room) add(p *corev1.Pod) {
	req := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{UseStatusResources: true})
	r.cpu.Add(*req.Cpu())
	r.memory.Add(*req.Memory())
	r.pods++
}

// taken is what the pods of each node request.
func taken(pods []*corev1.Pod) map[string]*room {
	out := map[string]*room{}
	for _, p := range pods {
		if p.Spec.NodeName == "" || ended(p) {
			continue
		}
		if out[p.Spec.NodeName] == nil {
			out[p.Spec.NodeName] = &room{}
		}
		out[p.Spec.NodeName].add(p)
	}
	return out
}

// ledger: no node is above its allocatable.
func (k *checker) ledger(pods []*corev1.Pod) {
	rooms := taken(pods)
	for _, name := range sortedKeys(rooms) {
		n, err := k.nodes.Get(name)
		if err != nil {
			continue // the node is gone; its pods are being collected
		}
		r, a := rooms[name], n.Status.Allocatable
		if r.cpu.Cmp(*a.Cpu()) > 0 || r.memory.Cmp(*a.Memory()) > 0 || r.pods > a.Pods().Value() {
			k.fail("nodes hold what they can", "Node/"+name, "its pods request %s CPU and %s memory and are %d; it can hold %s, %s and %d", r.cpu.String(), r.memory.String(), r.pods, a.Cpu(), a.Memory(), a.Pods().Value())
		}
	}
}

// placed: a pod that waits says why, and one that was told to go goes.
func (k *checker) placed(pods []*corev1.Pod, now time.Time) {
	for _, p := range pods {
		if ended(p) {
			continue
		}
		if p.Spec.NodeName == "" {
			if p.DeletionTimestamp == nil && now.Sub(p.CreationTimestamp.Time) > unexplainedMax && conditionMessage(p, corev1.PodScheduled) == "" {
				k.fail("a pending pod says why", podObject(p), "created %s ago, neither bound nor explained", round(now.Sub(p.CreationTimestamp.Time)))
			}
			continue
		}
		n, err := k.nodes.Get(p.Spec.NodeName)
		if err != nil || !nodeReady(n) || now.Sub(readySince(n)) < overdueMax {
			continue
		}
		switch {
		case p.DeletionTimestamp != nil && now.Sub(p.DeletionTimestamp.Time) > overdueMax && len(p.Finalizers) == 0:
			k.fail("a deleted pod goes", podObject(p), "its grace ended %s ago and node %s lives", round(now.Sub(p.DeletionTimestamp.Time)), n.Name)
		case p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodPending && now.Sub(scheduledAt(p)) > startingMax && !saysWhyWaiting(p):
			k.fail("a pending pod says why", podObject(p), "bound to node %s %s ago, not running, and no container says why", n.Name, round(now.Sub(scheduledAt(p))))
		}
	}
}

func readySince(n *corev1.Node) time.Time {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == corev1.NodeReady {
			return n.Status.Conditions[i].LastTransitionTime.Time
		}
	}
	return time.Time{}
}

func scheduledAt(p *corev1.Pod) time.Time {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == corev1.PodScheduled {
			return p.Status.Conditions[i].LastTransitionTime.Time
		}
	}
	return p.CreationTimestamp.Time
}

func saysWhyWaiting(p *corev1.Pod) bool {
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			if w := list[i].State.Waiting; w != nil && w.Reason != "" {
				return true
			}
		}
	}
	return false
}

// quotaBound is the most a namespace may use: the limits, or what it used when they were lowered below that.
type quotaBound struct {
	hard  corev1.ResourceList
	most  corev1.ResourceList
	fresh bool // what was used when the limits changed is counted at the next look, when every informer has it
}

// counted are the limits that follow from pods.
var counted = []corev1.ResourceName{corev1.ResourcePods, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory}

// overdue pods should be gone for a whole grace by now, and upstream's quota no longer counts them.
func overdue(p *corev1.Pod, now time.Time) bool {
	return p.DeletionTimestamp != nil && p.DeletionGracePeriodSeconds != nil &&
		now.After(p.DeletionTimestamp.Add(time.Duration(*p.DeletionGracePeriodSeconds)*time.Second))
}

// usedBy is what the pods of a namespace count against a quota.
func usedBy(pods []*corev1.Pod, ns string) corev1.ResourceList {
	var r room
	for _, p := range pods {
		if p.Namespace == ns && !ended(p) && !overdue(p, time.Now()) {
			r.add(p)
		}
	}
	return corev1.ResourceList{corev1.ResourcePods: *resource.NewQuantity(r.pods, resource.DecimalSI), corev1.ResourceRequestsCPU: r.cpu, corev1.ResourceRequestsMemory: r.memory}
}

// quotaChanged takes limits in force up. Limits below what is used evict nothing, as on any cluster.
func (k *checker) quotaChanged(q *corev1.ResourceQuota) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if b := k.quotaMost[q.UID]; b == nil || !sameLimits(b.hard, q.Status.Hard) {
		k.quotaMost[q.UID] = &quotaBound{hard: q.Status.Hard, most: corev1.ResourceList{}, fresh: true}
	}
}

func sameLimits(a, b corev1.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for name, q := range a {
		if o, ok := b[name]; !ok || o.Cmp(q) != 0 {
			return false
		}
	}
	return true
}

// quotasKept: a namespace never uses more than its quotas allow, and what is above lowered limits only shrinks.
func (k *checker) quotasKept(pods []*corev1.Pod) {
	quotas, err := k.quotas.List(labels.Everything())
	if err != nil {
		return
	}
	for _, q := range quotas {
		used := usedBy(pods, q.Namespace)
		k.mu.Lock()
		b := k.quotaMost[q.UID]
		k.mu.Unlock()
		if b == nil {
			continue
		}
		for _, name := range counted {
			hard, limited := b.hard[name]
			if !limited {
				continue
			}
			u, most := used[name], b.most[name]
			if !b.fresh && u.Cmp(most) > 0 {
				k.fail("quotas are kept", "ResourceQuota/"+q.Namespace+"/"+q.Name, "%s is %s, at most %s is allowed", name, u.String(), most.String())
			}
			if u.Cmp(hard) < 0 {
				u = hard
			}
			b.most[name] = u
		}
		b.fresh = false
	}
}
