package program

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
)

func TestTheTerminationMessageIsThatOfItsFileOrElseTheEndOfTheLogOfAFailedContainer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script string
		policy corev1.TerminationMessagePolicy
		want   string
	}{
		"failed":           {"/bin/echo -n DONE; /bin/false", corev1.TerminationMessageFallbackToLogsOnError, "DONE"},
		"two lines":        {"echo a; echo b >&2; exit 3", corev1.TerminationMessageFallbackToLogsOnError, "a\nb"},
		"succeeded":        {"echo DONE", corev1.TerminationMessageFallbackToLogsOnError, ""},
		"from a file":      {"echo DONE; exit 1", corev1.TerminationMessageReadFile, ""},
		"in the file":      {"echo -n DONE > /dev/termination-log", corev1.TerminationMessageReadFile, "DONE"},
		"lines added":      {"echo a >/dev/termination-log; sh -c 'echo b >>/dev/termination-log'", corev1.TerminationMessageReadFile, "a\nb\n"},
		"written again":    {"echo a >/dev/termination-log; echo -n b >/dev/termination-log; exit 1", corev1.TerminationMessageReadFile, "b"},
		"another file":     {"echo -n DONE > /tmp/log; exit 1", corev1.TerminationMessageReadFile, ""},
		"file before log":  {"echo -n OK > /dev/termination-log; echo DONE; false", corev1.TerminationMessageFallbackToLogsOnError, "OK"},
		"longer than 4 KB": {"echo -n " + strings.Repeat("x", 5000) + ">/dev/termination-log", corev1.TerminationMessageReadFile, strings.Repeat("x", 4096)},
		"longer than 2 KB": {"echo " + strings.Repeat("x", 3000) + "; exit 1", corev1.TerminationMessageFallbackToLogsOnError, strings.Repeat("x", 2048)},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{
			Name: "c", Image: "busybox", Command: []string{"sh", "-c", c.script}, TerminationMessagePolicy: c.policy}}}}
		m := NewBook(&Rules{}).Choose(virtual.Choice{Pod: pod, Container: &pod.Spec.Containers[0], Identity: "x"})
		if m.Message != c.want {
			t.Errorf("%s: the message is %q, want %q", name, m.Message, c.want)
		}
	}
}

func TestLogsGeneratorNamesEveryNamespaceAndBeginsAtOnce(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.k8s.io/e2e-test-images/agnhost:2.63.0",
		Args: []string{"logs-generator", "--log-lines-total", "100", "--run-duration", "20s"}}}}}
	c := Choose(Question{Pod: pod, Container: &pod.Spec.Containers[0]}, &Rules{})
	var text strings.Builder
	for _, l := range c.Logs {
		text.WriteString(l.Text + "\n")
	}
	if len(c.Logs) != 100 || c.Logs[0].At != 0 || c.Logs[99].At >= c.RunsFor || !strings.Contains(text.String(), "/api/v1/namespaces/kube-system") {
		t.Errorf("%d lines from %v to %v of %v:\n%s", len(c.Logs), c.Logs[0].At, c.Logs[99].At, c.RunsFor, text.String())
	}
}
