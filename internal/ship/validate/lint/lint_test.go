package lint

import (
	"strings"
	"testing"
)

const good = `
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web:1, resources: {limits: {cpu: 0.5}}}]}
  strategy:
    canary:
      canaryService: canary
      stableService: stable
      trafficRouting: {istio: {virtualService: {name: web}}}
      steps: [{setWeight: 20}, {pause: {duration: 60}}, {analysis: {templates: [{templateName: errors}]}}]
---
# nothing here
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: canary}, spec: {selector: {app: web}}}
- {apiVersion: v1, kind: Service, metadata: {name: stable, namespace: other}, spec: {selector: {app: other}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec: {http: [{route: [{destination: {host: stable}}, {destination: {host: canary}}]}]}
---
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: errors}
spec: {metrics: [{name: m, provider: {web: {url: http://x}}}]}
`

func lint(t *testing.T, texts ...string) []Finding {
	t.Helper()
	var all [][]byte
	for _, text := range texts {
		all = append(all, []byte(text))
	}
	findings, err := Lint(all...)
	if err != nil {
		t.Fatal(err)
	}
	return findings
}

func TestFilesThatAreRightHaveNoFindings(t *testing.T) {
	t.Parallel()
	if got := lint(t, good); len(got) > 0 {
		t.Error(got)
	}
	if got := lint(t, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}"); len(got) > 0 {
		t.Error("another kind is checked", got)
	}
}

func TestEachKindAndWhatTheFilesHaveOfItsReferencesIsChecked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		old, new string
		want     []string
	}{
		"step":              {"setWeight: 20", "setWeight: 200", []string{"Rollout shop/web: spec.strategy.canary.steps[0].setWeight: Invalid value: 200"}},
		"pod template":      {"image: web:1", "image: ''", []string{"Rollout shop/web: spec.template.spec.containers[0].image: Required value"}},
		"unknown field":     {"canaryService: canary", "canaryServices: canary", []string{`Rollout shop/web: unknown field "spec.strategy.canary.canaryServices"`}},
		"service":           {"{name: canary}, spec: {selector: {app: web}}", "{name: canary}, spec: {selector: {app: api}}", []string{`Rollout shop/web: spec.strategy.canary.canaryService: Invalid value: "canary": Service "canary" has unmatch label "app"`}},
		"virtual service":   {"{destination: {host: canary}}", "{destination: {host: else}}", []string{`Rollout shop/web: spec.strategy.canary.trafficRouting.istio: Invalid value: "Istio": VirtualService shop/web: spec.http[0]: the canary Service "canary" is not found in a route`}},
		"template":          {"name: m, provider: {web: {url: http://x}}", "name: m, provider: {}", []string{`Rollout shop/web: spec.strategy.canary.steps[2].analysis.templates: Invalid value: "errors": AnalysisTemplate errors: spec.metrics[0].provider`, "AnalysisTemplate errors: spec.metrics[0].provider: Invalid value"}},
		"the shape of 2019": {"    canary:\n", "    steps: [{setWeight: 5}]\n    canary:\n", []string{"Rollout shop/web: warning: spec.strategy.steps: deprecated since 2019, and without effect"}},
	} {
		if !strings.Contains(good, c.old) {
			t.Fatal(name, "changes nothing")
		}
		got := lint(t, strings.Replace(good, c.old, c.new, 1))
		if len(got) != len(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
			continue
		}
		for i := range got {
			if !strings.HasPrefix(got[i].String(), c.want[i]) {
				t.Errorf("%s: %v, want %v", name, got[i], c.want[i])
			}
		}
	}
}

func TestTheShapeOf2019IsAWarningAndItsStepsAreChecked(t *testing.T) {
	t.Parallel()
	text := strings.Replace(good, "      steps: [{setWeight: 20}", "    steps: [{setWeight: 200}", 1)
	got := lint(t, text)
	if len(got) != 2 || !strings.Contains(got[0].String(), "spec.strategy.canary.steps[0].setWeight: Invalid value: 200") || !got[1].Warning || len(Problems(got)) != 1 {
		t.Error(got)
	}
}

func TestRunsExperimentsAndClusterTemplatesAreCheckedToo(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{
		"AnalysisRun":             "AnalysisRun x: spec.metrics: Required value",
		"ClusterAnalysisTemplate": "ClusterAnalysisTemplate x: spec.metrics: Required value",
		"Experiment":              "Experiment x: spec.templates[0].name: Required value",
	} {
		spec := "{}"
		if kind == "Experiment" {
			spec = "{templates: [{selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}]}"
		}
		got := lint(t, "apiVersion: argoproj.io/v1alpha1\nkind: "+kind+"\nmetadata: {name: x}\nspec: "+spec)
		if len(got) != 1 || !strings.HasPrefix(got[0].String(), want) {
			t.Errorf("%v, want %s", got, want)
		}
	}
}

func TestRoutersObjectsAreFoundInAnyVersionAndBySelectors(t *testing.T) {
	t.Parallel()
	text := strings.Replace(good, "istio: {virtualService: {name: web}}", "plugins: {argoproj-labs/gatewayAPI: {httpRouteSelector: {matchLabels: {app: web}}}}", 1)
	if got := lint(t, text); len(got) > 0 {
		t.Error("what is not in the files is a problem", got)
	}
	text += "---\napiVersion: gateway.networking.k8s.io/v1beta1\nkind: HTTPRoute\nmetadata: {name: r, labels: {app: web}}\nspec: {rules: [{backendRefs: [{name: stable, port: 80}]}]}\n"
	got := lint(t, text)
	if len(got) != 1 || !strings.Contains(got[0].String(), "spec.strategy.canary.trafficRouting.plugins: Invalid value: \"GatewayAPI\": HTTPRoute shop/r: no rule has backendRefs for both") {
		t.Error(got)
	}
}

func TestObjectsOfSeveralFilesAreTakenTogether(t *testing.T) {
	t.Parallel()
	documents := strings.SplitN(good, "---\n", 2)
	got := lint(t, documents[0], strings.Replace(documents[1], "{app: web}", "{app: api}", 1))
	if len(got) != 1 || !strings.Contains(got[0].String(), "unmatch label") {
		t.Error(got)
	}
}

func TestATextThatCannotBeReadIsAnErrorWithItsDocument(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"a: 1\n---\n\t{", "a: 1\n---\na: 1\na: 2", "apiVersion: v1\nkind: Service\n---\n- a list"} {
		if _, err := Lint([]byte(text)); err == nil || !strings.Contains(err.Error(), "document") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestARolloutReadFromAClusterIsAsGoodAsItsFile(t *testing.T) {
	t.Parallel()
	read := strings.Replace(good, "kind: Rollout\n", "kind: Rollout\nstatus: {phase: Healthy, duration: {completionStatus: Promoted}}\n", 1)
	if findings := lint(t, read); len(findings) != 0 {
		t.Errorf("%v", findings)
	}
}
