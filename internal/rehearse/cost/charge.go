package cost

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/fairway-dev/fairway/internal/kube/catalog"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// Bill is what a run cost over its measured time. Amounts are in Currency.
type Bill struct {
	Currency string  `json:"currency"`
	Total    float64 `json:"total"`
	Nodes    float64 `json:"nodes"`
	// Overhead is what no node carries: control plane, load balancers, unused commitments.
	Overhead     float64 `json:"overhead"`
	Workloads    float64 `json:"workloads"`    // Σ max(request, usage) × rate
	Idle         float64 `json:"idle"`         // Nodes − Workloads
	IdleShare    float64 `json:"idleShare"`    // Idle ÷ Nodes; 0 without nodes
	WorkloadIdle float64 `json:"workloadIdle"` // reserved by workloads and not used
	NodeHours    float64 `json:"nodeHours"`
	// PerThousand is Total per 1,000 served requests of the loads; 0 when nothing was served.
	PerThousand float64 `json:"perThousandRequests"`
	// AtSpotShare is Total had SpotScenario of every on-demand node hour been spot.
	AtSpotShare float64    `json:"atSpotShare"`
	Pools       []Pool     `json:"pools"`
	ByWorkload  []Workload `json:"byWorkload"`
	Source      string     `json:"source"`
	Notes       []string   `json:"notes,omitempty"` // prices that are estimates, parts not charged
}

// SpotScenario is the share of on-demand hours that Bill.AtSpotShare moves to spot.
const SpotScenario = 0.6

// Pool is the bill of one node pool.
type Pool struct {
	Name         string  `json:"name"`
	Type         string  `json:"type,omitempty"`
	CapacityType string  `json:"capacityType"`
	NodeHours    float64 `json:"nodeHours"`
	PerHour      float64 `json:"pricePerHour"`
	Cost         float64 `json:"cost"`
}

// Workload is the part of the nodes' price that one workload's pods caused.
type Workload struct {
	Object string  `json:"object"`
	Cost   float64 `json:"cost"`
	Idle   float64 `json:"idle"` // reserved, not used
	CPU    float64 `json:"cpu"`
	Memory float64 `json:"memory"`
}

const gib = 1 << 30

// node is one machine, priced, over the hours that are charged.
type node struct {
	record.Node
	from, to time.Time
	hours    float64
	quote    quote
	cost     float64
	cpuRate  float64 // a core-hour
	memRate  float64 // a GiB-hour
}

// Charge prices a run. It is pure: equal inputs give equal bills, sums are taken in sorted order.
func Charge(run *record.Run, p Prices) Bill {
	from, to := window(run)
	b := Bill{Currency: p.Currency, Source: p.Source, Pools: []Pool{}, ByWorkload: []Workload{}}
	notes := map[string]bool{}
	nodes := price(run, &p, from, to, notes)
	unused := commit(nodes, &p, from, to)
	byName := map[string][]*node{}
	for _, n := range nodes {
		b.Nodes += n.cost
		b.NodeHours += n.hours
		n.cpuRate, n.memRate = n.rates(&p)
		byName[n.Name] = append(byName[n.Name], n)
	}
	charge(&b, run.Pods, byName, from, to)
	b.Pools = pools(nodes)
	hours := to.Sub(from).Hours()
	b.Overhead = unused + hours*(p.ControlPlane+p.LoadBalancer)
	b.Total = b.Nodes + b.Overhead
	b.Idle = max(0, b.Nodes-b.Workloads)
	if b.Nodes > 0 {
		b.IdleShare = b.Idle / b.Nodes
	}
	if served := servedByLoads(run); served > 0 {
		b.PerThousand = b.Total / float64(served) * 1000
	}
	b.AtSpotShare = b.Total - spotSaving(nodes, &p)
	if p.EgressGiven {
		notes["egress prices are not charged: the model counts no bytes"] = true
	}
	b.Notes = slices.Sorted(maps.Keys(notes))
	return b
}

// window is the measured time; a broken-off run is charged up to its last sign of life.
func window(run *record.Run) (from, to time.Time) {
	from, to = run.Start.PlayFrom, run.Start.PlayTo
	last := to
	switch {
	case run.End != nil && run.End.Incomplete != "":
		last = run.End.Time
	case run.End == nil && len(run.Samples) > 0:
		last = run.Samples[len(run.Samples)-1].Time
	}
	if last.Before(to) {
		to = last
	}
	if to.Before(from) {
		to = from
	}
	return from, to
}

func servedByLoads(run *record.Run) (served int64) {
	for _, l := range run.Loads {
		if !l.Service {
			served += l.Served
		}
	}
	return served
}

// price gives every node its charged hours and price, sorted by request time and name.
func price(run *record.Run, p *Prices, from, to time.Time, notes map[string]bool) []*node {
	var nodes []*node
	for _, r := range run.Nodes {
		n := &node{Node: r, from: later(r.Requested, from), to: to}
		if !r.Gone.IsZero() && r.Gone.Before(to) {
			n.to = r.Gone
		}
		if !n.to.After(n.from) {
			continue
		}
		life := roundUp(n.to.Sub(n.from), p.Billing.Granularity)
		if !r.Requested.Before(from) {
			life = max(life, p.Billing.Minimum)
		}
		n.hours = life.Hours()
		n.quote = p.nodePrice(r.PricePerHour, r.Type, r.CapacityType, r.CPUCores, r.MemoryBytes/gib)
		if n.quote.note != "" {
			notes[n.quote.note] = true
		}
		n.cost = n.hours * n.quote.perHour
		if r.CapacityType == catalog.Spot && r.PricePerHour == 0 {
			n.cost = spotCost(n, p.Spot[r.Type])
		}
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b *node) int {
		return cmp.Or(a.Requested.Compare(b.Requested), cmp.Compare(a.Name, b.Name))
	})
	return nodes
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func roundUp(d, to time.Duration) time.Duration {
	if to <= 0 || d%to == 0 {
		return d
	}
	return d - d%to + to
}

// spotCost integrates a spot curve over a node's life; before its first step the quoted price holds.
func spotCost(n *node, curve []SpotPrice) float64 {
	sum, at, rate := 0.0, n.from, n.quote.perHour
	end := n.from.Add(time.Duration(n.hours * float64(time.Hour)))
	for _, s := range curve {
		if !s.From.Before(end) {
			break
		}
		if s.From.After(at) {
			sum += s.From.Sub(at).Hours() * rate
			at = s.From
		}
		rate = s.PerHour
	}
	return sum + end.Sub(at).Hours()*rate
}

// commit applies commitments: at every moment the Count longest-running on-demand nodes of the type cost the committed
// price instead of theirs. It returns what was paid for commitments no node used.
func commit(nodes []*node, p *Prices, from, to time.Time) (unused float64) {
	for _, c := range p.Commitments {
		var mine []*node
		edges := []time.Time{from, to}
		for _, n := range nodes {
			if n.Type == c.Type && n.CapacityType != catalog.Spot && n.PricePerHour == 0 {
				mine = append(mine, n)
				edges = append(edges, n.from, n.to)
			}
		}
		slices.SortFunc(edges, time.Time.Compare)
		for i := 1; i < len(edges); i++ {
			hours := edges[i].Sub(edges[i-1]).Hours()
			if hours <= 0 {
				continue
			}
			free := c.Count
			for _, n := range mine {
				if free > 0 && !n.from.After(edges[i-1]) && !n.to.Before(edges[i]) {
					n.cost += hours * (c.Price - n.quote.perHour)
					free--
				}
			}
			unused += float64(free) * hours * c.Price
		}
	}
	return unused
}

// rates splits the node's price into a core-hour and a GiB-hour.
func (n *node) rates(p *Prices) (core, memoryGiB float64) {
	if n.hours == 0 {
		return 0, 0
	}
	gpus := 0.0
	if t, ok := catalog.Lookup(n.Type); ok {
		gpus = float64(t.GPU.Count)
	}
	size := n.MemoryBytes / gib
	cpu, memory, _ := split(n.cost/n.hours, n.CPUCores*p.PerResource.CPU, size*p.PerResource.MemoryGiB, gpus*p.PerResource.GPU)
	if n.CPUCores > 0 {
		core = cpu / n.CPUCores
	}
	if size > 0 {
		memoryGiB = memory / size
	}
	return core, memoryGiB
}

// charge gives each workload max(request, usage) of its pods at the rates of their nodes.
func charge(b *Bill, pods []record.Pod, byName map[string][]*node, from, to time.Time) {
	sums := map[string]*Workload{}
	for _, pod := range sorted(pods) {
		lived, measured := running(pod, from, to)
		n := nodeOf(byName[pod.Node], pod.Scheduled)
		if measured <= 0 || n == nil {
			continue
		}
		usedCores, usedGiB := 0.0, 0.0
		if s := lived.Seconds(); s > 0 {
			usedCores, usedGiB = pod.CPUUsedCoreSeconds/s, pod.MemoryUsedByteSeconds/s/gib
		}
		requestGiB := pod.MemoryRequestBytes / gib
		h := measured.Hours()
		w := sums[pod.Workload]
		if w == nil {
			w = &Workload{Object: pod.Workload}
			sums[pod.Workload] = w
		}
		w.CPU += h * max(pod.CPURequestCores, usedCores) * n.cpuRate
		w.Memory += h * max(requestGiB, usedGiB) * n.memRate
		w.Idle += h * (max(0, pod.CPURequestCores-usedCores)*n.cpuRate + max(0, requestGiB-usedGiB)*n.memRate)
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		w := sums[name]
		w.Cost = w.CPU + w.Memory
		b.Workloads += w.Cost
		b.WorkloadIdle += w.Idle
		b.ByWorkload = append(b.ByWorkload, *w)
	}
}

func sorted(pods []record.Pod) []record.Pod {
	return slices.SortedFunc(slices.Values(pods), func(a, b record.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), a.Created.Compare(b.Created))
	})
}

// running is how long a pod held its node, in all and within the measured time.
func running(pod record.Pod, from, to time.Time) (lived, measured time.Duration) {
	if pod.Scheduled.IsZero() {
		return 0, 0
	}
	end := pod.Gone
	if end.IsZero() || end.After(to) {
		end = to
	}
	began := pod.Started
	if began.IsZero() {
		began = pod.Scheduled
	}
	return max(0, end.Sub(began)), max(0, end.Sub(later(pod.Scheduled, from)))
}

// nodeOf picks the node of that name that existed when the pod was placed; names return after a replacement.
func nodeOf(candidates []*node, scheduled time.Time) *node {
	var best *node
	for _, n := range candidates {
		if best == nil || !n.Requested.After(scheduled) {
			best = n
		}
	}
	return best
}

func pools(nodes []*node) []Pool {
	byPool := map[string]*Pool{}
	for _, n := range nodes {
		key := n.Pool + "\x00" + n.Type + "\x00" + n.CapacityType
		p := byPool[key]
		if p == nil {
			p = &Pool{Name: n.Pool, Type: n.Type, CapacityType: cmp.Or(n.CapacityType, catalog.OnDemand), PerHour: n.quote.perHour}
			byPool[key] = p
		}
		p.NodeHours += n.hours
		p.Cost += n.cost
	}
	list := make([]Pool, 0, len(byPool))
	for _, key := range slices.Sorted(maps.Keys(byPool)) {
		list = append(list, *byPool[key])
	}
	return list
}

// spotSaving is what moving SpotScenario of the on-demand hours to spot would take off the bill.
func spotSaving(nodes []*node, p *Prices) (saving float64) {
	for _, n := range nodes {
		if n.CapacityType == catalog.Spot || n.PricePerHour > 0 {
			continue
		}
		spot := p.nodePrice(0, n.Type, catalog.Spot, n.CPUCores, n.MemoryBytes/gib)
		saving += SpotScenario * max(0, n.cost-n.hours*spot.perHour)
	}
	return saving
}
