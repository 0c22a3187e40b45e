package rehearse

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairway-dev/fairway/internal/rehearse/model"
)

const web = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: nginx}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer, selector: {app: web}}
`

// directory writes files into a directory of the test.
func directory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// refusal is what keeps a request from being played, by Scenario or by Prepare.
func refusal(q Request) string {
	l, err := Scenario(q)
	if err == nil {
		_, _, err = Prepare(l, false)
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestWhatFlagsGetWrongIsSaidOfTheFlagOrTheLine(t *testing.T) {
	t.Parallel()
	dir := directory(t, map[string]string{
		"k8s/web.yaml":     web,
		"good.csv":         "time,target,rps\n0,shop/web,1\n3600,shop/web,2\n",
		"entrance.csv":     "time,rps\n0,1\n3600,2\n",
		"target.csv":       "time,target,rps\n0,shop/web,1\n0,shop/wbe,2\n",
		"form.csv":         "time,target,rps\n0,shop/web,1\n0,web,2\n",
		"unit.csv":         "time,target,rps\n0,shop/web,1/s\n",
		"kinds/wrong.yaml": "apiVersion: apps/v1\nkind: Deploymnt\nmetadata: {name: a}\n",
	})
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, c := range map[string]struct {
		q    Request
		says []string
	}{
		"nothing":          {Request{LoadCSV: in("good.csv")}, nil},
		"one entrance":     {Request{LoadCSV: in("entrance.csv")}, nil},
		"no such target":   {Request{LoadCSV: in("target.csv")}, []string{"target.csv:3: error: there is no Service, Deployment or Rollout shop/wbe; did you mean shop/web?"}},
		"no target":        {Request{LoadCSV: in("form.csv")}, []string{`form.csv:3: error: target: "web" is not a target`}},
		"a unit":           {Request{LoadCSV: in("unit.csv")}, []string{`unit.csv:2: error: rps is "1/s", which is not a number`}},
		"no such file":     {Request{LoadCSV: in("no.csv")}, []string{"--load: error: ", "no.csv cannot be read"}},
		"no such manifest": {Request{Manifests: []string{in("no")}}, []string{"--manifests: error: ", "no cannot be read: no such file or directory; check the path"}},
		"no such kind":     {Request{Manifests: []string{in("kinds")}}, []string{"kinds/wrong.yaml:1: error: Kubernetes has no kind Deploymnt"}},
		"many": {Request{LoadCSV: in("unit.csv"), Hours: -1, Seeds: -2, Change: in("no.yaml"), At: "25:00", Expect: []string{"x"}, Manifests: []string{in("kinds")}},
			[]string{"--at: error: ", "--expect 1: error: ", "--filename: error: ", "--hours: error: ", "--seeds: error: ", "unit.csv:2: ", "wrong.yaml:1: "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := c.q
			q.Manifests = append(q.Manifests, in("k8s"))
			got := refusal(q)
			if len(c.says) == 0 && got != "" || strings.Count(got, "\n")+1 > max(1, len(c.says)) {
				t.Errorf("said:\n%s", got)
			}
			for _, want := range c.says {
				if !strings.Contains(got, want) {
					t.Errorf("want %q in:\n%s", want, got)
				}
			}
		})
	}
}

func TestFlagsOverAScenarioKeepItsPlacesAndInputs(t *testing.T) {
	t.Parallel()
	dir := directory(t, map[string]string{
		"k8s/web.yaml":  web,
		"r.csv":         "time,rps\n0,1\n3600,2\n",
		"scenario.yaml": "apiVersion: fairway.dev/v1alpha1\nkind: Scenario\nspec:\n  cluster: {manifests: [k8s]}\n  load:\n  - to: shop/web\n    csv: {file: r.csv}\n  expect:\n  - {replicas: {workload: shop/wep, min: 1}}\n",
	})
	want := ":9:27: error: there is no workload shop/wep; did you mean shop/web?"
	if got := refusal(Request{Path: dir, Seeds: 2}); !strings.HasSuffix(got, want) {
		t.Errorf("%s\nwant …%s", got, want)
	}
	l, err := Scenario(Request{Path: dir, Seeds: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Inputs) != 2 || len(l.Scenario.Spec.Seeds) != 2 {
		t.Errorf("inputs %v, seeds %v", l.Inputs, l.Scenario.Spec.Seeds)
	}
}

func TestTheExamplesArePreparedWithoutAWarning(t *testing.T) {
	t.Parallel()
	for _, q := range []Request{{Path: "../../examples/shop"}, {Path: "../../examples/boutique"}, {Path: "../../examples/release"}, {Path: "../../examples/shop", Change: "../../examples/shop/fix.yaml", At: "08:00"}} {
		l, err := Scenario(q)
		if err != nil {
			t.Errorf("%s: %v", q.Path, err)
			continue
		}
		d, warnings, err := Prepare(l, false)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: warnings %q, %v", q.Path, warnings, err)
			continue
		}
		if other, err := d.Baseline(l); err != nil || (other != nil) != (q.Change != "") {
			t.Errorf("%s with change %q: baseline %v, %v", q.Path, q.Change, other != nil, err)
		}
	}
}

func TestWhatOfRolloutsIsNotPlayedIsSaidAtItsPlaceBeforeTheRun(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"k8s/web.yaml": web,
		"k8s/rollout.yaml": "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: api, namespace: shop}\nspec: {strategy: {canary: {trafficRouting: {nginx: {stableIngress: api}}}}}\n" +
			"---\napiVersion: argoproj.io/v1alpha1\nkind: AnalysisTemplate\nmetadata: {name: rate, namespace: shop}\nspec: {metrics: [{name: ok, provider: {prometheus: {query: up}}}]}\n",
		"new.yaml":      "apiVersion: argoproj.io/v1alpha1\nkind: AnalysisTemplate\nmetadata: {name: later, namespace: shop}\nspec: {metrics: [{name: ok, provider: {datadog: {query: up}}}]}\n",
		"scenario.yaml": "apiVersion: fairway.dev/v1alpha1\nkind: Scenario\nspec:\n  cluster: {manifests: [k8s]}\n  load: [{to: shop/web, rate: 1}]\n  steps: [{at: +1h, apply: new.yaml}]\n",
	}
	l, err := Scenario(Request{Path: directory(t, files)})
	if err != nil {
		t.Fatal(err)
	}
	_, warnings, err := Prepare(l, false)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(warnings, "\n")
	for _, want := range []string{`rollout.yaml:6: warning: AnalysisTemplate rate asks Prometheus for its metric "ok": nothing answers it`, `new.yaml:1: warning: AnalysisTemplate later asks Datadog`} {
		if !strings.Contains(all, want) {
			t.Errorf("want %q in:\n%s", want, all)
		}
	}
	if strings.Contains(all, "nginx") {
		t.Errorf("a router's weights change nothing that an expectation says; they belong to the limits:\n%s", all)
	}
	files["k8s/rollout.yaml"] = "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: api, namespace: shop}\nspec: {replicas: many}\n"
	if got := refusal(Request{Path: directory(t, files)}); !strings.Contains(got, "rollout.yaml:1: error: Rollout api cannot be read: ") {
		t.Errorf("said:\n%s", got)
	}
}

// boutiqueSHA256 is release/kubernetes-manifests.yaml of Online Boutique v0.10.6: it must be played as it is published.
const boutiqueSHA256 = "41a4736597543ee562c673c0c0446e2cc4bddf2b816c294690e83b38cfcc66a2"

func TestOnlineBoutiqueIsUneditedAndItsCallsAreFound(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../examples/boutique/manifests.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != boutiqueSHA256 {
		t.Error("the manifests of Online Boutique were changed")
	}
	l, err := Scenario(Request{Path: "../../examples/boutique"})
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := Prepare(l, false)
	if err != nil {
		t.Fatal(err)
	}
	var objects []runtime.Object
	for _, o := range d.Objects {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(o.Object); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, u)
	}
	found := map[string]bool{}
	for _, e := range model.Edges(objects) {
		from, to := strings.TrimPrefix(e.From, "Deployment/default/"), strings.TrimPrefix(e.To, "default/")
		found[from+" "+to] = true
	}
	// As the architecture of the shop has them.
	want := []string{"cartservice redis-cart", "checkoutservice cartservice", "checkoutservice currencyservice", "checkoutservice emailservice",
		"checkoutservice paymentservice", "checkoutservice productcatalogservice", "checkoutservice shippingservice", "frontend adservice",
		"frontend cartservice", "frontend checkoutservice", "frontend currencyservice", "frontend productcatalogservice",
		"frontend recommendationservice", "frontend shippingservice", "recommendationservice productcatalogservice"}
	for _, edge := range want {
		if !found[edge] {
			t.Errorf("the call %s is not found", edge)
		}
		delete(found, edge)
	}
	if g := model.Generators(objects); len(g) != 1 || g[0].Workload != "Deployment/default/loadgenerator" || g[0].To != "default/frontend" {
		t.Errorf("load generators: %+v", g)
	}
	delete(found, "loadgenerator frontend")
	for edge := range found {
		t.Errorf("there is no call %s", edge)
	}
}

func TestAWebhookIsLeftOutWithAWarning(t *testing.T) {
	t.Parallel()
	dir := directory(t, map[string]string{
		"web.yaml": web + "---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: guard}\n",
		"scenario.yaml": `apiVersion: fairway.dev/v1alpha1
kind: Scenario
metadata: {name: s}
spec:
  duration: 1h
  cluster: {manifests: [web.yaml]}
  load: [{name: l, to: shop/web, rate: 1}]
`})
	l, err := Scenario(Request{Path: filepath.Join(dir, "scenario.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	doc, warnings, err := Prepare(l, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "web.yaml:11: warning: ValidatingWebhookConfiguration guard is left out: no program answers") {
		t.Errorf("%q", warnings)
	}
	if len(doc.Objects) != 2 {
		t.Errorf("%d objects are played", len(doc.Objects))
	}
}
