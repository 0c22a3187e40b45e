package compile

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gw "sigs.k8s.io/gateway-api/apis/v1"
	gwx "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// Statuses to write, each in full as far as this controller speaks: whoever writes them keeps the conditions, parents and
// ancestors of others, and sets lastTransitionTime. Routes and policies whose parents are all of other controllers have
// none; those that had a parent of this controller and have none now are in with an empty list.
type Statuses struct {
	GatewayClasses     map[string]gw.GatewayClassStatus
	Gateways           map[config.Name]gw.GatewayStatus
	ListenerSets       map[config.Name]gw.ListenerSetStatus
	HTTPRoutes         map[config.Name]gw.RouteStatus
	GRPCRoutes         map[config.Name]gw.RouteStatus
	TLSRoutes          map[config.Name]gw.RouteStatus
	TCPRoutes          map[config.Name]gw.RouteStatus
	UDPRoutes          map[config.Name]gw.RouteStatus
	BackendTLSPolicies map[config.Name]gw.PolicyStatus
	TrafficPolicies    map[config.Name]gw.PolicyStatus
	XBackends          map[config.Name]gwx.BackendStatus
	BackendPolicies    map[config.Name]fairway.BackendPolicyStatus
	Ingresses          map[config.Name]networkingv1.IngressStatus
}

// newStatuses with room for those of as many HTTPRoutes.
func newStatuses(httpRoutes int) Statuses {
	return Statuses{
		GatewayClasses: map[string]gw.GatewayClassStatus{}, Gateways: map[config.Name]gw.GatewayStatus{},
		ListenerSets: map[config.Name]gw.ListenerSetStatus{}, HTTPRoutes: make(map[config.Name]gw.RouteStatus, httpRoutes),
		GRPCRoutes: map[config.Name]gw.RouteStatus{}, TLSRoutes: map[config.Name]gw.RouteStatus{},
		TCPRoutes: map[config.Name]gw.RouteStatus{}, UDPRoutes: map[config.Name]gw.RouteStatus{},
		BackendTLSPolicies: map[config.Name]gw.PolicyStatus{}, TrafficPolicies: map[config.Name]gw.PolicyStatus{},
		XBackends: map[config.Name]gwx.BackendStatus{}, BackendPolicies: map[config.Name]fairway.BackendPolicyStatus{},
		Ingresses: map[config.Name]networkingv1.IngressStatus{},
	}
}

// verdict is the status of a condition with its reason: good, or why not.
type verdict struct {
	bad             bool
	reason, message string
}

// blame is the first problem that is found: later ones do not hide it.
func (v *verdict) blame(reason, message string) {
	if !v.bad {
		*v = verdict{true, reason, message}
	}
}

// condition of a type: True with the reason of that name, or False with the verdict's.
func condition[T, R ~string](kind T, v verdict, generation int64, good R, message string) metav1.Condition {
	c := metav1.Condition{Type: string(kind), Status: metav1.ConditionTrue, ObservedGeneration: generation, Reason: string(good), Message: message}
	if v.bad {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v.reason, v.message
	}
	return c
}

// cut keeps a message within what a condition may hold: 32768 characters.
func cut(message string) string {
	const most = 32768
	if len(message) <= most {
		return message
	}
	return message[:most-3] + "..."
}
