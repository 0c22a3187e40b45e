package validate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// parse reads a Rollout from YAML.
func parse(t testing.TB, text string) *rollouts.Rollout {
	t.Helper()
	ro := &rollouts.Rollout{}
	if err := yaml.Unmarshal([]byte(text), ro); err != nil {
		t.Fatal(err, text)
	}
	return ro
}

// strategyOf is a valid Rollout but for its strategy.
func strategyOf(t testing.TB, strategy string) *rollouts.Rollout {
	t.Helper()
	return parse(t, "metadata: {name: web, namespace: shop}\nspec:\n  selector: {matchLabels: {app: web}}\n  template: {metadata: {labels: {app: web}}}\n  strategy:\n    "+
		strings.ReplaceAll(strategy, "\n", "\n    "))
}

// expect compares problems with what each must begin with or hold, in order.
func expect(t *testing.T, name string, got []Problem, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d problems, want %d:\n%s", name, len(got), len(want), lines(got))
		return
	}
	for i := range got {
		if !strings.HasPrefix(got[i].String(), want[i]) {
			t.Errorf("%s:\n%s\nwant\n%s", name, got[i], want[i])
		}
	}
}

func lines(problems []Problem) string {
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	return strings.Join(out, "\n")
}

func TestRolloutFindsWhatIsWrongWithASpec(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		yaml string
		want []string
	}{
		"empty": {"{}", []string{
			"spec.selector: Required value: Rollout has missing field '.spec.selector'",
			"spec.strategy: Required value: Rollout has missing field '.spec.strategy.canary or .spec.strategy.blueGreen'",
		}},
		"empty selector and numbers below 0": {"spec: {replicas: -1, selector: {}, minReadySeconds: -1, revisionHistoryLimit: -2, progressDeadlineSeconds: -3, strategy: {canary: {}}}", []string{
			"spec.replicas: Invalid value: -1: must be greater than or equal to 0",
			"spec.selector: Invalid value: {}: empty selector is invalid for deployment",
			"spec.minReadySeconds: Invalid value: -1",
			"spec.revisionHistoryLimit: Invalid value: -2",
			"spec.progressDeadlineSeconds: Invalid value: -3: must be greater than or equal to 0",
			"spec.progressDeadlineSeconds: Invalid value: -3: must be greater than minReadySeconds",
		}},
		"bad selector": {"spec: {selector: {matchExpressions: [{key: a, operator: Like}]}, strategy: {canary: {}}}", []string{"spec.selector.matchExpressions[0].operator: Invalid value"}},
		"deadline":     {"spec: {selector: {matchLabels: {a: b}}, minReadySeconds: 600, strategy: {canary: {}}}", []string{"spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"}},
		"both strategies": {"spec: {selector: {matchLabels: {a: b}}, strategy: {canary: {}, blueGreen: {activeService: a}}}",
			[]string{"spec.strategy: Invalid value: \"blueGreen: true canary: true\": Multiple Strategies can not be listed"}},
		"workload and template": {"spec: {workloadRef: {apiVersion: apps/v1, kind: StatefulSet, scaleDown: soon}, template: {metadata: {labels: {a: b}}}, strategy: {canary: {}}}", []string{
			"spec.template: Forbidden: template must be empty for workload reference rollout",
			"spec.workloadRef.kind: Unsupported value: \"apps/v1 StatefulSet\": supported values: \"apps/v1 Deployment\", \"apps/v1 ReplicaSet\", \"v1 PodTemplate\"",
			"spec.workloadRef.name: Required value",
			"spec.workloadRef.scaleDown: Unsupported value: \"soon\"",
		}},
		"workload":            {"spec: {workloadRef: {apiVersion: v1, kind: PodTemplate, name: web, scaleDown: never}, strategy: {canary: {}}}", nil},
		"limits below 0":      {"spec: {selector: {matchLabels: {a: b}}, rollbackWindow: {revisions: -1}, analysis: {successfulRunHistoryLimit: -1, unsuccessfulRunHistoryLimit: -1}, strategy: {canary: {}}}", []string{"spec.rollbackWindow.revisions: Invalid value: -1", "spec.analysis.successfulRunHistoryLimit: Invalid value: -1", "spec.analysis.unsuccessfulRunHistoryLimit: Invalid value: -1"}},
		"numeric pause works": {"spec: {selector: {matchLabels: {a: b}}, strategy: {canary: {steps: [{setWeight: 20}, {pause: {duration: 60}}, {pause: {}}, {pause: {duration: \"10\"}}, {pause: {duration: 1h}}]}}}", nil},
		"the shape of 2019":   {"spec: {selector: {matchLabels: {a: b}}, strategy: {steps: [{setWeight: 20}, {pause: {duration: 60}}], canary: {}}}", nil},
	} {
		expect(t, name, Rollout(parse(t, c.yaml)), c.want)
	}
}

func TestRolloutFindsWhatIsWrongWithABlueGreenStrategy(t *testing.T) {
	t.Parallel()
	for strategy, want := range map[string][]string{
		"blueGreen: {activeService: a, previewService: b}": nil,
		"blueGreen: {}": {"spec.strategy.blueGreen.activeService: Required value"},
		"blueGreen: {activeService: a, previewService: a}":                                                                                                     {"spec.strategy.blueGreen.activeService: Invalid value: \"a\": This rollout uses the same service for the active and preview services, but two different services are required."},
		"blueGreen: {activeService: a, scaleDownDelayRevisionLimit: 10}":                                                                                       nil,
		"blueGreen: {activeService: a, scaleDownDelayRevisionLimit: 11}":                                                                                       {"spec.strategy.blueGreen.scaleDownDelayRevisionLimit: Invalid value: 11: This rollout's revision history limit can not be smaller than the rollout's scale down limit"},
		"blueGreen: {activeService: a, antiAffinity: {}}":                                                                                                      {"spec.strategy.blueGreen.antiAffinity: Invalid value: \"antiAffinity.PreferredDuringSchedulingIgnoredDuringExecution: false antiAffinity.RequiredDuringSchedulingIgnoredDuringExecution: false\": AntiAffinity must have exactly one strategy listed"},
		"blueGreen: {activeService: a, previewReplicaCount: -1, maxUnavailable: half}":                                                                         {"spec.strategy.blueGreen.previewReplicaCount: Invalid value: -1", "spec.strategy.blueGreen.maxUnavailable: Invalid value: \"half\": must be an integer or percentage"},
		"blueGreen: {activeService: a, prePromotionAnalysis: {templates: []}}":                                                                                 {"spec.strategy.blueGreen.prePromotionAnalysis.templates: Required value"},
		"blueGreen: {activeService: a, postPromotionAnalysis: {templates: [{}]}}":                                                                              {"spec.strategy.blueGreen.postPromotionAnalysis.templates[0].templateName: Required value"},
		"blueGreen: {activeService: a, postPromotionAnalysis: {templates: [{templateName: t}], args: [{name: x, valueFrom: {podTemplateHashValue: Newest}}]}}": {"spec.strategy.blueGreen.postPromotionAnalysis.args[0].valueFrom.podTemplateHashValue: Unsupported value: \"Newest\""},
	} {
		expect(t, strategy, Rollout(strategyOf(t, strategy)), want)
	}
}

func TestRolloutFindsWhatIsWrongWithACanaryStrategy(t *testing.T) {
	t.Parallel()
	const c = "spec.strategy.canary."
	for strategy, want := range map[string][]string{
		"canary: {maxSurge: 0, maxUnavailable: 0}":                                      {c + "maxSurge: Invalid value: 0: MaxSurge and MaxUnavailable both can not be zero"},
		"canary: {maxSurge: 0%, maxUnavailable: \"0\"}":                                 {c + "maxSurge: Invalid value: \"0%\": MaxSurge and MaxUnavailable both can not be zero"},
		"canary: {maxSurge: 0}":                                                         nil,
		"canary: {maxSurge: some, maxUnavailable: -1}":                                  {c + "maxSurge: Invalid value: \"some\"", c + "maxUnavailable: Invalid value: -1"},
		"canary: {maxSurge: 150%, maxUnavailable: \"3\"}":                               nil,
		"canary: {canaryService: a, stableService: a}":                                  {c + "stableService: Invalid value: \"a\": This rollout uses the same service for the stable and canary services"},
		"canary: {scaleDownDelaySeconds: 1, dynamicStableScale: true}":                  {c + "scaleDownDelaySeconds: Invalid value: 1: Canary scaleDownDelaySeconds can only be used with traffic routing", c + "dynamicStableScale: Invalid value: true: Canary dynamicStableScale can only be used with traffic routing"},
		"canary: {antiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: {}}}": {c + "antiAffinity.weight: Invalid value: 0: AntiAffinity weight must be between 1-100"},
		"canary: {antiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {}, preferredDuringSchedulingIgnoredDuringExecution: {weight: 1}}}": {c + "antiAffinity: Invalid value"},
		"canary: {pingPong: {}}":                                     {c + "pingPong.pingService: Invalid value: \"\": Ping service and Pong service must to be set", c + "pingPong.pongService: Invalid value: \"\": Ping service and Pong service", c + "pingPong.pingService: Invalid value: \"\": This rollout uses the same service for the ping and pong services"},
		"canary: {replicaProgressThreshold: {type: Some, value: 1}}": {c + "replicaProgressThreshold.type: Unsupported value: \"Some\""},
		"canary: {analysis: {templates: [{templateName: t}], args: [{name: a, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['x']\"}}}]}}":   nil,
		"canary: {analysis: {templates: [{templateName: t}], args: [{name: a, valueFrom: {fieldRef: {fieldPath: metadata.owner}}}, {value: b}]}}": {c + "analysis.args[0].valueFrom.fieldRef.fieldPath: Invalid value: \"metadata.owner\": Analyses arguments must refer to valid object metadata supported by downwardAPI", c + "analysis.args[1].name: Required value"},
	} {
		expect(t, strategy, Rollout(strategyOf(t, strategy)), want)
	}
}

func TestRolloutFindsWhatIsWrongWithSteps(t *testing.T) {
	t.Parallel()
	const s = "spec.strategy.canary.steps[0]"
	// What stands before the bar in a case is the router.
	routers := map[string]string{
		"istio": "trafficRouting: {managedRoutes: [{name: r}], istio: {virtualService: {name: v}}}, canaryService: a, stableService: b, ",
		"alb":   "trafficRouting: {managedRoutes: [{name: r}], alb: {ingress: i, servicePort: 80}}, canaryService: a, stableService: b, ",
	}
	for step, want := range map[string][]string{
		"{setWeight: 0}":   nil,
		"{setWeight: 100}": nil,
		"{setWeight: 101}": {s + ".setWeight: Invalid value: 101: SetWeight needs to be between 0 and 100"},
		"{setWeight: -1}":  {s + ".setWeight: Invalid value: -1: SetWeight needs to be between 0 and 100"},
		"{}":               {s + ": Invalid value: \"none\": Step must have one of the following set: experiment, setWeight, setCanaryScale, plugin or pause"},
		"istio|{pause: {}, setCanaryScale: {weight: 5}, setHeaderRoute: {name: r}}": nil,
		"{analysis: {templates: [{templateName: a}]}, experiment: {}}":              {s + ": Invalid value: \"experiment, analysis\": Step must have one of the following set"},
		"{setWeight: 1, pause: {}}":       {s + ": Invalid value: \"pause, setWeight\": Step must have one of the following set"},
		"{pause: {duration: soon}}":       {s + ".pause.duration: Invalid value: \"soon\": Duration needs to be greater than 0"},
		"{pause: {duration: -5}}":         {s + ".pause.duration: Invalid value: \"-5\": Duration needs to be greater than 0"},
		"{setCanaryScale: {replicas: 1}}": {"spec.strategy.canary.trafficRouting: Required value: SetCanaryScale requires TrafficRouting to be set"},
		"{setHeaderRoute: {name: r}}":     {s + ".setHeaderRoute: Invalid value: \"r\": SetHeaderRoute requires TrafficRouting, supports Istio and ALB and Apisix"},
		"{setMirrorRoute: {name: r}}":     {s + ".setMirrorRoute: Invalid value: \"r\": SetMirrorRoute requires TrafficRouting, supports Istio and Plugins"},
		"{plugin: {}}":                    {s + ".plugin.name: Required value"},
		"{experiment: {templates: [{name: x, specRef: canary, weight: 5}]}}": {s + ".experiment.templates[0].weight: Invalid value: 5: Experiment template weight cannot be set unless TrafficRouting is enabled"},
		"{experiment: {duration: long, templates: [{specRef: other}, {name: x, specRef: stable}, {name: x, specRef: stable}], analyses: [{name: a}]}}": {
			s + ".experiment.duration: Invalid value: \"long\"", s + ".experiment.templates[0].name: Required value", s + ".experiment.templates[0].specRef: Unsupported value: \"other\"",
			s + ".experiment.templates[2].name: Duplicate value: \"x\"", s + ".experiment.analyses[0].templateName: Required value"},
		"istio|{setCanaryScale: {weight: -1}}":                                                                                              {s + ".setCanaryScale.weight: Invalid value: -1"},
		"istio|{setHeaderRoute: {name: r, match: [{headerName: x, headerValue: {exact: a}}]}}":                                              nil,
		"istio|{setHeaderRoute: {name: q}}":                                                                                                 {s + ".setHeaderRoute: Invalid value: \"q\": Steps define a route that does not exist in spec.strategy.canary.trafficRouting.managedRoutes"},
		"istio|{setHeaderRoute: {name: r, match: [{headerName: x}]}}":                                                                       {s + ".setHeaderRoute.match[0]: Invalid value: null: StringMatch value missed"},
		"istio|{setHeaderRoute: {name: r, match: [{headerValue: {exact: a, regex: b}}]}}":                                                   {s + ".setHeaderRoute.match[0].headerName: Required value", s + ".setHeaderRoute.match[0]: Invalid value: {\"exact\":\"a\",\"regex\":\"b\"}: StringMatch match value must have exactly one"},
		"istio|{setMirrorRoute: {name: r, percentage: 101, match: [{method: {}, path: {prefix: /}, headers: {a: {exact: b, prefix: c}}}]}}": {s + ".setMirrorRoute.percentage: Invalid value: 101", s + ".setMirrorRoute.match[0].method: Invalid value: {}: StringMatch value missed", s + ".setMirrorRoute.match[0].headers[a]: Invalid value"},
		"alb|{setHeaderRoute: {name: r, match: [{headerName: x, headerValue: {prefix: a}}]}}":                                               {s + ".setHeaderRoute.match[0]: Invalid value: {\"prefix\":\"a\"}: SetHeaderRoute match value invalid. ALB supports 'exact' value only"},
		"alb|{setMirrorRoute: {name: r}}":                                                                                                   {s + ".setMirrorRoute: Invalid value: \"r\": SetMirrorRoute requires TrafficRouting"},
		"istio|{experiment: {templates: [{name: x, specRef: canary, weight: 60}, {name: z, specRef: stable, weight: 41}]}}":                 {s + ".experiment.templates: Invalid value: 101: the weights of the templates and the canary's own 0 must not exceed 100 together"},
		"istio|{experiment: {templates: [{name: x, specRef: canary, weight: 60}]}}":                                                         nil,
	} {
		router, rest, routed := strings.Cut(step, "|")
		if !routed {
			router, rest = "", step
		}
		expect(t, step, Rollout(strategyOf(t, "canary: {"+routers[router]+"steps: ["+rest+"]}")), want)
	}
}

func TestStepsWithoutManagedRoutesSayWhichFieldIsMissingOnce(t *testing.T) {
	t.Parallel()
	ro := strategyOf(t, "canary: {canaryService: a, stableService: b, trafficRouting: {istio: {virtualService: {name: v}}}, steps: [{setHeaderRoute: {name: r}}, {setMirrorRoute: {name: s}}]}")
	expect(t, "", Rollout(ro), []string{"spec.strategy.canary.trafficRouting.managedRoutes: Required value: Rollout has missing field 'spec.strategy.canary.trafficRouting.managedRoutes'"})
}

func TestExperimentWeightsHaveRoomBesideTheWeightOfTheStepBefore(t *testing.T) {
	t.Parallel()
	ro := strategyOf(t, "canary: {canaryService: a, stableService: b, trafficRouting: {smi: {}}, steps: [{setWeight: 50}, {pause: {}}, {experiment: {templates: [{name: x, specRef: canary, weight: 51}]}}]}")
	expect(t, "", Rollout(ro), []string{"spec.strategy.canary.steps[2].experiment.templates: Invalid value: 51: the weights of the templates and the canary's own 50 must not exceed 100 together"})
}

func TestRolloutFindsWhatIsWrongWithRouters(t *testing.T) {
	t.Parallel()
	const p = "spec.strategy.canary.trafficRouting."
	// What stands before the bar in a case is the rest of the strategy, by default the two Services.
	for routing, want := range map[string][]string{
		"{nginx: {stableIngress: i}, maxTrafficWeight: 1000}":       nil,
		"{alb: {ingress: i, servicePort: 80}, maxTrafficWeight: 0}": {p + "maxTrafficWeight: Invalid value: 0: Canary maxTrafficWeight in traffic routing only supported in Nginx and Plugins", p + "maxTrafficWeight: Invalid value: 0: must be greater than 0"},
		"{nginx: {}}": {p + "nginx: Required value: Either StableIngress or StableIngresses must be configured. Neither are configured."},
		"{nginx: {stableIngress: i, stableIngresses: [j]}}":      {p + "nginx: Forbidden: Either StableIngress or StableIngresses must be configured. Both are configured."},
		"{alb: {ingress: i, ingresses: [j]}}":                    {p + "alb: Forbidden: Either Ingress or Ingresses must be configured. Both are configured."},
		"{alb: {ingress: i, stickinessConfig: {enabled: true}}}": {p + "alb.stickinessConfig.durationSeconds: Invalid value: 0: TargetGroupStickinessConfig's duration must be between 1 and 604800 seconds"},
		"{istio: {}}": {p + "istio: Required value: either VirtualService or VirtualServices must be configured"},
		"{istio: {virtualService: {name: a}, virtualServices: [{}]}}":                                          {p + "istio: Forbidden: either VirtualService or VirtualServices must be configured", p + "istio.virtualServices[0].name: Required value"},
		"|{istio: {virtualService: {}, destinationRule: {name: d, canarySubsetName: s, stableSubsetName: s}}}": {p + "istio.virtualService.name: Required value", p + "istio.destinationRule.canarySubsetName: Invalid value: \"s\""},
		"|{istio: {virtualService: {name: v}, destinationRule: {}}}":                                           {p + "istio.destinationRule.name: Required value", p + "istio.destinationRule.canarySubsetName: Required value", p + "istio.destinationRule.stableSubsetName: Required value"},
		"|{istio: {virtualService: {name: v}}}":                                                                {"spec.strategy.canary.stableService: Invalid value: \"\": Canary service and Stable service must to be set to use Traffic Routing", "spec.strategy.canary.canaryService: Invalid value"},
		"{ambassador: {mappings: []}}":                                                                         {p + "ambassador.mappings: Invalid value: null: must provide at least one mapping"},
		"{traefik: {}}":                                                                                        {p + "traefik.weightedTraefikServiceName: Required value"},
		"{apisix: {}}":                                                                                         {p + "apisix.route.name: Required value"},
		"{appMesh: {}}":                                                                                        {p + "appMesh: Forbidden: spec.strategy.canary.trafficRouting.appMesh: AWS ended App Mesh on 2026-09-30"},
		"{managedRoutes: [{}, {name: r}, {name: r}], smi: {}}":                                                 {p + "managedRoutes[0].name: Required value", p + "managedRoutes[2].name: Duplicate value: \"r\""},
		"|{plugins: {argoproj-labs/gatewayAPI: {httpRoute: web}, other/one: {}}}":                              nil,
		"|{plugins: {argoproj-labs/gatewayAPI: {namespace: web}}}":                                             {p + "plugins[argoproj-labs/gatewayAPI]: Invalid value: \"{\\\"namespace\\\":\\\"web\\\"}\": names no route"},
		"pingPong: {pingService: x, pongService: z}, |{alb: {ingress: i}}":                                     {p + "alb.rootService: Invalid value: \"\": Root service field is required"},
		"pingPong: {pingService: x, pongService: z}, |{smi: {}}":                                               {p + "alb: Invalid value: null: Ping-pong feature works with the ALB, Istio, and plugin-based traffic routers only", "spec.strategy.canary.stableService", "spec.strategy.canary.canaryService"},
		"canaryService: a, stableService: b, dynamicStableScale: true, scaleDownDelaySeconds: 1, |{smi: {}}":   {"spec.strategy.canary.dynamicStableScale: Invalid value: true: Canary dynamicStableScale cannot be used with scaleDownDelaySeconds"},
	} {
		head, rest, given := strings.Cut(routing, "|")
		if !given {
			head, rest = "canaryService: a, stableService: b, ", routing
		}
		expect(t, routing, Rollout(strategyOf(t, "canary: {"+head+"trafficRouting: "+rest+"}")), want)
	}
}

func TestSummaryHasTheFirstProblemAsThePeerWordsItAndCountsTheOthers(t *testing.T) {
	t.Parallel()
	if got := Summary("Rollout", "web", nil); got != "" {
		t.Error(got)
	}
	ps := Rollout(strategyOf(t, "canary: {steps: [{setWeight: 101}, {setWeight: 102}]}"))
	if got := Summary("Rollout", "web", ps[:1]); got != `The Rollout "web" is invalid: spec.strategy.canary.steps[0].setWeight: Invalid value: 101: SetWeight needs to be between 0 and 100` {
		t.Error(got)
	}
	if got := Summary("Rollout", "web", ps); !strings.HasSuffix(got, "between 0 and 100 (and 1 more)") {
		t.Error(got)
	}
}

func TestProblemsComeInTheSameOrderEachTimeAndLeaveTheObjectAsItIs(t *testing.T) {
	t.Parallel()
	ro := strategyOf(t, "canary: {maxSurge: x, steps: [{}, {setWeight: -1}, {setMirrorRoute: {name: r}}], analysis: {templates: [{}]}, trafficRouting: {istio: {}, nginx: {}, alb: {}, appMesh: {}}}")
	before, _ := json.Marshal(ro)
	first := Rollout(ro)
	for range 20 {
		if again := Rollout(ro); !slices.Equal(first, again) {
			t.Fatalf("%v\n%v", first, again)
		}
	}
	if after, _ := json.Marshal(ro); string(before) != string(after) {
		t.Error("the Rollout was changed")
	}
	if len(first) < 10 {
		t.Error("not all problems are told:", lines(first))
	}
}

func TestTemplatesAndRunsAreChecked(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string][]string{
		"{metrics: [{name: a, provider: {web: {url: http://x}}}]}": nil,
		"{templates: [{templateName: other}]}":                     nil,
		"{}":                                                       {"spec.metrics: Required value: no metrics specified"},
		"{templates: [{}]}":                                        {"spec.templates[0].templateName: Required value"},
		"{metrics: [{provider: {}}]}":                              {"spec.metrics[0].name: Required value", "spec.metrics[0].provider: Invalid value: \"\": no provider specified"},
		"{metrics: [{name: a, provider: {web: {url: x}, job: {}}}]}":                                                                                                          {"spec.metrics[0].provider: Invalid value: \"a\": multiple providers specified"},
		"{metrics: [{name: a, provider: {plugin: {fairway/kube: {metric: restarts, hash: Latest, window: 5m}}}}]}":                                                            nil,
		"{metrics: [{name: a, provider: {plugin: {fairway/kube: {metric: '{{args.m}}', window: '{{args.w}}'}}}}]}":                                                            nil,
		"{metrics: [{name: a, provider: {plugin: {fairway/kube: {metric: rps}}}}]}":                                                                                           {"spec.metrics[0].provider: Invalid value: \"a\": plugin[fairway/kube]: metric is \"rps\"; there are restarts"},
		"{metrics: [{name: a, provider: {plugin: {fairway/kube: {metric: restarts, route: x}}}}]}":                                                                            {"spec.metrics[0].provider: Invalid value: \"a\": plugin[fairway/kube]: route is of requests"},
		"{metrics: [{name: a, provider: {plugin: {fairway/kube: {metric: restarts, window: 2h}}}}]}":                                                                          {"spec.metrics[0].provider: Invalid value: \"a\": plugin[fairway/kube]: window \"2h\" is longer than 1h0m0s"},
		"{metrics: [{name: a, provider: {plugin: {fairway/gateway: {metric: rps, windwo: 2m}}}}]}":                                                                            {"spec.metrics[0].provider: Invalid value: \"a\": plugin[fairway/gateway]: json: unknown field \"windwo\""},
		"{metrics: [{name: a, provider: {kayenta: {}}}]}":                                                                                                                     {"spec.metrics[0].provider: Invalid value: \"a\": metric \"a\": Fairway does not have the provider kayenta"},
		"{metrics: [{name: a, provider: {plugin: {x/y: {}, x/z: {}}}}]}":                                                                                                      {"spec.metrics[0].provider: Invalid value: \"a\": multiple providers specified"},
		"{metrics: [{name: a, provider: {web: {url: x}}}, {name: a, provider: {web: {url: x}}}]}":                                                                             {"spec.metrics[1].name: Invalid value: \"a\": duplicate name 'a'"},
		"{metrics: [{name: a, count: 2, provider: {web: {url: x}}}]}":                                                                                                         {"spec.metrics[0]: Invalid value: \"a\": interval must be specified when count > 1"},
		"{metrics: [{name: a, count: 2, failureLimit: 2, consecutiveSuccessLimit: 1, interval: 1m, provider: {web: {url: x}}}]}":                                              {"spec.metrics[0]: Invalid value: \"a\": count (2) must be >= failureLimit + consecutiveSuccessLimit (2 + 1) if both >= 0"},
		"{metrics: [{name: a, count: '{{args.n}}', failureLimit: 9, interval: '{{args.i}}', provider: {web: {url: '{{args.u}}'}}}], args: [{name: n}, {name: i}, {name: u}]}": nil,
		"{metrics: [{name: a, failureLimit: -1, consecutiveSuccessLimit: '{{args.n}}', provider: {web: {url: x}}}]}":                                                          nil,
		"{metrics: [{name: a, failureLimit: -1, provider: {web: {url: x}}}]}":                                                                                                 {"spec.metrics[0]: Invalid value: \"a\": failureLimit and consecutiveSuccessLimit cannot both be disabled"},
		"{metrics: [{name: a, interval: often, provider: {web: {url: x}}}]}":                                                                                                  {"spec.metrics[0]: Invalid value: \"a\": invalid interval string"},
		"{metrics: [{name: a, successCondition: 'result >', failureCondition: '{{args.c}}', provider: {web: {url: x}}}]}":                                                     {"spec.metrics[0].successCondition: Invalid value: \"result >\""},
		"{metrics: [{name: a, provider: {web: {body: x, jsonBody: {}}}}]}":                                                                                                    {"spec.metrics[0].provider.web.url: Required value", "spec.metrics[0].provider.web.jsonBody: Invalid value: \"{}\": use either Body or JSONBody", "spec.metrics[0].provider.web.method: Invalid value: \"\": Body/JSONBody can only be used with POST or PUT"},
		"{metrics: [{name: a, provider: {web: {url: x}}}], dryRun: [{metricName: 'a.*'}, {metricName: b}, {metricName: '('}], measurementRetention: [{metricName: c, limit: 1}]}": {
			"spec.dryRun[1].metricName: Invalid value: \"b\": Rule didn't match any metric name(s)", "spec.dryRun[2].metricName: Invalid value: \"(\": not a regular expression", "spec.measurementRetention[0].metricName: Invalid value: \"c\": Rule didn't match any metric name(s)"},
		"{metrics: [{name: a, provider: {web: {url: x}}}], templates: [{templateName: more}], dryRun: [{metricName: b}]}": nil,
		"{metrics: [{name: a, provider: {web: {url: x}}}], args: [{}, {name: x, value: y, valueFrom: {secretKeyRef: {name: s}}}, {name: x, valueFrom: {}}]}": {
			"spec.args[0].name: Required value", "spec.args[1]: Invalid value: \"x\": arg 'x' has both Value and ValueFrom fields", "spec.args[1].valueFrom.secretKeyRef: Required value", "spec.args[2].name: Duplicate value: \"x\"", "spec.args[2].valueFrom: Required value"},
	} {
		template, cluster := &argo.AnalysisTemplate{}, &argo.ClusterAnalysisTemplate{}
		if err := yaml.Unmarshal([]byte("spec: "+spec), template); err != nil {
			t.Fatal(err, spec)
		}
		expect(t, spec, AnalysisTemplate(template), want)
		cluster.Spec = template.Spec
		expect(t, spec, ClusterAnalysisTemplate(cluster), want)
	}
	run := &argo.AnalysisRun{}
	if err := yaml.Unmarshal([]byte("spec: {args: [{name: x}, {name: y, value: z}]}"), run); err != nil {
		t.Fatal(err)
	}
	late := &argo.AnalysisRun{}
	if err := yaml.Unmarshal([]byte("metadata: {name: r}\nspec: {args: [{name: x, value: z}], metrics: [{name: m, provider: {web: {url: '{{args.y}}'}}}]}"), late); err != nil {
		t.Fatal(err)
	}
	expect(t, "run with an unknown placeholder", AnalysisRun(late), []string{`spec: Invalid value: "r": Unable to resolve metric arguments: failed to resolve {{args.y}}`})
	late.Spec.Metrics[0].Provider.Web.URL = "{{args.x}}"
	expect(t, "run", AnalysisRun(late), nil)
	expect(t, "run without values", AnalysisRun(run), []string{"spec.metrics: Required value: no metrics specified", "spec.args[0]: Required value: args.x was not resolved"})
}

func TestExperimentsAreChecked(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string][]string{
		"{templates: [{name: a, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}}}], duration: 5m, analyses: [{name: x, templateName: y}]}": nil,
		"{templates: [{}, {name: a, selector: {}}, {name: a, selector: {matchLabels: {a: b}}, minReadySeconds: 601, replicas: -1}], duration: long, analyses: [{}]}": {
			"spec.duration: Invalid value: \"long\"",
			"spec.templates[0].name: Required value: Experiment e has empty template name at index 0",
			"spec.templates[0].selector: Required value: Rollout has missing field '.Spec.Templates[0].Selector'",
			"spec.templates[1].selector: Invalid value: {}: This experiment is selecting all pods at index 1. A non-empty selector is required.",
			"spec.templates[2].name: Invalid value: \"a\": Experiment e has repeated template name 'a' in templates",
			"spec.templates[2].template.metadata.labels: Invalid value",
			"spec.templates[2].replicas: Invalid value: -1",
			"spec.templates[2].minReadySeconds: Invalid value: 601: MinReadySeconds cannot be longer than ProgressDeadlineSeconds. Check template index 2",
			"spec.analyses[0].name: Required value",
			"spec.analyses[0].templateName: Required value",
		},
	} {
		e := &argo.Experiment{}
		if err := yaml.Unmarshal([]byte("metadata: {name: e}\nspec: "+spec), e); err != nil {
			t.Fatal(err)
		}
		expect(t, spec, Experiment(e), want)
	}
}

func TestWarningsNameWhatHasNoEffectWhereItStands(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"spec: {strategy: {canary: {steps: [{setWeight: 1}]}}}":                                     nil,
		"spec: {strategy: {steps: [{setWeight: 1}], canary: {}}}":                                   {"spec.strategy.steps: deprecated since 2019"},
		"spec: {strategy: {steps: [{setWeight: 1}], canary: {steps: [{setWeight: 2}]}}}":            {"spec.strategy.steps: deprecated since 2019, and without effect"},
		"spec: {strategy: {steps: [{setWeight: 1}]}}":                                               {"spec.strategy.steps: steps belong under spec.strategy.canary, which is missing"},
		"spec: {strategy: {canary: {steps: [{replicaProgressThreshold: {type: Pods, value: 1}}]}}}": {"spec.strategy.canary.steps[0].replicaProgressThreshold: has no effect in a step"},
		"spec: {metrics: [{provider: {prometheus: {authentication: {basicAuth: {}}}}}]}":            {"spec.metrics[0].provider.prometheus.authentication.basicAuth: newer than the API"},
		"spec: {strategy: {canary: {steps: [{setHeaderRoute: {}, setCanaryScale: {}}]}}}":           {"spec.strategy.canary.steps[0]: does several things at once (setCanaryScale, setHeaderRoute)"},
		"[]": nil,
	} {
		raw, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		expect(t, text, Warnings(raw), want)
	}
}

func BenchmarkRollout(b *testing.B) {
	steps := strings.Repeat("{setWeight: 10}, {pause: {duration: 60}}, ", 8)
	ro := strategyOf(b, "canary: {canaryService: a, stableService: b, trafficRouting: {nginx: {stableIngress: i}}, steps: ["+steps+"]}")
	b.ReportAllocs()
	for b.Loop() {
		if ps := Rollout(ro); len(ps) > 0 {
			b.Fatal(fmt.Sprint(ps))
		}
	}
}
