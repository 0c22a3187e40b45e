package cost

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/catalog"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

var start = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-9*max(1, math.Abs(want)) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

// The example of the OpenCost specification: 35 an hour with base prices 30, 30 and 10.
func TestNodePriceIsSplitInTheRatioOfItsBasePrices(t *testing.T) {
	t.Parallel()
	cpu, memory, gpu := split(35, 30, 30, 10)
	near(t, "cpu", cpu, 15)
	near(t, "memory", memory, 15)
	near(t, "gpu", gpu, 5)
}

func hours(run *record.Run, h float64) {
	run.Start.PlayFrom, run.Start.PlayTo = start, start.Add(time.Duration(h*float64(time.Hour)))
	run.End = &record.End{Time: run.Start.PlayTo}
}

func TestWorkloadPaysTheHigherOfRequestAndUsageAndTheRestIsIdle(t *testing.T) {
	t.Parallel()
	var run record.Run
	hours(&run, 10)
	run.Nodes = []record.Node{{Name: "n", Requested: start.Add(-time.Hour), CPUCores: 4, MemoryBytes: 16 << 30, PricePerHour: 2}}
	pod := func(name string, request, used float64) record.Pod {
		return record.Pod{Namespace: "shop", Name: name, Workload: "Deployment/shop/" + name, Node: "n", Created: start, Scheduled: start, Started: start, CPURequestCores: request, CPUUsedCoreSeconds: used * 36000}
	}
	run.Pods = []record.Pod{pod("calm", 2, 1), pod("busy", 0.5, 1)}
	b := Charge(&run, Prices{PerResource: PerResource{CPU: 1, MemoryGiB: 0}, Currency: "EUR"})
	near(t, "nodes", b.Nodes, 20)
	near(t, "busy", b.ByWorkload[0].Cost, 1*0.5*10) // 2 an hour over 4 cores, one core used
	near(t, "calm", b.ByWorkload[1].Cost, 2*0.5*10)
	near(t, "calm idle", b.ByWorkload[1].Idle, 1*0.5*10)
	near(t, "idle", b.Idle, 20-5-10)
	near(t, "idle share", b.IdleShare, 0.25)
}

func TestNodeTimeIsRoundedUpWithAMinimum(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lived time.Duration
		want  time.Duration
	}{{10 * time.Second, time.Minute}, {61*time.Second + 1, 62 * time.Second}, {time.Hour, time.Hour}, {0, 0}} {
		var run record.Run
		hours(&run, 10)
		run.Nodes = []record.Node{{Name: "n", Type: "m5.xlarge", Requested: start.Add(time.Hour), Gone: start.Add(time.Hour + c.lived)}}
		near(t, c.lived.String(), Charge(&run, Default()).NodeHours, c.want.Hours())
	}
}

func TestPricesAreTakenFromNodeListCatalogThenResources(t *testing.T) {
	t.Parallel()
	spot := 0.05
	p, err := FromSpec(&v1alpha1.Prices{File: "prices.yaml", Types: map[string]v1alpha1.TypePrice{"m5.xlarge": {OnDemand: 0.2, Spot: &spot}, "c5.large": {OnDemand: 0.1}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		own            float64
		instance, kind string
		want           float64
		note           string
	}{
		{0.9, "m5.xlarge", "", 0.9, ""},
		{0, "m5.xlarge", catalog.OnDemand, 0.2, ""},
		{0, "m5.xlarge", catalog.Spot, 0.05, ""},
		{0, "c5.large", catalog.Spot, 0.1, "no spot price"},
		{0, "m5.large", "", 0.096, ""},
		{0, "m5.large", catalog.Spot, 0.0672, "estimated"},
		{0, "vm-9000", "", 4*0.031611 + 16*0.004237, "no price known"},
		{0, "vm-9000", catalog.Spot, 4*0.006655 + 16*0.000892, "no price known"},
	} {
		q := p.nodePrice(c.own, c.instance, c.kind, 4, 16)
		near(t, c.instance+" "+c.kind, q.perHour, c.want)
		if !strings.Contains(q.note, c.note) || c.note == "" && q.note != "" {
			t.Errorf("%s %s: note %q, want %q", c.instance, c.kind, q.note, c.note)
		}
	}
}

func TestCommitmentIsPaidWhetherUsedOrNot(t *testing.T) {
	t.Parallel()
	p, err := FromSpec(&v1alpha1.Prices{Types: map[string]v1alpha1.TypePrice{"m5.xlarge": {OnDemand: 0.2}}, ControlPlane: new(float64), Commitments: []v1alpha1.Commitment{{Type: "m5.xlarge", Count: 2, Price: 0.1}}})
	if err != nil {
		t.Fatal(err)
	}
	var run record.Run
	hours(&run, 10)
	node := func(name string, gone time.Time) record.Node {
		return record.Node{Name: name, Type: "m5.xlarge", Requested: start.Add(-time.Minute), Gone: gone, CPUCores: 4}
	}
	run.Nodes = []record.Node{node("a", time.Time{}), node("b", start.Add(5*time.Hour)), node("c", time.Time{})}
	// Until hour 5 a and b are committed, c pays the list; then a and c are committed.
	near(t, "total", Charge(&run, p).Total, 10*0.1+5*0.1+5*0.2+5*0.1)
	run.Nodes = run.Nodes[:1]
	near(t, "with one node", Charge(&run, p).Total, 10*0.1+10*0.1)
}

func TestSpotCurveIsIntegrated(t *testing.T) {
	t.Parallel()
	p, err := FromSpec(&v1alpha1.Prices{ControlPlane: new(float64), SpotCurve: "spot.csv", SpotCurveData: "time,type,price\n2026-01-05T04:00:00Z,m5.xlarge,0.3\n2026-01-05T02:00:00Z,m5.xlarge,0.1\n"})
	if err != nil {
		t.Fatal(err)
	}
	var run record.Run
	hours(&run, 6)
	run.Nodes = []record.Node{{Name: "s", Type: "m5.xlarge", CapacityType: catalog.Spot, Requested: start, CPUCores: 4}}
	near(t, "total", Charge(&run, p).Total, 2*0.192*0.7+2*0.1+2*0.3)
}

func TestOpenCostRowsGiveTheLatestPriceOfAType(t *testing.T) {
	t.Parallel()
	p, err := FromSpec(&v1alpha1.Prices{File: "oc.csv", OpenCost: `EndTimestamp,InstanceID,Region,AssetClass,InstanceIDField,InstanceType,MarketPriceHourly,Version
2026-02-01 00:00:00 UTC,,us-east-1,node,spec.providerID,m5.xlarge,0.25,
2026-01-01 00:00:00 UTC,,us-east-1,node,spec.providerID,m5.xlarge,0.99,
2026-01-01 00:00:00 UTC,disk-1,us-east-1,pv,metadata.name,,0.00005,
`})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "m5.xlarge", p.Types["m5.xlarge"].OnDemand, 0.25)
	if !strings.Contains(p.Source, "1 rows of class pv left out") {
		t.Errorf("Source %q does not say what was left out", p.Source)
	}
}

func TestBadPricesAreRefusedWithFileAndPlace(t *testing.T) {
	t.Parallel()
	negative := -1.0
	for want, spec := range map[string]v1alpha1.Prices{
		"p.yaml: types.m5.xlarge.onDemand is -1":           {File: "p.yaml", Types: map[string]v1alpha1.TypePrice{"m5.xlarge": {OnDemand: -1}}},
		"neither onDemand nor spot":                        {File: "p.yaml", Types: map[string]v1alpha1.TypePrice{"m5.xlarge": {}}},
		"controlPlane is -1":                               {ControlPlane: &negative},
		"commitments[0] needs a type":                      {Commitments: []v1alpha1.Commitment{{Count: 1}}},
		`oc.csv:1: unknown column "Price"`:                 {File: "oc.csv", OpenCost: "EndTimestamp,Price\n"},
		`oc.csv:1: column "InstanceID" is missing`:         {File: "oc.csv", OpenCost: "EndTimestamp,Region\n"},
		`oc.csv:2: MarketPriceHourly "free"`:               {File: "oc.csv", OpenCost: strings.Join(openCostColumns, ",") + "\n,,,node,,m5.xlarge,free,\n"},
		`spot.csv:2: time "yesterday" is not RFC 3339`:     {SpotCurve: "spot.csv", SpotCurveData: "time,type,price\nyesterday,m5.xlarge,1\n"},
		`spot.csv:2: price "-3" is no number of 0 or more`: {SpotCurve: "spot.csv", SpotCurveData: "time,type,price\n2026-01-05T04:00:00Z,m5.xlarge,-3\n"},
	} {
		if _, err := FromSpec(&spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestPartsOfABillSumToTheWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var run record.Run
		hours(&run, rapid.Float64Range(0.1, 48).Draw(t, "hours"))
		end := run.Start.PlayTo
		moment := func(name string) time.Time {
			return start.Add(time.Duration(rapid.Int64Range(-3600, 200000).Draw(t, name)) * time.Second)
		}
		for i := range rapid.IntRange(1, 6).Draw(t, "nodes") {
			n := record.Node{Name: string(rune('a' + i)), Pool: rapid.SampledFrom([]string{"web", "batch"}).Draw(t, "pool"), Type: rapid.SampledFrom([]string{"m5.xlarge", "c5.large", "odd", ""}).Draw(t, "type"),
				CapacityType: rapid.SampledFrom([]string{"", "spot", "on-demand"}).Draw(t, "capacity"), CPUCores: 4, MemoryBytes: 16 << 30, Requested: moment("requested")}
			if gone := moment("gone"); gone.After(n.Requested) {
				n.Gone = gone
			}
			run.Nodes = append(run.Nodes, n)
			run.Pods = append(run.Pods, record.Pod{Name: n.Name, Workload: "Deployment/x/" + n.Name, Node: n.Name, Created: n.Requested, Scheduled: n.Requested, Gone: n.Gone,
				CPURequestCores: rapid.Float64Range(0, 2).Draw(t, "request"), MemoryRequestBytes: rapid.Float64Range(0, 8<<30).Draw(t, "memory")})
		}
		b := Charge(&run, Default())
		pools, workloads := 0.0, 0.0
		for _, p := range b.Pools {
			pools += p.Cost
		}
		for _, w := range b.ByWorkload {
			workloads += w.Cost
			if w.Idle > w.Cost+1e-9 || w.Idle < 0 {
				t.Fatalf("%s: idle %v of %v", w.Object, w.Idle, w.Cost)
			}
		}
		for _, v := range []float64{b.Total - b.Nodes - b.Overhead, b.Nodes - pools, b.Workloads - workloads} {
			if math.Abs(v) > 1e-6 {
				t.Fatalf("the parts do not sum: %+v", b)
			}
		}
		if b.Idle < 0 || b.AtSpotShare > b.Total+1e-9 || math.IsNaN(b.Total) || end.Before(start) {
			t.Fatalf("implausible bill %+v", b)
		}
	})
}

func TestTheCostOfAnHourFollowsTheNodesThatLive(t *testing.T) {
	t.Parallel()
	var run record.Run
	hours(&run, 4)
	run.Nodes = []record.Node{{Name: "a", Requested: start.Add(-time.Hour), CPUCores: 4, PricePerHour: 2},
		{Name: "b", Requested: start.Add(90 * time.Minute), Gone: start.Add(3 * time.Hour), CPUCores: 4, PricePerHour: 1}}
	times := []time.Time{start.Add(time.Hour), start.Add(2 * time.Hour), start.Add(3 * time.Hour), start.Add(4 * time.Hour)}
	got := Hourly(&run, Prices{ControlPlane: 0.1}, times, time.Hour)
	sum := 0.0
	for i, want := range []float64{2.1, 2.6, 3.1, 2.1} {
		near(t, times[i].Format("15:04"), got[i], want)
		sum += got[i]
	}
	near(t, "all hours", sum, Charge(&run, Prices{ControlPlane: 0.1}).Total)
}
