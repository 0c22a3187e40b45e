package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func write(t *testing.T, files map[string]string) string {
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

func object(kind, name string) string {
	return "apiVersion: v1\nkind: " + kind + "\nmetadata: {name: " + name + ", namespace: shop}\n"
}

func names(objects []Object) string {
	var all []string
	for _, o := range objects {
		all = append(all, o.String())
	}
	return strings.Join(all, " ")
}

func TestADirectoryIsReadByNameWithPlaces(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"k8s/b.yaml":           "# a comment\n---\n" + object("Service", "b") + "---\n\n# only this\n---\n" + object("Service", "c"),
		"k8s/a/z.yml":          object("ConfigMap", "z"),
		"k8s/c.json":           `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"j"}}` + "\n" + `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"k"}}`,
		"k8s/readme.md":        "no manifest",
		"k8s/.git/config.yaml": "no manifest",
	})
	objects, problems := Read(dir, "k8s")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := "ConfigMap/shop/z (k8s/a/z.yml:1) Service/shop/b (k8s/b.yaml:3) Service/shop/c (k8s/b.yaml:10) ConfigMap/j (k8s/c.json:1) ConfigMap/k (k8s/c.json:2)"
	if got := names(objects); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestListsAreExpanded(t *testing.T) {
	t.Parallel()
	list := "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a}}\n- {apiVersion: v1, kind: Service, metadata: {name: b}}\n" +
		"---\napiVersion: apps/v1\nkind: DeploymentList\nitems: [{metadata: {name: c}}]\n"
	objects, problems := Parse([]byte(list), "l.yaml")
	if len(problems) > 0 || names(objects) != "Service/a (l.yaml:1) Service/b (l.yaml:1) Deployment/c (l.yaml:7)" {
		t.Errorf("%s, %v", names(objects), problems)
	}
}

func TestWhatCannotBeReadIsNamedAtItsLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ file, text, want string }{
		{"a.yaml", "---\n" + object("Service", "a") + "---\nkind: X\n", "a.yaml:6: this is not an object of Kubernetes: apiVersion is missing"},
		{"a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {}\n", "a.yaml:1: a Service has no name"},
		{"a.yaml", object("Service", "a") + "---\napiVersion: v1\nkind: Service\nkind: Pod\n", `a.yaml:7: this is not YAML: key "kind" already set`},
		{"a.yaml", "apiVersion: v1\nkind: [\n", "a.yaml:"},
		{"a.yaml", "- 1\n- 2\n", "a.yaml:1: this is not an object of Kubernetes but a text or a list"},
		{"a.json", "{\n \"kind\": }\n", "a.json:2: this is not JSON"},
	} {
		_, problems := Parse([]byte(c.text), c.file)
		if len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), c.want) {
			t.Errorf("%q: %v; want %s", c.text, problems, c.want)
		}
	}
}

func TestAKustomizationIsBuilt(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"prod/kustomization.yaml": "resources: [../base]\nnamePrefix: prod-\nnamespace: shop\nreplicas: [{name: web, count: 5}]\n",
		"base/kustomization.yaml": "resources: [web.yaml]\n",
		"base/web.yaml":           "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 1, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}\n",
	})
	objects, problems := Read(dir, "prod")
	if len(problems) > 0 || names(objects) != "Deployment/shop/prod-web (prod/kustomization.yaml:1)" {
		t.Fatalf("%s, %v", names(objects), problems)
	}
	if spec := objects[0].Object.Object["spec"].(map[string]any); spec["replicas"] != int64(5) {
		t.Errorf("replicas %v", spec["replicas"])
	}
}

func TestNothingIsFetchedAndChartsAreRefused(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"remote/kustomization.yaml": "resources:\n- https://github.com/x/y//z?ref=v1\n",
		"deep/kustomization.yaml":   "resources: [base]\n", "deep/base/kustomization.yaml": "resources: [github.com/x/y]\n",
		"helm/kustomization.yaml":       "helmCharts: [{name: x}]\n",
		"chart/Chart.yaml":              "name: x\n",
		"chart/templates/a.yaml":        "{{ .Values.x }}\n",
		"mixed/a.yaml":                  object("Service", "a"),
		"mixed/over/kustomization.yaml": "resources: []\n",
		"missing/kustomization.yaml":    "resources: [nothing.yaml]\n",
		"empty/notes.txt":               "",
	})
	for path, want := range map[string]string{
		"remote":  "remote/kustomization.yaml:2: \"https://github.com/x/y//z?ref=v1\" lies elsewhere, and nothing is fetched",
		"deep":    "deep/base/kustomization.yaml:1: \"github.com/x/y\" lies elsewhere",
		"helm":    "helm/kustomization.yaml:1: helmCharts in a kustomization is not built yet",
		"chart":   "chart/Chart.yaml:1: reading a Helm chart is not built yet",
		"mixed":   "mixed/over/kustomization.yaml:1: a kustomization lies inside a directory of plain manifests",
		"missing": "missing/kustomization.yaml:1: \"nothing.yaml\" cannot be read",
		"empty":   "empty: holds no manifests",
		"absent":  "absent: cannot be read: no such file or directory",
	} {
		_, problems := Read(dir, path)
		if len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), want) {
			t.Errorf("%s: %v; want %s", path, problems, want)
		}
	}
}

func TestInstallOrderPutsWhatOthersNeedFirstAndKeepsTheRest(t *testing.T) {
	t.Parallel()
	kinds := []string{"Deployment", "Namespace", "Widget", "CustomResourceDefinition", "ValidatingWebhookConfiguration", "Service", "ServiceAccount", "ConfigMap"}
	rapid.Check(t, func(r *rapid.T) {
		var text strings.Builder
		for i, kind := range rapid.SliceOfN(rapid.SampledFrom(kinds), 1, 20).Draw(r, "kinds") {
			text.WriteString("---\n" + object(kind, "n"+string(rune('a'+i))))
		}
		objects, _ := Parse([]byte(text.String()), "o.yaml")
		InstallOrder(objects)
		for i := 1; i < len(objects); i++ {
			a, b := objects[i-1], objects[i]
			if place(a.Object.GetKind()) > place(b.Object.GetKind()) || a.Object.GetKind() == b.Object.GetKind() && a.Line > b.Line {
				r.Fatalf("%s before %s", a, b)
			}
		}
	})
}
