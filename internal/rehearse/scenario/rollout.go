package scenario

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// What a scenario says of Rollouts: steps that act on an update, and how an update must end.

// onRollouts are the actions that change how an update goes on, with the workload each names.
func onRollouts(s *v1alpha1.Step) []rolloutAction {
	var list []rolloutAction
	if s.Promote != nil {
		list = append(list, rolloutAction{"promote", s.Promote.Workload, false})
	}
	for _, a := range []struct {
		name        string
		on          *v1alpha1.WorkloadAction
		deployments bool
	}{{"abort", s.Abort, false}, {"pause", s.Pause, true}, {"resume", s.Resume, true}, {"retry", s.Retry, false}} {
		if a.on != nil {
			list = append(list, rolloutAction{a.name, a.on.Workload, a.deployments})
		}
	}
	return list
}

type rolloutAction struct {
	name        string
	workload    v1alpha1.Workload
	deployments bool // Deployments know it too
}

func (v *validator) rolloutActions(s *v1alpha1.Step) {
	for _, a := range onRollouts(s) {
		v.workload(s.Source, a.name, a.workload)
	}
}

func (v *validator) rollout(at v1alpha1.Source, r *v1alpha1.RolloutExpectation) {
	v.workload(at, "rollout.workload", r.Workload)
	if r.Within.Duration < 0 {
		v.fail(at, "rollout.within", "write for example 30m", "within: %s is negative", r.Within)
	}
	v.share(at, "rollout.maxWeight", r.MaxWeight)
	if strings.ContainsAny(r.Image, " \t") {
		v.fail(at, "rollout.image", `write for example "*:v2.4"`, "image: %q is not an image", r.Image)
	}
}

// rolloutStep checks that the workload of an action exists and knows it.
func (c *checker) rolloutStep(s *v1alpha1.Step) {
	for _, a := range onRollouts(s) {
		o := c.target(s.Source, a.name, a.wanted(), a.workload, a.accepts)
		c.knows(s.Source, a, o)
	}
}

// wanted names the kinds an action is for.
func (a rolloutAction) wanted() string {
	if a.deployments {
		return "Rollout or Deployment"
	}
	return "Rollout"
}

func (a rolloutAction) accepts(kind string) bool {
	return kind == rolloutKind || a.deployments && kind == "Deployment"
}

// knows refuses an action on a workload written with a kind that it is not for.
func (c *checker) knows(at v1alpha1.Source, a rolloutAction, o *unstructured.Unstructured) {
	if o != nil && !a.accepts(o.GetKind()) {
		c.fail(at, a.name, "name a "+a.wanted(), "%s goes with a %s; %s is a %s", a.name, a.wanted(), a.workload, o.GetKind())
	}
}

// rolloutExpectation checks that what it expects can happen to its workload: only the update of a Rollout is aborted.
func (c *checker) rolloutExpectation(at v1alpha1.Source, r *v1alpha1.RolloutExpectation) {
	if r.Verdict == v1alpha1.VerdictAborted || r.MaxWeight != nil {
		if o := c.target(at, "rollout.workload", "Rollout", r.Workload, func(kind string) bool { return kind == rolloutKind }); o != nil && o.GetKind() != rolloutKind {
			c.fail(at, "rollout.workload", "name a Rollout, or remove verdict and maxWeight", "the update of a %s is never aborted and has no weight; %s is one", o.GetKind(), r.Workload)
		}
		return
	}
	c.target(at, "rollout.workload", "workload", r.Workload, isWorkload)
}

// rolloutKind is the kind of argoproj.io that is a workload.
const rolloutKind = "Rollout"
