package play

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// undo takes an action back; nil when it cannot be, or need not be.
type undo func(ctx context.Context) error

// outcome is what an action did.
type outcome struct {
	what    string
	targets []string // Kind/namespace/name of what it touched
	data    map[string]string
	undo    undo
}

// act carries out one action of a scenario. It never holds the run's lock while it calls the API or the engine.
func (r *run) act(ctx context.Context, a *v1alpha1.Action) (outcome, error) {
	switch {
	case a.Apply != nil:
		return r.actApply(ctx, a.Apply)
	case a.Delete != nil:
		return r.actDelete(ctx, a.Delete)
	case a.Patch != nil:
		return r.actPatch(ctx, a.Patch)
	case a.Scale != nil:
		return r.actScale(ctx, a.Scale)
	case a.SetImage != nil:
		return r.actSetImage(ctx, a.SetImage)
	case a.Restart != nil:
		return r.actRestart(ctx, a.Restart.Workload)
	case a.Undo != nil:
		return r.actUndo(ctx, a.Undo)
	case a.Promote != nil:
		return r.actPromote(ctx, a.Promote)
	case a.Abort != nil:
		return r.actAbort(ctx, a.Abort.Workload)
	case a.Pause != nil:
		return r.actPause(ctx, a.Pause.Workload, true)
	case a.Resume != nil:
		return r.actPause(ctx, a.Resume.Workload, false)
	case a.Retry != nil:
		return r.actRetry(ctx, a.Retry.Workload)
	case a.Set != nil:
		return r.actSet(a.Set)
	case a.KillPods != nil:
		return r.actKillPods(ctx, a.KillPods)
	case a.NodeCrash != nil:
		return r.actNodeCrash(a.NodeCrash)
	case a.NodeNotReady != nil:
		return r.actNotReady(a.NodeNotReady)
	case a.Drain != nil:
		return r.actDrain(ctx, a.Drain)
	case a.Cordon != nil:
		return r.actCordon(ctx, a.Cordon)
	case a.ZoneOutage != nil:
		return r.actZoneOutage(a.ZoneOutage)
	case a.SpotReclaim != nil:
		return r.actSpotReclaim(a.SpotReclaim)
	case a.NoCapacity != nil:
		return r.actNoCapacity(a.NoCapacity)
	case a.Registry != nil:
		return r.actRegistry(a.Registry)
	case a.Quota != nil:
		return r.actQuota(ctx, a.Quota)
	case a.LoadFactor != nil:
		return r.actLoadFactor(a.LoadFactor)
	case a.Note != "":
		return outcome{what: a.Note}, nil
	}
	return outcome{}, errors.New("this action is not built")
}

// kinds of workloads by short name, for workloads written as namespace/name. A Rollout of that name comes before them.
var workloadKinds = []schema.GroupVersionKind{
	appsv1.SchemeGroupVersion.WithKind("Deployment"), appsv1.SchemeGroupVersion.WithKind("StatefulSet"), appsv1.SchemeGroupVersion.WithKind("DaemonSet"),
}

// find is a workload's kind and current object.
func (r *run) find(ctx context.Context, w v1alpha1.Workload) (schema.GroupVersionKind, *unstructured.Unstructured, error) {
	kind, ns, name, ok := w.Split()
	if !ok {
		return schema.GroupVersionKind{}, nil, fmt.Errorf("%q is not a workload; write namespace/name or Kind/namespace/name", w)
	}
	kinds := workloadKinds
	if r.rollouts {
		kinds = slices.Concat([]schema.GroupVersionKind{rollouts.GroupVersion.WithKind(rolloutKind)}, workloadKinds)
	}
	if kind != "" {
		gvk, err := r.applier.kind(kind)
		if err != nil {
			return gvk, nil, err
		}
		kinds = []schema.GroupVersionKind{gvk}
	}
	for _, gvk := range kinds {
		res, err := r.applier.resource(gvk, ns)
		if err != nil {
			return gvk, nil, err
		}
		u, err := res.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		return gvk, u, err
	}
	return schema.GroupVersionKind{}, nil, fmt.Errorf("no workload %s exists now", w)
}

func object(gvk schema.GroupVersionKind, u *unstructured.Unstructured) string {
	return gvk.Kind + "/" + u.GetNamespace() + "/" + u.GetName()
}

func (r *run) patchWorkload(ctx context.Context, w v1alpha1.Workload, t types.PatchType, patch any, what string) (outcome, error) {
	gvk, u, err := r.find(ctx, w)
	if err != nil {
		return outcome{}, err
	}
	return r.patchFound(ctx, gvk, u, t, patch, what)
}

func (r *run) patchFound(ctx context.Context, gvk schema.GroupVersionKind, u *unstructured.Unstructured, t types.PatchType, patch any, what string) (outcome, error) {
	if err := r.applier.patch(ctx, gvk, u.GetNamespace(), u.GetName(), t, asJSON(patch)); err != nil {
		return outcome{}, err
	}
	return outcome{what: what + " " + short(object(gvk, u)), targets: []string{object(gvk, u)}}, nil
}

func (r *run) actScale(ctx context.Context, a *v1alpha1.ScaleAction) (outcome, error) {
	_, u, err := r.find(ctx, a.Workload)
	if err != nil {
		return outcome{}, err
	}
	was, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
	scale := func(n int64) map[string]any { return map[string]any{"spec": map[string]any{"replicas": n}} }
	o, err := r.patchWorkload(ctx, a.Workload, types.MergePatchType, scale(int64(a.Replicas)), fmt.Sprintf("scale to %d:", a.Replicas))
	o.undo = func(ctx context.Context) error {
		_, err := r.patchWorkload(ctx, a.Workload, types.MergePatchType, scale(was), "")
		return err
	}
	return o, err
}

func (r *run) actSetImage(ctx context.Context, a *v1alpha1.SetImageAction) (outcome, error) {
	gvk, u, rollout, err := r.findTemplate(ctx, a.Workload)
	if err != nil {
		return outcome{}, err
	}
	c, err := chooseContainer(u, a)
	if err != nil {
		return outcome{}, err
	}
	kind, image := types.StrategicMergePatchType, c.merge
	if gvk.Group == rollouts.GroupVersion.Group {
		kind, image = types.JSONPatchType, c.replace // kinds of definitions know no strategic merge
	}
	o, err := r.patchFound(ctx, gvk, u, kind, image(a.Image), "set image "+a.Image+" of")
	if rollout != "" && err == nil {
		o.targets = append(o.targets, rollout)
	}
	o.undo = func(ctx context.Context) error {
		_, err := r.patchFound(ctx, gvk, u, kind, image(c.image), "")
		return err
	}
	return o, err
}

// container is one of a pod template's.
type container struct {
	index       int
	name, image string
}

func (c container) merge(image string) any {
	return map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": c.name, "image": image}}}}}}
}

func (c container) replace(image string) any {
	return []map[string]any{{"op": "replace", "path": fmt.Sprintf("/spec/template/spec/containers/%d/image", c.index), "value": image}}
}

// chooseContainer is the container an image is meant for: the named one, the only one, or the one whose image has the same
// repository.
func chooseContainer(u *unstructured.Unstructured, a *v1alpha1.SetImageAction) (container, error) {
	list, _, err := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	if err != nil {
		return container{}, err
	}
	var names []string
	for i, c := range list {
		m, _ := c.(map[string]any)
		n, _ := m["name"].(string)
		image, _ := m["image"].(string)
		names = append(names, n)
		if n == a.Container || a.Container == "" && (len(list) == 1 || repository(image) == repository(a.Image)) {
			return container{i, n, image}, nil
		}
	}
	return container{}, fmt.Errorf("which container of %s? write container: one of %s", a.Workload, strings.Join(names, ", "))
}

func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		image = image[:i]
	}
	return image
}

func (r *run) actRestart(ctx context.Context, w v1alpha1.Workload) (outcome, error) {
	gvk, u, err := r.find(ctx, w)
	if err != nil {
		return outcome{}, err
	}
	if gvk.Kind == rolloutKind {
		return r.patchFound(ctx, gvk, u, types.MergePatchType, map[string]any{"spec": map[string]any{"restartAt": time.Now().UTC().Format(time.RFC3339)}}, "restart")
	}
	at := map[string]any{"kubectl.kubernetes.io/restartedAt": time.Now().UTC().Format(time.RFC3339)}
	return r.patchWorkload(ctx, w, types.MergePatchType, map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": at}}}}, "restart")
}

func (r *run) actPatch(ctx context.Context, p *v1alpha1.ObjectPatch) (outcome, error) {
	gvk, err := r.applier.kind(p.Object.Kind)
	if err != nil {
		return outcome{}, err
	}
	t := types.MergePatchType
	switch {
	case p.Type == v1alpha1.PatchJSON || p.Type == "" && strings.HasPrefix(strings.TrimSpace(string(p.Patch)), "["):
		t = types.JSONPatchType
	case p.Type == v1alpha1.PatchStrategic || p.Type == "" && !strings.Contains(gvk.Group, "."):
		t = types.StrategicMergePatchType
	}
	res, err := r.applier.resource(gvk, p.Object.Namespace)
	if err != nil {
		return outcome{}, err
	}
	was, err := res.Get(ctx, p.Object.Name, metav1.GetOptions{})
	if err != nil {
		return outcome{}, err
	}
	if err := r.applier.patch(ctx, gvk, p.Object.Namespace, p.Object.Name, t, p.Patch); err != nil {
		return outcome{}, err
	}
	return outcome{what: "patch " + p.Object.String(), targets: []string{gvk.Kind + "/" + path(was.GetNamespace(), was.GetName())}, undo: r.putBack(was)}, nil
}

// putBack restores an object's content as it was, whatever happened to it since.
func (r *run) putBack(was *unstructured.Unstructured) undo {
	return func(ctx context.Context) error {
		u := was.DeepCopy()
		for _, f := range []string{"resourceVersion", "uid", "creationTimestamp", "generation", "managedFields", "selfLink"} {
			unstructured.RemoveNestedField(u.Object, "metadata", f)
		}
		delete(u.Object, "status")
		res, err := r.applier.resource(u.GroupVersionKind(), u.GetNamespace())
		if err != nil {
			return err
		}
		now, err := res.Get(ctx, u.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = res.Create(ctx, u, metav1.CreateOptions{FieldManager: managerSteps})
			return err
		}
		if err != nil {
			return err
		}
		u.SetResourceVersion(now.GetResourceVersion())
		_, err = res.Update(ctx, u, metav1.UpdateOptions{FieldManager: managerSteps})
		return err
	}
}

func (r *run) actApply(ctx context.Context, list v1alpha1.Apply) (outcome, error) {
	var o outcome
	var undos []undo
	for _, item := range list {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(item.Object); err != nil {
			return o, fmt.Errorf("%s:%d: %w", item.File, item.Line, err)
		}
		res, err := r.applier.resource(u.GroupVersionKind(), u.GetNamespace())
		if err != nil {
			return o, describe(Object{File: item.File, Line: item.Line}, u, err)
		}
		was, err := res.Get(ctx, u.GetName(), metav1.GetOptions{})
		if err := r.applier.apply(ctx, u, managerSteps); err != nil {
			return o, describe(Object{File: item.File, Line: item.Line}, u, err)
		}
		if err == nil {
			undos = append(undos, r.putBack(was))
		} else {
			undos = append(undos, func(ctx context.Context) error {
				return ignoreMissing(res.Delete(ctx, u.GetName(), metav1.DeleteOptions{}))
			})
		}
		o.targets = append(o.targets, u.GetKind()+"/"+path(u.GetNamespace(), u.GetName()))
	}
	o.what = "apply " + strings.Join(o.targets, ", ")
	o.undo = func(ctx context.Context) error {
		var errs []error
		for i := len(undos) - 1; i >= 0; i-- {
			errs = append(errs, undos[i](ctx))
		}
		return errors.Join(errs...)
	}
	return o, nil
}

func ignoreMissing(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (r *run) actDelete(ctx context.Context, refs v1alpha1.ObjectRefs) (outcome, error) {
	var o outcome
	var undos []undo
	for _, ref := range refs {
		gvk, err := r.applier.kind(ref.Kind)
		if err != nil {
			return o, err
		}
		res, err := r.applier.resource(gvk, ref.Namespace)
		if err != nil {
			return o, err
		}
		was, err := res.Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			return o, err
		}
		policy := metav1.DeletePropagationBackground
		if err := res.Delete(ctx, ref.Name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
			return o, err
		}
		undos = append(undos, r.putBack(was))
		o.targets = append(o.targets, gvk.Kind+"/"+path(ref.Namespace, ref.Name))
	}
	o.what = "delete " + strings.Join(o.targets, ", ")
	o.undo = func(ctx context.Context) error {
		var errs []error
		for _, u := range undos {
			errs = append(errs, u(ctx))
		}
		return errors.Join(errs...)
	}
	return o, nil
}

// actUndo puts back the template of an earlier revision of a Deployment or Rollout, as their kubectl commands do.
func (r *run) actUndo(ctx context.Context, a *v1alpha1.UndoAction) (outcome, error) {
	gvk, u, err := r.find(ctx, a.Workload)
	if err != nil {
		return outcome{}, err
	}
	if gvk.Kind != "Deployment" && gvk.Kind != rolloutKind {
		return outcome{}, fmt.Errorf("undo of a %s is not built; Deployments and Rollouts can be undone", gvk.Kind)
	}
	sets, err := r.client.AppsV1().ReplicaSets(u.GetNamespace()).List(ctx, metav1.ListOptions{})
	if err != nil {
		return outcome{}, err
	}
	var target *appsv1.ReplicaSet
	current := revisionNumber(u)
	for i := range sets.Items {
		rs := &sets.Items[i]
		if !metav1.IsControlledBy(rs, u) {
			continue
		}
		n := revisionNumber(rs)
		if a.ToRevision > 0 && n == a.ToRevision || a.ToRevision == 0 && n < current && (target == nil || n > revisionNumber(target)) {
			target = rs
		}
	}
	if target == nil {
		return outcome{}, fmt.Errorf("%s has no earlier revision to go back to", a.Workload)
	}
	template := target.Spec.Template.DeepCopy()
	delete(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(template.Labels, argo.DefaultRolloutUniqueLabelKey)
	owner, of, rollout, err := r.findTemplate(ctx, a.Workload)
	if err != nil {
		return outcome{}, err
	}
	patch := []map[string]any{{"op": "replace", "path": "/spec/template", "value": template}}
	o, err := r.patchFound(ctx, owner, of, types.JSONPatchType, patch, "undo")
	if rollout != "" && err == nil {
		o.targets = append(o.targets, rollout)
	}
	return o, err
}

func revisionNumber(o metav1.Object) int64 {
	var n int64
	text := o.GetAnnotations()["rollout.argoproj.io/revision"]
	if text == "" {
		text = o.GetAnnotations()["deployment.kubernetes.io/revision"]
	}
	_, _ = fmt.Sscan(text, &n) // 0 when there is none
	return n
}

func (r *run) actQuota(ctx context.Context, a *v1alpha1.QuotaAction) (outcome, error) {
	name := a.Name
	if name == "" {
		name = "rehearse"
	}
	hard := map[string]any{}
	for k, q := range a.Hard {
		hard[k] = q.String()
	}
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ResourceQuota",
		"metadata": map[string]any{"name": name, "namespace": a.Namespace}, "spec": map[string]any{"hard": hard}}}
	b, err := u.MarshalJSON()
	if err != nil {
		return outcome{}, err
	}
	return r.actApply(ctx, v1alpha1.Apply{{Object: json.RawMessage(b)}})
}

func (r *run) actLoadFactor(a *v1alpha1.LoadFactorAction) (outcome, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var concerned []*loadState
	for i := range r.demand.loads {
		if l := &r.demand.loads[i]; a.Load == "" || l.spec.Name == a.Load {
			concerned = append(concerned, l)
		}
	}
	if len(concerned) == 0 {
		return outcome{}, fmt.Errorf("no load is called %q", a.Load)
	}
	factor := &a.Factor // its address tells it from equal ones of other steps
	for _, l := range concerned {
		l.factors = append(l.factors, factor)
	}
	r.demand.stale = true
	r.poke()
	return outcome{what: fmt.Sprintf("load × %g", a.Factor), data: map[string]string{"load": a.Load}, undo: func(context.Context) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, l := range concerned {
			if i := slices.Index(l.factors, factor); i >= 0 {
				l.factors = slices.Delete(l.factors, i, i+1)
			}
		}
		r.demand.stale = true
		r.poke()
		return nil
	}}, nil
}

func (r *run) actSet(s *v1alpha1.Service) (outcome, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.demand.advance(time.Now())
	handle, concerned, err := r.topology.Set(*s)
	if err != nil {
		return outcome{}, err
	}
	o := outcome{what: "model of " + s.Match.String()}
	for _, i := range concerned {
		o.targets = append(o.targets, "Service/"+r.demand.services[i].Name)
	}
	o.undo = func(context.Context) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.demand.advance(time.Now())
		return r.demand.remodel(r.topology.Unset(handle))
	}
	return o, r.demand.remodel(concerned)
}
