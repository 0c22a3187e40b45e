package load

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/zone"
)

var start = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC) // a Monday

func options() Options { return Options{Start: start, End: start.Add(48 * time.Hour), Seed: 1} }

func profile(t testing.TB, l v1alpha1.Load) *Profile {
	t.Helper()
	if l.Name == "" {
		l.Name = "shoppers"
	}
	p, err := New(&l, options())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func rate(r float64) *v1alpha1.Rate { v := v1alpha1.Rate(r); return &v }
func number(f float64) *float64     { return &f }

func minutes(m float64) v1alpha1.Duration {
	return v1alpha1.DurationOf(time.Duration(m * float64(time.Minute)))
}

func TestCurvesHaveTheRatesTheyDescribe(t *testing.T) {
	t.Parallel()
	hourly := make([]float64, 24)
	for i := range hourly {
		hourly[i] = float64(i)
	}
	for _, c := range []struct {
		name string
		load v1alpha1.Load
		want map[string]float64 // by time since the start
	}{
		{"constant", v1alpha1.Load{Rate: rate(7)}, map[string]float64{"0s": 7, "30h": 7, "-10m": 7}},
		{"cosine", v1alpha1.Load{Daily: &v1alpha1.DailyLoad{Low: 60, High: 420, PeakAt: "20:30"}},
			map[string]float64{"20h30m": 420, "8h30m": 60, "14h30m": 240, "44h30m": 420}},
		{"hourly values are met and repeat", v1alpha1.Load{Daily: &v1alpha1.DailyLoad{Shape: &v1alpha1.DailyShape{Hourly: hourly}}},
			map[string]float64{"0h": 0, "5h": 5, "23h": 23, "29h": 5}},
		{"hourly values between low and high", v1alpha1.Load{Daily: &v1alpha1.DailyLoad{Low: 100, High: 560, Shape: &v1alpha1.DailyShape{Hourly: hourly}}},
			map[string]float64{"0h": 100, "23h": 560}},
		{"office has two peaks", v1alpha1.Load{Daily: &v1alpha1.DailyLoad{Low: 0, High: 100, Shape: &v1alpha1.DailyShape{Name: "office"}}},
			map[string]float64{"10h30m": 100, "15h": 97, "12h45m": 74, "5h": 0}},
		{"stages are straight lines from 0", v1alpha1.Load{Stages: []v1alpha1.Stage{{For: minutes(10), To: 100}, {For: minutes(10), To: 100}, {For: minutes(0), To: 20}, {For: minutes(10), To: 0}}},
			map[string]float64{"0s": 0, "5m": 50, "15m": 100, "20m": 20, "25m": 10, "40m": 0}},
		{"steps hold", v1alpha1.Load{Steps: []v1alpha1.RateStep{{At: "+1m", Rate: 5}, {At: "01:00", Rate: 9}}},
			map[string]float64{"30s": 0, "1m": 5, "59m": 5, "1h": 9, "40h": 9}},
		{"rows are joined by lines", v1alpha1.Load{CSV: &v1alpha1.CSVLoad{Table: &v1alpha1.CSVTable{Times: []float64{0, 60, 120}, Series: []v1alpha1.CSVSeries{{Route: "*", Values: []float64{10, 20, 0}}}}}},
			map[string]float64{"0s": 10, "30s": 15, "90s": 10, "10m": 0}},
		{"a spike with ramps, again and again", v1alpha1.Load{Rate: rate(100), Spikes: []v1alpha1.Spike{{At: "01:00", For: minutes(10), Factor: number(2), Ramp: minutes(5), Every: minutes(60)}}},
			map[string]float64{"59m": 100, "1h2m30s": 150, "1h5m": 200, "1h14m": 200, "1h17m30s": 150, "1h20m": 100, "2h5m": 200}},
		{"spikes add", v1alpha1.Load{Rate: rate(100), Spikes: []v1alpha1.Spike{{At: "01:00", For: minutes(10), Add: rate(30)}}},
			map[string]float64{"1h": 130, "1h10m": 100}},
		{"factor, week and growth multiply", v1alpha1.Load{Rate: rate(100), Factor: number(2), Weekly: &v1alpha1.WeekFactor{Tue: number(0.5)}, Growth: &v1alpha1.GrowthRate{Share: 1, Per: 24 * time.Hour}},
			map[string]float64{"0s": 200, "24h": 200, "36h": 200 * 0.5 * math.Pow(2, 1.5)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := profile(t, c.load)
			for since, want := range c.want {
				d, err := time.ParseDuration(since)
				if err != nil {
					t.Fatal(err)
				}
				if got := Rate(p, start.Add(d)); math.Abs(got-want) > 1e-6 {
					t.Errorf("at %s: %g, want %g", since, got, want)
				}
			}
		})
	}
}

func TestDailyCurvesFollowTheClockThroughSummerTime(t *testing.T) {
	t.Parallel()
	berlin, err := zone.Load("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2026, 3, 28, 0, 0, 0, 0, berlin)
	p, err := New(&v1alpha1.Load{Daily: &v1alpha1.DailyLoad{Low: 0, High: 100}}, Options{Start: from, End: from.Add(72 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for day := range 3 { // 2026-03-29 has 23 hours
		if got := Rate(p, time.Date(2026, 3, 28+day, 20, 0, 0, 0, berlin)); math.Abs(got-100) > 1e-9 {
			t.Errorf("at 20:00 of day %d the rate is %g", day+1, got)
		}
	}
}

// anyLoad draws a load with every part.
func anyLoad(r *rapid.T) v1alpha1.Load {
	l := v1alpha1.Load{Name: "l", Mix: map[string]float64{"a": rapid.Float64Range(0.1, 5).Draw(r, "a"), "b": rapid.Float64Range(0, 5).Draw(r, "b")}}
	switch rapid.IntRange(0, 3).Draw(r, "curve") {
	case 0:
		l.Rate = rate(rapid.Float64Range(0, 1000).Draw(r, "rate"))
	case 1:
		low := rapid.Float64Range(0, 100).Draw(r, "low")
		l.Daily = &v1alpha1.DailyLoad{Low: v1alpha1.Rate(low), High: v1alpha1.Rate(low + rapid.Float64Range(0, 1000).Draw(r, "high"))}
		if rapid.Bool().Draw(r, "shaped") {
			l.Daily.Shape = &v1alpha1.DailyShape{Hourly: rapid.SliceOfN(rapid.Float64Range(0, 500), 24, 24).Draw(r, "hourly")}
		}
	case 2:
		for range rapid.IntRange(1, 4).Draw(r, "stages") {
			l.Stages = append(l.Stages, v1alpha1.Stage{For: minutes(rapid.Float64Range(0, 300).Draw(r, "for")), To: v1alpha1.Rate(rapid.Float64Range(0, 500).Draw(r, "to"))})
		}
	case 3:
		l.CSV = &v1alpha1.CSVLoad{Table: &v1alpha1.CSVTable{Times: []float64{0, 600, 1200, 4000}, Series: []v1alpha1.CSVSeries{
			{Route: "x", Values: rapid.SliceOfN(rapid.Float64Range(0, 300), 4, 4).Draw(r, "x")}, {Route: "y", Values: rapid.SliceOfN(rapid.Float64Range(0, 300), 4, 4).Draw(r, "y")}}}}
	}
	if rapid.Bool().Draw(r, "noisy") {
		l.Noise = &v1alpha1.LoadNoise{Sigma: v1alpha1.Share(rapid.Float64Range(0, 0.5).Draw(r, "sigma")), Tau: minutes(1)}
	}
	for range rapid.IntRange(0, 2).Draw(r, "spikes") {
		s := v1alpha1.Spike{At: "01:00", For: minutes(rapid.Float64Range(1, 60).Draw(r, "hold")), Ramp: minutes(rapid.Float64Range(0, 10).Draw(r, "ramp")), Bot: rapid.Bool().Draw(r, "bot")}
		if rapid.Bool().Draw(r, "factor") {
			s.Factor = number(rapid.Float64Range(1, 5).Draw(r, "by"))
		} else {
			s.Add = rate(rapid.Float64Range(0.1, 100).Draw(r, "add"))
		}
		l.Spikes = append(l.Spikes, s)
	}
	return l
}

func TestRoutesAddUpToTheRateAndAllIsFinite(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		l := anyLoad(r)
		p, err := New(&l, options())
		if err != nil {
			r.Fatal(err)
		}
		at := start.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(r, "at")))
		total := Rate(p, at)
		var sum float64
		for _, one := range Rates(p, at, nil) {
			if !(one >= 0) {
				r.Fatalf("a route has the rate %g", one)
			}
			sum += one
		}
		if math.Abs(sum-total) > 1e-6*math.Max(1, total) || math.IsInf(total, 0) {
			r.Fatalf("routes add up to %g, the rate is %g", sum, total)
		}
	})
}

func TestNextNeverSleepsThroughAChange(t *testing.T) {
	t.Parallel()
	const epsilon = 0.02
	rapid.Check(t, func(r *rapid.T) {
		l := anyLoad(r)
		p, err := New(&l, options())
		if err != nil {
			r.Fatal(err)
		}
		now := start.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(r, "from")))
		for range 20 {
			next := Next(p, now, epsilon)
			if next.Sub(now) < windowMin || next.Sub(now) > windowMax {
				r.Fatalf("the window is %s", next.Sub(now))
			}
			from := Rate(p, now)
			// Up to the window's end the rate may leave the band only within the last second, the resolution of Next.
			for _, share := range []float64{0.1, 0.37, 0.5, 0.77, 0.95} {
				at := now.Add(time.Duration(share * float64(next.Sub(now))))
				if next.Sub(at) <= windowMin {
					continue
				}
				if got := Rate(p, at); math.Abs(got-from) > 1.01*epsilon*math.Max(from, levelMin)+1e-9 {
					r.Fatalf("at %s the rate is %g, at %s %g, but the window lasts to %s", now, from, at, got, next)
				}
			}
			now = next
		}
	})
}

func TestNextSeesADriftThatAJumpAtTheEndOfAScanUndoes(t *testing.T) {
	t.Parallel()
	// The noise jumps every 30 s, a multiple of the scan's step: the rate drifts out just before a jump and falls back by it.
	hourly := make([]float64, 24)
	for i := range hourly {
		hourly[i] = 1
	}
	hourly[16], hourly[23] = 1.96875, 0.5
	l := v1alpha1.Load{Name: "l", Daily: &v1alpha1.DailyLoad{Low: 1, High: 2, Shape: &v1alpha1.DailyShape{Hourly: hourly}}, Noise: &v1alpha1.LoadNoise{Sigma: 0.004, Tau: minutes(1)}}
	for seed := range int64(40) {
		o := options()
		o.Seed = seed
		p, err := New(&l, o)
		if err != nil {
			t.Fatal(err)
		}
		for now := start.Add(15 * time.Hour); now.Before(start.Add(16 * time.Hour)); now = Next(p, now, 0.02) {
			from, next := Rate(p, now), Next(p, now, 0.02)
			for at := now.Add(windowMin); next.Sub(at) > windowMin; at = at.Add(windowMin) {
				if got := Rate(p, at); math.Abs(got-from) > 0.0202*from {
					t.Fatalf("seed %d: at %s the rate is %g, at %s %g, but the window lasts to %s", seed, now, from, at, got, next)
				}
			}
		}
	}
}

func TestNoiseHasMeanOneItsWidthAndItsSeed(t *testing.T) {
	t.Parallel()
	l := v1alpha1.Load{Rate: rate(100), Noise: &v1alpha1.LoadNoise{Sigma: 0.2, Tau: minutes(1)}}
	p := profile(t, l)
	var sum, squares float64
	const n = 20000
	for i := range n {
		x := math.Log(Rate(p, start.Add(time.Duration(i)*time.Minute)) / 100)
		sum += x
		squares += x * x
	}
	mean := sum / n
	sigma := math.Sqrt(squares/n - mean*mean)
	if math.Abs(mean+0.02) > 0.01 || math.Abs(sigma-0.2) > 0.01 { // mean of the logarithm: −σ²/2
		t.Errorf("mean %g, sigma %g of the logarithm; want -0.02 and 0.2", mean, sigma)
	}
	if Rate(p, start) != Rate(profile(t, l), start) {
		t.Error("the same seed gives another rate")
	}
}

func TestBotsAskOnlyForTheCheapestRoute(t *testing.T) {
	t.Parallel()
	l := v1alpha1.Load{Name: "l", Rate: rate(100), Mix: map[string]float64{"browse": 1, "index": 1}, Spikes: []v1alpha1.Spike{{At: "01:00", For: minutes(10), Factor: number(3), Bot: true}}}
	p, err := New(&l, Options{Start: start, End: start.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if p.Routes()[1] != "index" || !p.MixMoves() {
		t.Fatalf("routes %v, moving: %t", p.Routes(), p.MixMoves())
	}
	p.SetCheapest(1)
	got := Rates(p, start.Add(time.Hour), nil)
	if got[0] != 50 || got[1] != 250 {
		t.Errorf("%v: %v; want 50 and 250", p.Routes(), got)
	}
}

func TestAClosedLoopHasUsersAndNoRate(t *testing.T) {
	t.Parallel()
	p := profile(t, v1alpha1.Load{Users: &v1alpha1.UserLoad{Count: 10}, Factor: number(2)})
	if Rate(p, start) != 0 || Users(p, start) != 20 || !p.Closed() {
		t.Errorf("rate %g, users %g", Rate(p, start), Users(p, start))
	}
}

func TestAbsurdRatesAreRefused(t *testing.T) {
	t.Parallel()
	l := v1alpha1.Load{Name: "l", Rate: rate(1e6), Factor: number(1000)}
	if _, err := New(&l, options()); err == nil || !strings.Contains(err.Error(), "no scenario means") {
		t.Errorf("a thousand million a second gave %v", err)
	}
}

func TestRecordedCurvesAreRead(t *testing.T) {
	t.Parallel()
	table, bad := ParseCSV([]byte("time,browse,checkout\n2026-01-05T00:00:00Z,1,2\n2026-01-05T00:01:00Z,3,4\n"), &v1alpha1.CSVLoad{})
	if len(bad) > 0 || !table.Absolute || len(table.Series) != 2 || table.Series[1].Route != "checkout" || table.Series[1].Values[1] != 4 {
		t.Errorf("table %+v, %v", table, bad)
	}
	table, bad = ParseCSV([]byte("# exported\nts;x\n"), &v1alpha1.CSVLoad{})
	if table != nil || len(bad) == 0 {
		t.Error("a file of another shape was accepted")
	}
	loads, bad := ParseShort([]byte("time,target,rps\n100,shop/b,1\n100,shop/a,5\n160,shop/b,2\n160,shop/a,6\n"), "r.csv")
	if len(bad) > 0 || len(loads) != 2 || loads[0].To != "shop/a" || loads[0].CSV.Table.Times[1] != 60 || loads[1].CSV.Table.Series[0].Values[1] != 2 {
		t.Errorf("loads %+v, %v", loads, bad)
	}
	if loads, bad := ParseShort([]byte("time,rps\n0,1\n60,2\n"), "r.csv"); len(bad) > 0 || len(loads) != 1 || loads[0].To != "" {
		t.Errorf("loads %+v, %v", loads, bad)
	}
}

func TestWhatIsWrongInARecordedCurveIsNamedByLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		line int
		says string
	}{
		{"", 0, "empty"},
		{"0,1\n60,2\n", 1, "must name the columns"},
		{"time,rps\n0,1\n60,NaN\n", 3, "not a number"},
		{"time,rps\n0,1\n60,-2\n", 3, "a rate is 0 or more"},
		{"time,rps\n0,1\n60,\n", 3, "is empty"},
		{"time,rps\n0,1\n60,2\n30,3\n", 4, `before that of line 3, "60"; sort the rows`},
		{"time,rps\n0,1\n60,2\n60,3\n", 4, "there twice, first in line 3"},
		{"time,rps\n0,4/s\n", 2, "without a unit"},
		{"time,rps,browse\n0,1,1\n", 1, `unclear which counts; write csv.columns: {rps: "*"}`},
		{"timme,rps\n0,1\n", 1, "did you mean timme?"},
		{"time,rps\n0,1\n60,2\n120,3\n180,3\n9000,3\n", 6, "a gap of 2h27m where a step is usually 1m"},
		{"time,rps\n2026-01-05T00:00:00Z,1\n2026-01-05T02:00:00+01:00,2\n", 3, "another zone"},
		{"time,rps\n0,1\n1800000000,2\n", 3, "another kind"},
		{"time,rps\nnoon,1\n", 2, "neither RFC 3339 nor seconds"},
		{"time,rps\n0,1,2\n", 2, "3 values for 2 columns"},
		{"when,rps\n0,1\n", 1, `no column "time"`},
		{"time,rps\n", 0, "no rows"},
		{"time,rps\n0,99999999999\n", 2, "no load is"},
	} {
		_, bad := ParseCSV([]byte(c.text), &v1alpha1.CSVLoad{})
		if len(bad) == 0 || bad[0].Line != c.line || !strings.Contains(bad[0].Message+"; "+bad[0].Hint, c.says) {
			t.Errorf("%q: %v; want line %d … %s", c.text, bad, c.line, c.says)
		}
	}
}

func TestGapsAreHeldOrZeroWhenAllowed(t *testing.T) {
	t.Parallel()
	text := []byte("time,rps\n0,10\n60,10\n120,10\n1200,30\n1260,30\n")
	for mode, want := range map[string]float64{"hold": 10, "zero": 0} {
		table, bad := ParseCSV(text, &v1alpha1.CSVLoad{Gaps: mode})
		if len(bad) > 0 {
			t.Fatal(bad)
		}
		p := profile(t, v1alpha1.Load{CSV: &v1alpha1.CSVLoad{Table: table}})
		if got := Rate(p, start.Add(10*time.Minute)); got != want {
			t.Errorf("%s: in the gap the rate is %g, want %g", mode, got, want)
		}
		if got := Rate(p, start.Add(20*time.Minute)); got != 30 {
			t.Errorf("%s: after the gap the rate is %g, want 30", mode, got)
		}
	}
}

func BenchmarkNextOfADailyCurve(b *testing.B) {
	p := profile(b, v1alpha1.Load{Daily: &v1alpha1.DailyLoad{Low: 60, High: 420}})
	now := start
	for b.Loop() {
		if now = Next(p, now, 0.02); now.After(p.options.End) {
			now = start
		}
	}
}

func TestTheShortFormRefusesWhatItWouldLeaveOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		line int
		says string
	}{
		{"time,trget,rps\n0,shop/web,1\n", 1, `unknown column "trget"; did you mean target?`},
		{"time,rps,users\n0,1,2\n", 1, `unknown column "users"; known are rps, target, time`},
		{"time,target\n0,shop/web\n", 1, `no column "rps"`},
		{"time,target,rps\n0,shop/web,1\n60,,1\n", 3, "target is empty"},
		{"time,target,rps\n0,shop/web,1\n60,shop/api,1\n60,shop/web,1\n30,shop/web,x\n", 5, "not a number"},
	} {
		_, bad := ParseShort([]byte(c.text), "r.csv")
		if len(bad) == 0 || bad[0].Line != c.line || !strings.Contains(bad[0].Message+"; "+bad[0].Hint, c.says) {
			t.Errorf("%q: %v; want line %d … %s", c.text, bad, c.line, c.says)
		}
	}
	loads, bad := ParseShort([]byte("time,target,rps\n0,shop/web,1\n0,shop/api,1\n60,shop/web,1\n60,shop/api,1\n"), "r.csv")
	if len(bad) > 0 || loads[0].Source != (v1alpha1.Source{File: "r.csv", Line: 3}) {
		t.Errorf("the place of a target: %+v, %v", loads[0].Source, bad)
	}
}
