// Package rollouts has the kinds of the API group argoproj.io as Fairway reads and writes them: the Go types of Argo
// Rollouts v1.10.1, and what newer versions of its API and older YAML add to the Rollout.
package rollouts

import (
	"encoding/json"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion of the kinds.
var GroupVersion = schema.GroupVersion{Group: "argoproj.io", Version: "v1alpha1"}

// AddToScheme registers the kinds: Rollout in the form of this package, the others in the peer's.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &Rollout{}, &RolloutList{},
		&argo.AnalysisTemplate{}, &argo.AnalysisTemplateList{}, &argo.ClusterAnalysisTemplate{}, &argo.ClusterAnalysisTemplateList{},
		&argo.AnalysisRun{}, &argo.AnalysisRunList{}, &argo.Experiment{}, &argo.ExperimentList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// Rollout is a workload whose new template replaces the old one by steps. Its spec is the peer's; its status has the
// duration beside it.
type Rollout struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   argo.RolloutSpec `json:"spec"`
	Status RolloutStatus    `json:"status,omitempty"`
}

// RolloutList is a list of Rollouts.
type RolloutList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Rollout `json:"items"`
}

// RolloutStatus is the peer's status and, beside it, the duration that its versions after 1.10.1 have.
type RolloutStatus struct {
	argo.RolloutStatus `json:",inline"`
	Duration           *Duration `json:"duration,omitempty"`
}

// CompletionStatus says how an update ended, or which way it is going back.
type CompletionStatus string

// How an update ends.
const (
	Promoted       CompletionStatus = "Promoted"
	FastPromoted   CompletionStatus = "FastPromoted"
	Aborted        CompletionStatus = "Aborted"
	Superseded     CompletionStatus = "Superseded"
	RolledBack     CompletionStatus = "RolledBack"
	FastRolledBack CompletionStatus = "FastRolledBack"
)

// Duration is how long the last update took or has been taking.
type Duration struct {
	RolloutStartedAt                *metav1.Time     `json:"rolloutStartedAt,omitempty"`
	ManualPauseStartedAt            *metav1.Time     `json:"manualPauseStartedAt,omitempty"`
	TotalManualPauseDurationSeconds int64            `json:"totalManualPauseDurationSeconds,omitempty"`
	FinishedAt                      *metav1.Time     `json:"finishedAt,omitempty"`
	CompletionStatus                CompletionStatus `json:"completionStatus,omitempty"`
}

// UnmarshalJSON accepts the YAML of 2019, which has the steps of a canary beside `canary`. Steps in their proper place win.
func (r *Rollout) UnmarshalJSON(b []byte) error {
	type plain Rollout
	if err := json.Unmarshal(b, (*plain)(r)); err != nil {
		return err
	}
	var old struct {
		Spec struct {
			Strategy struct {
				Steps []argo.CanaryStep `json:"steps"`
			} `json:"strategy"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(b, &old); err != nil {
		return err
	}
	if c := r.Spec.Strategy.Canary; c != nil && len(c.Steps) == 0 {
		c.Steps = old.Spec.Strategy.Steps
	}
	return nil
}

// DeepCopyInto copies everything r holds.
func (r *Rollout) DeepCopyInto(out *Rollout) {
	*out = *r
	r.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	r.Spec.DeepCopyInto(&out.Spec)
	r.Status.DeepCopyInto(&out.Status)
}

// DeepCopy copies everything r holds.
func (r *Rollout) DeepCopy() *Rollout {
	out := new(Rollout)
	r.DeepCopyInto(out)
	return out
}

// DeepCopyObject implements runtime.Object.
func (r *Rollout) DeepCopyObject() runtime.Object { return r.DeepCopy() }

// DeepCopyInto copies everything s holds.
func (s *RolloutStatus) DeepCopyInto(out *RolloutStatus) {
	s.RolloutStatus.DeepCopyInto(&out.RolloutStatus)
	if out.Duration = nil; s.Duration != nil {
		d := *s.Duration
		d.RolloutStartedAt, d.ManualPauseStartedAt, d.FinishedAt = s.Duration.RolloutStartedAt.DeepCopy(), s.Duration.ManualPauseStartedAt.DeepCopy(), s.Duration.FinishedAt.DeepCopy()
		out.Duration = &d
	}
}

// DeepCopyObject implements runtime.Object.
func (l *RolloutList) DeepCopyObject() runtime.Object {
	out := &RolloutList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy(), Items: make([]Rollout, len(l.Items))}
	for i := range l.Items {
		l.Items[i].DeepCopyInto(&out.Items[i])
	}
	return out
}
