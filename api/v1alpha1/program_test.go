package v1alpha1

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

func TestOneUnreadableProgramDoesNotHideTheOthers(t *testing.T) {
	t.Parallel()
	list := `{"apiVersion":"fairway.dev/v1alpha1","kind":"ProgramList","metadata":{},"items":[
		{"metadata":{"name":"bad"},"spec":{"model":{"errors":"many"}}},
		{"metadata":{"name":"good"},"spec":{"match":{"images":["x"]},"model":{"errors":"5%","ready":"3s","calls":["a",["b","c"]]}}}]}`
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	object, _, err := serializer.NewCodecFactory(scheme).UniversalDeserializer().Decode([]byte(list), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	items := object.(*ProgramList).Items
	if len(items) != 2 || !strings.Contains(items[0].Spec.Problem, "many") || len(items[0].Spec.Match.Images) != 1 {
		t.Errorf("the bad one became %+v", items[0].Spec)
	}
	if m := items[1].Spec.Model; items[1].Spec.Problem != "" || m == nil || *m.Errors != 0.05 || len(m.Calls[1]) != 2 {
		t.Errorf("the good one became %+v", items[1].Spec)
	}
	data, err := json.Marshal(items[1])
	if err != nil || strings.Contains(string(data), "Problem") {
		t.Errorf("written as %s, %v", data, err)
	}
}
