package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairway-dev/fairway/internal/gateway"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
	"github.com/fairway-dev/fairway/internal/ship/lenient"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// Names of what Fairway is in a cluster.
const (
	Namespace      = "fairway-system"
	ServiceAccount = "fairway"
	// MetricsService is the Service in front of the aggregated metrics APIs and Fairway's own metrics.
	MetricsService = "fairway-metrics"
	// FieldManager owns the fields Fairway applies.
	FieldManager = "fairway"
)

// stopWithin bounds the orderly end of the manager's controllers and servers.
const stopWithin = 3 * time.Second

// House is what capabilities are built into.
type House struct {
	Manager manager.Manager
	Log     *slog.Logger
	// Nodes are the virtual nodes of this process; nil on an existing cluster.
	Nodes VirtualNodes
	// Listen opens a port of this process as the cluster reaches it; nil = nothing is served.
	Listen func(port int) (net.Listener, error)
	// TakeOver names the metrics APIs to take from another owner (resource, custom, external).
	TakeOver []string
	// Namespace that Fairway's own objects live in.
	Namespace string
	// MetricResolution is the time between two readings of virtual nodes; 0 = metrics.DefaultResolution. Those of kubelets have
	// theirs in Kubelets.
	MetricResolution time.Duration
	// Only is the one namespace that is seen and changed; "" = all.
	Only string
	// Kubelets says how real kubelets are reached.
	Kubelets KubeletAccess
	// Dial connects to addresses and names of the cluster; nil = as the operating system does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Reach has serve called with every connection that is made to an address within this process; nil = there is no such network.
	Reach func(at netip.AddrPort, serve func(net.Conn)) (release func(), err error)
	// Rollouts says how Rollouts are carried out.
	Rollouts RolloutOptions
	// Gateway says how traffic is served. With a Sink there is no data path with sockets: what would be served goes there.
	Gateway GatewayOptions
	Sink    gateway.Sink
	// AdminDir is where the file is written that lets questions about the gateway be asked; "" = none are answered.
	AdminDir string
	// NoWebhooks takes the admission webhooks away in place of serving them.
	NoWebhooks bool
	// Look is how often what others may change (the serving certificate, the registered APIs) is looked at; 0 = a minute.
	Look time.Duration

	programs programSink
	gateway  *gateway.Controller // nil = the capability is off
}

// RolloutOptions say how Rollouts are carried out. The zero value is how Argo Rollouts does it by default.
type RolloutOptions struct {
	// InstanceID chooses objects by the label argo-rollouts.argoproj.io/controller-instance-id; "" = those without it.
	InstanceID string
	// Versions of the API of routers' objects.
	Versions traffic.Versions
	// Workers look at Rollouts at once; 0 = 10.
	Workers int
	// Resync is when a Rollout is looked at although nothing has changed; 0 = 15 minutes.
	Resync time.Duration
	// Strict refuses invalid objects at admission in place of warning of them.
	Strict bool
	// WebhookOwner names the ClusterRole with which the admission webhooks go; "" = the constant of that name.
	WebhookOwner string
	// RefusePlugins, if not "", says why plugins do not run here.
	RefusePlugins string
	// VerifyTargetGroups asks AWS whether its load balancers follow, and holds updates until they do. It needs rights in the
	// cluster and in AWS of its own.
	VerifyTargetGroups bool
	// TargetGroupTag is the tag by which AWS's target groups are known; "" = elb.ResourceTag.
	TargetGroupTag string
	// TargetGroupBindings is the API that binds Services to target groups; zero = that of elb.BindingKind.
	TargetGroupBindings schema.GroupVersion
}

// VirtualNodes answers for the virtual nodes of this process.
type VirtualNodes interface {
	Nodes() []string
	NodeStats(node string, at time.Time) (virtual.NodeStats, error)
}

// KubeletAccess says how real kubelets are reached and their serving certificates verified.
type KubeletAccess struct {
	Addresses []string // types of node addresses, tried in this order; empty = metrics.AddressTypes
	CAFile    string   // PEM; empty = the cluster's CA
	Insecure  bool     // not at all
	// Resolution is the time between two readings; 0 = metrics.DefaultResolution.
	Resolution time.Duration
}

func addKubernetes(s *runtime.Scheme) error {
	return errors.Join(clientgoscheme.AddToScheme(s), apiregistrationv1.AddToScheme(s), apiextensionsv1.AddToScheme(s))
}

// options of newManager beyond what is the same everywhere.
type managerOptions struct {
	config         *rest.Config
	on             []Capability
	informers      newInformer // nil = the cache makes its own
	leaderElection bool
	namespace      string
	only           string // the one namespace that is seen; "" = all
	metricsAddress string // host:port; "" = not served here
	healthAddress  string
	log            *slog.Logger
}

type newInformer func(cache.ListerWatcher, runtime.Object, time.Duration, cache.Indexers) cache.SharedIndexInformer

func newManager(o managerOptions) (manager.Manager, error) {
	scheme, err := newScheme(o.on)
	if err != nil {
		return nil, err
	}
	grace := stopWithin
	metricsAddress := o.metricsAddress
	if metricsAddress == "" {
		metricsAddress = "0"
	}
	cfg := o.config
	if o.log == nil {
		o.log = slog.New(slog.DiscardHandler)
	}
	if has(o.on, "rollouts") { // whose definitions let values pass that do not decode
		cfg = rest.CopyConfig(cfg)
		cfg.Wrap(lenient.Wrap(scheme, o.log))
	}
	again, priorities := true, false
	newCache := ctrlcache.New
	if o.only != "" {
		newCache = cacheOf(o.only)
	}
	m, err := manager.New(cfg, manager.Options{
		Scheme:                        scheme,
		MapperProvider:                newMapper(o.on),
		Logger:                        logrOf(o.log),
		NewCache:                      newCache,
		Cache:                         ctrlcache.Options{NewInformer: o.informers, DefaultTransform: ctrlcache.TransformStripManagedFields(), ByObject: cached(o.on)},
		LeaderElection:                o.leaderElection,
		LeaderElectionID:              "fairway-controller",
		LeaderElectionNamespace:       o.namespace,
		LeaderElectionReleaseOnCancel: true,
		Metrics:                       metricsserver.Options{BindAddress: metricsAddress},
		HealthProbeBindAddress:        o.healthAddress,
		GracefulShutdownTimeout:       &grace,
		// A process may run one house after another (tests); controller names need not differ between them.
		Controller: config.Controller{SkipNameValidation: &again,
			UsePriorityQueue: &priorities}, // queues with priorities wake twice a second although nothing happens
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the controllers: %w", err)
	}
	return m, errors.Join(m.AddHealthzCheck("ping", healthz.Ping), m.AddReadyzCheck("ping", healthz.Ping))
}

// cached is what capabilities want kept of kinds in a way of their own. Two may not want it of one kind.
func cached(on []Capability) map[client.Object]ctrlcache.ByObject {
	all := map[client.Object]ctrlcache.ByObject{}
	for _, c := range on {
		if c.Cached != nil {
			maps.Copy(all, c.Cached())
		}
	}
	return all
}

// setUp builds every capability that is on into the house.
func (h *House) setUp(ctx context.Context, on []Capability) error {
	for _, c := range on {
		if c.Setup == nil {
			continue
		}
		if err := c.Setup(ctx, h); err != nil {
			return fmt.Errorf("setting up the capability %q: %w; --capabilities=-%s leaves it out", c.Name, err, c.Name)
		}
	}
	return nil
}

var bridge sync.Once

// logrOf is the one bridge from log/slog to the logr interface that controller-runtime logs through.
func logrOf(l *slog.Logger) logr.Logger {
	if l == nil {
		return logr.Discard()
	}
	out := logr.FromSlogHandler(l.With("component", "fairway").Handler())
	bridge.Do(func() { ctrllog.SetLogger(out) })
	return out
}
