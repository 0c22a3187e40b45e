// Package experiment runs Experiments: ReplicaSets beside those of a Rollout, for a while, judged by analyses. In: an
// Experiment and what it owns. Out: ReplicaSets, Services, AnalysisRuns and the Experiment's status. Behaviour, names and
// messages follow Argo Rollouts v1.10.1. Decide is pure; the controller carries its plans out.
package experiment

import (
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

// Snapshot is all that Decide looks at. Nothing in it may be changed.
type Snapshot struct {
	Experiment *argo.Experiment
	// ReplicaSets and Services that the Experiment controls, by the name of their template.
	ReplicaSets map[string]*appsv1.ReplicaSet
	Services    map[string]*corev1.Service
	// Runs that the Experiment controls, by name.
	Runs map[string]*argo.AnalysisRun
	// Taken are names that objects of others have, as "ReplicaSet/name", "Service/name" and "AnalysisRun/name".
	Taken map[string]bool
	// Templates that the analyses refer to, and those that they refer to in turn.
	Templates analysis.Templates
	// Refused has what the API server refused for good, by the name of the template it was made of.
	Refused map[string]string
}

// Verb is what an Op does.
type Verb int

// Verbs.
const (
	Create Verb = iota // After
	Patch              // what differs between Before and After, on condition that Before is still current
	Delete             // Before
	Tell               // nothing but Events
)

// Op is one write. Done twice it leaves what it leaves done once.
type Op struct {
	Verb          Verb
	Before, After client.Object
	Template      string // that it is made of, "" = none
	Events        []Event
}

// Event is a Kubernetes Event on the Experiment.
type Event struct {
	Warning         bool
	Reason, Message string
	// Rollout is set when the Rollout that owns the Experiment is told too.
	Rollout bool
}

// Plan is what Decide wants done, in order. Without Ops everything is as it should be for now.
type Plan struct {
	Ops []Op
	// RequeueAt is when something is to be decided although nothing changes; zero = never.
	RequeueAt time.Time
}

func (p *Plan) wakeAt(t time.Time) {
	if p.RequeueAt.IsZero() || t.Before(p.RequeueAt) {
		p.RequeueAt = t
	}
}
