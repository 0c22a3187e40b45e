package why

import (
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/rollouts"
)

func parsed[T any](t *testing.T, text string) *T {
	t.Helper()
	v := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), v); err != nil {
		t.Fatal(err)
	}
	return v
}

const metricsYAML = `metadata: {name: a, namespace: shop}
spec: {metrics: [{name: errors, interval: 1m, count: 5, failureLimit: 1, successCondition: "result < 0.1", provider: {web: {url: u}}}]}
`

func TestAnalysisRunSaysWhatItWaitsForOrHowItEnded(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		status string
		code   string // empty = nothing is wrong
		says   []string
		nextAt time.Time
	}{
		"nobody has seen it": {"{}", "NotObserved", []string{"no controller"}, time.Time{}},
		"due":                {`{phase: Running, startedAt: "2026-01-01T11:59:00Z"}`, "Measuring", []string{"measuring errors"}, time.Time{}},
		"between two": {`{phase: Running, startedAt: "2026-01-01T11:59:00Z", metricResults: [{name: errors, phase: Running, count: 1, failed: 1, measurements: [{phase: Failed, value: "0.2", startedAt: "2026-01-01T11:59:29Z", finishedAt: "2026-01-01T11:59:30Z"}]}]}`,
			"Interval", []string{"0 good, 1 bad", "at most 1 may be bad, good is result < 0.1", "Failed 0.2"}, now.Add(30 * time.Second)},
		"failed": {`{phase: Failed, message: "Metric \"errors\" assessed Failed", metricResults: [{name: errors, phase: Failed, failed: 2, count: 2, measurements: [{phase: Failed, value: "0.9"}]}]}`,
			"Failed", []string{`it has ended: Metric "errors" assessed Failed`, "Failed 0.9"}, time.Time{}},
		"good": {`{phase: Successful, metricResults: [{name: errors, phase: Successful, successful: 5, count: 5}]}`, "", []string{"every metric is as wanted"}, time.Time{}},
	} {
		r := parsed[argo.AnalysisRun](t, metricsYAML+"status: "+c.status)
		a := Run(r, now)
		said := a.Reason
		for _, e := range a.Evidence {
			said += "\n" + e.Source + " " + e.Detail
		}
		if a.Code != c.code || a.Blocked != (c.code != "") {
			t.Errorf("%s: code %q, want %q", what, a.Code, c.code)
		}
		for _, s := range c.says {
			if !strings.Contains(said, s) {
				t.Errorf("%s: %q is not in\n%s", what, s, said)
			}
		}
		if (a.NextAt == nil) != c.nextAt.IsZero() || a.NextAt != nil && !a.NextAt.Equal(c.nextAt) {
			t.Errorf("%s: the next measurement is at %v, want %v", what, a.NextAt, c.nextAt)
		}
	}
}

func TestAJobThatFailedIsNamedWithItsLog(t *testing.T) {
	t.Parallel()
	r := parsed[argo.AnalysisRun](t, metricsYAML+`status: {phase: Failed, metricResults: [{name: errors, measurements: [{phase: Failed, metadata: {job-name: j.1}}, {phase: Failed, metadata: {job-name: j.2}}]}]}`)
	if a := Run(r, now); len(a.Try) != 1 || a.Try[0] != "kubectl logs job/j.2 -n shop" {
		t.Errorf("it says to try %v", a.Try)
	}
}

func TestExperimentSaysHowLongItGoesOn(t *testing.T) {
	t.Parallel()
	at := metav1.NewTime(now.Add(-time.Minute))
	for code, c := range map[string]struct {
		spec, says  string
		availableAt *metav1.Time
		nextAt      time.Time
	}{
		"Starting": {"5m", "not all available", nil, time.Time{}},
		"Running":  {"5m", "it runs for 5m", &at, now.Add(4 * time.Minute)},
	} {
		e := &argo.Experiment{Spec: argo.ExperimentSpec{Duration: argo.DurationString(c.spec)}, Status: argo.ExperimentStatus{AvailableAt: c.availableAt}}
		a := (&Answer{}).time(e, now)
		if a.Code != code || !strings.Contains(a.Reason, c.says) || (a.NextAt == nil) != c.nextAt.IsZero() || a.NextAt != nil && !a.NextAt.Equal(c.nextAt) {
			t.Errorf("%s: %+v", code, a)
		}
	}
	endless := &argo.Experiment{Status: argo.ExperimentStatus{AvailableAt: &at}}
	if a := (&Answer{}).time(endless, now); !strings.Contains(a.Reason, "no duration") {
		t.Errorf("without a duration: %+v", a)
	}
}

func TestVerbsToTryFitTheStateOfTheRollout(t *testing.T) {
	t.Parallel()
	for want, text := range map[string]string{
		"fairway promote rollout/web -n shop":               "status: {phase: Paused, pauseConditions: [{reason: CanaryPauseStep, startTime: null}]}",
		"fairway retry rollout/web -n shop":                 "status: {phase: Degraded, abort: true}",
		"fairway abort rollout/web -n shop":                 "status: {phase: Progressing, stableRS: a, currentPodHash: b}",
		"fairway rollouts get rollout web -n shop":          "status: {phase: Healthy}",
		"kubectl get rollout web -n shop -o yaml | fairway": "status: {phase: Degraded, conditions: [{type: InvalidSpec, status: \"True\"}]}",
	} {
		a := &Answer{}
		a.tryRollout(parsed[rollouts.Rollout](t, "metadata: {name: web, namespace: shop}\n"+text))
		if len(a.Try) == 0 || !strings.HasPrefix(a.Try[0], want) {
			t.Errorf("%s: try %v, want %s first", text, a.Try, want)
		}
	}
}

func TestAChangeThatNobodyHasTakenUpIsTheReason(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"metadata: {generation: 1}": "no controller has looked at it",
		"metadata: {generation: 3}\nstatus: {observedGeneration: \"2\", phase: Healthy}":                 "has not taken up the latest change",
		"metadata: {generation: 2}\nstatus: {observedGeneration: \"2\", controllerPause: true}":          "waiting for rollout to unpause",
		"metadata: {generation: 2}\nstatus: {observedGeneration: \"2\", phase: Healthy}":                 "",
		"metadata: {generation: 2}\nstatus: {observedGeneration: \"2\", phase: Progressing, message: x}": "",
	} {
		a := &Answer{}
		if got := a.unobserved(parsed[rollouts.Rollout](t, text)); got != (want != "") || !strings.Contains(a.Reason, want) {
			t.Errorf("%s: %v, %q", text, got, a.Reason)
		}
	}
}
