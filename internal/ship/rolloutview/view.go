// Package rolloutview shows a Rollout or an Experiment as people see it: a header with the state in a few lines, and the tree
// of revisions, ReplicaSets, pods, experiments, analysis runs and jobs. In: objects as the API server holds them. Out: values
// for programs, and text. What is shown, its order, its glyphs and its tags are those of the kubectl plugin of Argo Rollouts,
// so that eyes and scripts trained there find everything in its place. It is pure: it reads nothing and knows no clock.
package rolloutview

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

// Around is what may belong to a Rollout or an Experiment: objects of its namespace. What belongs to others is left out.
type Around struct {
	ReplicaSets []appsv1.ReplicaSet
	Pods        []corev1.Pod
	Runs        []argo.AnalysisRun
	Experiments []argo.Experiment
}

// Rollout is what is shown of one.
type Rollout struct {
	Namespace, Name string
	Created         time.Time
	Phase           string // as clients see it, see rollout.Phase
	Message         string
	Strategy        string // Canary, BlueGreen or ""
	// Step is how many steps of a canary are done, and of how many; "" without steps or before the first.
	Step string
	// SetWeight is what the steps ask for, ActualWeight what is the case: the router's, or the share of pods. Both in percent,
	// or of maxTrafficWeight. For a canary only.
	SetWeight, ActualWeight int32
	Images                  []Image
	// Numbers of pods.
	Desired, Current, Updated, Ready, Available int32
	Revisions                                   []Revision // newest first
}

// Revision is a template that the Rollout has had, and what was made for it.
type Revision struct {
	Number      int64
	ReplicaSets []ReplicaSet
	Experiments []Experiment
	Runs        []Run
}

// Of shows a Rollout with what belongs to it.
func Of(ro *rollouts.Rollout, around Around) *Rollout {
	phase, message := rollout.Phase(ro)
	v := &Rollout{Namespace: ro.Namespace, Name: ro.Name, Created: ro.CreationTimestamp.Time, Phase: string(phase), Message: message,
		Strategy: strategy(ro), Step: step(ro), SetWeight: setWeight(ro),
		Desired: desired(ro), Current: ro.Status.Replicas, Updated: ro.Status.UpdatedReplicas, Ready: ro.Status.ReadyReplicas,
		Available: ro.Status.AvailableReplicas}
	sets := replicaSets(ro.UID, ro, around)
	experiments := experiments(ro.UID, around)
	v.ActualWeight = actualWeight(ro, sets)
	v.Images = images(sets, experiments)
	v.Revisions = revisions(sets, experiments, runs(ro.UID, around.Runs))
	return v
}

// revisions sorts what there is under the revision it was made for; what does not say so is under 0.
func revisions(sets []ReplicaSet, experiments []Experiment, runs []Run) []Revision {
	of := map[int64]*Revision{}
	at := func(number int64) *Revision {
		if of[number] == nil {
			of[number] = &Revision{Number: number}
		}
		return of[number]
	}
	for _, rs := range sets {
		r := at(rs.Revision)
		r.ReplicaSets = append(r.ReplicaSets, rs)
	}
	for _, e := range experiments {
		r := at(e.Revision)
		r.Experiments = append(r.Experiments, e)
	}
	for _, run := range runs {
		r := at(run.Revision)
		r.Runs = append(r.Runs, run)
	}
	var out []Revision
	for _, number := range slices.SortedFunc(maps.Keys(of), func(a, b int64) int { return cmp.Compare(b, a) }) {
		out = append(out, *of[number])
	}
	return out
}

func strategy(ro *rollouts.Rollout) string {
	switch {
	case ro.Spec.Strategy.Canary != nil:
		return "Canary"
	case ro.Spec.Strategy.BlueGreen != nil:
		return "BlueGreen"
	}
	return ""
}

func desired(ro *rollouts.Rollout) int32 {
	if ro.Spec.Replicas == nil {
		return 1
	}
	return *ro.Spec.Replicas
}

func step(ro *rollouts.Rollout) string {
	c := ro.Spec.Strategy.Canary
	if c == nil || len(c.Steps) == 0 || ro.Status.CurrentStepIndex == nil {
		return ""
	}
	return strconv.Itoa(int(*ro.Status.CurrentStepIndex)) + "/" + strconv.Itoa(len(c.Steps))
}

// currentStep is the index of the step that a canary is at, and false when there is none or all are done.
func currentStep(ro *rollouts.Rollout) (int, bool) {
	c := ro.Spec.Strategy.Canary
	if c == nil {
		return 0, false
	}
	at := 0
	if i := ro.Status.CurrentStepIndex; i != nil {
		at = max(int(*i), 0)
	}
	return at, at < len(c.Steps)
}

// maxWeight is the weight that means all traffic.
func maxWeight(ro *rollouts.Rollout) int32 {
	if c := ro.Spec.Strategy.Canary; c != nil && c.TrafficRouting != nil && c.TrafficRouting.MaxTrafficWeight != nil {
		return *c.TrafficRouting.MaxTrafficWeight
	}
	return 100
}

// setWeight is that of the last setWeight step at or before the current one.
func setWeight(ro *rollouts.Rollout) int32 {
	if ro.Status.Abort {
		return 0
	}
	at, ok := currentStep(ro)
	if !ok {
		return maxWeight(ro)
	}
	for ; at >= 0; at-- {
		if w := ro.Spec.Strategy.Canary.Steps[at].SetWeight; w != nil {
			return *w
		}
	}
	return 0
}

// actualWeight is the router's weight, or the share of the canary's among the available pods.
func actualWeight(ro *rollouts.Rollout, sets []ReplicaSet) int32 {
	_, stepping := currentStep(ro)
	switch {
	case !stepping:
		return maxWeight(ro)
	case ro.Status.AvailableReplicas <= 0:
		return 0
	case ro.Spec.Strategy.Canary.TrafficRouting != nil && ro.Status.Canary.Weights != nil:
		return ro.Status.Canary.Weights.Canary.Weight
	case ro.Spec.Strategy.Canary.TrafficRouting != nil:
		return setWeight(ro)
	}
	for _, rs := range sets {
		if slices.Contains(rs.Tags, TagCanary) {
			return rs.Available * maxWeight(ro) / ro.Status.AvailableReplicas
		}
	}
	return 0
}

// revision is what an object's annotation says.
func revision(o metav1.Object) int64 {
	n, err := strconv.ParseInt(o.GetAnnotations()[rollout.RevisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func ownedBy(o metav1.Object, owner types.UID) bool {
	return slices.ContainsFunc(o.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == owner })
}
