package plugin

import (
	"context"
	"fmt"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/utils/plugin/types"

	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// Method of a traffic router plugin.
type Method string

// Methods, by the names of the wire.
const (
	UpdateHash          Method = "UpdateHash"          // Intent.CanaryHash, StableHash, Additional
	SetWeight           Method = "SetWeight"           // Intent.Weight, Additional
	SetHeaderRoute      Method = "SetHeaderRoute"      // each of Intent.Headers; one without a match is removed
	SetMirrorRoute      Method = "SetMirrorRoute"      // each of Intent.Mirrors; one without a match is removed
	VerifyWeight        Method = "VerifyWeight"        // Intent.Weight, Additional
	RemoveManagedRoutes Method = "RemoveManagedRoutes" // all that managedRoutes lists
)

// Routers are the traffic router plugins of a Host.
type Routers struct{ host *Host }

// Routers of the host.
func (h *Host) Routers() Routers { return Routers{h} }

// Do calls one method of a plugin with what it needs of an intent. Verified is the answer to VerifyWeight, nil when the plugin
// cannot tell and for the other methods. Plugins are not all idempotent: a header or mirror route is to be set once a step.
func (r Routers) Do(ctx context.Context, plugin string, method Method, ro *argo.Rollout, in traffic.Intent) (verified *bool, err error) {
	p, err := r.host.process(TrafficRouter, plugin)
	if err != nil {
		return nil, err
	}
	var failed types.RpcError
	err = p.call(ctx, func(impl any) {
		verified, failed = route(impl.(types.RpcTrafficRoutingReconciler), method, ro, in)
	})
	if err = join(err, plugin, string(method), failed); err != nil {
		return nil, err
	}
	return verified, nil
}

// Apply gives a plugin a whole intent, in the order of the peer: managed routes (all taken away, or those in force set), hashes,
// weights; then it asks for verification, whose answer is nil when the plugin cannot tell. It stops at the first error.
func (r Routers) Apply(ctx context.Context, plugin string, ro *argo.Rollout, in traffic.Intent) (verified *bool, err error) {
	methods := []Method{SetHeaderRoute, SetMirrorRoute, UpdateHash, SetWeight, VerifyWeight}
	if in.Remove {
		methods = []Method{RemoveManagedRoutes, UpdateHash, SetWeight, VerifyWeight}
	}
	for _, method := range methods {
		if verified, err = r.Do(ctx, plugin, method, ro, in); err != nil {
			return nil, err
		}
	}
	return verified, nil
}

func route(p types.RpcTrafficRoutingReconciler, method Method, ro *argo.Rollout, in traffic.Intent) (*bool, types.RpcError) {
	switch method {
	case UpdateHash:
		return nil, p.UpdateHash(ro, in.CanaryHash, in.StableHash, in.Additional)
	case SetWeight:
		return nil, p.SetWeight(ro, in.Weight, in.Additional)
	case SetHeaderRoute:
		for i := range in.Headers {
			if err := p.SetHeaderRoute(ro, &in.Headers[i]); err.HasError() {
				return nil, err
			}
		}
		return nil, types.RpcError{}
	case SetMirrorRoute:
		for i := range in.Mirrors {
			if err := p.SetMirrorRoute(ro, &in.Mirrors[i]); err.HasError() {
				return nil, err
			}
		}
		return nil, types.RpcError{}
	case VerifyWeight:
		verified, err := p.VerifyWeight(ro, in.Weight, in.Additional)
		return verified.IsVerified(), err
	case RemoveManagedRoutes:
		return nil, p.RemoveManagedRoutes(ro)
	}
	return nil, types.RpcError{ErrorString: fmt.Sprintf("traffic router plugins have no method %q", method)}
}
