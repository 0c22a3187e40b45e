package platform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	gw "sigs.k8s.io/gateway-api/apis/v1"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/gateway"
	"github.com/fairway-dev/fairway/internal/gateway/admin"
	"github.com/fairway-dev/fairway/internal/gateway/compile"
	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/evidence"
	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// GatewayOptions say how the gateway serves. The zero value serves on gateway.DefaultPool.
type GatewayOptions struct {
	// Pool of addresses for Gateways.
	Pool netip.Prefix
	// PortOffset is added to each port that is listened on.
	PortOffset int
	// Drain is how long requests have to end; 0 = DefaultDrain.
	Drain time.Duration
	// ForeignClasses of Ingresses that are served although they belong to another controller; nil = nginx.
	ForeignClasses []string
	// NoForeign leaves objects of other routers alone.
	NoForeign bool
	// NoForeignKinds says that no kinds of other routers will ever be defined: nobody looks for them.
	NoForeignKinds bool
}

// DefaultDrain is how long requests have to end when the process does.
const DefaultDrain = 30 * time.Second

// gatewayClass is the class that Gateways of an embedded cluster can name.
const gatewayClass = "fairway"

// gatewayGroups are the kinds of the Gateway API that the capability needs, by group.
var gatewayGroups = map[string][]string{
	"gateway.networking.k8s.io":   {"backendtlspolicies", "gatewayclasses", "gateways", "grpcroutes", "httproutes", "listenersets", "referencegrants", "tcproutes", "tlsroutes", "udproutes"},
	"gateway.networking.x-k8s.io": {"xbackends", "xbackendtrafficpolicies"},
	fairway.Group:                 {"backendpolicies"},
}

// gatewayCapability serves traffic by the Gateway API.
func gatewayCapability() Capability {
	c := Capability{
		Name: "gateway", Purpose: "serve Gateways, routes and Ingresses; move traffic by the weights of Rollouts", Default: true, Virtual: true,
		AddToScheme: gateway.AddToScheme,
		Cached: func() map[client.Object]ctrlcache.ByObject { // of Secrets, certificates alone
			return map[client.Object]ctrlcache.ByObject{&corev1.Secret{}: {Field: fields.OneTermEqualSelector("type", string(corev1.SecretTypeTLS))}}
		},
		Setup: setUpGateway,
	}
	read := []string{"get", "list", "watch"}
	c.Rules = []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps", "namespaces", "pods", "secrets", "services"}, Verbs: read},
		{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"create", "patch", "delete"}}, // those of Gateways
		{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: read},
		{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"ingresses", "ingressclasses"}, Verbs: read},
		{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"ingresses/status"}, Verbs: []string{"update"}},
		{APIGroups: []string{"gateway.networking.k8s.io"}, Resources: []string{"gatewayclasses"}, Verbs: []string{"create"}},
		{APIGroups: []string{"networking.istio.io"}, Resources: []string{"virtualservices", "destinationrules"}, Verbs: read},
		{APIGroups: []string{"split.smi-spec.io"}, Resources: []string{"trafficsplits"}, Verbs: read},
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
	}
	for _, group := range []string{"gateway.networking.k8s.io", "gateway.networking.x-k8s.io", fairway.Group} {
		var statuses []string
		for _, k := range gatewayGroups[group] {
			c.CRDs = append(c.CRDs, k+"."+group)
			statuses = append(statuses, k+"/status")
		}
		c.Rules = append(c.Rules, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: gatewayGroups[group], Verbs: read},
			rbacv1.PolicyRule{APIGroups: []string{group}, Resources: statuses, Verbs: []string{"update"}})
		c.Readers = append(c.Readers, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: gatewayGroups[group], Verbs: read})
		c.Writers = append(c.Writers, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: gatewayGroups[group], Verbs: []string{"create", "update", "patch", "delete", "deletecollection"}})
	}
	return c
}

func setUpGateway(ctx context.Context, h *House) error {
	o := h.Gateway
	ports := [2]uint16{80, 443} // where nothing is listened on, the machine has no say
	if h.Sink == nil {
		ports = ingressPorts()
	}
	//lint:ignore SA1019 users look for core/v1 Events, which the new API does not write
	recorder := h.Manager.GetEventRecorderFor("fairway-gateway")
	c := gateway.New(gateway.Options{Dial: h.Dial, Pool: o.Pool, PortOffset: o.PortOffset, Drain: cmp.Or(o.Drain, DefaultDrain), Foreign: !o.NoForeign && !o.NoForeignKinds,
		ForeignClasses: foreignClasses(o), IngressHTTPPort: ports[0], IngressHTTPSPort: ports[1], Revision: program.Revision, Sink: h.Sink, Reach: h.Reach,
		Recorder: recorder, Log: h.Log})
	if err := c.SetUp(ctx, h.Manager); err != nil {
		return err
	}
	h.gateway = c
	if err := h.Manager.Add(manager.RunnableFunc(func(ctx context.Context) error { return makeClass(ctx, h.Manager.GetClient()) })); err != nil {
		return err
	}
	if h.AdminDir != "" {
		if err := h.serveAdmin(c); err != nil {
			return err
		}
	}
	return register(ctrlmetrics.Registry, c.Collectors())
}

// adminHeadWithin bounds how long a question may take to arrive.
const adminHeadWithin = 10 * time.Second

// serveAdmin answers questions about the gateway on a port of 127.0.0.1, to whoever can read the file with the key.
func (h *House) serveAdmin(c *gateway.Controller) error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("a port for questions about the gateway: %w", err)
	}
	access, err := admin.NewAccess(l.Addr().String())
	if err == nil {
		err = access.Write(h.AdminDir)
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	server := &http.Server{Handler: access.Guard(admin.Handler(c)), ReadHeaderTimeout: adminHeadWithin}
	return h.Manager.Add(everywhere{func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { server.Close() })
		defer stop()
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}})
}

func foreignClasses(o GatewayOptions) []string {
	if o.NoForeign {
		return nil
	}
	if o.ForeignClasses == nil {
		return []string{"nginx"}
	}
	return o.ForeignClasses
}

// makeClass makes the GatewayClass that users can name, unless there is one.
func makeClass(ctx context.Context, c client.Client) error {
	class := &gw.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: gatewayClass}, Spec: gw.GatewayClassSpec{ControllerName: compile.Controller}}
	if err := c.Create(ctx, class); err != nil && !apierrors.IsAlreadyExists(err) && ctx.Err() == nil {
		return fmt.Errorf("making GatewayClass %s: %w", gatewayClass, err)
	}
	return nil
}

// ingressPorts are 80 and 443, or 8080 and 8443 where this process may not listen on the former.
func ingressPorts() [2]uint16 {
	first := 1024
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			first = n
		}
	}
	if first <= 80 {
		return [2]uint16{80, 443}
	}
	// Whether a capability lets it is seen by trying, on an address that nobody is told of.
	l, err := net.Listen("tcp4", "127.255.255.254:80")
	if err != nil {
		return [2]uint16{8080, 8443}
	}
	l.Close()
	return [2]uint16{80, 443}
}

// dataPath is the gateway as Rollouts steer it.
type dataPath struct{ *gateway.Controller }

func routeOf(r traffic.Ref) gateway.Route {
	return gateway.Route{Kind: r.Kind, Name: config.Name{Namespace: r.Namespace, Name: r.Name}}
}

// SetWeights implements traffic.DataPath.
func (d dataPath) SetWeights(_ context.Context, r traffic.Ref, rule, canary, stable string, w traffic.Weights) (func(string, error), error) {
	return d.Controller.SetWeights(routeOf(r), rule, canary, stable, gateway.Weights(w))
}

// LoadedWeights implements traffic.DataPath.
func (d dataPath) LoadedWeights(r traffic.Ref, canary, stable string) (out []traffic.RuleWeights, ok bool) {
	all, ok := d.Controller.LoadedWeights(routeOf(r), canary, stable)
	for _, w := range all {
		out = append(out, traffic.RuleWeights{Rule: w.Rule, Weights: traffic.Weights(w.Weights)})
	}
	return out, ok
}

// evidenceOf answers the questions of analyses.
type evidenceOf struct {
	requests *evidence.Store // nil = this process serves none
	pods     analysis.Evidence
}

// Measure implements analysis.Evidence.
func (e evidenceOf) Measure(ctx context.Context, q analysis.Question) (analysis.Answer, error) {
	switch {
	case q.Source == analysis.KubeEvidence:
		return e.pods.Measure(ctx, q)
	case q.Source != analysis.GatewayEvidence || e.requests == nil:
		return analysis.Answer{}, fmt.Errorf("there is no evidence for %s in this process; use prometheus or another provider", q.Source)
	}
	a, err := e.requests.Measure(evidence.Question{Metric: q.Metric, Namespace: q.Namespace, Revision: q.Hash, Against: q.Against, Route: q.Route, Window: q.Window,
		MaxDelta: q.MaxDelta, MaxRatio: q.MaxRatio}, time.Now())
	if err != nil {
		return analysis.Answer{}, err
	}
	if math.IsNaN(a.Value) && q.Against == "" {
		return analysis.Answer{}, errors.New("the gateway has seen no request to this revision within the window")
	}
	for _, v := range []*float64{&a.Value, &a.AgainstValue} {
		if math.IsNaN(*v) { // too few samples is what a comparison comes to
			*v = 0
		}
	}
	return analysis.Answer{Value: a.Value, AgainstValue: a.AgainstValue, Count: a.Count, AgainstCount: a.AgainstCount, Bad: a.Bad, AgainstBad: a.AgainstBad}, nil
}
