package lenient

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// experiment whose container asks for that much memory.
func experiment(name, memory string) string {
	return fmt.Sprintf(`{"apiVersion":"argoproj.io/v1alpha1","kind":"Experiment","metadata":{"name":%q,"namespace":"shop"},"spec":{"duration":"30s","templates":[
{"name":"canary","selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"main","image":"nginx","resources":{"requests":{"cpu":0.5,"memory":%q}}},{"name":"side","image":"x"}]}}}]}}`, name, memory)
}

// answer what a server with that body gives to a request.
func answer(t interface{ Fatal(...any) }, method, url, contentType, body string, status int) string {
	scheme := runtime.NewScheme()
	if err := rollouts.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	server := roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}, "Content-Length": {"1"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
	})
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Wrap(scheme, slog.New(slog.DiscardHandler))(server).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

const path = "http://api/apis/argoproj.io/v1alpha1/namespaces/shop/experiments"

func decoded(t *testing.T, text string) *argo.Experiment {
	t.Helper()
	ex := &argo.Experiment{}
	if err := json.Unmarshal([]byte(text), ex); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if c := ex.Spec.Templates[0].Template.Spec.Containers; ex.Kind != "Experiment" || ex.Namespace != "shop" || ex.Spec.Duration != "30s" || len(c) != 2 || c[1].Name != "side" {
		t.Errorf("more than the field was lost: %s", text)
	}
	return ex
}

func TestAFieldThatDoesNotDecodeIsLeftOutOfAnObject(t *testing.T) {
	t.Parallel()
	ex := decoded(t, answer(t, http.MethodPatch, path+"/bad", "application/json", experiment("bad", "invalid"), 200))
	requests := ex.Spec.Templates[0].Template.Spec.Containers[0].Resources.Requests
	if requests.Cpu().String() != "500m" || !requests.Memory().IsZero() {
		t.Errorf("requests %v", requests)
	}
}

func TestOnlyTheSmallestPartsAreLeftOut(t *testing.T) {
	t.Parallel()
	text := `{"apiVersion":"argoproj.io/v1alpha1","kind":"Rollout","metadata":{"name":"web","namespace":"shop"},"spec":{"replicas":3,"selector":{"matchLabels":{"app":"web"}},
"strategy":{"canary":{"steps":[{"setWeight":10},{"pause":{}}]}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{
"volumes":[{"name":"a","emptyDir":{"sizeLimit":"much"}},{"name":"b","configMap":{"items":"all"}},{"name":"c","emptyDir":{}}],
"containers":[{"name":"one","image":"x","resources":{"limits":{"memory":"lots","cpu":"1"},"requests":{"memory":"1Gi"}}},{"name":"two","image":"y"}]}}},"status":{"replicas":2}}`
	ro := &rollouts.Rollout{}
	if err := json.Unmarshal([]byte(answer(t, http.MethodGet, path, "application/json", text, 200)), ro); err != nil {
		t.Fatal(err)
	}
	pod := ro.Spec.Template.Spec
	if *ro.Spec.Replicas != 3 || len(ro.Spec.Strategy.Canary.Steps) != 2 || ro.Status.Replicas != 2 || len(pod.Containers) != 2 || len(pod.Volumes) != 3 {
		t.Errorf("more was left out than does not decode: %+v", ro)
	}
	if pod.Volumes[0].EmptyDir == nil || pod.Volumes[0].EmptyDir.SizeLimit != nil || pod.Volumes[1].ConfigMap == nil || pod.Volumes[2].EmptyDir == nil {
		t.Errorf("volumes %+v", pod.Volumes)
	}
	if r := pod.Containers[0].Resources; r.Limits.Cpu().String() != "1" || !r.Limits.Memory().IsZero() || r.Requests.Memory().String() != "1Gi" {
		t.Errorf("resources %+v", r)
	}
}

func TestAListKeepsAllItsObjects(t *testing.T) {
	t.Parallel()
	good, bad := experiment("good", "1Gi"), experiment("bad", "invalid")
	text := answer(t, http.MethodGet, path, "application/json; charset=utf-8", `{"apiVersion":"argoproj.io/v1alpha1","kind":"ExperimentList","metadata":{"resourceVersion":"7"},"items":[`+good+`,`+bad+`]}`, 200)
	var list argo.ExperimentList
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 2 || list.ResourceVersion != "7" || list.Items[0].Name != "good" || list.Items[1].Name != "bad" {
		t.Errorf("%+v", list)
	}
	if list.Items[0].Spec.Templates[0].Template.Spec.Containers[0].Resources.Requests.Memory().String() != "1Gi" {
		t.Error("a good object was changed")
	}
}

func TestAWatchGoesOnPastABadObject(t *testing.T) {
	t.Parallel()
	events := `{"type":"ADDED","object":` + experiment("bad", "invalid") + "}\n" + `{"type":"BOOKMARK","object":{"apiVersion":"argoproj.io/v1alpha1","kind":"Experiment","metadata":{"resourceVersion":"9"}}}` + "\n" +
		`{"type":"MODIFIED","object":` + experiment("good", "1Gi") + "}\n" + `{"type":"ERROR","object":{"apiVersion":"v1","kind":"Status","code":410}}`
	text := answer(t, http.MethodGet, path+"?watch=true", "application/json", events, 200)
	var kinds []string
	for d := json.NewDecoder(strings.NewReader(text)); d.More(); {
		var e struct {
			Type   string
			Object json.RawMessage
		}
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if kinds = append(kinds, e.Type); e.Type == "ADDED" || e.Type == "MODIFIED" {
			decoded(t, string(e.Object))
		}
	}
	if fmt.Sprint(kinds) != "[ADDED BOOKMARK MODIFIED ERROR]" {
		t.Errorf("events %v", kinds)
	}
}

func TestWhatIsNotOursOrNotJSONOrAFailureIsNotTouched(t *testing.T) {
	t.Parallel()
	bad := experiment("bad", "invalid")
	for name, got := range map[string]string{
		"another group":    answer(t, http.MethodGet, "http://api/apis/apps/v1/deployments", "application/json", bad, 200),
		"another encoding": answer(t, http.MethodGet, path, "application/vnd.kubernetes.protobuf", bad, 200),
		"a failure":        answer(t, http.MethodGet, path, "application/json", bad, 500),
		"not an object":    answer(t, http.MethodGet, path, "application/json", bad, 404),
	} {
		if got != bad {
			t.Errorf("%s was changed", name)
		}
	}
	if got := answer(t, http.MethodGet, path, "application/json", "not JSON", 200); got != "not JSON" {
		t.Errorf("%q", got)
	}
}

func TestWhatDecodesStaysAsItIsToTheByte(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := experiment(rapid.StringMatching(`[a-z]{1,9}`).Draw(t, "name"), rapid.SampledFrom([]string{"1Gi", "0", "512Mi", "1e3"}).Draw(t, "memory"))
		if rapid.Bool().Draw(t, "listed") {
			text = `{"kind": "ExperimentList", "apiVersion":"argoproj.io/v1alpha1", "items":[` + text + `]}`
		}
		if got := answer(t, http.MethodGet, path, "application/json", text, 200); got != text {
			t.Fatalf("%s\nbecame\n%s", text, got)
		}
	})
}

func BenchmarkObjectThatDecodes(b *testing.B) {
	scheme := runtime.NewScheme()
	if err := rollouts.AddToScheme(scheme); err != nil {
		b.Fatal(err)
	}
	m, raw := mender{scheme, slog.New(slog.DiscardHandler)}, []byte(experiment("good", "1Gi"))
	b.ReportAllocs()
	for b.Loop() {
		m.document(raw)
	}
}
