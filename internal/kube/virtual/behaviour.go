package virtual

import (
	"time"

	v1 "k8s.io/api/core/v1"
)

// Behaviour says what a container does. It must be a pure function of its input, so that runs repeat.
type Behaviour interface {
	Choose(Choice) Model
}

// Choice is the question: what does this instance of this container do?
type Choice struct {
	Pod       *v1.Pod
	Container *v1.Container
	Init      bool   // an init container that is not a sidecar: it is expected to end
	Restart   int32  // 0 for the first instance
	Identity  string // namespace/workload#n (or namespace/name): what random draws are keyed by, stable between runs
	Node      string
	Seed      int64
}

// Model is the answer: what one instance of a container does from its start.
type Model struct {
	Why string // the rule that chose this, for people

	Ready time.Duration // start to healthy: probes pass from here; 0 = at once
	// UnhealthyAfter is when, counted from the start, probes begin to fail again; 0 = never.
	UnhealthyAfter time.Duration
	Fails          ProbeSet // probes that never pass: nothing listens on their port, or their command always fails
	Steady         ProbeSet // probes that do not see UnhealthyAfter: they ask something else of the program

	Exits    bool          // whether it ends by itself
	RunsFor  time.Duration // start to end, when Exits
	ExitCode int32
	Message  string // termination message

	Stop       time.Duration // SIGTERM to exit; 0 = Options.PodStop; negative = at once
	IgnoreTerm bool          // only SIGKILL ends it
	TermCode   int32         // exit code after SIGTERM

	// StartError, when not empty, is why the runtime cannot start the command: the container ends with exit code 128.
	StartError string
	// ConfigError, when not empty, is why the container cannot be created (waiting CreateContainerConfigError).
	ConfigError string

	ResizeDelay time.Duration // how long a resize takes to be in force; default 0.5 s
	ResizeError string        // why the runtime cannot put a resize into force; "" = it can

	Usage IdleUsage
}

// ProbeSet is a set of the probes of a container.
type ProbeSet uint8

// The probes of a container.
const (
	StartupProbe ProbeSet = 1 << iota
	ReadinessProbe
	LivenessProbe
)

// IdleUsage is the constant use of a container nobody models better. The zero value means 1m CPU and 32Mi.
type IdleUsage struct {
	CPUMilli         int64   // constant CPU use, in thousandths of a core
	MemoryBytes      int64   // working set at the start
	LeakBytesPerHour float64 // growth of the working set
}

// Constants of IdleUsage's zero value (assumption: a small idle server).
const (
	idleCPUMilli    = 1
	idleMemoryBytes = 32 << 20
)

func (u IdleUsage) at(age time.Duration) Usage {
	if u.CPUMilli == 0 {
		u.CPUMilli = idleCPUMilli
	}
	if u.MemoryBytes == 0 {
		u.MemoryBytes = idleMemoryBytes
	}
	if age < 0 {
		age = 0
	}
	return Usage{
		CPUSeconds:  float64(u.CPUMilli) / 1000 * age.Seconds(),
		MemoryBytes: u.MemoryBytes + int64(u.LeakBytesPerHour*age.Hours()),
	}
}

// RunForever is the default Behaviour: long-running containers are healthy at once and run until stopped; init
// containers, and containers that are not restarted, end with exit code 0 after one second.
type RunForever struct{}

// Choose implements Behaviour.
func (RunForever) Choose(c Choice) Model {
	if c.Init || c.Pod.Spec.RestartPolicy != v1.RestartPolicyAlways && !isSidecar(c.Container) {
		return Model{Why: "default: run to completion in 1 s", Exits: true, RunsFor: time.Second}
	}
	return Model{Why: "default: run for ever"}
}

// Usage is what one container instance used.
type Usage struct {
	CPUSeconds  float64 // cumulative since the instance started
	MemoryBytes int64   // working set at that instant
	DiskBytes   int64   // local storage written: layers, logs, emptyDir volumes
}

// Instance names one run of one container.
type Instance struct {
	Pod       *v1.Pod
	Container string
	Restart   int32
	Started   time.Time
	Model     *Model
}

// UsageSource says what containers use. It is asked at reads, starts and ends only; nothing ticks. It is called while the
// engine decides and must not call the engine.
type UsageSource interface {
	// Usage returns what the instance used until at.
	Usage(i Instance, at time.Time) Usage
	// Crossing returns the first instant not before from at which the instance's working set exceeds limit bytes,
	// as far as is known now; ok is false when it never does. Engine.Recheck makes the engine ask again.
	Crossing(i Instance, limit int64, from time.Time) (at time.Time, ok bool)
}

// ModelUsage is the default UsageSource: what the Model of an instance says, whatever is asked of it.
type ModelUsage struct{}

// Usage implements UsageSource.
func (ModelUsage) Usage(i Instance, at time.Time) Usage { return i.Model.Usage.at(at.Sub(i.Started)) }

// Growth implements Grower.
func (ModelUsage) Growth(i Instance, _ time.Time) float64 { return i.Model.Usage.LeakBytesPerHour }

// Crossing implements UsageSource.
func (ModelUsage) Crossing(i Instance, limit int64, from time.Time) (time.Time, bool) {
	u := i.Model.Usage
	if u.MemoryBytes == 0 {
		u.MemoryBytes = idleMemoryBytes
	}
	if u.MemoryBytes > limit {
		return from, true
	}
	if u.LeakBytesPerHour <= 0 {
		return time.Time{}, false
	}
	hours := float64(limit-u.MemoryBytes+1) / u.LeakBytesPerHour
	at := i.Started.Add(time.Duration(hours * float64(time.Hour)))
	if at.Before(from) {
		at = from
	}
	return at, true
}

// IdleUse is what an instance uses by its Behaviour's constants alone.
func IdleUse(i Instance, at time.Time) Usage { return i.Model.Usage.at(at.Sub(i.Started)) }
