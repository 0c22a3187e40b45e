package virtual

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/resource"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
	kubetypes "k8s.io/kubernetes/pkg/kubelet/types"
	"k8s.io/kubernetes/pkg/scheduler"
	schedulerframework "k8s.io/kubernetes/pkg/scheduler/framework"
)

// Reasons of refused pods, as the kubelet's.
const (
	reasonEvicted       = "Evicted"
	reasonOSLabel       = "PodOSSelectorNodeLabelDoesNotMatch"
	reasonOSField       = "PodOSNotSupported"
	reasonTaint         = "TaintToleration"
	reasonNodeShutdown  = "NodeShutdown"
	reasonSysctl        = "SysctlForbidden"
	messageNodeShutdown = "Pod was rejected as the node is shutting down."
	reasonOutOfPrefix   = "OutOf"
)

// ledger is what the pods of a node were granted, in milli-units of CPU and units of everything else.
type ledger struct {
	granted map[types.NamespacedName]v1.ResourceList
	used    map[v1.ResourceName]int64
}

func newLedger() ledger {
	return ledger{granted: map[types.NamespacedName]v1.ResourceList{}, used: map[v1.ResourceName]int64{}}
}

func units(name v1.ResourceName, list v1.ResourceList) int64 {
	q := list[name]
	if name == v1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

// grant books the resources of a pod, in place of what it had.
func (l *ledger) grant(key types.NamespacedName, want v1.ResourceList) {
	l.release(key)
	l.granted[key] = want
	for name := range want {
		l.used[name] += units(name, want)
	}
}

func (l *ledger) release(key types.NamespacedName) {
	for name := range l.granted[key] {
		l.used[name] -= units(name, l.granted[key])
	}
	delete(l.granted, key)
}

// shortage is one resource that a request exceeds.
type shortage struct {
	name                      v1.ResourceName
	requested, used, capacity int64
}

func (s shortage) String() string {
	return fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", s.name, s.requested, s.used, s.capacity)
}

// lacks returns the first resource, by name, of which the node has too little left for want; what key holds already is
// not counted.
func (l *ledger) lacks(key types.NamespacedName, want, allocatable v1.ResourceList) (shortage, bool) {
	pods := int64(len(l.granted))
	if _, in := l.granted[key]; in {
		pods--
	}
	if limit, ok := allocatable[v1.ResourcePods]; ok && pods+1 > limit.Value() {
		return shortage{v1.ResourcePods, 1, pods, limit.Value()}, true
	}
	var short []shortage
	for name := range want {
		if _, known := allocatable[name]; !known && name != v1.ResourceCPU && name != v1.ResourceMemory {
			continue // a cluster-level extended resource
		}
		requested, used, capacity := units(name, want), l.used[name]-units(name, l.granted[key]), units(name, allocatable)
		if requested > 0 && used+requested > capacity {
			short = append(short, shortage{name, requested, used, capacity})
		}
	}
	if len(short) == 0 {
		return shortage{}, false
	}
	return slices.MinFunc(short, func(a, b shortage) int {
		if a.name < b.name {
			return -1
		}
		return 1
	}), true
}

// podRequests is what the scheduler counts of a pod.
func podRequests(pod *v1.Pod) v1.ResourceList {
	return resource.PodRequests(pod, resource.PodResourcesOptions{})
}

// Admit implements Surroundings: the kubelet's checks, in its order. Pods the scheduler placed pass by the ledger alone;
// the scheduler's own filters are asked for those that do not fit or that name nodes or host ports.
func (a around) Admit(pod *v1.Pod) (reason, message string, refused bool) {
	n := a.r.node
	if n.obj == nil {
		return "", "", false
	}
	if n.shuttingDown {
		return reasonNodeShutdown, messageNodeShutdown, true
	}
	if reason, message := n.pressureRefuses(pod); reason != "" {
		return reason, message, true
	}
	if os, ok := pod.Labels[v1.LabelOSStable]; ok && os != "linux" {
		return reasonOSLabel, "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label", true
	}
	if pod.Spec.OS != nil && pod.Spec.OS.Name != v1.Linux {
		return reasonOSField, "Failed to admit pod as the OS field doesn't match node OS", true
	}
	want := podRequests(pod)
	_, short := n.ledger.lacks(a.r.key, want, n.obj.Status.Allocatable)
	if short || picky(pod) {
		if reason, message := a.filters(pod); reason != "" {
			return reason, message, true
		}
	}
	for i := range n.obj.Spec.Taints {
		t := &n.obj.Spec.Taints[i]
		if t.Effect == v1.TaintEffectNoExecute && !corev1helpers.TolerationsTolerateTaint(klog.Background(), pod.Spec.Tolerations, t, true) {
			return reasonTaint, "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate", true
		}
	}
	if name := unknownSysctl(pod); name != "" {
		return reasonSysctl, fmt.Sprintf("forbidden sysctl: %q not allowlisted", name), true
	}
	n.ledger.grant(a.r.key, want)
	return "", "", false
}

// picky reports whether a pod asks for more than resources.
func picky(pod *v1.Pod) bool {
	if len(pod.Spec.NodeSelector) > 0 || pod.Spec.Affinity != nil && pod.Spec.Affinity.NodeAffinity != nil {
		return true
	}
	for i := range pod.Spec.Containers {
		for j := range pod.Spec.Containers[i].Ports {
			if pod.Spec.Containers[i].Ports[j].HostPort > 0 {
				return true
			}
		}
	}
	return false
}

// filters runs the scheduler's filters as the kubelet does and returns the first failure.
func (a around) filters(pod *v1.Pod) (reason, message string) {
	var others []*v1.Pod
	for _, r := range a.r.node.sortedRecords() {
		if r != a.r && r.state != nil && !r.state.Admitted.IsZero() && r.state.Ended.IsZero() {
			others = append(others, r.obj)
		}
	}
	info := schedulerframework.NewNodeInfo(others...)
	info.SetNode(a.r.node.obj)
	if failures := scheduler.AdmissionCheck(withoutUnknown(pod, a.r.node.obj), info, true); len(failures) > 0 {
		f := failures[0]
		if r := f.InsufficientResource; r != nil {
			s := shortage{r.ResourceName, r.Requested, r.Used, r.Capacity}
			return reasonOutOfPrefix + string(r.ResourceName), s.String()
		}
		return f.Name, "Predicate " + f.Name + " failed: " + f.Reason
	}
	return "", ""
}

// withoutUnknown drops requests of extended resources the node does not know: they are cluster-level ones.
func withoutUnknown(pod *v1.Pod, node *v1.Node) *v1.Pod {
	known := func(list v1.ResourceList) bool {
		for name := range list {
			if _, ok := node.Status.Allocatable[name]; !ok && name != v1.ResourceCPU && name != v1.ResourceMemory && name != v1.ResourceEphemeralStorage {
				return false
			}
		}
		return true
	}
	clean := true
	for i := range pod.Spec.Containers {
		clean = clean && known(pod.Spec.Containers[i].Resources.Requests)
	}
	if clean {
		return pod
	}
	copied := pod.DeepCopy()
	for i := range copied.Spec.Containers {
		list := copied.Spec.Containers[i].Resources.Requests
		for name := range list {
			if _, ok := node.Status.Allocatable[name]; !ok && name != v1.ResourceCPU && name != v1.ResourceMemory && name != v1.ResourceEphemeralStorage {
				delete(list, name)
			}
		}
	}
	return copied
}

// safeSysctls are those a kubelet allows without being told to.
var safeSysctls = []string{"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
	"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}

func unknownSysctl(pod *v1.Pod) string {
	if pod.Spec.SecurityContext == nil {
		return ""
	}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		if !slices.Contains(safeSysctls, s.Name) {
			return s.Name
		}
	}
	return ""
}

// pressureRefuses is the eviction manager's part of admission.
func (n *nodeRecord) pressureRefuses(pod *v1.Pod) (reason, message string) {
	var conditions []v1.NodeConditionType
	if n.health.MemoryPressure {
		conditions = append(conditions, v1.NodeMemoryPressure)
	}
	if n.health.DiskPressure {
		conditions = append(conditions, v1.NodeDiskPressure)
	}
	if n.health.PIDPressure {
		conditions = append(conditions, v1.NodePIDPressure)
	}
	if len(conditions) == 0 || kubetypes.IsCriticalPod(pod) {
		return "", ""
	}
	if len(conditions) == 1 && n.health.MemoryPressure {
		taint := &v1.Taint{Key: v1.TaintNodeMemoryPressure, Effect: v1.TaintEffectNoSchedule}
		if qosClass(pod) != v1.PodQOSBestEffort || corev1helpers.TolerationsTolerateTaint(klog.Background(), pod.Spec.Tolerations, taint, true) {
			return "", ""
		}
	}
	return reasonEvicted, fmt.Sprintf("The node had condition: %v. ", conditions)
}
