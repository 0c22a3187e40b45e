package elb

import (
	"context"
	"fmt"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// Verifier verifies with what the cluster and AWS say at that moment. Its methods take as long as AWS does: seconds. Whoever
// calls them does so apart from a reconcile, and again after 10 s while the verdict is false, as the peer does.
type Verifier struct {
	Client *Client
	// Reader reads Ingresses, Services, EndpointSlices and TargetGroupBindings.
	Reader client.Reader
	// Tag by which target groups are known; "" = ResourceTag. The peer's flag for it is --alb-tag-key-resource-id.
	Tag string
	// Bindings is the group and version of TargetGroupBindings; zero = that of BindingKind. The peer's flag for it is
	// --aws-target-group-binding-api-version.
	Bindings schema.GroupVersion
}

// Rules are the rights that a Verifier needs with its Reader.
func (v *Verifier) Rules() []rbacv1.PolicyRule {
	rule := func(group, verb, resource string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{verb}}
	}
	return []rbacv1.PolicyRule{
		rule(networkingv1.GroupName, "get", "ingresses"),
		rule(corev1.GroupName, "get", "services"),
		rule(discoveryv1.GroupName, "list", "endpointslices"),
		rule(v.bindingKind().Group, "list", "targetgroupbindings"),
	}
}

func (v *Verifier) bindingKind() schema.GroupVersionKind {
	if v.Bindings.Empty() {
		return BindingKind
	}
	return v.Bindings.WithKind(BindingKind.Kind)
}

// Weights is Weights of the Ingresses that an intent's Rollout names. was is status.albs so far.
func (v *Verifier) Weights(ctx context.Context, in traffic.Intent, was []argo.ALBStatus) Verdict {
	if in.Routing == nil || in.Routing.ALB == nil {
		return Verdict{}
	}
	names := in.Routing.ALB.Ingresses
	if len(names) == 0 {
		names = []string{in.Routing.ALB.Ingress}
	}
	ingresses := make([]*networkingv1.Ingress, len(names))
	for i, name := range names {
		ingresses[i] = &networkingv1.Ingress{}
		if err := v.Reader.Get(ctx, types.NamespacedName{Namespace: in.Namespace, Name: name}, ingresses[i]); err != nil {
			return Verdict{ALBs: was}.fail(in.CanaryService, err)
		}
	}
	tag := v.Tag
	if tag == "" {
		tag = ResourceTag
	}
	return Weights(ctx, v.Client, tag, in, ingresses, was)
}

// Targets is Targets of a Service. In a cluster without TargetGroupBindings there is nothing to verify.
func (v *Verifier) Targets(ctx context.Context, namespace, service string) Verdict {
	fail := func(err error) Verdict {
		no := false
		return Verdict{Verified: &no, Events: []Event{{true, ReasonError,
			fmt.Sprintf("Failed to verify Service %s (TargetGroup unknown): %v", service, err)}}}
	}
	bindings := &unstructured.UnstructuredList{}
	kind := v.bindingKind()
	kind.Kind += "List"
	bindings.SetGroupVersionKind(kind)
	err := v.Reader.List(ctx, bindings, client.InNamespace(namespace))
	if meta.IsNoMatchError(err) || err == nil && len(bindings.Items) == 0 {
		return Verdict{}
	}
	if err != nil {
		return fail(err)
	}
	svc := &corev1.Service{}
	if err := v.Reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: service}, svc); err != nil {
		return fail(err)
	}
	var list discoveryv1.EndpointSliceList
	if err := v.Reader.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service}); err != nil {
		return fail(err)
	}
	slices := make([]*discoveryv1.EndpointSlice, len(list.Items))
	for i := range list.Items {
		slices[i] = &list.Items[i]
	}
	bound := make([]*unstructured.Unstructured, len(bindings.Items))
	for i := range bindings.Items {
		bound[i] = &bindings.Items[i]
	}
	return Targets(ctx, v.Client, svc, slices, bound)
}
