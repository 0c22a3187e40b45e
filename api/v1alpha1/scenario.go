package v1alpha1

import (
	"encoding/json"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Scenario is one rehearsal: a cluster, the load on it, what happens to it, and what must hold. It is a file, not an
// object of an API server.
type Scenario struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        ScenarioMeta `json:"metadata,omitempty"`
	Spec            ScenarioSpec `json:"spec"`
}

// ScenarioMeta names a scenario.
type ScenarioMeta struct {
	Name string `json:"name,omitempty"`
	// Description is shown under the name in reports.
	Description string `json:"description,omitempty"`
}

// ScenarioSpec is the content of a scenario.
type ScenarioSpec struct {
	// Include lists files merged in before this one, lists by name or match; what comes later wins.
	Include []string `json:"include,omitempty"`
	// Start is the cluster's wall clock when measuring begins, 2026-11-27T06:00:00 in TimeZone or with an offset.
	// Default 2026-01-05T00:00:00, a Monday; never the real time, so that reports are repeatable.
	Start string `json:"start,omitempty"`
	// TimeZone of every time of day, from the embedded time-zone data; default UTC.
	TimeZone string `json:"timeZone,omitempty"`
	// Duration measured, 1m to 90d; default 24h, or the end of the longest load file, or the last step and an hour.
	Duration Duration `json:"duration,omitzero"`
	// Settle is played before Start at the load of the first minute and not measured; default up to 15m, until at rest.
	Settle *Duration `json:"settle,omitempty"`
	// Seeds of the runs: a number n for 1…n, or a list; default 1.
	Seeds Seeds `json:"seeds,omitempty"`
	// Sample is the reporting step, 10s to 1h; default 60s. Control loops keep their own periods.
	Sample Duration `json:"sample,omitzero"`
	// Fidelity of requests; flow is the default.
	Fidelity string `json:"fidelity,omitempty" enum:"flow"`

	Cluster  Cluster       `json:"cluster,omitempty"`
	Load     []Load        `json:"load,omitempty"`
	Services []Service     `json:"services,omitempty"`
	Steps    []Step        `json:"steps,omitempty"`
	Expect   []Expectation `json:"expect,omitempty"`
	// Prices by file or in place; default the embedded catalog.
	Prices *Prices `json:"prices,omitempty"`
	// Baseline to compare with: auto (run without the change as well, when there is one), none, or a scenario file.
	Baseline string `json:"baseline,omitempty"`
	// Controllers switched and tuned; default all on.
	Controllers Controllers `json:"controllers,omitempty"`
	// Network between pods.
	Network Network `json:"network,omitempty"`
	// Virtual tunes how nodes and pods are played.
	Virtual Virtual `json:"virtual,omitempty"`
	// Report tunes what is shown.
	Report ReportOptions `json:"report,omitempty"`
}

// Seeds of the runs, in order.
type Seeds []int64

// SeedsMax bounds the runs of one rehearsal.
const SeedsMax = 1000

// UnmarshalText reads a number of seeds: 5 is the seeds 1 to 5.
func (s *Seeds) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 1 || n > SeedsMax {
		return fmt.Errorf("%q is not a number of seeds; write 1 to %d, or a list such as [7, 11]", text, SeedsMax)
	}
	*s = make(Seeds, n)
	for i := range *s {
		(*s)[i] = int64(i + 1)
	}
	return nil
}

// UnmarshalJSON reads a number or a list.
func (s *Seeds) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, s.UnmarshalText)
	}
	return json.Unmarshal(data, (*[]int64)(s))
}

// Source is where something was written; filled in by the reader, never by the user.
type Source struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String is file:line:column, the form editors jump to.
func (s Source) String() string {
	return fmt.Sprintf("%s:%d:%d", s.File, s.Line, s.Column)
}

// Cluster is what the scenario runs on.
type Cluster struct {
	// Pools of nodes; default one pool that fits the requests × 1.3, which the report lists as an assumption.
	Pools []Pool `json:"pools,omitempty"`
	// Manifests applied before the start: files, directories or kustomizations.
	Manifests []Manifest `json:"manifests,omitempty"`
	// Replicas set before the start, by workload.
	Replicas map[string]int32 `json:"replicas,omitempty"`
	// Drop leaves objects out: KIND/NAMESPACE/NAME (globs allowed) or a label selector.
	Drop []string `json:"drop,omitempty"`
	// Patch changes objects before they are applied.
	Patch []ObjectPatch `json:"patch,omitempty"`
	// Images by glob over the reference; what is not said is pulled in 8s p50, 40s p99 the first time on a node.
	Images map[string]ImageModel `json:"images,omitempty"`
	// Registry limits of all pulls.
	Registry RegistryLimits `json:"registry,omitempty"`
}

// Pool is a set of equal nodes.
type Pool struct {
	// Name begins the names of the nodes.
	Name string `json:"name"`
	// Type of instance, looked up in the catalog; or CPU and Memory.
	Type string `json:"type,omitempty"`
	// CPU of each node, when no type is given.
	CPU *resource.Quantity `json:"cpu,omitempty"`
	// Memory of each node, when no type is given.
	Memory *resource.Quantity `json:"memory,omitempty"`
	// Price an hour; default the catalog's or that of the resources.
	Price *float64 `json:"price,omitempty"`
	// Zones the nodes are spread over, in turn; default one zone "a".
	Zones []string `json:"zones,omitempty"`
	// CapacityType onDemand (default) or spot.
	CapacityType string `json:"capacityType,omitempty" enum:"onDemand,spot"`
	// Min is the least size.
	Min int32 `json:"min,omitempty"`
	// Max is the greatest size.
	Max *int32 `json:"max,omitempty"`
	// Size at the start; default Min, at least 1. Without a scaler the pool holds it: a lost instance is launched again.
	Size *int32 `json:"size,omitempty"`
	// Scaler that resizes the pool; none holds its size.
	Scaler string `json:"scaler,omitempty" enum:"none"`
	// Labels of the nodes.
	Labels map[string]string `json:"labels,omitempty"`
	// Taints of the nodes.
	Taints []Taint `json:"taints,omitempty"`
	// MaxPods of a node; default by type, else 110.
	MaxPods *int32 `json:"maxPods,omitempty"`
	// Extended resources of each node, such as nvidia.com/gpu: 1.
	Extended map[string]resource.Quantity `json:"extended,omitempty"`
	// Join is launch request to Ready; default p50 25s, p99 90s.
	Join *Quantiles `json:"join,omitempty"`
	// Reserved is kept from pods (cpu, memory, ephemeral-storage); default by type as EKS does.
	Reserved map[string]resource.Quantity `json:"reserved,omitempty"`
	// Interruptions of each node of the pool, for example 0.02/h; default none.
	Interruptions *Rate  `json:"interruptions,omitempty"`
	Source        Source `json:"source,omitzero" scenario:"internal"`
}

// Taint of the nodes of a pool.
type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect" enum:"NoSchedule,PreferNoSchedule,NoExecute"` // NoSchedule, PreferNoSchedule, NoExecute
}

// Manifest is a path of objects: a file, a directory, or a directory with a kustomization.
type Manifest struct {
	Path   string `json:"path"`
	Source Source `json:"source,omitzero" scenario:"internal"`
}

// UnmarshalText reads a path.
func (m *Manifest) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return fmt.Errorf("the path is empty; write a file or a directory")
	}
	*m = Manifest{Path: string(text)}
	return nil
}

// UnmarshalJSON reads a path or the object form.
func (m *Manifest) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, m.UnmarshalText)
	}
	type plain Manifest
	return json.Unmarshal(data, (*plain)(m))
}

// ImageModel is what pulling an image takes.
type ImageModel struct {
	// Size to pull; the time follows from the bandwidth of node and registry.
	Size *resource.Quantity `json:"size,omitempty"`
	// Pull of the first time on a node, when Size is not given.
	Pull *Quantiles `json:"pull,omitempty"`
}

// RegistryLimits are what a registry refuses or slows.
type RegistryLimits struct {
	// PullsPerHour before the registry answers 429; default no limit.
	PullsPerHour *int32 `json:"pullsPerHour,omitempty"`
	// PerIP counts the pulls of each node apart; default false: all nodes share one address.
	PerIP bool `json:"perIP,omitempty"`
}

// Controllers are switched and tuned here.
type Controllers struct {
	// Kubernetes tunes the upstream controllers.
	Kubernetes KubernetesController `json:"kubernetes,omitempty"`
}

// KubernetesController tunes the upstream controllers.
type KubernetesController struct {
	// HPASync is the period of the horizontal pod autoscaler; default 15s.
	HPASync Duration `json:"hpaSync,omitzero"`
	// MetricsResolution of the resource metrics API; default 15s; 60s imitates a slow metrics-server.
	MetricsResolution Duration `json:"metricsResolution,omitzero"`
	// SchedulerConfig is a KubeSchedulerConfiguration file.
	SchedulerConfig string `json:"schedulerConfig,omitempty"`
	// FeatureGates of the control plane.
	FeatureGates map[string]bool `json:"featureGates,omitempty"`
}

// Network between pods: one-way means by pair of places. The defaults are assumptions.
type Network struct {
	SameZone  Duration `json:"sameZone,omitzero"`  // 300us
	CrossZone Duration `json:"crossZone,omitzero"` // 1ms
	// Loss of packets, up to 20%: each lost one is sent again 200ms later. Default 0.
	Loss Share `json:"loss,omitempty"`
}

// Virtual tunes how nodes and pods are played; the fields are the flags of fairway up of the same names.
type Virtual struct {
	PodWrites     string    `json:"podWrites,omitempty" enum:"full,observable,lean"` // full, observable, lean; default lean
	PodEvents     string    `json:"podEvents,omitempty" enum:"all,warnings,none"`    // all, warnings, none; default none
	NodeHeartbeat string    `json:"nodeHeartbeat,omitempty" enum:"auto,lease,quiet"` // auto, lease, quiet; default quiet, which writes nothing while nothing changes
	TimeGrain     *Duration `json:"timeGrain,omitempty"`                             // timers are rounded up to this grid; default 100ms
	Unmodelled    string    `json:"unmodelled,omitempty" enum:"run,fail"`            // run, fail; default run
	Programs      []string  `json:"programs,omitempty"`                              // files of Program objects, as for `fairway up --programs`: what containers do, how they start and stop, and what a request to them costs
}

// ReportOptions tune what a report shows.
type ReportOptions struct {
	// Series kept in the report, the most telling first; default 400.
	Series *int32 `json:"series,omitempty"`
	// Hide timeline entries of these kinds.
	Hide []string `json:"hide,omitempty"`
	// Currency of the prices; default that of the price file, else USD.
	Currency string `json:"currency,omitempty"`
	// Title of the report; default the name of the scenario.
	Title string `json:"title,omitempty"`
}
