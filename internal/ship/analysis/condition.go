package analysis

import (
	"container/list"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"sync"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
)

// programsMax bounds the compiled conditions that are kept: two for each of 500 metrics.
const programsMax = 1000

// judge holds the conditions of a metric against what a provider answered. With neither condition any answer is a success;
// with one, what does not meet it is its opposite; with both, what meets neither is inconclusive and failure wins. An error
// means that a condition could not be evaluated.
func judge(m *argo.Metric, result any) (argo.AnalysisPhase, error) {
	good, bad := m.SuccessCondition != "", m.FailureCondition != ""
	var success, failure bool
	var err error
	if good {
		if success, err = conditions.holds(m.SuccessCondition, result); err != nil {
			return argo.AnalysisPhaseError, cannot("successCondition", m.SuccessCondition, result, err)
		}
	}
	if bad {
		if failure, err = conditions.holds(m.FailureCondition, result); err != nil {
			return argo.AnalysisPhaseError, cannot("failureCondition", m.FailureCondition, result, err)
		}
	}
	switch {
	case failure, good && !bad && !success:
		return argo.AnalysisPhaseFailed, nil
	case success, !good:
		return argo.AnalysisPhaseSuccessful, nil
	}
	return argo.AnalysisPhaseInconclusive, nil
}

func cannot(field, condition string, result any, err error) error {
	if empty(result) {
		err = errors.New("metric result is nil or empty: no data returned from the metric provider")
	}
	return fmt.Errorf("could not evaluate %s \"%s\": %w", field, condition, err)
}

// CheckCondition says what is wrong with the syntax of a condition whose arguments are in place. Whether it fits what the provider will answer cannot be
// known before.
func CheckCondition(condition string) error {
	_, err := parser.Parse(condition)
	return sentence(err)
}

// environment is what conditions can name beside the functions of the expression language itself.
func environment(result any) map[string]any {
	return map[string]any{
		"result": plainly(result), "asInt": asInt, "asFloat": asFloat, "isNaN": math.IsNaN, "isInf": isInf,
		"isNil": isNil, "default": orElse,
	}
}

// conditions are compiled for the type of the result they are held against, because the compiler checks types.
var conditions = programs{max: programsMax}

type programKey struct {
	condition string
	result    reflect.Type
}

// programs keeps the compiled conditions used last.
type programs struct {
	max   int
	mu    sync.Mutex
	byKey map[programKey]*list.Element
	used  list.List // of *program, the last used first
}

type program struct {
	key programKey
	vm  *vm.Program
}

func (p *programs) holds(condition string, result any) (bool, error) {
	env := environment(result)
	code, err := p.compiled(programKey{condition, reflect.TypeOf(env["result"])}, env)
	if err != nil {
		return false, err
	}
	out, err := expr.Run(code, env)
	if err != nil {
		return false, sentence(err)
	}
	holds, ok := out.(bool)
	if !ok {
		return false, fmt.Errorf("expected bool, but got %T", out)
	}
	return holds, nil
}

func (p *programs) compiled(key programKey, env map[string]any) (*vm.Program, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.byKey[key]; e != nil {
		p.used.MoveToFront(e)
		return e.Value.(*program).vm, nil
	}
	code, err := expr.Compile(key.condition, expr.Env(env))
	if err != nil {
		return nil, sentence(err)
	}
	if p.byKey == nil {
		p.byKey = map[programKey]*list.Element{}
	}
	p.byKey[key] = p.used.PushFront(&program{key, code})
	if p.used.Len() > p.max {
		delete(p.byKey, p.used.Remove(p.used.Back()).(*program).key)
	}
	return code, nil
}

// Instant evaluates the start or end of a range query, as in now() - duration("1h").
func Instant(expression string) (time.Time, error) {
	env := map[string]any{"isNaN": math.IsNaN, "isInf": isInf}
	code, err := expr.Compile(expression, expr.Env(env))
	if err != nil {
		return time.Time{}, sentence(err)
	}
	out, err := expr.Run(code, env)
	if err != nil {
		return time.Time{}, sentence(err)
	}
	at, ok := out.(time.Time)
	if !ok {
		return time.Time{}, fmt.Errorf("expected time.Time, but got %T", out)
	}
	return at, nil
}

// sentence leaves out the drawing of the place that errors of the expression language come with.
func sentence(err error) error {
	var at *file.Error
	if errors.As(err, &at) {
		return errors.New(at.Message)
	}
	return err
}

// plainly is what a pointer points to, nil for a nil one, and anything else as it is.
func plainly(v any) any {
	if isNil(v) {
		return nil
	}
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer {
		return r.Elem().Interface()
	}
	return v
}

func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Chan, reflect.Func:
		return r.IsNil()
	}
	return false
}

func empty(v any) bool {
	if isNil(v) {
		return true
	}
	r := reflect.ValueOf(v)
	return (r.Kind() == reflect.Slice || r.Kind() == reflect.Array) && r.Len() == 0
}

// orElse is v, or other when v is nil.
func orElse(v, other any) any {
	if isNil(v) {
		return other
	}
	return plainly(v)
}

func isInf(f float64) bool { return math.IsInf(f, 0) }

func asInt(v any) (int64, error) {
	switch r := reflect.ValueOf(v); {
	case !r.IsValid():
	case r.CanInt():
		return r.Int(), nil
	case r.CanUint():
		return int64(r.Uint()), nil
	case r.CanFloat():
		return int64(r.Float()), nil
	case r.Kind() == reflect.String:
		return strconv.ParseInt(r.String(), 10, 64)
	}
	return 0, fmt.Errorf("asInt() not supported on %T %v", v, v)
}

func asFloat(v any) (float64, error) {
	switch r := reflect.ValueOf(v); {
	case !r.IsValid():
	case r.CanInt():
		return float64(r.Int()), nil
	case r.CanUint():
		return float64(r.Uint()), nil
	case r.CanFloat():
		return r.Float(), nil
	case r.Kind() == reflect.String:
		return strconv.ParseFloat(r.String(), 64)
	}
	return 0, fmt.Errorf("asFloat() not supported on %T %v", v, v)
}
