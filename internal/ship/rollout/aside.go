package rollout

import (
	"context"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// Aside says until when Argo Rollouts' own controller acts on an object; the zero time when it does not.
func (c *Controller) Aside(_ context.Context, obj client.Object) (time.Time, error) {
	if p := c.observer.peer(obj, time.Now()); p != nil {
		return p.Until, nil
	}
	return time.Time{}, nil
}

// Rules are the rights a Controller needs, those for the objects of routers among them.
func Rules() []rbacv1.PolicyRule {
	group := rollouts.GroupVersion.Group
	rule := func(group string, verbs []string, resources ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: verbs}
	}
	read, edit := []string{"get", "list", "watch"}, []string{"get", "list", "watch", "patch"}
	made := []string{"get", "list", "watch", "create", "patch", "delete"}
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
		rule("", []string{"create", "patch"}, "events"),
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{peerLease}, Verbs: read},
		rule("networking.k8s.io", made, "ingresses"),
		rule("networking.istio.io", edit, "virtualservices", "destinationrules"),
		rule("split.smi-spec.io", made, "trafficsplits"),
		rule("getambassador.io", made, "mappings"),
		rule("x.getambassador.io", made, "ambassadormappings"),
		rule("traefik.io", edit, "traefikservices"),
		rule("traefik.containo.us", edit, "traefikservices"),
		rule("apisix.apache.org", made, "apisixroutes"),
		rule("gateway.networking.k8s.io", edit, "httproutes", "grpcroutes", "tcproutes", "tlsroutes"),
	}
}
