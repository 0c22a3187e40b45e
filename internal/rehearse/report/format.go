package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/scenario/zone"
)

// location is the scenario's time zone; UTC when it is unknown.
func (r *Report) location() *time.Location {
	if l, err := zone.Load(r.Scenario.TimeZone); err == nil {
		return l
	}
	return time.UTC
}

// clock writes a moment as people say it: "20:31", with the day when the run is longer than one.
func (r *Report) clock(t time.Time) string {
	t = t.In(r.location())
	layout := "15:04:05"
	if t.Second() == 0 {
		layout = "15:04"
	}
	if r.Scenario.Seconds > (24 * time.Hour).Seconds() {
		layout = "Mon 2 Jan " + layout
	}
	return t.Format(layout)
}

// formatValue writes a number with its unit, as short as it can be without hiding a difference that matters.
func formatValue(v float64, unit string) string {
	if math.IsNaN(v) {
		return "no data"
	}
	switch unit {
	case "ratio":
		return percent(v)
	case "s":
		return seconds(v)
	case "min":
		return seconds(v * 60)
	case "h":
		return grouped(v, 1) + " h"
	case "requests", "pods", "kills", "restarts", "breaks", "reversals":
		return count(v)
	case "replicas":
		return grouped(v, 1)
	case "":
		return grouped(v, 3)
	}
	if len(unit) == 3 && strings.ToUpper(unit) == unit { // a currency
		digits := 2
		if math.Abs(v) < 0.1 && v != 0 {
			digits = 5
		}
		return grouped(v, digits) + " " + unit
	}
	return grouped(v, 3) + " " + unit
}

// percent keeps enough digits for the nines: 99.98 %, 99.9993 %.
func percent(v float64) string {
	p := v * 100
	digits := 1
	if miss := math.Abs(100 - p); miss > 0 && miss < 1 {
		digits = min(6, 1+int(math.Ceil(-math.Log10(miss))))
	}
	if p != 0 && math.Abs(p) < 1 {
		digits = min(6, 1-int(math.Floor(math.Log10(math.Abs(p)))))
	}
	text := strconv.FormatFloat(p, 'f', digits, 64)
	if p < 100 && strings.HasPrefix(text, "100") {
		text = strconv.FormatFloat(math.Floor(p*1e6)/1e6, 'f', 6, 64)
	}
	if strings.Contains(text, ".") {
		text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	}
	return text + " %"
}

// seconds writes a duration given in seconds: 12 ms, 1.4 s, 3 min 20 s, 2 h 5 min.
func seconds(v float64) string {
	a := math.Abs(v)
	switch {
	case a == 0:
		return "0 s"
	case a < 0.001:
		return grouped(v*1e6, 0) + " µs"
	case a < 0.9995:
		return threeDigits(v*1000) + " ms"
	case a < 60:
		return threeDigits(v) + " s"
	}
	sign := ""
	if v < 0 {
		sign = "−"
	}
	total := int64(math.Round(a))
	h, m, s := total/3600, total/60%60, total%60
	switch {
	case h > 0 && m > 0:
		return fmt.Sprintf("%s%d h %d min", sign, h, m)
	case h > 0:
		return fmt.Sprintf("%s%d h", sign, h)
	case s > 0:
		return fmt.Sprintf("%s%d min %d s", sign, m, s)
	}
	return fmt.Sprintf("%s%d min", sign, m)
}

func threeDigits(v float64) string {
	v = significant(v, 3)
	return strings.Replace(strconv.FormatFloat(v, 'f', -1, 64), "-", "−", 1)
}

// count writes large counts short: 12.3 M, 18,200.
func count(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e9:
		return threeDigits(v/1e9) + " G"
	case a >= 1e6:
		return threeDigits(v/1e6) + " M"
	}
	return grouped(v, 0)
}

// grouped writes a number with at most digits decimals and commas between thousands.
func grouped(v float64, digits int) string {
	text := strconv.FormatFloat(math.Abs(v), 'f', digits, 64)
	whole, fraction, _ := strings.Cut(text, ".")
	if fraction = strings.TrimRight(fraction, "0"); digits == 2 && fraction != "" {
		fraction = (fraction + "0")[:2] // money keeps its cents
	}
	var b strings.Builder
	if v < 0 && (strings.Trim(whole, "0") != "" || fraction != "") {
		b.WriteString("−")
	}
	for i, d := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	if fraction != "" {
		b.WriteByte('.')
		b.WriteString(fraction)
	}
	return b.String()
}

// signed writes a difference with its sign.
func signed(v float64, unit string) string {
	if unit == "ratio" {
		points := strings.TrimSuffix(grouped(significant(v*100, 3), 4), " %")
		if v > 0 {
			points = "+" + points
		}
		return points + " pt"
	}
	text := formatValue(v, unit)
	if v > 0 {
		text = "+" + text
	}
	return text
}
