package celenv

import (
	"fmt"
	"strconv"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// Operand is one side of a comparison within a condition, and what it was.
type Operand struct {
	Text  string // as written
	Value string // "unknown" when it could not be evaluated
}

// operandsMax bounds what Operands shows of one condition.
const operandsMax = 8

var comparisons = map[string]bool{
	operators.Equals: true, operators.NotEquals: true, operators.Less: true, operators.LessEquals: true,
	operators.Greater: true, operators.GreaterEquals: true, operators.In: true,
}

// Operands evaluates the two sides of each comparison that is not within a macro and gives those that are no constants,
// in the order written: the answer to "why is this condition not true?".
func (c *Condition) Operands(view View) []Operand {
	var found []Operand
	native := c.ast.NativeRep()
	c.walk(ast.NavigateAST(native), func(e ast.NavigableExpr) {
		if len(found) < operandsMax {
			found = append(found, c.operand(native, e, view))
		}
	})
	return found
}

// walk visits the non-constant sides of comparisons joined by &&, || and !.
func (c *Condition) walk(e ast.NavigableExpr, visit func(ast.NavigableExpr)) {
	if e.Kind() != ast.CallKind {
		return
	}
	for _, side := range e.Children() {
		if !comparisons[e.AsCall().FunctionName()] {
			c.walk(side, visit)
		} else if side.Kind() != ast.LiteralKind {
			visit(side)
		}
	}
}

func (c *Condition) operand(whole *ast.AST, e ast.NavigableExpr, view View) Operand {
	text, err := cel.ExprToString(e, whole.SourceInfo())
	if err != nil {
		return Operand{"?", "unknown"}
	}
	part := ast.NewCheckedAST(ast.NewAST(e, whole.SourceInfo()), whole.TypeMap(), whole.ReferenceMap())
	program, err := c.env.PlanProgram(part, cel.CostLimit(costMax))
	if err != nil {
		return Operand{text, "unknown"}
	}
	value, _, err := program.Eval(view.activation())
	if err != nil {
		return Operand{text, "unknown"}
	}
	return Operand{text, show(value)}
}

func show(v ref.Val) string {
	switch v := v.(type) {
	case types.String:
		return strconv.Quote(string(v))
	case types.Double:
		return strconv.FormatFloat(float64(v), 'g', 4, 64)
	}
	return fmt.Sprint(v.Value())
}
