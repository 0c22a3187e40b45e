package virtual

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// nodeRecord is one node that the engine drives.
type nodeRecord struct {
	name     string
	group    *groupRecord // nil for nodes of others (KWOK's annotation)
	zone     string
	ordinal  int
	index    int // of its pod address range
	obj      *v1.Node
	view     NodeView
	ips      *addresses
	images   *imageStore
	ledger   ledger
	deferred map[types.NamespacedName]*podRecord // resizes that wait for room
	pods     map[types.NamespacedName]*podRecord
	boot     int

	health       nodeHealth
	instance     bool // the machine exists
	launched     time.Time
	elsewhere    bool      // another kubelet renews its lease: not ours after all
	reported     time.Time // when its status was last written
	written      string    // resourceVersion of that write; "" before the first
	silent       bool      // the kubelet does not talk: nothing is decided or written for its pods
	dark         bool      // its programs do not serve either
	recovering   bool      // silent until its status says Ready again
	shuttingDown bool

	timer             timer // of the instance itself: join, ready, reclaim, the end of its Node
	returns           timer // return from a fault
	back              func(now time.Time)
	due               func(now time.Time)
	lease             timer
	again             timer // a refused request
	evict             timer // the eviction manager's next look
	stage             staged
	staged            bool // stages have the node: the native engine does not write its status
	memory            Pressure
	starts, lookAfter int // containers started since the last look at memory, and how many make the next
	creating          bool
	busy              bool
	queued            bool
	dirty             bool // status or heartbeat is to be written
	delete            bool
	retry             time.Duration
	beat              bool // a lease renewal is to be written
	hasLease          bool
	pastCPU           uint64 // nanoseconds used by instances that ended
}

// groupRecord is one node group and its instances.
type groupRecord struct {
	spec     NodeGroup
	want     int
	nodes    []*nodeRecord   // in order of launch
	ordinal  int             // of the next launch
	dry      map[string]bool // zones (or "" for all) in which launches fail
	back     time.Duration   // overrides the join time of the launch under way
	features []string
}

// adopt takes up what the API shows at the start: our nodes and the pods bound to them, and brings groups to size.
func (e *Engine) adopt() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.started = true
	e.chooseHeartbeat()
	for _, obj := range e.nodeObjects() {
		if n := e.adoptNode(obj); n != nil {
			e.follow(n, time.Now())
		}
	}
	keys := make([]types.NamespacedName, 0, len(e.records))
	for k := range e.records {
		keys = append(keys, k)
	}
	sortKeys(keys)
	for _, k := range keys { // addresses in use are known before the first is given out
		r := e.records[k]
		if n := e.byNode[r.obj.Spec.NodeName]; n != nil && n.ips != nil && !terminalPhase(r.obj.Status.Phase) {
			n.ips.reserve(r.obj.Status.PodIP)
		}
	}
	for _, k := range keys {
		e.place(e.records[k])
	}
	for _, g := range e.groups {
		e.fill(g, time.Now(), true)
	}
}

func (e *Engine) nodeObjects() []*v1.Node {
	var out []*v1.Node
	for _, o := range e.opts.Informers.Core().V1().Nodes().Informer().GetStore().List() {
		out = append(out, o.(*v1.Node))
	}
	slices.SortFunc(out, func(a, b *v1.Node) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// drives reports whether a node is ours to play.
func drives(n *v1.Node) bool {
	if n.Labels[LabelVirtual] == "true" {
		return true
	}
	_, kwok := n.Annotations[AnnotationKWOK]
	return kwok
}

// adoptNode takes up a node that exists already.
func (e *Engine) adoptNode(obj *v1.Node) *nodeRecord {
	if !drives(obj) || e.byNode[obj.Name] != nil {
		return e.byNode[obj.Name]
	}
	n := &nodeRecord{name: obj.Name, obj: obj, zone: obj.Labels[v1.LabelTopologyZone], instance: true, launched: obj.CreationTimestamp.Time, pods: map[types.NamespacedName]*podRecord{}}
	index, ok := indexOfPrefix(obj.Spec.PodCIDR)
	if !ok || e.taken(index) {
		index = e.freeIndex()
	}
	if g := e.group(obj.Labels[LabelNodeGroup]); g != nil {
		n.group = g
		n.ordinal = ordinalOf(obj.Name, g.spec.Name)
		g.ordinal = max(g.ordinal, n.ordinal+1)
		g.nodes = append(g.nodes, n)
	}
	n.health = nodeHealth{Ready: true}
	e.enroll(n, index)
	return n
}

func ordinalOf(node, group string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(node, group+"-"))
	if err != nil {
		return -1
	}
	return n
}

// enroll gives a node its address range and puts it on the books.
func (e *Engine) enroll(n *nodeRecord, index int) {
	e.indexes[index/64] |= 1 << (index % 64)
	e.nextIndex = index + 1
	n.index = index
	n.ips = newAddresses(podPrefix(index))
	n.view = NodeView{Name: n.name, IP: nodeAddress(index)}
	var shape *NodeGroup
	if n.group != nil {
		shape = &n.group.spec
	}
	n.images = newImageStore(shape)
	n.images.node = n
	n.ledger, n.deferred = newLedger(), map[types.NamespacedName]*podRecord{}
	if n.group != nil {
		n.view.BackoffMax = n.group.spec.CrashLoopBackOffMax
	}
	if n.obj != nil {
		for _, a := range n.obj.Status.Addresses {
			if a.Type == v1.NodeInternalIP {
				n.view.IP = a.Address
			}
		}
	}
	n.timer = timer{node: n.name, kind: timerNode, fire: func(now time.Time) {
		if f := n.due; f != nil {
			n.due = nil
			f(now)
		}
	}}
	n.returns = timer{node: n.name, kind: timerReturn, fire: func(now time.Time) {
		if f := n.back; f != nil {
			n.back = nil
			f(now)
		}
	}}
	n.lease = timer{node: n.name, kind: timerLease, fire: func(now time.Time) { e.renew(n, now) }}
	n.again = timer{node: n.name, kind: timerWrite, fire: func(time.Time) { e.enqueueNode(n) }}
	n.evict = timer{node: n.name, kind: timerEvict, fire: func(now time.Time) { e.pressure(n, now) }}
	e.byNode[n.name] = n
	if e.leasing() && n.obj != nil {
		e.renew(n, time.Now())
	}
}

func (e *Engine) taken(index int) bool { return e.indexes[index/64]&(1<<(index%64)) != 0 }

// freeIndex returns the next free address range after the last one given: pods of a node that is gone keep their addresses
// until they are collected, so a range rests as long as it can.
func (e *Engine) freeIndex() int {
	for i := range maxNodeIndex {
		if i = (e.nextIndex + i) % maxNodeIndex; !e.taken(i) {
			return i
		}
	}
	panic("virtual: more nodes than address ranges") // 32,768 nodes; AddNodes refuses before
}

// backAt arms the timer by which a node returns from a fault.
func (n *nodeRecord) backAt(e *Engine, t time.Time, f func(now time.Time)) {
	n.back = f
	e.timers.arm(&n.returns, e.grain(t))
	e.poke()
}

// at arms the timer of the instance's own course: joining, its reclaim, the end of its Node. Faults do not touch it.
func (n *nodeRecord) at(e *Engine, t time.Time, f func(now time.Time)) {
	n.due = f
	e.timers.arm(&n.timer, e.grain(t))
	e.poke()
}

// fill launches instances until the group has its size, and ends the youngest ones beyond it.
func (e *Engine) fill(g *groupRecord, now time.Time, first bool) {
	for len(g.nodes) < g.want {
		zone := e.emptiestZone(g)
		if zone == "" {
			return // nothing can be launched now; healing tries again
		}
		e.launch(g, zone, now, first)
	}
	for len(g.nodes) > g.want {
		e.terminateInstance(g.nodes[len(g.nodes)-1], now)
	}
}

// emptiestZone balances zones as an instance group does; zones that are out or without capacity are left alone, and
// "" says that all are.
func (e *Engine) emptiestZone(g *groupRecord) string {
	best, least := "", 0
	for _, z := range g.spec.Zones {
		if e.zonesOut[z] || g.dry[z] || g.dry[""] {
			continue
		}
		count := 0
		for _, n := range g.nodes {
			if n.zone == z {
				count++
			}
		}
		if best == "" || count < least {
			best, least = z, count
		}
	}
	return best
}

// launch starts an instance; its Node object appears after the group's join time (at once for the first ones).
func (e *Engine) launch(g *groupRecord, zone string, now time.Time, first bool) *nodeRecord {
	n := &nodeRecord{group: g, zone: zone, ordinal: g.ordinal, instance: true, launched: now, pods: map[types.NamespacedName]*podRecord{}}
	n.name = fmt.Sprintf("%s-%03d", g.spec.Name, g.ordinal)
	g.ordinal++
	g.nodes = append(g.nodes, n)
	e.enroll(n, e.freeIndex())
	join := time.Duration(0)
	if !first {
		join = g.spec.Join.at(unit(draw(e.opts.Seed, "join", n.name)))
	}
	if g.back > 0 {
		join = g.back
	}
	if join <= 0 {
		e.register(n)
		return n
	}
	n.at(e, now.Add(join), func(time.Time) { e.register(n) })
	return n
}

// register has the Node object created.
func (e *Engine) register(n *nodeRecord) {
	n.creating = true
	n.health = nodeHealth{Ready: n.group == nil || n.group.spec.ReadyDelay <= 0}
	e.enqueueNode(n)
}

func (e *Engine) enqueueNode(n *nodeRecord) {
	if n.queued || n.busy {
		return
	}
	n.queued = true
	e.queue.put(n)
}

// run carries out one request of a node: create, delete, status or lease.
func (n *nodeRecord) run(ctx context.Context, e *Engine) {
	e.mu.Lock()
	n.queued = false
	var err error
	request := n.request(e)
	if request == nil {
		e.mu.Unlock()
		return
	}
	n.busy = true
	e.mu.Unlock()
	done := request(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	n.busy = false
	err = done()
	if err != nil && ctx.Err() == nil {
		n.retry = min(max(2*n.retry, retryFirst), retryMost)
		e.log.Warn("node request refused; will try again", "node", n.name, "in", n.retry, "error", err)
		e.timers.arm(&n.again, e.grain(time.Now().Add(n.retry)))
		e.poke()
		return
	}
	n.retry = 0
	e.correct(n)
	if n.creating || n.delete || n.dirty && n.obj != nil || n.beat {
		e.enqueueNode(n)
	}
}

// request picks the node's most urgent request. It returns a function that makes it without the lock and yields one
// that takes up the outcome with the lock.
func (n *nodeRecord) request(e *Engine) func(context.Context) func() error {
	nodes := e.opts.Client.CoreV1().Nodes()
	switch {
	case n.delete:
		n.delete = false
		return func(ctx context.Context) func() error {
			opts := metav1.DeleteOptions{}
			if n.obj != nil {
				opts.Preconditions = &metav1.Preconditions{UID: &n.obj.UID}
			}
			err := nodes.Delete(ctx, n.name, opts)
			return func() error {
				if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
					return nil
				}
				n.delete = err != nil
				return err
			}
		}
	case n.creating:
		n.creating = false
		obj := nodeObject(&n.group.spec, n.name, n.zone, n.index, n.boot, e.opts.Seed, e.opts.KubeletVersion, n.group.features, time.Now())
		return func(ctx context.Context) func() error {
			created, err := nodes.Create(ctx, obj, metav1.CreateOptions{})
			return func() error {
				if err == nil {
					n.written = created.ResourceVersion
				}
				if apierrors.IsAlreadyExists(err) {
					err = nil
				}
				n.creating = err != nil
				if err == nil {
					e.counters.NodeWrites++
					n.reported = time.Now()
					e.joined(n, time.Now())
				}
				return err
			}
		}
	case n.dirty && n.obj != nil && (!n.silent || n.recovering):
		n.dirty = false
		return e.nodeStatusRequest(n)
	case n.beat:
		n.beat = false
		return e.leaseRequest(n, time.Now())
	}
	return nil
}

// joined follows the creation of the Node object.
func (e *Engine) joined(n *nodeRecord, now time.Time) {
	e.nodeEvent(n, now, v1.EventTypeNormal, "Starting", "Starting kubelet.")
	if !n.health.Ready {
		n.at(e, now.Add(n.group.spec.ReadyDelay), func(now time.Time) {
			n.health = nodeHealth{Ready: true}
			e.nodeChanged(n)
			e.nodeEvent(n, now, v1.EventTypeNormal, "NodeReady", "Node "+n.name+" status is now: NodeReady")
		})
	}
	if e.leasing() {
		e.renew(n, now)
	}
}

// nodeChanged has the node's status written.
func (e *Engine) nodeChanged(n *nodeRecord) {
	n.dirty = true
	e.enqueueNode(n)
}

func (e *Engine) seeNode(obj *v1.Node) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.byNode[obj.Name]
	fresh := n == nil
	if fresh {
		if !e.started || !drives(obj) {
			return
		}
		n = e.adoptNode(obj)
	}
	fresh = fresh || n.obj == nil
	n.obj = obj
	e.follow(n, time.Now())
	if fresh {
		e.placeOn(n)
	}
}

// follow does what a new version of a Node asks for: stages, a status that is not true, the end of a lost instance.
func (e *Engine) follow(n *nodeRecord, now time.Time) {
	if n.staged = e.stageNode(n, now); n.staged {
		n.dirty = false
	}
	e.correct(n)
	if n.dirty {
		e.enqueueNode(n)
	}
	e.checkInstance(n, now)
	e.checkCalm(now)
}

// correct has the status of a node written when the API shows none, or shows as its readiness what somebody else wrote. While
// a request is in flight it waits: run asks again. Versions older than our latest write say nothing.
func (e *Engine) correct(n *nodeRecord) {
	if n.obj == nil || n.staged || n.silent || !n.instance || n.busy || !newer(n.obj.ResourceVersion, n.written) {
		return
	}
	n.dirty = n.dirty || len(n.obj.Status.Conditions) == 0 || apiReady(n.obj) != n.health.Ready
}

// placeOn takes up pods that were bound before their node was known.
func (e *Engine) placeOn(n *nodeRecord) {
	var waiting []*podRecord
	for _, r := range e.records {
		if r.node == nil && r.obj.Spec.NodeName == n.name {
			waiting = append(waiting, r)
		}
	}
	slices.SortFunc(waiting, func(a, b *podRecord) int { return compareKeys(a.key, b.key) })
	for _, r := range waiting {
		e.place(r)
	}
}

func (e *Engine) loseNode(o any) {
	obj, ok := o.(*v1.Node)
	if !ok {
		if tomb, isTomb := o.(cache.DeletedFinalStateUnknown); isTomb {
			obj, ok = tomb.Obj.(*v1.Node)
		}
		if !ok {
			return
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.byNode[obj.Name]
	if n == nil {
		return
	}
	n.obj = nil
	if n.instance && n.group != nil && !n.silent {
		n.creating = true // the machine is still there: its kubelet registers again
		e.enqueueNode(n)
		return
	}
	e.dropNode(n)
}

// dropNode takes a node off the books.
func (e *Engine) dropNode(n *nodeRecord) {
	for _, t := range []*timer{&n.timer, &n.returns, &n.lease, &n.again, &n.evict} {
		e.timers.disarm(t)
	}
	n.dirty, n.beat, n.creating = false, false, false
	delete(e.byNode, n.name)
	e.indexes[n.index/64] &^= 1 << (n.index % 64)
	for _, r := range n.sortedRecords() {
		e.timers.disarm(&r.timer)
		r.node = nil
	}
	if n.group != nil {
		e.leaveGroup(n)
	}
	e.checkCalm(time.Now())
}
