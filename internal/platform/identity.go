package platform

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	applyrbac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/client-go/kubernetes"
)

// userName is Fairway's user in the cluster.
func userName(namespace string) string {
	return "system:serviceaccount:" + namespace + ":" + ServiceAccount
}

// grant makes Fairway's namespace and ServiceAccount and gives it exactly the rights that the capabilities that are on
// declare, as the chart does on other clusters: a rule that is missing is missed here first.
func grant(ctx context.Context, c kubernetes.Interface, namespace string, on []Capability) error {
	cluster, roles := rules(on)
	opts := metav1.ApplyOptions{FieldManager: FieldManager, Force: true}
	if _, err := c.CoreV1().Namespaces().Apply(ctx, applycore.Namespace(namespace), opts); err != nil {
		return fmt.Errorf("making the namespace %s: %w", namespace, err)
	}
	if _, err := c.CoreV1().ServiceAccounts(namespace).Apply(ctx, applycore.ServiceAccount(ServiceAccount, namespace), opts); err != nil {
		return fmt.Errorf("making the ServiceAccount %s/%s: %w", namespace, ServiceAccount, err)
	}
	subject := applyrbac.Subject().WithKind(rbacv1.ServiceAccountKind).WithNamespace(namespace).WithName(ServiceAccount)
	role := applyrbac.ClusterRole(ServiceAccount).WithRules(applied(cluster)...)
	if _, err := c.RbacV1().ClusterRoles().Apply(ctx, role, opts); err != nil {
		return fmt.Errorf("granting Fairway its rights: %w", err)
	}
	binding := applyrbac.ClusterRoleBinding(ServiceAccount).WithSubjects(subject).
		WithRoleRef(applyrbac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(ServiceAccount))
	if _, err := c.RbacV1().ClusterRoleBindings().Apply(ctx, binding, opts); err != nil {
		return fmt.Errorf("granting Fairway its rights: %w", err)
	}
	if err := grantReaders(ctx, c, on); err != nil {
		return err
	}
	in := byNamespace(roles)
	for _, namespace := range slices.Sorted(maps.Keys(in)) {
		if err := grantIn(ctx, c, namespace, subject, in[namespace]); err != nil {
			return err
		}
	}
	return awaitGranted(ctx, c, namespace, cluster)
}

// aggregateTo is the label by which one of upstream's view, edit and admin roles takes up a role's rules.
const aggregateTo = "rbac.authorization.k8s.io/aggregate-to-"

// Labels of the roles by which users read and write what the capabilities serve.
var (
	aggregated = map[string]string{aggregateTo + "view": "true", aggregateTo + "edit": "true", aggregateTo + "admin": "true"}
	editing    = map[string]string{aggregateTo + "edit": "true", aggregateTo + "admin": "true"}
)

// grantReaders lets those who may view a namespace read what the capabilities serve about it, and those who may edit it
// write there.
func grantReaders(ctx context.Context, c kubernetes.Interface, on []Capability) error {
	grant := func(name string, labels map[string]string, rules []rbacv1.PolicyRule) error {
		if len(rules) == 0 {
			return nil
		}
		role := applyrbac.ClusterRole(name).WithLabels(labels).WithRules(applied(rules)...)
		if _, err := c.RbacV1().ClusterRoles().Apply(ctx, role, metav1.ApplyOptions{FieldManager: FieldManager, Force: true}); err != nil {
			return fmt.Errorf("letting users at what Fairway serves: making the ClusterRole %s: %w", name, err)
		}
		return nil
	}
	for _, capability := range on {
		err := errors.Join(grant(readerRole(&capability), aggregated, capability.Readers), grant(writerRole(&capability), editing, capability.Writers))
		if err != nil {
			return err
		}
	}
	return nil
}

func readerRole(c *Capability) string { return ServiceAccount + "-" + c.Name + "-reader" }

func writerRole(c *Capability) string { return ServiceAccount + "-" + c.Name + "-writer" }

func byNamespace(roles []RoleRule) map[string][]rbacv1.PolicyRule {
	out := map[string][]rbacv1.PolicyRule{}
	for _, r := range roles {
		out[r.Namespace] = append(out[r.Namespace], r.Rule)
	}
	return out
}

func grantIn(ctx context.Context, c kubernetes.Interface, namespace string, subject *applyrbac.SubjectApplyConfiguration, list []rbacv1.PolicyRule) error {
	opts := metav1.ApplyOptions{FieldManager: FieldManager, Force: true}
	if _, err := c.RbacV1().Roles(namespace).Apply(ctx, applyrbac.Role(ServiceAccount, namespace).WithRules(applied(list)...), opts); err != nil {
		return fmt.Errorf("granting Fairway its rights in %s: %w", namespace, err)
	}
	binding := applyrbac.RoleBinding(ServiceAccount, namespace).WithSubjects(subject).
		WithRoleRef(applyrbac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("Role").WithName(ServiceAccount))
	if _, err := c.RbacV1().RoleBindings(namespace).Apply(ctx, binding, opts); err != nil {
		return fmt.Errorf("granting Fairway its rights in %s: %w", namespace, err)
	}
	return nil
}

func applied(rules []rbacv1.PolicyRule) []*applyrbac.PolicyRuleApplyConfiguration {
	out := make([]*applyrbac.PolicyRuleApplyConfiguration, 0, len(rules))
	for _, r := range rules {
		out = append(out, applyrbac.PolicyRule().WithVerbs(r.Verbs...).WithAPIGroups(r.APIGroups...).WithResources(r.Resources...).
			WithResourceNames(r.ResourceNames...).WithNonResourceURLs(r.NonResourceURLs...))
	}
	return out
}

// The API server's authoriser learns of new rights by watching; a client that is refused first waits a second before it
// asks again.
const (
	grantedWithin = 10 * time.Second
	grantedEvery  = 2 * time.Millisecond
)

// awaitGranted waits until the last of the rules is in force.
func awaitGranted(ctx context.Context, c kubernetes.Interface, namespace string, rules []rbacv1.PolicyRule) error {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: userName(namespace),
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}}}
	for i := len(rules) - 1; i >= 0 && review.Spec.ResourceAttributes == nil; i-- {
		if r := rules[i]; len(r.Resources) > 0 && len(r.ResourceNames) == 0 {
			review.Spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Verb: r.Verbs[0], Group: r.APIGroups[0], Resource: r.Resources[0]}
		}
	}
	if review.Spec.ResourceAttributes == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, grantedWithin)
	defer cancel()
	t := time.NewTicker(grantedEvery)
	defer t.Stop()
	for {
		got, err := c.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err == nil && got.Status.Allowed {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for Fairway's rights to come into force: %w", context.Cause(ctx))
		case <-t.C:
		}
	}
}
