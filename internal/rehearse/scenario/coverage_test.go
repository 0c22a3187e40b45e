package scenario

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// played are the fields of a scenario that have an effect, by type: whoever adds one says here that it is played, or refuses
// it in unbuilt.go.
var played = map[string]string{
	"Scenario":              "apiVersion kind metadata spec",
	"TypeMeta":              "apiVersion kind",
	"ScenarioMeta":          "name description",
	"ScenarioSpec":          "include start timeZone duration settle seeds sample fidelity cluster load services steps expect prices baseline controllers network virtual report",
	"Cluster":               "pools manifests replicas drop patch images registry",
	"Pool":                  "name type cpu memory price zones capacityType min max size scaler labels taints maxPods extended join reserved interruptions",
	"Taint":                 "key value effect",
	"Manifest":              "path",
	"ImageModel":            "size pull",
	"RegistryLimits":        "pullsPerHour perIP",
	"Controllers":           "kubernetes",
	"KubernetesController":  "hpaSync metricsResolution schedulerConfig featureGates",
	"Network":               "sameZone crossZone loss",
	"Virtual":               "podWrites podEvents nodeHeartbeat timeGrain unmodelled programs",
	"ReportOptions":         "series hide currency title",
	"Load":                  "name to rate daily stages steps csv users weekly mix factor growth spikes noise arrivals zones timeout retries giveUp",
	"DailyLoad":             "low high peakAt shape",
	"DailyShape":            "name hourly",
	"Stage":                 "for to",
	"RateStep":              "at rate",
	"CSVLoad":               "file time columns gaps",
	"UserLoad":              "count think",
	"WeekFactor":            "mon tue wed thu fri sat sun",
	"Spike":                 "at for factor add ramp every bot",
	"LoadNoise":             "sigma tau",
	"Service":               "match image runtime threads concurrency queue timeout retries cancel memory ready stop warmup balance idle noise cpuFactor latencyFactor routes cpu cpuScv latency calls errors",
	"RouteModel":            "cpu cpuScv latency calls errors",
	"Queue":                 "max discipline",
	"Retries":               "max budget on backoff",
	"MemoryModel":           "base perRequest perConnection leak cache",
	"CacheMemory":           "max fill",
	"Warmup":                "factor halfLife startCpu",
	"StartCPU":              "cores for",
	"Balance":               "kind perClient maxAge",
	"Idle":                  "cpu memory",
	"Call":                  "to route count optional async timeout cacheHit",
	"Quantiles":             "p50 p99",
	"Step":                  "name at after every cron when rate plus by required again between for until times jitter apply delete patch scale setImage restart undo promote abort pause resume retry set killPods nodeCrash nodeNotReady drain cordon zoneOutage spotReclaim noCapacity registry quota loadFactor note assert",
	"After":                 "step plus",
	"ObjectPatch":           "object type patch",
	"ScaleAction":           "workload replicas",
	"SetImageAction":        "workload image container",
	"WorkloadAction":        "workload",
	"UndoAction":            "workload toRevision",
	"PromoteAction":         "workload full",
	"KillPodsAction":        "workload selector namespace count share grace mode",
	"NodeCrashAction":       "node pool selector count share mode back",
	"NodeNotReadyAction":    "node pool selector count share message gap",
	"DrainAction":           "node pool selector count share gap grace timeout",
	"CordonAction":          "node pool selector count share gap",
	"ZoneOutageAction":      "zone mode",
	"SpotReclaimAction":     "pool share count notice over rebalance",
	"NoCapacityAction":      "pool type zone",
	"RegistryAction":        "state factor match",
	"QuotaAction":           "namespace name hard",
	"LoadFactorAction":      "load factor",
	"Expectation":           "name severity in slo replicas pending cost disruption rollout recovery noWorse cel",
	"SLOExpectation":        "service load route availability p50 p95 p99 over window allow burn",
	"Burn":                  "fast slow",
	"BurnLimit":             "limit over",
	"Match":                 "name selector namespace",
	"ReplicasExpectation":   "workload min max reversals",
	"PendingExpectation":    "p95 max atEnd",
	"CostExpectation":       "max idleShare perRequest of",
	"DisruptionExpectation": "budgetKept evictions forced",
	"RolloutExpectation":    "workload image verdict within maxWeight",
	"RecoveryExpectation":   "after within to service load",
	"NoWorseExpectation":    "metrics tolerance",
	"Prices":                "file currency types perResource billing controlPlane loadBalancer egress commitments spotCurve",
	"TypePrice":             "onDemand spot",
	"ResourcePrices":        "cpu memoryGiB gpu",
	"Billing":               "granularity minimum",
	"EgressPrices":          "zone region internet", // said in the report's limits: no bytes are counted
	"Commitment":            "type count price",
}

func TestEveryFieldOfAScenarioIsPlayedOrRefusedByName(t *testing.T) {
	t.Parallel()
	seen := map[reflect.Type]bool{}
	var walk func(at string, typ reflect.Type)
	walk = func(at string, typ reflect.Type) {
		inner, _ := structOf(typ)
		if inner == nil || seen[inner] || inner.PkgPath() != reflect.TypeFor[v1alpha1.Scenario]().PkgPath() {
			return
		}
		seen[inner] = true
		known := strings.Fields(played[inner.Name()])
		for _, f := range shapeOf(inner).fields {
			if f.internal {
				continue
			}
			_, refused := unbuiltFields[inner][f.name]
			isPlayed := slices.Contains(known, f.name)
			if isPlayed == refused {
				t.Errorf("%s.%s (%s): played %t, refused %t; it must be one of them", inner.Name(), f.name, at, isPlayed, refused)
			}
			if !refused {
				walk(at+"."+f.name, f.typ)
			}
		}
	}
	walk("scenario", reflect.TypeFor[v1alpha1.Scenario]())
	if len(seen) < 40 {
		t.Errorf("only %d types were walked", len(seen))
	}
}
