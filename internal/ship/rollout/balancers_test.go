package rollout

import (
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

// said counts the Events of a reason.
func (w *world) said(reason string) (n int) {
	for _, e := range w.told {
		if e.Reason == reason {
			n++
		}
	}
	return n
}

func TestAStepWaitsForTheLoadBalancerAndTellsWhatItSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(2, argo.CanaryStrategy{TrafficRouting: &argo.RolloutTrafficRouting{ALB: &argo.ALBTrafficRouting{Ingress: "web"}},
		Steps: []argo.CanaryStep{weight(50), pauseFor("")}}))
	follows, asked := false, 0
	w.balance = func(c *Call) CallResult {
		if c.Method == TargetsMethod {
			return CallResult{}
		}
		if c.Intent.Weight == 50 {
			asked++
		}
		r := CallResult{Verified: ptr(follows), ALBs: []argo.ALBStatus{{Ingress: "web", LoadBalancer: argo.AwsResourceRef{Name: "lb", ARN: "arn"}}}}
		if !follows {
			r.Events = []Event{{Warning: true, Reason: "WeightVerifyError", Message: "Failed to verify weight: throttled"}}
		}
		return r
	}
	w.settle()
	if asked > 0 {
		t.Fatalf("the load balancer is asked %d times at rest", asked)
	}
	w.update("v2")
	w.pass(25 * time.Second)
	if *w.ro.Status.CurrentStepIndex != 0 || w.weight() != 50 || w.plan.Why.Code != "WeightNotVerified" {
		t.Fatalf("step %d, weight %d, %+v", *w.ro.Status.CurrentStepIndex, w.weight(), w.plan.Why)
	}
	if n := w.said("WeightVerifyError"); n != 2 { // of the weight before, and of this one
		t.Errorf("the error is told %d times", n)
	}
	if asked != 3 { // at once, and every 10 s
		t.Errorf("it is asked %d times", asked)
	}
	if w.ro.Status.ALB == nil || w.ro.Status.ALB.LoadBalancer.ARN != "arn" || len(w.ro.Status.ALBs) != 1 {
		t.Errorf("status.alb %+v, status.albs %+v", w.ro.Status.ALB, w.ro.Status.ALBs)
	}
	follows = true
	w.pass(10 * time.Second)
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	before := asked
	w.pass(time.Hour)
	if asked != before {
		t.Errorf("it is asked %d times more at a pause", asked-before)
	}
	w.user(promote)
	w.pass(time.Minute)
	w.phase(argo.RolloutPhaseHealthy, "")
	w.sized("v1", 0)
	w.rests()
}

func TestOldPodsStayUntilTheLoadBalancerKnowsTheNewOnes(t *testing.T) {
	t.Parallel()
	known := false
	answer := func(c *Call) CallResult {
		if c.Method == TargetsMethod && !known {
			return CallResult{Verified: ptr(false), Events: []Event{{Warning: true, Reason: "TargetGroupUnverified", Message: "Service not verified: 1/2 endpoints registered"}}}
		}
		return CallResult{Verified: ptr(true)}
	}
	t.Run("canary", func(t *testing.T) {
		w := newWorld(t, routedCanary(2, argo.CanaryStrategy{TrafficRouting: &argo.RolloutTrafficRouting{ALB: &argo.ALBTrafficRouting{Ingress: "web"}}}))
		w.balance, known = answer, false
		w.settle()
		w.update("v2")
		w.pass(time.Hour)
		w.sized("v1", 2)
		if w.said("TargetGroupUnverified") != 1 {
			t.Errorf("%+v", w.told)
		}
		known = true
		w.pass(time.Minute)
		w.sized("v1", 0)
		w.rests()
	})
	t.Run("blue-green", func(t *testing.T) {
		w := newWorld(t, greenRollout(2, argo.BlueGreenStrategy{ActiveService: "active"}))
		w.balance, known = answer, false
		w.settle()
		w.update("v2")
		w.pass(time.Hour)
		w.serves("active", "v2")
		if w.ro.Status.StableRS != hashOf("v1") || w.plan.Why.Code != "TargetsNotVerified" {
			t.Errorf("stable %s, %+v", w.ro.Status.StableRS, w.plan.Why)
		}
		w.sized("v1", 2)
		known = true
		w.pass(time.Minute)
		w.phase(argo.RolloutPhaseHealthy, "")
		w.sized("v1", 0)
		w.rests()
	})
}
