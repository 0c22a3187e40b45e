package validate

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// Labels and annotations of the peer.
const (
	hashLabel           = argo.DefaultRolloutUniqueLabelKey
	managedByAnnotation = argo.ManagedByRolloutsKey
)

// Found is what a Rollout refers to, as it was found.
type Found struct {
	// Services of the Rollout's namespace by name.
	Services map[string]*corev1.Service
	// Objects of its routers.
	Objects traffic.Objects
	// Templates it names, and those they name in turn.
	Templates analysis.Templates
	// WorkloadMissing says that what workloadRef names does not exist.
	WorkloadMissing bool
	// Versions in which Objects were read.
	Versions traffic.Versions
	// Offline says that more may exist than was found, as when files are checked: what is absent is no problem then. Objects of
	// routers that are there are all checked but SMI's, whose owner files cannot tell; in a running cluster what is wrong with
	// those of Traefik, APISIX and the Gateway API is told when the router is driven, and leaves the weights as they are.
	Offline bool
}

// References checks a Rollout whose spec is valid against what it refers to.
func References(ro *rollouts.Rollout, found Found) []Problem {
	var errs field.ErrorList
	if ref := ro.Spec.WorkloadRef; ref != nil && found.WorkloadMissing {
		errs = append(errs, field.Invalid(field.NewPath("spec", "workloadRef"), ref.Kind+"/"+ref.Name,
			fmt.Sprintf("%s %q not found; create it, or correct workloadRef", ref.Kind, ref.Name)))
	}
	for _, s := range services(&ro.Spec.Strategy) {
		errs = append(errs, service(ro, s, found)...)
	}
	for _, a := range analyses(&ro.Spec.Strategy) {
		errs = append(errs, templates(ro, a, found)...)
	}
	return problems(append(errs, routes(ro, found)...))
}

type namedService struct {
	name string
	path *field.Path
}

// services are those a strategy names, in the peer's order.
func services(s *argo.RolloutStrategy) []namedService {
	path := field.NewPath("spec", "strategy")
	var all []namedService
	switch {
	case s.BlueGreen != nil:
		at := path.Child("blueGreen")
		all = []namedService{{s.BlueGreen.ActiveService, at.Child("activeService")}, {s.BlueGreen.PreviewService, at.Child("previewService")}}
	case s.Canary != nil:
		at := path.Child("canary")
		all = []namedService{{s.Canary.StableService, at.Child("stableService")}, {s.Canary.CanaryService, at.Child("canaryService")}}
		if p := s.Canary.PingPong; p != nil {
			all = append(all, namedService{p.PingService, at.Child("pingPong",
				"pingService")}, namedService{p.PongService, at.Child("pingPong", "pongService")})
		}
	}
	return slices.DeleteFunc(all, func(s namedService) bool { return s.name == "" })
}

func service(ro *rollouts.Rollout, s namedService, found Found) field.ErrorList {
	object := found.Services[s.name]
	if object == nil {
		if found.Offline {
			return nil
		}
		return field.ErrorList{field.Invalid(s.path, s.name, fmt.Sprintf("service %q not found; create it, or correct the name", s.name))}
	}
	var errs field.ErrorList
	unknown := ro.Spec.WorkloadRef != nil && !ro.Spec.TemplateResolvedFromRef // the labels are not here
	for _, label := range slices.Sorted(maps.Keys(object.Spec.Selector)) {
		if label == hashLabel || unknown {
			continue
		}
		if value, ok := ro.Spec.Template.Labels[label]; !ok || value != object.Spec.Selector[label] {
			errs = append(errs, field.Invalid(s.path, s.name,
				fmt.Sprintf("Service %q has unmatch label %q in rollout; select labels of the Rollout's template", s.name, label)))
		}
	}
	if owner := object.Annotations[managedByAnnotation]; owner != "" && owner != ro.Name {
		errs = append(errs, field.Invalid(s.path, s.name, fmt.Sprintf("Service %q is managed by another Rollout; it is %q", s.name, owner)))
	}
	return errs
}

type namedAnalysis struct {
	*argo.RolloutAnalysis
	path       *field.Path
	background bool
}

// analyses are those a strategy names, in the peer's order.
func analyses(s *argo.RolloutStrategy) []namedAnalysis {
	path := field.NewPath("spec", "strategy")
	var all []namedAnalysis
	switch {
	case s.BlueGreen != nil:
		at := path.Child("blueGreen")
		all = []namedAnalysis{{s.BlueGreen.PrePromotionAnalysis, at.Child("prePromotionAnalysis"), false}, {s.BlueGreen.PostPromotionAnalysis, at.Child("postPromotionAnalysis"), false}}
	case s.Canary != nil:
		at := path.Child("canary")
		for i := range s.Canary.Steps {
			all = append(all, namedAnalysis{s.Canary.Steps[i].Analysis, at.Child("steps").Index(i).Child("analysis"), false})
		}
		if s.Canary.Analysis != nil {
			all = append(all, namedAnalysis{&s.Canary.Analysis.RolloutAnalysis, at.Child("analysis"), true})
		}
	}
	return slices.DeleteFunc(all, func(a namedAnalysis) bool { return a.RolloutAnalysis == nil })
}

// templates checks the templates of one analysis, each and all together.
func templates(ro *rollouts.Rollout, a namedAnalysis, found Found) field.ErrorList {
	path := a.path.Child("templates")
	all, errs := closure(a.Templates, found, path)
	for _, t := range all {
		for _, p := range problems(templateSpec(t.spec)) {
			errs = append(errs, field.Invalid(path, t.name, fmt.Sprintf("%s %s: %s", t.kind, t.name, p)))
		}
	}
	if len(errs) > 0 || len(all) == 0 || incomplete(a.Templates, found) {
		return errs
	}
	args, known := sampleArgs(ro, a.Args)
	spec, err := analysis.Spec(a.Templates, found.Templates, args, a.DryRun, a.MeasurementRetention)
	if err != nil {
		return append(errs, field.Invalid(path, names(all), err.Error()))
	}
	if why := cannotStart(spec); why != "" && known {
		return append(errs, field.Invalid(path, names(all), why))
	}
	if a.background {
		return errs
	}
	for i := range spec.Metrics {
		if m := &spec.Metrics[i]; endless(m, spec.Args) {
			name := owner(all, m.Name)
			errs = append(errs, field.Invalid(path, name,
				fmt.Sprintf("AnalysisTemplate %s has metric %s which runs indefinitely. Invalid value for count: %v; give it a count, or remove the interval", name, m.Name, m.Count)))
		}
	}
	return errs
}

type foundTemplate struct {
	kind, name string
	spec       *argo.AnalysisTemplateSpec
}

// closure finds the templates that refs lead to, each once, and names those that are not there.
func closure(refs []argo.AnalysisTemplateRef, found Found, path *field.Path) ([]foundTemplate, field.ErrorList) {
	var all []foundTemplate
	var errs field.ErrorList
	seen := map[string]bool{}
	var follow func(refs []argo.AnalysisTemplateRef)
	follow = func(refs []argo.AnalysisTemplateRef) {
		for i := range refs {
			t := foundTemplate{kind: "AnalysisTemplate", name: refs[i].TemplateName}
			if refs[i].IsClusterScope() {
				t.kind = "ClusterAnalysisTemplate"
				if c := found.Templates.Cluster[t.name]; c != nil {
					t.spec = &c.Spec
				}
			} else if n := found.Templates.Namespaced[t.name]; n != nil {
				t.spec = &n.Spec
			}
			if seen[t.kind+"/"+t.name] {
				continue
			}
			seen[t.kind+"/"+t.name] = true
			if t.spec == nil {
				if !found.Offline {
					errs = append(errs, field.Invalid(path, t.name, fmt.Sprintf("%s '%s' not found; create it, or correct the name", t.kind, t.name)))
				}
				continue
			}
			all = append(all, t)
			follow(t.spec.Templates)
		}
	}
	follow(refs)
	return all, errs
}

// incomplete tells whether some of the templates were not found, so that those found cannot be judged together.
func incomplete(refs []argo.AnalysisTemplateRef, found Found) bool {
	found.Offline = false
	_, errs := closure(refs, found, field.NewPath(""))
	return len(errs) > 0
}

func names(all []foundTemplate) string {
	var out []string
	for _, t := range all {
		out = append(out, t.name)
	}
	return "templateNames: [" + strings.Join(out, " ") + "]"
}

// owner is the template that has the metric.
func owner(all []foundTemplate, metric string) string {
	i := slices.IndexFunc(all, func(t foundTemplate) bool {
		return slices.ContainsFunc(t.spec.Metrics, func(m argo.Metric) bool { return m.Name == metric })
	})
	if i < 0 {
		return ""
	}
	return all[i].name
}

// cannotStart is why a run with this spec would end with an error before it measures anything, "" when it would not.
func cannotStart(spec argo.AnalysisRunSpec) string {
	status := analysis.Assess(&argo.AnalysisRun{Spec: spec}, time.Time{}).Status
	if status.Phase != argo.AnalysisPhaseError {
		return ""
	}
	return status.Message
}

// sampleArgs gives arguments the values they would have. Where only a running update has one it is any, and known is false.
func sampleArgs(ro *rollouts.Rollout, from []argo.AnalysisRunArgument) (args []argo.Argument, known bool) {
	object := map[string]any{}
	if b, err := json.Marshal(ro); err == nil {
		_ = json.Unmarshal(b, &object) // what was just marshalled can be read
	}
	args, known = make([]argo.Argument, len(from)), true
	for i := range from {
		value := "value"
		if one, err := analysis.Args(from[i:i+1], object, "hash-of-stable", "hash-of-latest"); err == nil {
			value = *one[0].Value
		} else {
			known = false
		}
		args[i] = argo.Argument{Name: from[i].Name, Value: &value}
	}
	return args, known
}

// endless tells whether a metric has an interval and no count, with the arguments in place.
func endless(m *argo.Metric, args []argo.Argument) bool {
	if m.Interval == "" {
		return false
	}
	if m.Count == nil {
		return true
	}
	text := m.Count.String()
	for _, arg := range args {
		if arg.Value != nil {
			for _, form := range []string{"{{args." + arg.Name + "}}", "{{ args." + arg.Name + " }}"} {
				text = strings.ReplaceAll(text, form, *arg.Value)
			}
		}
	}
	return text == "0" || text == ""
}

// routes lets each router try to translate the state of rest, and reports what stands in its way.
func routes(ro *rollouts.Rollout, found Found) field.ErrorList {
	c := ro.Spec.Strategy.Canary
	if c == nil || c.TrafficRouting == nil {
		return nil
	}
	routers, err := found.Versions.For(ro.Namespace, c.TrafficRouting)
	if err != nil {
		return nil // a problem of the spec
	}
	in := rest(ro)
	fields := map[string]string{"Istio": "istio", "Nginx": "nginx", "ALB": "alb", "Ambassador": "ambassador"}
	if found.Offline {
		maps.Copy(fields, map[string]string{"Traefik": "traefik", "Apisix": "apisix", "GatewayAPI": "plugins"})
	}
	var errs field.ErrorList
	for _, r := range routers {
		name, checked := fields[r.Kind()]
		if !checked {
			continue
		}
		_, err := r.Translate(in, found.Objects)
		if err == nil || found.Offline && errors.Is(err, traffic.ErrMissing) {
			continue
		}
		errs = append(errs, field.Invalid(field.NewPath("spec", "strategy", "canary", "trafficRouting", name), r.Kind(), err.Error()))
	}
	return errs
}

// rest is what a Rollout that is not updating wants of its routers.
func rest(ro *rollouts.Rollout) traffic.Intent {
	c := ro.Spec.Strategy.Canary
	in := traffic.Intent{Namespace: ro.Namespace, Name: ro.Name, UID: string(ro.UID), Routing: c.TrafficRouting, Max: maxWeight(c),
		CanaryService: c.CanaryService, StableService: c.StableService, HoldHash: true}
	if p := c.PingPong; p != nil && in.CanaryService == "" && in.StableService == "" {
		in.CanaryService, in.StableService = p.PingService, p.PongService
		if ro.Status.Canary.StablePingPong == argo.PPPing {
			in.CanaryService, in.StableService = p.PongService, p.PingService
		}
	}
	return in
}
