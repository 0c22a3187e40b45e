package rolloutview

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Pod is what is shown of one.
type Pod struct {
	Name     string
	Created  time.Time
	Status   string // as `kubectl get pods` has it
	Ready    string // containers that are, and how many there are: 1/2
	Restarts int32
}

func pods(owner types.UID, all []corev1.Pod) []Pod {
	var out []Pod
	for i := range all {
		if ownedBy(&all[i], owner) {
			out = append(out, pod(&all[i]))
		}
	}
	slices.SortFunc(out, func(a, b Pod) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name)) })
	return out
}

func pod(p *corev1.Pod) Pod {
	v := Pod{Name: p.Name, Created: p.CreationTimestamp.Time, Status: string(p.Status.Phase)}
	if p.Status.Reason != "" {
		v.Status = p.Status.Reason
	}
	ready := 0
	if initial, restarts, blocked := initializing(p); blocked {
		v.Status, v.Restarts = initial, restarts
	} else {
		ready = v.containers(p)
	}
	if p.DeletionTimestamp != nil {
		v.Status = "Terminating"
		if p.Status.Reason == "NodeLost" { // the node is unreachable: nobody knows
			v.Status = "Unknown"
		}
	}
	v.Ready = fmt.Sprintf("%d/%d", ready, len(p.Spec.Containers))
	return v
}

// containers take the status of the first that has something to say, and count those that are ready.
func (v *Pod) containers(p *corev1.Pod) (ready int) {
	running := false
	for _, c := range slices.Backward(p.Status.ContainerStatuses) {
		v.Restarts += c.RestartCount
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			v.Status = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			v.Status = ended(c.State.Terminated)
		case c.Ready && c.State.Running != nil:
			running = true
			ready++
		}
	}
	if v.Status == "Completed" && running {
		v.Status = string(corev1.PodRunning)
	}
	return ready
}

// initializing is the status of a pod whose init containers are not through. A sidecar that has started is.
func initializing(p *corev1.Pod) (status string, restarts int32, blocked bool) {
	for i, c := range p.Status.InitContainerStatuses {
		restarts += c.RestartCount
		switch t, w := c.State.Terminated, c.State.Waiting; {
		case t != nil && t.ExitCode == 0:
			continue
		case t != nil:
			return "Init:" + ended(t), restarts, true
		case sidecar(p, c.Name) && c.Started != nil && *c.Started:
			if c.Ready {
				continue
			}
			return "", restarts, false
		case w != nil && w.Reason != "" && w.Reason != "PodInitializing":
			return "Init:" + w.Reason, restarts, true
		}
		return fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers)), restarts, true
	}
	return "", restarts, false
}

func sidecar(p *corev1.Pod, container string) bool {
	return slices.ContainsFunc(p.Spec.InitContainers, func(c corev1.Container) bool {
		return c.Name == container && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	})
}

// ended is how a container did.
func ended(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}
