// Package virtual plays every kubelet, container runtime and cloud instance of a cluster in one process: nodes and pods
// without containers. It reads pods and nodes from the shared cache, moves a per-pod program state forward (what the
// containers do), derives the status a kubelet would have reported, and writes as little of it as observers can tell.
//
// In: API objects, node groups, a Behaviour (what a container does) and a UsageSource (what it uses). Out: status
// writes, deletions, events, leases and, on demand, usage. Order, reasons and wording follow the kubelet of Kubernetes
// 1.37; conditions come from its exported generators.
package virtual

import (
	"errors"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	kwok "sigs.k8s.io/kwok/pkg/apis/v1alpha1"

	"github.com/fairway-dev/fairway/internal/kube/virtual/stage"
)

// WritePolicy says how many of the states a pod passes through are written to the API.
type WritePolicy string

const (
	// WritesFull writes every state a kubelet writes.
	WritesFull WritePolicy = "full"
	// WritesObservable leaves out a state whose successor is due within 250 ms and that hides nothing users look for.
	WritesObservable WritePolicy = "observable"
	// WritesLean also folds "admitted" into "running", and lets a deleted pod go without a terminal status when nobody
	// waits for one.
	WritesLean WritePolicy = "lean"
)

// EventPolicy says which kubelet events are written to the API. OnEvent hears all of them whatever the policy.
type EventPolicy string

const (
	EventsAll      EventPolicy = "all"      // every event a kubelet would write
	EventsWarnings EventPolicy = "warnings" // only those of type Warning
	EventsNone     EventPolicy = "none"     // none
)

// Heartbeat says how nodes prove that they live.
type Heartbeat string

const (
	// HeartbeatAuto is lease up to 200 nodes at the start, and without Options.Watchful; else quiet.
	HeartbeatAuto Heartbeat = "auto"
	// HeartbeatLease renews each node's Lease every 25 s; the node-lifecycle controller runs with its default timings.
	HeartbeatLease Heartbeat = "lease"
	// HeartbeatQuiet writes nothing while nothing changes; the node-lifecycle controller must run with a grace period
	// that never ends, until Watchful asks for its default timings.
	HeartbeatQuiet Heartbeat = "quiet"
)

// Modelled, as PodStart, makes the start of a pod take what its sandbox, image pulls and container starts take.
const Modelled time.Duration = -1

// Defaults of Options.
const (
	DefaultPodStart = 2 * time.Second
	DefaultPodStop  = 1300 * time.Millisecond
	DefaultWorkers  = 8
	// autoLeaseNodes is the size up to which HeartbeatAuto renews leases: 200 nodes make 8 writes a second.
	autoLeaseNodes = 200
)

// Options configure an Engine. Client and Informers are required; every other zero value has a meaning.
type Options struct {
	Client    kubernetes.Interface            // the engine's own user
	Informers informers.SharedInformerFactory // shared; the engine registers what it reads and does not start it

	NodeGroups []NodeGroup

	PodStart time.Duration // bound to Running of a pod with one container; Modelled = sandbox, pulls and starts; default 2 s
	PodStop  time.Duration // SIGTERM to exit when the container's model does not say; default 1.3 s; negative = at once
	AtOnce   bool          // pods start in no time (PodStart is ignored)

	PodWrites WritePolicy   // default observable
	PodEvents EventPolicy   // default all
	Heartbeat Heartbeat     // default auto
	TimeGrain time.Duration // wake-ups are rounded up to this grid; 0 = none
	Workers   int           // concurrent API requests; default 8; 1 makes the order of requests deterministic
	Seed      int64         // of every random draw

	Behaviour Behaviour   // default: containers run for ever and are healthy at once
	Usage     UsageSource // default: the idle use of the container's model
	Images    ImageModel  // what pulls cost

	// Provisioners are globs over StorageClass provisioners that the engine plays, for example "*"; none = volumes are
	// left to others.
	Provisioners []string
	DefaultClass bool // install the default StorageClass "virtual" of provisioner fairway.dev/virtual

	// Stages are KWOK's, which move pods and nodes in the native engine's place or before it; StageMode says which
	// (default auto).
	Stages    []*kwok.Stage
	StageMode stage.Mode

	KubeletVersion string // default: the version of the linked Kubernetes

	// Watchful asks the control plane to run the node-lifecycle controller with its default timings (true) or with a
	// grace period that never ends (false). nil means that it always runs with default timings.
	Watchful func(on bool)
	// OnEvent hears every event and fault the engine decides, in order. It must not call the engine.
	OnEvent func(Event)
	// OnHook hears of the HTTP hooks of containers when they are due, for whoever can send requests; what becomes of them it
	// reports by Hook.Answer. nil = none is sent: they take no time and succeed. It must neither block nor call the engine.
	OnHook func(Hook)
}

// HookKind is one of a container's two hooks.
type HookKind int

// Kinds of hooks.
const (
	NoHook HookKind = iota
	PostStart
	PreStop
)

// Hook is an HTTP request that a container's postStart or preStop asks for.
type Hook struct {
	Kind HookKind
	// Answer tells the engine how the request ended; nil is success. The container goes on only then, or after a minute.
	Answer func(error)

	Pod       *v1.Pod // shared with caches: read only
	Container *v1.Container
	Get       *v1.HTTPGetAction
	IP        string // the pod's, which its status may not show yet
}

// Event is something a kubelet or the simulated cloud reports about an object.
type Event struct {
	Time      time.Time
	Kind      string // Pod or Node
	Namespace string
	Name      string
	UID       types.UID
	Container string // empty unless the event is about one container
	FieldPath string // spec.containers{name} and the like
	Node      string // where it happened
	Type      string // Normal or Warning
	Reason    string
	Message   string
}

func (o Options) withDefaults() (Options, error) {
	if o.Client == nil || o.Informers == nil {
		return o, errors.New("virtual: Options.Client and Options.Informers are required")
	}
	if o.PodStart == 0 {
		o.PodStart = DefaultPodStart
	}
	if o.AtOnce {
		o.PodStart = 0
	}
	if o.PodStop == 0 {
		o.PodStop = DefaultPodStop
	}
	if o.DefaultClass && len(o.Provisioners) == 0 {
		o.Provisioners = []string{VirtualProvisioner}
	}
	if o.Workers <= 0 {
		o.Workers = DefaultWorkers
	}
	if o.TimeGrain < 0 {
		return o, fmt.Errorf("virtual: time grain %v is negative; use 0 for none", o.TimeGrain)
	}
	var err error
	if o.PodWrites, err = oneOf("pod writes", o.PodWrites, WritesObservable, WritesFull, WritesLean); err != nil {
		return o, err
	}
	if o.PodEvents, err = oneOf("pod events", o.PodEvents, EventsAll, EventsWarnings, EventsNone); err != nil {
		return o, err
	}
	if o.Heartbeat, err = oneOf("node heartbeat", o.Heartbeat, HeartbeatAuto, HeartbeatLease, HeartbeatQuiet); err != nil {
		return o, err
	}
	if o.StageMode == "" {
		o.StageMode = stage.Auto
	}
	if o.Behaviour == nil {
		o.Behaviour = RunForever{}
	}
	if o.KubeletVersion == "" {
		o.KubeletVersion = linkedKubernetesVersion()
	}
	return o, nil
}

// oneOf returns value, or the first allowed one when it is empty.
func oneOf[T ~string](what string, value T, allowed ...T) (T, error) {
	if value == "" {
		return allowed[0], nil
	}
	for _, a := range allowed {
		if value == a {
			return value, nil
		}
	}
	return value, fmt.Errorf("virtual: %s %q is not known; use one of %q", what, value, allowed)
}

// terminalPhase reports whether a pod in this phase never changes again.
func terminalPhase(p v1.PodPhase) bool { return p == v1.PodSucceeded || p == v1.PodFailed }
