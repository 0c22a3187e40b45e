package admission

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/validate"
)

// ask a webhook as an API server does.
func ask(t *testing.T, hook http.Handler, kind, object, before string) *admissionv1.AdmissionResponse {
	t.Helper()
	r := &admissionv1.AdmissionRequest{UID: "u", Kind: metav1.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: kind}, Namespace: "shop", Name: "web",
		Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: []byte(object)}}
	if before != "" {
		r.Operation, r.OldObject = admissionv1.Update, runtime.RawExtension{Raw: []byte(before)}
	}
	body, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: r})
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	hook.ServeHTTP(w, request)
	var out admissionv1.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || out.Response == nil || out.Response.UID != "u" {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return out.Response
}

func rolloutOf(strategy string) string {
	return `{"apiVersion":"argoproj.io/v1alpha1","kind":"Rollout","metadata":{"name":"web","namespace":"shop"},"spec":{"selector":{"matchLabels":{"app":"web"}},
	"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"app","image":"a:1"}]}},"strategy":` + strategy + `}}`
}

func templateOf(provider string) string {
	return `{"kind":"AnalysisTemplate","metadata":{"name":"web"},"spec":{"metrics":[{"name":"m","provider":` + provider + `}]}}`
}

func TestInvalidObjectsAreLetInWithAWarningAndRefusedWhenStrict(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ kind, object, says string }{
		"a weight out of range":     {"Rollout", rolloutOf(`{"canary":{"steps":[{"setWeight":110}]}}`), "spec.strategy.canary.steps[0].setWeight"},
		"two strategies":            {"Rollout", rolloutOf(`{"canary":{},"blueGreen":{"activeService":"web"}}`), "spec.strategy"},
		"a field of the wrong type": {"Rollout", strings.Replace(rolloutOf(`{"canary":{}}`), `"image":"a:1"`, `"image":"a:1","resources":{"requests":{"memory":"invalid"}}`, 1), "cannot be read"},
		"a pod template":            {"Rollout", strings.Replace(rolloutOf(`{"canary":{}}`), `"image":"a:1"`, `"image":""`, 1), "spec.template.spec.containers[0].image"},
		"no metric":                 {"AnalysisTemplate", `{"kind":"AnalysisTemplate","metadata":{"name":"web"},"spec":{}}`, "spec.metrics"},
		"no metric of the cluster":  {"ClusterAnalysisTemplate", `{"metadata":{"name":"web"},"spec":{}}`, "spec.metrics"},
		"an argument without value": {"AnalysisRun", `{"metadata":{"name":"web"},"spec":{"args":[{"name":"a"}],"metrics":[{"name":"m","provider":{"web":{"url":"http://x"}}}]}}`, "args.a was not resolved"},
		"an experiment":             {"Experiment", `{"metadata":{"name":"web"},"spec":{"duration":"soon","templates":[]}}`, "spec.duration"},
		"Wavefront":                 {"AnalysisTemplate", templateOf(`{"wavefront":{"query":"q"}}`), "avefront"},
		"InfluxDB":                  {"AnalysisTemplate", templateOf(`{"influxdb":{"query":"q"}}`), "nflux"},
		"SkyWalking":                {"AnalysisTemplate", templateOf(`{"skywalking":{"query":"q"}}`), "ky"},
		"Kayenta":                   {"AnalysisTemplate", templateOf(`{"kayenta":{"address":"x","application":"a","canaryConfigName":"c","metricsAccountName":"m","configurationAccountName":"c","storageAccountName":"s","threshold":{"pass":1,"marginal":1},"scopes":[]}}`), "ayenta"},
	} {
		out := ask(t, (&Judge{}).Validator(), c.kind, c.object, "")
		if !out.Allowed || !strings.Contains(strings.Join(out.Warnings, "\n"), c.says) {
			t.Errorf("%s: allowed %v, with warnings %q; want it in, with %q", name, out.Allowed, out.Warnings, c.says)
		}
		out = ask(t, (&Judge{Strict: true}).Validator(), c.kind, c.object, "")
		if out.Allowed || out.Result.Code != http.StatusUnprocessableEntity || !strings.Contains(out.Result.Message, c.says) {
			t.Errorf("%s, strict: allowed %v, %v; want it refused with %q", name, out.Allowed, out.Result, c.says)
		}
	}
}

func TestValidObjectsPassInSilence(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ kind, object string }{
		{"Rollout", rolloutOf(`{"canary":{"steps":[{"setWeight":20},{"pause":{"duration":60}},{"analysis":{"templates":[{"templateName":"not-there-yet"}]}}],"stableService":"not-there-yet","canaryService":"nor-this"}}`)},
		{"Rollout", rolloutOf(`{"blueGreen":{"activeService":"web"}}`)},
		{"AnalysisTemplate", templateOf(`{"prometheus":{"address":"http://p","query":"q"}}`)},
	} {
		if out := ask(t, (&Judge{Strict: true, Found: func(*rollouts.Rollout) validate.Found { return validate.Found{} }}).Validator(), c.kind, c.object, ""); !out.Allowed || len(out.Warnings) > 0 {
			t.Errorf("%s: %v, %q", c.object, out.Result, out.Warnings)
		}
	}
}

func TestWhatIsThereIsJudgedTogetherWithTheRollout(t *testing.T) {
	t.Parallel()
	j := &Judge{Strict: true, Found: func(*rollouts.Rollout) validate.Found {
		return validate.Found{Services: map[string]*corev1.Service{"web": {Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "other"}}}}}
	}}
	out := ask(t, j.Validator(), "Rollout", rolloutOf(`{"blueGreen":{"activeService":"web"}}`), "")
	if out.Allowed || !strings.Contains(out.Result.Message, "spec.strategy.blueGreen.activeService") {
		t.Errorf("a Service that selects other pods: %v", out.Result)
	}
}

func TestAnUpdateIsNotRefusedForWhatWasWrongBefore(t *testing.T) {
	t.Parallel()
	j := (&Judge{Strict: true}).Validator()
	wrong := rolloutOf(`{"canary":{"steps":[{"setWeight":110}]}}`)
	paused := strings.Replace(wrong, `"spec":{`, `"spec":{"paused":true,`, 1)
	if out := ask(t, j, "Rollout", paused, wrong); !out.Allowed || len(out.Warnings) == 0 {
		t.Errorf("pausing an invalid Rollout: %v, %q; want it in with a warning", out.Result, out.Warnings)
	}
	worse := rolloutOf(`{"canary":{"steps":[{"setWeight":110},{"setWeight":-1}]}}`)
	if out := ask(t, j, "Rollout", worse, wrong); out.Allowed || !strings.Contains(out.Result.Message, "steps[1]") || strings.Contains(out.Result.Message, "steps[0]") {
		t.Errorf("making it worse: %v; want it refused for what is new", out.Result)
	}
}

func TestObjectsOfOthersAndThoseThatGoAreLeftAlone(t *testing.T) {
	t.Parallel()
	wrong := rolloutOf(`{"canary":{"steps":[{"setWeight":110}]}}`)
	labelled := strings.Replace(wrong, `"metadata":{`, `"metadata":{"labels":{"argo-rollouts.argoproj.io/controller-instance-id":"team"},`, 1)
	going := strings.Replace(wrong, `"metadata":{`, `"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z",`, 1)
	for _, c := range []struct {
		name, instanceID, object string
		refused                  bool
	}{
		{"our own", "", wrong, true},
		{"of an instance", "", labelled, false},
		{"of our instance", "team", labelled, true},
		{"of no instance", "team", wrong, false},
		{"being deleted", "", going, false},
	} {
		out := ask(t, (&Judge{Strict: true, InstanceID: c.instanceID}).Validator(), "Rollout", c.object, "")
		if out.Allowed == c.refused {
			t.Errorf("%s: allowed is %v", c.name, out.Allowed)
		}
	}
}

func TestAMistakeOfOursLetsTheObjectIn(t *testing.T) {
	t.Parallel()
	j := &Judge{Strict: true, Found: func(*rollouts.Rollout) validate.Found { panic("a mistake") }}
	if out := ask(t, j.Validator(), "Rollout", rolloutOf(`{"canary":{}}`), ""); !out.Allowed {
		t.Errorf("refused: %v", out.Result)
	}
}

func TestTheShapeOf2019IsMovedUnderCanary(t *testing.T) {
	t.Parallel()
	const steps, other = `[{"setWeight":20},{"pause":{}}]`, `[{"setWeight":50}]`
	for name, c := range map[string]struct{ object, before, want string }{
		"beside canary":                  {object: `{"canary":{"maxSurge":1},"steps":` + steps + `}`, want: steps},
		"canary with empty steps":        {object: `{"canary":{"steps":[]},"steps":` + steps + `}`, want: steps},
		"under canary":                   {object: `{"canary":{"steps":` + steps + `}}`},
		"in both places":                 {object: `{"canary":{"steps":` + steps + `},"steps":` + other + `}`},
		"without a canary":               {object: `{"blueGreen":{"activeService":"a"},"steps":` + steps + `}`},
		"applied again after the move":   {object: `{"canary":{"steps":` + steps + `},"steps":` + other + `}`, before: `{"canary":{"steps":` + steps + `}}`, want: other},
		"both places changed":            {object: `{"canary":{"steps":` + other + `},"steps":` + steps + `}`, before: `{"canary":{"steps":` + steps + `}}`},
		"stored in both places for long": {object: `{"canary":{"steps":` + steps + `},"steps":` + other + `}`, before: `{"canary":{"steps":` + steps + `},"steps":` + other + `}`},
	} {
		object, before := rolloutOf(c.object), ""
		if c.before != "" {
			before = rolloutOf(c.before)
		}
		out := ask(t, (&Judge{}).Mutator(), "Rollout", object, before)
		if !out.Allowed {
			t.Errorf("%s: refused", name)
		}
		if c.want == "" {
			if out.Patch != nil || len(out.Warnings) > 0 {
				t.Errorf("%s: patched by %s, warned %q", name, out.Patch, out.Warnings)
			}
			continue
		}
		want := `[{"op":"add","path":"/spec/strategy/canary/steps","value":` + c.want + `},{"op":"remove","path":"/spec/strategy/steps"}]`
		if string(out.Patch) != want {
			t.Errorf("%s: patched by %s, want %s", name, out.Patch, want)
		}
		if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "spec.strategy.steps") {
			t.Errorf("%s: warnings %q", name, out.Warnings)
		}
	}
}

func BenchmarkARolloutIsJudged(b *testing.B) {
	j := &Judge{Strict: true, Found: func(*rollouts.Rollout) validate.Found { return validate.Found{} }}
	object := []byte(rolloutOf(`{"canary":{"maxSurge":1,"steps":[{"setWeight":20},{"pause":{}},{"setWeight":60},{"pause":{"duration":"1h"}}]}}`))
	for b.Loop() {
		if problems := j.problems("Rollout", object); len(problems) > 0 {
			b.Fatal(problems)
		}
	}
}
