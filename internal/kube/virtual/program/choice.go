package program

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// Question is what is asked: what does this instance of this container do?
type Question struct {
	Pod       *corev1.Pod
	Container *corev1.Container
	Init      bool   // an init container that is not a sidecar
	Restart   int32  // 0 for the first instance
	Identity  string // what random draws are keyed by beside the container and restart; stable between runs
	Seed      int64
}

// Choice is the answer: what the instance does from its start.
type Choice struct {
	Why        string    // the rules that made it, for people
	Unmodelled string    // what was guessed for want of a model; "" when nothing was
	Problems   []Problem // annotations that were not understood; the rest applies

	StartError string // the runtime cannot execute the command, and why

	Ends     bool // it ends by itself
	RunsFor  time.Duration
	ExitCode int32
	Message  string // termination message

	Ready          time.Duration // start to healthy
	UnhealthyAfter time.Duration // after the start it is unhealthy from here on; 0 = never
	HealthPath     string        // the one path whose probes see UnhealthyAfter; "" = all probes do
	Healthy        bool          // false: it is never healthy

	Stop       time.Duration // SIGTERM to exit; 0 = the default of the engine
	Refuses    bool          // from SIGTERM on it takes no new connections, though it finishes what it has
	IgnoreTerm bool          // only SIGKILL ends it
	TermCode   int32         // exit code after SIGTERM

	Usage Usage
	Logs  []Line // what it writes, in order of time

	Listens bool // it listens on the declared and probed ports
	// OnlyPorts is for a program that is known: it listens on Ports and on no other, whatever is declared.
	OnlyPorts bool
	Ports     []uint16          // TCP ports listened on beyond those
	Answers   map[uint16]Answer // what it answers to HTTP on a port; without an entry, "ok"
	Echo      bool              // it answers with what it was asked (builtin:echo)
	Local     uint16            // a port of 127.0.0.1 on this machine that serves all of the pod's ports; 0 = none

	Pull   Pull
	Resize Resize
	// Model is the service model after all overrides, for whoever models load; nil when nothing is said.
	Model *v1alpha1.ServiceModel
}

// Usage is the constant use of a container; zero fields are not said.
type Usage struct {
	CPUMilli         int64
	MemoryBytes      int64
	LeakBytesPerHour float64
}

// Pull changes how the image is pulled.
type Pull struct {
	Takes      time.Duration // uncontended; 0 = as modelled
	SizeBytes  int64         // 0 = as modelled
	SharedWith string        // an image whose layers are not pulled again
	Error      string        // every pull fails with this message
}

// Resize changes how a resize of the pod is carried out.
type Resize struct {
	Delay time.Duration // with Said
	Said  bool
	Error bool // the resize fails
}

// Defaults fill what no rule says.
type Defaults struct {
	Ready      v1alpha1.Quantiles // zero = at once
	Stop       time.Duration      // 0 = the engine's
	Completion time.Duration      // of containers that are expected to end and have no model
	CPUMilli   int64
	Memory     func(*corev1.Container) int64 // nil = the engine's
}

// DefaultsUp are those of the running platform: ready at once, ended after a second.
func DefaultsUp() Defaults { return Defaults{Completion: time.Second} }

// DefaultsRehearsal are those of a rehearsal, where time is modelled: ready after 5 s (99 %: 15 s), stopped after 1 s,
// memory 60 % of the request or 64Mi, jobs take a minute. They are assumptions and listed as such in its report.
func DefaultsRehearsal() Defaults {
	return Defaults{
		Ready:      v1alpha1.Quantiles{P50: v1alpha1.DurationOf(5 * time.Second), P99: v1alpha1.DurationOf(15 * time.Second)},
		Stop:       time.Second,
		Completion: time.Minute,
		CPUMilli:   5,
		Memory: func(c *corev1.Container) int64 {
			if q, ok := c.Resources.Requests[corev1.ResourceMemory]; ok && !q.IsZero() {
				return q.Value() * 6 / 10
			}
			return 64 << 20
		},
	}
}
