// Package celenv is the language of a scenario's conditions: what a step waits for (when, until), checks (assert) and
// what an expectation demands (cel). It is CEL (github.com/google/cel-spec) with the record of the run as variables,
// typed, so that a misspelt field is an error before the run.
//
// Conditions of steps see the run as it stands (Live), expectations see its whole record (Record).
package celenv

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
)

// costMax bounds one evaluation in CEL's own units, about a second of CPU. Real time cannot bound it: while a
// condition is evaluated, virtual time stands still.
const costMax = 2_000_000

// expressionMax bounds the text of a condition, in bytes.
const expressionMax = 8 << 10

// Env compiles conditions of one kind.
type Env struct {
	env *cel.Env
}

// Live is the language of when, until and assert; its conditions are evaluated over a Live view.
var Live = sync.OnceValue(func() *Env { return mustEnv(liveOptions()...) })

// Record is the language of expect's cel; its conditions are evaluated over a finished run.
var Record = sync.OnceValue(func() *Env { return mustEnv(recordOptions()...) })

func mustEnv(options ...cel.EnvOption) *Env {
	env, err := cel.NewEnv(options...)
	if err != nil {
		panic(fmt.Sprintf("the CEL environment of scenarios is broken: %v", err)) // a fault of this package alone; every test meets it
	}
	return &Env{env: env}
}

// sharedOptions are what both kinds of condition know.
func sharedOptions() []cel.EnvOption {
	options := []cel.EnvOption{
		cel.EnableMacroCallTracking(), // so that Operands can show series(…) as written
		cel.OptionalTypes(),
		ext.Strings(),
		ext.Math(),
		ext.Lists(),
		cel.Variable("start", cel.TimestampType),
		cel.Variable("now", cel.TimestampType),
		cel.Variable("timeline", cel.ListType(cel.ObjectType("record.Entry"))),
		cel.Variable("steps", cel.ListType(cel.ObjectType("record.Step"))),
	}
	return append(options, seriesOptions()...)
}

// An Issue is one thing wrong with a condition, at a place within its text (both from 1).
type Issue struct {
	Line, Column int
	Message      string
}

// CompileError lists what is wrong with a condition.
type CompileError struct {
	Issues []Issue
}

func (e *CompileError) Error() string {
	parts := make([]string, len(e.Issues))
	for i, issue := range e.Issues {
		parts[i] = issue.Message
	}
	return strings.Join(parts, "; ")
}

// Condition is a compiled expression that is true or false.
type Condition struct {
	text    string
	env     *cel.Env
	ast     *cel.Ast
	program cel.Program
}

// Compile checks an expression and prepares it. The error is a *CompileError.
func (e *Env) Compile(expression string) (*Condition, error) {
	if len(expression) > expressionMax {
		return nil, &CompileError{[]Issue{{1, 1, fmt.Sprintf("the condition has %d bytes; at most %d are read", len(expression), expressionMax)}}}
	}
	ast, issues := e.env.Compile(expression)
	if issues != nil && issues.Err() != nil {
		failure := &CompileError{}
		for _, i := range issues.Errors() {
			failure.Issues = append(failure.Issues, Issue{i.Location.Line(), i.Location.Column() + 1, i.Message})
		}
		return nil, failure
	}
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, &CompileError{[]Issue{{1, 1, fmt.Sprintf("the condition is a %s; it must be true or false, for example %s > 0", t, strings.TrimSpace(expression))}}}
	}
	program, err := e.env.Program(ast, cel.CostLimit(costMax), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, &CompileError{[]Issue{{1, 1, err.Error()}}}
	}
	return &Condition{text: expression, env: e.env, ast: ast, program: program}, nil
}

// String is the expression as written.
func (c *Condition) String() string { return c.text }

// ErrNoData says that a condition could not be decided because what it asks for was never observed.
var ErrNoData = errors.New("no data")

// Eval decides the condition. It fails with ErrNoData when a series it asks for is empty, and otherwise with CEL's own
// message (a missing key, a division by zero, too much work).
func (c *Condition) Eval(view View) (bool, error) {
	out, _, err := c.program.Eval(view.activation())
	if err != nil {
		if strings.Contains(err.Error(), noDataText) {
			return false, fmt.Errorf("%q: %w: %s", c.text, ErrNoData, strings.TrimPrefix(err.Error(), noDataText+": "))
		}
		return false, fmt.Errorf("%q: %w", c.text, err)
	}
	held, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("%q gave a %s; it must be true or false", c.text, out.Type().TypeName())
	}
	return bool(held), nil
}
