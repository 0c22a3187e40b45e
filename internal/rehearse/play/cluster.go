package play

import (
	"fmt"
	"sort"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	appslisters "k8s.io/client-go/listers/apps/v1"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// cluster follows pods, nodes and workloads by the shared informers, tells the demand about pods that come, change and go,
// and writes their lives to the record. Its state is guarded by the run's lock.
type cluster struct {
	r         *run
	pods      map[types.UID]*pod
	byName    map[string]*pod // namespace/name
	order     []*pod          // in the order they were first seen; gone ones are dropped when they are many
	nodes     map[string]*node
	workloads map[string]*workload // by Kind/namespace/name
	names     []string             // of workloads, sorted
	sets      appslisters.ReplicaSetLister
	jobs      batchlisters.JobLister
	budgets   map[string]*policyv1.PodDisruptionBudget
	analyses  map[string]argo.AnalysisPhase // by Kind/namespace/name, as last told
	found     map[string][]string           // what the jobs of an analysis found, by its namespace/name
	ready     int
	pending   int
	evictions int
	oomKills  int
	breaks    int
}

// pod is one pod that exists.
type pod struct {
	obj      *corev1.Pod
	rec      record.Pod
	workload *workload
	demand   demandPod
	ready    bool
	gone     bool
}

// workload is the top-most owner of pods.
type workload struct {
	object     string
	desired    int32
	total      int32
	ready      int32
	samples    []int32 // of ready replicas, for minimum, mean and maximum
	direction  int
	reversals  int
	revisions  int
	told       string          // fingerprint of the revision whose stall was told
	known      map[string]bool // fingerprints of the revisions so far
	back       bool            // the one that rolls out was there before
	rolling    bool
	paused     bool
	stalled    string
	updated    int32
	image      string
	startedAt  time.Time
	template   string // fingerprint of the pod template
	generation int64  // the template was looked at
	availFrom  float64
	referred   bool             // it lends its pod template to a Rollout, whose updates are told instead
	update     *record.Update   // under way
	newest     *standing        // of a Rollout, as last seen
	serving    map[string]int32 // of a Rollout: ready pods by revision
	active     string           // of a blue-green Rollout: the revision its active Service selects
}

type node struct {
	rec      record.Node
	ready    bool
	cordoned bool
	seen     bool
}

func newCluster(r *run) *cluster {
	return &cluster{r: r, pods: map[types.UID]*pod{}, byName: map[string]*pod{}, nodes: map[string]*node{}, workloads: map[string]*workload{}, budgets: map[string]*policyv1.PodDisruptionBudget{},
		analyses: map[string]argo.AnalysisPhase{}, found: map[string][]string{}}
}

// observe registers with the informers; the factory is started by the caller.
func (c *cluster) observe(f informers.SharedInformerFactory) error {
	c.sets, c.jobs = f.Apps().V1().ReplicaSets().Lister(), f.Batch().V1().Jobs().Lister()
	for _, h := range []struct {
		informer cache.SharedIndexInformer
		handler  cache.ResourceEventHandlerFuncs
	}{
		{f.Core().V1().Pods().Informer(), on(c, c.podSeen, c.podGone)},
		{f.Core().V1().Nodes().Informer(), on(c, c.nodeSeen, c.nodeGone)},
		{f.Apps().V1().Deployments().Informer(), on(c, c.deploymentSeen, nil)},
		{f.Apps().V1().StatefulSets().Informer(), on(c, c.statefulSetSeen, nil)},
		{f.Apps().V1().DaemonSets().Informer(), on(c, c.daemonSetSeen, nil)},
		{f.Policy().V1().PodDisruptionBudgets().Informer(), on(c, c.budgetSeen, c.budgetGone)},
	} {
		if _, err := h.informer.AddEventHandler(h.handler); err != nil {
			return err
		}
	}
	return nil
}

// on makes handlers that run under the run's lock, with the model advanced to the present first: what changed holds from
// now on.
func on[T any](c *cluster, seen, gone func(T)) cache.ResourceEventHandlerFuncs {
	under := func(f func(T), o any) {
		if f == nil {
			return
		}
		if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = d.Obj
		}
		if t, ok := o.(T); ok {
			c.r.mu.Lock()
			defer c.r.mu.Unlock()
			f(t)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { under(seen, o) },
		UpdateFunc: func(_, o any) { under(seen, o) },
		DeleteFunc: func(o any) { under(gone, o) },
	}
}

func (c *cluster) podSeen(o *corev1.Pod) {
	p := c.pods[o.UID]
	now := time.Now()
	if p == nil {
		p = c.newPod(o)
		c.pods[o.UID] = p
		c.byName[o.Namespace+"/"+o.Name] = p
		c.order = append(c.order, p)
		if p.workload != nil {
			p.workload.total++
		}
		if o.Spec.NodeName == "" {
			c.pending++
		}
		c.entry(p, record.Entry{Kind: record.KindPodCreated, What: "pod created", Actor: "replicaset-controller"})
	}
	old := p.obj
	p.obj = o
	if old != nil && old.Spec.NodeName == "" && o.Spec.NodeName != "" || old == nil && o.Spec.NodeName != "" {
		p.rec.Node, p.rec.Scheduled = o.Spec.NodeName, now
		if old != nil {
			c.pending--
		}
	}
	if o.DeletionTimestamp != nil && p.rec.Deleted.IsZero() {
		p.rec.Deleted = now
		c.deleted(p, now)
	}
	c.follow(p, now)
	c.r.demand.podChanged(p, now)
}

// follow notes what changed in a pod's status.
func (c *cluster) follow(p *pod, now time.Time) {
	o := p.obj
	p.rec.Phase = string(o.Status.Phase)
	if o.Status.Phase == corev1.PodRunning && p.rec.Started.IsZero() {
		p.rec.Started = now
	}
	ready := isReady(o)
	if ready != p.ready {
		p.ready = ready
		c.count(p, ready)
		if ready {
			what := "pod ready again"
			if p.rec.Ready.IsZero() {
				p.rec.Ready, what = now, "pod ready"
			}
			c.entry(p, record.Entry{Kind: record.KindPodReady, What: what})
		} else if !ready && o.DeletionTimestamp == nil && !checkOver(p) {
			c.entry(p, record.Entry{Kind: record.KindPodUnready, What: "pod not ready", Why: conditionMessage(o, corev1.PodReady), Severity: record.Notable})
		}
	}
	for i := range o.Status.ContainerStatuses {
		c.container(p, &o.Status.ContainerStatuses[i])
	}
	if o.Status.Reason != "" {
		p.rec.Reason, p.rec.Message = o.Status.Reason, o.Status.Message
	}
}

// container counts restarts and memory kills.
func (c *cluster) container(p *pod, s *corev1.ContainerStatus) {
	if w := s.State.Waiting; w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
		p.rec.Reason, p.rec.Message = w.Reason, w.Message
	}
	if int(s.RestartCount) <= p.rec.Restarts {
		return
	}
	p.rec.Restarts = int(s.RestartCount)
	t := s.LastTerminationState.Terminated
	if t == nil {
		return
	}
	p.rec.Reason = t.Reason
	e := record.Entry{Kind: record.KindCrash, What: fmt.Sprintf("container %s ended with exit code %d", s.Name, t.ExitCode), Why: t.Reason, Severity: record.Warning}
	if t.Reason == "OOMKilled" {
		p.rec.OOMKills++
		c.oomKills++
		e.Kind, e.What = record.KindOOM, fmt.Sprintf("container %s was killed for memory", s.Name)
	}
	c.entry(p, e)
}

func (c *cluster) count(p *pod, ready bool) {
	d := 1
	if !ready {
		d = -1
	}
	c.ready += d
	if p.workload != nil {
		p.workload.ready += int32(d)
		if p.workload.serving != nil {
			p.workload.serving[p.rec.Revision] += int32(d)
			c.weighed(p.workload, time.Now())
		}
	}
}

func (c *cluster) podGone(o *corev1.Pod) {
	p := c.pods[o.UID]
	if p == nil {
		return
	}
	now := time.Now()
	delete(c.pods, o.UID)
	if key := o.Namespace + "/" + o.Name; c.byName[key] == p {
		delete(c.byName, key)
	}
	p.gone = true
	if p.ready {
		p.ready = false
		c.count(p, false)
	}
	if o.Spec.NodeName == "" {
		c.pending--
	}
	if p.workload != nil {
		p.workload.total--
	}
	p.rec.Gone = now
	if p.rec.Deleted.IsZero() {
		p.rec.Deleted, p.obj = now, o
		c.deleted(p, now)
	}
	c.r.deleters.forget(o)
	c.r.demand.podGone(p, now)
	c.entry(p, record.Entry{Kind: record.KindPodGone, What: "pod gone"})
	c.r.out.event(record.Event{Pod: &p.rec})
	if len(c.order) > 64 && len(c.order) > 2*len(c.pods) {
		c.order = c.living()
	}
}

// living are the pods that exist, in the order they came.
func (c *cluster) living() []*pod {
	out := make([]*pod, 0, len(c.pods))
	for _, p := range c.order {
		if !p.gone {
			out = append(out, p)
		}
	}
	return out
}

func (c *cluster) newPod(o *corev1.Pod) *pod {
	p := &pod{rec: record.Pod{Namespace: o.Namespace, Name: o.Name, Created: time.Now(), Revision: revisionOf(o)}}
	p.rec.Workload = c.ownerOf(o)
	if !strings.HasPrefix(p.rec.Workload, "Pod/") && !strings.HasPrefix(p.rec.Workload, analysisRunKind+"/") { // a check is no workload
		p.workload = c.workload(p.rec.Workload)
	}
	for i := range o.Spec.Containers {
		r := o.Spec.Containers[i].Resources.Requests
		p.rec.CPURequestCores += r.Cpu().AsApproximateFloat64()
		p.rec.MemoryRequestBytes += r.Memory().AsApproximateFloat64()
	}
	return p
}

func (c *cluster) workload(object string) *workload {
	w := c.workloads[object]
	if w == nil {
		w = &workload{object: object, desired: -1, availFrom: -1}
		if strings.HasPrefix(object, rolloutKind+"/") {
			w.serving = map[string]int32{}
		}
		c.workloads[object] = w
		i := sort.SearchStrings(c.names, object)
		c.names = append(c.names, "")
		copy(c.names[i+1:], c.names[i:])
		c.names[i] = object
	}
	return w
}

// ownerOf is the top-most controller of a pod, as Kind/namespace/name, or the pod itself.
func (c *cluster) ownerOf(o *corev1.Pod) string {
	ref := metav1.GetControllerOf(o)
	if ref == nil {
		return "Pod/" + o.Namespace + "/" + o.Name
	}
	return c.topmost(ref.Kind, o.Namespace, ref.Name)
}

// topmost is what controls a controller of pods, or the controller itself, as Kind/namespace/name.
func (c *cluster) topmost(kind, ns, name string) string {
	var above *metav1.OwnerReference
	switch kind {
	case "ReplicaSet":
		if rs, err := c.sets.ReplicaSets(ns).Get(name); err == nil {
			above = metav1.GetControllerOf(rs)
		}
	case "Job":
		if j, err := c.jobs.Jobs(ns).Get(name); err == nil {
			above = metav1.GetControllerOf(j)
		}
	}
	if above != nil {
		kind, name = above.Kind, above.Name
	}
	return kind + "/" + ns + "/" + name
}

func (c *cluster) deploymentSeen(d *appsv1.Deployment) {
	w := c.workload("Deployment/" + d.Namespace + "/" + d.Name)
	replicas := int32(1)
	if d.Spec.Replicas != nil {
		replicas = *d.Spec.Replicas
	}
	c.scaled(w, replicas)
	c.templated(w, d.Generation, &d.Spec.Template)
	w.updated, w.paused = d.Status.UpdatedReplicas, d.Spec.Paused
	done := d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas >= replicas && d.Status.Replicas == d.Status.UpdatedReplicas && d.Status.AvailableReplicas >= replicas
	stalled := ""
	for _, cond := range d.Status.Conditions {
		if cond.LastUpdateTime.Add(time.Second).Before(w.startedAt) {
			continue // it is about the revision before; the API keeps whole seconds
		}
		if cond.Type == appsv1.DeploymentProgressing && cond.Reason == "ProgressDeadlineExceeded" {
			stalled = cond.Message
		}
	}
	c.rolled(w, done, stalled)
}

func (c *cluster) statefulSetSeen(s *appsv1.StatefulSet) {
	w := c.workload("StatefulSet/" + s.Namespace + "/" + s.Name)
	replicas := int32(1)
	if s.Spec.Replicas != nil {
		replicas = *s.Spec.Replicas
	}
	c.scaled(w, replicas)
	c.templated(w, s.Generation, &s.Spec.Template)
	c.rolled(w, s.Status.ObservedGeneration >= s.Generation && s.Status.UpdateRevision == s.Status.CurrentRevision && s.Status.ReadyReplicas >= replicas, "")
}

func (c *cluster) daemonSetSeen(s *appsv1.DaemonSet) {
	w := c.workload("DaemonSet/" + s.Namespace + "/" + s.Name)
	if w.desired != s.Status.DesiredNumberScheduled {
		w.desired = s.Status.DesiredNumberScheduled
	}
	c.templated(w, s.Generation, &s.Spec.Template)
	c.rolled(w, s.Status.ObservedGeneration >= s.Generation && s.Status.UpdatedNumberScheduled >= s.Status.DesiredNumberScheduled && s.Status.NumberReady >= s.Status.DesiredNumberScheduled, "")
}

// scaled notes a change of the replicas wanted.
func (c *cluster) scaled(w *workload, replicas int32) {
	if w.desired == replicas {
		return
	}
	from := w.desired
	w.desired = replicas
	if from < 0 {
		return
	}
	direction := 1
	if replicas < from {
		direction = -1
	}
	if w.direction != 0 && w.direction != direction {
		w.reversals++
	}
	w.direction = direction
	why, actor := c.r.scaleReason(w.object)
	c.r.entry(record.Entry{Kind: record.KindScale, Object: w.object, Owner: w.object, What: fmt.Sprintf("%s from %d to %d replicas", short(w.object), from, replicas), Why: why, Actor: actor,
		Severity: record.Notable, Data: map[string]string{"workload": w.object, "from": fmt.Sprint(from), "to": fmt.Sprint(replicas)}})
}

// entry writes a fact about a pod, folded by its owner.
func (c *cluster) entry(p *pod, e record.Entry) {
	e.Object, e.Owner = "Pod/"+p.rec.Namespace+"/"+p.rec.Name, p.rec.Workload
	if e.Data == nil {
		e.Data = map[string]string{}
	}
	if p.workload != nil {
		e.Data["workload"] = p.workload.object
	}
	if p.rec.Node != "" {
		e.Data["node"] = p.rec.Node
	}
	e.Count = 1
	c.r.entry(e)
}

func (c *cluster) nodeSeen(o *corev1.Node) {
	n := c.nodes[o.Name]
	if n == nil {
		n = &node{rec: nodeRecord(o)}
		c.nodes[o.Name] = n
		c.r.entry(record.Entry{Kind: record.KindNodeAdded, Object: "Node/" + o.Name, What: "node " + o.Name + " joined", Severity: record.Notable, Data: nodeData(n)})
	}
	ready := nodeReady(o)
	if ready && n.rec.Ready.IsZero() {
		n.rec.Ready = time.Now()
	}
	if n.seen && ready != n.ready {
		e := record.Entry{Kind: record.KindNodeReady, Object: "Node/" + o.Name, What: "node " + o.Name + " is ready again", Severity: record.Notable, Data: nodeData(n)}
		if !ready {
			e.Kind, e.What, e.Severity = record.KindNodeUnready, "node "+o.Name+" is not ready", record.Warning
		}
		c.r.entry(e)
	}
	if ready {
		n.seen = true
	}
	n.ready, n.cordoned = ready, o.Spec.Unschedulable
	c.r.demand.nodeChanged(o)
}

func (c *cluster) nodeGone(o *corev1.Node) {
	n := c.nodes[o.Name]
	if n == nil {
		return
	}
	delete(c.nodes, o.Name)
	n.rec.Gone = time.Now()
	c.r.entry(record.Entry{Kind: record.KindNodeGone, Object: "Node/" + o.Name, What: "node " + o.Name + " is gone", Severity: record.Warning, Data: nodeData(n)})
	c.r.out.event(record.Event{Node: &n.rec})
}

func nodeData(n *node) map[string]string {
	return map[string]string{"node": n.rec.Name, "zone": n.rec.Zone, "pool": n.rec.Pool}
}

func (c *cluster) budgetSeen(b *policyv1.PodDisruptionBudget) {
	c.budgets[b.Namespace+"/"+b.Name] = b
}

func (c *cluster) budgetGone(b *policyv1.PodDisruptionBudget) {
	delete(c.budgets, b.Namespace+"/"+b.Name)
}

// budgetOf is the first budget, by name, that covers a pod.
func (c *cluster) budgetOf(o *corev1.Pod) *policyv1.PodDisruptionBudget {
	var found *policyv1.PodDisruptionBudget
	for key, b := range c.budgets {
		if b.Namespace != o.Namespace || found != nil && key > found.Namespace+"/"+found.Name {
			continue
		}
		if s, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil && !s.Empty() && s.Matches(labels.Set(o.Labels)) {
			found = b
		}
	}
	return found
}
