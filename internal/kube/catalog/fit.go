package catalog

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// KubeletDefaultMaxPods is the kubelet's own --max-pods default, used where nothing is known of a type's addresses.
const KubeletDefaultMaxPods = 110

const (
	hostNetworkPods = 2 // aws-node and kube-proxy use the node's address
	largeNodeCPUs   = 30
	maxPodsSmall    = 110 // EKS's caps with prefix delegation
	maxPodsLarge    = 250
	addressesPrefix = 16 // a /28 for each secondary address slot
)

// MaxPods is how many pods the AWS VPC CNI lets the kubelet take with one secondary address a pod:
// interfaces × (addresses − 1) + 2. Types without known limits get KubeletDefaultMaxPods.
func MaxPods(t Type) int {
	if t.ENIs == 0 || t.IPsPerENI == 0 {
		return KubeletDefaultMaxPods
	}
	return t.ENIs*(t.IPsPerENI-1) + hostNetworkPods
}

// MaxPodsWithPrefixes is MaxPods when the CNI hands out /28 prefixes, which only Nitro types can: 16 addresses a slot,
// capped at 110 pods below 30 cores and 250 above. Other types keep MaxPods.
func MaxPodsWithPrefixes(t Type) int {
	if t.Hypervisor != "nitro" || t.ENIs == 0 || t.IPsPerENI == 0 {
		return MaxPods(t)
	}
	pods := t.ENIs*(t.IPsPerENI-1)*addressesPrefix + hostNetworkPods
	if t.CPUCores < largeNodeCPUs {
		return min(pods, maxPodsSmall)
	}
	return min(pods, maxPodsLarge)
}

// Resources is an amount of what a node offers.
type Resources struct {
	CPUMillicores         int64
	MemoryBytes           int64
	EphemeralStorageBytes int64
	Pods                  int
}

const (
	mebi = 1 << 20
	gibi = 1 << 30

	vmMemoryOverhead = 0.075 // share of the nominal memory a guest never sees, Karpenter's default
)

// Capacity is what the kubelet of a fresh node reports: the nominal shape, less the hypervisor's 7.5 % of memory on
// virtual machines, and MaxPods.
func Capacity(t Type) Resources {
	memory := t.MemoryBytes
	if !t.BareMetal {
		memory -= int64(math.Ceil(float64(memory) * vmMemoryOverhead))
	}
	return Resources{CPUMillicores: t.CPUCores * 1000, MemoryBytes: memory, EphemeralStorageBytes: t.EphemeralStorageBytes, Pods: MaxPods(t)}
}

// Allocatable is capacity less kubeReserved, systemReserved (reserved, summed) and the kubelet's hard eviction
// thresholds (100Mi of memory, 10 % of the root file system), never below zero. Without reserved values EKS's
// KubeReserved is taken. Ephemeral storage and pods follow the same rule.
func Allocatable(t Type, reserved ...Resources) Resources {
	c := Capacity(t)
	if len(reserved) == 0 {
		reserved = []Resources{KubeReserved(t.CPUCores, c.Pods)}
	}
	return Subtract(c, reserved...)
}

// Subtract takes reservations and the kubelet's default hard eviction thresholds from a capacity, floored at zero.
func Subtract(capacity Resources, reserved ...Resources) Resources {
	left := capacity
	for _, r := range reserved {
		left.CPUMillicores -= r.CPUMillicores
		left.MemoryBytes -= r.MemoryBytes
		left.EphemeralStorageBytes -= r.EphemeralStorageBytes
	}
	left.MemoryBytes -= 100 * mebi
	left.EphemeralStorageBytes -= capacity.EphemeralStorageBytes / 10
	left.CPUMillicores, left.MemoryBytes = max(0, left.CPUMillicores), max(0, left.MemoryBytes)
	left.EphemeralStorageBytes = max(0, left.EphemeralStorageBytes)
	return left
}

// KubeReserved is what EKS's node bootstrap keeps for the kubelet and the runtime: memory 255Mi + 11Mi a possible pod;
// CPU 6 % of the first core, 1 % of the second, 0.5 % of the third and fourth, 0.25 % of the rest; 1Gi of disk.
func KubeReserved(cores int64, maxPods int) Resources {
	tenthsOfMilli := min(cores, 1)*600 + min(max(cores-1, 0), 1)*100 + min(max(cores-2, 0), 2)*50 + max(cores-4, 0)*25
	return Resources{
		CPUMillicores:         tenthsOfMilli / 10,
		MemoryBytes:           int64(255+11*maxPods) * mebi,
		EphemeralStorageBytes: gibi,
	}
}

// Nearest returns up to three known names most like a misspelt one, best first, for error messages.
func Nearest(name string) []string {
	const suggestions = 3
	type candidate struct {
		name       string
		far, plain int // edits with and without punctuation
	}
	name = strings.ToLower(name)
	plain := strings.NewReplacer(".", "", "-", "", "_", "", " ", "")
	var all []candidate
	for _, t := range All() {
		if d := distance(name, t.Name); d <= max(2, len(name)/3) {
			all = append(all, candidate{t.Name, d, distance(plain.Replace(name), plain.Replace(t.Name))})
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.plain, b.plain), cmp.Compare(a.far, b.far), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	names := make([]string, 0, suggestions)
	for _, c := range all[:min(suggestions, len(all))] {
		names = append(names, c.name)
	}
	return names
}

// Smallest returns the cheapest type of an architecture ("" for any) whose allocatable amounts hold the wanted ones; it
// answers "which node would this pod fit on?".
func Smallest(want Resources, arch string) (Type, bool) {
	best, found := Type{}, false
	for _, t := range All() {
		if arch != "" && t.Arch != arch {
			continue
		}
		a := Allocatable(t)
		if a.CPUMillicores < want.CPUMillicores || a.MemoryBytes < want.MemoryBytes || a.EphemeralStorageBytes < want.EphemeralStorageBytes || a.Pods < want.Pods {
			continue
		}
		if !found || t.OnDemandPerHour < best.OnDemandPerHour {
			best, found = t, true
		}
	}
	return best, found
}

// distance is the Levenshtein distance with one row of memory.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			substitute := diagonal
			if a[i-1] != b[j-1] {
				substitute++
			}
			diagonal = row[j]
			row[j] = min(substitute, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
