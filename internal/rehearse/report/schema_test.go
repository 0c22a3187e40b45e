package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
)

var update = flag.Bool("update", false, "rewrite the golden files and the JSON schema")

// schemaOf writes the JSON schema of a Go type as encoding/json renders it.
func schemaOf(t reflect.Type) map[string]any {
	switch t {
	case reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case reflect.TypeFor[Number]():
		return map[string]any{"type": []string{"number", "null"}}
	case reflect.TypeFor[Values]():
		return map[string]any{"type": "array", "items": schemaOf(reflect.TypeFor[Number]())}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Struct:
		properties, required := map[string]any{}, []string{}
		fields(t, properties, &required)
		s := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
		if len(required) > 0 {
			s["required"] = required
		}
		return s
	}
	panic("the report has a field of kind " + t.Kind().String())
}

func fields(t reflect.Type, properties map[string]any, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			fields(f.Type, properties, required)
			continue
		}
		if name == "-" {
			continue
		}
		if name == "" {
			panic("field " + f.Name + " of " + t.Name() + " has no JSON name")
		}
		properties[name] = schemaOf(f.Type)
		if !strings.Contains(options, "omit") {
			*required = append(*required, name)
		}
	}
}

func TestPublishedSchemaIsThatOfTheTypes(t *testing.T) {
	s := schemaOf(reflect.TypeFor[Report]())
	s["$schema"] = "http://json-schema.org/draft-07/schema#"
	s["$id"] = "https://fairway.dev/schemas/rehearsal-report.v1.schema.json"
	s["title"] = "Fairway rehearsal report, v1"
	s["properties"].(map[string]any)["schema"] = map[string]any{"type": "string", "enum": []string{Schema}}
	s["properties"].(map[string]any)["verdict"].(map[string]any)["properties"].(map[string]any)["result"] = map[string]any{"type": "string", "enum": []string{Pass, Fail, Invalid, Incomplete}}
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, '\n')
	if *update {
		if err := os.WriteFile("rehearsal-report.v1.schema.json", b, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(b, JSONSchema()) {
		t.Error("rehearsal-report.v1.schema.json is not that of the types; run go test -run Schema -update and check that only optional fields were added")
	}
}

// validates fails the test unless a report's JSON fits the published schema.
func validates(t *testing.T, doc []byte) {
	t.Helper()
	var schema spec.Schema
	if err := json.Unmarshal(JSONSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(doc, &value); err != nil {
		t.Fatal(err)
	}
	if err := validate.AgainstSchema(&schema, value, strfmt.Default); err != nil {
		t.Errorf("the report does not fit its schema: %v", err)
	}
}
