package admission

import (
	"strconv"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
)

// Paths of the webhooks on their server.
const (
	ValidatePath = "/argoproj.io/validate"
	MutatePath   = "/argoproj.io/mutate"
)

const (
	// configurationName of both webhook configurations; an instance id follows.
	configurationName = fairway.CLI + "-rollouts"
	// timeoutSeconds after which the API server goes on without an answer; judging takes a millisecond or two.
	timeoutSeconds = 2
)

// ManagedLabel marks the configurations that are Fairway's.
const ManagedLabel = "app.kubernetes.io/managed-by"

// ConfigurationName is what the webhook configurations of an instance are called.
func ConfigurationName(instanceID string) string {
	if instanceID == "" {
		return configurationName
	}
	return configurationName + "-" + instanceID
}

// Rules are the rights that a Registration of the instance needs across the cluster; owner is its Owner.
func Rules(instanceID, owner string) []rbacv1.PolicyRule {
	group, name := []string{admissionregistrationv1.GroupName}, []string{ConfigurationName(instanceID)}
	resources := []string{"validatingwebhookconfigurations", "mutatingwebhookconfigurations"}
	return []rbacv1.PolicyRule{
		{APIGroups: group, Resources: resources, Verbs: []string{"create"}},
		{APIGroups: group, Resources: resources, ResourceNames: name, Verbs: []string{"get", "update", "delete"}},
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"}, ResourceNames: []string{owner}, Verbs: []string{"get"}},
	}
}

// configurations are those of the webhooks, as they should be.
func (r *Registration) configurations() []client.Object {
	meta := metav1.ObjectMeta{Name: ConfigurationName(r.InstanceID)}
	ignore, equivalent, none := admissionregistrationv1.Ignore, admissionregistrationv1.Equivalent, admissionregistrationv1.SideEffectClassNone
	never, timeout := admissionregistrationv1.NeverReinvocationPolicy, int32(timeoutSeconds)
	return []client.Object{
		&admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: meta, Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "mutate.rollouts." + fairway.Group, ClientConfig: r.to(MutatePath), Rules: r.rules("rollouts"), AdmissionReviewVersions: []string{"v1"},
			FailurePolicy: &ignore, MatchPolicy: &equivalent, SideEffects: &none, TimeoutSeconds: &timeout, ReinvocationPolicy: &never,
			NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: r.selector(),
			MatchConditions: []admissionregistrationv1.MatchCondition{{Name: "the-shape-of-2019",
				Expression: "has(object.spec) && has(object.spec.strategy) && has(object.spec.strategy.steps)"}},
		}}},
		&admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: meta, Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "validate.rollouts." + fairway.Group, ClientConfig: r.to(ValidatePath), AdmissionReviewVersions: []string{"v1"},
			Rules:         r.rules("rollouts", "analysistemplates", "clusteranalysistemplates", "analysisruns", "experiments"),
			FailurePolicy: &ignore, MatchPolicy: &equivalent, SideEffects: &none, TimeoutSeconds: &timeout,
			NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: r.selector(),
			// A status is written through the object itself where a kind has no subresource for it: most writes are none of ours.
			MatchConditions: []admissionregistrationv1.MatchCondition{
				{Name: "written-by-others", Expression: "request.userInfo.username != " + strconv.Quote(r.Own)},
				{Name: "another-spec", Expression: "request.operation == 'CREATE' || !has(object.spec) || !has(oldObject.spec) || object.spec != oldObject.spec"},
			},
		}}},
	}
}

func (r *Registration) to(path string) admissionregistrationv1.WebhookClientConfig {
	port := r.Port
	return admissionregistrationv1.WebhookClientConfig{CABundle: r.CABundle(),
		Service: &admissionregistrationv1.ServiceReference{Namespace: r.Namespace, Name: r.Service, Path: &path, Port: &port}}
}

func (r *Registration) rules(resources ...string) []admissionregistrationv1.RuleWithOperations {
	all := admissionregistrationv1.AllScopes
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
		Rule: admissionregistrationv1.Rule{APIGroups: []string{rollouts.GroupVersion.Group}, APIVersions: []string{rollouts.GroupVersion.Version},
			Resources: resources, Scope: &all},
	}}
}

// selector of the objects of the instance.
func (r *Registration) selector() *metav1.LabelSelector {
	if r.InstanceID != "" {
		return &metav1.LabelSelector{MatchLabels: map[string]string{argo.LabelKeyControllerInstanceID: r.InstanceID}}
	}
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: argo.LabelKeyControllerInstanceID, Operator: metav1.LabelSelectorOpDoesNotExist}}}
}
