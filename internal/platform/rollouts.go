package platform

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	rbacv1 "k8s.io/api/rbac/v1"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
	"github.com/fairway-dev/fairway/internal/ship/admission"
	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/analysis/provider"
	"github.com/fairway-dev/fairway/internal/ship/analysis/provider/podlife"
	"github.com/fairway-dev/fairway/internal/ship/experiment"
	"github.com/fairway-dev/fairway/internal/ship/plugin"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

// rolloutKinds are the definitions of argoproj.io.
var rolloutKinds = []string{"rollouts", "analysistemplates", "clusteranalysistemplates", "analysisruns", "experiments"}

// WebhookOwner is the ClusterRole that goes when Fairway, or the capability, does, unless another one is named.
const WebhookOwner = ServiceAccount + "-rollouts"

// rolloutsCapability carries out Rollouts, AnalysisRuns and Experiments.
func rolloutsCapability(o RolloutOptions) Capability {
	group, owner := rollouts.GroupVersion.Group, cmp.Or(o.WebhookOwner, WebhookOwner)
	c := Capability{
		Name: "rollouts", Purpose: "canary and blue-green updates, analysis and experiments by the API of Argo Rollouts", Default: true, Namespaced: true,
		AddToScheme: rollouts.AddToScheme,
		Cached:      func() map[client.Object]ctrlcache.ByObject { return rollout.Cached(o.InstanceID) },
		Rules: append(mergeRules(rollout.Rules(o.InstanceID), analysis.Rules(), experiment.Rules(), admission.Rules(o.InstanceID, owner)),
			verifyingRules(o)...),
		Roles: append(webhookRoles(), RoleRule{Namespace: Namespace, Rule: rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"},
			ResourceNames: []string{plugin.ConfigMapName}, Verbs: []string{"list", "watch"}}}),
		Readers: []rbacv1.PolicyRule{{APIGroups: []string{group}, Verbs: []string{"get", "list", "watch"},
			Resources: append([]string{"rollouts/scale", "rollouts/status"}, rolloutKinds...)}},
		Writers: []rbacv1.PolicyRule{{APIGroups: []string{group}, Verbs: []string{"create", "update", "patch", "delete", "deletecollection"},
			Resources: append([]string{"rollouts/scale", "rollouts/status"}, rolloutKinds...)}},
		Setup: setUpRollouts,
	}
	for _, k := range rolloutKinds {
		c.CRDs = append(c.CRDs, k+"."+group)
	}
	return c
}

func setUpRollouts(ctx context.Context, h *House) error {
	m := h.Manager
	events := rollout.NewEvents(m.GetClient(), FieldManager, h.Log)
	if err := m.Add(events); err != nil {
		return err
	}
	host, err := h.pluginHost()
	if err != nil {
		return err
	}
	ship := &rollout.Controller{Events: events, Plugins: plugins{host}, InstanceID: h.Rollouts.InstanceID, FieldOwner: FieldManager,
		Versions: h.Rollouts.Versions, Workers: h.Rollouts.Workers, Resync: h.Rollouts.Resync, Log: h.Log}
	if h.gateway != nil {
		ship.DataPath = dataPath{h.gateway}
	}
	if v := h.verifier(os.Getenv); v != nil {
		ship.Balancers = v
	}
	if err := ship.SetUp(ctx, m); err != nil {
		return err
	}
	config := provider.Config{Dial: h.Dial, Secret: analysis.Secrets(m.GetAPIReader()), Namespace: h.Namespace, Revisions: provider.RevisionsOf(m.GetClient())}
	pods, err := podlife.NewWatch(ctx, m.GetCache(), program.Revision)
	if err != nil {
		return err
	}
	seen := evidenceOf{pods: pods}
	if h.gateway != nil {
		seen.requests = h.gateway.Evidence
	}
	config.Evidence = seen
	if h.Dial == nil {
		config.Proxy = http.ProxyFromEnvironment
	}
	judge := &analysis.Controller{Client: m.GetClient(), Reader: m.GetAPIReader(), Providers: provider.All(config), External: host.Metrics(),
		Recorder: events, InstanceID: h.Rollouts.InstanceID, FieldOwner: FieldManager, Log: h.Log, Aside: ship.Aside}
	if err := judge.SetUp(ctx, m); err != nil {
		return err
	}
	try := &experiment.Controller{Client: m.GetClient(), Reader: m.GetAPIReader(), Recorder: events, InstanceID: h.Rollouts.InstanceID,
		FieldOwner: FieldManager, Log: h.Log, Aside: ship.Aside}
	if err := try.SetUp(ctx, m); err != nil {
		return err
	}
	if err := h.admit(ctx, &admission.Judge{Found: ship.Found, InstanceID: h.Rollouts.InstanceID, Strict: h.Rollouts.Strict, Log: h.Log}); err != nil {
		return err
	}
	return register(ctrlmetrics.Registry, ship.Collectors(), judge.Collectors(), try.Collectors())
}

// register collectors in place of those of an earlier house of this process.
func register(r prometheus.Registerer, lists ...[]prometheus.Collector) error {
	for _, list := range lists {
		for _, c := range list {
			err := r.Register(c)
			var there prometheus.AlreadyRegisteredError
			if errors.As(err, &there) {
				r.Unregister(there.ExistingCollector)
				err = r.Register(c)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// mergeRules makes one rule of those that differ in their verbs only.
func mergeRules(lists ...[]rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	at := map[[3]string]int{} // group, resource, name
	for _, list := range lists {
		for _, r := range list {
			for _, resource := range r.Resources {
				key := [3]string{r.APIGroups[0], resource}
				if len(r.ResourceNames) > 0 {
					key[2] = r.ResourceNames[0]
				}
				i, ok := at[key]
				if !ok {
					i = len(out)
					at[key] = i
					out = append(out, rbacv1.PolicyRule{APIGroups: r.APIGroups, Resources: []string{resource}, ResourceNames: r.ResourceNames})
				}
				out[i].Verbs = union(out[i].Verbs, r.Verbs)
			}
		}
	}
	return out
}

// union appends what is not there yet.
func union(have, more []string) []string {
next:
	for _, v := range more {
		for _, h := range have {
			if h == v {
				continue next
			}
		}
		have = append(have, v)
	}
	return have
}
