package virtual

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/fairway-dev/fairway/internal/kube/catalog"
)

// NodeGroup is a set of identical nodes, held at a size as a cloud's instance group holds it.
type NodeGroup struct {
	Name         string   // required; nodes are called NAME-000, NAME-001, …
	Size         int      // instances wanted
	InstanceType string   // of the instance catalogue; sets Capacity unless given. Empty: 8 CPU, 32Gi, 100Gi disk
	Zones        []string // default zone-a; instances are spread evenly
	Region       string   // default virtual-1
	CapacityType string   // on-demand (default) or spot
	PricePerHour float64  // US dollars; default: the catalogue's

	Labels      map[string]string
	Annotations map[string]string
	Taints      []v1.Taint

	Capacity       v1.ResourceList // overrides the instance type's
	KubeReserved   v1.ResourceList
	SystemReserved v1.ResourceList
	// EvictionHard are the free amounts kept back and defended; default memory 100Mi and ephemeral-storage 10 %.
	EvictionHard v1.ResourceList
	MaxPods      int64 // default: the instance type's, else 110

	Join       Spread        // launch to the Node object; zero = at once
	ReadyDelay time.Duration // Node object to Ready

	CrashLoopBackOffMax   time.Duration // cap of the crash back-off, 1 s to 300 s; default 300 s
	ShutdownGracePeriod   time.Duration // graceful node shutdown at the end of a spot notice; 0 = none
	PullBandwidth         float64       // bytes a second; default 120 MB/s
	MaxParallelPulls      int           // default 1: pulls of a node are serial
	PrePulled             []string      // images on every node from the start
	StaticCPUManager      bool          // resizes of Guaranteed pods are infeasible
	RegisterUninitialized bool          // an external cloud model: tainted until ReadyDelay has passed
	Listens               bool          // new nodes show their address on this machine (127.x.y.z) as ExternalIP

	arch string
}

// Assumed shape of a node without an instance type.
const (
	defaultCPU     = "8"
	defaultMemory  = "32Gi"
	defaultDisk    = "100Gi"
	defaultMaxPods = 110
	defaultZone    = "zone-a"
	defaultRegion  = "virtual-1"
)

func (g NodeGroup) withDefaults() (NodeGroup, error) {
	if g.Name == "" {
		return g, fmt.Errorf("virtual: a node group has no name")
	}
	if g.Size < 0 {
		return g, fmt.Errorf("virtual: node group %q has size %d; it must not be negative", g.Name, g.Size)
	}
	if g.CrashLoopBackOffMax != 0 && (g.CrashLoopBackOffMax < time.Second || g.CrashLoopBackOffMax > backoffMax) {
		return g, fmt.Errorf("virtual: node group %q: crashLoopBackOffMax %v is outside 1s to 300s", g.Name, g.CrashLoopBackOffMax)
	}
	if len(g.Zones) == 0 {
		g.Zones = []string{defaultZone}
	}
	if g.Region == "" {
		g.Region = defaultRegion
	}
	if g.CapacityType == "" {
		g.CapacityType = "on-demand"
	}
	if g.arch = "amd64"; g.MaxParallelPulls <= 0 {
		g.MaxParallelPulls = 1
	}
	shape := v1.ResourceList{
		v1.ResourceCPU:              resource.MustParse(defaultCPU),
		v1.ResourceMemory:           resource.MustParse(defaultMemory),
		v1.ResourceEphemeralStorage: resource.MustParse(defaultDisk),
	}
	maxPods := int64(defaultMaxPods)
	if g.InstanceType != "" {
		t, ok := catalog.Lookup(g.InstanceType)
		if !ok {
			return g, fmt.Errorf("virtual: node group %q: instance type %q is not in the catalogue; nearest are %v", g.Name, g.InstanceType, catalog.Nearest(g.InstanceType))
		}
		g.takeType(t, shape)
		maxPods = int64(catalog.MaxPods(t))
	}
	for k, v := range g.Capacity {
		shape[k] = v
	}
	if g.MaxPods > 0 {
		maxPods = g.MaxPods
	} else if q, ok := g.Capacity[v1.ResourcePods]; ok {
		maxPods = q.Value()
	}
	g.MaxPods = maxPods
	shape[v1.ResourcePods] = *resource.NewQuantity(maxPods, resource.DecimalSI)
	g.Capacity = shape
	return g, nil
}

// takeType fills in what the instance type says; what the group says itself stays.
func (g *NodeGroup) takeType(t catalog.Type, shape v1.ResourceList) {
	c := catalog.Capacity(t)
	shape[v1.ResourceCPU] = *resource.NewMilliQuantity(c.CPUMillicores, resource.DecimalSI)
	shape[v1.ResourceMemory] = *resource.NewQuantity(c.MemoryBytes, resource.BinarySI)
	shape[v1.ResourceEphemeralStorage] = *resource.NewQuantity(c.EphemeralStorageBytes, resource.BinarySI)
	if name := t.GPU.ResourceName(); name != "" && t.GPU.Count > 0 {
		shape[v1.ResourceName(name)] = *resource.NewQuantity(int64(t.GPU.Count), resource.DecimalSI)
	}
	g.arch = t.Arch
	if g.PricePerHour == 0 {
		g.PricePerHour, _ = t.Price(g.CapacityType)
	}
	if g.KubeReserved == nil {
		r := catalog.KubeReserved(t.CPUCores, c.Pods)
		g.KubeReserved = v1.ResourceList{
			v1.ResourceCPU:              *resource.NewMilliQuantity(r.CPUMillicores, resource.DecimalSI),
			v1.ResourceMemory:           *resource.NewQuantity(r.MemoryBytes, resource.BinarySI),
			v1.ResourceEphemeralStorage: *resource.NewQuantity(r.EphemeralStorageBytes, resource.BinarySI),
		}
	}
}

// allocatable is capacity less what is reserved and what eviction keeps free, never below zero.
func (g *NodeGroup) allocatable() v1.ResourceList {
	out := make(v1.ResourceList, len(g.Capacity))
	for name, q := range g.Capacity {
		free := q.DeepCopy()
		for _, less := range []v1.ResourceList{g.KubeReserved, g.SystemReserved, g.evictionHard()} {
			if l, ok := less[name]; ok {
				free.Sub(l)
			}
		}
		if free.Sign() < 0 {
			free = *resource.NewQuantity(0, q.Format)
		}
		out[name] = free
	}
	for name, q := range g.Capacity {
		if isHugePages(name) {
			memory := out[v1.ResourceMemory]
			memory.Sub(q)
			if memory.Sign() < 0 {
				memory = *resource.NewQuantity(0, resource.BinarySI)
			}
			out[v1.ResourceMemory] = memory
		}
	}
	return out
}

func isHugePages(name v1.ResourceName) bool {
	return len(name) > len(v1.ResourceHugePagesPrefix) && name[:len(v1.ResourceHugePagesPrefix)] == v1.ResourceHugePagesPrefix
}

// Eviction thresholds when the group does not set them: kubelet's defaults.
const (
	evictMemoryFree    = 100 << 20
	evictDiskFreeShare = 0.10
)

func (g *NodeGroup) evictionHard() v1.ResourceList {
	if g.EvictionHard != nil {
		return g.EvictionHard
	}
	disk := g.Capacity[v1.ResourceEphemeralStorage]
	return v1.ResourceList{
		v1.ResourceMemory:           *resource.NewQuantity(evictMemoryFree, resource.BinarySI),
		v1.ResourceEphemeralStorage: *resource.NewQuantity(int64(float64(disk.Value())*evictDiskFreeShare), resource.BinarySI),
	}
}
