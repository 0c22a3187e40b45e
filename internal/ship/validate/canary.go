package validate

import (
	"slices"
	"strconv"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairway-dev/fairway/api/rollouts"
)

func canary(ro *rollouts.Rollout, path *field.Path) field.ErrorList {
	c := ro.Spec.Strategy.Canary
	errs := intOrPercent(c.MaxSurge, path.Child("maxSurge"))
	errs = append(errs, intOrPercent(c.MaxUnavailable, path.Child("maxUnavailable"))...)
	if zero(c.MaxSurge) && zero(c.MaxUnavailable) {
		errs = append(errs, field.Invalid(path.Child("maxSurge"), c.MaxSurge, "MaxSurge and MaxUnavailable both can not be zero"))
	}
	errs = append(errs, canaryServices(c, path)...)
	errs = append(errs, canaryScaling(c, path)...)
	errs = append(errs, routing(c.TrafficRouting, path.Child("trafficRouting"))...)
	for i := range c.Steps {
		errs = append(errs, step(ro, i, path.Child("steps").Index(i))...)
	}
	if c.Analysis != nil {
		errs = append(errs, rolloutAnalysis(ro, &c.Analysis.RolloutAnalysis, path.Child("analysis"))...)
	}
	return append(errs, antiAffinity(c.AntiAffinity, path.Child("antiAffinity"))...)
}

// zero tells whether a number of pods, or a percentage, is given and 0.
func zero(value *intstr.IntOrString) bool {
	if value == nil {
		return false
	}
	if value.Type == intstr.Int {
		return value.IntVal == 0
	}
	n, err := strconv.Atoi(strings.TrimSuffix(value.StrVal, "%"))
	return err == nil && n == 0
}

func canaryServices(c *argo.CanaryStrategy, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.CanaryService != "" && c.CanaryService == c.StableService {
		errs = append(errs, field.Invalid(path.Child("stableService"), c.StableService,
			"This rollout uses the same service for the stable and canary services, but two different services are required."))
	}
	errs = append(errs, pingPong(c, path)...)
	if needsServices(c) {
		const both = "Canary service and Stable service must to be set to use Traffic Routing"
		if c.StableService == "" {
			errs = append(errs, field.Invalid(path.Child("stableService"), c.StableService, both))
		}
		if c.CanaryService == "" {
			errs = append(errs, field.Invalid(path.Child("canaryService"), c.CanaryService, both))
		}
	}
	return errs
}

// needsServices tells whether a router needs both Services by name: all do but plugins, those that have ping-pong, and Istio
// with subsets.
func needsServices(c *argo.CanaryStrategy) bool {
	t := c.TrafficRouting
	if t == nil {
		return false
	}
	return t.ALB != nil && c.PingPong == nil || t.Istio != nil && t.Istio.DestinationRule == nil && c.PingPong == nil ||
		t.SMI != nil || t.Apisix != nil || t.Ambassador != nil || t.Nginx != nil || t.Traefik != nil
}

func pingPong(c *argo.CanaryStrategy, path *field.Path) field.ErrorList {
	p, t := c.PingPong, c.TrafficRouting
	if p == nil {
		return nil
	}
	var errs field.ErrorList
	if t != nil && t.ALB == nil && t.Istio == nil && len(t.Plugins) == 0 {
		errs = append(errs, field.Invalid(path.Child("trafficRouting", "alb"), t.ALB,
			"Ping-pong feature works with the ALB, Istio, and plugin-based traffic routers only"))
	}
	const both = "Ping service and Pong service must to be set to use Ping-Pong feature"
	if p.PingService == "" {
		errs = append(errs, field.Invalid(path.Child("pingPong", "pingService"), p.PingService, both))
	}
	if p.PongService == "" {
		errs = append(errs, field.Invalid(path.Child("pingPong", "pongService"), p.PongService, both))
	}
	if p.PingService == p.PongService {
		errs = append(errs, field.Invalid(path.Child("pingPong", "pingService"), p.PingService,
			"This rollout uses the same service for the ping and pong services, but two different services are required."))
	}
	if t != nil && t.ALB != nil && t.ALB.RootService == "" {
		errs = append(errs, field.Invalid(path.Child("trafficRouting", "alb", "rootService"), t.ALB.RootService,
			"Root service field is required for the configuration with ALB and ping-pong feature enabled"))
	}
	return errs
}

// canaryScaling checks what depends on there being a router.
func canaryScaling(c *argo.CanaryStrategy, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.TrafficRouting == nil {
		if c.ScaleDownDelaySeconds != nil {
			errs = append(errs, field.Invalid(path.Child("scaleDownDelaySeconds"), *c.ScaleDownDelaySeconds,
				"Canary scaleDownDelaySeconds can only be used with traffic routing"))
		}
		if c.DynamicStableScale {
			errs = append(errs, field.Invalid(path.Child("dynamicStableScale"), true, "Canary dynamicStableScale can only be used with traffic routing"))
		}
	} else if c.ScaleDownDelaySeconds != nil && c.DynamicStableScale {
		errs = append(errs, field.Invalid(path.Child("dynamicStableScale"), true, "Canary dynamicStableScale cannot be used with scaleDownDelaySeconds"))
	}
	if t := c.ReplicaProgressThreshold; t != nil {
		kinds := []argo.ProgressType{argo.ProgressTypePercentage, argo.ProgressTypePods}
		if !slices.Contains(kinds, t.Type) {
			errs = append(errs, field.NotSupported(path.Child("replicaProgressThreshold", "type"), t.Type, kinds))
		}
	}
	return errs
}
