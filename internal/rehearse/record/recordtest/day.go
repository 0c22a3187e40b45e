// Package recordtest makes recorded runs for tests without playing them: a day of a web shop with an evening peak, a
// release that costs more CPU, and a lost zone, in the shape and size a real rehearsal leaves behind.
package recordtest

import (
	"fmt"
	"math"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// Options shape the day. The zero value is 18 hours of ten services with release and zone loss, seed 0.
type Options struct {
	Seed       int64
	Services   int           // default 10, the first is the entrance
	Duration   time.Duration // default 18 h
	NoRelease  bool          // leave the release out: the baseline of the change
	NoZoneLoss bool
	Spare      float64 // capacity above what the autoscaler asks for; default 1
}

var names = []string{"frontend", "cart", "catalog", "currency", "checkout", "payment", "shipping", "ads", "recommend", "email"}

// Day makes one run. Equal options give equal runs.
func Day(o Options) record.Run {
	if o.Services == 0 {
		o.Services = len(names)
	}
	if o.Duration == 0 {
		o.Duration = 18 * time.Hour
	}
	if o.Spare == 0 {
		o.Spare = 1
	}
	d := &day{Options: o, start: time.Date(2026, 11, 27, 5, 0, 0, 0, time.UTC), columns: map[string]int{}}
	d.open()
	d.steps()
	for i := range o.Services {
		d.services = append(d.services, &service{name: "shop/" + serviceName(i), workload: "Deployment/shop/" + serviceName(i), share: 1 / float64(i+1), cpu: 0.004 + 0.001*float64(i%4), ready: 2, desired: 2})
	}
	for at := d.start.Add(time.Minute); !at.After(d.start.Add(o.Duration)); at = at.Add(time.Minute) {
		d.minute(at)
	}
	d.close()
	return d.run
}

func serviceName(i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("backend-%02d", i)
}

type service struct {
	name, workload          string
	share, cpu              float64
	ready, desired          float64
	down                    float64 // pods lost, coming back
	saturated, erring       bool
	min, max, sum, minutes  float64
	reversals               int
	lastUp                  bool
	offered, failed, served int64
	cpuUsed                 float64
}

type day struct {
	Options
	start    time.Time
	run      record.Run
	columns  map[string]int
	services []*service
	values   []record.ColumnValue
	lastRate float64
	noise    uint64
}

func (d *day) at(clock string) time.Time {
	t, _ := time.Parse("15:04", clock)
	return time.Date(2026, 11, 27, t.Hour()-1, t.Minute(), 0, 0, time.UTC) // Berlin is an hour ahead
}

func (d *day) open() {
	d.run.Add(record.Event{Start: &record.Start{Seed: d.Seed, Build: "overlay", SampleStep: time.Minute, PlayFrom: d.start, PlayTo: d.start.Add(d.Duration),
		Versions: map[string]string{"fairway": "v0.1.0", "kubernetes": "v1.37.1", "go": "go1.26.8"}}})
	zones := []string{"a", "b", "c"}
	for i := range 9 {
		n := record.Node{Name: fmt.Sprintf("web-%d", i+1), Pool: "web", Type: "m5.xlarge", Zone: zones[i%3], CapacityType: "on-demand", Requested: d.start.Add(-15 * time.Minute),
			Ready: d.start.Add(-14 * time.Minute), CPUCores: 4, MemoryBytes: 16 << 30, AllocatableCPUCores: 3.92, AllocatableMemBytes: 14 << 30}
		if i >= 7 {
			n.Pool, n.CapacityType, n.Name = "spot", "spot", fmt.Sprintf("spot-%d", i-6)
		}
		if n.Zone == "a" && !d.NoZoneLoss {
			n.Gone, n.Reason = d.at("20:30"), "zone a lost power"
			back := n
			back.Name, back.Requested, back.Ready, back.Gone, back.Reason = n.Name+"-r", d.at("21:00"), d.at("21:01"), time.Time{}, ""
			d.run.Add(record.Event{Node: &back})
		}
		d.run.Add(record.Event{Node: &n})
	}
}

func (d *day) entry(at time.Time, e record.Entry) {
	e.ID, e.Time = len(d.run.Timeline)+1, at
	if e.Severity == "" {
		e.Severity = record.Info
	}
	d.run.Add(record.Event{Entry: &e})
}

func (d *day) steps() {
	if !d.NoRelease {
		d.run.Add(record.Event{Step: &record.Step{Name: "release", Occurrence: 1, State: record.StepDone, At: d.at("09:00"), Action: "setImage", Required: true, File: "scenario.yaml", Line: 31}})
	}
	if !d.NoZoneLoss {
		d.run.Add(record.Event{Step: &record.Step{Name: "zone loss", Occurrence: 1, State: record.StepUndone, At: d.at("20:30"), Undone: d.at("21:00"), Action: "zoneOutage", Required: true, File: "scenario.yaml", Line: 34}})
	}
}

// draw is a repeatable number in −1…1.
func (d *day) draw() float64 {
	d.noise += 0x9e3779b97f4a7c15 * uint64(d.Seed*2+1)
	z := d.noise
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11)/(1<<52) - 1
}

func (d *day) set(metric string, value float64, labels ...string) {
	key := metric
	for _, l := range labels {
		key += "\x00" + l
	}
	id, ok := d.columns[key]
	if !ok {
		id = len(d.columns)
		d.columns[key] = id
		c := record.Column{ID: id, Metric: metric}
		if len(labels) > 0 {
			c.Labels = map[string]string{labels[0]: labels[1]}
		}
		d.run.Add(record.Event{Column: &c})
	}
	d.values = append(d.values, record.ColumnValue{ID: id, Value: value})
}

func (d *day) released(at time.Time) bool { return !d.NoRelease && !at.Before(d.at("09:00")) }

func (d *day) events(at time.Time) {
	if d.released(at) && at.Equal(d.at("09:00")) {
		d.entry(at, record.Entry{Kind: record.KindStep, Object: "release", What: "release: frontend gets image v2.4", Severity: record.Notable, Data: map[string]string{"action": "setImage", "target": "Deployment/shop/frontend"}})
		d.entry(at.Add(time.Second), record.Entry{Kind: record.KindRollout, Object: "Deployment/shop/frontend", What: "frontend rolls out revision 2", Severity: record.Notable, Data: map[string]string{"state": "begins", "step": "release", "revision": "2"}, Actor: "rehearse"})
		for i := range 5 {
			d.entry(at.Add(time.Duration(10+i)*time.Second), record.Entry{Kind: record.KindPodCreated, Object: fmt.Sprintf("Pod/shop/frontend-2-%d", i), Owner: "Deployment/shop/frontend", What: "pod of frontend created", Data: map[string]string{"revision": "2"}})
		}
		d.entry(at.Add(3*time.Minute), record.Entry{Kind: record.KindRollout, Object: "Deployment/shop/frontend", What: "frontend finished revision 2", Data: map[string]string{"state": "finished"}})
	}
	if d.NoZoneLoss {
		return
	}
	switch {
	case at.Equal(d.at("20:30")):
		d.entry(at, record.Entry{Kind: record.KindStep, Object: "zone loss", What: "zone a loses power", Severity: record.Warning, Until: d.at("21:00"), Data: map[string]string{"action": "zoneOutage", "zone": "a"}})
		for _, n := range []string{"web-1", "web-4", "web-7"} {
			d.entry(at.Add(50*time.Second), record.Entry{Kind: record.KindNodeUnready, Object: "Node/" + n, What: n + " stops answering", Severity: record.Warning, Data: map[string]string{"node": n, "zone": "a"}})
		}
	case at.Equal(d.at("20:31")):
		for i, s := range d.services {
			for k := range 2 {
				d.entry(at.Add(time.Duration(i)*time.Second), record.Entry{Kind: record.KindPodGone, Object: fmt.Sprintf("Pod/%s-%d", s.name, k), Owner: s.workload, What: "a pod of " + s.name + " is gone with its node", Severity: record.Notable, Data: map[string]string{"node": "web-1"}})
				d.run.Add(record.Event{Eviction: &record.Eviction{Time: at, Pod: fmt.Sprintf("%s-1-%d", s.name, k), Workload: s.workload, Node: "web-1", By: "node-lost", Kind: "forced", BudgetKept: i != 1, Budget: s.name}})
			}
		}
	case at.Equal(d.at("21:00")):
		d.entry(at, record.Entry{Kind: record.KindStep, Object: "zone loss", What: "zone a is back", Severity: record.Notable, Data: map[string]string{"action": "zoneOutage", "zone": "a", "state": "ends"}})
	case at.Equal(d.at("21:01")):
		for _, n := range []string{"web-1-r", "web-4-r", "web-7-r"} {
			d.entry(at, record.Entry{Kind: record.KindNodeAdded, Object: "Node/" + n, What: n + " joins", Data: map[string]string{"node": n, "pool": "web"}})
		}
	}
}

func (d *day) minute(at time.Time) {
	d.events(at)
	d.values = nil
	local := at.Add(time.Hour)
	hour := float64(local.Hour()) + float64(local.Minute())/60
	rate := (240 - 180*math.Cos((hour-8.5)/12*math.Pi)) * (1 + 0.02*d.draw())
	if math.Abs(rate-d.lastRate) > 0.1*d.lastRate {
		d.entry(at, record.Entry{Kind: record.KindLoad, Object: "shoppers", What: fmt.Sprintf("shoppers goes from %.0f to %.0f requests a second", d.lastRate, rate),
			Data: map[string]string{"from": fmt.Sprintf("%.1f", d.lastRate), "to": fmt.Sprintf("%.1f", rate), "load": "shoppers"}})
		d.lastRate = rate
	}
	var worstErrors, latency, cores float64
	nodes := 9.0
	zoneDown := !d.NoZoneLoss && !at.Before(d.at("20:30")) && at.Before(d.at("21:01"))
	if zoneDown {
		nodes = 6
	}
	for i, s := range d.services {
		errors, own := d.play(s, i, at, rate*s.share, zoneDown)
		worstErrors = max(worstErrors, errors*s.share)
		latency += own * s.share
		cores += s.ready * 0.5
	}
	d.set(record.MetricRequests, rate, "load", "shoppers")
	d.set(record.MetricErrors, worstErrors, "load", "shoppers")
	for i, metric := range []string{record.MetricLatencyP50, record.MetricLatencyP95, record.MetricLatencyP99} {
		d.set(metric, latency*[]float64{0.4, 1, 2.1}[i], "load", "shoppers")
	}
	d.set(record.MetricNodes, nodes-2, "pool", "web")
	d.set(record.MetricNodes, 2, "pool", "spot")
	d.set(record.MetricCostPerHour, (nodes-2)*0.192+2*0.134+0.1)
	pending := 0.0
	if zoneDown && at.Before(d.at("20:40")) {
		pending = 4
	}
	d.set(record.MetricPodsPending, pending)
	d.run.Add(record.Event{Sample: &record.Sample{Time: at, Values: d.values}})
}

func (d *day) play(s *service, i int, at time.Time, rate float64, zoneDown bool) (errors, latency float64) {
	cpu := s.cpu
	if i == 0 && d.released(at) {
		cpu *= 1.3
	}
	if zoneDown && at.Equal(d.at("20:31")) {
		s.down = math.Ceil(s.ready / 3)
	}
	s.down = max(0, s.down-0.25)
	demand := rate * cpu
	want := math.Ceil(demand / 0.5 / 0.72 * d.Spare)
	want = min(max(want, 2), 20)
	off := demand / (s.desired * 0.5 * 0.72) * d.Spare // the autoscaler tolerates a tenth
	if want > s.desired && off > 1.1 || want < s.desired && off < 0.7 && at.Minute()%5 == 0 {
		up := want > s.desired
		if up != s.lastUp {
			s.reversals++
		}
		d.created(s, at, s.desired, want)
		d.entry(at, record.Entry{Kind: record.KindScale, Object: s.workload, Owner: s.workload, What: fmt.Sprintf("%s scales from %.0f to %.0f", s.name, s.desired, want), Actor: "horizontal-pod-autoscaler",
			Data: map[string]string{"from": fmt.Sprint(s.desired), "to": fmt.Sprint(want), "metric": "cpu", "service": s.name}})
		s.lastUp, s.desired = up, want
	}
	s.ready = max(1, s.desired-math.Ceil(s.down))
	capacity := s.ready * 0.5
	rho := demand / capacity
	if rho > 1 {
		errors = 1 - 1/rho
	}
	latency = cpu / max(0.08, 1-min(rho, 0.99)) * 2.5
	d.state(s, at, rho, errors)
	s.min = min(s.min, s.ready)
	if s.minutes == 0 {
		s.min = s.ready
	}
	s.max, s.sum, s.minutes = max(s.max, s.ready), s.sum+s.ready, s.minutes+1
	asked := int64(rate * 60)
	lost := int64(float64(asked) * errors)
	s.offered, s.failed, s.served = s.offered+asked, s.failed+lost, s.served+asked-lost
	s.cpuUsed += min(demand, capacity) * 60
	d.set(record.MetricRequests, rate, "service", s.name)
	d.set(record.MetricErrors, errors, "service", s.name)
	d.set(record.MetricLatencyP50, latency*0.4, "service", s.name)
	d.set(record.MetricLatencyP95, latency, "service", s.name)
	d.set(record.MetricLatencyP99, latency*2.1, "service", s.name)
	d.set(record.MetricCPUDemand, demand, "service", s.name)
	d.set(record.MetricCPUCapacity, capacity, "service", s.name)
	d.set(record.MetricCPUUsed, min(demand, capacity), "service", s.name)
	d.set(record.MetricThrottled, max(0, rho-0.7)/2, "service", s.name)
	d.set(record.MetricMemoryUsed, s.ready*180e6, "service", s.name)
	d.set(record.MetricDesired, s.desired, "workload", s.workload)
	d.set(record.MetricReady, s.ready, "workload", s.workload)
	return errors, latency
}

// created records the pods an upscale makes, in order after the decision itself.
func (d *day) created(s *service, at time.Time, from, to float64) {
	for k := int(from); k < int(to); k++ {
		d.run.Add(record.Event{Pod: &record.Pod{Namespace: "shop", Name: fmt.Sprintf("%s-%d-%d", s.name[5:], at.Unix()%86400, k), Workload: s.workload, Revision: "1", Node: fmt.Sprintf("web-%d", k%7+1), Created: at,
			Scheduled: at.Add(time.Second), Started: at.Add(6 * time.Second), Ready: at.Add(11 * time.Second), Deleted: at.Add(2 * time.Hour), Gone: at.Add(2*time.Hour + 30*time.Second), Phase: "Succeeded",
			CPURequestCores: 0.5, MemoryRequestBytes: 256 << 20, CPUUsedCoreSeconds: 1800, MemoryUsedByteSeconds: 180e6 * 7200}})
	}
}

func (d *day) state(s *service, at time.Time, rho, errors float64) {
	if hot := rho > 0.95; hot != s.saturated {
		s.saturated = hot
		e := record.Entry{Kind: record.KindSaturation, Object: s.name, What: s.name + " is saturated", Severity: record.Warning, Data: map[string]string{"state": "begins", "service": s.name}}
		if !hot {
			e.What, e.Severity, e.Data["state"] = s.name+" has room again", record.Info, "ends"
		}
		d.entry(at, e)
	}
	if bad := errors > 0.01; bad != s.erring {
		s.erring = bad
		e := record.Entry{Kind: record.KindErrors, Object: s.name, What: fmt.Sprintf("%s fails %.0f %% of its requests", s.name, errors*100), Severity: record.Severe, Data: map[string]string{"state": "begins", "service": s.name}}
		if !bad {
			e.What, e.Severity, e.Data["state"] = s.name+" answers again", record.Notable, "ends"
		}
		d.entry(at, e)
	}
}

func (d *day) close() {
	end := d.start.Add(d.Duration)
	front := d.services[0]
	d.run.Add(record.Event{Load: &record.Load{Name: "shoppers", To: "shop/frontend", Offered: front.offered, Served: front.served - 40, Failed: front.failed, Inside: 40, P50: 0.021, P95: 0.087 + 0.002*d.draw(), P99: 0.21}})
	for i, s := range d.services {
		d.run.Add(record.Event{Load: &record.Load{Name: s.name, Service: true, Offered: s.offered, Served: s.served, Failed: s.failed, P50: 0.01, P95: 0.04, P99: 0.1}})
		d.run.Add(record.Event{Workload: &record.Workload{Object: s.workload, Service: s.name, ReplicasMin: int(s.min), ReplicasMean: s.sum / s.minutes, ReplicasMax: int(s.max), ReplicasEnd: int(s.ready),
			DesiredEnd: int(s.desired), Reversals: s.reversals, Revisions: 1, AvailabilityStart: 1, AvailabilityEnd: 1, CPUMeanShare: 0.55, ThrottledShare: 0.04}})
		if i > 0 {
			d.run.Add(record.Event{Call: &record.Call{From: d.services[(i-1)/3].name, To: s.name, Attempts: s.offered, Failed: s.failed, Mean: s.share, Inferred: "env " + serviceName(i) + "_ADDR"}})
		}
		for k := range int(s.max) {
			p := record.Pod{Namespace: "shop", Name: fmt.Sprintf("%s-1-%d", serviceName(i), k), Workload: s.workload, Revision: "1", Node: fmt.Sprintf("web-%d", (i+k)%7+1), Created: d.start.Add(-10 * time.Minute),
				Scheduled: d.start.Add(-10 * time.Minute), Started: d.start.Add(-9 * time.Minute), Ready: d.start.Add(-9 * time.Minute), Phase: "Running", CPURequestCores: 0.5, MemoryRequestBytes: 256 << 20,
				CPUUsedCoreSeconds: s.cpuUsed / s.max, MemoryUsedByteSeconds: 180e6 * d.Duration.Seconds()}
			if k >= int(s.min) {
				p.Created = d.start.Add(time.Duration(3+k) * time.Hour / 2)
				p.Scheduled, p.Started, p.Ready = p.Created.Add(2*time.Second), p.Created.Add(9*time.Second), p.Created.Add(14*time.Second)
			}
			d.run.Add(record.Event{Pod: &p})
		}
	}
	if !d.NoZoneLoss {
		d.run.Add(record.Event{Pod: &record.Pod{Namespace: "shop", Name: "payment-1-x", Workload: "Deployment/shop/payment", Created: d.at("20:31"), Scheduled: d.at("20:39"), Phase: "Running", CPURequestCores: 0.5, MemoryRequestBytes: 256 << 20}})
	}
	d.run.Add(record.Event{Assumed: &record.Assumed{What: "shop/ads cpu a request", Value: "7 ms", Because: "the manifest says nothing", ReplaceBy: "services[].cpu", CPUShare: 0.21, FromObject: "Deployment/shop/ads"}})
	d.run.Add(record.Event{Assumed: &record.Assumed{What: "image pull", Value: "8 s p50", Because: "no size is known", ReplaceBy: "cluster.images", CPUShare: 0, FromObject: ""}})
	d.run.Add(record.Event{Limit: &record.Limit{What: "bytes on the network", Why: "the flow model counts requests"}})
	d.run.Add(record.Event{End: &record.End{Time: end, WritesHash: fmt.Sprintf("%064x", 77+d.Seed), TimelineHash: fmt.Sprintf("%064x", 99+d.Seed), Writes: 18231, Execution: &record.Execution{WallSeconds: 9.1, PlayedSeconds: d.Duration.Seconds()}}})
}
