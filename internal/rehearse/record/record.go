// Package record is what one rehearsed run leaves behind: the rehearsal process writes it as a stream of events while
// virtual time passes, and the program that started it folds the stream into a Run, from which every report is built.
// A run that dies still leaves the events written so far, so a partial report is always possible.
//
// Nothing here may depend on real time, addresses, process ids, hosts or paths: equal scenario, inputs, seed and version
// give equal bytes (Fairway's promise of determinism).
package record

import (
	"slices"
	"time"
)

// Event is one message of the stream. Exactly one field is set.
type Event struct {
	Start    *Start    `json:"start,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
	Column   *Column   `json:"column,omitempty"`
	Sample   *Sample   `json:"sample,omitempty"`
	Entry    *Entry    `json:"entry,omitempty"`
	Pod      *Pod      `json:"pod,omitempty"`
	Node     *Node     `json:"node,omitempty"`
	Eviction *Eviction `json:"eviction,omitempty"`
	Step     *Step     `json:"step,omitempty"`
	Load     *Load     `json:"load,omitempty"`
	Workload *Workload `json:"workload,omitempty"`
	Update   *Update   `json:"update,omitempty"`
	Call     *Call     `json:"call,omitempty"`
	Assumed  *Assumed  `json:"assumed,omitempty"`
	Limit    *Limit    `json:"limit,omitempty"`
	End      *End      `json:"end,omitempty"`
}

// Start opens the stream, after the control plane is up and before settling.
type Start struct {
	Seed       int64             `json:"seed"`
	Versions   map[string]string `json:"versions"` // fairway, kubernetes, go
	Build      string            `json:"build"`    // "overlay", or "fall-back" when event order is not guaranteed
	SampleStep time.Duration     `json:"sampleStepNanoseconds"`
	PlayFrom   time.Time         `json:"playFrom"` // virtual time at which settling ends and measuring begins
	PlayTo     time.Time         `json:"playTo"`
}

// Progress feeds the one-line display; it never reaches a report.
type Progress struct {
	Time          time.Time `json:"time"`
	Settling      bool      `json:"settling,omitempty"`
	Nodes         int       `json:"nodes"`
	Pods          int       `json:"pods"`
	P95Seconds    float64   `json:"p95Seconds"`
	LastHeadline  string    `json:"lastHeadline,omitempty"` // newest severe timeline entry
	FinishedShare float64   `json:"finishedShare"`
}

// Column declares a series; Sample refers to it by ID. Metric names carry their unit (requests_per_second,
// latency_p95_seconds, replicas_ready, cost_per_hour …).
type Column struct {
	ID     int               `json:"id"`
	Metric string            `json:"metric"`
	Labels map[string]string `json:"labels,omitempty"`
}

// Sample is one reporting step of every declared column that has data. The value of a column holds for (Time-step, Time].
type Sample struct {
	Time   time.Time     `json:"time"`
	Values []ColumnValue `json:"values"`
}

// ColumnValue is one number of a Sample. A column without data at a step is left out, never zero.
type ColumnValue struct {
	ID    int     `json:"id"`
	Value float64 `json:"v"`
}

// Severity of a timeline entry.
type Severity string

const (
	Info    Severity = "info"
	Notable Severity = "notable" // a decision or change an operator would want to see
	Warning Severity = "warning"
	Severe  Severity = "severe" // users were hurt, or a promise broken
)

// Entry is one fact of the timeline. IDs count from 1 in order of time within a run.
type Entry struct {
	ID       int       `json:"id"`
	Time     time.Time `json:"time"`
	Until    time.Time `json:"until,omitzero"` // for conditions that last
	Kind     string    `json:"kind"`           // closed vocabulary: see Kinds
	Object   string    `json:"object"`         // Kind/namespace/name, or a load, zone, pool or step name
	Owner    string    `json:"owner,omitempty"`
	What     string    `json:"what"`
	Why      string    `json:"why,omitempty"`
	Causes   []int     `json:"causes,omitempty"` // IDs of earlier entries, most direct first
	Severity Severity  `json:"severity"`
	Actor    string    `json:"actor,omitempty"` // user or field manager that did it
	Count    int       `json:"count,omitempty"` // folded repetitions
	// Evidence for the rules that link causes, e.g. "metric": "cpu", "from": "4", "to": "7", "reason": "FailedScheduling",
	// "revision": "6b56c8cdb4", "node": "web-1", "service": "shop/web", "step": "zone loss".
	Data map[string]string `json:"data,omitempty"`
}

// Kinds of timeline entries.
const (
	KindStep         = "step"         // a scenario step came into force, was undone, failed or was never reached
	KindLoad         = "load"         // an offered rate changed notably
	KindScale        = "scale"        // an autoscaler or user changed replicas
	KindRollout      = "rollout"      // a workload's update began, reached a step, paused, went on, stalled, was aborted, finished
	KindAnalysis     = "analysis"     // an analysis of an update began or ended
	KindPodCreated   = "pod-created"  // folded per owner
	KindPodPending   = "pod-pending"  // the scheduler found no place
	KindPodReady     = "pod-ready"    // folded per owner
	KindPodUnready   = "pod-unready"  //
	KindPodGone      = "pod-gone"     //
	KindCrash        = "crash"        // a container exited with an error
	KindOOM          = "oom"          //
	KindImage        = "image"        // pulls failing
	KindEviction     = "eviction"     //
	KindNodeAdded    = "node-added"   //
	KindNodeUnready  = "node-unready" //
	KindNodeReady    = "node-ready"   //
	KindNodeGone     = "node-gone"    //
	KindSaturation   = "saturation"   // a service's stations began or stopped queueing
	KindErrors       = "errors"       // a service's failures rose or fell
	KindThrottle     = "throttle"     // CPU limits delay requests
	KindRefused      = "refused"      // the API refused a write (quota, admission)
	KindEvent        = "event"        // another Kubernetes Event of type Warning
	KindExpectation  = "expectation"  // an expectation stopped or began to hold
	KindNote         = "note"         // written by the scenario
	KindControlPlane = "control"      // leader, watchful mode, capability messages
)

// Kinds are all of them.
var Kinds = []string{KindStep, KindLoad, KindScale, KindRollout, KindAnalysis, KindPodCreated, KindPodPending, KindPodReady, KindPodUnready, KindPodGone, KindCrash, KindOOM, KindImage, KindEviction, KindNodeAdded, KindNodeUnready, KindNodeReady, KindNodeGone, KindSaturation, KindErrors, KindThrottle, KindRefused, KindEvent, KindExpectation, KindNote, KindControlPlane}

// Pod is the life of one pod; written when it is gone, and for those still there at the end.
type Pod struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Workload  string    `json:"workload"` // Kind/namespace/name of the top-most owner, or the pod itself
	Revision  string    `json:"revision,omitempty"`
	Node      string    `json:"node,omitempty"`
	Created   time.Time `json:"created"`
	Scheduled time.Time `json:"scheduled,omitzero"`
	Started   time.Time `json:"started,omitzero"`
	Ready     time.Time `json:"ready,omitzero"` // first time Ready
	Deleted   time.Time `json:"deleted,omitzero"`
	Gone      time.Time `json:"gone,omitzero"`
	Phase     string    `json:"phase"`
	Reason    string    `json:"reason,omitempty"` // last waiting, termination or scheduling reason
	Message   string    `json:"message,omitempty"`
	Restarts  int       `json:"restarts,omitempty"`
	OOMKills  int       `json:"oomKills,omitempty"`
	// Requests in cores and bytes, for cost allocation.
	CPURequestCores    float64 `json:"cpuRequestCores,omitempty"`
	MemoryRequestBytes float64 `json:"memoryRequestBytes,omitempty"`
	// Integrals over the pod's running time, in core-seconds and byte-seconds.
	CPUUsedCoreSeconds    float64 `json:"cpuUsedCoreSeconds,omitempty"`
	MemoryUsedByteSeconds float64 `json:"memoryUsedByteSeconds,omitempty"`
	WorkLostSeconds       float64 `json:"workLostSeconds,omitempty"` // work in progress when killed at the end of grace
}

// Node is the life of one node.
type Node struct {
	Name                string    `json:"name"`
	Pool                string    `json:"pool,omitempty"`
	Type                string    `json:"type,omitempty"`
	Zone                string    `json:"zone,omitempty"`
	CapacityType        string    `json:"capacityType,omitempty"` // on-demand, spot
	Requested           time.Time `json:"requested"`              // launch asked for: billing starts
	Ready               time.Time `json:"ready,omitzero"`
	Gone                time.Time `json:"gone,omitzero"`
	Reason              string    `json:"reason,omitempty"` // why it went
	CPUCores            float64   `json:"cpuCores"`
	MemoryBytes         float64   `json:"memoryBytes"`
	PricePerHour        float64   `json:"pricePerHour,omitempty"` // 0: look up by type
	AllocatableCPUCores float64   `json:"allocatableCPUCores"`
	AllocatableMemBytes float64   `json:"allocatableMemoryBytes"`
}

// Eviction is one pod taken out by someone else's will.
type Eviction struct {
	Time       time.Time `json:"time"`
	Pod        string    `json:"pod"` // namespace/name
	Workload   string    `json:"workload"`
	Node       string    `json:"node"`
	By         string    `json:"by"`   // drain, node-lost, taint, preemption, pressure, user, spot
	Kind       string    `json:"kind"` // eviction (API, budget asked), deletion, forced
	BudgetKept bool      `json:"budgetKept"`
	Budget     string    `json:"budget,omitempty"` // namespace/name of the disruption budget
}

// StepState is where a scenario step stands.
type StepState string

const (
	StepWaiting      StepState = "waiting"
	StepInForce      StepState = "in force"
	StepDone         StepState = "done"
	StepUndone       StepState = "undone"
	StepFailed       StepState = "failed"
	StepNeverReached StepState = "never reached"
)

// Step reports one occurrence of a scenario step; the last one of a name and occurrence wins.
type Step struct {
	Name       string    `json:"name"`
	Occurrence int       `json:"occurrence"`
	State      StepState `json:"state"`
	At         time.Time `json:"at,omitzero"`
	Undone     time.Time `json:"undone,omitzero"`
	Action     string    `json:"action"`
	Message    string    `json:"message,omitempty"`
	Required   bool      `json:"required"`
	File       string    `json:"file,omitempty"` // as the user wrote it, with line
	Line       int       `json:"line,omitempty"`
}

// Load is the exact account of one load (or of one service, with Service true) over the measured time:
// Offered = Served + Failed + Rejected + Abandoned + Inside.
type Load struct {
	Name      string  `json:"name"`
	Service   bool    `json:"service,omitempty"`
	To        string  `json:"to,omitempty"`
	Offered   int64   `json:"offered"`
	Served    int64   `json:"served"`
	Failed    int64   `json:"failed"`
	Rejected  int64   `json:"rejected"`
	Abandoned int64   `json:"abandoned"`
	Inside    int64   `json:"inside"`
	P50       float64 `json:"p50Seconds"`
	P95       float64 `json:"p95Seconds"`
	P99       float64 `json:"p99Seconds"`
}

// Workload is one row of the workloads table, written at the end.
type Workload struct {
	Object       string  `json:"object"` // Kind/namespace/name
	ReplicasMin  int     `json:"replicasMin"`
	ReplicasMean float64 `json:"replicasMean"`
	ReplicasMax  int     `json:"replicasMax"`
	ReplicasEnd  int     `json:"replicasEnd"`
	DesiredEnd   int     `json:"desiredEnd"`
	Reversals    int     `json:"reversals"` // direction changes of desired replicas
	Revisions    int     `json:"revisions"`
	Service      string  `json:"service,omitempty"` // namespace/name it serves
	// AvailabilityStart and End: ready ÷ desired at the borders of the measured time.
	AvailabilityStart float64 `json:"availabilityStart"`
	AvailabilityEnd   float64 `json:"availabilityEnd"`
	CPUMeanShare      float64 `json:"cpuMeanShare,omitempty"`   // used ÷ requested
	ThrottledShare    float64 `json:"throttledShare,omitempty"` // worst minute
	BalanceNote       string  `json:"balanceNote,omitempty"`
	// Of a Rollout, at the end: its strategy (canary, blueGreen), where it stands in its steps ("2 of 6: pause 10m0s"), what
	// its controller says, and the share of the traffic that the newest revision has.
	Strategy string  `json:"strategy,omitempty"`
	Step     string  `json:"step,omitempty"`
	Phase    string  `json:"phase,omitempty"`
	Weight   float64 `json:"weight,omitempty"`
}

// How an update ended.
const (
	UpdateHealthy    = "Healthy"    // the new revision runs everywhere
	UpdateAborted    = "Aborted"    // back at the stable revision
	UpdateSuperseded = "Superseded" // by a newer one, or taken back, before its end
)

// Update is the change of a workload to another revision in the measured time, in the order they began; written when it ends,
// and for those under way at the end.
type Update struct {
	Workload string    `json:"workload"`           // Kind/namespace/name
	Revision string    `json:"revision,omitempty"` // as the label of its pods has it
	Image    string    `json:"image,omitempty"`    // of the first container
	Began    time.Time `json:"began"`
	Ended    time.Time `json:"ended,omitzero"`
	Outcome  string    `json:"outcome,omitempty"` // Healthy, Aborted, Superseded; empty while under way
	Step     string    `json:"step,omitempty"`    // where it stood at last: "2 of 6: pause 10m0s"
	Message  string    `json:"message,omitempty"` // why it was aborted, or what it waits for
	// WeightMax is the largest share of the traffic that the revision had, at WeightMaxAt: of a canary without a router, of the
	// ready pods; with one, what the router was told; blue-green, 0 before the switch and 1 after it.
	WeightMax   float64   `json:"weightMax"`
	WeightMaxAt time.Time `json:"weightMaxAt,omitzero"`
	// Weights are that share at each change of it, in order; the first WeightsMax.
	Weights []Weight `json:"weights,omitempty"`
}

// WeightsMax bounds the changes of weight that are kept of an update.
const WeightsMax = 200

// Weight is a share of the traffic from some time on.
type Weight struct {
	At    time.Time `json:"at"`
	Share float64   `json:"share"`
}

// Call is one edge of the call graph.
type Call struct {
	From     string  `json:"from"` // namespace/name, or a load
	To       string  `json:"to"`
	Attempts int64   `json:"attempts"`
	Failed   int64   `json:"failed"`
	Inferred string  `json:"inferred,omitempty"` // how the edge was found, empty when the scenario says so
	Mean     float64 `json:"meanPerRequest"`
}

// Assumed is a value nobody gave.
type Assumed struct {
	What       string  `json:"what"`       // "shop/web cpu a request"
	Value      string  `json:"value"`      // "6ms"
	Because    string  `json:"because"`    //
	ReplaceBy  string  `json:"replaceBy"`  // the field to write
	CPUShare   float64 `json:"cpuShare"`   // share of the run's CPU behind it; ranks sensitivity
	FromObject string  `json:"fromObject"` // Kind/namespace/name
}

// Limit says what the run cut or did not model.
type Limit struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// End closes the stream. A stream without it is an incomplete run.
type End struct {
	Time         time.Time `json:"time"`
	Incomplete   string    `json:"incomplete,omitempty"` // why the run stopped early
	WritesHash   string    `json:"writesHash"`           // over every API write in order with its virtual nanosecond
	TimelineHash string    `json:"timelineHash"`
	Writes       int64     `json:"writes"`
	// Budget facts that expectations need.
	BudgetBreaks int `json:"budgetBreaks"`
	// Execution differs between runs and is shown only on request.
	Execution *Execution `json:"execution,omitempty"`
}

// Execution is how the run went on this machine.
type Execution struct {
	WallSeconds      float64        `json:"wallSeconds"`
	PlayedSeconds    float64        `json:"playedSeconds"`
	PlayWallSeconds  float64        `json:"playWallSeconds"` // from the end of settling
	PlayCPUSeconds   float64        `json:"playCPUSeconds"`
	CPUSeconds       float64        `json:"cpuSeconds"`
	PeakRSSBytes     int64          `json:"peakRSSBytes"`
	Requests         int64          `json:"requests"`
	HPAEvaluations   int64          `json:"hpaEvaluations"`
	HPAElided        int64          `json:"hpaElided"`
	HPAWrong         int64          `json:"hpaWrong"` // checks that found an elided evaluation would have acted
	PodStarts        int64          `json:"podStarts"`
	WakeUps          int64          `json:"wakeUps"`
	FlowWindows      int64          `json:"flowWindows"`
	MaxPods          int            `json:"maxPods"`
	MinPods          int            `json:"minPods"`
	SectionCPUMillis map[string]int `json:"sectionCPUMillis,omitempty"`
}

// Run is a folded stream.
type Run struct {
	Start       Start
	Columns     []Column
	Samples     []Sample
	Timeline    []Entry
	Pods        []Pod
	Nodes       []Node
	Evictions   []Eviction
	Steps       []Step
	Loads       []Load // loads first, then services, each by name
	Workloads   []Workload
	Updates     []Update // in the order they began
	Calls       []Call
	Assumptions []Assumed
	Limits      []Limit
	End         *End // nil when the stream broke off
}

// Add folds one event into the run.
func (r *Run) Add(e Event) {
	switch {
	case e.Start != nil:
		r.Start = *e.Start
	case e.Column != nil:
		r.Columns = append(r.Columns, *e.Column)
	case e.Sample != nil:
		r.Samples = append(r.Samples, *e.Sample)
	case e.Entry != nil:
		r.Timeline = append(r.Timeline, *e.Entry)
	case e.Pod != nil:
		r.Pods = append(r.Pods, *e.Pod)
	case e.Node != nil:
		r.Nodes = append(r.Nodes, *e.Node)
	case e.Eviction != nil:
		r.Evictions = append(r.Evictions, *e.Eviction)
	case e.Step != nil:
		for i := range r.Steps {
			if r.Steps[i].Name == e.Step.Name && r.Steps[i].Occurrence == e.Step.Occurrence {
				r.Steps[i] = *e.Step
				return
			}
		}
		r.Steps = append(r.Steps, *e.Step)
	case e.Load != nil:
		r.Loads = append(r.Loads, *e.Load)
	case e.Workload != nil:
		r.Workloads = append(r.Workloads, *e.Workload)
	case e.Update != nil:
		i := len(r.Updates)
		for i > 0 && r.Updates[i-1].Began.After(e.Update.Began) {
			i--
		}
		r.Updates = slices.Insert(r.Updates, i, *e.Update)
	case e.Call != nil:
		r.Calls = append(r.Calls, *e.Call)
	case e.Assumed != nil:
		r.Assumptions = append(r.Assumptions, *e.Assumed)
	case e.Limit != nil:
		r.Limits = append(r.Limits, *e.Limit)
	case e.End != nil:
		r.End = e.End
	}
}
