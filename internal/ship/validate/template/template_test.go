package template

import (
	"strings"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/rollouts"
)

const good = `
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: web:1, ports: [{containerPort: 80}]}]
`

func rollout(t *testing.T, text string) *rollouts.Rollout {
	t.Helper()
	ro := &rollouts.Rollout{}
	if err := yaml.Unmarshal([]byte(text), ro); err != nil {
		t.Fatal(err)
	}
	return ro
}

func TestTemplatesAreCheckedByKubernetesRulesWithItsDefaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*rollouts.Rollout)
		want   []string
	}{
		"good":              {func(*rollouts.Rollout) {}, nil},
		"other labels":      {func(ro *rollouts.Rollout) { ro.Spec.Template.Labels["app"] = "api" }, []string{"spec.template.metadata.labels: Invalid value: {\"app\":\"api\"}: `selector` does not match template `labels`"}},
		"no image":          {func(ro *rollouts.Rollout) { ro.Spec.Template.Spec.Containers[0].Image = "" }, []string{"spec.template.spec.containers[0].image: Required value"}},
		"no containers":     {func(ro *rollouts.Rollout) { ro.Spec.Template.Spec.Containers = nil }, []string{"spec.template.spec.containers: Required value"}},
		"restart policy":    {func(ro *rollouts.Rollout) { ro.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever }, []string{`spec.template.spec.restartPolicy: Unsupported value: "Never"`}},
		"two ports, 2 wide": {func(ro *rollouts.Rollout) { ro.Spec.Template.Spec.Containers[0].Ports[0].ContainerPort = 70000 }, []string{"spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 70000"}},
		"privileged": {func(ro *rollouts.Rollout) {
			yes := true
			ro.Spec.Template.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
		}, nil},
		"still to be read": {func(ro *rollouts.Rollout) {
			ro.Spec.WorkloadRef, ro.Spec.Template = &argo.ObjectRef{}, corev1.PodTemplateSpec{}
		}, nil},
		"resolved": {func(ro *rollouts.Rollout) {
			ro.Spec.WorkloadRef = &argo.ObjectRef{}
			ro.Spec.SetResolvedTemplate(corev1.PodTemplateSpec{})
		}, []string{"spec.template.metadata.labels", "spec.template.spec.containers: Required value"}},
		"selector unreadable": {func(ro *rollouts.Rollout) { ro.Spec.Selector = nil }, nil},
	} {
		ro := rollout(t, good)
		c.change(ro)
		got := Rollout(ro)
		if len(got) != len(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i].String(), c.want[i]) {
				t.Errorf("%s: %v, want %v", name, got[i], c.want[i])
			}
		}
	}
}

func TestTheTemplatesOfAnExperimentAreCheckedEach(t *testing.T) {
	t.Parallel()
	e := &argo.Experiment{}
	ro := rollout(t, good)
	e.Spec.Templates = []argo.TemplateSpec{{Selector: ro.Spec.Selector, Template: ro.Spec.Template}, {Selector: ro.Spec.Selector, Template: *ro.Spec.Template.DeepCopy()}}
	e.Spec.Templates[1].Template.Spec.Containers[0].Name = "Web"
	got := Experiment(e)
	if len(got) != 1 || !strings.HasPrefix(got[0].Field, "spec.templates[1].template.spec.containers[0].name") {
		t.Error(got)
	}
}
