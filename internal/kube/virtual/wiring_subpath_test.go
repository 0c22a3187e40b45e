package virtual_test

import (
	"fmt"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAContainerWaitsWhileItsSubPathLeadsNowhere(t *testing.T) {
	t.Parallel()
	p, ns := cluster(t)
	pods := p.client.CoreV1().Pods(ns)
	annotation := &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.annotations['dir']"}}
	for name, c := range map[string]struct {
		env   v1.EnvVar
		wants string
	}{
		"absolute": {v1.EnvVar{Name: "DIR", Value: "/tmp"}, "must not be an absolute path"},
		"upwards":  {v1.EnvVar{Name: "DIR", Value: ".."}, "must not contain '..'"},
		"unset":    {v1.EnvVar{Name: "DIR", ValueFrom: annotation}, "missing value for DIR"},
		"fine":     {v1.EnvVar{Name: "DIR", Value: "a..b/$(NOT)"}, ""},
	} {
		pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: podTemplate(nil).Spec}
		pod.Spec.Volumes = []v1.Volume{{Name: "work", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}}
		pod.Spec.Containers[0].Env = []v1.EnvVar{c.env}
		pod.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "work", MountPath: "/work", SubPathExpr: "$(DIR)"}}
		if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() string { return subPathState(t, p, ns, name, c.wants) })
	}
	patch := []byte(`{"metadata":{"annotations":{"dir":"here"}}}`)
	if _, err := pods.Patch(t.Context(), "unset", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string { return subPathState(t, p, ns, "unset", "") })
}

// subPathState says what is wrong with a pod that should wait with a message, or run when the message is "".
func subPathState(t *testing.T, p plane, ns, name, wants string) string {
	pod, err := p.client.CoreV1().Pods(ns).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil || len(pod.Status.ContainerStatuses) == 0 {
		return fmt.Sprintf("pod %s has no status, error %v", name, err)
	}
	state := pod.Status.ContainerStatuses[0].State
	waits := state.Waiting != nil && state.Waiting.Reason == "CreateContainerConfigError" && strings.Contains(state.Waiting.Message, wants)
	if wants == "" && state.Running != nil || wants != "" && waits {
		return ""
	}
	return fmt.Sprintf("pod %s is %+v, want %q", name, state, wants)
}
