package load

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/spelling"
)

const (
	// rowsMax bounds a recorded curve: a year by the half minute.
	rowsMax = 1_100_000
	// gapSteps is how many usual steps may be missing before a hole is a gap.
	gapSteps = 5
	// unixMin is the least number read as unix seconds (March 1973); smaller ones count from the first row.
	unixMin = 1e8
	// lineErrorsMax bounds what is reported of one file.
	lineErrorsMax = 20
)

// LineError is one thing wrong with a recorded curve. Line counts from 1, which is the header; 0 means the whole file.
type LineError struct {
	Line    int
	Message string
	Hint    string // how to put it right; may be empty
}

// sheet is a CSV file read into columns of text.
type sheet struct {
	header []string
	rows   [][]string
	lines  []int
	errors []LineError
}

func (s *sheet) fail(line int, hint, format string, args ...any) {
	if len(s.errors) < lineErrorsMax {
		s.errors = append(s.errors, LineError{line, fmt.Sprintf(format, args...), hint})
	}
}

func read(data []byte) *sheet {
	s := &sheet{}
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	r.TrimLeadingSpace, r.Comment, r.ReuseRecord = true, '#', false
	r.FieldsPerRecord = -1
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var bad *csv.ParseError
		if errors.As(err, &bad) {
			s.fail(bad.Line, "check the quotes", "this is not CSV: %v", bad.Err)
			return s
		}
		if err != nil {
			s.fail(0, "", "%v", err)
			return s
		}
		line, _ := r.FieldPos(0)
		for i := range record {
			record[i] = strings.TrimSpace(record[i])
		}
		if s.header == nil {
			s.header = record
			continue
		}
		if len(record) != len(s.header) {
			s.fail(line, "every row has one value a column", "%d values for %d columns", len(record), len(s.header))
			continue
		}
		if len(s.rows) == rowsMax {
			s.fail(line, "write a row a minute", "more than %d rows", rowsMax)
			return s
		}
		s.rows, s.lines = append(s.rows, record), append(s.lines, line)
	}
	s.checkHeader()
	return s
}

func (s *sheet) checkHeader() {
	if s.header == nil {
		s.fail(0, "the first row names the columns, for example time,rps", "the file is empty")
		return
	}
	seen := map[string]bool{}
	for _, name := range s.header {
		if _, err := strconv.ParseFloat(name, 64); err == nil {
			s.fail(1, "write for example time,rps", "the first row must name the columns, but holds %q", name)
			return
		}
		if seen[name] {
			s.fail(1, "remove one of them", "the column %q is there twice", name)
		}
		seen[name] = true
	}
	if len(s.rows) == 0 && len(s.errors) == 0 {
		s.fail(0, "write for example 0,20 for time,rps", "there are no rows below the header")
	}
}

func (s *sheet) column(name string) int {
	for i, h := range s.header {
		if h == name {
			return i
		}
	}
	return -1
}

// ParseCSV reads a recorded curve. The table's times rise strictly; gaps are filled as c.Gaps says, and are errors by
// default. With errors the table is nil.
func ParseCSV(data []byte, c *v1alpha1.CSVLoad) (*v1alpha1.CSVTable, []LineError) {
	s := read(data)
	if len(s.errors) > 0 {
		return nil, s.errors
	}
	timeName := c.Time
	if timeName == "" {
		timeName = "time"
	}
	timeColumn := s.column(timeName)
	if timeColumn < 0 {
		s.fail(1, spelling.Suggest(timeName, s.header), "there is no column %q", timeName)
		return nil, s.errors
	}
	columns := s.routeColumns(c, timeColumn)
	table := &v1alpha1.CSVTable{}
	table.Times, table.Absolute = s.times(timeColumn)
	for _, column := range columns {
		table.Series = append(table.Series, v1alpha1.CSVSeries{Route: column.route, Values: s.values(column.index)})
	}
	if len(s.errors) > 0 {
		return nil, s.errors
	}
	s.gaps(table, c.Gaps)
	if len(s.errors) > 0 {
		return nil, s.errors
	}
	return table, nil
}

type routeColumn struct {
	route string
	index int
}

// routeColumns chooses the columns to read, by route.
func (s *sheet) routeColumns(c *v1alpha1.CSVLoad, timeColumn int) []routeColumn {
	var columns []routeColumn
	for name, route := range c.Columns {
		i := s.column(name)
		if i < 0 {
			s.fail(1, spelling.Suggest(name, s.header), "there is no column %q", name)
			continue
		}
		columns = append(columns, routeColumn{route, i})
	}
	if len(c.Columns) == 0 {
		columns = s.allColumns(timeColumn)
	}
	sort.Slice(columns, func(i, j int) bool { return columns[i].route < columns[j].route })
	if len(columns) == 0 {
		if len(s.errors) == 0 {
			s.fail(1, "write for example time,rps", "there is no column of rates beside the time")
		}
	}
	for i := 1; i < len(columns); i++ {
		if columns[i].route == columns[i-1].route {
			s.fail(1, "give each its own route", "two columns give the route %q", columns[i].route)
		}
	}
	return columns
}

// allColumns are those of a file of which nobody said what to read: all requests in one column, or a column a route.
// What would be left out is refused, because nobody would notice.
func (s *sheet) allColumns(timeColumn int) []routeColumn {
	var columns []routeColumn
	total := ""
	for i, name := range s.header {
		if i == timeColumn {
			continue
		}
		if isTotal(name) {
			total = name
		}
		columns = append(columns, routeColumn{name, i})
	}
	if total == "" {
		return columns
	}
	for _, c := range columns {
		if c.route != total {
			s.fail(1, fmt.Sprintf("write csv.columns: {%s: \"*\"} to read that one alone, or remove one of them", total),
				"the columns %s and %s are given, and it is unclear which counts", total, c.route)
			return nil
		}
	}
	columns[0].route = "*"
	return columns
}

func isTotal(name string) bool { return name == "rps" || name == "rate" }

func (s *sheet) values(column int) []float64 {
	values := make([]float64, len(s.rows))
	for i, row := range s.rows {
		v, err := strconv.ParseFloat(row[column], 64)
		switch {
		case row[column] == "":
			s.fail(s.lines[i], "write 0 for no requests", "%s is empty", s.header[column])
		case err != nil || math.IsNaN(v) || math.IsInf(v, 0):
			s.fail(s.lines[i], "write requests a second, without a unit", "%s is %q, which is not a number", s.header[column], row[column])
		case v < 0:
			s.fail(s.lines[i], "a rate is 0 or more", "%s is %s", s.header[column], row[column])
		case v > v1alpha1.RateMax:
			s.fail(s.lines[i], "write requests a second", "%s is %s, above %g a second, which no load is", s.header[column], row[column], float64(v1alpha1.RateMax))
		}
		values[i] = v
	}
	return values
}

// times reads the time column: unix seconds, or seconds from the first row.
func (s *sheet) times(column int) (times []float64, absolute bool) {
	times = make([]float64, len(s.rows))
	zone := ""
	for i, row := range s.rows {
		text := row[column]
		seconds, stamped, offset, err := instant(text)
		if err != nil {
			s.fail(s.lines[i], "write for example 2026-11-27T09:00:00Z, or 3600", "the time %q is neither RFC 3339 nor seconds", text)
			continue
		}
		isAbsolute := stamped || seconds >= unixMin
		switch {
		case i == 0:
			absolute, zone = isAbsolute, offset
		case isAbsolute != absolute:
			s.fail(s.lines[i], "write all times in the same way", "the time %q is of another kind than the first", text)
		case offset != zone:
			s.fail(s.lines[i], "write all times in one zone", "the time %q has another zone than the first", text)
		case seconds == times[i-1]:
			s.fail(s.lines[i], "keep one of them", "the time %q is there twice, first in line %d", text, s.lines[i-1])
		case seconds < times[i-1]:
			s.fail(s.lines[i], "sort the rows by time", "the time %q is before that of line %d, %q", text, s.lines[i-1], s.rows[i-1][column])
		}
		times[i] = seconds
	}
	if !absolute && len(times) > 0 {
		first := times[0]
		for i := range times {
			times[i] -= first
		}
	}
	return times, absolute
}

func instant(text string) (seconds float64, stamped bool, offset string, err error) {
	if seconds, err = strconv.ParseFloat(text, 64); err == nil {
		if math.IsNaN(seconds) || math.IsInf(seconds, 0) || math.Abs(seconds) > 1e11 {
			return 0, false, "", fmt.Errorf("not a time")
		}
		return seconds, false, "", nil
	}
	t, err := time.Parse(time.RFC3339Nano, strings.Replace(text, " ", "T", 1))
	if err != nil {
		return 0, false, "", err
	}
	return float64(t.Unix()) + float64(t.Nanosecond())/1e9, true, t.Format("Z07:00"), nil
}

// gaps finds holes longer than five usual steps, and reports or fills them.
func (s *sheet) gaps(t *v1alpha1.CSVTable, mode string) {
	if len(t.Times) < 3 {
		return
	}
	steps := make([]float64, len(t.Times)-1)
	for i := range steps {
		steps[i] = t.Times[i+1] - t.Times[i]
	}
	sorted := append([]float64(nil), steps...)
	sort.Float64s(sorted)
	usual := sorted[len(sorted)/2]
	var out v1alpha1.CSVTable
	out.Series = make([]v1alpha1.CSVSeries, len(t.Series))
	push := func(at float64, row int, zero bool) {
		out.Times = append(out.Times, at)
		for k := range t.Series {
			v := t.Series[k].Values[row]
			if zero {
				v = 0
			}
			out.Series[k].Route = t.Series[k].Route
			out.Series[k].Values = append(out.Series[k].Values, v)
		}
	}
	for i, at := range t.Times {
		push(at, i, false)
		if i == len(steps) || steps[i] <= gapSteps*usual {
			continue
		}
		switch mode {
		case "hold":
			push(t.Times[i+1]-usual, i, false)
		case "zero":
			push(at+usual, i, true)
			push(t.Times[i+1]-usual, i, true)
		default:
			s.fail(s.lines[i+1], "fill it, or use a scenario with csv.gaps: hold or zero", "a gap of %s where a step is usually %s",
				seconds(steps[i]), seconds(usual))
		}
	}
	out.Absolute = t.Absolute
	*t = out
}

func seconds(s float64) string {
	return v1alpha1.DurationOf(time.Duration(s * float64(time.Second)).Round(time.Millisecond)).String()
}

// shortColumns are those that the short form knows.
var shortColumns = []string{"time", "target", "rps"}

// ParseShort reads the short form of --load: columns time,rps, or time,target,rps. It gives one load for each target,
// sorted, with the line that names it first; in the first form one load without a target, which the caller must find.
func ParseShort(data []byte, file string) ([]v1alpha1.Load, []LineError) {
	s := read(data)
	if len(s.errors) == 0 {
		s.checkShort()
	}
	if len(s.errors) > 0 {
		return nil, s.errors
	}
	target, rate := s.column("target"), s.column("rps")
	groups := map[string]*sheet{}
	for i, row := range s.rows {
		name := ""
		if target >= 0 {
			if name = row[target]; name == "" {
				s.fail(s.lines[i], "write namespace/service, for example shop/frontend", "target is empty")
				continue
			}
		}
		if groups[name] == nil {
			groups[name] = &sheet{header: s.header}
		}
		groups[name].rows = append(groups[name].rows, row)
		groups[name].lines = append(groups[name].lines, s.lines[i])
	}
	names := make([]string, 0, len(groups))
	for name := range groups {
		names = append(names, name)
	}
	sort.Strings(names)
	var loads []v1alpha1.Load
	for _, name := range names {
		g := groups[name]
		t := &v1alpha1.CSVTable{Series: []v1alpha1.CSVSeries{{Route: "*", Values: g.values(rate)}}}
		t.Times, t.Absolute = g.times(g.column("time"))
		if len(g.errors) == 0 {
			g.gaps(t, "error")
		}
		s.errors = append(s.errors, g.errors...)
		loads = append(loads, v1alpha1.Load{Name: name, To: name, CSV: &v1alpha1.CSVLoad{File: file, Table: t}, Source: v1alpha1.Source{File: file, Line: g.lines[0]}})
	}
	sort.SliceStable(s.errors, func(i, j int) bool { return s.errors[i].Line < s.errors[j].Line })
	return loads, s.errors
}

// checkShort holds the header against the columns of the short form.
func (s *sheet) checkShort() {
	for _, name := range s.header {
		if !slices.Contains(shortColumns, name) {
			s.fail(1, spelling.Suggest(name, shortColumns), "unknown column %q", name)
		}
	}
	for _, name := range []string{"time", "rps"} {
		if len(s.errors) == 0 && s.column(name) < 0 {
			s.fail(1, "write time,rps or time,target,rps", "there is no column %q", name)
		}
	}
}
