// Package schedlog reads the log of scheduling decisions that a debug build of fairway-rehearse writes (`make
// rehearse-debug`, `fairway rehearse --schedlog FILE`): which goroutine ran next, at which virtual nanosecond, and how the
// runtime's random states stood. Two runs that ought to be equal differ first where the cause is; one log alone shows what
// keeps a run awake.
package schedlog

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Truncated is the last line of a log whose run made more decisions than the runtime could keep.
const Truncated = "truncated"

// contextLines before a difference are shown, enough to see who woke whom.
const contextLines = 12

// Difference is the first place at which two logs differ.
type Difference struct {
	Decision int64    // its number, from 1
	Before   []string // what both did just before
	A, B     string   // what each did then; "" at its end
}

// String shows the difference as a person reads it.
func (d *Difference) String() string {
	var out strings.Builder
	for _, l := range d.Before {
		fmt.Fprintf(&out, "  %s\n", describe(l))
	}
	for _, side := range []struct{ name, line string }{{"A", d.A}, {"B", d.B}} {
		text := "ends"
		if side.line != "" {
			text = describe(side.line)
		}
		fmt.Fprintf(&out, "%s %s\n", side.name, text)
	}
	return out.String()
}

// decision is one line: goroutine, start function, virtual nanosecond, random state, number of random draws.
type decision struct {
	goroutine, function string
	at                  time.Time
	state, draws        string
}

func parse(line string) (decision, error) {
	f := strings.Fields(line)
	if len(f) != 5 {
		return decision{}, fmt.Errorf("%q is no scheduling decision", line)
	}
	ns, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		return decision{}, fmt.Errorf("%q is no scheduling decision: %w", line, err)
	}
	return decision{goroutine: f[0], function: f[1], at: time.Unix(0, ns).UTC(), state: f[3], draws: f[4]}, nil
}

func describe(line string) string {
	d, err := parse(line)
	if err != nil {
		return line
	}
	return fmt.Sprintf("%s  goroutine %s  %s  (random state %s, draws %s)", d.at.Format("2006-01-02 15:04:05.000000000"), d.goroutine, d.function, d.state, d.draws)
}

// Compare finds the first difference of two logs; nil when there is none. It reads both once, from the front.
func Compare(a, b io.Reader) (*Difference, error) {
	x, y := bufio.NewReaderSize(a, 1<<20), bufio.NewReaderSize(b, 1<<20)
	var before []string
	for n := int64(1); ; n++ {
		la, errA := next(x)
		lb, errB := next(y)
		if err := errors.Join(errA, errB); err != nil {
			return nil, err
		}
		if la != lb {
			return &Difference{Decision: n, Before: before, A: la, B: lb}, nil
		}
		if la == "" {
			return nil, nil
		}
		if before = append(before, la); len(before) > contextLines {
			before = before[1:]
		}
	}
}

// next is the next line without its end; "" at the end of the log.
func next(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err == io.EOF {
		err = nil
	}
	return strings.TrimSuffix(line, "\n"), err
}

// Awake is how often goroutines of one start function ran.
type Awake struct {
	Function string
	Runs     int64
	PerHour  float64 // of virtual time
}

// Count adds a log up by start function, the most frequent first.
func Count(log io.Reader) ([]Awake, error) {
	in := bufio.NewReaderSize(log, 1<<20)
	runs := map[string]int64{}
	var first, last time.Time
	for {
		line, err := next(in)
		if err != nil {
			return nil, err
		}
		if line == "" {
			break
		}
		if line == Truncated {
			continue
		}
		d, err := parse(line)
		if err != nil {
			return nil, err
		}
		if runs[d.function]++; first.IsZero() {
			first = d.at
		}
		last = d.at
	}
	hours := max(last.Sub(first).Hours(), 1e-9)
	out := make([]Awake, 0, len(runs))
	for f, n := range runs {
		out = append(out, Awake{Function: f, Runs: n, PerHour: float64(n) / hours})
	}
	slices.SortFunc(out, func(a, b Awake) int {
		return cmp.Or(cmp.Compare(b.Runs, a.Runs), strings.Compare(a.Function, b.Function))
	})
	return out, nil
}
