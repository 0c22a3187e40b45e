package rollout

import (
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// Verb is what an Op does.
type Verb int

// Verbs.
const (
	Create      Verb = iota // After
	Patch                   // what differs between Before and After, on condition that Before is still current
	PatchStatus             // the same, of the status subresource
	Delete                  // Before
	Evict                   // Before, a pod, by the Eviction API; a refusal by a budget is not an error
	Scale                   // Before, by its scale subresource, to Replicas
	Ask                     // a plugin; see Call
	Tell                    // nothing but Events
)

// Op is one write. Ops are idempotent: done twice they leave what they leave done once. Where a Plan has several Ops on one
// object (a Patch and a PatchStatus of the Rollout), the condition of a later one is what the earlier one returned.
type Op struct {
	Verb          Verb
	Before, After client.Object
	Replicas      int32
	Call          *Call
	// Steer is what a data path in this process is told before a Patch of a route; nil = nothing.
	Steer *Steer
	// Events are told when the Op has been done.
	Events []Event
	// Barrier ends the execution of a plan after this Op even if it succeeds: what follows is decided anew.
	Barrier bool
}

// Steer is the weights that a Patch of a route is about to give it.
type Steer struct {
	Route                        traffic.Ref
	Rule                         string // "" = all that divide between the two
	CanaryService, StableService string
	Weights                      traffic.Weights
}

// Event is a Kubernetes Event on the Rollout.
type Event struct {
	Warning         bool
	Reason, Message string
}

// Plan is what Decide wants done, in order. Without Ops everything is as it should be for now.
type Plan struct {
	Ops []Op
	// Warnings, and what else load balancers tell, hold as long as the world stays as it is (a router's object is missing, a plugin fails): each is told when the
	// plan before had no such warning. They are no Ops, for they change nothing.
	Warnings []Event
	// RequeueAt is when something is to be decided although nothing changes; zero = never.
	RequeueAt time.Time
	Why       Why
	// Uncounted is since when numbers of pods alone wait to be written down; zero = none do. The next Snapshot has it.
	Uncounted time.Time
	// Unfollowed is since when a data path of this process has not followed the weight; zero = it does. The next Snapshot has it.
	Unfollowed time.Time
	// Metrics are told once the status was written.
	Metrics []Finished
}

// Why is the one thing that holds a Rollout where it is.
type Why struct {
	Code     string // a word for programs
	Reason   string // a sentence
	Evidence []string
	Next     string // what will happen without anybody's doing
	NextAt   time.Time
}

// Finished is an update that has come to an end, for the duration metrics.
type Finished struct {
	Status                string // rollouts.CompletionStatus
	Total, Paused, Active time.Duration
}
