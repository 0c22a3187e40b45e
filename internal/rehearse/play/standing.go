package play

import (
	"fmt"
	"strconv"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// Kinds of argoproj.io that a run follows.
const (
	rolloutKind     = "Rollout"
	analysisRunKind = "AnalysisRun"
	experimentKind  = "Experiment"
)

// Strategies of a Rollout.
const (
	canary    = "canary"
	blueGreen = "blueGreen"
)

// standing is where a Rollout stands, read off its object alone.
type standing struct {
	strategy        string
	routed          bool // its weights go to a traffic router
	step, steps     int  // the step it is at, from 0; steps when all are passed
	doing           string
	set             int32 // the weight its steps ask for, in percent
	told            int32 // the weight its router was told, in percent
	current, stable string
	active          string // blue-green: the revision its active Service selects
	paused          string // why it waits; "" = it does not
	aborted, full   bool   // once the controller has seen it
	observed        bool   // the controller has seen the newest spec
	phase, message  string
	stalled         string // what its controller says once the progress deadline is over
	invalid         string // why its controller does not carry it out
	updated         int32  // pods of the newest revision
}

func standingOf(o *rollouts.Rollout) *standing {
	s := &standing{strategy: canary, current: o.Status.CurrentPodHash, stable: o.Status.StableRS, active: o.Status.BlueGreen.ActiveSelector,
		aborted: o.Status.Abort && o.Status.AbortedAt != nil, full: o.Status.PromoteFull, phase: string(o.Status.Phase), message: o.Status.Message, updated: o.Status.UpdatedReplicas,
		observed: o.Status.ObservedGeneration == strconv.FormatInt(o.Generation, 10)}
	if o.Spec.Strategy.BlueGreen != nil {
		s.strategy = blueGreen
	}
	if c := o.Spec.Strategy.Canary; c != nil {
		s.steps, s.routed = len(c.Steps), c.TrafficRouting != nil
		if i := o.Status.CurrentStepIndex; i != nil {
			s.step = min(int(*i), s.steps)
		}
		s.set = setWeight(c.Steps, s.step)
		if s.step < s.steps {
			s.doing = stepText(&c.Steps[s.step])
		}
		if w := o.Status.Canary.Weights; w != nil {
			s.told = w.Canary.Weight
		}
	}
	s.paused = pauseText(o)
	for i := range o.Status.Conditions {
		switch c := &o.Status.Conditions[i]; {
		case c.Type == argo.RolloutProgressing && c.Reason == "ProgressDeadlineExceeded":
			s.stalled = c.Message
		case c.Type == argo.InvalidSpec && c.Status == "True":
			s.invalid = c.Message
		}
	}
	return s
}

// done tells whether the newest revision is the stable one and runs everywhere.
func (s *standing) done() bool {
	return s.observed && s.current != "" && s.current == s.stable && !s.aborted && s.phase == string(argo.RolloutPhaseHealthy)
}

// why is what its controller says of its phase, without the reason before it.
func (s *standing) why() string {
	for _, reason := range []string{"RolloutAborted: ", "ProgressDeadlineExceeded: "} {
		if text, ok := strings.CutPrefix(s.message, reason); ok {
			return text
		}
	}
	return s.message
}

// place is where it stands in its steps, as people count: "2 of 6: pause 10m0s". "" without steps.
func (s *standing) place() string {
	switch {
	case s.steps == 0:
		return ""
	case s.step >= s.steps:
		return fmt.Sprintf("all %d passed", s.steps)
	}
	return fmt.Sprintf("%d of %d: %s", s.step+1, s.steps, s.doing)
}

// setWeight is the weight that the steps up to this one have asked for; all of it when there are no more.
func setWeight(steps []argo.CanaryStep, step int) int32 {
	if step >= len(steps) {
		return 100
	}
	for i := step; i >= 0; i-- {
		if steps[i].SetWeight != nil {
			return *steps[i].SetWeight
		}
	}
	return 0
}

// stepText says what a step does.
func stepText(s *argo.CanaryStep) string {
	switch {
	case s.SetWeight != nil:
		return fmt.Sprintf("set weight %d %%", *s.SetWeight)
	case s.Pause != nil:
		if s.Pause.Duration == nil {
			return "pause until promoted"
		}
		text := s.Pause.Duration.String()
		if _, err := strconv.Atoi(text); err == nil {
			text += "s"
		}
		return "pause " + text
	case s.Experiment != nil:
		return "experiment"
	case s.Analysis != nil:
		var names []string
		for _, t := range s.Analysis.Templates {
			names = append(names, t.TemplateName)
		}
		return strings.TrimSpace("analysis " + strings.Join(names, ", "))
	case s.SetCanaryScale != nil:
		return "set canary scale"
	case s.SetHeaderRoute != nil:
		return "set header route " + s.SetHeaderRoute.Name
	case s.SetMirrorRoute != nil:
		return "set mirror route " + s.SetMirrorRoute.Name
	case s.Plugin != nil:
		return "plugin " + s.Plugin.Name
	}
	return "step"
}

// pauseText says why an update waits.
func pauseText(o *rollouts.Rollout) string {
	if o.Spec.Paused {
		return "it was paused by hand"
	}
	if len(o.Status.PauseConditions) > 0 {
		p := &o.Status.PauseConditions[0]
		switch p.Reason {
		case argo.PauseReasonCanaryPauseStep:
			return "a pause step"
		case argo.PauseReasonBlueGreenPause:
			return "it waits to be promoted"
		case argo.PauseReasonInconclusiveAnalysis:
			return "an analysis was inconclusive"
		case argo.PauseReasonInconclusiveExperiment:
			return "an experiment was inconclusive"
		}
		return string(p.Reason)
	}
	return ""
}

// analysisText names an analysis by what it is of and what it measures.
func analysisText(run *argo.AnalysisRun) string {
	kind := "an analysis"
	switch run.Labels[argo.RolloutTypeLabel] {
	case argo.RolloutTypeStepLabel:
		kind = "the analysis"
		if i, err := strconv.Atoi(run.Labels[argo.RolloutCanaryStepIndexLabel]); err == nil {
			kind = fmt.Sprintf("the analysis of step %d", i+1)
		}
	case argo.RolloutTypeBackgroundRunLabel:
		kind = "the background analysis"
	case argo.RolloutTypePrePromotionLabel:
		kind = "the analysis before the switch"
	case argo.RolloutTypePostPromotionLabel:
		kind = "the analysis after the switch"
	}
	var metrics []string
	for i := range run.Spec.Metrics {
		metrics = append(metrics, run.Spec.Metrics[i].Name)
	}
	of := run.Namespace + "/" + run.Name
	if owner := metav1.GetControllerOf(run); owner != nil {
		of = run.Namespace + "/" + owner.Name
	}
	text := kind + " of " + of
	if len(metrics) > 0 {
		text += " (" + strings.Join(metrics, ", ") + ")"
	}
	return text
}

// verdictText is why an analysis ended as it did: its own words, and those of the metric that decided.
func verdictText(run *argo.AnalysisRun) string {
	texts := []string{}
	if run.Status.Message != "" {
		texts = append(texts, run.Status.Message)
	}
	for i := range run.Status.MetricResults {
		m := &run.Status.MetricResults[i]
		if m.Phase != run.Status.Phase {
			continue
		}
		if m.Message != "" && !strings.Contains(run.Status.Message, m.Message) {
			texts = append(texts, m.Message)
		}
		if n := len(m.Measurements); n > 0 && m.Measurements[n-1].Message != "" && !strings.Contains(run.Status.Message, m.Measurements[n-1].Message) {
			texts = append(texts, m.Measurements[n-1].Message)
		}
	}
	return strings.Join(texts, "; ")
}
