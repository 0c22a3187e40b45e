package virtual

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/kubelet/events"
)

// storage is the engine's part of volumes: it provisions, expands, deletes and attaches what nobody else serves.
type storage struct {
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister
	ops     map[string]*volumeOp   // by kind and name: under way
	uses    map[string]*attachment // by volume name
}

// volumeOp is one change of storage under way: it takes its time, then becomes a request.
type volumeOp struct {
	name  string
	timer timer
	do    func(ctx context.Context, e *Engine) error
	retry time.Duration
}

// attachment is where a volume is in use.
type attachment struct {
	node     string
	ready    time.Time // attached from then on
	pods     map[types.NamespacedName]bool
	released time.Time // when the last pod let go; detached a while later
}

// observeStorage registers what dynamic volumes need.
func (e *Engine) observeStorage() error {
	core, st := e.opts.Informers.Core().V1(), e.opts.Informers.Storage().V1()
	e.storage = storage{claims: core.PersistentVolumeClaims().Lister(), volumes: core.PersistentVolumes().Lister(), classes: st.StorageClasses().Lister(),
		ops: map[string]*volumeOp{}, uses: map[string]*attachment{}}
	locked := func(f func(o any)) func(o any) {
		return func(o any) {
			e.mu.Lock()
			defer e.mu.Unlock()
			f(o)
		}
	}
	for _, w := range []struct {
		informer cache.SharedIndexInformer
		see      func(o any)
	}{
		{core.PersistentVolumeClaims().Informer(), locked(func(o any) { e.seeClaim(o.(*v1.PersistentVolumeClaim)) })},
		{core.PersistentVolumes().Informer(), locked(func(o any) { e.seeVolume(o.(*v1.PersistentVolume)) })},
		{st.VolumeAttachments().Informer(), locked(func(o any) { e.seeAttachment(o.(*storagev1.VolumeAttachment)) })},
		{st.StorageClasses().Informer(), func(any) {}},
	} {
		reg, err := w.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: w.see, UpdateFunc: func(_, o any) { w.see(o) }})
		if err != nil {
			return fmt.Errorf("virtual: watching storage: %w", err)
		}
		e.synced = append(e.synced, reg.HasSynced)
	}
	return nil
}

// serves reports whether a provisioner is ours to play.
func (e *Engine) serves(provisioner string) bool {
	for _, g := range e.opts.Provisioners {
		if globMatch(g, provisioner) {
			return true
		}
	}
	return false
}

// ours reports whether we made the volume, or play the one who did.
func (e *Engine) ours(pv *v1.PersistentVolume) bool {
	by := pv.Annotations[annotationProvisionedBy]
	return by != "" && e.serves(by)
}

// after carries out an operation when its time has passed; an operation under way is not started twice.
func (e *Engine) after(name string, takes time.Duration, do func(ctx context.Context, e *Engine) error) {
	if e.storage.ops[name] != nil {
		return
	}
	op := &volumeOp{name: name, do: do}
	op.timer = timer{key: name, kind: timerNode, fire: func(time.Time) { e.queue.put(op) }}
	e.storage.ops[name] = op
	e.timers.arm(&op.timer, e.grain(time.Now().Add(takes)))
	e.poke()
}

func (op *volumeOp) run(ctx context.Context, e *Engine) {
	err := op.do(ctx, e)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		delete(e.storage.ops, op.name) // done, or the newer object will be seen
		return
	}
	op.retry = min(max(2*op.retry, retryFirst), retryMost)
	e.log.Warn("storage request refused; will try again", "operation", op.name, "in", op.retry, "error", err)
	e.timers.arm(&op.timer, e.grain(time.Now().Add(op.retry)))
	e.poke()
}

func (e *Engine) classOf(pvc *v1.PersistentVolumeClaim) *storagev1.StorageClass {
	if pvc.Spec.StorageClassName == nil {
		return nil
	}
	class, err := e.storage.classes.Get(*pvc.Spec.StorageClassName)
	if err != nil {
		return nil
	}
	return class
}

// seeClaim provisions or expands what a claim asks for. The caller holds mu.
func (e *Engine) seeClaim(pvc *v1.PersistentVolumeClaim) {
	class := e.classOf(pvc)
	key := pvc.Namespace + "/" + pvc.Name
	if class != nil && e.serves(class.Provisioner) {
		if provisionable(pvc, class) {
			e.after("provision "+key, provisionTakes, func(ctx context.Context, e *Engine) error { return e.provision(ctx, pvc.Namespace, pvc.Name) })
		}
		if expandable(pvc) {
			e.after("expand "+key, expandTakes, func(ctx context.Context, e *Engine) error { return e.expand(ctx, pvc.Namespace, pvc.Name) })
		}
	}
	if pvc.Status.Phase == v1.ClaimBound && e.started {
		e.sourceAppeared(pvc.Namespace)
	}
}

func (e *Engine) provision(ctx context.Context, ns, name string) error {
	pvc, err := e.storage.claims.PersistentVolumeClaims(ns).Get(name)
	if err != nil {
		return err
	}
	class := e.classOf(pvc)
	if !provisionable(pvc, class) {
		return nil
	}
	var node *v1.Node
	if selected := pvc.Annotations[annotationSelectedNode]; selected != "" {
		if node, err = e.nodes.Get(selected); err != nil {
			return err
		}
	}
	_, err = e.opts.Client.CoreV1().PersistentVolumes().Create(ctx, Provision(pvc, class, node), metav1.CreateOptions{})
	return err
}

func (e *Engine) expand(ctx context.Context, ns, name string) error {
	pvc, err := e.storage.claims.PersistentVolumeClaims(ns).Get(name)
	if err != nil {
		return err
	}
	pv, err := e.storage.volumes.Get(pvc.Spec.VolumeName)
	if err != nil || !expandable(pvc) {
		return err
	}
	want := pvc.Spec.Resources.Requests[v1.ResourceStorage]
	if have := pv.Spec.Capacity[v1.ResourceStorage]; want.Cmp(have) > 0 {
		pv = pv.DeepCopy()
		pv.Spec.Capacity[v1.ResourceStorage] = want
		if _, err := e.opts.Client.CoreV1().PersistentVolumes().Update(ctx, pv, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	pvc = pvc.DeepCopy()
	pvc.Status.Capacity[v1.ResourceStorage] = want
	pvc.Status.Conditions = nil
	_, err = e.opts.Client.CoreV1().PersistentVolumeClaims(ns).UpdateStatus(ctx, pvc, metav1.UpdateOptions{})
	return err
}

// seeVolume deletes volumes of ours whose claim is gone. The caller holds mu.
func (e *Engine) seeVolume(pv *v1.PersistentVolume) {
	if !e.ours(pv) || pv.Status.Phase != v1.VolumeReleased || pv.DeletionTimestamp != nil ||
		pv.Spec.PersistentVolumeReclaimPolicy != v1.PersistentVolumeReclaimDelete {
		return
	}
	name, uid := pv.Name, pv.UID
	delete(e.storage.uses, name)
	e.after("delete "+name, time.Second, func(ctx context.Context, e *Engine) error {
		return e.opts.Client.CoreV1().PersistentVolumes().Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	})
}

// seeAttachment answers the attach-detach controller for drivers of ours. The caller holds mu.
func (e *Engine) seeAttachment(va *storagev1.VolumeAttachment) {
	if va.Status.Attached || va.DeletionTimestamp != nil || va.Spec.Source.PersistentVolumeName == nil {
		return
	}
	if pv, err := e.storage.volumes.Get(*va.Spec.Source.PersistentVolumeName); err != nil || !e.ours(pv) {
		return
	}
	e.after("attach "+va.Name, attachTakes, func(ctx context.Context, e *Engine) error {
		done := va.DeepCopy()
		done.Status.Attached = true
		_, err := e.opts.Client.StorageV1().VolumeAttachments().UpdateStatus(ctx, done, metav1.UpdateOptions{})
		return err
	})
}

// Volumes implements Surroundings: what the pod's volumes wait for.
func (a around) Volumes(pod *v1.Pod, now time.Time) Blocked {
	if why := a.missing(pod); why != "" {
		return Blocked{Reason: events.FailedMountVolume, Message: why}
	}
	if len(a.e.opts.Provisioners) == 0 {
		return Blocked{}
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		claim := ""
		switch {
		case v.PersistentVolumeClaim != nil:
			claim = v.PersistentVolumeClaim.ClaimName
		case v.Ephemeral != nil:
			claim = pod.Name + "-" + v.Name
		default:
			continue
		}
		if one := a.claim(pod, claim, now); one != (Blocked{}) {
			return one
		}
	}
	return Blocked{}
}

// claim takes one claim's volume into use on the pod's node.
func (a around) claim(pod *v1.Pod, name string, now time.Time) Blocked {
	e := a.e
	pvc, err := e.storage.claims.PersistentVolumeClaims(pod.Namespace).Get(name)
	switch {
	case err != nil:
		e.stuck[a.r.key] = a.r
		return Blocked{Reason: events.FailedMountVolume, Message: fmt.Sprintf("Unable to attach or mount volumes: error processing PVC %s/%s: failed to fetch PVC from API server: persistentvolumeclaims %q not found", pod.Namespace, name, name)}
	case pvc.Status.Phase != v1.ClaimBound:
		e.stuck[a.r.key] = a.r
		return Blocked{Reason: events.FailedMountVolume, Message: fmt.Sprintf("Unable to attach or mount volumes: error processing PVC %s/%s: PVC is not bound", pod.Namespace, name)}
	}
	pv, err := e.storage.volumes.Get(pvc.Spec.VolumeName)
	if err != nil || !e.ours(pv) {
		return Blocked{} // not ours to attach
	}
	use := e.storage.uses[pv.Name]
	if use != nil && use.node != a.r.node.name && exclusive(pv) {
		if len(use.pods) > 0 {
			return Blocked{Reason: events.FailedAttachVolume, Message: fmt.Sprintf("Multi-Attach error for volume %q Volume is already used by pod(s) on node %s", pv.Name, use.node)}
		}
		if free := use.released.Add(detachTakes); free.After(now) {
			return Blocked{RetryAt: free}
		}
		use = nil
	}
	if use == nil || use.node != a.r.node.name {
		use = &attachment{node: a.r.node.name, ready: now.Add(attachTakes), pods: map[types.NamespacedName]bool{}}
		e.storage.uses[pv.Name] = use
	}
	use.pods[a.r.key] = true
	a.r.volumes = append(a.r.volumes, pv.Name)
	if use.ready.After(now) {
		return Blocked{RetryAt: use.ready}
	}
	return Blocked{}
}

// detach lets go of the volumes of an ended pod. The caller holds mu.
func (e *Engine) detach(r *podRecord, now time.Time) {
	for _, name := range r.volumes {
		if use := e.storage.uses[name]; use != nil && use.pods[r.key] {
			delete(use.pods, r.key)
			use.released = now
		}
	}
	r.volumes = nil
}

// installStorage creates the default class.
func (e *Engine) installStorage(ctx context.Context) error {
	wait, expand := storagev1.VolumeBindingWaitForFirstConsumer, true
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: virtualClass, Annotations: map[string]string{annotationDefaultClass: "true"}},
		Provisioner: VirtualProvisioner, VolumeBindingMode: &wait, AllowVolumeExpansion: &expand}
	_, err := e.opts.Client.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{})
	return err
}
