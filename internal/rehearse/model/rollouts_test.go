package model

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

func loose(t testing.TB, text string) []runtime.Object {
	t.Helper()
	var out []runtime.Object
	for _, doc := range strings.Split(text, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		out = append(out, u)
	}
	return out
}

const served = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}`

func TestARolloutIsAWorkloadOfItsService(t *testing.T) {
	t.Parallel()
	const template = `template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: "example/web:1", resources: {requests: {cpu: 500m}}}]}}`
	for name, text := range map[string]string{
		"with a template of its own": `
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web, namespace: shop}
spec: {replicas: 4, ` + template + `}`,
		"with that of a Deployment": `
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web, namespace: shop}
spec: {replicas: 4, workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web-of}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web-of, namespace: shop}
spec: {replicas: 0, ` + template + `}`,
	} {
		s := spec(t, `{load: [{name: a, to: Rollout/shop/web, rate: 40}], services: [{match: shop/web, runtime: go, cpu: 5ms}, {match: shop/web, image: "*:2", errors: 10%}]}`)
		top, err := Build(Input{Scenario: s, Objects: loose(t, text+"\n---"+served), MeanRate: []float64{40}, Start: begin, Seed: 1})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		i, _ := find(t, top, "shop/web")
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Labels: map[string]string{"app": "web"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "registry.example/web:2"}}}}
		if got := top.ServiceOf(pod, "Rollout/shop/web"); got != i || !top.Entries[i].Reached {
			t.Errorf("%s: the pods are of service %d, want %d; reached %t", name, got, i, top.Entries[i].Reached)
		}
		if r := top.RevisionOf(i, pod); r.Errors != .1 {
			t.Errorf("%s: the new image fails %g of its requests", name, r.Errors)
		}
		if p := top.components[i].primary(); p.key() != "Rollout/shop/web" || p.replicas != 4 {
			t.Errorf("%s: the service's workload is %s with %d replicas", name, p.key(), p.replicas)
		}
	}
}

func TestWhatOfARolloutIsNotPlayedIsNamed(t *testing.T) {
	t.Parallel()
	metric := func(provider string) string {
		return `
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: check, namespace: shop}
spec: {metrics: [{name: rate, provider: ` + provider + `}]}`
	}
	for _, c := range []struct {
		text, says string
		fails      bool
	}{
		{metric(`{prometheus: {address: "http://prometheus:9090", query: up}}`), `AnalysisTemplate shop/check asks Prometheus at http://prometheus:9090 for its metric "rate"`, true},
		{metric(`{datadog: {query: x}}`), `asks Datadog for its metric "rate"`, true},
		{metric(`{newRelic: {query: x}}`), `asks New Relic`, true},
		{metric(`{cloudWatch: {metricDataQueries: []}}`), `asks CloudWatch`, true},
		{metric(`{graphite: {address: "http://graphite", query: x}}`), `asks Graphite at http://graphite`, true},
		{metric(`{web: {url: "https://status.example.com/x"}}`), `asks the web page https://status.example.com/x`, true},
		{metric(`{web: {url: "http://web.shop.svc.cluster.local/x"}}`), "", false},
		{metric(`{web: {url: "http://web.shop:8080/x"}}`), "", false},
		{metric(`{web: {url: "http://{{args.host}}/x"}}`), "", false},
		{metric(`{job: {spec: {template: {spec: {containers: []}}}}}`), "", false},
		{metric(`{plugin: {fairway/kube: {metric: restarts}}}`), "", false},
		{metric(`{plugin: {acme/metrics: {}}}`), `asks the plugin acme/metrics`, true},
		{`
apiVersion: argoproj.io/v1alpha1
kind: ClusterAnalysisTemplate
metadata: {name: all}
spec: {metrics: [{name: rate, provider: {prometheus: {query: up}}}]}`, `ClusterAnalysisTemplate all asks Prometheus for its metric "rate"`, true},
		{`
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web, namespace: shop}
spec: {strategy: {canary: {trafficRouting: {istio: {virtualService: {name: web}}, plugins: {acme/router: {}}}}}}`, "Rollout shop/web sends its weights to a traffic router (acme/router, istio)", false},
		{`
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web, namespace: shop}
spec: {strategy: {canary: {steps: [{plugin: {name: acme/step}}]}}}`, "Rollout shop/web has a step by the plugin acme/step (1)", true},
		{`
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web, namespace: shop}
spec: {strategy: {blueGreen: {activeService: web}}}`, "", false},
		{served, "", false},
		{`
apiVersion: fairway.dev/v1alpha1
kind: BackendPolicy
metadata: {name: web, namespace: shop}
spec: {targetRefs: [{name: web}], healthCheck: {active: {path: /healthz}}}`, "BackendPolicy shop/web has endpoints probed", false},
		{`
apiVersion: fairway.dev/v1alpha1
kind: BackendPolicy
metadata: {name: web, namespace: shop}
spec: {targetRefs: [{name: web}], outlierDetection: {}}`, "", false},
	} {
		list := Unplayed(loose(t, c.text)[0])
		if c.says == "" {
			if len(list) != 0 {
				t.Errorf("%s\nsays %+v", c.text, list)
			}
			continue
		}
		if len(list) != 1 || !strings.Contains(list[0].Object+" "+list[0].What, c.says) || list[0].Fails != c.fails || list[0].Why == "" {
			t.Errorf("%s\nsays %+v, want %q", c.text, list, c.says)
		}
	}
}

func TestAMisreadRolloutSaysItsField(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: web}\nspec: {replicas: many}":        "replicas",
		"apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: web}\nspec: {replicas: 3}":           "",
		"apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: web}\nspec: {destination: here}": "", // Argo CD's
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: many}":                  "", // the API server's to say
	} {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		if got := Misread(u); says == "" && got != "" || !strings.Contains(got, says) {
			t.Errorf("%s\nsays %q, want %q", text, got, says)
		}
	}
}

func TestACheckIsReadWithItsDefaultsAndRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Check{
		"service=web": {Service: "web", Requests: 100},
		"service=shop/web requests=200 errors=1%":         {Service: "shop/web", Requests: 200, Errors: .01},
		"service=web route=pay revision=abc errors=0.5":   {Service: "web", Route: "pay", Revision: "abc", Requests: 100, Errors: .5},
		"service={{args.service}} revision={{args.hash}}": {Service: "{{args.service}}", Revision: "{{args.hash}}", Requests: 100},
	} {
		if got, err := ParseCheck(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for text, says := range map[string]string{
		"":                              "does not say whom it asks",
		"service=web request=3":         "did you mean requests?",
		"service=web requests=0":        "not a number from 1",
		"service=web requests=10000000": "not a number from 1",
		"service=web errors=much":       "not a share",
		"service=web errors=200%":       "not a share",
	} {
		if _, err := ParseCheck(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v; want %q", text, err, says)
		}
	}
	for text, says := range map[string]string{"service=web reqs=3": `metric "m": fairway.dev/rehearse-check: "reqs" is not known`, "service=web": ""} {
		o := loose(t, `
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: check}
spec: {metrics: [{name: m, provider: {job: {spec: {template: {metadata: {annotations: {fairway.dev/rehearse-check: "`+text+`"}}, spec: {}}}}}}]}`)[0].(*unstructured.Unstructured)
		if got := MisreadCheck(o); !strings.Contains(got, says) || says == "" && got != "" {
			t.Errorf("%q: %q, want %q", text, got, says)
		}
	}
}
