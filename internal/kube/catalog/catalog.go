// Package catalog knows the shapes, pod limits and prices of cloud instance types, so that a virtual node can be asked
// for by name and a rehearsal can put money on it without a network.
//
// The embedded table is AWS data (region, day, source and licence stand in its head and in About); a live provider's
// value always wins over it. Formulas: pods a node from amazon-vpc-cni-k8s, reservations from the EKS AMI's bootstrap,
// eviction thresholds from the kubelet's defaults.
package catalog

//go:generate go run ./gen

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed types.csv
var embedded string

// Capacity types, spelled as in the label karpenter.sh/capacity-type.
const (
	OnDemand = "on-demand"
	Spot     = "spot"
)

// spotShare is the assumed price of spot capacity as a share of the on-demand price. The real one moves by the hour and
// zone; 0.7 is what Karpenter's simulated provider uses. Every use of it is flagged by Price's second result.
const spotShare = 0.7

// GPU is what accelerators a type carries; the zero value means none.
type GPU struct {
	Model string // for example nvidia-t4
	Count int
}

// ResourceName is the extended resource a device plugin would offer for the GPU, "" for none.
func (g GPU) ResourceName() string {
	vendor, _, _ := strings.Cut(g.Model, "-")
	if vendor == "" {
		return ""
	}
	return vendor + ".com/gpu"
}

// Type is one instance type. Memory and storage are nominal, before what the hypervisor and the system keep.
type Type struct {
	Name                  string
	Arch                  string // amd64, arm64
	CPUCores              int64
	MemoryBytes           int64
	EphemeralStorageBytes int64 // root volume; instance stores are not counted
	GPU                   GPU
	ENIs                  int // network interfaces; 0 when unknown
	IPsPerENI             int // IPv4 addresses an interface
	Hypervisor            string
	BareMetal             bool
	OnDemandPerHour       float64 // US dollars
}

// Price is the hourly price in US dollars of the type in a capacity type (OnDemand, Spot; "" is OnDemand). The embedded
// data does not differ by zone. estimated is true when no list price exists and a share of the on-demand price was used.
func (t Type) Price(capacityType string) (perHour float64, estimated bool) {
	if capacityType == Spot {
		return t.OnDemandPerHour * spotShare, true
	}
	return t.OnDemandPerHour, false
}

// Source describes where the embedded data comes from.
type Source struct {
	Date    string // day the prices were read, YYYY-MM-DD
	Region  string
	Modules string
	Licence string
	Types   int
}

// About returns the origin of the embedded data, for reports and `--help`.
func About() Source { return load().source }

// Lookup finds a type by its exact name, such as "m5.xlarge".
func Lookup(name string) (Type, bool) {
	c := load()
	i, found := slices.BinarySearchFunc(c.types, name, func(t Type, n string) int { return strings.Compare(t.Name, n) })
	if !found {
		return Type{}, false
	}
	return c.types[i], true
}

// All returns every type sorted by name. The slice is shared: do not change it.
func All() []Type { return load().types }

type table struct {
	types  []Type
	source Source
}

var load = sync.OnceValue(func() table {
	t, err := parse(embedded)
	if err != nil {
		panic(fmt.Sprintf("embedded instance catalog: %v; run go generate ./internal/kube/catalog", err))
	}
	return t
})

func parse(text string) (table, error) {
	t := table{source: Source{Licence: head(text, "licence"), Date: head(text, "date"), Region: head(text, "region"), Modules: head(text, "source")}}
	r := csv.NewReader(strings.NewReader(text))
	r.Comment = '#'
	r.ReuseRecord = true
	if _, err := r.Read(); err != nil {
		return t, err
	}
	for {
		f, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return t, err
		}
		var n [12]int64
		for _, i := range []int{2, 3, 4, 5, 6, 10, 11} {
			if f[i] == "" {
				continue
			}
			if n[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
				return t, fmt.Errorf("%s column %d: %w", f[0], i+1, err)
			}
		}
		t.types = append(t.types, Type{
			Name: strings.Clone(f[0]), Arch: strings.Clone(f[1]), CPUCores: n[2], MemoryBytes: n[3] << 20, EphemeralStorageBytes: n[4] << 20,
			ENIs: int(n[5]), IPsPerENI: int(n[6]), Hypervisor: strings.Clone(f[7]), BareMetal: f[8] == "1",
			GPU: GPU{Model: strings.Clone(f[9]), Count: int(n[10])}, OnDemandPerHour: float64(n[11]) / 1e6,
		})
	}
	t.source.Types = len(t.types)
	slices.SortFunc(t.types, func(a, b Type) int { return strings.Compare(a.Name, b.Name) })
	return t, nil
}

// head reads "# key: value" from the comment lines above the table.
func head(text, key string) string {
	_, rest, _ := strings.Cut(text, "# "+key+": ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}
