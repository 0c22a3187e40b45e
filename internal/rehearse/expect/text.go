package expect

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

func byObject(a, b record.Workload) int { return cmp.Compare(a.Object, b.Object) }

// percentText writes a share with as many digits as its distance from 100 % needs.
func percentText(v float64) string {
	p := v * 100
	digits := 1
	if miss := math.Abs(100 - p); miss > 0 && miss < 1 {
		digits = min(6, 2-int(math.Floor(math.Log10(miss)))-1)
	}
	text := strconv.FormatFloat(p, 'f', digits, 64)
	if p < 100 && strings.HasPrefix(text, "100") {
		text = "just below 100"
	}
	if strings.Contains(text, ".") {
		text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	}
	return text + " %"
}

// secondsText writes a duration in seconds with three digits: 87 ms, 1.25 s, 8 min, 2 h 5 min.
func secondsText(s float64) string {
	switch {
	case s == 0:
		return "0 s"
	case s < 1:
		return strconv.FormatFloat(s*1000, 'g', 3, 64) + " ms"
	case s < 60:
		return strconv.FormatFloat(s, 'g', 3, 64) + " s"
	}
	return durationText(time.Duration(math.Round(s)) * time.Second)
}

// durationText is secondsText for a limit, which is shown whole.
func durationText(d time.Duration) string {
	if d < time.Minute {
		return secondsText(d.Seconds())
	}
	var parts []string
	for _, unit := range []struct {
		name string
		long time.Duration
	}{{"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}} {
		if n := d / unit.long; n > 0 {
			parts, d = append(parts, fmt.Sprintf("%d %s", n, unit.name)), d%unit.long
		}
	}
	return strings.Join(parts, " ")
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 5, 64) }

// per is how many sample steps a time has; none in a run that broke off before it said its step.
func per(d time.Duration, t record.Table) int {
	if t.Step <= 0 {
		return 0
	}
	return int(d / t.Step)
}

// steps turns a number of sample steps into time.
func steps(n int, t record.Table) time.Duration { return time.Duration(n) * t.Step }
