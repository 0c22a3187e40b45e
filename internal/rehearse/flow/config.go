package flow

import "time"

// Limits of a system. They are far above what one rehearsed cluster holds and catch wrong input early.
const (
	maxCores       = 512 // the station formulas sum powers up to the number of cores
	maxWorkers     = 4096
	maxDepth       = 32  // call cycles are followed this far
	maxRatePerSec  = 1e7 // more is a typing error
	maxRetries     = 10
	maxConnections = 64 // connections a client pod keeps to one service
)

// Config describes a system before time starts. Services, routes and loads are referred to by index; names are keys of
// random draws and labels of output, so they must be stable between runs that are to be compared.
type Config struct {
	// Seed selects all random draws.
	Seed int64
	// Start is the time at which the system begins, empty and at rest.
	Start    time.Time
	Services []Service
	Loads    []Load
	Network  Network
}

// Network gives the one-way delay between pods; a call pays it twice. Zero values mean no delay.
type Network struct {
	SameZone  time.Duration
	CrossZone time.Duration
}

// Service is a set of pods behind one name, or a workload that no load reaches.
type Service struct {
	// Name is namespace/name.
	Name  string
	Model Model
	// Constant marks a workload that no load reaches: its pods use Usage and nothing else is modelled.
	Constant bool
	Usage    Usage
}

// Usage is what a pod uses that no request explains.
type Usage struct {
	// CPUCores used, if positive.
	CPUCores float64
	// CPURequestShare of the pod's CPU request is used when CPUCores is 0; pods without request use 10 millicores.
	CPURequestShare float64
	// MemoryBytes used, if positive.
	MemoryBytes float64
	// MemoryRequestShare of the pod's memory request is used when MemoryBytes is 0; pods without request use 64 MiB.
	MemoryRequestShare float64
}

// Model is how the pods of a service treat requests.
type Model struct {
	// Routes of the service; route 0 receives calls that name no other. At least one unless the service is constant.
	Routes []Route
	// Threads is the most cores a pod uses at once; 0 means the cores of its node.
	Threads int
	// ThreadsByLimit takes ceil(CPU limit) as Threads for pods that have one (Go since 1.25, the JVM).
	ThreadsByLimit bool
	// Concurrency is the number of worker slots; 0 means no limit (processor sharing).
	Concurrency int
	// QueueMax is how many requests may wait for a worker; beyond it they are refused at once (503). Only with Concurrency.
	QueueMax int
	// Client is how the service behaves as a client of its own calls.
	Client  Client
	Balance Balance
	// ConnectionsPerClient is the number of connections a client pod opens when Balance is Connection (0: 1).
	ConnectionsPerClient int
	// ConnectionMaxAge closes connections after this time (0: never).
	ConnectionMaxAge time.Duration
	Memory           Memory
	Warmup           Warmup
	// IdleCores is used by a running pod beside its requests.
	IdleCores float64
	// Noise is the standard deviation of an AR(1) factor (time constant 60 s) on the CPU a pod uses.
	Noise float64
}

// Route is one kind of request.
type Route struct {
	Name string
	// CPU time of one request.
	CPU time.Duration
	// CPUScv is the squared coefficient of variation of CPU (1: exponential-like). Sizes are log-normal.
	CPUScv float64
	// LatencyP50 and LatencyP99 at low load, CPU included, calls excluded; log-normal. Both zero: CPU alone.
	LatencyP50, LatencyP99 time.Duration
	// Errors is the share of requests that fail by themselves.
	Errors float64
	Calls  []Call
}

// Call is one edge of the call graph.
type Call struct {
	Service int
	Route   int
	// Count of calls a request; fractions are shares of requests.
	Count float64
	// Optional calls may fail without failing the request.
	Optional bool
	// Async calls are not waited for.
	Async bool
	// Timeout overrides the client's.
	Timeout time.Duration
	// CacheHit is the share of calls answered from a cache of the caller.
	CacheHit float64
	// Parallel groups neighbouring calls with an equal number > 0; they run at the same time.
	Parallel int
	// Inferred says how the edge was found; empty when the scenario names it. For output only.
	Inferred string
}

// Client is the behaviour of whoever waits for a reply.
type Client struct {
	// Timeout of one attempt; 0 means none.
	Timeout time.Duration
	// Retries is the most further attempts.
	Retries int
	// RetryBudget bounds retries to this share of first tries; 0 means no budget.
	RetryBudget float64
	// RetryOnError and RetryOnTimeout select what is tried again; both false means both.
	RetryOnError, RetryOnTimeout bool
	// Backoff before the first retry, doubled for each further one, full jitter.
	Backoff time.Duration
	// Cancel drops the work of a request whose caller left.
	Cancel bool
}

// Balance is how requests are spread over the pods of a service.
type Balance uint8

const (
	// Random picks a pod for each request (kube-proxy with iptables or nftables).
	Random Balance = iota
	// RoundRobin takes the pods in turn (IPVS).
	RoundRobin
	// Connection keeps a client pod on the pod it connected to (gRPC through a ClusterIP): new pods get nothing.
	Connection
	// Zone prefers pods of the caller's zone and overflows only when it has none.
	Zone
)

// Memory is the working set of a pod.
type Memory struct {
	// BaseBytes; 0 means 60 % of the pod's memory request, else 64 MiB.
	BaseBytes       float64
	PerRequestBytes float64
	LeakBytesPerSec float64
	// PerConnectionBytes of each connection open to the pod. Clients that do not balance by connection keep one to every pod
	// that serves; a load that says nothing stands for 100 clients.
	PerConnectionBytes float64
	// CacheMaxBytes is approached as max·(1−e^(−age/CacheFill)).
	CacheMaxBytes float64
	CacheFill     time.Duration
	// KeepsPeak says that memory once taken is not given back (JVM heap).
	KeepsPeak bool
}

// Warmup makes requests of young pods cost more: 1+(Factor−1)·2^(−age/HalfLife).
type Warmup struct {
	Factor     float64
	HalfLife   time.Duration
	StartCores float64
	StartFor   time.Duration
}

// Load is a source of requests.
type Load struct {
	Name    string
	Service int
	// Mix of routes; shares are normalised. Empty means route 0.
	Mix []RouteShare
	// RatePerSec at the start of an open load.
	RatePerSec float64
	// Users > 0 makes the load closed: rate = Users/(Think + response time).
	Users float64
	Think time.Duration
	// ArrivalScv is the squared coefficient of variation of gaps: 1 Poisson, 0 even, more bursty. Negative means 0.
	ArrivalScv float64
	Client     Client
	// GiveUp is the patience of a user over all attempts; 0 means endless.
	GiveUp time.Duration
	// Connections is the number of client connections the load holds to a service with Balance Connection (0: 100).
	Connections int
	// Zones gives the share of callers by zone for Balance Zone; empty means even over the zones with pods.
	Zones []ZoneShare
	// Routed requests come through a gateway: where they go is said by SetPaths, and until then they all fail. Service is then
	// the one whose routes Mix names.
	Routed bool
}

// RouteShare is the weight of a route.
type RouteShare struct {
	Route  int
	Weight float64
}

// ZoneShare is the weight of a zone.
type ZoneShare struct {
	Zone   string
	Weight float64
}

// Revision is what one version of a service's pods does differently. Zero factors mean 1.
type Revision struct {
	Name          string
	CPUFactor     float64
	LatencyFactor float64
	// RouteErrors are the routes' own errors at this revision, by route, in place of those of the service's Model; nil = as there.
	RouteErrors []float64
	// Errors is added to the routes' own, as an independent cause.
	Errors float64
}

// Pod is the state of one pod as the caller knows it.
type Pod struct {
	// Key identifies the pod in random draws and orders; use a name that is equal in runs to be compared (namespace/workload/ordinal).
	Key      string
	Service  int
	Revision int
	Zone     string
	Node     NodeID
	// Running pods use CPU and memory; others are known but use nothing.
	Running bool
	// Serving pods receive requests (they are in the endpoints clients see).
	Serving bool
	// Down pods refuse connections: requests sent to them fail at once, and those inside are lost.
	Down bool
	// CPULimitCores of the container that serves; 0 means none.
	CPULimitCores      float64
	CPURequestMilli    int64
	MemoryLimitBytes   float64
	MemoryRequestBytes float64
	// StartedAt is when the container's process started; a changed value is a restart.
	StartedAt time.Time
	// SlowFactor multiplies the CPU a request costs on this pod (a slow node); 0 means 1.
	SlowFactor float64
}

// Node is where pods run.
type Node struct {
	Name string
	Zone string
	// Cores that pods can use; 0 means unlimited.
	Cores float64
	// Others are pods outside the system.
	Others []Claim
}

// NodeID refers to a node of a System; the zero value means no node (unlimited cores).
type NodeID int

// PodID refers to a pod of a System.
type PodID int
