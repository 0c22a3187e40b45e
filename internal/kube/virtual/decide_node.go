package virtual

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
	baseversion "k8s.io/component-base/version"
	nodefeatures "k8s.io/component-helpers/nodedeclaredfeatures"

	_ "github.com/fairway-dev/fairway/internal/kube/kubeversion" // tells Kubernetes' packages their version
)

// Labels and annotations of nodes that are ours.
const (
	LabelVirtual   = "fairway.dev/virtual"
	LabelNodeGroup = "fairway.dev/node-group"
	labelCapacity  = "karpenter.sh/capacity-type"
	// AnnotationKWOK marks nodes that KWOK would drive; we drive them too, whatever its value.
	AnnotationKWOK = "kwok.x-k8s.io/node"
	annotationCMAD = "volumes.kubernetes.io/controller-managed-attach-detach"
	kubeletPort    = 10250
)

func linkedKubernetesVersion() string { return baseversion.Get().GitVersion }

// gates lets the feature discovery library read this process's feature gates.
type gates struct{ featuregate.FeatureGate }

func (g gates) Enabled(name string) bool { return g.FeatureGate.Enabled(featuregate.Feature(name)) }

// webSocketFeature must not be declared: our kubelet endpoint speaks SPDY, and the API server translates only for nodes
// that do not declare it.
const webSocketFeature = "ExtendWebSocketsToKubelet"

// declaredFeatures are the features a kubelet of this version with this process's gates declares.
func declaredFeatures(kubeletVersion string) ([]string, error) {
	v, err := version.ParseSemantic(kubeletVersion)
	if err != nil {
		return nil, fmt.Errorf("virtual: kubelet version %q: %w", kubeletVersion, err)
	}
	found := nodefeatures.DefaultFramework.DiscoverNodeFeatures(&nodefeatures.NodeConfiguration{
		FeatureGates:    gates{utilfeature.DefaultFeatureGate},
		Version:         v,
		RuntimeFeatures: nodefeatures.RuntimeFeatures{UserNamespacesHostNetwork: true},
	})
	return slices.DeleteFunc(found, func(f string) bool { return f == webSocketFeature }), nil
}

// nodeObject is the Node a kubelet and its cloud would register for the index-th address range.
func nodeObject(g *NodeGroup, name, zone string, index, boot int, seed int64, version string, features []string, now time.Time) *v1.Node {
	labels := map[string]string{
		v1.LabelHostname: name, v1.LabelOSStable: "linux", v1.LabelArchStable: g.arch,
		"beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": g.arch,
		v1.LabelTopologyRegion: g.Region, v1.LabelTopologyZone: zone,
		labelCapacity: g.CapacityType, LabelNodeGroup: g.Name, LabelVirtual: "true",
	}
	if g.InstanceType != "" {
		labels[v1.LabelInstanceTypeStable] = g.InstanceType
	}
	for k, v := range g.Labels {
		labels[k] = v
	}
	annotations := map[string]string{annotationCMAD: "true"}
	for k, v := range g.Annotations {
		annotations[k] = v
	}
	cidr := podPrefix(index).String()
	n := &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: annotations},
		Spec: v1.NodeSpec{
			ProviderID: "virtual:///" + zone + "/i-" + hexID(seed, 17, "instance", name),
			PodCIDR:    cidr, PodCIDRs: []string{cidr},
			Taints: append([]v1.Taint(nil), g.Taints...),
		},
		Status: v1.NodeStatus{
			Capacity: g.Capacity, Allocatable: g.allocatable(),
			Addresses: []v1.NodeAddress{
				{Type: v1.NodeInternalIP, Address: nodeAddress(index)},
				{Type: v1.NodeHostName, Address: name},
			},
			DaemonEndpoints:  v1.NodeDaemonEndpoints{KubeletEndpoint: v1.DaemonEndpoint{Port: kubeletPort}},
			NodeInfo:         systemInfo(name, g.arch, boot, seed, version),
			Features:         &v1.NodeFeatures{SupplementalGroupsPolicy: boolPtr(true)},
			RuntimeHandlers:  []v1.NodeRuntimeHandler{{Name: "", Features: &v1.NodeRuntimeHandlerFeatures{RecursiveReadOnlyMounts: boolPtr(true), UserNamespaces: boolPtr(true)}}},
			DeclaredFeatures: features,
		},
	}
	if g.Listens {
		_, host, _ := strings.Cut(nodeAddress(index), ".")
		n.Status.Addresses = append(n.Status.Addresses, v1.NodeAddress{Type: v1.NodeExternalIP, Address: "127." + host})
	}
	ready := g.ReadyDelay <= 0
	if !ready && g.RegisterUninitialized {
		n.Spec.Taints = append(n.Spec.Taints, v1.Taint{Key: "node.cloudprovider.kubernetes.io/uninitialized", Value: "true", Effect: v1.TaintEffectNoSchedule})
	}
	n.Status.Conditions = nodeConditions(nil, nodeHealth{Ready: ready, Message: "node is starting"}, now)
	return n
}

func boolPtr(b bool) *bool { return &b }

func systemInfo(name, arch string, boot int, seed int64, version string) v1.NodeSystemInfo {
	return v1.NodeSystemInfo{
		MachineID: hexID(seed, 32, "machine", name), SystemUUID: uuidOf(hexID(seed, 32, "system", name)),
		BootID:        uuidOf(hexID(seed, 32, "boot", name, strconv.Itoa(boot))),
		KernelVersion: "6.12.0-virtual", OSImage: "Fairway virtual node", ContainerRuntimeVersion: "containerd://2.2.0",
		KubeletVersion: version, OperatingSystem: "linux", Architecture: arch,
	}
}

func uuidOf(hex string) string {
	return hex[:8] + "-" + hex[8:12] + "-" + hex[12:16] + "-" + hex[16:20] + "-" + hex[20:]
}

// nodeHealth is what the node's conditions express.
type nodeHealth struct {
	Ready          bool
	Message        string // why not ready
	MemoryPressure bool
	DiskPressure   bool
	PIDPressure    bool
}

// nodeConditions are the four a kubelet reports, in its order, with its reasons; others' conditions are kept in front.
func nodeConditions(old []v1.NodeCondition, h nodeHealth, now time.Time) []v1.NodeCondition {
	at := metav1.NewTime(now.Truncate(time.Second))
	status := func(b bool) v1.ConditionStatus {
		if b {
			return v1.ConditionTrue
		}
		return v1.ConditionFalse
	}
	pick := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	ready := v1.NodeCondition{Type: v1.NodeReady, Status: status(h.Ready), Reason: "KubeletReady", Message: "kubelet is posting ready status"}
	if !h.Ready {
		ready.Reason, ready.Message = "KubeletNotReady", h.Message
	}
	own := []v1.NodeCondition{
		{Type: v1.NodeMemoryPressure, Status: status(h.MemoryPressure),
			Reason:  pick(h.MemoryPressure, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory"),
			Message: pick(h.MemoryPressure, "kubelet has insufficient memory available", "kubelet has sufficient memory available")},
		{Type: v1.NodeDiskPressure, Status: status(h.DiskPressure),
			Reason:  pick(h.DiskPressure, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure"),
			Message: pick(h.DiskPressure, "kubelet has disk pressure", "kubelet has no disk pressure")},
		{Type: v1.NodePIDPressure, Status: status(h.PIDPressure),
			Reason:  pick(h.PIDPressure, "KubeletHasInsufficientPID", "KubeletHasSufficientPID"),
			Message: pick(h.PIDPressure, "kubelet has insufficient PID available", "kubelet has sufficient PID available")},
		ready,
	}
	out := make([]v1.NodeCondition, 0, len(old)+len(own))
	for i := range old {
		switch old[i].Type {
		case v1.NodeMemoryPressure, v1.NodeDiskPressure, v1.NodePIDPressure, v1.NodeReady:
		default:
			out = append(out, old[i])
		}
	}
	for _, c := range own {
		c.LastHeartbeatTime, c.LastTransitionTime = at, at
		for i := range old {
			if old[i].Type == c.Type && old[i].Status == c.Status {
				c.LastTransitionTime = old[i].LastTransitionTime
			}
		}
		out = append(out, c)
	}
	return out
}
