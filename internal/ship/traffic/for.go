package traffic

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

// GatewayAPIPlugin is the key under trafficRouting.plugins that is served in this process, with no plugin.
const GatewayAPIPlugin = "argoproj-labs/gatewayAPI"

// Versions are the API versions in which the objects of routers are read and written. An empty one is the default. The peer
// has a flag for each but Apisix's; those of the Gateway API had better be what the API server serves.
type Versions struct {
	Istio      string // of networking.istio.io; default v1alpha3
	SMI        string // of split.smi-spec.io; default v1alpha1
	Ambassador string // group and version; default getambassador.io/v2
	Traefik    string // group and version; default traefik.io/v1alpha1
	Apisix     string // of apisix.apache.org; default v2
	HTTPRoute  string // of gateway.networking.k8s.io; default v1
	GRPCRoute  string // default v1
	TCPRoute   string // default v1, as of Gateway API 1.6
	TLSRoute   string // default v1, as of Gateway API 1.5
}

// For returns the routers that a Rollout of the namespace configures, in the order in which they are driven: Istio, Nginx,
// ALB, SMI, Ambassador, Traefik, Apisix, Gateway API. External plugins are not among them, see Plugins. The objects are read
// and written in the default versions; see Versions.For.
func For(namespace string, routing *argo.RolloutTrafficRouting) ([]Router, error) {
	return Versions{}.For(namespace, routing)
}

// For is For with API versions of the caller's choice.
func (v Versions) For(namespace string, routing *argo.RolloutTrafficRouting) ([]Router, error) {
	if routing == nil {
		return nil, nil
	}
	var routers []Router
	if routing.Istio != nil {
		routers = append(routers, newIstio(v, namespace, routing))
	}
	if routing.Nginx != nil {
		routers = append(routers, nginx{namespace, routing.Nginx})
	}
	if routing.ALB != nil {
		routers = append(routers, alb{namespace, routing.ALB})
	}
	if routing.SMI != nil {
		routers = append(routers, newSMI(v, namespace, routing.SMI))
	}
	if routing.Ambassador != nil {
		routers = append(routers, newAmbassador(v, namespace, routing.Ambassador))
	}
	if routing.AppMesh != nil {
		return nil, errors.New("spec.strategy.canary.trafficRouting.appMesh: AWS ended App Mesh on 2026-09-30, and Fairway does not drive it; move to another router and configure that one")
	}
	if routing.Traefik != nil {
		routers = append(routers, newTraefik(v, namespace, routing.Traefik))
	}
	if routing.Apisix != nil {
		routers = append(routers, newApisix(v, namespace, routing))
	}
	if raw, ok := routing.Plugins[GatewayAPIPlugin]; ok {
		g, err := newGatewayAPI(v, namespace, raw)
		if err != nil {
			return nil, fmt.Errorf("spec.strategy.canary.trafficRouting.plugins[%s]: %w", GatewayAPIPlugin, err)
		}
		routers = append(routers, g)
	}
	return routers, nil
}

// Plugins are the names of the external traffic router plugins that a Rollout configures, sorted.
func Plugins(routing *argo.RolloutTrafficRouting) []string {
	if routing == nil {
		return nil
	}
	names := slices.Sorted(maps.Keys(map[string]json.RawMessage(routing.Plugins)))
	return slices.DeleteFunc(names, func(n string) bool { return n == GatewayAPIPlugin })
}
