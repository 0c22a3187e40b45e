package traffic

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write what the translations return into testdata")

// golden is a file of testdata: what a Rollout wants, the objects before, and the objects after.
type golden struct {
	About    string                      `json:"about"`
	Routing  *argo.RolloutTrafficRouting `json:"routing"`
	Intent   Intent                      `json:"intent"`
	Loaded   []goldenLoaded              `json:"loaded,omitempty"`
	Objects  []map[string]any            `json:"objects"`
	Want     []map[string]any            `json:"want,omitempty"`
	Verified *bool                       `json:"verified,omitempty"`
	Message  string                      `json:"message,omitempty"`
	Error    string                      `json:"error,omitempty"`
	Missing  bool                        `json:"missing,omitempty"`
}

type goldenLoaded struct {
	Kind, Name string
	Rule       string `json:"rule,omitempty"`
	Weights    Weights
}

func load(t testing.TB, file string) golden {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := yaml.UnmarshalStrict(b, &g, yaml.DisallowUnknownFields); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	in := &g.Intent
	in.Routing, in.Namespace, in.Name, in.UID = g.Routing, or(in.Namespace, "shop"), or(in.Name, "web"), or(in.UID, "11111111-1111-1111-1111-111111111111")
	return g
}

// world makes Objects, with numbers as the API machinery has them.
func world(t fataler, list []map[string]any) Objects {
	t.Helper()
	objects := Objects{}
	for _, o := range list {
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(b); err != nil {
			t.Fatal(err)
		}
		objects[refOf(u)] = u
	}
	return objects
}

// fataler is what tests and properties have in common.
type fataler interface {
	Helper()
	Fatal(...any)
}

func refOf(u *unstructured.Unstructured) Ref {
	return Ref{GroupVersionKind: u.GroupVersionKind(), Namespace: u.GetNamespace(), Name: u.GetName()}
}

// apply writes changes as the API server would.
func apply(objects Objects, changes []Change) Objects {
	out := Objects{}
	for ref, o := range objects {
		out[ref] = o
	}
	for _, c := range changes {
		if c.After == nil {
			delete(out, refOf(c.Before))
			continue
		}
		b, _ := c.After.MarshalJSON()
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(b); err != nil {
			panic(err)
		}
		out[refOf(u)] = u
	}
	return out
}

func snapshot(objects Objects) Objects {
	out := Objects{}
	for ref, o := range objects {
		out[ref] = o.DeepCopy()
	}
	return out
}

func same(a, b Objects) bool {
	if len(a) != len(b) {
		return false
	}
	for ref, o := range a {
		if b[ref] == nil || !equal(o.Object, b[ref].Object) {
			return false
		}
	}
	return true
}

// translate lets all routers of an intent write one after another.
func translate(in Intent, objects Objects) (Objects, Result, int, error) {
	routers, err := For(in.Namespace, in.Routing)
	if err != nil {
		return objects, Result{}, 0, err
	}
	var last Result
	writes := 0
	after := objects
	for _, r := range routers {
		result, err := r.Translate(in, after)
		if err != nil {
			return objects, Result{}, 0, err
		}
		after = apply(after, result.Changes)
		writes += len(result.Changes)
		last = result
	}
	return after, last, writes, nil
}

func TestTranslationsLeaveTheObjectsOfTestdata(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			checkGolden(t, file)
		})
	}
}

func checkGolden(t *testing.T, file string) {
	g := load(t, file)
	objects := world(t, g.Objects)
	for _, l := range g.Loaded {
		for ref := range objects {
			if ref.Kind == l.Kind && ref.Name == l.Name {
				if g.Intent.Loaded == nil {
					g.Intent.Loaded = map[Ref][]RuleWeights{}
				}
				g.Intent.Loaded[ref] = append(g.Intent.Loaded[ref], RuleWeights{l.Rule, l.Weights})
			}
		}
	}
	before := snapshot(objects)
	after, result, _, err := translate(g.Intent, objects)
	if !same(before, objects) {
		t.Error("the objects given were changed")
	}
	if g.Error != "" {
		if err == nil || !strings.Contains(err.Error(), g.Error) {
			t.Fatalf("error %v, want one with %q", err, g.Error)
		}
		if errors.Is(err, ErrMissing) != g.Missing {
			t.Fatalf("error wraps ErrMissing: %v, want %v", !g.Missing, g.Missing)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		write(t, file, after)
		return
	}
	if want := world(t, g.Want); !same(after, want) {
		t.Errorf("objects after:\n%s\nwant:\n%s", yamlOf(after), yamlOf(want))
	}
	if (result.Verified == nil) != (g.Verified == nil) || result.Verified != nil && *result.Verified != *g.Verified || result.Message != g.Message {
		t.Errorf("verified %v %q, want %v %q", result.Verified, result.Message, g.Verified, g.Message)
	}
	again, _, writes, err := translate(g.Intent, after)
	if err != nil || writes != 0 || !same(again, after) {
		t.Errorf("the second translation writes %d times (%v):\n%s", writes, err, yamlOf(again))
	}
}

func sorted(objects Objects) []map[string]any {
	var refs []Ref
	for ref := range objects {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b Ref) int { return strings.Compare(a.String(), b.String()) })
	var out []map[string]any
	for _, ref := range refs {
		out = append(out, objects[ref].Object)
	}
	return out
}

func yamlOf(objects Objects) string {
	b, _ := yaml.Marshal(sorted(objects))
	return string(b)
}

// write replaces what follows `want:` in a file of testdata.
func write(t *testing.T, file string, after Objects) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(b), "\nwant:\n")
	body, err := yaml.Marshal(sorted(after))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.TrimRight(head, "\n")+"\nwant:\n"+string(body)), 0o644); err != nil {
		t.Fatal(err)
	}
}
