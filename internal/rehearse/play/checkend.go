package play

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
)

// atEnd looks at a cluster that was left in peace: every controller is at rest with what it was asked for, every pool is
// whole, and nothing is left of what is gone. It means something only for scenarios whose last faults are long healed.
// A checker that is nil finds nothing.
func (k *checker) atEnd(ctx context.Context) error {
	if k == nil {
		return nil
	}
	time.Sleep(quiet)
	pods, err := k.sortedPods()
	if err != nil {
		return err
	}
	k.ship.replay(time.Now())
	k.nodesWhole()
	k.podsAtRest(pods)
	if err := k.workloadsAtRest(ctx, pods); err != nil {
		return err
	}
	if err := k.nothingOwnedByTheDead(ctx); err != nil {
		return err
	}
	return k.verdict()
}

// nodesWhole: every pool has its nodes, and they are ready.
func (k *checker) nodesWhole() {
	k.r.mu.Lock()
	defer k.r.mu.Unlock()
	have := map[string]int{}
	for _, name := range sortedKeys(k.r.cluster.nodes) {
		n := k.r.cluster.nodes[name]
		have[n.rec.Pool]++
		if !n.ready || n.cordoned {
			k.fail("pools recover", "Node/"+name, "ready: %t, cordoned: %t at the end", n.ready, n.cordoned)
		}
	}
	for _, p := range k.r.doc.Scenario.Spec.Cluster.Pools {
		if have[p.Name] != int(*p.Size) {
			k.fail("pools recover", "pool "+p.Name, "%d nodes at the end, %d wanted", have[p.Name], *p.Size)
		}
	}
}

// podsAtRest: at the end no pod waits for a place that exists, is on its way out, or is bound to a node that is gone.
func (k *checker) podsAtRest(pods []*corev1.Pod) {
	for _, p := range pods {
		switch _, err := k.nodes.Get(p.Spec.NodeName); {
		case p.DeletionTimestamp != nil && time.Since(p.DeletionTimestamp.Time) < overdueMax: // scaled down just now
		case p.DeletionTimestamp != nil:
			k.fail("nothing is left half done", podObject(p), "still terminating at the end, since %s", p.DeletionTimestamp.UTC().Format(time.RFC3339))
		case p.Spec.NodeName == "" && !constrained(p):
			if n := k.fits(p, pods); n != "" {
				k.fail("pods that fit are placed", podObject(p), "node %s has room, but: %s", n, conditionMessage(p, corev1.PodScheduled))
			}
		case p.Spec.NodeName != "" && err != nil:
			k.fail("nothing is owned by the dead", podObject(p), "bound to node %s, which does not exist", p.Spec.NodeName)
		}
	}
}

// constrained pods may have to wait though there is room.
func constrained(p *corev1.Pod) bool {
	return len(p.Spec.NodeSelector) > 0 || p.Spec.Affinity != nil || len(p.Spec.TopologySpreadConstraints) > 0 || len(p.Spec.Volumes) > 1 || len(p.Spec.SchedulingGates) > 0
}

// fits is a node that could take a pod now.
func (k *checker) fits(p *corev1.Pod, pods []*corev1.Pod) string {
	rooms := taken(pods)
	for _, name := range sortedKeys(k.r.cluster.nodes) {
		n, err := k.nodes.Get(name)
		if err != nil || !nodeReady(n) || n.Spec.Unschedulable || len(n.Spec.Taints) > 0 {
			continue
		}
		r := room{}
		if have := rooms[name]; have != nil {
			r = room{cpu: have.cpu.DeepCopy(), memory: have.memory.DeepCopy(), pods: have.pods}
		}
		r.add(p)
		if a := n.Status.Allocatable; r.cpu.Cmp(*a.Cpu()) <= 0 && r.memory.Cmp(*a.Memory()) <= 0 && r.pods <= a.Pods().Value() {
			return name
		}
	}
	return ""
}

// workloadsAtRest: every workload has what it asked for, or a reason outside of it why not.
func (k *checker) workloadsAtRest(ctx context.Context, pods []*corev1.Pod) error {
	excused, err := k.excused(ctx, pods)
	if err != nil {
		return err
	}
	c := k.r.client
	deployments, err := c.AppsV1().Deployments("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range deployments.Items {
		d := &deployments.Items[i]
		object := "Deployment/" + d.Namespace + "/" + d.Name
		settled := d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == *d.Spec.Replicas && d.Status.AvailableReplicas == *d.Spec.Replicas && d.Status.Replicas == *d.Spec.Replicas
		if !settled && !excused[object] && !k.atQuota(pods, d.Namespace, &d.Spec.Template.Spec) {
			k.fail("controllers come to rest", object, "wants %d, has %d, updated %d, available %d; generation %d, observed %d", *d.Spec.Replicas, d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas, d.Generation, d.Status.ObservedGeneration)
		}
	}
	sets, err := c.AppsV1().StatefulSets("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range sets.Items {
		k.statefulSetAtRest(&sets.Items[i], excused, pods)
	}
	k.ship.atEnd(excused, pods)
	daemons, err := c.AppsV1().DaemonSets("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range daemons.Items {
		d := &daemons.Items[i]
		object := "DaemonSet/" + d.Namespace + "/" + d.Name
		s := &d.Status
		if (s.ObservedGeneration < d.Generation || s.NumberAvailable != s.DesiredNumberScheduled || s.UpdatedNumberScheduled != s.DesiredNumberScheduled || s.NumberMisscheduled > 0) && !excused[object] && !k.atQuota(pods, d.Namespace, &d.Spec.Template.Spec) {
			k.fail("controllers come to rest", object, "wants %d, available %d, updated %d, misscheduled %d", s.DesiredNumberScheduled, s.NumberAvailable, s.UpdatedNumberScheduled, s.NumberMisscheduled)
		}
	}
	return k.jobsAtRest(ctx, excused, pods)
}

func (k *checker) statefulSetAtRest(s *appsv1.StatefulSet, excused map[string]bool, pods []*corev1.Pod) {
	object := "StatefulSet/" + s.Namespace + "/" + s.Name
	settled := s.Status.ObservedGeneration >= s.Generation && s.Status.AvailableReplicas == *s.Spec.Replicas && s.Status.Replicas == *s.Spec.Replicas && s.Status.CurrentRevision == s.Status.UpdateRevision
	if !settled && !excused[object] && !k.atQuota(pods, s.Namespace, &s.Spec.Template.Spec) {
		k.fail("controllers come to rest", object, "wants %d, has %d, available %d; revision %s, updated to %s", *s.Spec.Replicas, s.Status.Replicas, s.Status.AvailableReplicas, s.Status.UpdateRevision, s.Status.CurrentRevision)
	}
}

// jobsAtRest: every Job has ended.
func (k *checker) jobsAtRest(ctx context.Context, excused map[string]bool, pods []*corev1.Pod) error {
	jobs, err := k.r.client.BatchV1().Jobs("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range jobs.Items {
		j := &jobs.Items[i]
		object := "Job/" + j.Namespace + "/" + j.Name
		done := j.Spec.Suspend != nil && *j.Spec.Suspend
		for _, c := range j.Status.Conditions {
			done = done || (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
		}
		if !done && metav1.GetControllerOf(j) == nil && !excused[object] && !k.atQuota(pods, j.Namespace, &j.Spec.Template.Spec) {
			k.fail("controllers come to rest", object, "neither complete nor failed: %d active, %d succeeded, %d failed", j.Status.Active, j.Status.Succeeded, j.Status.Failed)
		}
	}
	return nil
}

// scalingMax is how long after an autoscaler's decision a workload may still be on its way.
const scalingMax = 10 * time.Minute

// excused are the workloads whose autoscaler acted a moment ago, and those with pods that wait for room that no node has:
// more was asked for than there is.
func (k *checker) excused(ctx context.Context, pods []*corev1.Pod) (map[string]bool, error) {
	out := map[string]bool{}
	scalers, err := k.r.client.AutoscalingV2().HorizontalPodAutoscalers("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range scalers.Items {
		h := &scalers.Items[i]
		if t := h.Status.LastScaleTime; t != nil && time.Since(t.Time) < scalingMax {
			out[h.Spec.ScaleTargetRef.Kind+"/"+h.Namespace+"/"+h.Spec.ScaleTargetRef.Name] = true
		}
	}
	for _, p := range pods {
		if p.Spec.NodeName == "" && (constrained(p) || k.fits(p, pods) == "") {
			k.r.mu.Lock()
			out[k.r.cluster.ownerOf(p)] = true
			k.r.mu.Unlock()
		}
	}
	return out, nil
}

// atQuota tells that one more pod would be above a quota of the namespace.
func (k *checker) atQuota(pods []*corev1.Pod, ns string, spec *corev1.PodSpec) bool {
	used := usedBy(pods, ns)
	var one room
	one.add(&corev1.Pod{Spec: *spec})
	k.mu.Lock()
	defer k.mu.Unlock()
	quotas, _ := k.quotas.ResourceQuotas(ns).List(labels.Everything())
	for _, q := range quotas {
		for name, more := range map[corev1.ResourceName]resource.Quantity{corev1.ResourcePods: *resource.NewQuantity(1, resource.DecimalSI), corev1.ResourceRequestsCPU: one.cpu, corev1.ResourceRequestsMemory: one.memory} {
			hard, limited := q.Status.Hard[name]
			u := used[name]
			u.Add(more)
			if limited && u.Cmp(hard) > 0 {
				return true
			}
		}
	}
	return false
}

// nothingOwnedByTheDead: the garbage collector has removed every object whose owner is gone. Events and leases are left
// out, because that of a rehearsal does not follow them (controlplane's neverOwned).
func (k *checker) nothingOwnedByTheDead(ctx context.Context) error {
	lists, err := discovery.ServerPreferredResources(k.r.client.Discovery())
	if err != nil {
		return fmt.Errorf("what kinds there are: %w", err)
	}
	type owned struct {
		object string
		owner  metav1.OwnerReference
	}
	alive := map[types.UID]bool{}
	var all []owned
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			return err
		}
		for _, res := range l.APIResources {
			if !strings.Contains(" "+strings.Join(res.Verbs, " ")+" ", " list ") || gv.Group == "metrics.k8s.io" || res.Name == "events" || res.Name == "leases" {
				continue
			}
			objects, err := k.r.applier.client.Resource(gv.WithResource(res.Name)).List(ctx, metav1.ListOptions{})
			if err != nil {
				return fmt.Errorf("listing %s: %w", res.Name, err)
			}
			for i := range objects.Items {
				o := &objects.Items[i]
				alive[o.GetUID()] = true
				for _, ref := range o.GetOwnerReferences() {
					all = append(all, owned{object: res.Kind + "/" + path(o.GetNamespace(), o.GetName()), owner: ref})
				}
				if o.GetDeletionTimestamp() != nil && res.Kind != "Pod" {
					k.fail("nothing is left half done", res.Kind+"/"+path(o.GetNamespace(), o.GetName()), "still being deleted at the end")
				}
			}
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].object < all[j].object })
	for _, o := range all {
		if !alive[o.owner.UID] {
			k.fail("nothing is owned by the dead", o.object, "its owner %s %s (%s) does not exist", o.owner.Kind, o.owner.Name, o.owner.UID)
		}
	}
	return nil
}
