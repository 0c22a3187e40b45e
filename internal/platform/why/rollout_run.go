package why

import (
	"slices"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

// measurementsShown bounds the measurements of one metric in an answer.
const measurementsShown = 3

// Run says what an AnalysisRun waits for, or why it ended as it did.
func Run(r *argo.AnalysisRun, now time.Time) *Answer {
	a := &Answer{Object: "analysisrun/" + r.Name}
	st := &r.Status
	a.saw("status", "%s %s", orPending(st.Phase), st.Message)
	a.sawMeasurements(r)
	switch st.Phase {
	case argo.AnalysisPhaseSuccessful:
		a.Reason = "nothing blocks it: every metric is as wanted"
		return a
	case argo.AnalysisPhaseFailed, argo.AnalysisPhaseError, argo.AnalysisPhaseInconclusive:
		return a.block(string(st.Phase), "it has ended: %s", orNone(st.Message))
	case "":
		return a.block("NotObserved", "no controller has looked at it yet").try("kubectl get leases -A")
	}
	plan := analysis.Next(r, now)
	var due []string
	for _, t := range plan.Tasks {
		due = append(due, t.Name)
	}
	switch {
	case len(due) > 0:
		a.block("Measuring", "it is measuring %s", strings.Join(due, ", "))
		for _, t := range plan.Tasks {
			if name := jobOf(t.Begun); name != "" {
				a.try("kubectl logs job/%s -n %s", name, r.Namespace)
			}
		}
	case !plan.RequeueAt.IsZero():
		a.block("Interval", "it waits for the time of the next measurement").then("the next measurement", plan.RequeueAt)
	default:
		a.block("Assessing", "everything is measured; the verdict is to come")
	}
	return a.try("fairway terminate analysisrun/%s -n %s", r.Name, r.Namespace)
}

func jobOf(m *argo.Measurement) string {
	if m == nil {
		return ""
	}
	return m.Metadata["job-name"]
}

// sawMeasurements adds, for each metric, how it does and the newest measurements that were not good.
func (a *Answer) sawMeasurements(r *argo.AnalysisRun) {
	for i := range r.Status.MetricResults {
		m := &r.Status.MetricResults[i]
		source := "metric " + m.Name
		if m.DryRun {
			source += " (dry run)"
		}
		a.saw(source, "%s: %d good, %d bad, %d undecided, %d not measured; %s", orPending(m.Phase), m.Successful, m.Failed, m.Inconclusive, m.Error, limits(r, m.Name))
		shown := 0
		for _, one := range slices.Backward(m.Measurements) {
			if one.Phase == argo.AnalysisPhaseSuccessful || !one.Phase.Completed() || shown == measurementsShown {
				continue
			}
			if name := jobOf(&one); name != "" && shown == 0 {
				a.try("kubectl logs job/%s -n %s", name, r.Namespace)
			}
			shown++
			a.saw("  at "+started(one.StartedAt), "%s %s %s", one.Phase, one.Value, one.Message)
		}
		if m.Message != "" {
			a.saw("  verdict", "%s", m.Message)
		}
	}
}

// limits of a metric and its conditions, as written.
func limits(r *argo.AnalysisRun, name string) string {
	for i := range r.Spec.Metrics {
		m := &r.Spec.Metrics[i]
		if m.Name != name {
			continue
		}
		limit := "0"
		if m.FailureLimit != nil {
			limit = m.FailureLimit.String()
		}
		text := "at most " + limit + " may be bad"
		if m.SuccessCondition != "" {
			text += ", good is " + m.SuccessCondition
		}
		if m.FailureCondition != "" {
			text += ", bad is " + m.FailureCondition
		}
		return text
	}
	return "the spec no longer has it"
}
