package scenario

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// Reference is the table of every field of a scenario in Markdown, from the same types and comments as the schema.
func Reference() string {
	r := &reference{seen: map[reflect.Type]bool{}}
	r.section(reflect.TypeFor[v1alpha1.ScenarioSpec](), "spec")
	return strings.TrimRight(r.text.String(), "\n") + "\n"
}

type reference struct {
	text strings.Builder
	seen map[reflect.Type]bool
}

// section writes the table of a struct, and then those of the structs in it.
func (r *reference) section(t reflect.Type, path string) {
	if r.seen[t] {
		return
	}
	r.seen[t] = true
	fmt.Fprintf(&r.text, "### %s\n\n", path)
	if text := comments()[t.Name()]; text != "" {
		fmt.Fprintf(&r.text, "%s\n\n", plainComment(t.Name(), t.Name(), text))
	}
	r.text.WriteString("| Field | Value | Meaning |\n|---|---|---|\n")
	type below struct {
		t    reflect.Type
		path string
	}
	var inner []below
	for _, f := range shapeOf(t).fields {
		if _, later := unbuiltFields[t][f.name]; f.internal || later {
			continue
		}
		name := "`" + f.name + "`"
		if f.required {
			name += " (required)"
		}
		meaning := plainComment(t.FieldByIndex(f.index).Name, f.name, Describe(t, f.name))
		fmt.Fprintf(&r.text, "| %s | %s | %s |\n", name, valueForm(f), strings.ReplaceAll(meaning, "|", "\\|"))
		if s, suffix := structOf(f.typ); s != nil {
			inner = append(inner, below{s, path + "." + f.name + suffix})
		}
	}
	r.text.WriteString("\n")
	for _, b := range inner {
		r.section(b.t, b.path)
	}
}

// plainComment turns the Go name a comment begins with into the name readers of YAML know, or leaves it out before "is".
func plainComment(goName, name, text string) string {
	rest, ok := strings.CutPrefix(text, goName+" ")
	if !ok || rest == "" {
		return text
	}
	for _, verb := range []string{"is ", "are "} {
		if cut, found := strings.CutPrefix(rest, verb); found && cut != "" {
			return strings.ToUpper(cut[:1]) + cut[1:]
		}
	}
	return name + " " + rest
}

// structOf gives the struct a type is made of, when it has fields of its own to explain.
func structOf(t reflect.Type) (reflect.Type, string) {
	suffix := ""
	for {
		if texts[t] != nil {
			return nil, ""
		}
		switch t.Kind() {
		case reflect.Pointer:
			t = t.Elem()
		case reflect.Slice:
			if t == reflect.TypeFor[v1alpha1.Calls]() {
				return reflect.TypeFor[v1alpha1.Call](), "[]"
			}
			t, suffix = t.Elem(), suffix+"[]"
		case reflect.Map:
			t, suffix = t.Elem(), suffix+"{}"
		case reflect.Struct:
			return t, suffix
		default:
			return nil, ""
		}
	}
}

// valueForm says how a field is written.
func valueForm(f field) string {
	if f.enum != nil {
		return "`" + strings.Join(f.enum, "`, `") + "`"
	}
	return typeForm(f.typ)
}

func typeForm(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[v1alpha1.Calls]():
		return "list of `[ns/]service[/route][*N][?]`; a nested list is made at once"
	case reflect.TypeFor[v1alpha1.Seeds]():
		return "number or list"
	case reflect.TypeFor[v1alpha1.DailyShape]():
		return "`cosine`, `office`, `evening` or 24 numbers"
	case reflect.TypeFor[v1alpha1.Arrivals]():
		return "`even`, `poisson`, `bursty` or `{bursty: {scv: 4}}`"
	case reflect.TypeFor[v1alpha1.Balance]():
		return "`random`, `rr`, `zone`, `connection` or `{connection: {perClient: 1, maxAge: 30m}}`"
	case reflect.TypeFor[v1alpha1.Match]():
		return "`ns/name`, `Kind/ns/name` (globs) or `{selector, namespace}`"
	case reflect.TypeFor[v1alpha1.Quantiles]():
		return "`{p50, p99}` or duration"
	case reflect.TypeFor[v1alpha1.Apply]():
		return "path, object, or list of them"
	case reflect.TypeFor[v1alpha1.ObjectRefs]():
		return "`Kind/ns/name` or list"
	}
	if known, ok := texts[t]; ok {
		text, _ := known["description"].(string)
		form, _, _ := strings.Cut(text, ":")
		return form
	}
	switch t.Kind() {
	case reflect.Struct:
		return "mapping"
	case reflect.Slice:
		return "list of " + typeForm(t.Elem())
	case reflect.Map:
		return "mapping of name to " + typeForm(t.Elem())
	case reflect.Bool:
		return "`true` or `false`"
	case reflect.Int32, reflect.Int64, reflect.Float64:
		return "number"
	}
	return "text"
}

// The marks in a page between which the reference stands.
const (
	referenceBegin = "<!-- reference -->\n"
	referenceEnd   = "<!-- /reference -->\n"
)

// WithReference puts the reference between the marks of a page.
func WithReference(page string) (string, error) {
	before, rest, found := strings.Cut(page, referenceBegin)
	_, after, closed := strings.Cut(rest, referenceEnd)
	if !found || !closed {
		return "", fmt.Errorf("the page lacks the marks %s and %s", strings.TrimSpace(referenceBegin), strings.TrimSpace(referenceEnd))
	}
	return before + referenceBegin + "\n" + Reference() + "\n" + referenceEnd + after, nil
}
