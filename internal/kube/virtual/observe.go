package virtual

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// observe registers the engine's handlers with the shared informers.
func (e *Engine) observe() error {
	core := e.opts.Informers.Core().V1()
	e.nodes = core.Nodes().Lister()
	e.configMaps, e.secrets = core.ConfigMaps().Lister(), core.Secrets().Lister()
	pods, err := core.Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { e.seePod(o.(*v1.Pod)) },
		UpdateFunc: func(_, o any) { e.seePod(o.(*v1.Pod)) },
		DeleteFunc: func(o any) { e.losePod(o) },
	})
	if err != nil {
		return fmt.Errorf("virtual: watching pods: %w", err)
	}
	nodes, err := core.Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { e.seeNode(o.(*v1.Node)) },
		UpdateFunc: func(_, o any) { e.seeNode(o.(*v1.Node)) },
		DeleteFunc: func(o any) { e.loseNode(o) },
	})
	if err != nil {
		return fmt.Errorf("virtual: watching nodes: %w", err)
	}
	e.synced = []cache.InformerSynced{pods.HasSynced, nodes.HasSynced}
	for _, informer := range []cache.SharedIndexInformer{core.ConfigMaps().Informer(), core.Secrets().Informer()} {
		reg, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: e.seeSource})
		if err != nil {
			return fmt.Errorf("virtual: watching configuration: %w", err)
		}
		e.synced = append(e.synced, reg.HasSynced)
	}
	if len(e.opts.Provisioners) == 0 {
		return nil
	}
	return e.observeStorage()
}

// seePod takes up a new version of a pod.
func (e *Engine) seePod(pod *v1.Pod) {
	if pod.Spec.NodeName == "" {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	key := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	r := e.records[key]
	if r != nil && r.obj.UID != pod.UID {
		e.forget(r)
		r = nil
	}
	if r == nil {
		r = &podRecord{key: key, obj: pod}
		r.timer = timer{node: pod.Spec.NodeName, key: pod.Namespace + "/" + pod.Name, kind: timerPod,
			fire: func(now time.Time) { e.decide(r, now) }}
		e.records[key] = r
		if e.started {
			e.place(r)
		}
		return
	}
	r.state.noteResize(r.obj, pod)
	if e.started && behaviourChanged(r.obj, pod) {
		defer e.rechoose(r, time.Now())
	}
	own := pod.ResourceVersion == r.ours
	changed := pod.ResourceVersion != r.obj.ResourceVersion
	r.obj = pod
	if !changed {
		return
	}
	if own {
		r.await = false
		if !r.state.stillMoving(r) {
			return // our own write came back: nothing new
		}
	} else if r.await && newer(pod.ResourceVersion, r.ours) {
		r.await = false
	}
	if !r.retryAt.IsZero() && r.retryDelay == 0 {
		r.retryAt = time.Time{} // the newer object a conflict announced
	}
	if e.started {
		e.touch(r)
	}
}

// stillMoving reports whether the echo of our own write needs another decision: something else waits to be written.
func (s *PodState) stillMoving(r *podRecord) bool {
	return s == nil || r.held || !s.Ended.IsZero() || r.obj.DeletionTimestamp != nil || r.timer.index == 0
}

// newer compares resource versions, which are numbers in Kubernetes' own storage.
func newer(a, b string) bool {
	if len(a) != len(b) {
		return len(a) > len(b)
	}
	return a >= b
}

// place gives a pod record its node and state. The caller holds mu.
func (e *Engine) place(r *podRecord) {
	n := e.byNode[r.obj.Spec.NodeName]
	if n == nil {
		return // an unknown node: wait until it is ours
	}
	r.node = n
	n.pods[r.key] = r
	if r.state == nil {
		r.state = newPodState(r.obj, e.identify(r.obj))
		in := e.inputs(r)
		restore(r.state, &in, time.Now())
		if !r.state.Admitted.IsZero() && r.state.Ended.IsZero() {
			n.ledger.grant(r.key, podRequests(r.obj))
		}
	}
	e.touch(r)
}

// identify names a pod independently of random suffixes and UIDs: workload and the order in which its pods were seen.
func (e *Engine) identify(pod *v1.Pod) string {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || owner.Kind == "StatefulSet" {
		return pod.Namespace + "/" + pod.Name
	}
	workload := owner.Name
	if hash := pod.Labels["pod-template-hash"]; hash != "" && len(workload) > len(hash)+1 && workload[len(workload)-len(hash):] == hash {
		workload = workload[:len(workload)-len(hash)-1]
	}
	if owner.Kind == "DaemonSet" {
		return pod.Namespace + "/" + workload + "@" + pod.Spec.NodeName
	}
	key := pod.Namespace + "/" + workload
	e.draws[key]++
	return fmt.Sprintf("%s#%d", key, e.draws[key]-1)
}

func (e *Engine) losePod(o any) {
	pod, ok := o.(*v1.Pod)
	if !ok {
		tomb, isTomb := o.(cache.DeletedFinalStateUnknown)
		if !isTomb {
			return
		}
		if pod, ok = tomb.Obj.(*v1.Pod); !ok {
			return
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.records[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}]; r != nil && r.obj.UID == pod.UID {
		e.forget(r)
	}
}

// forget drops a pod whose object is gone. The caller holds mu.
func (e *Engine) forget(r *podRecord) {
	r.gone, r.write, r.remove = true, false, false
	e.timers.disarm(&r.timer)
	delete(e.records, r.key)
	delete(e.stuck, r.key)
	if r.node == nil {
		e.detach(r, time.Now()) // its node is gone, and with the pod the last use of its volumes
		return
	}
	if r.state != nil && r.state.Ended.IsZero() {
		now := time.Now()
		in := e.inputs(r)
		d := decider{s: r.state, in: &in, pod: r.obj}
		for i := range r.state.Containers {
			if c := &r.state.Containers[i]; c.Run == RunRunning {
				e.countPast(r.node, &ExitedInstance{d.instance(c), now})
			}
		}
		e.freed(r, now)
	}
	delete(r.node.pods, r.key)
}

// seeSource lets pods go on that waited for a ConfigMap or Secret.
func (e *Engine) seeSource(o any) {
	meta, ok := o.(metav1.Object)
	if !ok {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.started {
		return
	}
	e.sourceAppeared(meta.GetNamespace())
}
