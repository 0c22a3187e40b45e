package play

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

const canaryRollout = `
metadata: {name: web, namespace: shop, generation: 3}
spec:
  strategy: {canary: {steps: [{setWeight: 20}, {pause: {duration: 60}}, {analysis: {templates: [{templateName: smoke}]}}, {setWeight: 60}, {pause: {}}]}}
`

func rollout(t *testing.T, base, status string) *rollouts.Rollout {
	t.Helper()
	o := &rollouts.Rollout{}
	if err := yaml.Unmarshal([]byte(base+"status: "+status), o); err != nil {
		t.Fatalf("%v\n%s", err, status)
	}
	return o
}

func told(list []record.Entry) string {
	var lines []string
	for _, e := range list {
		lines = append(lines, strings.TrimSuffix(e.Data["state"]+": "+e.What+" ("+e.Why+")", " ()"))
	}
	return strings.Join(lines, "\n")
}

func TestTheTimelineTellsHowAnUpdateGoesOn(t *testing.T) {
	t.Parallel()
	const at = `currentPodHash: new, stableRS: old, observedGeneration: "3", `
	routed := strings.Replace(canaryRollout, "{canary: {", "{canary: {trafficRouting: {nginx: {stableIngress: web}}, ", 1)
	green := "metadata: {name: web, namespace: shop, generation: 3}\nspec: {strategy: {blueGreen: {activeService: web}}}\n"
	for _, c := range []struct{ name, base, was, is, want string }{
		{"a first revision is no update", canaryRollout, `{}`, `{currentPodHash: new, stableRS: new, currentStepIndex: 5}`, ""},
		{"a step", canaryRollout, `{` + at + `currentStepIndex: 1}`, `{` + at + `currentStepIndex: 2}`, "step: shop/web reaches step 3 of 5: analysis smoke"},
		{"several steps at once", canaryRollout, `{` + at + `currentStepIndex: 0}`, `{` + at + `currentStepIndex: 3}`, "step: shop/web reaches step 4 of 5: set weight 60 %"},
		{"the last step", canaryRollout, `{` + at + `currentStepIndex: 4}`, `{` + at + `currentStepIndex: 5}`, "step: shop/web has passed all 5 steps"},
		{"a pause step is one entry", canaryRollout, `{` + at + `currentStepIndex: 0}`, `{` + at + `currentStepIndex: 1, pauseConditions: [{reason: CanaryPauseStep, startTime: null}]}`,
			"pauses: shop/web pauses at step 2 of 5: pause 60s (a pause step)"},
		{"a pause without an end", canaryRollout, `{` + at + `currentStepIndex: 3}`, `{` + at + `currentStepIndex: 4, pauseConditions: [{reason: CanaryPauseStep, startTime: null}]}`,
			"pauses: shop/web pauses at step 5 of 5: pause until promoted (a pause step)"},
		{"an inconclusive analysis", canaryRollout, `{` + at + `currentStepIndex: 2}`, `{` + at + `currentStepIndex: 2, pauseConditions: [{reason: InconclusiveAnalysisRun, startTime: null}]}`,
			"pauses: shop/web pauses at step 3 of 5: analysis smoke (an analysis was inconclusive)"},
		{"promoted in full", canaryRollout, `{` + at + `currentStepIndex: 1}`, `{` + at + `currentStepIndex: 1, promoteFull: true}`, "promoted: shop/web is promoted in full: the steps left are skipped"},
		{"an abort that the controller has not seen is none", canaryRollout, `{` + at + `currentStepIndex: 1}`, `{` + at + `currentStepIndex: 1, abort: true}`, ""},
		{"an abort names the step it ended at", canaryRollout, `{` + at + `currentStepIndex: 2, updatedReplicas: 1}`,
			`{` + at + `currentStepIndex: 0, updatedReplicas: 1, abort: true, abortedAt: "2026-01-05T00:00:00Z", message: "RolloutAborted: too many errors"}`,
			"aborts: the update of shop/web is aborted at step 3 of 5: analysis smoke (too many errors)"},
		{"the end of an abort", canaryRollout, `{` + at + `abort: true, abortedAt: "2026-01-05T00:00:00Z", updatedReplicas: 1}`, `{` + at + `abort: true, abortedAt: "2026-01-05T00:00:00Z"}`,
			"reverted: no pod of the aborted revision of shop/web is left"},
		{"a retry", canaryRollout, `{` + at + `abort: true, abortedAt: "2026-01-05T00:00:00Z"}`, `{` + at + `currentStepIndex: 0}`, "begins: shop/web begins its aborted update anew"},
		{"a router's weight", routed, `{` + at + `currentStepIndex: 0}`, `{` + at + `currentStepIndex: 0, canary: {weights: {canary: {weight: 20}, stable: {weight: 80}}}}`,
			"weight: the router of shop/web sends 20 % to the new revision"},
		{"a switch", green, `{` + at + `blueGreen: {activeSelector: old}}`, `{` + at + `blueGreen: {activeSelector: new}}`, "switched: shop/web switches its active Service to the new revision"},
		{"a switch back", green, `{` + at + `blueGreen: {activeSelector: new}}`, `{` + at + `blueGreen: {activeSelector: old}}`, "switched: shop/web switches its active Service back to the stable revision"},
		{"no progress", canaryRollout, `{` + at + `currentStepIndex: 0}`, `{` + at + `currentStepIndex: 0, conditions: [{type: Progressing, status: "False", reason: ProgressDeadlineExceeded, message: stuck}]}`,
			"stalls: the update of shop/web does not progress (stuck)"},
		{"an invalid spec", canaryRollout, `{currentPodHash: a, stableRS: a}`, `{currentPodHash: a, stableRS: a, conditions: [{type: InvalidSpec, status: "True", message: "no such Service"}]}`,
			"stalls: shop/web is not carried out: its spec is invalid (no such Service)"},
	} {
		was, is := standingOf(rollout(t, c.base, c.was)), standingOf(rollout(t, c.base, c.is))
		if got := told(rolloutNews("shop/web", was, is)); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestTheWeightOfANewRevisionIsWhatItsClientsSee(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		s       standing
		serving map[string]int32
		want    float64
		known   bool
	}{
		{"a canary without a router has its share of the ready pods", standing{strategy: canary, current: "new", stable: "old"}, map[string]int32{"new": 1, "old": 3}, .25, true},
		{"a router is taken at its word", standing{strategy: canary, routed: true, told: 5, current: "new", stable: "old"}, map[string]int32{"new": 2, "old": 2}, .05, true},
		{"blue-green before the switch", standing{strategy: blueGreen, active: "old", current: "new", stable: "old"}, map[string]int32{"new": 4, "old": 4}, 0, true},
		{"blue-green after the switch", standing{strategy: blueGreen, active: "new", current: "new", stable: "old"}, map[string]int32{"new": 4, "old": 4}, 1, true},
		{"a finished update has all", standing{strategy: canary, current: "new", stable: "new"}, nil, 1, true},
		{"nothing is ready", standing{strategy: canary, current: "new", stable: "old"}, nil, 0, false},
	} {
		w := &workload{newest: &c.s, serving: c.serving}
		for _, n := range c.serving {
			w.ready += n
		}
		if got, known := w.weight(); got != c.want || known != c.known {
			t.Errorf("%s: %g, %t; want %g, %t", c.name, got, known, c.want, c.known)
		}
	}
}

func TestPromotionWritesWhatClientsOfArgoRolloutsWrite(t *testing.T) {
	t.Parallel()
	const at = `currentPodHash: new, stableRS: old, currentStepIndex: 1`
	for _, c := range []struct {
		name, base, status string
		full               bool
		spec, state        string
	}{
		{"a pause is lifted", canaryRollout, `{` + at + `, pauseConditions: [{reason: CanaryPauseStep, startTime: null}]}`, false, "{}", `{"pauseConditions":null}`},
		{"without a pause the step is left", canaryRollout, `{` + at + `}`, false, "{}", `{"currentStepIndex":2,"pauseConditions":null}`},
		{"an inconclusive analysis is left behind", canaryRollout,
			`{` + at + `, controllerPause: true, pauseConditions: [{reason: InconclusiveAnalysisRun, startTime: null}], canary: {currentStepAnalysisRunStatus: {name: a, status: Inconclusive}}}`, false,
			"{}", `{"controllerPause":false,"currentStepIndex":2,"pauseConditions":null}`},
		{"in full", canaryRollout, `{` + at + `}`, true, "{}", `{"promoteFull":true}`},
		{"in full without an update", canaryRollout, `{currentPodHash: a, stableRS: a}`, true, "{}", "{}"},
		{"paused by hand", strings.Replace(canaryRollout, "spec:\n", "spec:\n  paused: true\n", 1), `{` + at + `, pauseConditions: [{reason: CanaryPauseStep, startTime: null}]}`, false,
			`{"paused":false}`, `{"pauseConditions":null}`},
		{"the last step", canaryRollout, `{currentPodHash: new, stableRS: old, currentStepIndex: 5}`, false, "{}", `{"currentStepIndex":5,"pauseConditions":null}`},
	} {
		p := promotion(rollout(t, c.base, c.status), c.full)
		text := func(part map[string]any) string {
			if part == nil {
				part = map[string]any{}
			}
			return string(asJSON(part))
		}
		if spec, state := text(p.spec), text(p.status); spec != c.spec || state != c.state {
			t.Errorf("%s: spec %s, status %s; want %s, %s", c.name, spec, state, c.spec, c.state)
		}
	}
}
