package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

var (
	//go:embed page/page.html
	pageHTML string
	//go:embed page/page.css
	pageCSS string
	//go:embed page/page.js
	pageJS string
)

// htmlMax bounds the file, so that it can be attached to a pull request and opened on a phone.
const htmlMax = 1 << 20

// What the page starts with; both shrink until it fits.
const (
	pageEntries = 600
	pageSeries  = 260
)

var page = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{"count": func(n int64) string { return count(float64(n)) }}).Parse(pageHTML))
})

// HTML renders the report as one file that needs no network and no other file. Its content security policy allows only
// the two embedded blocks, by hash; every string of the report is text. It stays below 1 MiB: what does not fit is
// dropped from the least telling end, and the page says so.
func HTML(r *Report) ([]byte, error) {
	entries, series := pageEntries, pageSeries
	for {
		b, err := renderPage(r, entries, series)
		if err != nil {
			return nil, fmt.Errorf("rendering the report as HTML: %w", err)
		}
		if len(b) <= htmlMax || entries < 20 && series < 20 {
			return b, nil
		}
		entries, series = entries*2/3, series*2/3
	}
}

func renderPage(r *Report, entries, series int) ([]byte, error) {
	v := newPage(r, entries, series)
	data, err := json.Marshal(v.data) // escapes <, > and &, so that no text can end the block
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!doctype html>\n<html lang=\"en\" class=\"nojs\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n")
	fmt.Fprintf(&b, "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'sha256-%s'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'\">\n", digest(pageJS), digest(pageCSS))
	fmt.Fprintf(&b, "<meta name=\"referrer\" content=\"no-referrer\">\n<title>%s</title>\n<style>%s</style>\n</head>\n<body>\n", template.HTMLEscapeString(v.Result+" "+v.Title), pageCSS)
	if err := page().Execute(&b, v); err != nil {
		return nil, err
	}
	fmt.Fprintf(&b, "<script type=\"application/json\" id=\"data\">%s</script>\n<script>%s</script>\n</body>\n</html>\n", data, pageJS)
	return b.Bytes(), nil
}

// digest is the hash a content security policy names a block by.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// pageData is what the script reads.
type pageData struct {
	Start    int64        `json:"start"` // ms since 1970
	Span     int64        `json:"span"`  // ms
	Zones    [][2]int64   `json:"zones"` // from ms, seconds east of Greenwich
	Series   []pageSerie  `json:"series"`
	Marks    []pageMark   `json:"marks"`
	Entries  []pageMoment `json:"entries"`
	Limits   []pageLimit  `json:"limits"`
	Currency string       `json:"currency"`
	Tightest string       `json:"tightest"`
	Load     string       `json:"load"`
}

type pageSerie struct {
	Metric string            `json:"m"`
	Labels map[string]string `json:"l"`
	Values packed            `json:"v"`
	Low    *packed           `json:"w,omitempty"`
	High   *packed           `json:"h,omitempty"`
}

type pageMark struct {
	T     int64  `json:"t"`
	Until int64  `json:"u,omitempty"`
	Name  string `json:"n"`
}

type pageMoment struct {
	T      int64 `json:"t"`
	Causes []int `json:"c"`
}

type pageLimit struct {
	Subject string  `json:"s"`
	Name    string  `json:"n"`
	Value   float64 `json:"v"`
}

func (r *Report) data(shown []Entry, series int) pageData {
	d := pageData{Start: r.Series.Start.UnixMilli(), Span: int64(float64(r.Series.Steps) * r.Series.StepSecond * 1000), Series: []pageSerie{}, Marks: []pageMark{}, Limits: []pageLimit{},
		Entries: []pageMoment{}, Currency: r.Cost.Currency, Tightest: r.tightest(), Load: r.firstLoad()}
	d.Span = max(d.Span, 1)
	d.Zones = r.zones()
	columns := slices.Clone(r.Series.Columns)
	slices.SortStableFunc(columns, func(a, b Column) int { return metricRank(a.Metric) - metricRank(b.Metric) })
	for _, c := range columns[:min(series, len(columns))] {
		s := pageSerie{Metric: c.Metric, Labels: c.Labels}
		switch c.Metric {
		case record.MetricReady, record.MetricNodes, record.MetricCostPerHour, record.MetricCPUCapacity, record.MetricNewWeight:
			s.Values = packOne(c.Values, false)
		case record.MetricPodsPending, record.MetricErrors:
			s.Values = packOne(c.Values, true)
		default:
			s.Values = pack(c.Values)
		}
		if s.Labels == nil {
			s.Labels = map[string]string{}
		}
		if c.Low != nil && fanned(c) {
			low, high := pack(c.Low), pack(c.High)
			s.Low, s.High = &low, &high
		}
		d.Series = append(d.Series, s)
	}
	for _, s := range r.Steps {
		if s.At.IsZero() || s.Action == "assert" {
			continue
		}
		m := pageMark{T: s.At.UnixMilli(), Name: s.Name}
		if !s.Undone.IsZero() {
			m.Until = s.Undone.UnixMilli()
		}
		d.Marks = append(d.Marks, m)
	}
	for _, e := range shown {
		d.Entries = append(d.Entries, pageMoment{T: e.T.UnixMilli(), Causes: e.Causes})
	}
	for _, e := range r.Verdict.Expectations {
		if strings.HasPrefix(e.Metric, "latency_") && len(e.Subjects) == 1 {
			d.Limits = append(d.Limits, pageLimit{Subject: e.Subjects[0], Name: strings.Split(e.Metric, "_")[1], Value: e.Target})
		}
	}
	return d
}

// fanned tells for which series the range over the seeds is drawn.
func fanned(c Column) bool {
	switch c.Metric {
	case record.MetricRequests, record.MetricCPUDemand, record.MetricNodes, record.MetricCostPerHour:
		return true
	case record.MetricLatencyP95:
		return c.Labels["load"] != "" || len(c.Labels) == 0
	}
	return false
}

// zones are the offsets from UTC in force during the run; the browser's own zone never shows.
func (r *Report) zones() [][2]int64 {
	l := r.location()
	at := r.Series.Start.In(l)
	end := at.Add(time.Duration(r.Scenario.Seconds * float64(time.Second)))
	_, offset := at.Zone()
	list := [][2]int64{{at.UnixMilli(), int64(offset)}}
	for {
		_, change := at.ZoneBounds()
		if change.IsZero() || change.After(end) {
			return list
		}
		at = change
		_, offset = at.Zone()
		list = append(list, [2]int64{at.UnixMilli(), int64(offset)})
	}
}

// tightest is the service whose demand came closest to, or furthest beyond, its ready capacity.
func (r *Report) tightest() string {
	best, name := -1.0, ""
	for _, c := range r.Series.Columns {
		if c.Metric != record.MetricCPUDemand || len(c.Labels) != 1 {
			continue
		}
		capacity := r.Series.values(record.MetricCPUCapacity, "service", c.Labels["service"])
		sum := 0.0
		for i, v := range c.Values {
			if i < len(capacity) && capacity[i] > 0 && v > 0 {
				sum = max(sum, v/capacity[i])
			}
		}
		if sum > best {
			best, name = sum, c.Labels["service"]
		}
	}
	return name
}

// firstLoad is the load an expectation is about, else the biggest.
func (r *Report) firstLoad() string {
	for _, e := range r.Verdict.Expectations {
		for _, s := range e.Subjects {
			if name, ok := strings.CutPrefix(s, "load="); ok {
				return name
			}
		}
	}
	name, most := "", int64(-1)
	for _, l := range r.Loads {
		if !l.Service && l.Offered > most {
			name, most = l.Name, l.Offered
		}
	}
	return name
}

// pageTimeline picks the shown seed's entries for the page: the most severe n with all that their chains need.
func (r *Report) pageTimeline(n int) (shown []Entry, of int) {
	var mine []Entry
	for _, e := range r.Timeline {
		if e.Seed == r.Verdict.ShownSeed {
			mine = append(mine, e)
		}
	}
	if len(mine) <= n {
		return mine, len(mine)
	}
	byID := map[int]Entry{}
	for _, e := range mine {
		byID[e.ID] = e
	}
	order := slices.Clone(mine)
	slices.SortStableFunc(order, func(a, b Entry) int { return severityRank(a.Severity) - severityRank(b.Severity) })
	wanted := map[int]bool{}
	for _, e := range order {
		for id := e.ID; id != 0 && !wanted[id] && len(wanted) < n; {
			wanted[id] = true
			next := 0
			if c := byID[id].Causes; len(c) > 0 {
				next = c[0]
			}
			id = next
		}
	}
	return slices.DeleteFunc(mine, func(e Entry) bool { return !wanted[e.ID] }), len(byID)
}

var severityMark = map[record.Severity]string{record.Severe: "✘", record.Warning: "!", record.Notable: "•", record.Info: "·"}

// causeNote says how often no cause was found.
func (r *Report) causeNote() string {
	share := r.Fidelity.UnknownCauseShare
	if share == 0 {
		return "Every timeline entry that ought to have a cause has one, found by rule."
	}
	return fmt.Sprintf("No rule found a cause for %s of the timeline entries that ought to have one; they say so instead of guessing.", percent(share))
}
