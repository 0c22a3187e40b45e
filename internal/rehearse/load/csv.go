package load

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

const (
	// rowsMax bounds a recorded curve: a year by the half minute.
	rowsMax = 1_100_000
	// gapSteps is how many usual steps may be missing before a hole is a gap.
	gapSteps = 5
	// unixMin is the least number read as unix seconds (March 1973); smaller ones count from the first row.
	unixMin = 1e8
	// rowErrorsMax bounds what is reported of one file.
	rowErrorsMax = 20
)

// RowError is one thing wrong with a recorded curve. Row is the line of the file, the header being 1; 0 means all of it.
type RowError struct {
	Row     int
	Message string
}

// Error names the row.
func (e RowError) Error() string {
	if e.Row == 0 {
		return e.Message
	}
	return fmt.Sprintf("row %d: %s", e.Row, e.Message)
}

// sheet is a CSV file read into columns of text.
type sheet struct {
	header []string
	rows   [][]string
	lines  []int
	errors []RowError
}

func (s *sheet) fail(row int, format string, args ...any) {
	if len(s.errors) < rowErrorsMax {
		s.errors = append(s.errors, RowError{row, fmt.Sprintf(format, args...)})
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
			s.fail(bad.Line, "%v", bad.Err)
			return s
		}
		if err != nil {
			s.fail(0, "%v", err)
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
			s.fail(line, "%d values for %d columns", len(record), len(s.header))
			continue
		}
		if len(s.rows) == rowsMax {
			s.fail(line, "more than %d rows", rowsMax)
			return s
		}
		s.rows, s.lines = append(s.rows, record), append(s.lines, line)
	}
	s.checkHeader()
	return s
}

func (s *sheet) checkHeader() {
	if s.header == nil {
		s.fail(0, "the file is empty; the first row names the columns, for example time,rps")
		return
	}
	seen := map[string]bool{}
	for _, name := range s.header {
		if _, err := strconv.ParseFloat(name, 64); err == nil {
			s.fail(1, "the first row must name the columns, for example time,rps, but holds %q", name)
			return
		}
		if seen[name] {
			s.fail(1, "the column %q is there twice", name)
		}
		seen[name] = true
	}
	if len(s.rows) == 0 && len(s.errors) == 0 {
		s.fail(0, "there are no rows below the header")
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
func ParseCSV(data []byte, c *v1alpha1.CSVLoad) (*v1alpha1.CSVTable, []RowError) {
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
		s.fail(1, "there is no column %q; columns are %s", timeName, strings.Join(s.header, ", "))
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
			s.fail(1, "there is no column %q; columns are %s", name, strings.Join(s.header, ", "))
			continue
		}
		columns = append(columns, routeColumn{route, i})
	}
	if len(c.Columns) == 0 {
		for i, name := range s.header {
			if i == timeColumn {
				continue
			}
			if isTotal(name) {
				return []routeColumn{{"*", i}}
			}
			columns = append(columns, routeColumn{name, i})
		}
	}
	sort.Slice(columns, func(i, j int) bool { return columns[i].route < columns[j].route })
	if len(columns) == 0 {
		s.fail(1, "there is no column of rates beside the time; write for example time,rps")
	}
	for i := 1; i < len(columns); i++ {
		if columns[i].route == columns[i-1].route {
			s.fail(1, "two columns give the route %q", columns[i].route)
		}
	}
	return columns
}

func isTotal(name string) bool { return name == "rps" || name == "rate" }

func (s *sheet) values(column int) []float64 {
	values := make([]float64, len(s.rows))
	for i, row := range s.rows {
		v, err := strconv.ParseFloat(row[column], 64)
		switch {
		case row[column] == "":
			s.fail(s.lines[i], "%s is empty", s.header[column])
		case err != nil || math.IsNaN(v) || math.IsInf(v, 0):
			s.fail(s.lines[i], "%s is %q, which is not a number", s.header[column], row[column])
		case v < 0:
			s.fail(s.lines[i], "%s is %s; a rate is 0 or more", s.header[column], row[column])
		case v > v1alpha1.RateMax:
			s.fail(s.lines[i], "%s is %s, above %g a second, which no load is", s.header[column], row[column], float64(v1alpha1.RateMax))
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
			s.fail(s.lines[i], "the time %q is neither RFC 3339 nor seconds", text)
			continue
		}
		isAbsolute := stamped || seconds >= unixMin
		switch {
		case i == 0:
			absolute, zone = isAbsolute, offset
		case isAbsolute != absolute:
			s.fail(s.lines[i], "the time %q is of another kind than the first", text)
		case offset != zone:
			s.fail(s.lines[i], "the time %q has another zone than the first; write all in one", text)
		case seconds <= times[i-1]:
			s.fail(s.lines[i], "the time %q is not after the row before it", text)
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
			s.fail(s.lines[i+1], "a gap of %s where a step is usually %s; write gaps: hold or gaps: zero to allow it",
				seconds(steps[i]), seconds(usual))
		}
	}
	out.Absolute = t.Absolute
	*t = out
}

func seconds(s float64) string {
	return v1alpha1.DurationOf(time.Duration(s * float64(time.Second)).Round(time.Millisecond)).String()
}

// ParseShort reads the short form of --load: columns time,rps, or time,target,rps. It gives one load for each target,
// sorted; in the first form one load without a target, which the caller must find.
func ParseShort(data []byte, file string) ([]v1alpha1.Load, []RowError) {
	s := read(data)
	if len(s.errors) > 0 {
		return nil, s.errors
	}
	target, rate := s.column("target"), s.column("rps")
	if s.column("time") < 0 || rate < 0 {
		s.fail(1, "columns are %s; write time,rps or time,target,rps", strings.Join(s.header, ", "))
		return nil, s.errors
	}
	groups := map[string]*sheet{}
	for i, row := range s.rows {
		name := ""
		if target >= 0 {
			if name = row[target]; name == "" {
				s.fail(s.lines[i], "target is empty")
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
		loads = append(loads, v1alpha1.Load{Name: name, To: name, CSV: &v1alpha1.CSVLoad{File: file, Table: t}})
	}
	if len(s.errors) > 0 {
		sort.SliceStable(s.errors, func(i, j int) bool { return s.errors[i].Row < s.errors[j].Row })
		return nil, s.errors
	}
	return loads, nil
}
