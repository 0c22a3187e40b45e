package scenario

import (
	"reflect"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// What a scenario may one day say and this version does not play is refused by name: to ignore it would be to rehearse
// something else than what was written.

// unbuiltFields are the fields refused, by the type they belong to, with what to do instead.
var unbuiltFields = map[reflect.Type]map[string]string{
	reflect.TypeFor[v1alpha1.ScenarioSpec](): {
		"dependencies": "model what is outside as a service with its own latency and errors",
	},
	reflect.TypeFor[v1alpha1.Cluster](): {
		"snapshot": "give manifests and pools", "import": "give manifests and pools",
	},
	reflect.TypeFor[v1alpha1.Manifest](): {
		"helm": "render the chart with helm template into a directory and name that",
		"git":  "check the revision out into a directory and name that",
	},
	reflect.TypeFor[v1alpha1.Load](): {
		"prometheus": "save the series as CSV and use csv", "k6": "use stages or users", "replay": "use csv",
	},
	reflect.TypeFor[v1alpha1.Service](): {
		"crash":       "describe a failing release with image and errors, or a crashing container with a Program",
		"cache":       "lower the count of the calls",
		"connections": "", "sheds": "use concurrency and queue", "breaker": "use timeout and retries",
	},
	reflect.TypeFor[v1alpha1.Network]():               {"crossRegion": "leave it out: all pools are in one region"},
	reflect.TypeFor[v1alpha1.Controllers]():           {"fairway": "leave it out: of the capabilities, Rollouts take part when the manifests hold some, and the metrics that autoscalers read"},
	reflect.TypeFor[v1alpha1.DisruptionExpectation](): {"workSecondsLost": "use evictions and forced"},
	reflect.TypeFor[v1alpha1.ResourcePrices]():        {"storageGiB": "leave it out: volumes are not charged"},
	reflect.TypeFor[v1alpha1.KillPodsAction](): {
		"kubeMonkey": "use every or rate with a selector",
	},
	reflect.TypeFor[v1alpha1.Step](): {
		"label": "use patch", "annotate": "use patch",
		"failPods": "use killPods, or set with errors", "nodeSlow": "use set with cpuFactor and latencyFactor",
		"taint": "use cordon or drain", "slowJoin": "give the pool a longer join", "launchErrors": "use noCapacity",
		"dns": "use set with errors and latencyFactor", "network": "use set with errors and latencyFactor",
		"http": "use set with errors and latencyFactor", "memory": "use set with memory", "disk": "", "volume": "",
		"dependency": "", "metrics": "", "apiServer": "", "etcd": "", "webhook": "", "component": "",
		"certificate": "", "clockSkew": "", "price": "", "loadBalancer": "",
		"rotate": "use cordon and drain", "snapshot": "", "run": "use include",
	},
	reflect.TypeFor[v1alpha1.Expectation](): {
		"nodes": "use cel over nodes", "oom": "use cel over timeline", "restarts": "use cel over pods",
		"throttled": "use cel over series(\"throttled_ratio\")", "scaleUps": "use cel over timeline",
	},
}

// unbuiltValues are the values refused, by type and field.
var unbuiltValues = map[reflect.Type]map[string][]string{
	reflect.TypeFor[v1alpha1.ScenarioSpec](): {"fidelity": {"requests", "auto"}},
	reflect.TypeFor[v1alpha1.Pool]():         {"scaler": {"cluster-autoscaler", "karpenter"}},
	reflect.TypeFor[v1alpha1.Balance]():      {"kind": {"p2c", "affinity"}},
}

func unbuiltHint(instead string) string {
	if instead == "" {
		return "remove it"
	}
	return "until then " + instead
}
