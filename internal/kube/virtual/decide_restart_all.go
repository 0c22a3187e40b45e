package virtual

import (
	"time"

	v1 "k8s.io/api/core/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	"k8s.io/kubernetes/pkg/features"
	kubestatus "k8s.io/kubernetes/pkg/kubelet/status"
)

// reasonRestartAll is the reason of containers that end because another one's rule restarts them all.
const reasonRestartAll = "RestartingAllContainers"

// restartsAll reports whether the container's exit matches a rule that restarts the whole pod in place (KEP-5532).
func (d *decider) restartsAll(c *Container) bool {
	spec := c.spec(d.pod)
	if len(spec.RestartPolicyRules) == 0 || c.Kind == KindEphemeral || !utilfeature.DefaultFeatureGate.Enabled(features.RestartAllContainersOnContainerExits) {
		return false
	}
	rule, ok := podutil.FindMatchingContainerRestartRule(*spec, c.Exited.Code)
	return ok && rule.Action == v1.ContainerRestartRuleActionRestartAllContainers
}

// restartAll kills what runs and begins the pod again from its first init container, in the same sandbox.
func (d *decider) restartAll(t time.Time) {
	s := d.s
	for i := range s.Containers {
		c := &s.Containers[i]
		if c.Kind == KindEphemeral {
			continue
		}
		if c.Run == RunRunning {
			c.End = Exit{At: t, Code: exitKilled, Reason: reasonRestartAll}
			d.exit(c)
		}
		c.Run, c.Wait, c.WaitMessage, c.ShowWait = RunIdle, "", "", time.Time{}
	}
	s.Initialized, s.RestartingAll = false, true
}

// restartAllCondition is AllContainersRestarting, which pods have whose rules can restart them all.
func restartAllCondition(s *PodState, pod *v1.Pod, phase v1.PodPhase) (v1.PodCondition, bool) {
	if !utilfeature.DefaultFeatureGate.Enabled(features.RestartAllContainersOnContainerExits) || !podutil.AllContainersCouldRestart(&pod.Spec) {
		return v1.PodCondition{}, false
	}
	c := v1.PodCondition{Type: v1.AllContainersRestarting, Status: v1.ConditionFalse}
	switch {
	case phase == v1.PodSucceeded:
		c.Reason = kubestatus.PodCompleted
	case phase == v1.PodFailed:
		c.Reason = kubestatus.PodFailed
	case s.RestartingAll:
		c.Status, c.Reason, c.Message = v1.ConditionTrue, kubestatus.RestartAllContainersStarted, "container exited with restart policy rule"
	}
	return c, true
}
