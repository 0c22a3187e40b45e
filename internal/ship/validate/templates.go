package validate

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

// AnalysisTemplate checks a template by itself. What depends on arguments that are put in place later is not judged.
func AnalysisTemplate(t *argo.AnalysisTemplate) []Problem { return problems(templateSpec(&t.Spec)) }

// ClusterAnalysisTemplate checks a template of the cluster by itself, as AnalysisTemplate does.
func ClusterAnalysisTemplate(t *argo.ClusterAnalysisTemplate) []Problem {
	return problems(templateSpec(&t.Spec))
}

// AnalysisRun checks a run by itself: all its arguments must have values, all its rules must match a metric, and with the
// arguments in place its metrics must be such that it can start.
func AnalysisRun(run *argo.AnalysisRun) []Problem {
	path := field.NewPath("spec")
	errs := metrics(run.Spec.Metrics, path.Child("metrics"))
	if len(run.Spec.Metrics) == 0 {
		errs = append(errs, field.Required(path.Child("metrics"), "no metrics specified"))
	}
	errs = append(errs, templateArguments(run.Spec.Args, path.Child("args"))...)
	for i, arg := range run.Spec.Args {
		if arg.Value == nil && arg.ValueFrom == nil {
			errs = append(errs, field.Required(path.Child("args").Index(i), fmt.Sprintf("args.%s was not resolved; give it a value", arg.Name)))
		}
	}
	errs = append(errs, rules(run.Spec.DryRun, run.Spec.MeasurementRetention, run.Spec.Metrics, true, path)...)
	if why := cannotStart(run.Spec); why != "" && len(errs) == 0 {
		errs = append(errs, field.Invalid(path, run.Name, why))
	}
	return problems(errs)
}

func templateSpec(s *argo.AnalysisTemplateSpec) field.ErrorList {
	path := field.NewPath("spec")
	errs := metrics(s.Metrics, path.Child("metrics"))
	if len(s.Metrics) == 0 && len(s.Templates) == 0 {
		errs = append(errs, field.Required(path.Child("metrics"), "no metrics specified; add one, or name templates that have some"))
	}
	errs = append(errs, templateArguments(s.Args, path.Child("args"))...)
	for i, ref := range s.Templates {
		if ref.TemplateName == "" {
			errs = append(errs, field.Required(path.Child("templates").Index(i).Child("templateName"), "name a template"))
		}
	}
	// Rules may be for metrics of the other templates that come together in a run.
	alone := len(s.Templates) == 0
	return append(errs, rules(s.DryRun, s.MeasurementRetention, s.Metrics, alone, path)...)
}

func templateArguments(args []argo.Argument, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	for i, arg := range args {
		at := path.Index(i)
		errs = append(errs, uniqueName(names, arg.Name, at.Child("name"))...)
		from := arg.ValueFrom
		if from == nil {
			continue
		}
		if arg.Value != nil {
			errs = append(errs, field.Invalid(at, arg.Name, fmt.Sprintf("arg '%s' has both Value and ValueFrom fields; remove one", arg.Name)))
		}
		switch secret := from.SecretKeyRef; {
		case secret != nil && from.FieldRef != nil:
			errs = append(errs, field.Invalid(at.Child("valueFrom"), arg.Name, "has both secretKeyRef and fieldRef; remove one"))
		case secret == nil && from.FieldRef == nil:
			errs = append(errs, field.Required(at.Child("valueFrom"), "set secretKeyRef or fieldRef"))
		case secret != nil && (secret.Name == "" || secret.Key == ""):
			errs = append(errs, field.Required(at.Child("valueFrom", "secretKeyRef"), "name the secret and its key"))
		}
	}
	return errs
}

func metrics(list []argo.Metric, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	for i := range list {
		m, at := &list[i], path.Index(i)
		switch {
		case m.Name == "":
			errs = append(errs, field.Required(at.Child("name"), "name the metric"))
		case names[m.Name]:
			errs = append(errs, field.Invalid(at.Child("name"), m.Name, fmt.Sprintf("duplicate name '%s'", m.Name)))
		}
		names[m.Name] = true
		errs = append(errs, metric(m, at)...)
	}
	return errs
}

// metric checks one metric by the rules of package analysis, its provider and its limits apart.
func metric(m *argo.Metric, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if err := analysis.Validate([]argo.Metric{{Name: m.Name, Provider: m.Provider}}); err != nil {
		errs = append(errs, field.Invalid(path.Child("provider"), m.Name, reason(err)))
	} else {
		errs = append(errs, web(m.Provider.Web, path.Child("provider", "web"))...)
	}
	if err := analysis.Validate([]argo.Metric{literal(m)}); err != nil {
		errs = append(errs, field.Invalid(path, m.Name, reason(err)))
	}
	for _, c := range []struct{ name, condition string }{{"successCondition", m.SuccessCondition}, {"failureCondition", m.FailureCondition}} {
		if c.condition == "" || unresolved(c.condition) {
			continue
		}
		if err := analysis.CheckCondition(c.condition); err != nil {
			errs = append(errs, field.Invalid(path.Child(c.name), c.condition, err.Error()))
		}
	}
	return errs
}

// reason is an error of package analysis without the index that a metric has there.
func reason(err error) string { return strings.TrimPrefix(err.Error(), "metrics[0]: ") }

// literal is a metric with a provider that is sure to exist and only those limits that are numbers already.
func literal(m *argo.Metric) argo.Metric {
	known := func(v *intstr.IntOrString) *intstr.IntOrString {
		if v != nil && v.Type == intstr.String && unresolved(v.StrVal) {
			return nil
		}
		return v
	}
	out := argo.Metric{
		Name: m.Name, Count: known(m.Count), FailureLimit: known(m.FailureLimit), InconclusiveLimit: known(m.InconclusiveLimit),
		ConsecutiveErrorLimit: known(m.ConsecutiveErrorLimit), ConsecutiveSuccessLimit: known(m.ConsecutiveSuccessLimit),
		Interval: m.Interval, InitialDelay: m.InitialDelay, Provider: argo.MetricProvider{Web: &argo.WebMetric{}},
	}
	if m.ConsecutiveSuccessLimit != nil && out.ConsecutiveSuccessLimit == nil {
		out.FailureLimit = nil // whether both are off is not known yet
	}
	if unresolved(string(out.Interval)) {
		out.Interval = "1s"
	}
	if unresolved(string(out.InitialDelay)) {
		out.InitialDelay = ""
	}
	return out
}

func web(w *argo.WebMetric, path *field.Path) field.ErrorList {
	if w == nil {
		return nil
	}
	var errs field.ErrorList
	if w.URL == "" {
		errs = append(errs, field.Required(path.Child("url"), "give the URL to ask"))
	}
	if w.Body != "" && w.JSONBody != nil {
		errs = append(errs, field.Invalid(path.Child("jsonBody"), string(w.JSONBody),
			"use either Body or JSONBody; both cannot exists for WebMetric payload"))
	}
	if method := string(w.Method); (w.Body != "" || w.JSONBody != nil) && (method == "" || method == http.MethodGet) {
		errs = append(errs, field.Invalid(path.Child("method"), method, "Body/JSONBody can only be used with POST or PUT WebMetric Method types"))
	}
	return errs
}

// rules checks the regular expressions of dryRun and measurementRetention. Alone says that no other metrics will come.
func rules(dry []argo.DryRun, retention []argo.MeasurementRetention, list []argo.Metric, alone bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	var names []string
	for i := range list {
		names = append(names, list[i].Name)
		alone = alone && !unresolved(list[i].Name)
	}
	check := func(expression string, at *field.Path) {
		re, err := regexp.Compile(expression)
		switch {
		case unresolved(expression):
		case err != nil:
			errs = append(errs, field.Invalid(at, expression, fmt.Sprintf("not a regular expression: %v", err)))
		case alone && !slices.ContainsFunc(names, re.MatchString):
			errs = append(errs, field.Invalid(at, expression, "Rule didn't match any metric name(s)"))
		}
	}
	for i, r := range dry {
		check(r.MetricName, path.Child("dryRun").Index(i).Child("metricName"))
	}
	for i, r := range retention {
		check(r.MetricName, path.Child("measurementRetention").Index(i).Child("metricName"))
	}
	return errs
}
