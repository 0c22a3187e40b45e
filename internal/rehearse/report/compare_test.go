package report

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// summaries makes reports of one metric with the given values by seed.
func summaries(unit, better string, a, b []float64) (x, y *Report) {
	make := func(values []float64) *Report {
		r := &Report{Schema: Schema, Scenario: Scenario{Name: "s", Seconds: 3600}, Summary: map[string]Metric{}}
		m := Metric{Unit: unit, Better: better}
		for i, v := range values {
			r.Scenario.Seeds = append(r.Scenario.Seeds, int64(i+1))
			m.PerSeed = append(m.PerSeed, Number(v))
		}
		r.Summary["m"] = m
		return r
	}
	return make(a), make(b)
}

func TestComparisonCallsOnlyRealDifferencesDifferent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		unit, better string
		a, b         []float64
		want         string
	}{
		"clear rise of a cost":      {"USD", lower, []float64{10, 11, 12, 13, 14}, []float64{15, 16.1, 17, 18.2, 19}, Worse},
		"clear rise of a virtue":    {"requests", higher, []float64{100, 110, 120, 130, 140}, []float64{150, 161, 170, 182, 190}, Better},
		"no preference":             {"requests", "", []float64{100, 110, 120, 130, 140}, []float64{150, 161, 170, 182, 190}, Different},
		"noise":                     {"USD", lower, []float64{10, 11, 12, 13, 14}, []float64{11, 10, 13, 12, 14.5}, Same},
		"equal":                     {"USD", lower, []float64{1, 1, 1, 1, 1}, []float64{1, 1, 1, 1, 1}, Same},
		"constant but below a cent": {"USD", lower, []float64{.1, .1, .1, .1, .1}, []float64{.105, .105, .105, .105, .105}, Same},
		"below one per cent":        {"USD", lower, []float64{100, 100, 100, 100, 100}, []float64{100.5, 100.5, 100.6, 100.5, 100.5}, Same},
		"a tenth of a nine":         {"ratio", higher, []float64{.999, .999, .999, .999, .999}, []float64{.9985, .9986, .9985, .9984, .9985}, Worse},
		"too few":                   {"USD", lower, []float64{1, 1, 1, 1}, []float64{9, 9, 9, 9}, TooFew},
		"no data":                   {"USD", lower, []float64{math.NaN()}, []float64{1}, NoData},
	} {
		a, b := summaries(c.unit, c.better, c.a, c.b)
		got, err := Compare(a, b, nil)
		if err != nil {
			t.Fatal(err)
		}
		if v := got.Rows[0].Verdict; v != c.want {
			t.Errorf("%s: %s, want %s (%+v)", name, v, c.want, got.Rows[0])
		}
	}
}

// The paired differences 5, 5.1, 5, 5.2, 5: mean 5.06, standard error 0.04, t(4) 2.776.
func TestIntervalIsStudentsOnPairs(t *testing.T) {
	t.Parallel()
	a, b := summaries("USD", lower, []float64{10, 11, 12, 13, 14}, []float64{15, 16.1, 17, 18.2, 19})
	c, err := Compare(a, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := c.Rows[0]
	if math.Abs(float64(r.Difference)-5.06) > 1e-9 || math.Abs(float64(r.Low)-(5.06-2.776445*0.04)) > 1e-6 || math.Abs(float64(r.High)-(5.06+2.776445*0.04)) > 1e-6 {
		t.Errorf("difference %v in %v … %v", r.Difference, r.Low, r.High)
	}
	if math.Abs(float64(r.SignP)-0.0625) > 1e-9 {
		t.Errorf("sign test p = %v, want 2/32", r.SignP)
	}
}

func TestNoiseOfAnAAPairIsTakenOff(t *testing.T) {
	t.Parallel()
	a, b := summaries("USD", lower, []float64{10, 11, 12, 13, 14}, []float64{11, 12.1, 13, 14.1, 15})
	if c, _ := Compare(a, b, map[string]float64{"m": 1}); c.Rows[0].Verdict != Same {
		t.Errorf("a difference no larger than the noise is %s", c.Rows[0].Verdict)
	}
	if c, _ := Compare(a, b, nil); c.Rows[0].Verdict != Worse {
		t.Errorf("without noise it is %s", c.Rows[0].Verdict)
	}
	if n := Noise(a, b)["m"]; math.Abs(n-1.04) > 1e-9 {
		t.Errorf("noise = %v, want 1.04", n)
	}
}

func TestIncomparableReportsAreRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	a, b := summaries("s", lower, []float64{1}, []float64{1})
	b.Scenario.Seconds = 7200
	var refused *IncomparableError
	if _, err := Compare(a, b, nil); !errors.As(err, &refused) || !strings.Contains(err.Error(), "1 h, the other 2 h") {
		t.Errorf("got %v", err)
	}
	b.Scenario.Seconds, b.Scenario.Seeds = 3600, []int64{7}
	if _, err := Compare(a, b, nil); !errors.As(err, &refused) || !strings.Contains(err.Error(), "no seed") {
		t.Errorf("got %v", err)
	}
	b.Schema = "fairway.dev/rehearsal-report/v2"
	if _, err := Compare(a, b, nil); !errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
}

func TestComparisonOfReportsListsInputsThenTheFirstDivergence(t *testing.T) {
	t.Parallel()
	with, without := shop(5, true), shop(5, true)
	without.Runs = without.Baseline
	without.Scenario.Inputs[0].SHA256 = "cd"
	without.Baseline, with.Baseline = nil, nil
	c, err := Compare(Build(without), Build(with), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Inputs) != 1 || !strings.HasPrefix(c.Inputs[0], "input scenario.yaml") {
		t.Errorf("input differences %v", c.Inputs)
	}
	if len(c.Divergences) != 1 || c.Divergences[0].Object != "release" || len(c.Divergences[0].Seeds) != 5 || c.Divergences[0].Kind != record.KindStep {
		t.Errorf("first divergence %+v, want the release in all five seeds", c.Divergences)
	}
	text := c.Terminal(100)
	for _, want := range []string{"input scenario.yaml", "release", "5 pairs"} {
		if !strings.Contains(text, want) {
			t.Errorf("the comparison on the terminal lacks %q:\n%s", want, text)
		}
	}
	if n := strings.Count(text, "\n"); n > 40 {
		t.Errorf("the comparison has %d lines", n)
	}
}

func TestSameReportTwiceDiffersInNothing(t *testing.T) {
	t.Parallel()
	r := Build(shop(5, false))
	c, err := Compare(r, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range c.Rows {
		if row.Verdict != Same && row.Verdict != NoData {
			t.Errorf("%s is %s", row.Metric, row.Verdict)
		}
	}
	if len(c.Divergences)+len(c.Inputs) != 0 {
		t.Errorf("divergences %v, inputs %v", c.Divergences, c.Inputs)
	}
}
