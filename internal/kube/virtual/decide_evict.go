package virtual

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	kubetypes "k8s.io/kubernetes/pkg/kubelet/types"
)

// PodUse is what one pod uses of a resource, beside what it asked for.
type PodUse struct {
	Pod        *v1.Pod
	Use        int64
	Request    int64
	Containers []ContainerUse
}

// ContainerUse is one container's part of PodUse.
type ContainerUse struct {
	Name         string
	Use, Request int64
}

// Rank orders pods for eviction, first victim first, as the kubelet's eviction manager does: those above their request
// before the others, lower priority first, larger excess over the request first. Critical pods are left out. Ties go by
// name, so that the order never depends on chance.
func Rank(pods []PodUse) []PodUse {
	out := slices.DeleteFunc(slices.Clone(pods), func(p PodUse) bool { return kubetypes.IsCriticalPod(p.Pod) })
	slices.SortFunc(out, func(a, b PodUse) int {
		above := func(p PodUse) int {
			if p.Use > p.Request {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(above(a), above(b)), cmp.Compare(priorityOf(a.Pod), priorityOf(b.Pod)),
			cmp.Compare(b.Use-b.Request, a.Use-a.Request), cmp.Compare(a.Pod.Namespace, b.Pod.Namespace), cmp.Compare(a.Pod.Name, b.Pod.Name))
	})
	return out
}

// evictionMessage words the reason of an eviction as the kubelet does.
func evictionMessage(r v1.ResourceName, threshold, available int64, victim PodUse) string {
	q := func(n int64) string { return resource.NewQuantity(n, resource.BinarySI).String() }
	text := fmt.Sprintf("The node was low on resource: %v. Threshold quantity: %v, available: %v. ", r, q(threshold), q(available))
	for _, c := range victim.Containers {
		if c.Use > c.Request {
			text += fmt.Sprintf("Container %s was using %s, request is %s, has larger consumption of %v. ", c.Name, q(c.Use), q(c.Request), r)
		}
	}
	return text
}

// Pressure is the state of one eviction signal of a node.
type Pressure struct {
	On    bool
	Until time.Time // the condition stays at least until then
}

const (
	// evictionPeriod is how often the kubelet looks while a signal is near its threshold.
	evictionPeriod = 10 * time.Second
	// pressureHold is the kubelet's evictionPressureTransitionPeriod.
	pressureHold = 5 * time.Minute
	// nearFactor: a signal is near when less than this many times its threshold is free.
	nearFactor = 3
)

// observe takes up a reading; it reports whether the condition changed.
func (p *Pressure) observe(low bool, now time.Time) (changed bool) {
	if low {
		p.Until = now.Add(pressureHold)
		changed, p.On = !p.On, true
		return changed
	}
	if p.On && !now.Before(p.Until) {
		p.On = false
		return true
	}
	return false
}
