package experiment

import (
	"fmt"
	"maps"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

// Annotations of what an Experiment makes.
const (
	nameAnnotation     = argo.ExperimentNameAnnotationKey
	templateAnnotation = argo.ExperimentTemplateNameAnnotationKey
	deadlineAnnotation = argo.DefaultReplicaSetScaleDownDeadlineAnnotationKey
)

var experimentKind = rollouts.GroupVersion.WithKind("Experiment")

// template sees to the ReplicaSet and the Service of a template, and to its status.
func (p *pass) template(t *argo.TemplateSpec) {
	before := templateStatus(&p.was, t.Name)
	st := argo.TemplateStatus{Name: t.Name}
	if before != nil {
		st = *before.DeepCopy()
	}
	old := st
	want := p.replicas(t, &st)
	rs := p.s.ReplicaSets[t.Name]
	if rs == nil {
		p.createReplicaSet(t, &st, want)
	} else {
		p.service(t, &st, rs, want)
		p.scale(t, &st, rs, want)
	}
	p.count(&st, rs)
	if !st.Status.Completed() {
		p.progress(t, &st, want)
	}
	if old.Status != st.Status {
		text := fmt.Sprintf("Template '%s' transitioned from %s -> %s", t.Name, old.Status, st.Status)
		if st.Message != "" {
			text += ": " + st.Message
		}
		p.event(st.Status == argo.TemplateStatusFailed || st.Status == argo.TemplateStatusError, "Template"+string(st.Status), text, false)
	}
	if have := templateStatus(&p.st, t.Name); have != nil {
		*have = st
	} else {
		p.st.TemplateStatuses = append(p.st.TemplateStatuses, st)
	}
}

// replicas a template should have now.
func (p *pass) replicas(t *argo.TemplateSpec, st *argo.TemplateStatus) int32 {
	if p.ending || st.Status.Completed() {
		return 0
	}
	return ptr.Deref(t.Replicas, 1)
}

// count takes over the numbers of the ReplicaSet.
func (p *pass) count(st *argo.TemplateStatus, rs *appsv1.ReplicaSet) {
	old := *st
	st.Replicas, st.UpdatedReplicas, st.ReadyReplicas, st.AvailableReplicas = 0, 0, 0, 0
	if rs != nil {
		st.Replicas, st.UpdatedReplicas = rs.Status.Replicas, rs.Status.Replicas
		st.ReadyReplicas, st.AvailableReplicas = rs.Status.ReadyReplicas, rs.Status.AvailableReplicas
	}
	if old.Replicas != st.Replicas || old.ReadyReplicas != st.ReadyReplicas || old.AvailableReplicas != st.AvailableReplicas {
		st.LastTransitionTime = &metav1.Time{Time: p.now}
	}
}

// progress says how a template that has not ended stands.
func (p *pass) progress(t *argo.TemplateSpec, st *argo.TemplateStatus, want int32) {
	if why := p.s.Refused[t.Name]; why != "" {
		st.Status, st.Message = argo.TemplateStatusError, why
		return
	}
	since := p.now
	if st.LastTransitionTime != nil {
		since = st.LastTransitionTime.Time
	}
	late := !p.now.Before(since.Add(time.Duration(deadlineSeconds(p.ex)) * time.Second))
	switch {
	case st.Status == argo.TemplateStatusError:
	case st.AvailableReplicas == want && (p.ending || p.over()):
		st.Status = argo.TemplateStatusSuccessful
	case st.AvailableReplicas == want:
		st.Status = argo.TemplateStatusRunning
	case late:
		st.Status = argo.TemplateStatusFailed
		st.Message = fmt.Sprintf("Template '%s' exceeded its progressDeadlineSeconds (%d)", t.Name, deadlineSeconds(p.ex))
	case p.ending:
		st.Status = argo.TemplateStatusSuccessful
	default:
		st.Status = argo.TemplateStatusProgressing
	}
}

// createReplicaSet makes the ReplicaSet of a template in the size it should have. Where its name is taken by another's the
// next number is put behind it.
func (p *pass) createReplicaSet(t *argo.TemplateSpec, st *argo.TemplateStatus, want int32) {
	if want == 0 || p.s.Refused[t.Name] != "" {
		return
	}
	base := p.ex.Name + "-" + t.Name
	name, taken := base, int32(0)
	for p.s.Taken["ReplicaSet/"+name] {
		taken++
		name = fmt.Sprintf("%s-%d", base, taken)
	}
	if taken > 0 {
		st.CollisionCount = &taken
	}
	st.LastTransitionTime = &metav1.Time{Time: p.now}
	p.op(Op{Verb: Create, Template: t.Name, After: newReplicaSet(p.ex, t, name, want, st.CollisionCount), Events: []Event{
		{Reason: "ScalingReplicaSet", Message: fmt.Sprintf("Scaled up ReplicaSet %s from 0 to %d", name, want)}}})
}

// newReplicaSet of a template. Its pods bear a hash of their own: where the template came from a Rollout with the hash of
// the Rollout's revision, that one must select none of them.
func newReplicaSet(ex *argo.Experiment, t *argo.TemplateSpec, name string, replicas int32, collisions *int32) *appsv1.ReplicaSet {
	template := t.Template.DeepCopy()
	theirs := template.Labels[rollout.HashLabel]
	delete(template.Labels, rollout.HashLabel)
	hash := rollout.Hash(template, collisions)
	for n := int32(1); hash == theirs; n++ {
		hash = rollout.Hash(template, ptr.To(ptr.Deref(collisions, 0)+n))
	}
	metav1.SetMetaDataLabel(&template.ObjectMeta, rollout.HashLabel, hash)
	selector := t.Selector.DeepCopy()
	metav1.AddLabelToSelector(selector, rollout.HashLabel, hash)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ex.Namespace, Labels: maps.Clone(template.Labels),
			Annotations:     map[string]string{nameAnnotation: ex.Name, templateAnnotation: t.Name},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(ex, experimentKind)}},
		Spec: appsv1.ReplicaSetSpec{Replicas: &replicas, MinReadySeconds: t.MinReadySeconds, Selector: selector, Template: *template},
	}
	if id := ex.Labels[analysis.InstanceLabel]; id != "" {
		rs.Labels[analysis.InstanceLabel] = id
	}
	return rs
}

// scale brings a ReplicaSet to the size it should have, down only when the delay is over. One that is used again loses its
// deadline.
func (p *pass) scale(t *argo.TemplateSpec, st *argo.TemplateStatus, rs *appsv1.ReplicaSet, want int32) {
	have := ptr.Deref(rs.Spec.Replicas, 1)
	after := rs.DeepCopy()
	changed := false
	if want > 0 && rs.Annotations[deadlineAnnotation] != "" {
		delete(after.Annotations, deadlineAnnotation)
		changed = true
	}
	if want == 0 && have > 0 {
		if at, wait := p.goesAt(rs); wait {
			p.plan.wakeAt(at)
			if rs.Annotations[deadlineAnnotation] == "" {
				metav1.SetMetaDataAnnotation(&after.ObjectMeta, deadlineAnnotation, at.UTC().Format(time.RFC3339))
				p.op(Op{Verb: Patch, Template: t.Name, Before: rs, After: after})
			}
			return
		}
	}
	var events []Event
	if have != want {
		direction := "up"
		if want < have {
			direction = "down"
		}
		after.Spec.Replicas, changed = &want, true
		st.LastTransitionTime = &metav1.Time{Time: p.now}
		events = []Event{{Reason: "ScalingReplicaSet", Message: fmt.Sprintf("Scaled %s ReplicaSet %s from %d to %d", direction, rs.Name, have, want)}}
	}
	if changed {
		p.op(Op{Verb: Patch, Template: t.Name, Before: rs, After: after, Events: events})
	}
}

// goesAt is when a ReplicaSet may be scaled down; wait is false when it may be now.
func (p *pass) goesAt(rs *appsv1.ReplicaSet) (at time.Time, wait bool) {
	if text := rs.Annotations[deadlineAnnotation]; text != "" {
		at, err := time.Parse(time.RFC3339, text)
		return at, err == nil && p.now.Before(at)
	}
	seconds := ptr.Deref(p.ex.Spec.ScaleDownDelaySeconds, scaleDownDelaySeconds)
	if seconds <= 0 {
		return p.now, false
	}
	// The annotation has whole seconds; rounding up keeps the promise of the delay.
	return p.now.Add(time.Duration(seconds)*time.Second + time.Second - 1).Truncate(time.Second), true
}

// service sees to the Service of a template, which is there as long as its pods are.
func (p *pass) service(t *argo.TemplateSpec, st *argo.TemplateStatus, rs *appsv1.ReplicaSet, want int32) {
	svc := p.s.Services[t.Name]
	switch {
	case svc != nil && (t.Service == nil || want == 0 && rs.Status.AvailableReplicas == 0):
		p.op(Op{Verb: Delete, Before: svc})
		st.ServiceName, st.PodTemplateHash = "", ""
	case svc != nil:
		st.ServiceName, st.PodTemplateHash = svc.Name, rs.Labels[rollout.HashLabel]
	case t.Service != nil && want > 0 && p.s.Refused[t.Name] == "":
		ports := servicePorts(rs.Spec.Template.Spec.Containers)
		if len(ports) == 0 {
			return
		}
		name := t.Service.Name
		if name == "" {
			name = rs.Name
		}
		if p.s.Taken["Service/"+name] {
			st.Status = argo.TemplateStatusError
			st.Message = fmt.Sprintf("Failed to create Service %s for template '%s': service %s already exists and is not owned by experiment template %s", name, t.Name, name, t.Name)
			return
		}
		p.op(Op{Verb: Create, Template: t.Name, After: newService(p.ex, t, rs, name, ports)})
		st.ServiceName, st.PodTemplateHash = name, rs.Labels[rollout.HashLabel]
	}
}

func newService(ex *argo.Experiment, t *argo.TemplateSpec, rs *appsv1.ReplicaSet, name string, ports []corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ex.Namespace, Annotations: map[string]string{nameAnnotation: ex.Name, templateAnnotation: t.Name},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(ex, experimentKind)}},
		Spec: corev1.ServiceSpec{Selector: maps.Clone(rs.Spec.Template.Labels), Ports: ports},
	}
}

// servicePorts are the ports of all containers, each once. A Service with several wants a name for each.
func servicePorts(containers []corev1.Container) []corev1.ServicePort {
	var out []corev1.ServicePort
	type port struct {
		number   int32
		protocol corev1.Protocol
	}
	seen := map[port]bool{}
	for i := range containers {
		for _, c := range containers[i].Ports {
			key := port{c.ContainerPort, c.Protocol}
			if key.protocol == "" {
				key.protocol = corev1.ProtocolTCP
			}
			if seen[key] {
				continue
			}
			seen[key] = true
			out = append(out, corev1.ServicePort{Name: c.Name, Protocol: key.protocol, Port: c.ContainerPort, TargetPort: intstr.FromInt32(c.ContainerPort)})
		}
	}
	for i := range out {
		if len(out) > 1 && out[i].Name == "" {
			out[i].Name = fmt.Sprintf("%s-%d", strings.ToLower(string(out[i].Protocol)), out[i].Port)
		}
	}
	return out
}

func podLabels(t *argo.TemplateSpec) labels.Set { return t.Template.Labels }
