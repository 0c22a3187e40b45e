package rollout

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// Methods of plugins, see Call.
const (
	RunMethod       = "Run"
	AbortMethod     = "Abort"
	TerminateMethod = "Terminate"
	// ApplyMethod gives a traffic router the whole Intent: routes, hashes, weights, in this order; and verifies the weights.
	ApplyMethod = "Apply"
)

// Kinds of plugins, see Call.
const (
	StepPlugin   = "step"
	RouterPlugin = "trafficrouter"
)

// ask a plugin, or take its answer. done is false while there is none, or while a failed one is to be repeated; then the wake is set.
func (p *pass) ask(c Call) (answer CallResult, done bool) {
	r, ok := p.answered(c)
	switch {
	case ok && r.Err == "":
		return r, true
	case ok && p.now.Before(r.At.Add(pluginRetry)):
		p.wakeAt(r.At.Add(pluginRetry), "the plugin is asked again")
		p.warn(Event{Reason: reasonError, Message: "Reconciliation failed with error: " + r.Err})
		p.because("PluginError", fmt.Sprintf("the %s plugin %s: %s", c.Kind, c.Plugin, r.Err))
		return r, false
	}
	p.put(c)
	p.because("AskingPlugin", fmt.Sprintf("waiting for the %s plugin %s", c.Kind, c.Plugin))
	return CallResult{}, false
}

// answered is the last answer to a question, if nothing else was asked since.
func (p *pass) answered(c Call) (CallResult, bool) {
	r, ok := p.s.Calls[c.Key]
	return r, ok && r.Of == c.Of
}

// put a question, once in a pass.
func (p *pass) put(c Call) {
	if !slices.ContainsFunc(p.ops, func(o Op) bool { return o.Verb == Ask && o.Call.Key == c.Key }) {
		p.op(Op{Verb: Ask, Call: &c})
	}
}

// verdict is whether weights are followed, by an answer that is asked for again while it is no.
func (p *pass) verdict(c Call, r *CallResult) *bool {
	if r.Verified != nil && !*r.Verified {
		if next := r.At.Add(verifyRetry); p.now.Before(next) {
			p.wakeAt(next, "it is asked again")
		} else {
			p.put(c)
		}
	}
	return r.Verified
}

// askRouters gives the intent to traffic router plugins. ok is false until all have it.
func (p *pass) askRouters(in traffic.Intent) (ok bool, verified *bool) {
	names := traffic.Plugins(p.ro.Spec.Strategy.Canary.TrafficRouting)
	if len(names) == 0 {
		return true, nil
	}
	if !in.Remove && !p.promoted() && p.was.StableRS != "" {
		in.Headers, in.Mirrors = p.managedRoutes(true)
	}
	in.Former, in.Port = nil, 0 // they are for objects; another one would be another question
	b, err := json.Marshal(in)
	if err != nil {
		p.routingFailed(RouterPlugin, err.Error())
		return false, nil
	}
	h := fnv.New64a()
	h.Write(b)
	for _, name := range names {
		key := fmt.Sprintf("%s/%s/%s", RouterPlugin, p.ro.UID, name)
		c := Call{Key: key, Of: strconv.FormatUint(h.Sum64(), 16), Plugin: name, Kind: RouterPlugin, Method: ApplyMethod, Intent: &in}
		r, done := p.ask(c)
		if !done {
			return false, nil
		}
		if v := p.verdict(c, &r); v != nil && (verified == nil || !*v) {
			verified = v
		}
	}
	return true, verified
}

// stepPlugin runs the plugin of the current step; aborts those before, the last first, when the update is aborted; and
// terminates the one that is running when the update is promoted in full.
func (p *pass) stepPlugin() {
	statuses := p.was.Canary.StepPluginStatuses
	switch {
	case p.aborted():
		for i := len(statuses) - 1; i >= 0; i-- {
			s := &statuses[i]
			if s.Operation != argo.StepPluginOperationRun || s.Disabled || p.pluginStatus(s.Index, argo.StepPluginOperationAbort) != nil {
				continue
			}
			s, known := p.latestRun(s)
			if !known {
				return
			}
			live := s.Phase == argo.StepPluginPhaseRunning || s.Phase == argo.StepPluginPhaseSuccessful
			if live && !p.plugin(s.Index, AbortMethod, s) {
				return
			}
		}
	case p.was.PromoteFull || p.promoted():
		for i := len(statuses) - 1; i >= 0; i-- {
			s := &statuses[i]
			if s.Operation == argo.StepPluginOperationTerminate {
				return
			}
			if s.Operation == argo.StepPluginOperationRun && s.Phase == argo.StepPluginPhaseRunning && !s.Disabled {
				p.plugin(s.Index, TerminateMethod, s)
				return
			}
		}
	default:
		p.runPlugin()
	}
}

// runPlugin of the current step, as often as it wants. That it is run at all is recorded before it is asked for the first time,
// so that after a restart it is asked with the same question.
func (p *pass) runPlugin() {
	step := p.currentStep()
	if step == nil || step.Plugin == nil || p.ro.Spec.Paused || len(p.was.PauseConditions)+len(p.adding) > 0 || p.was.StableRS == "" {
		return
	}
	i := int32(p.stepIndex())
	s := p.pluginStatus(i, argo.StepPluginOperationRun)
	if s == nil {
		now := p.stamp()
		p.recordPlugin(argo.StepPluginStatus{Index: i, Name: step.Plugin.Name, StartedAt: &now,
			Operation: argo.StepPluginOperationRun, Phase: argo.StepPluginPhaseRunning})
		p.because("AskingPlugin", "waiting for the step plugin "+step.Plugin.Name)
		return
	}
	if s.Disabled || s.Phase == argo.StepPluginPhaseSuccessful || s.Phase == argo.StepPluginPhaseFailed {
		return
	}
	if s.Executions > 0 && s.UpdatedAt != nil {
		wait, err := s.Backoff.Duration()
		if err != nil {
			wait = pluginRetry
		}
		if next := s.UpdatedAt.Add(wait); p.now.Before(next) {
			p.wakeAt(next, "the plugin is asked again")
			p.because("StepPlugin", fmt.Sprintf("step plugin %s is %s: %s", s.Name, s.Phase, s.Message))
			return
		}
	}
	p.plugin(i, RunMethod, s)
}

// latestRun is what the running plugin of a step answered last, though an abort came before that was written down: only with
// the state it answered can it undo what it did. known is false while it has not answered yet.
func (p *pass) latestRun(s *argo.StepPluginStatus) (latest *argo.StepPluginStatus, known bool) {
	key := p.stepKey(s.Index, RunMethod, s)
	if p.s.Asked[key] {
		p.because("AskingPlugin", "waiting for the answer of the step plugin "+s.Name+", to abort it then")
		return s, false
	}
	r := p.s.Calls[key]
	if s.Phase != argo.StepPluginPhaseRunning || r.Err != "" || r.Status == nil {
		return s, true
	}
	p.recordPlugin(*r.Status)
	return r.Status, true
}

// stepKey is that of a Call for the next execution of a step's plugin.
func (p *pass) stepKey(i int32, method string, s *argo.StepPluginStatus) string {
	started := int64(0)
	if s.StartedAt != nil {
		started = s.StartedAt.Unix()
	}
	return fmt.Sprintf("%s/%s/%s/%d/%s/%d/%d", StepPlugin, p.ro.UID, p.fresh.hash, i, method, started, s.Executions)
}

// plugin asks for one operation, and records what came of it. It is false while there is no answer.
func (p *pass) plugin(i int32, method string, s *argo.StepPluginStatus) bool {
	steps := p.ro.Spec.Strategy.Canary.Steps
	if int(i) >= len(steps) || steps[i].Plugin == nil {
		return true
	}
	r, done := p.ask(Call{Key: p.stepKey(i, method, s), Plugin: steps[i].Plugin.Name, Kind: StepPlugin, Method: method, Index: i, Status: s})
	if !done {
		return false
	}
	if r.Status == nil {
		return true
	}
	p.recordPlugin(*r.Status)
	p.tellPlugin(r.Status, s)
	if r.Status.Operation == argo.StepPluginOperationRun && r.Status.Phase == argo.StepPluginPhaseFailed {
		p.abort(fmt.Sprintf("Step Plugin %d (%s) failed: %s", r.Status.Index+1, r.Status.Name, r.Status.Message))
	}
	return true
}

func (p *pass) tellPlugin(is, was *argo.StepPluginStatus) {
	run := is.Operation == argo.StepPluginOperationRun
	if is.Disabled || run && (is.Phase == argo.StepPluginPhaseSuccessful || was.Executions > 0 && was.Phase == is.Phase) {
		return
	}
	format := "Step plugin %s (step %d) transitioned to %s"
	switch is.Operation {
	case argo.StepPluginOperationAbort:
		format = "Step plugin %s (step %d) aborted (%s)"
	case argo.StepPluginOperationTerminate:
		format = "Step plugin %s (step %d) terminated (%s)"
	}
	bad := is.Phase == argo.StepPluginPhaseError || is.Phase == argo.StepPluginPhaseFailed
	p.later(Event{Warning: bad, Reason: reasonPlugin, Message: fmt.Sprintf(format, is.Name, is.Index+1, is.Phase)})
}

// pluginStatuses as this pass leaves them.
func (p *pass) pluginStatuses() []argo.StepPluginStatus {
	if p.plugins != nil {
		return *p.plugins
	}
	return p.was.Canary.StepPluginStatuses
}

func (p *pass) pluginStatus(i int32, op argo.StepPluginOperation) *argo.StepPluginStatus {
	all := p.pluginStatuses()
	if j := slices.IndexFunc(all, func(s argo.StepPluginStatus) bool { return s.Index == i && s.Operation == op }); j >= 0 {
		return &all[j]
	}
	return nil
}

func (p *pass) recordPlugin(s argo.StepPluginStatus) {
	all := slices.Clone(p.pluginStatuses())
	if j := slices.IndexFunc(all, func(o argo.StepPluginStatus) bool { return o.Index == s.Index && o.Operation == s.Operation }); j >= 0 {
		all[j] = s
	} else {
		all = append(all, s)
	}
	p.plugins = &all
}

// pluginDone is whether the plugin of a step needs no more asking: it came to an end, or was ended.
func (p *pass) pluginDone(i int32) bool {
	s := p.pluginStatus(i, argo.StepPluginOperationRun)
	if s == nil {
		return false
	}
	switch s.Phase {
	case argo.StepPluginPhaseSuccessful, argo.StepPluginPhaseFailed:
		return true
	case argo.StepPluginPhaseRunning:
		return s.Disabled || p.pluginStatus(i, argo.StepPluginOperationTerminate) != nil || p.pluginStatus(i, argo.StepPluginOperationAbort) != nil
	}
	return s.Disabled
}
