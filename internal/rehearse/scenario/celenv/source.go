package celenv

import (
	"fmt"
	"reflect"
	"sort"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// A function of CEL sees only its arguments, not the run. So series(…), workload(…) and rollout(…) are macros that put
// the hidden variable @run in front of the arguments.
const (
	sourceVariable   = "@run"
	seriesFunction   = "@series"
	workloadFunction = "@workload"
	rolloutFunction  = "@rollout"
)

// source is the value of @run.
type source struct {
	start    time.Time
	columns  func(metric string, labels map[string]string) []Column
	workload func(name string) (Workload, bool)
	rollout  func(name string) (Rollout, bool)
	native   types.Adapter
}

func (s *source) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("%s is no value of its own", sourceVariable)
}
func (s *source) ConvertToType(ref.Type) ref.Val {
	return types.NewErr("%s is no value of its own", sourceVariable)
}
func (s *source) Equal(other ref.Val) ref.Val { return types.Bool(s == other) }
func (s *source) Type() ref.Type              { return types.UnknownType }
func (s *source) Value() any                  { return s }

func seriesMacros() []cel.Macro {
	withRun := func(function string) cel.MacroFactory {
		return func(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
			all := append([]ast.Expr{f.NewIdent(sourceVariable)}, args...)
			return f.NewCall(function, all...), nil
		}
	}
	return []cel.Macro{
		cel.GlobalMacro("series", 2, withRun(seriesFunction)),
		cel.GlobalMacro("series", 1, func(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
			return f.NewCall(seriesFunction, f.NewIdent(sourceVariable), args[0], f.NewMap()), nil
		}),
		cel.GlobalMacro("workload", 1, withRun(workloadFunction)),
		cel.GlobalMacro("rollout", 1, withRun(rolloutFunction)),
	}
}

// find gives the columns of a metric whose labels include those asked for.
func find(run, metric, labels ref.Val) ref.Val {
	s := run.(*source)
	native, err := labels.ConvertToNative(reflect.TypeFor[map[string]string]())
	if err != nil {
		return types.NewErr("series(): the labels must be texts: %v", err)
	}
	want := native.(map[string]string)
	name := string(metric.(types.String))
	return &series{what: describe(name, want), start: s.start, columns: s.columns(name, want)}
}

func describe(metric string, labels map[string]string) string {
	keys := make([]string, 0, len(labels))
	for k := range labels {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for i, k := range keys {
		keys[i] = k + "=" + labels[k]
	}
	return "series " + metric + "{" + strings.Join(keys, ",") + "}"
}

// matches tells whether labels include those wanted.
func matches(labels, want map[string]string) bool {
	for k, v := range want {
		if labels[k] != v {
			return false
		}
	}
	return true
}
