package platform

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// ControllerOptions say how the capabilities run on an existing cluster.
type ControllerOptions struct {
	Config         *rest.Config
	Namespace      string // of Fairway's own objects and its lease
	LeaderElection bool   // one of several replicas writes
	Capabilities   Switches
	// QPS and Burst bound the requests a second to the API server, and how many may come at once. QPS 0 = no bound of our own:
	// workers are few, and the API server shares itself out by priority and fairness.
	QPS            float32
	Burst          int
	MetricsAddress string // host:port of Prometheus metrics; "" = not served
	HealthAddress  string // host:port of /healthz and /readyz; "" = not served
	ListenAddress  string // host:port on which the metrics APIs are served
	WebhookAddress string // host:port on which the admission webhooks are served; "" = not served, and taken away where they are
	// ReplaceDefinitions takes the definitions of our kinds from whoever put them there; otherwise they stay.
	ReplaceDefinitions bool
	TakeOver           []string
	Only               string // the one namespace that is seen and changed; "" = all
	Kubelets           KubeletAccess
	Rollouts           RolloutOptions
	Log                *slog.Logger
}

// Controller runs the capabilities against a cluster until ctx ends or one of them fails for good.
func Controller(ctx context.Context, o ControllerOptions) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	klog.SetLogger(logrOf(o.Log)) // upstream's libraries log through it
	on, err := o.Capabilities.choose(Capabilities(o.Rollouts), false)
	if err != nil {
		return err
	}
	cfg := rest.CopyConfig(o.Config)
	cfg.ContentType, cfg.AcceptContentTypes = "", "" // the manager chooses by kind: custom kinds have no protobuf
	if cfg.QPS, cfg.Burst = o.QPS, o.Burst; o.QPS == 0 {
		cfg.QPS = -1 // 0 would be the client's default of 5
	}
	if o.Only != "" {
		on = namespaced(on, o.Only, o.Log)
		err = checkServed(cfg, on)
	} else {
		err = installCRDs(ctx, cfg, installation{on: on, replace: o.ReplaceDefinitions, log: o.Log})
	}
	if err != nil {
		return err
	}
	m, err := newManager(managerOptions{config: cfg, on: on, leaderElection: o.LeaderElection, namespace: o.Namespace, only: o.Only,
		metricsAddress: o.MetricsAddress, healthAddress: o.HealthAddress, log: o.Log})
	if err != nil {
		return err
	}
	h := &House{Manager: m, Log: o.Log, Namespace: o.Namespace, TakeOver: o.TakeOver, Kubelets: o.Kubelets, Rollouts: o.Rollouts,
		Only: o.Only, NoWebhooks: o.WebhookAddress == "", Listen: o.listen}
	if err := h.setUp(ctx, on); err != nil {
		return err
	}
	o.Log.Info("Fairway is running", "capabilities", names(on), "cluster", cfg.Host)
	if err := m.Start(ctx); err != nil {
		return fmt.Errorf("controllers: %w", err)
	}
	return nil
}

// listen on the address that was given for a port of the cluster.
func (o *ControllerOptions) listen(port int) (net.Listener, error) {
	flag, address := "--listen", o.ListenAddress
	if port == webhookPort {
		flag, address = "--webhook-address", o.WebhookAddress
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return l, nil
}

// controllerRoles are the rights the controller itself needs in its namespace: the leader's lease, and Events about it.
var controllerRoles = []RoleRule{
	{Namespace: Namespace, Rule: rbacv1.PolicyRule{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "create", "update"}}},
	{Namespace: Namespace, Rule: rbacv1.PolicyRule{APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create"}}},
}
