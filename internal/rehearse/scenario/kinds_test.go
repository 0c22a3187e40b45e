package scenario

import (
	"testing"

	"github.com/fairway-dev/fairway/internal/rehearse/manifest"
)

func TestAKindThatKubernetesDoesNotHaveIsRefusedWithItsPlace(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"apiVersion: apps/v1\nkind: Deploymnt\nmetadata: {name: a}":                                "m.yaml:1: Kubernetes has no kind Deploymnt in apps/v1; did you mean Deployment?",
		"apiVersion: extensions/v1beta1\nkind: StatefulSet\nmetadata: {name: a}":                   "m.yaml:1: Kubernetes has no kind StatefulSet in extensions/v1beta1; ",
		"apiVersion: v1\nkind: Deployment\nmetadata: {name: a}":                                    "m.yaml:1: Kubernetes has no kind Deployment in v1; ",
		"apiVersion: apps/v3\nkind: Deployment\nmetadata: {name: a}":                               "m.yaml:1: Kubernetes has no kind Deployment in apps/v3; write apiVersion: apps/v1",
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}":                               "",
		"apiVersion: argoproj.io/v1alpha1\nkind: Rolout\nmetadata: {name: not ours to know}":       "",
		"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}":           "",
		"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a}": "",
	} {
		objects, problems := manifest.Parse([]byte(text), "m.yaml")
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		got := ""
		for _, err := range UnknownKinds(objects) {
			got += err.Error()
		}
		if len(got) < len(want) || got[:len(want)] != want || want == "" && got != "" {
			t.Errorf("%s\n got %q\nwant %q", text, got, want)
		}
	}
}
