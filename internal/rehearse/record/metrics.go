package record

// Metric names of series. Labels: "load" (a load's name), "service" (namespace/name), "workload" (Kind/namespace/name),
// "pool". The value of each holds for the sample's step.
const (
	MetricRequests     = "requests_per_second"  // load, service: offered
	MetricErrors       = "errors_ratio"         // load, service: not served well ÷ offered
	MetricLatencyP50   = "latency_p50_seconds"  // load, service
	MetricLatencyP95   = "latency_p95_seconds"  // load, service
	MetricLatencyP99   = "latency_p99_seconds"  // load, service
	MetricCPUUsed      = "cpu_used_cores"       // service
	MetricCPUDemand    = "cpu_demand_cores"     // service: offered rate × CPU a request, however little was ready
	MetricCPUCapacity  = "cpu_capacity_cores"   // service: what its ready pods may use
	MetricCPURequested = "cpu_requested_cores"  // service: of its running pods
	MetricThrottled    = "throttled_ratio"      // service
	MetricBalance      = "balance_ratio"        // service: busiest pod's load ÷ mean of its ready pods, 1 is even
	MetricMemoryUsed   = "memory_used_bytes"    // service: working sets of its running pods
	MetricDesired      = "replicas_desired"     // workload
	MetricReady        = "replicas_ready"       // workload
	MetricNewWeight    = "rollout_weight_ratio" // workload: share of the traffic of a Rollout's newest revision
	MetricNodes        = "nodes"                // pool
	MetricPodsPending  = "pods_pending"         // none
	MetricPodPending   = "pod_pending_seconds"  // none: oldest pending pod
	MetricCostPerHour  = "cost_per_hour"        // none
	MetricEvictions    = "evictions_total"      // none
	MetricOOMKills     = "oom_kills_total"      // none
	MetricBurnRate     = "slo_burn_rate"        // by what an expectation is about and over; worked out of errors_ratio, for the report
)
