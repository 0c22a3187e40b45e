package controlplane

import (
	"context"
	"fmt"
	"slices"
	"strings"
	_ "unsafe" // for linkname

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/client-go/kubernetes"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

// bootstrapHooks are the API server's hooks that create objects every cluster has: bootstrap does their work. Each waits a
// second before it begins, and the controller manager waits for them by looking once a second.
var bootstrapHooks = []string{rbacrest.PostStartHookName, schedulingrest.PostStartHookName}

//go:linkname ensureRBACPolicy k8s.io/kubernetes/pkg/registry/rbac/rest.ensureRBACPolicy
func ensureRBACPolicy(p *rbacrest.PolicyData, c kubernetes.Interface) (done bool, err error)

// begin creates the roles and priority classes of upstream's own that belong to no namespace: most of what a new cluster has,
// while the API server still builds its documents. What came of it is sent on bootstrapping.
func (p *ControlPlane) begin(ctx context.Context) error {
	c, err := kubernetes.NewForConfig(p.Config())
	if err != nil {
		return err
	}
	policy := &rbacrest.PolicyData{
		ClusterRoles:               append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...),
		ClusterRoleBindings:        append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...),
		ClusterRolesToAggregate:    bootstrappolicy.ClusterRolesToAggregate(),
		ClusterRoleBindingsToSplit: bootstrappolicy.ClusterRoleBindingsToSplit(),
	}
	p.bootstrapping = make(chan error, 1)
	p.parts.Go(func() {
		err := p.ensure(ctx, c, policy)
		for _, pc := range schedulingv1.SystemPriorityClasses() {
			if err != nil {
				break
			}
			if _, err = c.SchedulingV1().PriorityClasses().Create(ctx, pc, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
				err = nil
			} else if err != nil {
				err = fmt.Errorf("creating the priority class %s: %w", pc.Name, err)
			}
		}
		p.bootstrapping <- err
	})
	return nil
}

// bootstrap waits for what begin creates and adds what belongs to namespaces, so that no controller starts by being refused
// and a start need not wait for the hooks that would create all that a second later.
func (p *ControlPlane) bootstrap(ctx context.Context) error {
	c, err := kubernetes.NewForConfig(p.Config())
	if err != nil {
		return err
	}
	if err := p.poll(ctx, "the API server's system namespaces", func() (bool, error) {
		_, err := c.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
		return err == nil, nil
	}); err != nil {
		return err
	}
	if err := p.ensure(ctx, c, &rbacrest.PolicyData{Roles: bootstrappolicy.NamespaceRoles(), RoleBindings: bootstrappolicy.NamespaceRoleBindings()}); err != nil {
		return err
	}
	select {
	case err := <-p.bootstrapping:
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the API server to take its own roles: %w", context.Cause(ctx))
	}
}

func (p *ControlPlane) ensure(ctx context.Context, c kubernetes.Interface, policy *rbacrest.PolicyData) error {
	return p.poll(ctx, "the API server to take its own roles", func() (bool, error) { return ensureRBACPolicy(policy, c) })
}

// awaitBootstrapped waits until the API server answers, its own roles exist and its authorizer has read them: a controller
// refused once would try again only after its back-off, and upstream's namespace controller would exit.
func (p *ControlPlane) awaitBootstrapped(ctx context.Context) error {
	if p.opts.Profile == Full {
		if err := p.bootstrap(ctx); err != nil {
			return err
		}
	} else if err := p.awaitPath(ctx, "/readyz"); err != nil { // waiting costs a rehearsal nothing
		return err
	}
	return p.awaitRights(ctx)
}

// awaitRights waits until the last of the controllers' roles is in force. The authorizer reads them in the order in which
// they were created.
func (p *ControlPlane) awaitRights(ctx context.Context) error {
	c, err := kubernetes.NewForConfig(p.Config())
	if err != nil {
		return err
	}
	roles, bindings := bootstrappolicy.ControllerRoles(), bootstrappolicy.ControllerRoleBindings()
	binding := bindings[len(bindings)-1]
	role := roles[slices.IndexFunc(roles, func(r rbacv1.ClusterRole) bool { return r.Name == binding.RoleRef.Name })]
	rule := role.Rules[slices.IndexFunc(role.Rules, func(r rbacv1.PolicyRule) bool { return len(r.Resources) > 0 && len(r.ResourceNames) == 0 })]
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:               serviceaccount.MakeUsername(binding.Subjects[0].Namespace, binding.Subjects[0].Name),
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: rule.Verbs[0], Group: rule.APIGroups[0], Resource: rule.Resources[0]},
	}}
	return p.poll(ctx, "the API server to act on its own roles", func() (bool, error) {
		r, err := c.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		return err == nil && r.Status.Allowed, err
	})
}

func (p *ControlPlane) awaitPath(ctx context.Context, path string) error {
	c, err := kubernetes.NewForConfig(p.Config())
	if err != nil {
		return err
	}
	var last string
	err = p.poll(ctx, "the API server to be ready", func() (bool, error) {
		b, err := c.RESTClient().Get().RequestURI(path).DoRaw(ctx)
		last = string(b)
		return err == nil && last == "ok", nil
	})
	if err == nil {
		return nil
	}
	for line := range strings.Lines(last) {
		if strings.HasPrefix(line, "[-]") {
			return fmt.Errorf("%w (%s)", err, strings.TrimSpace(line))
		}
	}
	return err
}
