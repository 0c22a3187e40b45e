package balance

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"pgregory.net/rapid"
)

const second = int64(time.Second)

// endpoints named 1…n, with an UID each.
func endpoints(n int) (all []config.Endpoint) {
	for i := range n {
		all = append(all, config.Endpoint{Address: fmt.Sprintf("10.128.0.%d", i+1), Port: 8080, Pod: fmt.Sprint("pod-", i), UID: fmt.Sprint("uid-", i), Revision: "a"})
	}
	return all
}

func pool(n int, policy config.Policy) *Pool {
	p := NewPool(policy)
	p.SetEndpoints(endpoints(n), "", 0)
	return p
}

// share counts where requests go.
func share(p *Pool, requests int, now int64, c Choice) map[string]int {
	got := map[string]int{}
	for i := range requests {
		c.Draw = Hash(fmt.Sprint(i))
		if e, _ := p.Pick(c, now); e != nil {
			got[e.Pod]++
		}
	}
	return got
}

func TestEveryAlgorithmUsesAllEndpointsEvenlyWhenAllAreAlike(t *testing.T) {
	t.Parallel()
	for name, algorithm := range map[string]config.Algorithm{"P2C": config.P2C, "RoundRobin": config.RoundRobin, "LeastRequest": config.LeastRequest, "Random": config.Random} {
		policy := config.Defaults()
		policy.Algorithm = algorithm
		for pod, n := range share(pool(5, policy), 10_000, 0, Choice{}) {
			if n < 1700 || n > 2300 {
				t.Errorf("%s: %s got %d of 10000 requests, want about 2000", name, pod, n)
			}
		}
	}
}

func TestTheSlowAndTheFailingGetFewerRequests(t *testing.T) {
	t.Parallel()
	p := pool(4, config.Defaults())
	for i, e := range p.Endpoints() {
		e.Measured([]time.Duration{100, 5, 5, 5}[i]*time.Millisecond, i == 1, 0)
	}
	got := share(p, 10_000, second, Choice{})
	// Each is one of the two choices for half the requests; the slowest loses all of these but against nobody, the failed only wins against the slowest.
	if got["pod-0"] > got["pod-1"] || got["pod-1"] > got["pod-2"]/2 {
		t.Errorf("shares %v: want the failing below the good, the slow below it", got)
	}
	late := share(p, 10_000, 7*second, Choice{})
	if late["pod-1"] < got["pod-1"]*3/2 {
		t.Errorf("seven seconds after its failure pod-1 got %d, before %d: it should be forgiven", late["pod-1"], got["pod-1"])
	}
}

func TestANewEndpointStartsSlowly(t *testing.T) {
	t.Parallel()
	policy := config.Defaults()
	policy.SlowStart = 10 * time.Second
	policy.Algorithm = config.LeastRequest
	p := pool(2, policy)
	p.SetEndpoints(endpoints(3), "", 100*second)
	fill := func(now int64) map[string]int {
		got := map[string]int{}
		var busy []*Endpoint
		for i := range 210 {
			e, _ := p.Pick(Choice{Draw: uint64(i)}, now)
			e.Begin()
			busy = append(busy, e)
			got[e.Pod]++
		}
		for _, e := range busy {
			e.End()
		}
		return got
	}
	for after, want := range map[int64]int{0: 10, 5: 45, 10: 70} {
		if got := fill(100*second + after*second)["pod-2"]; math.Abs(float64(got-want)) > 4 {
			t.Errorf("%d s after it came it holds %d of 210 requests, want about %d", after, got, want)
		}
	}
}

func TestTheHashedStayWithTheirEndpointAndOthersMoveLittle(t *testing.T) {
	t.Parallel()
	policy := config.Defaults()
	policy.Algorithm = config.ConsistentHash
	p := pool(10, policy)
	before := map[int]string{}
	for i := range 1000 {
		e, _ := p.Pick(Choice{Hash: Hash(fmt.Sprint("user-", i))}, 0)
		before[i] = e.Pod
	}
	p.SetEndpoints(endpoints(9), "", 0)
	moved := 0
	for i := range 1000 {
		if e, _ := p.Pick(Choice{Hash: Hash(fmt.Sprint("user-", i))}, 0); e.Pod != before[i] {
			moved++
			if before[i] != "pod-9" {
				t.Fatalf("user-%d moved from %s, which is still there", i, before[i])
			}
		}
	}
	if moved == 0 || moved > 200 {
		t.Errorf("%d of 1000 moved when one of ten endpoints went, want about 100", moved)
	}
}

func TestAHotKeyIsSpreadWhenItsEndpointIsFull(t *testing.T) {
	t.Parallel()
	policy := config.Defaults()
	policy.Algorithm = config.ConsistentHash
	p := pool(4, policy)
	most := int64(0)
	for range 100 {
		e, _ := p.Pick(Choice{Hash: 1}, 0)
		e.Begin()
		most = max(most, e.InFlight())
	}
	if most > 32 { // 1.25 × 100 ÷ 4, rounded up
		t.Errorf("one endpoint has %d of 100 requests of one key, want at most 32", most)
	}
}

func TestRequestsStayInTheZoneWhileItIsHealthy(t *testing.T) {
	t.Parallel()
	all := endpoints(20)
	for i := range all {
		all[i].Zone = []string{"a", "b"}[i/10]
	}
	p := NewPool(config.Defaults())
	p.SetEndpoints(all, "a", 0)
	near := func() (n int) {
		for i := range 10_000 {
			if e, _ := p.Pick(Choice{Draw: Hash(fmt.Sprint(i))}, 0); e.Zone == "a" {
				n++
			}
		}
		return n
	}
	suspend := func(n int) {
		for i := range n {
			p.Suspend(p.Find(fmt.Sprint("uid-", i)), second)
		}
	}
	if got := near(); got != 10_000 {
		t.Errorf("%d of 10000 stayed in a healthy zone", got)
	}
	suspend(2) // 8 of 10 × 1.4 is above 1
	if got := near(); got != 10_000 {
		t.Errorf("%d of 10000 stayed in a zone of which 80 %% are healthy, want all", got)
	}
	suspend(5) // 70 % stay, and of the rest every second choice among all is in the zone's part of the healthy
	if got := near(); got < 7700 || got > 8300 {
		t.Errorf("%d of 10000 stayed in a zone of which half is healthy, want 7000 and a third of 3000", got)
	}
}

func TestWhoTerminatesIsUsedOnlyWhenThereIsNobodyElse(t *testing.T) {
	t.Parallel()
	all := endpoints(3)
	all[0].Terminating, all[1].Terminating = true, true
	p := NewPool(config.Defaults())
	p.SetEndpoints(endpoints(3), "", 0)
	gone := p.SetEndpoints(all, "", 1)
	if got := share(p, 100, 0, Choice{}); got["pod-2"] != 100 {
		t.Errorf("shares %v, want all at the one that does not terminate", got)
	}
	if len(gone) != 2 {
		t.Errorf("%d endpoints are told to be gone, want the two that terminate", len(gone))
	}
	all[2].Terminating = true
	p.SetEndpoints(all, "", 2)
	if got := share(p, 900, 0, Choice{}); len(got) != 3 {
		t.Errorf("shares %v, want all three while all terminate", got)
	}
	p.SetEndpoints(nil, "", 3)
	if e, _ := p.Pick(Choice{}, 3); e != nil {
		t.Errorf("picked %v of none", e)
	}
}

func TestARetryGoesElsewhereIfItCan(t *testing.T) {
	t.Parallel()
	p := pool(2, config.Defaults())
	avoid := p.Find("uid-0")
	if got := share(p, 100, 0, Choice{Avoid: avoid}); got["pod-1"] != 100 {
		t.Errorf("shares %v, want none at the one to avoid", got)
	}
	p.Suspend(p.Find("uid-1"), second)
	if got := share(p, 100, 0, Choice{Avoid: avoid}); got["pod-0"] != 100 {
		t.Errorf("shares %v, want the one to avoid when the other is suspended", got)
	}
}

func TestASessionGoesOnWithTheRevision(t *testing.T) {
	t.Parallel()
	all := endpoints(6)
	for i := range 2 {
		all[i].Revision = "canary"
	}
	p := NewPool(config.Defaults())
	p.SetEndpoints(all, "", 0)
	got := share(p, 100, 0, Choice{Revision: "canary"})
	if got["pod-0"]+got["pod-1"] != 100 {
		t.Errorf("shares %v, want the canary's only", got)
	}
	if got := share(p, 100, 0, Choice{Revision: "gone"}); len(got) != 6 {
		t.Errorf("shares %v of a revision that has gone, want all", got)
	}
}

func TestWhatIsKnownOfAnEndpointStaysWhenOthersCome(t *testing.T) {
	t.Parallel()
	p := pool(2, config.Defaults())
	p.Find("uid-0").Measured(80*time.Millisecond, false, 0)
	p.Find("uid-0").Begin()
	all := endpoints(3)
	all[0].Revision = "b"
	p.SetEndpoints(all, "", second)
	e := p.Find("uid-0")
	if e.Latency() != 80*time.Millisecond || e.InFlight() != 1 || e.Revision != "b" {
		t.Errorf("latency %v, %d in flight, revision %s", e.Latency(), e.InFlight(), e.Revision)
	}
	all[0].UID = "other" // the address went to another pod
	if gone := p.SetEndpoints(all, "", second); len(gone) != 1 || p.Find("other").Latency() != 0 {
		t.Errorf("gone %v; the pod that got the address is known to take %v", gone, p.Find("other").Latency())
	}
}

func TestWhateverHappensToEndpointsARequestGoesToOneThatMayHaveIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		policy := config.Defaults()
		policy.Algorithm = config.Algorithm(rapid.IntRange(0, 4).Draw(t, "algorithm"))
		if rapid.Bool().Draw(t, "outlier") {
			o := config.DefaultOutlier()
			policy.Outlier = &o
		}
		p := NewPool(policy)
		now := int64(0)
		t.Repeat(map[string]func(*rapid.T){
			"endpoints": func(t *rapid.T) {
				all := endpoints(rapid.IntRange(0, 8).Draw(t, "n"))
				for i := range all {
					all[i].Zone = rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "zone")
					all[i].Terminating = rapid.IntRange(0, 3).Draw(t, "terminating") == 0
				}
				p.SetEndpoints(all, "a", now)
			},
			"time": func(t *rapid.T) { now += rapid.Int64Range(0, 60*second).Draw(t, "later") },
			"trouble": func(t *rapid.T) {
				all := p.Endpoints()
				if len(all) == 0 {
					return
				}
				e, before := all[rapid.IntRange(0, len(all)-1).Draw(t, "which")], p.Ejected(now)
				switch rapid.IntRange(0, 4).Draw(t, "what") {
				case 0:
					p.Suspend(e, now+second)
				case 1:
					p.SetHealthy(e, rapid.Bool().Draw(t, "healthy"))
				case 2:
					for range 5 {
						p.Report(e, GatewayError, now)
					}
				case 3:
					p.Eject(e, now+100*second, 50, now)
				case 4:
					e.Begin()
				}
				if n := p.Ejected(now); n > before && n > max(1, len(all)/2) {
					t.Fatalf("%d of %d are ejected", n, len(all))
				}
			},
			"": func(t *rapid.T) {
				e, panicking := p.Pick(Choice{Draw: rapid.Uint64().Draw(t, "draw"), Hash: rapid.Uint64().Draw(t, "hash")}, now)
				all := p.Endpoints()
				healthy := count(all, now)
				switch {
				case len(all) == 0 && e != nil, len(all) > 0 && e == nil:
					t.Fatalf("picked %v of %d", e, len(all))
				case e == nil:
				case !e.available(now) && !panicking:
					t.Fatalf("picked %s, which may not have requests, of %d healthy", e.Pod, healthy)
				case panicking && healthy == len(all):
					t.Fatalf("panic while all are healthy")
				case panicking && healthy > 0 && (policy.Outlier == nil || healthy*100 >= policy.Outlier.PanicBelowPercent*len(all)):
					t.Fatalf("panic with %d of %d healthy", healthy, len(all))
				}
			},
		})
	})
}

func BenchmarkPick(b *testing.B) {
	p := pool(100, config.Defaults())
	b.ReportAllocs()
	for i := range b.N {
		e, _ := p.Pick(Choice{Draw: mix(uint64(i))}, int64(i))
		e.Begin()
		e.Measured(time.Millisecond, false, int64(i))
		e.End()
	}
}
