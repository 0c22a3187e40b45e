// Package traffic translates what a Rollout wants of its routers into the objects that routers read. In: an Intent and the
// objects as they are. Out: the objects as they should be, and whether the routers are known to follow them. It reads and
// writes nothing itself.
package traffic

import (
	"context"
	"errors"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Intent is what a Rollout wants of all its routers at one moment.
type Intent struct {
	// Namespace, Name and UID of the Rollout; objects that a router makes of its own are owned by it.
	Namespace, Name, UID string
	Routing              *argo.RolloutTrafficRouting
	// CanaryService and StableService, with ping and pong already resolved. May be empty for Istio subsets.
	CanaryService, StableService string
	// CanaryHash and StableHash select the ReplicaSets behind them.
	CanaryHash, StableHash string
	// HoldHash leaves the hashes of subsets as they are (not all ReplicaSets are available yet).
	HoldHash bool
	// Weight of the canary; the stable gets Max less it and less Additional.
	Weight, Max int32
	// Additional destinations of a running experiment.
	Additional []argo.WeightDestination
	// Former destinations of experiments are those that the status recorded last (status.canary.weights.additional). Those
	// that are not in Additional any more are taken out of routes, where nothing else tells them from a user's own.
	Former []argo.WeightDestination
	// Port of the Services of experiments, see Port. Only the Gateway API needs it; 0 = the pods have none.
	Port int32
	// Headers and Mirrors in force, one a managed route, in the order of Routing.ManagedRoutes.
	Headers []argo.SetHeaderRoute
	Mirrors []argo.SetMirrorRoute
	// Remove takes all managed routes away.
	Remove bool
	// Loaded are the weights that a DataPath follows, of the rules of each route it serves (DataPath.LoadedWeights). A route
	// that is not in it is verified by its status alone.
	Loaded map[Ref][]RuleWeights `json:"-"`
}

// Port is the port at which the Service of an experiment serves the pods of a template: the container port named http, else
// the first. 0 when there is none.
func Port(template *corev1.PodTemplateSpec) int32 {
	var first int32
	for _, c := range template.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == "http" {
				return p.ContainerPort
			}
			if first == 0 {
				first = p.ContainerPort
			}
		}
	}
	return first
}

// Ref names an object; or, with a Selector and no Name, all objects of the kind whose labels match it.
type Ref struct {
	schema.GroupVersionKind
	Namespace, Name string
	Selector        string // as in kubectl get -l
}

// Objects are what the cache held of the Refs a router asked for, each by its own Ref (never one with a Selector); what does
// not exist is absent.
type Objects map[Ref]*unstructured.Unstructured

// Change is one write: Before nil creates, After nil deletes. Reason and Message, if any, are the Event to tell once it is done.
type Change struct {
	Before, After   *unstructured.Unstructured
	Reason, Message string
	// Steer has a DataPath told of the weights before the write; Rule is the one rule that they are of, "" = of all.
	Steer bool
	Rule  string
}

// Result of a translation.
type Result struct {
	Changes []Change
	// Verified is nil when this kind of router cannot tell, else whether it is known to have loaded the intent.
	Verified *bool
	Message  string // why Verified is false
}

// ErrMissing is wrapped by the error of a translation whose object does not exist: the last weights stay.
var ErrMissing = errors.New("not found")

// Router is one kind of traffic router as a Rollout configures it.
type Router interface {
	// Kind is its name for people and in events: Istio, Nginx, ALB, SMI, Ambassador, Traefik, Apisix, GatewayAPI.
	Kind() string
	// Refs are the objects it must see to translate, and those whose changes concern it.
	Refs(Intent) []Ref
	// Translate is pure. It returns no changes when the objects already say what the intent wants, and all or nothing: with
	// an error no change is to be made.
	Translate(Intent, Objects) (Result, error)
}

// Weights of one Rollout in a data path.
type Weights struct {
	Canary, Stable int32
	Additional     map[string]int32 // by Service name
}

// RuleWeights are those of one rule of a route, by its name, or its place as a number.
type RuleWeights struct {
	Rule string
	Weights
}

// DataPath is a gateway in this process that Rollouts steer directly, and that knows what it has loaded. Without one, the
// status of routes says what is in force.
type DataPath interface {
	// SetWeights applies weights of a route's rule ("" = of all that divide between the two Services) at once, before they are written to the API server. They hold until an event of the
	// route comes that is at or past the write, of which written is to be told when it has ended: the version it made, or the
	// error for which it is given up, whereupon the weights of the object are in force again. An error says that the route is
	// not served.
	SetWeights(ctx context.Context, route Ref, rule, canaryService, stableService string, w Weights) (written func(version string, err error), err error)
	// LoadedWeights are those that new requests follow, of each rule that divides between the two; ok is false for a route
	// without one. A subset of a Service (Istio's) goes by SERVICE/SUBSET.
	LoadedWeights(route Ref, canaryService, stableService string) (w []RuleWeights, ok bool)
}
