package plugin

import (
	"context"
	"fmt"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/utils/plugin/types"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// When a step that is not done is run again, as in the peer.
const (
	backoffMin     = 10 * time.Second // shorter wishes of a plugin count as none
	backoffDefault = 30 * time.Second // of a plugin that has no wish, and after an error
)

// Steps are the step plugins of a Host.
type Steps struct{ host *Host }

// Steps of the host.
func (h *Host) Steps() Steps { return Steps{h} }

// StepCall asks for one operation of a plugin step.
type StepCall struct {
	Rollout   *argo.Rollout
	Index     int32 // of the step
	Step      argo.PluginStep
	Operation argo.StepPluginOperation // Run, Terminate or Abort
	// Status of the step's Run so far; nil = it has not run.
	Status *argo.StepPluginStatus
}

// Do calls the plugin and returns the status of the operation, to be recorded. A step whose plugin is disabled is recorded as
// such, and counts as done. What a plugin could not do is in the status, with phase Error and a backoff; an error is of a plugin
// that is not configured or cannot be started. Do heeds no backoff: see Ready.
func (s Steps) Do(ctx context.Context, c StepCall) (*argo.StepPluginStatus, error) {
	if s.host.Config().Disabled(c.Step.Name) {
		return &argo.StepPluginStatus{Index: c.Index, Name: c.Step.Name, Operation: c.Operation, Disabled: true}, nil
	}
	p, err := s.host.process(Step, c.Step.Name)
	if err != nil {
		return nil, err
	}
	began := metav1.Now()
	about := &types.RpcStepContext{PluginName: c.Step.Name, Config: c.Step.Config}
	if c.Status != nil {
		about.Status = c.Status.Status
	}
	var result types.RpcStepResult
	var failed types.RpcError
	called := false
	err = p.call(ctx, func(impl any) {
		called = true
		step := impl.(types.RpcStep)
		switch c.Operation {
		case argo.StepPluginOperationRun:
			result, failed = step.Run(c.Rollout, about)
		case argo.StepPluginOperationTerminate:
			result, failed = step.Terminate(c.Rollout, about)
		case argo.StepPluginOperationAbort:
			result, failed = step.Abort(c.Rollout, about)
		default:
			failed.ErrorString = fmt.Sprintf("step plugins have no operation %q", c.Operation)
		}
	})
	if err != nil && !called {
		return nil, err
	}
	if err != nil {
		failed.ErrorString = err.Error()
	}
	return stepStatus(c, began, metav1.Now(), result, failed)
}

// Ready is when a step that has run, and is not done, may run again; the zero time when at once.
func Ready(status *argo.StepPluginStatus) time.Time {
	if status == nil || status.Executions == 0 || status.UpdatedAt == nil {
		return time.Time{}
	}
	backoff, err := status.Backoff.Duration()
	if err != nil {
		backoff = backoffDefault
	}
	return status.UpdatedAt.Add(backoff)
}

// stepStatus is the status of an operation after the plugin has answered.
func stepStatus(c StepCall, began, now metav1.Time, result types.RpcStepResult, failed types.RpcError) (*argo.StepPluginStatus, error) {
	out := &argo.StepPluginStatus{Index: c.Index, Name: c.Step.Name, Operation: c.Operation, StartedAt: &began, Phase: argo.StepPluginPhaseRunning}
	run := c.Operation == argo.StepPluginOperationRun
	if run && c.Status != nil && !c.Status.Disabled {
		out = c.Status.DeepCopy()
	}
	if run {
		out.Backoff = ""
		out.UpdatedAt = &now
		out.Executions++
	} else {
		out.Phase = argo.StepPluginPhaseSuccessful
	}
	out.Message = result.Message
	switch {
	case failed.HasError():
		out.Phase, out.Message = argo.StepPluginPhaseError, failed.Error()
	case result.Phase != "":
		if err := result.Phase.Validate(); err != nil {
			return nil, fmt.Errorf("plugin %s: %s of step %d: could not validate rpc phase: %w; a plugin answers Running, Successful, Failed or Error",
				c.Step.Name, c.Operation, c.Index, err)
		}
		out.Phase = argo.StepPluginPhase(result.Phase)
	}
	if !run && out.Phase == argo.StepPluginPhaseRunning {
		out.Phase = argo.StepPluginPhaseFailed // terminating and aborting cannot go on in the background
	}
	if run && out.Phase != argo.StepPluginPhaseError {
		out.Status = result.Status // an error's would lose what the next run needs
	}
	switch out.Phase {
	case argo.StepPluginPhaseRunning:
		out.Backoff = backoff(result.RequeueAfter)
	case argo.StepPluginPhaseError:
		if run {
			out.Backoff = backoff(0)
		} else {
			out.FinishedAt = &now
		}
	default:
		out.FinishedAt = &now
	}
	return out, nil
}

// backoff is until the next run, in the form of the status.
func backoff(wish time.Duration) argo.DurationString {
	if wish <= backoffMin {
		wish = backoffDefault
	}
	return argo.DurationString(wish.String())
}
