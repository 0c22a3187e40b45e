package validate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/fieldpath"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// step checks one step of a canary.
func step(ro *rollouts.Rollout, index int, path *field.Path) field.ErrorList {
	c := ro.Spec.Strategy.Canary
	s := &c.Steps[index]
	errs := stepKeys(s, path)
	if highest := maxWeight(c); s.SetWeight != nil && (*s.SetWeight < 0 || *s.SetWeight > highest) {
		errs = append(errs, field.Invalid(path.Child("setWeight"), *s.SetWeight, fmt.Sprintf("SetWeight needs to be between 0 and %d", highest)))
	}
	if s.Pause != nil && s.Pause.DurationSeconds() < 0 {
		errs = append(errs, field.Invalid(path.Child("pause", "duration"), s.Pause.Duration.String(),
			"Duration needs to be greater than 0; write seconds, or a duration such as 30s, 5m or 1h"))
	}
	if scale := s.SetCanaryScale; scale != nil {
		if c.TrafficRouting == nil {
			errs = append(errs, field.Required(field.NewPath("spec", "strategy",
				"canary", "trafficRouting"), "SetCanaryScale requires TrafficRouting to be set"))
		}
		errs = append(errs, nonnegative(int64(orDefault(scale.Weight, 0)), path.Child("setCanaryScale", "weight"))...)
		errs = append(errs, nonnegative(int64(orDefault(scale.Replicas, 0)), path.Child("setCanaryScale", "replicas"))...)
	}
	if s.SetHeaderRoute != nil {
		errs = append(errs, headerRoute(c.TrafficRouting, s.SetHeaderRoute, path.Child("setHeaderRoute"))...)
	}
	if s.SetMirrorRoute != nil {
		errs = append(errs, mirrorRoute(c.TrafficRouting, s.SetMirrorRoute, path.Child("setMirrorRoute"))...)
	}
	if s.Experiment != nil {
		errs = append(errs, experimentStep(ro, index, path.Child("experiment"))...)
	}
	if s.Analysis != nil {
		errs = append(errs, rolloutAnalysis(ro, s.Analysis, path.Child("analysis"))...)
	}
	if s.Plugin != nil && s.Plugin.Name == "" {
		errs = append(errs, field.Required(path.Child("plugin", "name"), "name the plugin as config map argo-rollouts-config does"))
	}
	return errs
}

// maxWeight is the weight that means all traffic.
func maxWeight(c *argo.CanaryStrategy) int32 {
	if c.TrafficRouting == nil {
		return trafficWeightDefault
	}
	return orDefault(c.TrafficRouting.MaxTrafficWeight, trafficWeightDefault)
}

// stepKeys checks that a step does something, and at most one of those things that end a step each in its own way. As the peer,
// it lets setCanaryScale, setHeaderRoute, setMirrorRoute and plugin stand beside others.
func stepKeys(s *argo.CanaryStep, path *field.Path) field.ErrorList {
	const one = "Step must have one of the following set: experiment, setWeight, setCanaryScale, plugin or pause"
	var set []string
	for _, key := range []struct {
		name string
		set  bool
	}{{"experiment", s.Experiment != nil}, {"pause", s.Pause != nil}, {"setWeight", s.SetWeight != nil}, {"analysis", s.Analysis != nil}} {
		if key.set {
			set = append(set, key.name)
		}
	}
	switch {
	case len(set) > 1:
		return field.ErrorList{field.Invalid(path, strings.Join(set, ", "), one+"; make a step of each")}
	case len(set) == 0 && s.SetCanaryScale == nil && s.SetHeaderRoute == nil && s.SetMirrorRoute == nil && s.Plugin == nil:
		return field.ErrorList{field.Invalid(path, "none", one+"; or analysis, setHeaderRoute or setMirrorRoute")}
	}
	return nil
}

func headerRoute(t *argo.RolloutTrafficRouting, h *argo.SetHeaderRoute, path *field.Path) field.ErrorList {
	if t == nil || t.Istio == nil && t.ALB == nil && t.Apisix == nil && len(t.Plugins) == 0 {
		return field.ErrorList{field.Invalid(path, h.Name, "SetHeaderRoute requires TrafficRouting, supports Istio and ALB and Apisix; and plugins")}
	}
	var errs field.ErrorList
	for i, m := range h.Match {
		at := path.Child("match").Index(i)
		if m.HeaderName == "" {
			errs = append(errs, field.Required(at.Child("headerName"), "name the header"))
		}
		if t.ALB == nil || m.HeaderValue == nil {
			errs = append(errs, stringMatch(m.HeaderValue, at)...)
		} else if v := m.HeaderValue; v.Exact == "" || v.Regex != "" || v.Prefix != "" {
			errs = append(errs, field.Invalid(at, v, "SetHeaderRoute match value invalid. ALB supports 'exact' value only"))
		}
	}
	return append(errs, managedRoute(t, h.Name, path)...)
}

func mirrorRoute(t *argo.RolloutTrafficRouting, m *argo.SetMirrorRoute, path *field.Path) field.ErrorList {
	if t == nil || t.Istio == nil && len(t.Plugins) == 0 {
		return field.ErrorList{field.Invalid(path, m.Name, "SetMirrorRoute requires TrafficRouting, supports Istio and Plugins")}
	}
	var errs field.ErrorList
	if p := m.Percentage; p != nil && (*p < 0 || *p > 100) {
		errs = append(errs, field.Invalid(path.Child("percentage"), *p, "must be between 0 and 100"))
	}
	for i, match := range m.Match {
		at := path.Child("match").Index(i)
		if match.Method != nil {
			errs = append(errs, stringMatch(match.Method, at.Child("method"))...)
		}
		if match.Path != nil {
			errs = append(errs, stringMatch(match.Path, at.Child("path"))...)
		}
		for _, name := range slices.Sorted(maps.Keys(match.Headers)) {
			value := match.Headers[name]
			errs = append(errs, stringMatch(&value, at.Child("headers").Key(name))...)
		}
	}
	return append(errs, managedRoute(t, m.Name, path)...)
}

// stringMatch checks that a match has exactly one form.
func stringMatch(m *argo.StringMatch, path *field.Path) field.ErrorList {
	forms := 0
	if m != nil {
		for _, value := range []string{m.Exact, m.Regex, m.Prefix} {
			if value != "" {
				forms++
			}
		}
	}
	switch forms {
	case 0:
		return field.ErrorList{field.Invalid(path, m, "StringMatch value missed, match value must have one of the following: exact, regex, prefix")}
	case 1:
		return nil
	}
	return field.ErrorList{field.Invalid(path, m, "StringMatch match value must have exactly one of the following: exact, regex, prefix")}
}

// managedRoute checks that a step's route is one that the Rollout may add and take away.
func managedRoute(t *argo.RolloutTrafficRouting, name string, path *field.Path) field.ErrorList {
	if t.ManagedRoutes == nil {
		return field.ErrorList{field.Required(field.NewPath("spec", "strategy", "canary",
			"trafficRouting", "managedRoutes"), missing("spec.strategy.canary.trafficRouting.managedRoutes"))}
	}
	if slices.ContainsFunc(t.ManagedRoutes, func(m argo.MangedRoutes) bool { return m.Name == name }) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, name, "Steps define a route that does not exist in spec.strategy.canary.trafficRouting.managedRoutes")}
}

// experimentStep checks an experiment, and that its weights have room beside the canary's.
func experimentStep(ro *rollouts.Rollout, index int, path *field.Path) field.ErrorList {
	c := ro.Spec.Strategy.Canary
	e, t := c.Steps[index].Experiment, c.TrafficRouting
	errs := duration(e.Duration, path.Child("duration"))
	names, total := map[string]bool{}, int32(0)
	for i := range e.Templates {
		template, at := &e.Templates[i], path.Child("templates").Index(i)
		errs = append(errs, uniqueName(names, template.Name, at.Child("name"))...)
		refs := []argo.ReplicaSetSpecRef{argo.CanarySpecRef, argo.StableSpecRef}
		if !slices.Contains(refs, template.SpecRef) {
			errs = append(errs, field.NotSupported(at.Child("specRef"), template.SpecRef, refs))
		}
		errs = append(errs, nonnegative(int64(orDefault(template.Replicas, 1)), at.Child("replicas"))...)
		if template.Weight == nil {
			continue
		}
		total += *template.Weight
		switch {
		case t == nil:
			errs = append(errs, field.Invalid(at.Child("weight"), *template.Weight,
				"Experiment template weight cannot be set unless TrafficRouting is enabled"))
		case t.ALB == nil && t.SMI == nil && t.Istio == nil && len(t.Plugins) == 0:
			errs = append(errs, field.Invalid(at.Child("weight"), *template.Weight,
				"Experiment template weight is only available for TrafficRouting with SMI, ALB, Istio and Plugins at this time"))
		}
		errs = append(errs, nonnegative(int64(*template.Weight), at.Child("weight"))...)
	}
	if highest := maxWeight(c); total > 0 && t != nil && total+weightAt(c, index) > highest {
		errs = append(errs, field.Invalid(path.Child("templates"), total,
			fmt.Sprintf("the weights of the templates and the canary's own %d must not exceed %d together", weightAt(c, index), highest)))
	}
	analyses := map[string]bool{}
	for i := range e.Analyses {
		a, at := &e.Analyses[i], path.Child("analyses").Index(i)
		errs = append(errs, uniqueName(analyses, a.Name, at.Child("name"))...)
		if a.TemplateName == "" {
			errs = append(errs, field.Required(at.Child("templateName"), "name an AnalysisTemplate"))
		}
		errs = append(errs, arguments(ro, a.Args, at.Child("args"))...)
	}
	return errs
}

// weightAt is the canary's weight when a step begins.
func weightAt(c *argo.CanaryStrategy, index int) int32 {
	for i := index; i >= 0; i-- {
		if w := c.Steps[i].SetWeight; w != nil {
			return *w
		}
	}
	return 0
}

func uniqueName(seen map[string]bool, name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "give it a name")}
	}
	if seen[name] {
		return field.ErrorList{field.Duplicate(path, name)}
	}
	seen[name] = true
	return nil
}

func duration(d argo.DurationString, path *field.Path) field.ErrorList {
	if d == "" || unresolved(string(d)) {
		return nil
	}
	if _, err := d.Duration(); err != nil {
		return field.ErrorList{field.Invalid(path, string(d), "not a duration; write it as 30s, 5m or 1h")}
	}
	return nil
}

// rolloutAnalysis checks what a Rollout says about an analysis; what the templates say is checked where they are found.
func rolloutAnalysis(ro *rollouts.Rollout, a *argo.RolloutAnalysis, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(a.Templates) == 0 {
		errs = append(errs, field.Required(path.Child("templates"), "name at least one AnalysisTemplate"))
	}
	for i, ref := range a.Templates {
		if ref.TemplateName == "" {
			errs = append(errs, field.Required(path.Child("templates").Index(i).Child("templateName"), "name an AnalysisTemplate"))
		}
	}
	return append(errs, arguments(ro, a.Args, path.Child("args"))...)
}

// arguments checks where a Rollout takes the values of arguments from.
func arguments(ro *rollouts.Rollout, args []argo.AnalysisRunArgument, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range args {
		at, from := path.Index(i), args[i].ValueFrom
		if args[i].Name == "" {
			errs = append(errs, field.Required(at.Child("name"), "name the argument"))
		}
		if from == nil {
			continue
		}
		at = at.Child("valueFrom")
		if hash := from.PodTemplateHashValue; hash != nil && *hash != argo.Stable && *hash != argo.Latest {
			errs = append(errs, field.NotSupported(at.Child("podTemplateHashValue"), *hash, []argo.ValueFromPodTemplateHash{argo.Latest, argo.Stable}))
		}
		if ref := from.FieldRef; ref != nil && strings.HasPrefix(ref.FieldPath, "metadata") {
			if _, err := fieldpath.ExtractFieldPathAsString(ro, ref.FieldPath); err != nil {
				errs = append(errs, field.Invalid(at.Child("fieldRef", "fieldPath"), ref.FieldPath,
					"Analyses arguments must refer to valid object metadata supported by downwardAPI"))
			}
		}
	}
	return errs
}
