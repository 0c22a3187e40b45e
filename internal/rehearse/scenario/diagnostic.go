package scenario

import (
	"fmt"
	"sort"
	"strings"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// Severity of a Diagnostic.
type Severity string

// Severities. A scenario with an Error is not played.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Diagnostic is one thing to say about a scenario, at the place it is written. Line and Column count from 1. Both are 0
// when the place is a file as a whole, the column also where a line is all there is to point at. A File that begins with
// two dashes is a flag of the command line.
type Diagnostic struct {
	File     string   `json:"file"`
	Line     int      `json:"line,omitempty"`
	Column   int      `json:"column,omitempty"`
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
	Hint     string   `json:"hint,omitempty"` // how to put it right
}

// String is the line a compiler would print.
func (d Diagnostic) String() string {
	var b strings.Builder
	if b.WriteString(d.File); d.File == "" { // made by a program, not read from a file
		b.WriteString("scenario")
	}
	if d.Line > 0 {
		fmt.Fprintf(&b, ":%d", d.Line)
	}
	if d.Column > 0 {
		fmt.Fprintf(&b, ":%d", d.Column)
	}
	fmt.Fprintf(&b, ": %s: %s", d.Severity, d.Message)
	if d.Hint != "" {
		b.WriteString("; " + d.Hint)
	}
	return b.String()
}

// HasErrors tells whether one of them keeps the scenario from being played.
func HasErrors(all []Diagnostic) bool {
	for _, d := range all {
		if d.Severity == Error {
			return true
		}
	}
	return false
}

// diagnosticsMax bounds what is reported of one scenario; a file of another kind would otherwise fill the screen.
const diagnosticsMax = 200

// diagnostics collects.
type diagnostics []Diagnostic

func (d *diagnostics) add(severity Severity, at v1alpha1.Source, hint, format string, args ...any) {
	if len(*d) >= diagnosticsMax {
		return
	}
	*d = append(*d, Diagnostic{at.File, at.Line, at.Column, severity, fmt.Sprintf(format, args...), hint})
}

// Sorted puts diagnostics in the order of files and lines and drops repetitions.
func Sorted(all []Diagnostic) []Diagnostic { return diagnostics(all).sorted() }

// sorted puts them in the order of the text and drops repetitions.
func (d diagnostics) sorted() []Diagnostic {
	sort.SliceStable(d, func(i, j int) bool {
		a, b := d[i], d[j]
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	var out []Diagnostic
	for i, one := range d {
		if i == 0 || one != d[i-1] {
			out = append(out, one)
		}
	}
	return out
}
