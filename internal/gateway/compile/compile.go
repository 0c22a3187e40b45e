// Package compile turns the objects that exist now into what the gateway serves, and into what is to be said of them: the
// Gateway API v1.6.3 (GatewayClass, Gateway, ListenerSet, HTTPRoute, GRPCRoute, TLSRoute, ReferenceGrant, BackendTLSPolicy,
// XBackend, XBackendTrafficPolicy), Ingress, BackendPolicy, and, read-only, NGINX's canary annotations, Istio's
// VirtualService and DestinationRule and SMI's TrafficSplit. It has no client and no clock, and asks nothing twice: what an
// object came to is kept in the Output and used again as long as neither it nor what it refers to has changed.
package compile

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	gw "sigs.k8s.io/gateway-api/apis/v1"
	gwx "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// Controller is the name that a GatewayClass has in spec.controllerName to be served by this gateway.
const Controller gw.GatewayController = "fairway.dev/gateway"

// Input is everything that is looked at. No object is changed; lists may be in any order.
type Input struct {
	// Controller whose classes are served; "" = Controller.
	Controller gw.GatewayController
	// IngressClass by that name is served, and every other whose controller is Controller. "" = "fairway".
	IngressClass string
	// ForeignClasses are classes of other controllers whose Ingresses are served as well, such as "nginx".
	ForeignClasses []string
	// Now is only compared with the end of a certificate that is served although its Secret has become unreadable.
	Now time.Time

	Classes            []*gw.GatewayClass
	Gateways           []*gw.Gateway
	ListenerSets       []*gw.ListenerSet
	HTTPRoutes         []*gw.HTTPRoute
	GRPCRoutes         []*gw.GRPCRoute
	TLSRoutes          []*gw.TLSRoute
	TCPRoutes          []*gw.TCPRoute // refused, by their conditions
	UDPRoutes          []*gw.UDPRoute // refused, by their conditions
	ReferenceGrants    []*gw.ReferenceGrant
	BackendTLSPolicies []*gw.BackendTLSPolicy
	TrafficPolicies    []*gwx.XBackendTrafficPolicy
	XBackends          []*gwx.XBackend
	BackendPolicies    []*fairway.BackendPolicy

	Ingresses      []*networkingv1.Ingress
	IngressClasses []*networkingv1.IngressClass

	// Foreign are VirtualServices, DestinationRules and TrafficSplits of any version.
	Foreign []*unstructured.Unstructured

	// Services, Namespaces, and of Secrets and ConfigMaps at least those that Output.Needs named.
	Services   []*corev1.Service
	Namespaces []*corev1.Namespace
	Secrets    []*corev1.Secret
	ConfigMaps []*corev1.ConfigMap

	// Addresses that each Gateway was given, by its name. A Gateway without one is not programmed yet.
	Addresses map[config.Name][]netip.Addr
	// AddressProblems says why a Gateway was given none of those it asks for; its reason is AddressNotUsable.
	AddressProblems map[config.Name]string
	// IngressAddresses are where Ingresses and foreign objects are served, on IngressHTTPPort and IngressHTTPSPort (0 = 80
	// and 443). Without any they are not served.
	IngressAddresses                  []netip.Addr
	IngressHTTPPort, IngressHTTPSPort uint16
	// Unavailable says why a socket could not be opened, with the remedy; its listeners are told PortUnavailable.
	Unavailable map[netip.AddrPort]string

	// AllowSystemBackends lets routes lead to Services of kube-system and to the API server.
	AllowSystemBackends bool

	// Previous is the last Output; nil for the first. What has not changed is taken from it.
	Previous *Output
}

// Output is what Compile came to.
type Output struct {
	// Config to serve. Its Version is one more than that of the previous if anything differs, and else the same.
	Config *config.Config
	// Statuses of all objects that are this controller's to speak of.
	Statuses Statuses
	// Events to tell about objects; the same as last time stay in the list.
	Events []Event
	// Needs are objects that are referred to.
	Needs Needs
	// Services by which pods reach the Gateways, to be made as they are here, by name.
	Services []*corev1.Service
	// StaleRoutes are those served in their last good version because the present one is not valid.
	StaleRoutes []config.Name
	// Compiled and Reused count the routes that were translated anew, and those that were not.
	Compiled, Reused int

	state *state
}

// Event about an object.
type Event struct {
	Kind    string
	Object  config.Name
	Warning bool
	Reason  string
	Message string
}

// Needs names what has to be watched for the next Compile.
type Needs struct {
	// Secrets and ConfigMaps that are referred to, by name.
	Secrets, ConfigMaps []config.Name
	// Services that are referred to, whether they exist or not.
	Services []config.Name
	// NamespaceLabels is true when a Gateway selects namespaces by label.
	NamespaceLabels bool
}

// Compile the objects that exist now.
func Compile(in Input) Output {
	out, sparse := compileOnce(in)
	if sparse {
		// Too many places of rules or backends have nothing in them any more: all of them are given anew.
		in.Previous = &Output{state: in.Previous.state.forgetful()}
		out, _ = compileOnce(in)
	}
	return out
}

func compileOnce(in Input) (out Output, sparse bool) {
	c := newCompilation(&in)
	c.classes()
	c.gateways()
	c.entrance()
	c.resolvePolicies()
	c.compileRoutes()
	c.compileIngresses()
	c.compileForeign()
	c.reportParents()
	c.reportPolicies()
	c.infrastructure()
	return c.assemble()
}
