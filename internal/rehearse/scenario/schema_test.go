package scenario

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

func TestTheSchemaDescribesEveryFieldAUserCanWrite(t *testing.T) {
	t.Parallel()
	data, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Defs map[string]struct {
			Properties map[string]any
			OneOf      []struct{ Properties map[string]any } `json:"oneOf"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	for _, owner := range []reflect.Type{reflect.TypeFor[v1alpha1.ScenarioSpec](), reflect.TypeFor[v1alpha1.Step](), reflect.TypeFor[v1alpha1.Load](), reflect.TypeFor[v1alpha1.Service]()} {
		for _, name := range shapeOf(owner).names() {
			if _, refused := unbuiltFields[owner][name]; refused == (schema.Defs[owner.Name()].Properties[name] != nil) {
				t.Errorf("%s of %s: refused %t, and in the schema as well, or neither", name, owner.Name(), refused)
			}
		}
	}
	if strings.Contains(string(data), `"source"`) || strings.Contains(string(data), "kubebuilder") {
		t.Error("the schema shows what is not for users")
	}
	again, _ := JSONSchema()
	if string(again) != string(data) {
		t.Error("the schema differs from call to call")
	}
}
