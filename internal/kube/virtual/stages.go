package virtual

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairway-dev/fairway/internal/kube/virtual/stage"
)

// Stages of KWOK move pods and nodes beside, or instead of, the native engine (stage.Mode). A matching stage pre-empts
// the native engine until it has been carried out; then the native engine takes up what it wrote.

// staged is an object's place in its stages.
type staged struct {
	move    *stage.Move
	version string // of the object that move was chosen for
	at      time.Time
	count   int    // moves made, for the draws
	busy    bool   // effects are being written
	done    string // version of the object that the latest move was made on: the next one waits for a newer
}

// stageAddresses answers the templates' questions. It is asked while the engine's lock is held.
type stageAddresses struct{ e *Engine }

// NodeIPs implements stage.Addresses.
func (a stageAddresses) NodeIPs(node string) []string {
	if n := a.e.byNode[node]; n != nil {
		return []string{n.view.IP}
	}
	return []string{}
}

// PodIPs implements stage.Addresses.
func (a stageAddresses) PodIPs(node string, hostNetwork bool, _, name, namespace string) ([]string, error) {
	n, r := a.e.byNode[node], a.e.record(namespace, name)
	if n == nil || r == nil || r.state == nil {
		return []string{}, nil
	}
	if hostNetwork {
		return []string{n.view.IP}, nil
	}
	if r.state.IP == "" {
		ip, err := n.ips.allocate(time.Now())
		if err != nil {
			return nil, err
		}
		r.state.IP = ip
	}
	return []string{r.state.IP}, nil
}

// compileStages prepares the stages of the options; one that cannot be used is said and left out.
func (e *Engine) compileStages() {
	if len(e.opts.Stages) == 0 {
		return
	}
	set, problems := stage.Compile(e.opts.Stages, stageAddresses{e}, e.opts.Seed)
	for _, p := range problems {
		e.log.Warn("stage left out", "stage", p.Stage, "reason", p.Reason, "message", p.Message)
	}
	e.stages = set
}

// stagePod lets stages have the pod. handled tells that the native engine must not touch it now; wake is when a stage is
// due. The caller holds mu.
func (e *Engine) stagePod(r *podRecord, now time.Time) (handled bool, wake time.Time) {
	if e.stages == nil {
		return false, time.Time{}
	}
	mode := e.stages.Mode(stage.Pod, r.node.kwok(), e.opts.StageMode)
	if mode == stage.None {
		return false, time.Time{}
	}
	matched, wake := e.stageStep(&r.stage, r.obj, stage.Pod, r.state.Identity, now)
	return matched || mode == stage.Replace, wake
}

// stageNode lets stages have the node. The caller holds mu.
func (e *Engine) stageNode(n *nodeRecord, now time.Time) (handled bool) {
	if e.stages == nil || n.obj == nil {
		return false
	}
	mode := e.stages.Mode(stage.Node, n.kwok(), e.opts.StageMode)
	if mode == stage.None {
		return false
	}
	matched, wake := e.stageStep(&n.stage, n.obj, stage.Node, n.name, now)
	if !wake.IsZero() {
		n.at(e, wake, func(now time.Time) { e.stageNode(n, now) })
	}
	return matched || mode == stage.Replace
}

// kwok reports whether the node is one that KWOK would drive.
func (n *nodeRecord) kwok() bool {
	if n.obj == nil {
		return false
	}
	_, ok := n.obj.Annotations[AnnotationKWOK]
	return ok
}

// stageStep finds the object's next stage and carries it out when it is due.
func (e *Engine) stageStep(s *staged, obj metav1.Object, gvk schema.GroupVersionKind, identity string, now time.Time) (matched bool, wake time.Time) {
	if s.busy {
		return true, time.Time{}
	}
	if s.done == obj.GetResourceVersion() {
		return false, time.Time{}
	}
	if s.move == nil || s.version != obj.GetResourceVersion() {
		m, ok, err := e.stages.Next(context.Background(), obj, gvk, identity, s.count, now)
		if err != nil || !ok {
			if err != nil {
				e.log.Warn("stages left aside", "object", identity, "error", err)
			}
			s.move = nil
			return false, time.Time{}
		}
		if s.move == nil || s.move.Stage != m.Stage {
			s.at = now.Add(m.After)
		}
		s.move, s.version = &m, obj.GetResourceVersion()
	}
	if s.at.After(now) {
		return true, s.at
	}
	effects, err := s.move.Effects(obj)
	if err != nil {
		e.log.Warn("stage failed; the native engine goes on", "object", identity, "error", err)
		return false, time.Time{}
	}
	job := &stageJob{state: s, obj: obj, gvk: gvk, effects: effects, immediate: s.move.Immediate}
	if s.move, s.busy = nil, true; !job.immediate {
		s.done = obj.GetResourceVersion()
	}
	s.count++
	e.queue.put(job)
	return true, time.Time{}
}

// stageJob writes what one stage does to one object.
type stageJob struct {
	state     *staged
	obj       metav1.Object
	gvk       schema.GroupVersionKind
	effects   []stage.Effect
	immediate bool
}

func (j *stageJob) run(ctx context.Context, e *Engine) {
	for i := range j.effects {
		if err := j.carryOut(ctx, e, &j.effects[i]); err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
			e.log.Warn("stage request refused", "kind", j.gvk.Kind, "object", j.obj.GetNamespace()+"/"+j.obj.GetName(), "error", err)
			break
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	j.state.busy = false
	if j.gvk == stage.Pod {
		if r := e.record(j.obj.GetNamespace(), j.obj.GetName()); r != nil && r.obj.UID == j.obj.GetUID() {
			e.touch(r)
		}
		return
	}
	if n := e.byNode[j.obj.GetName()]; n != nil {
		e.stageNode(n, time.Now())
	}
}

func (j *stageJob) carryOut(ctx context.Context, e *Engine, f *stage.Effect) error {
	pods, nodes := e.opts.Client.CoreV1().Pods(j.obj.GetNamespace()), e.opts.Client.CoreV1().Nodes()
	uid := j.obj.GetUID()
	switch {
	case f.Event != nil:
		e.mu.Lock()
		defer e.mu.Unlock()
		e.emit(Event{Time: time.Now(), Kind: j.gvk.Kind, Namespace: j.obj.GetNamespace(), Name: j.obj.GetName(), UID: uid,
			Type: f.Event.Type, Reason: f.Event.Reason, Message: f.Event.Message})
	case f.Delete:
		zero := int64(0)
		opts := metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &uid}}
		if j.gvk == stage.Node {
			return nodes.Delete(ctx, j.obj.GetName(), opts)
		}
		return pods.Delete(ctx, j.obj.GetName(), opts)
	case f.Patch != nil:
		var subresources []string
		if f.Patch.Subresource != "" {
			subresources = append(subresources, f.Patch.Subresource)
		}
		opts := metav1.PatchOptions{FieldManager: "fairway-stages"}
		var err error
		if j.gvk == stage.Node {
			_, err = nodes.Patch(ctx, j.obj.GetName(), f.Patch.Type, f.Patch.Data, opts, subresources...)
		} else {
			_, err = pods.Patch(ctx, j.obj.GetName(), f.Patch.Type, f.Patch.Data, opts, subresources...)
		}
		return err
	}
	return nil
}

// takeUp makes the program state follow an object that somebody else moved to its end: a stage, or a user who wrote its
// status. The caller holds mu.
func (e *Engine) takeUp(r *podRecord, now time.Time) {
	if r.busy || !r.state.Ended.IsZero() || !terminalPhase(r.obj.Status.Phase) {
		return
	}
	ip := r.state.IP
	r.state = newPodState(r.obj, r.state.Identity)
	in := e.inputs(r)
	restore(r.state, &in, now)
	r.state.Ended = now
	if r.state.IP == "" {
		r.state.IP = ip
	}
	for i := range r.state.Containers {
		c := &r.state.Containers[i]
		if c.Run == RunRunning {
			c.End = Exit{}
		}
	}
	e.freed(r, now)
}
