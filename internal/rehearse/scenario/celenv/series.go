package celenv

import (
	"fmt"
	"math"
	"reflect"
	"sort"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// Column is one series: a metric with its labels and its points in order of time. The value of a point holds for the
// sampling step that ends at its time.
type Column struct {
	Metric string
	Labels map[string]string
	Points []Point
}

// Point is one sample.
type Point struct {
	Time  time.Time
	Value float64
}

// seriesType is what series() gives.
var seriesType = cel.ObjectType("fairway.Series")

// series is the value behind seriesType: every column that matched, in the order of the record.
type series struct {
	what    string // as asked for, for messages
	start   time.Time
	columns []Column
}

// noDataText marks errors that mean "never observed"; Eval turns them into ErrNoData.
const noDataText = "no data"

func (s *series) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a series cannot be converted to %v", t)
}
func (s *series) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return seriesType
	}
	return types.NewErr("a series cannot be converted to %s", t.TypeName())
}
func (s *series) Equal(other ref.Val) ref.Val { return types.Bool(s == other) }
func (s *series) Type() ref.Type              { return seriesType }
func (s *series) Value() any                  { return s }

func (s *series) empty() ref.Val {
	return types.NewErr("%s: %s has no point there", noDataText, s.what)
}

func (s *series) points() []Point {
	var all []Point
	for _, c := range s.columns {
		all = append(all, c.Points...)
	}
	return all
}

// one gives the only column; reading a last or first value of several at once has no meaning.
func (s *series) one() ([]Point, ref.Val) {
	switch {
	case len(s.columns) > 1:
		return nil, types.NewErr("%s matches %d columns; give more labels, or add them up with .sum()", s.what, len(s.columns))
	case len(s.columns) == 0 || len(s.columns[0].Points) == 0:
		return nil, s.empty()
	}
	return s.columns[0].Points, nil
}

// fold reduces all points, or says that there are none.
func (s *series) fold(f func([]Point) float64) ref.Val {
	points := s.points()
	if len(points) == 0 {
		return s.empty()
	}
	return types.Double(f(points))
}

func (s *series) between(from, to time.Time) ref.Val {
	if to.Before(from) {
		return types.NewErr("between(%s, %s) runs backwards", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	cut := &series{what: s.what, start: s.start}
	for _, c := range s.columns {
		low := sort.Search(len(c.Points), func(i int) bool { return !c.Points[i].Time.Before(from) })
		high := sort.Search(len(c.Points), func(i int) bool { return c.Points[i].Time.After(to) })
		cut.columns = append(cut.columns, Column{c.Metric, c.Labels, c.Points[low:high]})
	}
	return cut
}

// sum adds the columns up, instant by instant.
func (s *series) sum() ref.Val {
	total := map[int64]float64{}
	var order []time.Time
	for _, c := range s.columns {
		for _, p := range c.Points {
			n := p.Time.UnixNano()
			if _, seen := total[n]; !seen {
				order = append(order, p.Time)
			}
			total[n] += p.Value
		}
	}
	sort.Slice(order, func(i, j int) bool { return order[i].Before(order[j]) })
	points := make([]Point, len(order))
	for i, t := range order {
		points[i] = Point{t, total[t.UnixNano()]}
	}
	return &series{what: s.what, start: s.start, columns: []Column{{Points: points}}}
}

func (s *series) at(t time.Time) ref.Val {
	points, bad := s.one()
	if bad != nil {
		return bad
	}
	i := sort.Search(len(points), func(i int) bool { return !points[i].Time.Before(t) })
	if i == len(points) {
		return s.empty()
	}
	return types.Double(points[i].Value)
}

func (s *series) quantile(q float64) ref.Val {
	if !(q >= 0 && q <= 1) {
		return types.NewErr("quantile(%g): a quantile lies between 0 and 1", q)
	}
	return s.fold(func(points []Point) float64 {
		values := make([]float64, len(points))
		for i, p := range points {
			values[i] = p.Value
		}
		sort.Float64s(values)
		return values[min(len(values)-1, int(q*float64(len(values))))]
	})
}

// moment reads a time in a scenario's way.
func (s *series) moment(text string) (time.Time, ref.Val) {
	m, err := v1alpha1.ParseMoment(text)
	if err != nil {
		return time.Time{}, types.NewErr("%v", err)
	}
	return m.In(s.start), nil
}

func foldMax(points []Point) float64 {
	m := math.Inf(-1)
	for _, p := range points {
		m = math.Max(m, p.Value)
	}
	return m
}

func foldMin(points []Point) float64 {
	m := math.Inf(1)
	for _, p := range points {
		m = math.Min(m, p.Value)
	}
	return m
}

func foldMean(points []Point) float64 {
	var sum float64
	for _, p := range points {
		sum += p.Value
	}
	return sum / float64(len(points))
}

// seriesOptions declare series() and what can be asked of its result.
func seriesOptions() []cel.EnvOption {
	self := []*cel.Type{seriesType}
	number := func(name string, f func(*series) ref.Val) cel.EnvOption {
		return cel.Function(name, cel.MemberOverload("series_"+name, self, cel.DoubleType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return f(v.(*series)) })))
	}
	labels := cel.MapType(cel.StringType, cel.StringType)
	return []cel.EnvOption{
		cel.Variable(sourceVariable, cel.DynType),
		cel.Macros(seriesMacros()...),
		cel.Function(seriesFunction, cel.Overload("series_of", []*cel.Type{cel.DynType, cel.StringType, labels}, seriesType,
			cel.FunctionBinding(func(args ...ref.Val) ref.Val { return find(args[0], args[1], args[2]) }))),
		number("max", func(s *series) ref.Val { return s.fold(foldMax) }),
		number("min", func(s *series) ref.Val { return s.fold(foldMin) }),
		number("mean", func(s *series) ref.Val { return s.fold(foldMean) }),
		number("last", func(s *series) ref.Val {
			points, bad := s.one()
			if bad != nil {
				return bad
			}
			return types.Double(points[len(points)-1].Value)
		}),
		number("first", func(s *series) ref.Val {
			points, bad := s.one()
			if bad != nil {
				return bad
			}
			return types.Double(points[0].Value)
		}),
		cel.Function("sum", cel.MemberOverload("series_sum", self, seriesType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return v.(*series).sum() }))),
		cel.Function("count", cel.MemberOverload("series_count", self, cel.IntType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return types.Int(len(v.(*series).points())) }))),
		cel.Function("quantile", cel.MemberOverload("series_quantile", []*cel.Type{seriesType, cel.DoubleType}, cel.DoubleType,
			cel.BinaryBinding(func(v, q ref.Val) ref.Val { return v.(*series).quantile(float64(q.(types.Double))) }))),
		cel.Function("at", cel.MemberOverload("series_at", []*cel.Type{seriesType, cel.StringType}, cel.DoubleType,
			cel.BinaryBinding(func(v, text ref.Val) ref.Val {
				s := v.(*series)
				t, bad := s.moment(string(text.(types.String)))
				if bad != nil {
					return bad
				}
				return s.at(t)
			}))),
		cel.Function("between",
			cel.MemberOverload("series_between", []*cel.Type{seriesType, cel.StringType, cel.StringType}, seriesType,
				cel.FunctionBinding(betweenTexts)),
			cel.MemberOverload("series_between_times", []*cel.Type{seriesType, cel.TimestampType, cel.TimestampType}, seriesType,
				cel.FunctionBinding(func(args ...ref.Val) ref.Val {
					return args[0].(*series).between(args[1].(types.Timestamp).Time, args[2].(types.Timestamp).Time)
				}))),
	}
}

func betweenTexts(args ...ref.Val) ref.Val {
	s := args[0].(*series)
	from, bad := s.moment(string(args[1].(types.String)))
	if bad != nil {
		return bad
	}
	to, bad := s.moment(string(args[2].(types.String)))
	if bad != nil {
		return bad
	}
	return s.between(from, to)
}
