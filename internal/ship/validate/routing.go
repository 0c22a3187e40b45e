package validate

import (
	"encoding/json"
	"errors"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// routing checks how routers are configured.
func routing(t *argo.RolloutTrafficRouting, path *field.Path) field.ErrorList {
	if t == nil {
		return nil
	}
	var errs field.ErrorList
	if m := t.MaxTrafficWeight; m != nil {
		at := path.Child("maxTrafficWeight")
		if t.Nginx == nil && len(t.Plugins) == 0 {
			errs = append(errs, field.Invalid(at, *m, "Canary maxTrafficWeight in traffic routing only supported in Nginx and Plugins"))
		}
		if *m < 1 {
			errs = append(errs, field.Invalid(at, *m, "must be greater than 0"))
		}
	}
	names := map[string]bool{}
	for i, m := range t.ManagedRoutes {
		at := path.Child("managedRoutes").Index(i).Child("name")
		switch {
		case m.Name == "":
			errs = append(errs, field.Required(at, "name the route"))
		case names[m.Name]:
			errs = append(errs, field.Duplicate(at, m.Name))
		}
		names[m.Name] = true
	}
	errs = append(errs, ingresses(t, path)...)
	errs = append(errs, istio(t.Istio, path.Child("istio"))...)
	if a := t.Ambassador; a != nil && len(a.Mappings) == 0 {
		errs = append(errs, field.Invalid(path.Child("ambassador", "mappings"), nil, "must provide at least one mapping"))
	}
	if a := t.Traefik; a != nil && a.WeightedTraefikServiceName == "" {
		errs = append(errs, field.Required(path.Child("traefik", "weightedTraefikServiceName"), "name a TraefikService"))
	}
	if a := t.Apisix; a != nil && (a.Route == nil || a.Route.Name == "") {
		errs = append(errs, field.Required(path.Child("apisix", "route", "name"), "name an ApisixRoute"))
	}
	return append(errs, routers(t, path)...)
}

// routers asks the routers themselves.
func routers(t *argo.RolloutTrafficRouting, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.AppMesh != nil {
		_, err := traffic.For("", &argo.RolloutTrafficRouting{AppMesh: t.AppMesh})
		errs = append(errs, field.Forbidden(path.Child("appMesh"), cause(err)))
	}
	if raw, ok := t.Plugins[traffic.GatewayAPIPlugin]; ok {
		only := &argo.RolloutTrafficRouting{}
		only.Plugins = map[string]json.RawMessage{traffic.GatewayAPIPlugin: raw}
		if _, err := traffic.For("", only); err != nil {
			errs = append(errs, field.Invalid(path.Child("plugins").Key(traffic.GatewayAPIPlugin), string(raw), cause(err)))
		}
	}
	return errs
}

// cause is the text of an error without the field it begins with.
func cause(err error) string {
	if err == nil {
		return ""
	}
	if inner := errors.Unwrap(err); inner != nil {
		return inner.Error()
	}
	return err.Error()
}

// ingresses checks that one form of naming Ingresses is used: one, or several.
func ingresses(t *argo.RolloutTrafficRouting, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	form := func(at *field.Path, one bool, many bool, names string) {
		switch {
		case one && many:
			errs = append(errs, field.Forbidden(at, "Either "+names+" must be configured. Both are configured."))
		case !one && !many:
			errs = append(errs, field.Required(at, "Either "+names+" must be configured. Neither are configured."))
		}
	}
	if n := t.Nginx; n != nil {
		form(path.Child("nginx"), n.StableIngress != "", n.StableIngresses != nil, "StableIngress or StableIngresses")
	}
	if a := t.ALB; a != nil {
		form(path.Child("alb"), a.Ingress != "", a.Ingresses != nil, "Ingress or Ingresses")
		if s := a.StickinessConfig; s != nil && s.Enabled && (s.DurationSeconds < 1 || s.DurationSeconds > 604800) {
			errs = append(errs, field.Invalid(path.Child("alb", "stickinessConfig", "durationSeconds"), s.DurationSeconds,
				"TargetGroupStickinessConfig's duration must be between 1 and 604800 seconds (7 days)!"))
		}
	}
	return errs
}

func istio(i *argo.IstioTrafficRouting, path *field.Path) field.ErrorList {
	if i == nil {
		return nil
	}
	var errs field.ErrorList
	const either = "either VirtualService or VirtualServices must be configured"
	switch one, many := i.VirtualService != nil, i.VirtualServices != nil; {
	case one && many:
		errs = append(errs, field.Forbidden(path, either+"; remove one of them"))
	case !one && !many:
		errs = append(errs, field.Required(path, either))
	}
	if s := i.VirtualService; s != nil && s.Name == "" {
		errs = append(errs, field.Required(path.Child("virtualService", "name"), "name a VirtualService"))
	}
	for n, s := range i.VirtualServices {
		if s.Name == "" {
			errs = append(errs, field.Required(path.Child("virtualServices").Index(n).Child("name"), "name a VirtualService"))
		}
	}
	if d := i.DestinationRule; d != nil {
		for _, f := range []struct{ name, value string }{{"name",
			d.Name}, {"canarySubsetName", d.CanarySubsetName}, {"stableSubsetName", d.StableSubsetName}} {
			if f.value == "" {
				errs = append(errs, field.Required(path.Child("destinationRule", f.name), "a DestinationRule is used by its name and the names of two subsets"))
			}
		}
		if d.CanarySubsetName != "" && d.CanarySubsetName == d.StableSubsetName {
			errs = append(errs, field.Invalid(path.Child("destinationRule",
				"canarySubsetName"), d.CanarySubsetName, "canary and stable need two different subsets"))
		}
	}
	return errs
}
