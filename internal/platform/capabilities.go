package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Capability is one thing Fairway does, as the platform sees it. A new one is a new value in the list below.
type Capability struct {
	Name    string // in --capabilities, the log and metrics
	Purpose string // one line for people
	Default bool   // on unless switched off
	// Virtual capabilities need the embedded cluster's virtual nodes and are left out elsewhere.
	Virtual bool
	// Namespaced capabilities make sense in one namespace alone.
	Namespaced bool

	CRDs        []string                    // resource names (plural.group) of config/crd that it needs
	AddToScheme func(*runtime.Scheme) error // nil = nothing beyond Kubernetes' own kinds
	Rules       []rbacv1.PolicyRule         // cluster-wide rights; switched off, they are gone
	Roles       []RoleRule                  // rights in one namespace only
	Readers     []rbacv1.PolicyRule         // on what it serves, for everybody who may view, edit or administer
	Writers     []rbacv1.PolicyRule         // the same, for everybody who may edit or administer
	// Cached says what the manager's cache keeps of kinds that it treats in a way of their own; nil = nothing beyond the usual.
	Cached func() map[client.Object]ctrlcache.ByObject
	// Setup registers controllers, caches and servers with the house. It must not block; what runs is added to
	// House.Manager.
	Setup func(ctx context.Context, h *House) error
}

// RoleRule is a right limited to one namespace.
type RoleRule struct {
	Namespace string
	Rule      rbacv1.PolicyRule
	// Whole is for a right that is needed only where the whole cluster is looked after.
	Whole bool
}

// Capabilities lists every capability in the order in which they are set up. What they need may hang on the options.
func Capabilities(o RolloutOptions) []Capability {
	return []Capability{
		programsCapability(),
		metricsCapability(),
		gatewayCapability(),
		rolloutsCapability(o),
	}
}

// Switches are the --capabilities values: "-name" switches one off, "name" or "+name" one on. Later ones win.
type Switches []string

// choose returns the capabilities that are on, in their order.
func (s Switches) choose(all []Capability, virtual bool) ([]Capability, error) {
	on := map[string]bool{}
	for _, c := range all {
		on[c.Name] = c.Default
	}
	var errs []error
	for _, w := range s {
		for name := range strings.SplitSeq(w, ",") {
			name = strings.TrimSpace(name)
			want := !strings.HasPrefix(name, "-")
			bare := strings.TrimLeft(name, "+-")
			if bare == "" {
				continue
			}
			if _, known := on[bare]; !known {
				errs = append(errs, fmt.Errorf("--capabilities: %q is not a capability; there are %s", bare, names(all)))
				continue
			}
			on[bare] = want
		}
	}
	chosen := slices.DeleteFunc(slices.Clone(all), func(c Capability) bool { return !on[c.Name] || c.Virtual && !virtual })
	return chosen, errors.Join(errs...)
}

func has(on []Capability, name string) bool {
	return slices.ContainsFunc(on, func(c Capability) bool { return c.Name == name })
}

func names(all []Capability) string {
	out := make([]string, len(all))
	for i, c := range all {
		out[i] = c.Name
	}
	return strings.Join(out, ", ")
}

// newScheme is one scheme for everything that is on.
func newScheme(on []Capability) (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	add := []func(*runtime.Scheme) error{addKubernetes}
	for _, c := range on {
		if c.AddToScheme != nil {
			add = append(add, c.AddToScheme)
		}
	}
	for _, f := range add {
		if err := f(s); err != nil {
			return nil, fmt.Errorf("building the scheme: %w", err)
		}
	}
	return s, nil
}

// rules is the union of what the capabilities that are on declare.
func rules(on []Capability) (cluster []rbacv1.PolicyRule, roles []RoleRule) {
	for _, c := range on {
		cluster = append(cluster, c.Rules...)
		roles = append(roles, c.Roles...)
	}
	return cluster, roles
}

// Check reports a name that no capability has.
func (s Switches) Check() error {
	_, err := s.choose(Capabilities(RolloutOptions{}), true)
	return err
}
