package balance

import (
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

func withOutlier(change func(*config.Outlier)) config.Policy {
	policy, o := config.Defaults(), config.DefaultOutlier()
	if change != nil {
		change(&o)
	}
	policy.Outlier = &o
	return policy
}

func fail(p *Pool, e *Endpoint, o Outcome, times int, now int64) (ejected bool) {
	for range times {
		ejected = p.Report(e, o, now) || ejected
	}
	return ejected
}

func TestFiveFailuresInARowEject(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Outcome{"server errors": ServerError, "gateway errors": GatewayError} {
		p := pool(10, withOutlier(nil))
		e := p.Find("uid-3")
		fail(p, e, o, 4, 0)
		p.Report(e, Success, 0)
		if fail(p, e, o, 4, 0) {
			t.Errorf("%s: ejected after four in a row", name)
		}
		if !p.Report(e, o, 0) {
			t.Errorf("%s: not ejected after five in a row", name)
		}
		if got := share(p, 1000, 29*second, Choice{}); got["pod-3"] != 0 || p.Ejected(29*second) != 1 {
			t.Errorf("%s: the ejected got %d requests", name, got["pod-3"])
		}
		if got := share(p, 1000, 31*second, Choice{}); got["pod-3"] == 0 {
			t.Errorf("%s: after 30 s it is still out", name)
		}
	}
}

func TestGatewayErrorsAloneCanEject(t *testing.T) {
	t.Parallel()
	p := pool(10, withOutlier(func(o *config.Outlier) { o.Consecutive5xx, o.ConsecutiveGatewayErrors = 100, 2 }))
	e := p.Find("uid-0")
	if p.Report(e, GatewayError, 0); p.Report(e, ServerError, 0) || p.Report(e, GatewayError, 0) {
		t.Error("ejected though the gateway errors did not follow one another")
	}
	if !p.Report(e, GatewayError, 0) {
		t.Error("not ejected after two gateway errors in a row")
	}
}

func TestEjectionsOfTheSameEndpointGrowAndShrinkAgain(t *testing.T) {
	t.Parallel()
	p := pool(10, withOutlier(nil))
	e := p.Find("uid-0")
	now := int64(0)
	for i, want := range []time.Duration{30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300} {
		fail(p, e, ServerError, 5, now)
		if got := time.Duration(e.EjectedUntil() - now); got != want*time.Second {
			t.Fatalf("ejection %d lasts %v, want %v s", i+1, got, int(want))
		}
		now = e.EjectedUntil()
	}
	now += 35 * second // three intervals of good conduct
	fail(p, e, ServerError, 5, now)
	if got := time.Duration(e.EjectedUntil() - now); got != 270*time.Second {
		t.Errorf("after three intervals without, the ejection lasts %v, want 30 s × 9", got)
	}
}

func TestNoMoreThanTheBoundIsEjectedAndAlwaysSomebodyStays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ endpoints, percent, want int }{{1, 100, 0}, {2, 10, 1}, {10, 10, 1}, {10, 35, 3}, {30, 10, 3}} {
		p := pool(c.endpoints, withOutlier(func(o *config.Outlier) { o.MaxEjectedPercent = c.percent }))
		for _, e := range p.Endpoints() {
			fail(p, e, GatewayError, 5, 0)
		}
		if got := p.Ejected(0); got != c.want {
			t.Errorf("%d of %d endpoints ejected with a bound of %d %%, want %d", got, c.endpoints, c.percent, c.want)
		}
	}
}

func TestWhenMostAreOutAllAreUsed(t *testing.T) {
	t.Parallel()
	p := pool(10, withOutlier(func(o *config.Outlier) { o.MaxEjectedPercent = 100 }))
	for i, e := range p.Endpoints() {
		if i < 6 {
			fail(p, e, GatewayError, 5, 0)
		}
	}
	got := share(p, 10_000, second, Choice{})
	if len(got) != 10 {
		t.Errorf("%d of 10 endpoints are used while 60 %% are ejected, want all", len(got))
	}
	if _, panicking := p.Pick(Choice{}, second); !panicking {
		t.Error("it is not told")
	}
}

func TestHealingCanEjectToo(t *testing.T) {
	t.Parallel()
	p := pool(4, config.Defaults())
	if !p.Eject(p.Find("uid-1"), 60*second, 25, 0) {
		t.Error("the first of four was not ejected")
	}
	if p.Eject(p.Find("uid-2"), 60*second, 25, 0) {
		t.Error("a second one was, beyond 25 %")
	}
	if got := share(p, 1000, 59*second, Choice{}); got["pod-1"] != 0 {
		t.Errorf("the ejected got %d requests", got["pod-1"])
	}
	p.Eject(p.Find("uid-1"), 30*second, 25, 0)
	if p.Find("uid-1").EjectedUntil() != 60*second {
		t.Error("a shorter ejection cut a longer one")
	}
}

func TestABreakerBoundsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	var b Breaker
	for range 3 {
		if !b.Begin(3) {
			t.Fatal("refused within the bound")
		}
	}
	if b.Begin(3) || b.Overflows() != 1 {
		t.Error("a fourth request went through a bound of three")
	}
	b.End()
	if !b.Begin(3) {
		t.Error("refused after one had ended")
	}
	if !b.Connect(0) {
		t.Error("0 is no bound")
	}
}
