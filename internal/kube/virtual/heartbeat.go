package virtual

import (
	"context"
	"encoding/json"
	"time"

	coordv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	leaseSeconds = 40
	// leasePeriod is how often leases are renewed: anything well below the node-lifecycle controller's 50 s is the same
	// to it as the kubelet's 10 s.
	leasePeriod = 25 * time.Second
	// statusPeriod is how often a node that renews leases reports its status although nothing changed.
	statusPeriod = 5 * time.Minute
)

// leasing reports whether nodes renew leases now.
func (e *Engine) leasing() bool { return e.leases || e.watchful.on }

// chooseHeartbeat settles, at the start, whether nodes always renew leases. It holds for the engine's life: a cluster
// that grows past the limit later goes on with leases. The caller holds mu.
func (e *Engine) chooseHeartbeat() {
	switch e.opts.Heartbeat {
	case HeartbeatLease:
		e.leases = true
	case HeartbeatAuto:
		nodes := 0
		for _, g := range e.groups {
			nodes += g.want
		}
		// Without Watchful, the node-lifecycle controller always looks for heartbeats.
		e.leases = e.opts.Watchful == nil || max(nodes, len(e.nodeObjects())) <= autoLeaseNodes
	}
	if e.leases && e.opts.Watchful != nil {
		e.watchful.on = true
		e.tellWatchful()
	}
}

// renew has a node's lease written and arms the next renewal, spread over the period by node.
func (e *Engine) renew(n *nodeRecord, now time.Time) {
	if n.silent || !n.instance || !e.leasing() {
		return
	}
	n.beat = true
	if !n.reported.IsZero() && now.Sub(n.reported) >= statusPeriod {
		n.dirty = true
	}
	e.enqueueNode(n)
	phase := time.Duration(draw(e.opts.Seed, "lease", n.name) % uint64(leasePeriod))
	next := now.Truncate(leasePeriod).Add(phase)
	for !next.After(now) {
		next = next.Add(leasePeriod)
	}
	e.timers.arm(&n.lease, e.grain(next))
	e.poke()
}

func (e *Engine) stopBeats(n *nodeRecord) {
	e.timers.disarm(&n.lease)
	n.beat = false
}

func (e *Engine) leaseRequest(n *nodeRecord, now time.Time) func(context.Context) func() error {
	leases := e.opts.Client.CoordinationV1().Leases(v1.NamespaceNodeLease)
	at := metav1.NewMicroTime(now)
	seconds := int32(leaseSeconds)
	exists, node := n.hasLease, n.obj
	return func(ctx context.Context) func() error {
		var err error
		if exists {
			patch, _ := json.Marshal(map[string]any{"spec": map[string]any{"renewTime": at, "holderIdentity": n.name}})
			_, err = leases.Patch(ctx, n.name, types.MergePatchType, patch, metav1.PatchOptions{})
			if apierrors.IsNotFound(err) {
				exists = false
			}
		}
		if !exists {
			lease := &coordv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: n.name, Namespace: v1.NamespaceNodeLease},
				Spec: coordv1.LeaseSpec{HolderIdentity: &n.name, LeaseDurationSeconds: &seconds, RenewTime: &at}}
			if node != nil {
				lease.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.name, UID: node.UID}}
			}
			_, err = leases.Create(ctx, lease, metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) { // a previous life's: take it over, unless a real kubelet renews it
				if old, e2 := leases.Get(ctx, n.name, metav1.GetOptions{}); e2 == nil && heldElsewhere(old, n.name, now) {
					return func() error { e.leaveToOthers(n, *old.Spec.HolderIdentity); return nil }
				}
				patch, _ := json.Marshal(map[string]any{"spec": map[string]any{"renewTime": at, "holderIdentity": n.name, "leaseDurationSeconds": seconds}})
				_, err = leases.Patch(ctx, n.name, types.MergePatchType, patch, metav1.PatchOptions{})
			}
		}
		return func() error {
			n.hasLease = err == nil
			n.beat = n.beat || err != nil
			if err == nil {
				e.counters.LeaseWrites++
			}
			return err
		}
	}
}

// heldElsewhere reports whether another identity holds the lease and has renewed it lately.
func heldElsewhere(l *coordv1.Lease, name string, now time.Time) bool {
	s := l.Spec
	return s.HolderIdentity != nil && *s.HolderIdentity != name && s.RenewTime != nil && now.Sub(s.RenewTime.Time) < leaseSeconds*time.Second
}

// leaveToOthers stops driving a node that a real kubelet drives.
func (e *Engine) leaveToOthers(n *nodeRecord, holder string) {
	n.silent, n.elsewhere = true, true
	e.stopBeats(n)
	e.nodeEvent(n, time.Now(), v1.EventTypeWarning, "NodeManagedElsewhere", "Lease of node "+n.name+" is held and renewed by "+holder+"; Fairway leaves the node alone")
}

// arch is the node's processor architecture.
func (n *nodeRecord) arch() string {
	if n.group != nil {
		return n.group.spec.arch
	}
	return "amd64"
}

// nodeStatusRequest writes the fields of a node's status that are ours, as a merge patch: other fields survive.
func (e *Engine) nodeStatusRequest(n *nodeRecord) func(context.Context) func() error {
	now := time.Now()
	status := map[string]any{
		"conditions": nodeConditions(n.obj.Status.Conditions, n.health, now),
		"nodeInfo":   systemInfo(n.name, n.arch(), n.boot, e.opts.Seed, e.opts.KubeletVersion),
	}
	if len(n.obj.Status.Addresses) == 0 {
		status["addresses"] = []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: n.view.IP}, {Type: v1.NodeHostName, Address: n.name}}
	}
	if len(n.obj.Status.Allocatable) == 0 {
		shape := kwokShape(n.obj.Status.Capacity)
		status["allocatable"], status["capacity"] = shape, shape
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": n.obj.UID}, "status": status})
	uid := n.obj.UID
	return func(ctx context.Context) func() error {
		var updated *v1.Node
		if err == nil {
			updated, err = e.opts.Client.CoreV1().Nodes().Patch(ctx, n.name, types.MergePatchType, body, metav1.PatchOptions{}, "status")
		}
		return func() error {
			if apierrors.IsNotFound(err) || n.obj == nil || n.obj.UID != uid {
				return nil // deleted, or another node of the same name
			}
			n.dirty = n.dirty || err != nil
			if err == nil {
				e.counters.NodeWrites++
				n.reported, n.written = time.Now(), updated.ResourceVersion
				if n.recovering {
					e.recovered(n, time.Now())
				}
			}
			return err
		}
	}
}
