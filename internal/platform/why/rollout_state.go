package why

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
	"github.com/fairway-dev/fairway/internal/ship/validate"
	podtemplate "github.com/fairway-dev/fairway/internal/ship/validate/template"
)

// snapshot reads what a controller of the Rollout would decide on. What plugins and metric providers answered is not in the
// API server beyond the status, and is left out.
func snapshot(ctx context.Context, c client.Reader, ro *rollouts.Rollout, now time.Time) (rollout.Snapshot, error) {
	s := rollout.Snapshot{Rollout: ro}
	if err := resolve(ctx, c, &s); err != nil {
		return s, err
	}
	ro = s.Rollout
	s.Hash = rollout.Hash(&ro.Spec.Template, ro.Status.CollisionCount)
	if canary := ro.Spec.Strategy.Canary; canary != nil {
		s.StepsHash = rollout.StepsHash(canary.Steps)
	}
	if err := owned(ctx, c, &s, now); err != nil {
		return s, err
	}
	s.New = rollout.FindNew(ro, s.Hash, s.ReplicaSets)
	found := validate.Found{WorkloadMissing: ro.Spec.WorkloadRef != nil && s.Workload == nil}
	if err := around(ctx, c, &s, &found); err != nil {
		return s, err
	}
	problems := append(validate.Rollout(ro), podtemplate.Rollout(ro)...)
	if len(problems) == 0 {
		problems = validate.References(ro, found)
	}
	for _, p := range problems {
		s.Problems = append(s.Problems, rollout.Problem(p))
	}
	return s, nil
}

// resolve takes the template of the workload that workloadRef names.
func resolve(ctx context.Context, c client.Reader, s *rollout.Snapshot) error {
	ref := s.Rollout.Spec.WorkloadRef
	if ref == nil {
		return nil
	}
	var obj client.Object
	var template *corev1.PodTemplateSpec
	var selector **metav1.LabelSelector
	w := &rollout.Workload{}
	switch ref.Kind {
	case "Deployment":
		d := &appsv1.Deployment{}
		obj, template, selector = d, &d.Spec.Template, &d.Spec.Selector
	case "ReplicaSet":
		rs := &appsv1.ReplicaSet{}
		obj, template, selector = rs, &rs.Spec.Template, &rs.Spec.Selector
	case "PodTemplate":
		t := &corev1.PodTemplate{}
		obj, template = t, &t.Template
	default:
		return nil // the validators refuse it
	}
	err := c.Get(ctx, client.ObjectKey{Namespace: s.Rollout.Namespace, Name: ref.Name}, obj)
	if apierrors.IsNotFound(err) {
		return nil // the validators say so
	}
	if err != nil {
		return fmt.Errorf("reading %s %s: %w", ref.Kind, ref.Name, err)
	}
	w.Object, w.Generation = obj, obj.GetGeneration()
	switch o := obj.(type) {
	case *appsv1.Deployment:
		w.Replicas = o.Spec.Replicas
	case *appsv1.ReplicaSet:
		w.Replicas = o.Spec.Replicas
	}
	ro := s.Rollout.DeepCopy()
	if ro.Spec.EmptyTemplate() {
		ro.Spec.SetResolvedTemplate(*template)
		if ro.Spec.Selector == nil && selector != nil {
			ro.Spec.SetResolvedSelector(*selector)
		}
		s.Rollout, s.Workload = ro, w
	}
	return nil
}

// owned reads ReplicaSets, runs and experiments that the Rollout controls, in the order that Decide wants.
func owned(ctx context.Context, c client.Reader, s *rollout.Snapshot, now time.Time) error {
	in := client.InNamespace(s.Rollout.Namespace)
	var sets appsv1.ReplicaSetList
	var runs argo.AnalysisRunList
	var experiments argo.ExperimentList
	for _, list := range []client.ObjectList{&sets, &runs, &experiments} {
		if err := c.List(ctx, list, in); err != nil {
			return fmt.Errorf("reading what belongs to the Rollout: %w", err)
		}
	}
	s.ReplicaSets, s.Runs, s.Experiments = mine(s.Rollout.UID, sets.Items), mine(s.Rollout.UID, runs.Items), mine(s.Rollout.UID, experiments.Items)
	if !rollout.NeedsPods(s.Rollout, now) {
		return nil
	}
	var pods corev1.PodList
	if err := c.List(ctx, &pods, in, client.HasLabels{rollout.HashLabel}); err != nil {
		return fmt.Errorf("reading the pods of the Rollout: %w", err)
	}
	s.Pods = map[types.UID][]*corev1.Pod{}
	for _, rs := range s.ReplicaSets {
		s.Pods[rs.UID] = mine(rs.UID, pods.Items)
	}
	return nil
}

// mine are the objects that an owner controls, oldest first.
func mine[T any, P interface {
	*T
	client.Object
}](owner types.UID, items []T) []P {
	var out []P
	for i := range items {
		if o := P(&items[i]); metav1.GetControllerOfNoCopy(o) != nil && metav1.GetControllerOfNoCopy(o).UID == owner {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b P) int {
		return cmp.Or(a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time), cmp.Compare(revisionOf(a), revisionOf(b)), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}

func revisionOf(o client.Object) (n int64) {
	_, _ = fmt.Sscan(o.GetAnnotations()[rollout.RevisionAnnotation], &n)
	return n
}

// around reads what the Rollout refers to: Services, templates and the objects of routers.
func around(ctx context.Context, c client.Reader, s *rollout.Snapshot, found *validate.Found) error {
	in := client.InNamespace(s.Rollout.Namespace)
	var services corev1.ServiceList
	var templates argo.AnalysisTemplateList
	var cluster argo.ClusterAnalysisTemplateList
	if err := errors.Join(c.List(ctx, &services, in), c.List(ctx, &templates, in)); err != nil {
		return fmt.Errorf("reading what the Rollout refers to: %w", err)
	}
	switch err := c.List(ctx, &cluster); {
	case apierrors.IsForbidden(err): // who asks may have no rights outside the namespace
		found.Offline = true
	case err != nil:
		return fmt.Errorf("reading ClusterAnalysisTemplates: %w", err)
	}
	s.Services, s.Templates, s.ClusterTemplates = byName(services.Items), byName(templates.Items), byName(cluster.Items)
	found.Services, found.Templates = s.Services, analysis.Templates{Namespaced: s.Templates, Cluster: s.ClusterTemplates}
	if canary := s.Rollout.Spec.Strategy.Canary; canary == nil || canary.TrafficRouting == nil {
		return nil
	}
	return routers(ctx, c, s, found)
}

func byName[T any, P interface {
	*T
	client.Object
}](items []T) map[string]P {
	out := map[string]P{}
	for i := range items {
		out[P(&items[i]).GetName()] = P(&items[i])
	}
	return out
}

// routers and the objects they ask for. A kind that the cluster does not have is a problem of the Rollout.
func routers(ctx context.Context, c client.Reader, s *rollout.Snapshot, found *validate.Found) error {
	const field = "spec.strategy.canary.trafficRouting"
	var err error
	if s.Routers, err = traffic.For(s.Rollout.Namespace, s.Rollout.Spec.Strategy.Canary.TrafficRouting); err != nil {
		s.Problems = append(s.Problems, rollout.Problem{Field: field, Message: err.Error()})
		return nil
	}
	s.Objects = traffic.Objects{}
	found.Objects = s.Objects
	base := rollout.Base(s.Rollout)
	for _, r := range s.Routers {
		for _, ref := range r.Refs(base) {
			err := routed(ctx, c, ref, s.Objects)
			if meta.IsNoMatchError(err) {
				s.Problems = append(s.Problems, rollout.Problem{Field: field, Message: fmt.Sprintf("%s: this cluster has no kind %s", r.Kind(), ref.Kind)})
			} else if err != nil {
				return fmt.Errorf("reading what %s routes by: %w", r.Kind(), err)
			}
		}
	}
	return nil
}

func routed(ctx context.Context, c client.Reader, ref traffic.Ref, into traffic.Objects) error {
	if ref.Name != "" {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(ref.GroupVersionKind)
		err := c.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, u)
		if err == nil {
			ref.Selector = ""
			into[ref] = u
		}
		return client.IgnoreNotFound(err)
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: ref.Group, Version: ref.Version, Kind: ref.Kind + "List"})
	selector, err := labels.Parse(ref.Selector)
	if err != nil {
		return fmt.Errorf("the label selector %q: %w", ref.Selector, err)
	}
	if err := c.List(ctx, list, &client.ListOptions{Namespace: ref.Namespace, LabelSelector: selector}); err != nil {
		return err
	}
	for i := range list.Items {
		into[traffic.Ref{GroupVersionKind: ref.GroupVersionKind, Namespace: ref.Namespace, Name: list.Items[i].GetName()}] = &list.Items[i]
	}
	return nil
}
