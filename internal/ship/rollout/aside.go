package rollout

import (
	"context"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
	"github.com/fairway-dev/fairway/internal/ship/validate"
)

// Aside says until when Argo Rollouts' own controller acts on an object; the zero time when it does not.
func (c *Controller) Aside(_ context.Context, obj client.Object) (time.Time, error) {
	if p := c.observer.peer(obj, time.Now()); p != nil {
		return p.Until, nil
	}
	return time.Time{}, nil
}

// PeerLease is the name of the Lease by which replicas of Argo Rollouts' controller choose who leads, in the controller's own
// namespace. Those of an instance id, who look at other objects, have one of their own.
func PeerLease(instanceID string) string {
	const lease = "argo-rollouts-controller-lock"
	if instanceID == "" {
		return lease
	}
	return lease + "-" + instanceID
}

// Found is what a Rollout, which need not exist yet, refers to, as far as the caches that are open hold it. It opens none and
// reads nothing else, so that what is absent from it may well exist.
func (c *Controller) Found(ro *rollouts.Rollout) validate.Found {
	l := look{observer: &c.observer, ctx: context.Background(), s: Snapshot{Rollout: ro, Objects: traffic.Objects{}}}
	l.services()
	l.templates()
	if routed(ro) {
		routers, err := l.versions.For(ro.Namespace, ro.Spec.Strategy.Canary.TrafficRouting)
		if err != nil {
			routers = nil // the validators tell of it
		}
		base := Base(ro)
		for _, r := range routers {
			for _, ref := range r.Refs(base) {
				if l.stores.have(ref.GroupVersionKind) != nil && l.routed(ref) != nil {
					delete(l.s.Objects, ref) // as if it had not been found
				}
			}
		}
	}
	return validate.Found{Services: l.s.Services, Objects: l.s.Objects, Versions: l.versions, Offline: true,
		Templates: analysis.Templates{Namespaced: l.s.Templates, Cluster: l.s.ClusterTemplates}}
}

// Rules are the rights a Controller of an instance needs, those for the objects of routers among them.
func Rules(instanceID string) []rbacv1.PolicyRule {
	group := rollouts.GroupVersion.Group
	rule := func(group string, verbs []string, resources ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: verbs}
	}
	read, edit := []string{"list", "watch"}, []string{"list", "watch", "patch"}
	made, kept := append([]string{"create", "delete"}, edit...), append([]string{"create"}, edit...)
	return []rbacv1.PolicyRule{
		rule(group, edit, "rollouts"),
		rule(group, []string{"patch"}, "rollouts/status"),
		rule(group, []string{"update"}, "rollouts/finalizers"),
		rule(group, read, "analysistemplates", "clusteranalysistemplates"),
		rule(group, made, "analysisruns", "experiments"),
		rule("apps", made, "replicasets"),
		rule("apps", read, "deployments"),
		rule("apps", []string{"patch"}, "deployments/scale", "replicasets/scale"),
		rule("", read, "podtemplates"),
		rule("", edit, "services", "pods"),
		rule("", []string{"create"}, "pods/eviction"),
		rule("", []string{"create"}, "events"),
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{PeerLease(instanceID)}, Verbs: read},
		rule("networking.k8s.io", kept, "ingresses"),
		rule("networking.istio.io", edit, "virtualservices", "destinationrules"),
		rule("split.smi-spec.io", kept, "trafficsplits"),
		rule("getambassador.io", made, "mappings"),
		rule("x.getambassador.io", made, "ambassadormappings"),
		rule("traefik.io", edit, "traefikservices"),
		rule("traefik.containo.us", edit, "traefikservices"),
		rule("apisix.apache.org", made, "apisixroutes"),
		rule("gateway.networking.k8s.io", edit, "httproutes", "grpcroutes", "tcproutes", "tlsroutes"),
	}
}
