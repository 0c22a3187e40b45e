package rollout

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// workload resolves workloadRef: the template, and the selector where the Rollout has none, are taken over in memory only.
func (l *look) workload() error {
	ref := l.s.Rollout.Spec.WorkloadRef
	if ref == nil {
		return nil
	}
	kind := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	if kind != deploymentKind && kind != replicaSetKind && kind != podTemplateKind {
		return nil // the validators refuse it
	}
	if _, err := l.stores.need(l.ctx, kind); err != nil {
		return fmt.Errorf("spec.workloadRef: %w", err)
	}
	ro := *l.s.Rollout
	w := &Workload{Object: l.get(kind, ro.Namespace, ref.Name)}
	var template *corev1.PodTemplateSpec
	var selector *metav1.LabelSelector
	switch o := w.Object.(type) {
	case *appsv1.Deployment:
		template, selector, w.Replicas = &o.Spec.Template, o.Spec.Selector, o.Spec.Replicas
	case *appsv1.ReplicaSet:
		template, selector, w.Replicas = &o.Spec.Template, o.Spec.Selector, o.Spec.Replicas
	case *corev1.PodTemplate:
		template = &o.Template
	default:
		return nil // it does not exist
	}
	if !ro.Spec.EmptyTemplate() {
		return nil // the validators say that there is a template beside the reference
	}
	w.Generation = w.Object.GetGeneration()
	ro.Spec.SetResolvedTemplate(*template)
	if ro.Spec.Selector == nil && selector != nil {
		ro.Spec.SetResolvedSelector(selector)
	}
	l.s.Rollout, l.s.Workload = &ro, w
	return nil
}

// templates that the spec refers to, and those they refer to.
func (l *look) templates() {
	for _, ref := range templateRefs(l.s.Rollout) {
		l.template(ref.TemplateName, ref.IsClusterScope())
	}
}

// template and those it refers to; each once, so that a circle ends.
func (l *look) template(name string, cluster bool) {
	var nested []argo.AnalysisTemplateRef
	if cluster {
		if l.s.ClusterTemplates[name] != nil {
			return
		}
		t, ok := l.get(clusterTemplateKind, "", name).(*argo.ClusterAnalysisTemplate)
		if !ok {
			return
		}
		if l.s.ClusterTemplates == nil {
			l.s.ClusterTemplates = map[string]*argo.ClusterAnalysisTemplate{}
		}
		l.s.ClusterTemplates[name], nested = t, t.Spec.Templates
	} else {
		if l.s.Templates[name] != nil {
			return
		}
		t, ok := l.get(templateKind, l.s.Rollout.Namespace, name).(*argo.AnalysisTemplate)
		if !ok {
			return
		}
		if l.s.Templates == nil {
			l.s.Templates = map[string]*argo.AnalysisTemplate{}
		}
		l.s.Templates[name], nested = t, t.Spec.Templates
	}
	for _, ref := range nested {
		l.template(ref.TemplateName, ref.IsClusterScope())
	}
}

// templateRefs are all references of a Rollout's spec to templates, in the order of the spec.
func templateRefs(ro *rollouts.Rollout) []argo.AnalysisTemplateRef {
	var refs []argo.AnalysisTemplateRef
	add := func(a *argo.RolloutAnalysis) {
		if a != nil {
			refs = append(refs, a.Templates...)
		}
	}
	if c := ro.Spec.Strategy.Canary; c != nil {
		if c.Analysis != nil {
			add(&c.Analysis.RolloutAnalysis)
		}
		for i := range c.Steps {
			add(c.Steps[i].Analysis)
			if e := c.Steps[i].Experiment; e != nil {
				for _, a := range e.Analyses {
					refs = append(refs, argo.AnalysisTemplateRef{TemplateName: a.TemplateName, ClusterScope: a.ClusterScope})
				}
			}
		}
	}
	if b := ro.Spec.Strategy.BlueGreen; b != nil {
		add(b.PrePromotionAnalysis)
		add(b.PostPromotionAnalysis)
	}
	return refs
}

// routers that the Rollout configures, and the objects they ask for. Kinds that nobody has needed yet are watched from now on;
// one that the API server does not serve, in any version, is a problem of the Rollout.
func (l *look) routers() error {
	if !routed(l.s.Rollout) {
		return nil
	}
	l.current = l.served.versions(l.observer.versions)
	for {
		again, err := l.routersAt()
		if err != nil || !again {
			return err
		}
	}
}

// routersAt the versions of now. It is to be done again where an object is served in another one.
func (l *look) routersAt() (again bool, err error) {
	ro := l.s.Rollout
	if l.s.Routers, err = l.current.For(ro.Namespace, ro.Spec.Strategy.Canary.TrafficRouting); err != nil {
		l.s.Problems = append(l.s.Problems, Problem{Field: "spec.strategy.canary.trafficRouting", Message: err.Error()})
		return false, nil
	}
	l.s.Objects = traffic.Objects{}
	base := Base(ro)
	for _, r := range l.s.Routers {
		for _, ref := range r.Refs(base) {
			err := l.routed(ref)
			if errors.Is(err, errNoKind) {
				if l.older(ref.GroupVersionKind) {
					return true, nil
				}
				l.s.Problems = append(l.s.Problems, Problem{Field: "spec.strategy.canary.trafficRouting", Message: r.Kind() + ": " + err.Error()})
			} else if err != nil {
				return false, err
			}
		}
	}
	l.s.Loaded = traffic.Loaded(l.dataPath, base, l.s.Routers, l.s.Objects)
	return false, nil
}

// routed takes up the objects of one Ref.
func (l *look) routed(ref traffic.Ref) error {
	ix, err := l.stores.need(l.ctx, ref.GroupVersionKind)
	if err != nil {
		return err
	}
	if ref.Name != "" {
		if u, ok := l.get(ref.GroupVersionKind, ref.Namespace, ref.Name).(*unstructured.Unstructured); ok {
			ref.Selector = ""
			l.s.Objects[ref] = u
		}
		return nil
	}
	l.ids = append(l.ids, id{ref.GroupVersionKind, ref.Namespace, anyName})
	selector, err := labels.Parse(ref.Selector)
	if err != nil {
		l.s.Problems = append(l.s.Problems, Problem{Field: "spec.strategy.canary.trafficRouting", Message: fmt.Sprintf("%q is no label selector: %v", ref.Selector, err)})
		return nil
	}
	got, err := ix.ByIndex(cache.NamespaceIndex, ref.Namespace)
	if err != nil {
		return err
	}
	for _, g := range got {
		obj, ok := g.(client.Object)
		if !ok {
			continue
		}
		if u, ok := l.written.over(idOf(obj), obj).(*unstructured.Unstructured); ok && selector.Matches(labels.Set(u.GetLabels())) {
			l.s.Objects[traffic.Ref{GroupVersionKind: ref.GroupVersionKind, Namespace: ref.Namespace, Name: u.GetName()}] = u
		}
	}
	return nil
}

// Argo Rollouts' own controller, as it shows in a cluster.
const (
	peerManager = "rollouts-controller" // its field manager
	peerFor     = 60 * time.Second      // after its last write of a status it may be there still
)

// peer is Argo Rollouts' controller, if it acts on an object: it holds its lease, or it has written the status lately.
func (o *observer) peer(obj client.Object, now time.Time) *Peer {
	var found *Peer
	note := func(what string, until time.Time) {
		if now.Before(until) && (found == nil || until.After(found.Until)) {
			found = &Peer{What: what, Until: until}
		}
	}
	if ix := o.stores.have(leaseKind); ix != nil {
		for _, g := range ix.List() {
			l, ok := g.(*coordinationv1.Lease)
			if !ok || l.Name != PeerLease(o.instanceID) || l.Spec.RenewTime == nil || l.Spec.LeaseDurationSeconds == nil || l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" {
				continue
			}
			note(fmt.Sprintf("the controller of Argo Rollouts holds Lease %s/%s", l.Namespace, l.Name),
				l.Spec.RenewTime.Add(time.Duration(*l.Spec.LeaseDurationSeconds)*time.Second))
		}
	}
	for _, f := range obj.GetManagedFields() {
		if f.Manager == peerManager && f.Time != nil {
			note("field manager "+peerManager+" has written the status", f.Time.Add(peerFor))
		}
	}
	return found
}

// KeepPeerWrites is a cache.TransformFunc for Rollouts: of managedFields it keeps who of Argo Rollouts' controller wrote the
// status when, and nothing else.
func KeepPeerWrites(obj any) (any, error) {
	ro, ok := obj.(*rollouts.Rollout)
	if !ok {
		return obj, nil
	}
	var keep []metav1.ManagedFieldsEntry
	for i := range ro.ManagedFields {
		f := &ro.ManagedFields[i]
		if f.Manager == peerManager && (f.Subresource == "status" || f.FieldsV1 != nil &&
			bytes.Contains(f.FieldsV1.GetRawBytes(), []byte(`"f:status"`))) {
			keep = append(keep, metav1.ManagedFieldsEntry{Manager: f.Manager, Operation: f.Operation, Subresource: f.Subresource, Time: f.Time})
		}
	}
	ro.ManagedFields = keep
	return ro, nil
}
