package validate

import (
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

func found(t *testing.T, documents ...string) Found {
	t.Helper()
	f := Found{Services: map[string]*corev1.Service{}, Objects: traffic.Objects{},
		Templates: analysis.Templates{Namespaced: map[string]*argo.AnalysisTemplate{}, Cluster: map[string]*argo.ClusterAnalysisTemplate{}}}
	for _, d := range documents {
		u := &unstructured.Unstructured{}
		raw, err := yaml.YAMLToJSON([]byte(d))
		if err != nil {
			t.Fatal(err, d)
		}
		if err := u.UnmarshalJSON(raw); err != nil {
			t.Fatal(err, d)
		}
		var into any
		switch u.GetKind() {
		case "Service":
			s := &corev1.Service{}
			f.Services[u.GetName()], into = s, s
		case "AnalysisTemplate":
			a := &argo.AnalysisTemplate{}
			f.Templates.Namespaced[u.GetName()], into = a, a
		case "ClusterAnalysisTemplate":
			a := &argo.ClusterAnalysisTemplate{}
			f.Templates.Cluster[u.GetName()], into = a, a
		default:
			u.SetNamespace("shop")
			f.Objects[traffic.Ref{GroupVersionKind: u.GroupVersionKind(), Namespace: "shop", Name: u.GetName()}] = u
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(d), into); err != nil {
			t.Fatal(err, d)
		}
	}
	return f
}

func svc(name, more string) string {
	return "{apiVersion: v1, kind: Service, metadata: {name: " + name + more + "}, spec: {selector: {app: web, rollouts-pod-template-hash: any}}}"
}

func template(kind, name, spec string) string {
	return "{apiVersion: argoproj.io/v1alpha1, kind: " + kind + ", metadata: {name: " + name + "}, spec: " + spec + "}"
}

func TestReferencesFindsServicesThatAreMissingForeignOrOthers(t *testing.T) {
	t.Parallel()
	ro := strategyOf(t, "canary: {stableService: stable, canaryService: canary}")
	expect(t, "missing", References(ro, found(t, svc("stable", ""))), []string{`spec.strategy.canary.canaryService: Invalid value: "canary": service "canary" not found`})
	offline := found(t)
	offline.Offline = true
	expect(t, "offline", References(ro, offline), nil)
	expect(t, "managed by another", References(ro, found(t, svc("stable", ", annotations: {argo-rollouts.argoproj.io/managed-by-rollouts: api}"), svc("canary", ", annotations: {argo-rollouts.argoproj.io/managed-by-rollouts: web}"))),
		[]string{`spec.strategy.canary.stableService: Invalid value: "stable": Service "stable" is managed by another Rollout`})
	expect(t, "other pods", References(ro, found(t, svc("stable", ""), "{apiVersion: v1, kind: Service, metadata: {name: canary}, spec: {selector: {tier: front, app: api}}}")), []string{
		`spec.strategy.canary.canaryService: Invalid value: "canary": Service "canary" has unmatch label "app" in rollout`,
		`spec.strategy.canary.canaryService: Invalid value: "canary": Service "canary" has unmatch label "tier" in rollout`})

	bg := strategyOf(t, "blueGreen: {activeService: active, previewService: preview}")
	expect(t, "blue-green", References(bg, found(t)), []string{"spec.strategy.blueGreen.activeService: Invalid value", "spec.strategy.blueGreen.previewService: Invalid value"})
	pp := strategyOf(t, "canary: {pingPong: {pingService: ping, pongService: pong}}")
	expect(t, "ping pong", References(pp, found(t, svc("pong", ""))), []string{`spec.strategy.canary.pingPong.pingService: Invalid value: "ping": service "ping" not found`})

	ref := strategyOf(t, "canary: {stableService: stable}")
	ref.Spec.WorkloadRef = &argo.ObjectRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}
	ref.Spec.Template.Labels = nil
	missing := found(t, svc("stable", ""))
	missing.WorkloadMissing = true
	expect(t, "workload", References(ref, missing), []string{`spec.workloadRef: Invalid value: "Deployment/web": Deployment "web" not found`})
}

func TestReferencesJudgesTemplatesEachAndTogether(t *testing.T) {
	t.Parallel()
	const path = "spec.strategy.canary.steps[0].analysis.templates: Invalid value: "
	once := "{metrics: [{name: m, provider: {web: {url: x}}}]}"
	endless := "{metrics: [{name: m, interval: 1m, provider: {web: {url: x}}}]}"
	counted := "{args: [{name: num}], metrics: [{name: m, interval: 1m, count: '{{args.num}}', provider: {web: {url: x}}}]}"
	step := func(analysis string) string { return "canary: {steps: [{analysis: " + analysis + "}]}" }
	for name, c := range map[string]struct {
		strategy string
		found    []string
		want     []string
	}{
		"fine":            {step("{templates: [{templateName: a}]}"), []string{template("AnalysisTemplate", "a", once)}, nil},
		"missing":         {step("{templates: [{templateName: a}]}"), nil, []string{path + `"a": AnalysisTemplate 'a' not found`}},
		"missing cluster": {step("{templates: [{templateName: a, clusterScope: true}]}"), []string{template("AnalysisTemplate", "a", once)}, []string{path + `"a": ClusterAnalysisTemplate 'a' not found`}},
		"missing nested":  {step("{templates: [{templateName: a}]}"), []string{template("AnalysisTemplate", "a", "{templates: [{templateName: b}, {templateName: c, clusterScope: true}]}"), template("ClusterAnalysisTemplate", "c", once)}, []string{path + `"b": AnalysisTemplate 'b' not found`}},
		"invalid nested": {step("{templates: [{templateName: a, clusterScope: true}]}"), []string{template("ClusterAnalysisTemplate", "a", "{templates: [{templateName: b}]}"), template("AnalysisTemplate", "b", "{metrics: [{name: m, provider: {}}]}")},
			[]string{path + `"b": AnalysisTemplate b: spec.metrics[0].provider: Invalid value: "m": no provider specified`}},
		"two of one name": {step("{templates: [{templateName: a}, {templateName: b}]}"), []string{template("AnalysisTemplate", "a", once), template("AnalysisTemplate", "b", once)}, []string{path + `"templateNames: [a b]": two metrics have the same name 'm'`}},
		"dry run of none": {step("{templates: [{templateName: a}], dryRun: [{metricName: other}]}"), []string{template("AnalysisTemplate", "a", once)}, []string{path + `"templateNames: [a]": dryRun[0]: Rule didn't match any metric name(s)`}},
		"never ends":      {step("{templates: [{templateName: a}]}"), []string{template("AnalysisTemplate", "a", endless)}, []string{path + `"a": AnalysisTemplate a has metric m which runs indefinitely. Invalid value for count: <nil>`}},
		"never ends by 0": {step("{templates: [{templateName: a}], args: [{name: num, value: '0'}]}"), []string{template("AnalysisTemplate", "a", counted)}, []string{path + `"a": AnalysisTemplate a has metric m which runs indefinitely. Invalid value for count: {{args.num}}`}},
		"ends by number":  {step("{templates: [{templateName: a}], args: [{name: num, value: '3'}]}"), []string{template("AnalysisTemplate", "a", counted)}, nil},
		"no argument":     {step("{templates: [{templateName: a}]}"), []string{template("AnalysisTemplate", "a", counted)}, []string{path + `"templateNames: [a]": args.num was not resolved`}},
		"background":      {"canary: {analysis: {templates: [{templateName: a}]}}", []string{template("AnalysisTemplate", "a", endless)}, nil},
		"background without argument": {"canary: {analysis: {templates: [{templateName: a}]}}", []string{template("AnalysisTemplate", "a", counted)},
			[]string{`spec.strategy.canary.analysis.templates: Invalid value: "templateNames: [a]": args.num was not resolved`}},
		"pre promotion": {"blueGreen: {activeService: s, prePromotionAnalysis: {templates: [{templateName: a}]}}", []string{svc("s", ""), template("AnalysisTemplate", "a", endless)},
			[]string{`spec.strategy.blueGreen.prePromotionAnalysis.templates: Invalid value: "a": AnalysisTemplate a has metric m which runs indefinitely`}},
		"fields of the Rollout": {step("{templates: [{templateName: a}], args: [{name: num, valueFrom: {fieldRef: {fieldPath: spec.replicas}}}]}"), []string{template("AnalysisTemplate", "a", counted)}, nil},
	} {
		expect(t, name, References(strategyOf(t, c.strategy), found(t, c.found...)), c.want)
	}
	partial := found(t, template("AnalysisTemplate", "a", "{templates: [{templateName: b}], args: [{name: x}], metrics: [{name: m, provider: {}}]}"))
	partial.Offline = true
	expect(t, "offline", References(strategyOf(t, step("{templates: [{templateName: a}]}")), partial), []string{path + `"a": AnalysisTemplate a: spec.metrics[0].provider`})
}

func TestReferencesLetsRoutersSayWhatStandsInTheirWay(t *testing.T) {
	t.Parallel()
	const p = "spec.strategy.canary.trafficRouting."
	both := []string{svc("s", ""), svc("c", "")}
	ingress := "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i}, spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: s, port: {number: 80}}}}]}}]}}"
	other := "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i}, spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: other, port: {number: 80}}}}]}}]}}"
	for routing, c := range map[string]struct {
		found         []string
		want, offline []string
	}{
		"nginx: {stableIngress: i} ":                          {[]string{ingress}, nil, nil},
		"alb: {ingress: i, servicePort: 80} ":                 {[]string{ingress}, nil, nil},
		"nginx: {stableIngress: i}":                           {nil, []string{p + `nginx: Invalid value: "Nginx": Ingress shop/i: not found`}, nil},
		"nginx: {stableIngresses: [i]}":                       {[]string{other}, []string{p + "nginx: Invalid value: \"Nginx\": ingress `i` has no rules using service s backend"}, []string{p + "nginx"}},
		"alb: {ingress: i, servicePort: 80}":                  {[]string{other}, []string{p + "alb: Invalid value: \"ALB\": Ingress shop/i: ingress `i` has no rules using service s backend"}, []string{p + "alb"}},
		"istio: {virtualService: {name: v}}":                  {nil, []string{p + `istio: Invalid value: "Istio": VirtualService shop/v: not found`}, nil},
		"ambassador: {mappings: [m]}":                         {[]string{"{apiVersion: getambassador.io/v2, kind: Mapping, metadata: {name: m}, spec: {service: s, weight: 3}}"}, nil, nil},
		"traefik: {weightedTraefikServiceName: tr}":           {[]string{"{apiVersion: traefik.io/v1alpha1, kind: TraefikService, metadata: {name: tr}, spec: {weighted: {services: []}}}"}, nil, []string{p + `traefik: Invalid value: "Traefik": TraefikService shop/tr: traefik canary service was not found`}},
		"plugins: {argoproj-labs/gatewayAPI: {httpRoute: h}}": {nil, nil, nil},
	} {
		ro := strategyOf(t, "canary: {stableService: s, canaryService: c, trafficRouting: {"+routing+"}}")
		f := found(t, append(c.found, both...)...)
		expect(t, routing, References(ro, f), c.want)
		f.Offline = true
		expect(t, routing+" offline", References(ro, f), c.offline)
	}
}
