package kubelet

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
)

// Scripted is a [Logs.Scripted] that shows what the containers' programs write. seed is that of the run.
func Scripted(book *program.Book, seed int64) func(*corev1.Pod, *corev1.Container, int32, time.Time) []LogLine {
	return func(pod *corev1.Pod, c *corev1.Container, restart int32, started time.Time) []LogLine {
		init := slices.ContainsFunc(pod.Spec.InitContainers, func(i corev1.Container) bool { return i.Name == c.Name }) &&
			(c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways)
		choice := book.Explain(program.Question{Pod: pod, Container: c, Init: init, Restart: restart,
			Identity: pod.Namespace + "/" + pod.Name, Seed: seed})
		out := make([]LogLine, len(choice.Logs))
		for i, l := range choice.Logs {
			out[i] = LogLine{At: started.Add(l.At), Text: l.Text, Stderr: l.Stderr}
		}
		return out
	}
}
