// Package cost puts a price on a rehearsed run: what the machines cost, which workload caused it, and what was idle.
//
// In come the nodes and pods of a record.Run and a Prices value (a user's file, or the embedded catalog of instance
// types); out comes a Bill. Formulas follow the OpenCost specification: an asset costs amount × hours × rate, a node's
// price is split over its resources in the ratio of their base prices, a workload pays max(request, usage), and what
// nobody pays for is idle.
package cost

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/catalog"
)

// Prices is a price list. Start from Default or FromSpec; the zero value knows nothing.
type Prices struct {
	Currency     string               // shown, never converted; default USD
	Types        map[string]TypePrice // by instance type
	PerResource  PerResource          // for types nobody knows, and to split a node's price
	Billing      Billing
	ControlPlane float64 // an hour; default 0.10
	LoadBalancer float64 // an hour; default 0
	Commitments  []Commitment
	// Spot is a price curve by type, sorted by time; it wins over Types.
	Spot map[string][]SpotPrice
	// EgressGiven: prices of traffic are in the list, which the flow model cannot charge because it counts no bytes.
	EgressGiven bool
	// Source says in words where the list comes from; part of every report.
	Source string
	// Catalog lets the embedded catalog answer for types the list lacks.
	Catalog bool
}

// TypePrice is the price of one node of a type, an hour. Spot 0 is unknown: on-demand is charged and flagged.
type TypePrice struct{ OnDemand, Spot float64 }

// PerResource is the price of one core, GiB or GPU an hour. Zero values are replaced by OpenCost's defaults.
type PerResource struct{ CPU, MemoryGiB, GPU, StorageGiB, SpotCPU, SpotMemoryGiB float64 }

// Billing rounds a node's life: up to a multiple of Granularity (1 s), at least Minimum (60 s).
type Billing struct{ Granularity, Minimum time.Duration }

// Commitment is capacity paid for whether used or not: Count nodes of Type at Price an hour each.
type Commitment struct {
	Type  string
	Count int
	Price float64
}

// SpotPrice is a step of a spot price curve.
type SpotPrice struct {
	From    time.Time
	PerHour float64
}

// OpenCost's default prices an hour (opencost, configs/default.json, divided by its 730 hours a month).
const (
	defaultCPU           = 0.031611
	defaultMemoryGiB     = 0.004237
	defaultSpotCPU       = 0.006655
	defaultSpotMemoryGiB = 0.000892
	defaultGPU           = 0.95
	defaultStorageGiB    = 0.0000548
	defaultControlPlane  = 0.10
	defaultGranularity   = time.Second
	defaultMinimum       = time.Minute
)

// Default is the price list without a file: the embedded catalog, and OpenCost's default prices a resource for types it
// does not know.
func Default() Prices {
	about := catalog.About()
	p := Prices{Catalog: true, ControlPlane: defaultControlPlane,
		Source: fmt.Sprintf("embedded catalog: list prices of AWS %s on %s; spot estimated at 70 %% of on-demand", about.Region, about.Date)}
	p.fill()
	return p
}

func (p *Prices) fill() {
	set := func(v *float64, d float64) {
		if *v == 0 {
			*v = d
		}
	}
	p.Currency = cmp.Or(p.Currency, "USD")
	set(&p.PerResource.CPU, defaultCPU)
	set(&p.PerResource.MemoryGiB, defaultMemoryGiB)
	set(&p.PerResource.SpotCPU, defaultSpotCPU)
	set(&p.PerResource.SpotMemoryGiB, defaultSpotMemoryGiB)
	set(&p.PerResource.GPU, defaultGPU)
	set(&p.PerResource.StorageGiB, defaultStorageGiB)
	p.Billing.Granularity = cmp.Or(p.Billing.Granularity, defaultGranularity)
	p.Billing.Minimum = cmp.Or(p.Billing.Minimum, defaultMinimum)
}

// FromSpec makes a price list of what a scenario gives; nil is Default. What the spec leaves out is the embedded
// catalog's. It fails on prices that are negative or no numbers, on OpenCost and spot-curve files it cannot read.
func FromSpec(spec *v1alpha1.Prices) (Prices, error) {
	if spec == nil {
		return Default(), nil
	}
	file := cmp.Or(spec.File, "the scenario")
	p := Prices{Types: map[string]TypePrice{}, Currency: spec.Currency, ControlPlane: defaultControlPlane, Catalog: true, Source: "prices of " + file}
	if spec.OpenCost != "" {
		types, source, err := parseOpenCost(file, []byte(spec.OpenCost))
		if err != nil {
			return Prices{}, err
		}
		p.Types, p.Source = types, source
	}
	for name, t := range spec.Types {
		p.Types[name] = TypePrice{OnDemand: t.OnDemand, Spot: value(t.Spot, 0)}
	}
	if r := spec.PerResource; r != nil {
		p.PerResource = PerResource{CPU: value(r.CPU, 0), MemoryGiB: value(r.MemoryGiB, 0), GPU: value(r.GPU, 0), StorageGiB: value(r.StorageGiB, 0)}
	}
	if spec.Billing != nil {
		p.Billing = Billing{Granularity: spec.Billing.Granularity.Duration, Minimum: spec.Billing.Minimum.Duration}
	}
	p.ControlPlane = value(spec.ControlPlane, defaultControlPlane)
	p.LoadBalancer = value(spec.LoadBalancer, 0)
	p.EgressGiven = spec.Egress != nil
	for _, c := range spec.Commitments {
		p.Commitments = append(p.Commitments, Commitment{Type: c.Type, Count: int(c.Count), Price: c.Price})
	}
	if spec.SpotCurveData != "" {
		var err error
		if p.Spot, err = parseSpotCurve(cmp.Or(spec.SpotCurve, "spotCurve"), []byte(spec.SpotCurveData)); err != nil {
			return Prices{}, err
		}
	}
	if err := p.check(file); err != nil {
		return Prices{}, err
	}
	p.fill()
	return p, nil
}

func value(v *float64, otherwise float64) float64 {
	if v == nil {
		return otherwise
	}
	return *v
}

func (p *Prices) check(file string) error {
	amounts := map[string]float64{"controlPlane": p.ControlPlane, "loadBalancer": p.LoadBalancer, "perResource.cpu": p.PerResource.CPU,
		"perResource.memoryGiB": p.PerResource.MemoryGiB, "perResource.gpu": p.PerResource.GPU, "perResource.storageGiB": p.PerResource.StorageGiB}
	for name, t := range p.Types {
		amounts["types."+name+".onDemand"], amounts["types."+name+".spot"] = t.OnDemand, t.Spot
		if t.OnDemand == 0 && t.Spot == 0 {
			return fmt.Errorf("%s: types.%s has neither onDemand nor spot; give at least one price an hour", file, name)
		}
	}
	for i, c := range p.Commitments {
		amounts[fmt.Sprintf("commitments[%d].price", i)] = c.Price
		if c.Type == "" || c.Count <= 0 {
			return fmt.Errorf("%s: commitments[%d] needs a type and a count above 0", file, i)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(amounts)) {
		if v := amounts[name]; v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%s: %s is %v; a price is a number of 0 or more", file, name, v)
		}
	}
	return nil
}

// quote is what one node costs an hour, and how sure that is.
type quote struct {
	perHour float64
	from    string // "node", "list", "catalog", "resources"
	note    string
}

// nodePrice finds the price of a node: its own, the list, the catalog, else the sum of its resources.
func (p *Prices) nodePrice(own float64, instance, capacity string, cores, memoryGiB float64) quote {
	if own > 0 {
		return quote{perHour: own, from: "node"}
	}
	spot := capacity == catalog.Spot
	if t, ok := p.Types[instance]; ok {
		switch {
		case spot && t.Spot > 0:
			return quote{perHour: t.Spot, from: "list"}
		case spot:
			return quote{perHour: t.OnDemand, from: "list", note: instance + ": no spot price in the list, charged as on-demand"}
		case t.OnDemand > 0:
			return quote{perHour: t.OnDemand, from: "list"}
		}
	}
	if p.Catalog {
		if t, ok := catalog.Lookup(instance); ok {
			price, estimated := t.Price(capacity)
			q := quote{perHour: price, from: "catalog"}
			if estimated {
				q.note = instance + ": spot price estimated from the on-demand price"
			}
			return q
		}
	}
	r := p.PerResource
	if spot {
		r.CPU, r.MemoryGiB = r.SpotCPU, r.SpotMemoryGiB
	}
	name := cmp.Or(instance, "nodes without a type")
	return quote{perHour: cores*r.CPU + memoryGiB*r.MemoryGiB, from: "resources",
		note: name + ": no price known, charged by core and GiB (" + strconv.FormatFloat(r.CPU, 'g', 6, 64) + ", " + strconv.FormatFloat(r.MemoryGiB, 'g', 6, 64) + ")"}
}

// split divides a node's price over its resources so that their base prices keep their ratio and the parts sum to the
// price (OpenCost specification, "node pricing").
func split(price, cpuBase, memoryBase, gpuBase float64) (cpu, memory, gpu float64) {
	sum := cpuBase + memoryBase + gpuBase
	if sum <= 0 {
		return price, 0, 0
	}
	return price * cpuBase / sum, price * memoryBase / sum, price * gpuBase / sum
}
