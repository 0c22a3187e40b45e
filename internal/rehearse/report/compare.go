package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/fairway-dev/fairway/internal/rehearse/expect"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/stat"
)

// Verdicts of a compared metric.
const (
	Better    = "better"
	Worse     = "worse"
	Different = "different" // changed, in no preferred direction
	Same      = "same"      // no difference that counts
	TooFew    = "n too small"
	NoData    = "no data"
)

const (
	confidence    = 0.95
	minimalChange = 0.01 // of the larger value; smaller changes are not called different
)

// unitFloor is the smallest change that means something, by unit.
var unitFloor = map[string]float64{
	"s": 0.001, "ratio": 0.0001, "min": 0.5, "h": 0.05, "replicas": 0.1,
	"requests": 1, "pods": 0.5, "kills": 0.5, "restarts": 0.5, "breaks": 0.5, "reversals": 0.5,
}

// moneyFloor is unitFloor for currencies.
const moneyFloor = 0.01

// Comparison sets two reports, or a change and its baseline, side by side. A is the reference, B the new one.
type Comparison struct {
	A           string       `json:"a"`
	B           string       `json:"b"`
	Seeds       []int64      `json:"seeds"` // in both, paired
	Inputs      []string     `json:"inputDifferences"`
	Rows        []Row        `json:"rows"`
	Divergences []Divergence `json:"firstDivergence"`
	Notes       []string     `json:"notes"`
}

// Row is one metric. Differences are B − A.
type Row struct {
	Metric     string   `json:"metric"`
	Unit       string   `json:"unit"`
	Better     string   `json:"better,omitempty"`
	A          Number   `json:"a"`
	B          Number   `json:"b"`
	Difference Number   `json:"difference"`
	Low        Number   `json:"low"` // 95 % interval of the difference; null below 5 pairs
	High       Number   `json:"high"`
	P          Number   `json:"p"`     // paired t, adjusted by Holm over the table
	SignP      Number   `json:"signP"` // sign test, not adjusted
	Pairs      []Number `json:"pairs"` // differences by seed
	Verdict    string   `json:"verdict"`
}

// Divergence is the first timeline entry in which the futures of paired seeds part.
type Divergence struct {
	Kind   string  `json:"kind"`
	Object string  `json:"object"`
	OnlyIn string  `json:"onlyIn"` // "a", "b", or "both" when it came at another time
	What   string  `json:"what"`
	T      string  `json:"t"` // RFC 3339, of the first of its seeds
	Seeds  []int64 `json:"seeds"`
}

// IncomparableError says why two reports cannot be set side by side.
type IncomparableError struct{ Reason string }

func (e *IncomparableError) Error() string { return "the reports cannot be compared: " + e.Reason }

// Compare pairs two reports by seed. Both must be of this schema's major version and of equal duration, and share a seed.
// noise is the difference between two runs of the same thing (an A/A pair), by metric: differences are shrunk by it
// before they are judged; nil without one.
func Compare(a, b *Report, noise map[string]float64) (*Comparison, error) {
	if a.Schema != b.Schema {
		return nil, &IncomparableError{fmt.Sprintf("one is %s, the other %s; rehearse both with one version", a.Schema, b.Schema)}
	}
	if a.Scenario.Seconds != b.Scenario.Seconds {
		return nil, &IncomparableError{fmt.Sprintf("one plays %s, the other %s; give both scenarios one duration", seconds(a.Scenario.Seconds), seconds(b.Scenario.Seconds))}
	}
	c := compareRuns(named(a), named(b), a.Summary, b.Summary, a.Scenario.Seeds, b.Scenario.Seeds, noise)
	if len(c.Seeds) == 0 {
		return nil, &IncomparableError{fmt.Sprintf("they share no seed (%v and %v); run both with --seeds %d", a.Scenario.Seeds, b.Scenario.Seeds, max(fewSeeds, len(a.Scenario.Seeds)))}
	}
	c.Inputs = inputDifferences(a, b)
	for _, v := range []struct {
		name string
		r    *Report
	}{{c.A, a}, {c.B, b}} {
		if v.r.Verdict.Result == Incomplete {
			c.Notes = append(c.Notes, v.name+" is incomplete: its totals stop where it broke off")
		}
	}
	c.Divergences = diverge(bySeed(a), bySeed(b), c.Seeds)
	return c, nil
}

// Noise measures an A/A pair: the mean absolute difference a seed between two reports of the same scenario.
func Noise(a, b *Report) map[string]float64 {
	noise := map[string]float64{}
	c := compareRuns("a", "b", a.Summary, b.Summary, a.Scenario.Seeds, b.Scenario.Seeds, nil)
	for _, r := range c.Rows {
		sum, n := 0.0, 0
		for _, p := range r.Pairs {
			if p.Known() {
				sum, n = sum+math.Abs(float64(p)), n+1
			}
		}
		if n > 0 && sum > 0 {
			noise[r.Metric] = sum / float64(n)
		}
	}
	return noise
}

func named(r *Report) string {
	name := cmp.Or(r.Scenario.Name, "scenario")
	if r.Scenario.Change != "" {
		name += " with " + r.Scenario.Change
	}
	return name
}

func compareRuns(nameA, nameB string, a, b map[string]Metric, seedsA, seedsB []int64, noise map[string]float64) *Comparison {
	c := &Comparison{A: nameA, B: nameB, Seeds: []int64{}, Inputs: []string{}, Rows: []Row{}, Divergences: []Divergence{}, Notes: []string{}}
	if nameA == nameB {
		c.A, c.B = nameA+" (first)", nameB+" (second)"
	}
	for _, s := range seedsA {
		if slices.Contains(seedsB, s) {
			c.Seeds = append(c.Seeds, s)
		}
	}
	slices.Sort(c.Seeds)
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if m, ok := b[name]; ok && m.Unit == a[name].Unit {
			c.Rows = append(c.Rows, row(name, a[name], m, seedsA, seedsB, c.Seeds))
		}
	}
	c.judge(noise)
	if len(c.Seeds) < fewSeeds {
		c.Notes = append(c.Notes, fmt.Sprintf("%s: too few for an interval; every pair is listed, run 5 or more seeds to judge differences", plural(len(c.Seeds), "paired seed")))
	}
	return c
}

func row(name string, a, b Metric, seedsA, seedsB, paired []int64) Row {
	r := Row{Metric: name, Unit: a.Unit, Better: a.Better, Low: Missing, High: Missing, P: Missing, SignP: Missing, Pairs: []Number{}, Verdict: TooFew}
	var va, vb, d []float64
	for _, s := range paired {
		x, y := a.PerSeed[slices.Index(seedsA, s)], b.PerSeed[slices.Index(seedsB, s)]
		if !x.Known() || !y.Known() {
			r.Pairs = append(r.Pairs, Missing)
			continue
		}
		va, vb, d = append(va, float64(x)), append(vb, float64(y)), append(d, float64(y-x))
		r.Pairs = append(r.Pairs, Number(significant(float64(y-x), summaryDigits)))
	}
	r.A, r.B, r.Difference = Number(stat.Mean(va)), Number(stat.Mean(vb)), Number(stat.Mean(d))
	switch {
	case len(d) == 0:
		r.Verdict = NoData
	case len(d) >= fewSeeds:
		mean, df := stat.Mean(d), float64(len(d)-1)
		errorOfMean := stat.Deviation(d) / math.Sqrt(float64(len(d)))
		half := stat.Critical(1-confidence, df) * errorOfMean
		r.Low, r.High = Number(mean-half), Number(mean+half)
		r.SignP = Number(stat.SignTest(d))
		switch {
		case slices.Max(d) == 0 && slices.Min(d) == 0:
			r.Verdict = Same // equal in every pair: nothing to test, and no test to correct the others for
		case mean == 0:
			r.P = 1
		case errorOfMean == 0:
			r.P = 0
		default:
			r.P = Number(stat.TwoSided(mean/errorOfMean, df))
		}
	}
	return r
}

// judge adjusts the p-values over the table and names each row: different only when the interval excludes 0, the adjusted
// p is below 5 %, and the change exceeds 1 % and the floor of its unit.
func (c *Comparison) judge(noise map[string]float64) {
	p := make([]float64, len(c.Rows))
	for i, r := range c.Rows {
		p[i] = float64(r.P)
	}
	for i, adjusted := range stat.Holm(p) {
		r := &c.Rows[i]
		r.P = Number(adjusted)
		if !r.P.Known() {
			continue
		}
		floor, ok := unitFloor[r.Unit]
		if !ok {
			floor = moneyFloor
		}
		size := math.Abs(float64(r.Difference)) - noise[r.Metric]
		relative := minimalChange * max(math.Abs(float64(r.A)), math.Abs(float64(r.B)))
		if r.Unit == "ratio" {
			relative = 0 // 1 % of an availability of 99.9 % would hide ten times its budget
		}
		r.Verdict = Same
		if (float64(r.Low) > 0 || float64(r.High) < 0) && adjusted < 1-confidence && size >= max(relative, floor) {
			r.Verdict = direction(r.Better, float64(r.Difference))
		}
	}
}

func direction(better string, difference float64) string {
	switch {
	case better == lower && difference < 0, better == higher && difference > 0:
		return Better
	case better == "":
		return Different
	}
	return Worse
}

// inputDifferences lists what went in differently, before anybody reads what came out.
func inputDifferences(a, b *Report) []string {
	list := []string{}
	add := func(what, x, y string) {
		if x != y {
			list = append(list, fmt.Sprintf("%s: %s and %s", what, cmp.Or(x, "none"), cmp.Or(y, "none")))
		}
	}
	add("scenario", short(a.Scenario.SHA256), short(b.Scenario.SHA256))
	hashes := map[string][2]string{}
	for i, inputs := range [][]Input{a.Scenario.Inputs, b.Scenario.Inputs} {
		for _, in := range inputs {
			h := hashes[in.Name]
			h[i] = short(in.SHA256)
			hashes[in.Name] = h
		}
	}
	for _, name := range slices.Sorted(maps.Keys(hashes)) {
		add("input "+name, hashes[name][0], hashes[name][1])
	}
	for _, v := range []string{"fairway", "kubernetes", "go"} {
		add(v+" version", a.Provenance.Versions[v], b.Provenance.Versions[v])
	}
	add("build", a.Provenance.Build, b.Provenance.Build)
	add("start", a.Scenario.Start.String(), b.Scenario.Start.String())
	add("seeds", fmt.Sprint(a.Scenario.Seeds), fmt.Sprint(b.Scenario.Seeds))
	return list
}

func short(hash string) string {
	if len(hash) > 12 {
		return hash[:12]
	}
	return hash
}

func bySeed(r *Report) map[int64][]Entry {
	m := map[int64][]Entry{}
	for _, e := range r.Timeline {
		m[e.Seed] = append(m[e.Seed], e)
	}
	return m
}

// diverge finds, for each pair, the first notable entry that differs, and counts equal ones; most common first.
func diverge(a, b map[int64][]Entry, seeds []int64) []Divergence {
	found := map[string]*Divergence{}
	for _, seed := range seeds {
		d, ok := firstDifference(notable(a[seed]), notable(b[seed]))
		if !ok {
			continue
		}
		key := d.Kind + "\x00" + d.Object + "\x00" + d.OnlyIn
		if found[key] == nil {
			found[key] = &d
		}
		found[key].Seeds = append(found[key].Seeds, seed)
	}
	list := []Divergence{}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		list = append(list, *found[key])
	}
	slices.SortStableFunc(list, func(x, y Divergence) int {
		return cmp.Or(cmp.Compare(len(y.Seeds), len(x.Seeds)), strings.Compare(x.T, y.T))
	})
	return list
}

func notable(list []Entry) []Entry {
	var out []Entry
	for _, e := range list {
		if e.Severity != record.Info {
			out = append(out, e)
		}
	}
	return out
}

func firstDifference(a, b []Entry) (Divergence, bool) {
	for i := 0; i < len(a) || i < len(b); i++ {
		switch {
		case i >= len(a):
			return divergence(b[i], "b"), true
		case i >= len(b):
			return divergence(a[i], "a"), true
		}
		x, y := a[i], b[i]
		if x.Kind == y.Kind && x.Object == y.Object && x.T.Equal(y.T) && x.What == y.What {
			continue
		}
		switch {
		case x.T.Before(y.T):
			return divergence(x, "a"), true
		case y.T.Before(x.T):
			return divergence(y, "b"), true
		case x.Kind == y.Kind && x.Object == y.Object:
			return divergence(y, "both"), true
		}
		return divergence(y, "b"), true
	}
	return Divergence{}, false
}

func divergence(e Entry, only string) Divergence {
	return Divergence{Kind: e.Kind, Object: e.Object, OnlyIn: only, What: e.text(), T: e.T.UTC().Format("2006-01-02T15:04:05.999Z07:00")}
}

// compareBaseline fills the differences to the paired runs without the change.
func (r *Report) compareBaseline(baseline []expect.Observed) {
	other := summarise(baseline, nil)
	var seeds []int64
	timelines := map[int64][]Entry{}
	for _, o := range baseline {
		seeds = append(seeds, o.Run.Start.Seed)
		timelines[o.Run.Start.Seed] = keep(o.Run, maxEntriesOther, record.Notable, nil)
	}
	delete(other, "slo_minutes_missed") // expectations are evaluated on the change only
	c := compareRuns("the run without the change", "the run with it", other, r.Summary, seeds, r.Scenario.Seeds, nil)
	c.Divergences = diverge(timelines, bySeed(r), c.Seeds)
	for _, row := range c.Rows {
		m := r.Summary[row.Metric]
		a, d := row.A, row.Difference
		m.Baseline, m.Difference = &a, &d
		if row.Low.Known() {
			m.Interval = []float64{significant(float64(row.Low), summaryDigits), significant(float64(row.High), summaryDigits)}
		}
		r.Summary[row.Metric] = m
	}
	r.Baseline = c
}
