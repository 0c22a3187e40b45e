package play

import (
	"encoding/json"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

func isReady(p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil {
		return false
	}
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == corev1.PodReady {
			return p.Status.Conditions[i].Status == corev1.ConditionTrue
		}
	}
	return false
}

func conditionMessage(p *corev1.Pod, t corev1.PodConditionType) string {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == t && c.Status != corev1.ConditionTrue {
			return strings.Trim(c.Reason+": "+c.Message, ": ")
		}
	}
	return ""
}

func nodeReady(n *corev1.Node) bool {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == corev1.NodeReady {
			return n.Status.Conditions[i].Status == corev1.ConditionTrue
		}
	}
	return false
}

func nodeRecord(o *corev1.Node) record.Node {
	r := record.Node{Name: o.Name, Pool: o.Labels[v1alpha1.LabelNodeGroup], Type: o.Labels[corev1.LabelInstanceTypeStable], Zone: o.Labels[corev1.LabelTopologyZone],
		CapacityType: o.Labels["karpenter.sh/capacity-type"], Requested: o.CreationTimestamp.Time}
	r.CPUCores, r.MemoryBytes = o.Status.Capacity.Cpu().AsApproximateFloat64(), o.Status.Capacity.Memory().AsApproximateFloat64()
	r.AllocatableCPUCores, r.AllocatableMemBytes = o.Status.Allocatable.Cpu().AsApproximateFloat64(), o.Status.Allocatable.Memory().AsApproximateFloat64()
	return r
}

// revisionOf tells a pod's revision by the label its controller gave it.
func revisionOf(p *corev1.Pod) string {
	for _, l := range []string{"rollouts-pod-template-hash", "pod-template-hash", "controller-revision-hash"} {
		if v := p.Labels[l]; v != "" {
			return v
		}
	}
	return ""
}

func fingerprint(t *corev1.PodTemplateSpec) string {
	h := fnv.New64a()
	_ = json.NewEncoder(h).Encode(t) // a hash takes everything
	return strconv.FormatUint(h.Sum64(), 36)
}

// short is namespace/name of a Kind/namespace/name.
func short(object string) string {
	_, rest, ok := strings.Cut(object, "/")
	if !ok {
		return object
	}
	return rest
}

func round(d time.Duration) string {
	if d > time.Minute {
		return d.Round(time.Second).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
