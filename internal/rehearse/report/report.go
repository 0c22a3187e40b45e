// Package report turns recorded runs into the one document a rehearsal leaves behind, and renders it: JSON (the stable
// form), terminal, HTML, Markdown, JUnit, SARIF; Compare sets two of them side by side.
//
// Build is pure and deterministic: equal input gives equal bytes, whatever the machine, folder, time zone or order in
// which runs finished. Real time never appears, except under "execution" when asked for.
package report

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/cost"
	"github.com/fairway-dev/fairway/internal/rehearse/expect"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// Schema names the format. Within v1 fields are only added.
const Schema = "fairway.dev/rehearsal-report/v1"

// Results of a verdict.
const (
	Pass       = "pass"
	Fail       = "fail"
	Invalid    = "invalid"    // the scenario could not be run at all
	Incomplete = "incomplete" // a run broke off; what is known is in the report
)

// Report is the document. Lists are sorted by name or time and never null.
type Report struct {
	Schema      string            `json:"schema"`
	Scenario    Scenario          `json:"scenario"`
	Provenance  Provenance        `json:"provenance"`
	Verdict     Verdict           `json:"verdict"`
	Summary     map[string]Metric `json:"summary"`
	Seeds       []Seed            `json:"seeds"`
	Series      Series            `json:"series"`
	Timeline    []Entry           `json:"timeline"`
	Steps       []Step            `json:"steps"`
	Loads       []record.Load     `json:"loads"`
	Workloads   []Workload        `json:"workloads"`
	Updates     []record.Update   `json:"updates,omitempty"` // of workloads, in the order they began
	Nodes       []Node            `json:"nodes"`
	Pending     []Pending         `json:"pending"`
	Evictions   []record.Eviction `json:"evictions"`
	Cost        cost.Bill         `json:"cost"` // of the shown seed
	Calls       []Call            `json:"calls"`
	Baseline    *Comparison       `json:"baseline,omitempty"`
	Assumptions []record.Assumed  `json:"assumptions"`
	Fidelity    Fidelity          `json:"fidelity"`
	Limits      []record.Limit    `json:"limits"`
	Execution   []Execution       `json:"execution,omitempty"`
	// Asked is how the user came by the report, for the command the terminal proposes; it differs between equal runs.
	Asked Asked `json:"-"`
}

// Asked names what a user gave on the command line.
type Asked struct {
	Scenario   string // arguments that name the scenario
	JSON, HTML string // files written
}

// Scenario says what was played.
type Scenario struct {
	Name       string    `json:"name"`
	Title      string    `json:"title,omitempty"`
	SHA256     string    `json:"sha256"` // of the resolved scenario
	Inputs     []Input   `json:"inputs"`
	Start      time.Time `json:"start"`
	Seconds    float64   `json:"seconds"`
	TimeZone   string    `json:"timeZone"`
	Seeds      []int64   `json:"seeds"`
	StepSecond float64   `json:"sampleSeconds"`
	Fidelity   string    `json:"fidelity"`         // flow
	Change     string    `json:"change,omitempty"` // the change under test, when a baseline runs beside it
	File       string    `json:"file,omitempty"`   // as the user named it, for annotations
	Command    string    `json:"command,omitempty"`
}

// Input is a file the scenario reads, by the name the scenario gives it.
type Input struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// Provenance says which program produced the report.
type Provenance struct {
	Versions map[string]string `json:"versions"`
	Build    string            `json:"build"` // overlay, fall-back
	Runs     []RunHash         `json:"runs"`
}

// RunHash identifies what one seed did: equal hashes mean equal runs.
type RunHash struct {
	Seed         int64  `json:"seed"`
	WritesHash   string `json:"writesHash"`
	TimelineHash string `json:"timelineHash"`
	Writes       int64  `json:"writes"`
}

// Verdict answers the question.
type Verdict struct {
	Result       string          `json:"result"`
	Headline     string          `json:"headline"`
	ShownSeed    int64           `json:"shownSeed"` // whose series, timeline and tables follow
	Expectations []expect.Result `json:"expectations"`
	Warnings     []string        `json:"warnings"` // to read before believing the rest
	Moments      []Moment        `json:"moments"`  // the worst three
}

// Moment is a stretch of time worth looking at.
type Moment struct {
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Title string    `json:"title"`
	Entry int       `json:"entry,omitempty"` // where its story starts in the timeline
}

// Metric is one line of the summary.
type Metric struct {
	Value      Number    `json:"value"` // mean over the seeds
	Unit       string    `json:"unit"`
	Better     string    `json:"better,omitempty"` // lower, higher
	PerSeed    []Number  `json:"perSeed"`
	P5         *Number   `json:"p5,omitempty"` // percentiles only from 5 seeds on
	P50        *Number   `json:"p50,omitempty"`
	P95        *Number   `json:"p95,omitempty"`
	Baseline   *Number   `json:"baseline,omitempty"`
	Difference *Number   `json:"difference,omitempty"`
	Interval   []float64 `json:"interval,omitempty"` // 95 %, of the difference
}

// Seed is one run in a line.
type Seed struct {
	Seed         int64    `json:"seed"`
	Result       string   `json:"result"`
	Failed       []string `json:"failed"` // names of expectations not held
	Availability Number   `json:"availability"`
	P95          Number   `json:"latencyP95Seconds"`
	Cost         Number   `json:"cost"`
	Incomplete   string   `json:"incomplete,omitempty"`
	EndedAt      string   `json:"endedAt,omitempty"`
}

// Series holds what can be plotted. Values count from Start in steps; null is "no data".
type Series struct {
	Start      time.Time `json:"start"`
	StepSecond float64   `json:"step"`
	Steps      int       `json:"steps"`
	Seed       int64     `json:"seed"`
	Columns    []Column  `json:"columns"`
}

// Column is one series. Low and High enclose all seeds (5th and 95th percentile from 5 seeds on).
type Column struct {
	Metric string            `json:"metric"`
	Labels map[string]string `json:"labels,omitempty"`
	Values Values            `json:"values"`
	Low    Values            `json:"low,omitempty"`
	High   Values            `json:"high,omitempty"`
}

// Entry is a timeline entry of one seed.
type Entry struct {
	ID       int               `json:"id"`
	Seed     int64             `json:"seed"`
	T        time.Time         `json:"t"`
	Until    time.Time         `json:"until,omitzero"`
	Kind     string            `json:"kind"`
	Object   string            `json:"object"`
	Owner    string            `json:"owner,omitempty"`
	What     string            `json:"what"`
	Why      string            `json:"why,omitempty"`
	Causes   []int             `json:"causes"`
	Unknown  bool              `json:"causeUnknown,omitempty"` // no rule found a cause where one is expected
	Severity record.Severity   `json:"severity"`
	Actor    string            `json:"actor,omitempty"`
	Count    int               `json:"count,omitempty"`
	Data     map[string]string `json:"data,omitempty"`
}

// Step is one occurrence of a scenario step with the time it took to recover.
type Step struct {
	record.Step
	RecoverySeconds *Number `json:"recoverySeconds,omitempty"`
}

// Workload is a row of the workloads table, with its money.
type Workload struct {
	record.Workload
	Cost     Number `json:"cost"`
	IdleCost Number `json:"idleCost"`
	Pods     int    `json:"pods"` // that lived in the measured time
	Restarts int    `json:"restarts"`
	OOMKills int    `json:"oomKills"`
}

// Node is a row of the nodes table.
type Node struct {
	Name         string    `json:"name"`
	Pool         string    `json:"pool"`
	Type         string    `json:"type,omitempty"`
	Zone         string    `json:"zone,omitempty"`
	CapacityType string    `json:"capacityType,omitempty"`
	Requested    time.Time `json:"requested"`
	Ready        time.Time `json:"ready,omitzero"`
	Gone         time.Time `json:"gone,omitzero"`
	Reason       string    `json:"reason,omitempty"`
	PodsMax      int       `json:"pods"` // placed on it in its life
}

// Pending is a pod that waited long for a place, or never got one.
type Pending struct {
	Pod      string    `json:"pod"`
	Workload string    `json:"workload"`
	Since    time.Time `json:"since"`
	Seconds  float64   `json:"seconds"`
	Placed   bool      `json:"placed"`
	Reason   string    `json:"reason,omitempty"`
	Fits     string    `json:"fits,omitempty"` // the cheapest known type that would hold it
}

// Call is an edge of the call graph; Bottleneck marks the deepest saturated callee.
type Call struct {
	record.Call
	Bottleneck bool `json:"bottleneck,omitempty"`
}

// Fidelity says how far absolute numbers can be trusted.
type Fidelity struct {
	Mode              string  `json:"mode"`
	Calibrated        bool    `json:"calibrated"`
	Sentence          string  `json:"sentence"`
	UnknownCauseShare float64 `json:"unknownCauseShare"` // of the entries for which a cause is expected
}

// Execution is how a run went on this machine; only on request, since it differs between runs.
type Execution struct {
	Seed int64 `json:"seed"`
	record.Execution
}

// ExitCode is what `fairway rehearse` exits with: 0 all held, 1 an expectation failed, 2 no usable answer.
func (r *Report) ExitCode() int {
	switch r.Verdict.Result {
	case Pass:
		return 0
	case Fail:
		return 1
	}
	return 2
}

// JSON renders the stable form: one line, since indentation would triple its size.
func JSON(r *Report) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Parse reads a report back, for compare and for `fairway rehearse report`.
func Parse(data []byte) (*Report, error) {
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, &NotAReportError{Reason: err.Error()}
	}
	if r.Schema != Schema {
		return nil, &NotAReportError{Reason: "its schema is " + quoteOrNone(r.Schema) + ", this program reads " + Schema}
	}
	return &r, nil
}

// NotAReportError says why a document is not a report this program reads.
type NotAReportError struct{ Reason string }

func (e *NotAReportError) Error() string { return "not a rehearsal report: " + e.Reason }

func quoteOrNone(s string) string {
	if s == "" {
		return "missing"
	}
	return `"` + s + `"`
}
