package rollout

import (
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// Snapshot is all that Decide looks at: one Rollout and what hangs together with it, as the cache held it at one moment.
// Nothing in it may be changed; what Decide wants to change it copies.
type Snapshot struct {
	// Rollout with its template (and selector) resolved from a workloadRef. The 2019 form of steps is already in its place.
	Rollout *rollouts.Rollout
	// Hash of the resolved template with the collision count (hash.go); StepsHash of the canary's steps, "" without a canary.
	Hash, StepsHash string
	// New is the ReplicaSet of the resolved template, one of ReplicaSets; nil when there is none yet.
	New *appsv1.ReplicaSet
	// NameTaken is set when a ReplicaSet that is not this revision's has the name this revision's would get.
	NameTaken bool
	// ReplicaSets that the Rollout controls, those of experiments left out: by creation time, then revision, then name.
	ReplicaSets []*appsv1.ReplicaSet
	// Pods of each ReplicaSet, by its UID. Only filled when something needs them, see NeedsPods.
	Pods map[types.UID][]*corev1.Pod
	// Refused are pods whose eviction a budget has refused, and when: they are tried again after a while. Memory only.
	Refused map[types.UID]time.Time
	// Services of the namespace that the Rollout names or that it manages, by name.
	Services map[string]*corev1.Service
	// Workload that workloadRef names, for scaling it down; nil without a workloadRef or when it does not exist.
	Workload *Workload
	// Routers in the order in which they are driven, and the objects they asked for.
	Routers []traffic.Router
	Objects traffic.Objects
	// Loaded are the weights that a gateway in this process follows, of the routes among the objects; see traffic.Loaded.
	Loaded map[traffic.Ref][]traffic.RuleWeights
	// Templates by name: those the spec refers to, and those they refer to in turn.
	Templates        map[string]*argo.AnalysisTemplate
	ClusterTemplates map[string]*argo.ClusterAnalysisTemplate
	// Runs and Experiments that the Rollout controls, oldest first.
	Runs        []*argo.AnalysisRun
	Experiments []*argo.Experiment
	// TakenNames are names of AnalysisRuns and Experiments of others that begin with this Rollout's.
	TakenNames map[string]bool
	// Balanced is whether there is somebody who can tell whether load balancers follow.
	Balanced bool
	// Calls are the answers of step and traffic plugins so far, by Call.Key.
	Calls map[string]CallResult
	// Asked are the Calls, by key, that have not been answered yet.
	Asked map[string]bool
	// Uncounted is since when numbers of pods alone wait to be written down, as the Plan before had it. Memory only.
	Uncounted time.Time
	// Unfollowed is since when a data path of this process has not followed the weight, as the Plan before had it. Memory only.
	Unfollowed time.Time
	// Problems of the spec and of what it refers to; empty = valid. See validate.
	Problems []Problem
	// Peer is another controller that acts on the same object; nil = none.
	Peer *Peer
}

// Problem is one thing wrong with a Rollout.
type Problem struct {
	Field   string // path, as in spec.strategy.canary.steps[1].setWeight
	Message string // what is wrong and what to change
}

// String is the field and what is wrong with it.
func (p Problem) String() string {
	if p.Field == "" {
		return p.Message
	}
	return p.Field + ": " + p.Message
}

// Workload is what a workloadRef refers to.
type Workload struct {
	Object     client.Object // Deployment, ReplicaSet or PodTemplate
	Replicas   *int32        // nil for a PodTemplate
	Generation int64
}

// Peer is another controller of the same Rollout.
type Peer struct {
	What  string    // who was seen, and where
	Until time.Time // when to look again
}

// Call asks a plugin, which answers in the next Snapshot.
type Call struct {
	Key    string // of who is asked about what: a second call while the first is answered is none, and a later answer replaces an earlier
	Of     string // what exactly is asked: an answer to something else, such as another weight, is none
	Plugin string // its name
	Kind   string // step, trafficrouter or loadbalancer
	Method string // Run, Abort, Terminate of a step; Apply of a traffic router; Weights or Targets of load balancers
	Index  int32  // of the step
	Status *argo.StepPluginStatus
	Intent *traffic.Intent
	// Service whose targets are asked about, and status.albs so far.
	Service string
	ALBs    []argo.ALBStatus
}

// CallResult is a plugin's answer.
type CallResult struct {
	At       time.Time
	Of       string                 // of the Call
	Status   *argo.StepPluginStatus // of a step, as the plugin left it
	Verified *bool
	Err      string
	// Events to tell while the answer stands, and status.albs, of load balancers.
	Events []Event
	ALBs   []argo.ALBStatus
}
