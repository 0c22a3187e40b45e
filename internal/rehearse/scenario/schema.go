package scenario

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"reflect"
	"strings"
	"sync"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// SchemaID names the schema; editors take it from a comment "# yaml-language-server: $schema=…".
const SchemaID = "https://fairway.dev/schemas/scenario-v1alpha1.json"

// JSONSchema is the schema of a scenario file (JSON Schema 2020-12), made from the Go types and their comments: what the
// strict reader accepts, apart from what only the whole can say (exactly one trigger, names that exist).
func JSONSchema() ([]byte, error) {
	b := &schemaBuilder{definitions: map[string]any{}}
	root := b.object(reflect.TypeFor[v1alpha1.Scenario]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = SchemaID
	root["title"] = "Fairway scenario"
	properties := root["properties"].(map[string]any)
	properties["apiVersion"] = map[string]any{"const": v1alpha1.GroupVersion.String()}
	properties["kind"] = map[string]any{"const": v1alpha1.KindScenario}
	root["required"] = []string{"apiVersion", "kind", "spec"}
	root["$defs"] = b.definitions
	return json.MarshalIndent(root, "", "  ")
}

type schemaBuilder struct {
	definitions map[string]any
}

// texts are the values written as one text, with the form of that text.
var texts = map[reflect.Type]map[string]any{
	quantityType:                         {"type": []string{"string", "number"}, "description": "Kubernetes quantity: 500m, 2, 128Mi, 4Gi"},
	rawType:                              {"description": "any object or list"},
	reflect.TypeFor[v1alpha1.Duration](): {"type": []string{"string", "integer"}, "pattern": `^-?([0-9.]+d)?([0-9.]+(ns|us|µs|ms|s|m|h))*$|^0$`, "description": "duration: 90s, 1h30m, 2d"},
	reflect.TypeFor[v1alpha1.DurationRange](): {"type": "string", "description": "range of durations: 1s..10s"},
	reflect.TypeFor[v1alpha1.Rate]():          {"type": []string{"string", "number"}, "description": "rate: a number a second, or n/s, n/min, n/h, n/d"},
	reflect.TypeFor[v1alpha1.Share]():         {"type": []string{"string", "number"}, "description": "share: 5% or 0.05"},
	reflect.TypeFor[v1alpha1.GrowthRate]():    {"type": []string{"string", "number"}, "description": "growth: 3%/week"},
	reflect.TypeFor[v1alpha1.QuantityRate]():  {"type": []string{"string", "number"}, "description": "amount per time: 20Mi/h"},
	reflect.TypeFor[v1alpha1.ObjectRef]():     {"type": "string", "description": "Kind/namespace/name"},
	reflect.TypeFor[v1alpha1.Workload]():      {"type": "string", "description": "namespace/name or Kind/namespace/name"},
	reflect.TypeFor[v1alpha1.ApplyItem]():     {"type": []string{"string", "object"}, "description": "path, or an object"},
	reflect.TypeFor[v1alpha1.Seeds]():         {"oneOf": []any{map[string]any{"type": "integer", "minimum": 1, "maximum": v1alpha1.SeedsMax}, map[string]any{"type": "array", "items": map[string]any{"type": "integer"}}}},
	reflect.TypeFor[v1alpha1.DailyShape]():    {"oneOf": []any{map[string]any{"enum": []string{"cosine", "office", "evening"}}, map[string]any{"type": "array", "items": map[string]any{"type": "number"}, "minItems": 24, "maxItems": 24}}},
	reflect.TypeFor[v1alpha1.Arrivals]():      {"oneOf": []any{map[string]any{"enum": []string{"even", "poisson", "bursty"}}, map[string]any{"type": "object"}}},
	reflect.TypeFor[v1alpha1.Balance]():       {"oneOf": []any{map[string]any{"enum": []string{"random", "rr", "connection", "zone"}}, map[string]any{"type": "object"}}},
}

// of is the schema of a type. Structs become definitions, so that each is written once.
func (b *schemaBuilder) of(t reflect.Type) map[string]any {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if known, ok := texts[t]; ok {
		copied := map[string]any{}
		for k, v := range known {
			copied[k] = v
		}
		return copied
	}
	switch t.Kind() {
	case reflect.Struct:
		return b.reference(t)
	case reflect.Slice:
		list := map[string]any{"type": "array", "items": b.of(t.Elem())}
		if singleAllowed[t] {
			return map[string]any{"oneOf": []any{b.of(t.Elem()), list}}
		}
		return list
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": b.of(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	}
	return map[string]any{"type": []string{"string", "number"}}
}

func (b *schemaBuilder) reference(t reflect.Type) map[string]any {
	name := t.Name()
	if b.definitions[name] == nil {
		b.definitions[name] = true // holds the place while the struct refers to itself
		definition := b.object(t)
		if reflect.PointerTo(t).Implements(textUnmarshaler) || specialForms[t] != nil {
			definition = map[string]any{"oneOf": []any{map[string]any{"type": []string{"string", "number", "array"}}, definition}}
		}
		b.definitions[name] = definition
	}
	return map[string]any{"$ref": "#/$defs/" + name}
}

func (b *schemaBuilder) object(t reflect.Type) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, f := range shapeOf(t).fields {
		if _, later := unbuiltFields[t][f.name]; f.internal || later {
			continue
		}
		property := b.of(f.typ)
		if f.enum != nil {
			property = map[string]any{"enum": f.enum}
			if f.typ.Kind() == reflect.Slice {
				property = map[string]any{"type": "array", "items": property}
			}
		}
		if text := Describe(t, f.name); text != "" {
			property["description"] = text
		}
		properties[f.name] = property
		if f.required {
			required = append(required, f.name)
		}
	}
	object := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if text := comments()[t.Name()]; text != "" {
		object["description"] = text
	}
	if len(required) > 0 {
		object["required"] = required
	}
	return object
}

// Describe is the comment of a field, by its name in a scenario, or else that of its type.
func Describe(t reflect.Type, name string) string {
	f, ok := shapeOf(t).byName[name]
	if !ok {
		return ""
	}
	owner := t
	for _, i := range f.index[:len(f.index)-1] { // the field may belong to an embedded struct
		owner = owner.Field(i).Type
	}
	if own := comments()[owner.Name()+"."+owner.Field(f.index[len(f.index)-1]).Name]; own != "" {
		return own
	}
	if inner, _ := structOf(f.typ); inner != nil {
		return comments()[inner.Name()]
	}
	return ""
}

// comments reads the comments of the API's types once: Type → text, Type.Field → text.
var comments = sync.OnceValue(func() map[string]string {
	found := map[string]string{}
	names, _ := fs.Glob(v1alpha1.SourceFiles, "*.go")
	set := token.NewFileSet()
	for _, name := range names {
		text, err := v1alpha1.SourceFiles.ReadFile(name)
		if err != nil {
			continue
		}
		file, err := parser.ParseFile(set, name, text, parser.ParseComments)
		if err != nil {
			continue
		}
		for _, d := range file.Decls {
			if g, ok := d.(*ast.GenDecl); ok {
				commentsOf(g, found)
			}
		}
	}
	return found
})

func commentsOf(g *ast.GenDecl, found map[string]string) {
	for _, spec := range g.Specs {
		t, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		found[t.Name.Name] = said(g.Doc)
		s, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range s.Fields.List {
			text := said(f.Doc)
			if text == "" {
				text = said(f.Comment)
			}
			for _, name := range f.Names {
				found[t.Name.Name+"."+name.Name] = text
			}
		}
	}
}

// said is the text of a comment on one line, without the lines that only tools read.
func said(c *ast.CommentGroup) string {
	if c == nil {
		return ""
	}
	var lines []string
	for _, line := range strings.Split(c.Text(), "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "+kubebuilder") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}
