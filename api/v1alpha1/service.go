package v1alpha1

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"
)

// ServiceModel says how the pods of a service behave: what a request costs, how long it takes, whom it calls, when a
// pod is ready, how it fails. A field left out keeps what a less specific source says, in the end a default that the
// report lists as an assumption.
type ServiceModel struct {
	RouteModel `json:",inline"`

	// Runtime of the process; sets threads, warm-up and heap. Default auto: read off image and environment.
	Runtime Runtime `json:"runtime,omitempty" enum:"auto,go,jvm,node,python,native"`
	// Threads is how many cores one pod can use at once. Default by runtime: go and jvm the CPU limit rounded up,
	// node 1, python its workers or 1, otherwise the cores of the node.
	Threads *int32 `json:"threads,omitempty"`
	// Concurrency is the number of requests one pod works on at a time; default unlimited, which makes the discipline
	// processor sharing.
	Concurrency *int32 `json:"concurrency,omitempty"`
	// Queue in front of Concurrency.
	Queue *Queue `json:"queue,omitempty"`
	// Timeout of the calls this service makes; default 15s.
	Timeout *Duration `json:"timeout,omitempty"`
	// Retries of the calls this service makes; default none.
	Retries *Retries `json:"retries,omitempty"`
	// Cancel drops the work of a caller that has left; default false.
	Cancel *bool `json:"cancel,omitempty"`
	// Crash makes containers exit; default never.
	Crash *Crash `json:"crash,omitempty"`
	// Memory is the working set of one pod; default base 60 % of its request, or 64Mi without one.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Memory *MemoryModel `json:"memory,omitempty"`
	// Ready is the time from process start (after the image pull) to the first good probe, drawn per pod.
	// Default p50 5s, p99 15s; p50 alone implies p99 = 3·p50.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Ready *Quantiles `json:"ready,omitempty"`
	// Stop is the time from SIGTERM to exit; default 1s.
	Stop *Duration `json:"stop,omitempty"`
	// Warmup makes the first requests of a pod dearer; default none, for jvm factor 3, half-life 45s, 1 core for 20s.
	Warmup *Warmup `json:"warmup,omitempty"`
	// Balance is how callers choose a pod; default random, for gRPC ports behind a ClusterIP connection.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Balance *Balance `json:"balance,omitempty"`
	// Idle is the use without requests; default 5m CPU and the memory base.
	Idle *Idle `json:"idle,omitempty"`
	// Noise is the standard deviation of the slow (τ = 60s) random factor on the CPU use of each pod; default 5%.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Noise *Share `json:"noise,omitempty"`
	// CPUFactor multiplies the CPU time of every route; with image, how a slower release is described. Default 1.
	CPUFactor *float64 `json:"cpuFactor,omitempty"`
	// LatencyFactor multiplies the own latency of every route. Default 1.
	LatencyFactor *float64 `json:"latencyFactor,omitempty"`
	// Routes refine the fields of a request by route name; "*" is every route not named.
	Routes map[string]RouteModel `json:"routes,omitempty"`
}

// RouteModel is what one kind of request costs.
type RouteModel struct {
	// CPU time a request takes. The default is derived from the CPU request and the HPA's target.
	CPU *Duration `json:"cpu,omitempty"`
	// CPUScv is the squared coefficient of variation of that CPU time; default 1 (exponential), 0 is constant.
	CPUScv *float64 `json:"cpuScv,omitempty"`
	// Latency is the own time of a request at low load, CPU included and calls excluded, log-normal.
	// Default p50 = cpu + 5ms, p99 = 4·p50.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Latency *Quantiles `json:"latency,omitempty"`
	// Calls a request makes; default inferred from environment and configuration. An empty list says none.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Calls Calls `json:"calls,omitzero"`
	// Errors is the share of requests that fail by themselves; default 0.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Errors *Share `json:"errors,omitempty"`
}

// Runtime of a service's process.
// +kubebuilder:validation:Enum=auto;go;jvm;node;python;native
type Runtime string

// Runtimes.
const (
	RuntimeAuto   Runtime = "auto"
	RuntimeGo     Runtime = "go"
	RuntimeJVM    Runtime = "jvm"
	RuntimeNode   Runtime = "node"
	RuntimePython Runtime = "python"
	RuntimeNative Runtime = "native"
)

// Queue holds requests that wait for a worker.
type Queue struct {
	// Max requests waiting; the next is answered 503 at once. Default 1000.
	Max *int32 `json:"max,omitempty"`
	// Discipline of the queue; fifo is the default and the only one.
	// +kubebuilder:validation:Enum=fifo
	Discipline string `json:"discipline,omitempty" enum:"fifo"`
}

// Retries of failed calls.
type Retries struct {
	// Max tries after the first; default 0.
	Max int32 `json:"max,omitempty"`
	// Budget limits retries to this share of first tries over ten seconds; default no limit.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Budget *Share `json:"budget,omitempty"`
	// On lists what is retried: 5xx, timeout, connect. Default 5xx and timeout.
	On []RetryCause `json:"on,omitempty" enum:"5xx,timeout,connect"`
	// Backoff before the first retry, doubled each time, with full jitter; default 25ms.
	Backoff *Duration `json:"backoff,omitempty"`
}

// RetryCause is a kind of failure worth another try.
// +kubebuilder:validation:Enum="5xx";timeout;connect
type RetryCause string

// Causes of a retry.
const (
	RetryOn5xx     RetryCause = "5xx"
	RetryOnTimeout RetryCause = "timeout"
	RetryOnConnect RetryCause = "connect"
)

// Crash makes containers exit with code 1.
type Crash struct {
	// Rate of crashes a running pod, for example 0.1/h.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Rate *Rate `json:"rate,omitempty"`
	// After this time of every run.
	After *Duration `json:"after,omitempty"`
	// OnStart is the share of starts that fail.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	OnStart *Share `json:"onStart,omitempty"`
}

// MemoryModel is the working set of one pod: base + requests inside·perRequest + connections·perConnection +
// leak·age + cache.
type MemoryModel struct {
	// Base of a pod without requests.
	Base *resource.Quantity `json:"base,omitempty"`
	// PerRequest inside the pod.
	PerRequest *resource.Quantity `json:"perRequest,omitempty"`
	// PerConnection open to the pod.
	PerConnection *resource.Quantity `json:"perConnection,omitempty"`
	// Leak that only a restart gives back, for example 20Mi/h.
	Leak *QuantityRate `json:"leak,omitempty"`
	// Cache that fills while the pod runs.
	Cache *CacheMemory `json:"cache,omitempty"`
}

// CacheMemory grows as max·(1−e^(−age/fill)).
type CacheMemory struct {
	// Max size of the cache.
	Max resource.Quantity `json:"max"`
	// Fill is the time constant of filling.
	Fill Duration `json:"fill"`
}

// UnmarshalText reads a plain size: the base.
func (m *MemoryModel) UnmarshalText(text []byte) error {
	q, err := resource.ParseQuantity(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a size; write for example 200Mi, or {base: 200Mi, perRequest: 100Ki}", text)
	}
	*m = MemoryModel{Base: &q}
	return nil
}

// UnmarshalJSON reads a size or the object form.
func (m *MemoryModel) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, m.UnmarshalText)
	}
	type plain MemoryModel
	return json.Unmarshal(data, (*plain)(m))
}

// Warmup makes a request of a pod of some age cost 1+(factor−1)·2^(−age/halfLife) times its CPU time.
type Warmup struct {
	// Factor on the CPU time of the first request.
	Factor *float64 `json:"factor,omitempty"`
	// HalfLife of what exceeds 1.
	HalfLife *Duration `json:"halfLife,omitempty"`
	// StartCPU is used from process start until ready, whether or not requests come.
	StartCPU *StartCPU `json:"startCpu,omitempty"`
}

// StartCPU is CPU used while starting.
type StartCPU struct {
	// Cores in use.
	Cores resource.Quantity `json:"cores"`
	// For this long, or until ready.
	For Duration `json:"for"`
}

// BalanceKind is how the callers of a service choose one of its pods.
// +kubebuilder:validation:Enum=random;rr;connection;zone
type BalanceKind string

// Ways to choose a pod.
const (
	BalanceRandom     BalanceKind = "random"     // each request anywhere: kube-proxy with iptables or nftables
	BalanceRoundRobin BalanceKind = "rr"         // in turn: IPVS
	BalanceConnection BalanceKind = "connection" // a client stays where it connected
	BalanceZone       BalanceKind = "zone"       // the caller's zone first
)

// Balance is how callers choose a pod. The name alone is enough when there is nothing else to say.
type Balance struct {
	Kind BalanceKind `json:"kind" enum:"random,rr,connection,zone"`
	// PerClient connections each calling pod opens (connection only); default 1.
	PerClient int32 `json:"perClient,omitempty"`
	// MaxAge after which a connection is opened anew (connection only); default never.
	MaxAge Duration `json:"maxAge,omitzero"`
}

// UnmarshalText reads the name alone.
func (b *Balance) UnmarshalText(text []byte) error {
	*b = Balance{Kind: BalanceKind(text)}
	return nil
}

// UnmarshalJSON reads the name or the object form.
func (b *Balance) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, b.UnmarshalText)
	}
	type plain Balance
	return json.Unmarshal(data, (*plain)(b))
}

// Idle is what one pod uses without requests.
type Idle struct {
	// CPU of a pod without requests.
	CPU *resource.Quantity `json:"cpu,omitempty"`
	// Memory of a pod without requests; default the base of memory.
	Memory *resource.Quantity `json:"memory,omitempty"`
}
