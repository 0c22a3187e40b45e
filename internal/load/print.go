package load

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Print writes the result for people.
func (r *Result) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests in %v: %.1f answers a second of %g asked for\n", r.Done, r.Elapsed.Round(time.Millisecond), r.Achieved, r.Rate)
	if r.Done == 0 {
		_, err := io.WriteString(w, b.String())
		return err
	}
	fmt.Fprintf(&b, "failed %d (%s): no answer, or 500 and above\n", r.Failed, percent(r.Failed, r.Done))
	if r.Late > 0 {
		fmt.Fprintf(&b, "%d (%s) were sent more than %v late: all connections, or this machine, were busy. Their wait counts in the latency.\n", r.Late, percent(r.Late, r.Done), late)
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\nms\tmean\tp50\tp90\tp99\tp99.9\tmax\t")
	line := func(name string, q Quantiles) {
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t\n", name, q.Mean, q.P50, q.P90, q.P99, q.P999, q.Max)
	}
	line("from planned", r.Latency)
	line("from sent", r.Service)
	_ = t.Flush()
	counts(&b, "answer", r.Codes, r.Done)
	counts(&b, "no answer", r.Errors, r.Done)
	if len(r.By) > 0 {
		t = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "\nBY\tREQUESTS\tSHARE\tFAILED\tP50 MS\tP99 MS")
		for _, value := range slices.Sorted(maps.Keys(r.By)) {
			g := r.By[value]
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%.1f\t%.1f\n", value, g.Done, percent(g.Done, r.Done), percent(g.Failed, g.Done), g.Latency.P50, g.Latency.P99)
		}
		_ = t.Flush()
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// counts writes the most frequent first.
func counts(b *strings.Builder, what string, n map[string]int, all int) {
	for _, k := range slices.SortedFunc(maps.Keys(n), func(x, y string) int { return cmp.Or(n[y]-n[x], strings.Compare(x, y)) }) {
		fmt.Fprintf(b, "%s %s: %d (%s)\n", what, k, n[k], percent(n[k], all))
	}
}

func percent(n, of int) string {
	if of == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.3g %%", 100*float64(n)/float64(of))
}
