package analysis

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"pgregory.net/rapid"
)

// answer is a provider that is a function.
type answer func(Request) (Reading, error)

func (a answer) Measure(_ context.Context, r Request) (Reading, error) { return a(r) }

// vault has the data of Secrets by name.
func vault(all map[string]map[string]string) SecretReader {
	return func(_ context.Context, _, name string) (map[string][]byte, error) {
		if all[name] == nil {
			return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
		}
		out := map[string][]byte{}
		for k, v := range all[name] {
			out[k] = []byte(v)
		}
		return out, nil
	}
}

func first(name string) Task { return Task{Name: name, Number: 1, Kind: Web, Keep: retained} }

func TestAMeasurementIsWhatTheProviderFoundAndTheConditionsSay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reading Reading
		err     error
		phase   argo.AnalysisPhase
		message string
	}{
		"a good value":            {Reading{Result: 1.0, Value: "1"}, nil, argo.AnalysisPhaseSuccessful, ""},
		"a bad value":             {Reading{Result: 3.0, Value: "3"}, nil, argo.AnalysisPhaseFailed, ""},
		"a value of another kind": {Reading{Result: "x", Value: "x"}, nil, argo.AnalysisPhaseError, `could not evaluate successCondition "result < 2"`},
		"no answer":               {Reading{}, errors.New("connection refused"), argo.AnalysisPhaseError, "connection refused"},
		"a provider that judges":  {Reading{Result: 3.0, Value: "3", Phase: argo.AnalysisPhaseInconclusive, Message: "too few"}, nil, argo.AnalysisPhaseInconclusive, "too few"},
	} {
		m := meter{providers: map[string]Provider{Web: answer(func(Request) (Reading, error) { return c.reading, c.err })}}
		run := aRun(web("m", func(m *argo.Metric) { m.SuccessCondition = "result < 2" }))
		x := m.take(t.Context(), run, first("m")).Measurement
		if x.Phase != c.phase || !strings.Contains(x.Message, c.message) || x.Value != c.reading.Value || x.StartedAt == nil || x.FinishedAt == nil {
			t.Errorf("%s: %+v", name, x)
		}
	}
}

func TestArgumentsThatCanNeverBeFilledEndTheRun(t *testing.T) {
	t.Parallel()
	m := meter{secrets: vault(map[string]map[string]string{"s": {"other": "x"}}), providers: map[string]Provider{Web: answer(func(Request) (Reading, error) { return Reading{}, nil })}}
	for reason, a := range map[string]argo.Argument{
		`secrets "gone" not found`:             secretArg("x", "gone", "k"),
		"key 'k' does not exist in secret 's'": secretArg("x", "s", "k"),
		`argument "x" was not supplied`:        {Name: "x"},
	} {
		run := aRun(web("m", nil))
		run.Spec.Args = []argo.Argument{a}
		got := m.take(t.Context(), run, first("m"))
		if got.Fatal != "Unable to resolve metric arguments: "+reason {
			t.Errorf("%q, want %q", got.Fatal, reason)
		}
		if v := verdict(run, []Result{got}, noon); v.Status.Phase != argo.AnalysisPhaseError || v.Status.Message != got.Fatal {
			t.Errorf("%+v", v.Status)
		}
	}
	m.secrets = func(context.Context, string, string) (map[string][]byte, error) {
		return nil, errors.New("etcd is away")
	}
	run := aRun(web("m", nil))
	run.Spec.Args = []argo.Argument{secretArg("x", "s", "k")}
	if got := m.take(t.Context(), run, first("m")); got.Fatal != "" || got.Measurement.Phase != argo.AnalysisPhaseError {
		t.Errorf("what may pass by ends the run: %+v", got)
	}
}

func TestNoValueOfASecretIsEverInARun(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// Long enough not to be a part of the words of a run itself.
		secret := rapid.StringMatching(`[A-Za-z0-9 "\\/+=&%{}<>é\n]{10,40}`).Draw(t, "secret") + rapid.StringMatching(`[A-Z0-9]{6}`).Draw(t, "end")
		forms := []string{secret, inJSON(secret), fmt.Sprintf("%q", secret), url.QueryEscape(secret), url.PathEscape(secret),
			"http://x/?t=" + url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)), strings.Repeat("x", valueMax-3) + secret}
		seen := rapid.SampledFrom(forms).Draw(t, "form")
		provider := answer(func(r Request) (Reading, error) {
			if r.Metric.Provider.Prometheus.Query != "up{token=\""+secret+"\"}" {
				t.Fatalf("the provider was asked %q", r.Metric.Provider.Prometheus.Query)
			}
			if rapid.Bool().Draw(t, "fails") {
				return Reading{}, fmt.Errorf("Get %s: refused", seen)
			}
			return Reading{Result: seen, Value: seen, Metadata: map[string]string{"warnings": seen, seen: "x"}, Message: seen}, nil
		})
		m := meter{secrets: vault(map[string]map[string]string{"s": {"k": secret}}), providers: map[string]Provider{Prometheus: provider}}
		run := aRun(argo.Metric{Name: "m", SuccessCondition: rapid.SampledFrom([]string{"", "result == 'x'", "result > 1", "result == '{{args.token}}'"}).Draw(t, "condition"),
			Provider: argo.MetricProvider{Prometheus: &argo.PrometheusMetric{Query: `up{token="{{args.token}}"}`}}})
		run.Spec.Args = []argo.Argument{secretArg("token", "s", "k")}
		run.Spec.DryRun = []argo.DryRun{{MetricName: "m"}}
		task := first("m")
		task.Kind = Prometheus
		run.Status = Record(run, []Result{m.take(t.Context(), run, task)})
		run.Status = Assess(run, noon).Status
		text, err := json.Marshal(run)
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []string{inJSON(secret), url.QueryEscape(secret), url.PathEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)), inJSON(fmt.Sprintf("%q", secret))} {
			if strings.Contains(string(text), form) {
				t.Fatalf("%q is in\n%s", form, text)
			}
		}
	})
}

func TestWhatAMeasurementSaysIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 100_000)
	x := mask{}.measurement(argo.Measurement{Value: long, Message: long, Metadata: map[string]string{"k": long}})
	if len(x.Value) > valueMax+100 || len(x.Message) > messageMax+100 || len(x.Metadata["k"]) > valueMax+100 || !strings.Contains(x.Value, "(200000 bytes in all)") {
		t.Errorf("%d, %d, %d bytes", len(x.Value), len(x.Message), len(x.Metadata["k"]))
	}
}

// script is an external plugin that does as told and keeps what was called.
type script struct {
	calls []string
	next  argo.Measurement
	err   error
}

func (s *script) call(method string) (argo.Measurement, error) {
	s.calls = append(s.calls, method)
	return s.next, s.err
}

func (s *script) Run(context.Context, string, *argo.AnalysisRun, argo.Metric) (argo.Measurement, error) {
	return s.call("Run")
}

func (s *script) Resume(context.Context, string, *argo.AnalysisRun, argo.Metric, argo.Measurement) (argo.Measurement, error) {
	return s.call("Resume")
}

func (s *script) Terminate(context.Context, string, *argo.AnalysisRun, argo.Metric, argo.Measurement) (argo.Measurement, error) {
	return s.call("Terminate")
}

func (s *script) GarbageCollect(context.Context, string, *argo.AnalysisRun, argo.Metric, int) error {
	_, err := s.call("GarbageCollect")
	return err
}

func (s *script) Metadata(context.Context, string, argo.Metric) (map[string]string, error) {
	_, err := s.call("Metadata")
	return map[string]string{"about": "it"}, err
}

func TestExternalPluginsAreRunResumedAndTerminated(t *testing.T) {
	t.Parallel()
	run := aRun(argo.Metric{Name: "m", Provider: argo.MetricProvider{Plugin: map[string]json.RawMessage{"acme/metric": json.RawMessage("{}")}}})
	plugin := &script{next: argo.Measurement{Phase: argo.AnalysisPhaseRunning}}
	m := meter{external: plugin}
	task := Task{Name: "m", Kind: Plugin, Number: 1, Keep: 10}
	got := m.take(t.Context(), run, task)
	if got.Metadata["about"] != "it" || got.Measurement.Phase != argo.AnalysisPhaseRunning || got.Measurement.ResumeAt == nil || got.Measurement.FinishedAt != nil {
		t.Errorf("begun: %+v", got)
	}
	task.Do, task.Begun = Resume, &got.Measurement
	plugin.next = argo.Measurement{Phase: argo.AnalysisPhaseSuccessful, Value: "1"}
	if got = m.take(t.Context(), run, task); got.Measurement.FinishedAt == nil || got.Measurement.Value != "1" {
		t.Errorf("finished: %+v", got)
	}
	task.Do = Terminate
	plugin.next = argo.Measurement{Phase: argo.AnalysisPhaseRunning}
	if got = m.take(t.Context(), run, task); got.Measurement.FinishedAt == nil || got.Measurement.Phase != argo.AnalysisPhaseInconclusive || got.Measurement.Message != metricTerminated {
		t.Errorf("terminated: %+v", got)
	}
	plugin.err = errors.New("the process ended")
	if got = m.take(t.Context(), run, task); got.Measurement.Phase != argo.AnalysisPhaseError || got.Measurement.Message != "the process ended" {
		t.Errorf("failed: %+v", got)
	}
	if want := []string{"Metadata", "Run", "Resume", "Terminate", "Terminate"}; !slices.Equal(plugin.calls, want) {
		t.Errorf("calls %v", plugin.calls)
	}
	m.external = nil
	if got = m.take(t.Context(), run, task); got.Measurement.Phase != argo.AnalysisPhaseError || !strings.Contains(got.Measurement.Message, "argo-rollouts-config") {
		t.Errorf("without plugins: %+v", got)
	}
}

func TestAProviderThatPanicsIsAnErrorOfItsMeasurement(t *testing.T) {
	t.Parallel()
	m := meter{secrets: vault(map[string]map[string]string{"s": {"k": "very-secret"}}), providers: map[string]Provider{Web: answer(func(Request) (Reading, error) { panic("no room for very-secret") })}}
	run := aRun(web("m", nil))
	run.Spec.Args = []argo.Argument{secretArg("x", "s", "k")}
	if x := m.take(t.Context(), run, first("m")).Measurement; x.Phase != argo.AnalysisPhaseError || x.Message != "measuring broke off: no room for *****" {
		t.Errorf("%+v", x)
	}
}

func TestAMeasurementOfAnotherControllerIsEndedWithoutAsking(t *testing.T) {
	t.Parallel()
	m := meter{providers: map[string]Provider{Web: answer(func(Request) (Reading, error) { t.Error("asked"); return Reading{}, nil })}}
	task := first("m")
	task.Do, task.Begun = Terminate, &argo.Measurement{Phase: argo.AnalysisPhaseRunning}
	if x := m.take(t.Context(), aRun(web("m", nil)), task).Measurement; x.Phase != argo.AnalysisPhaseInconclusive || x.FinishedAt == nil || x.Message != metricTerminated {
		t.Errorf("%+v", x)
	}
}

func TestWaitingIsUntilTheEarliestReason(t *testing.T) {
	t.Parallel()
	if waiting(time.Time{}, false, false) != 0 || waiting(time.Time{}, true, false) != fullAfter || waiting(time.Now().Add(time.Hour), true, false) != fullAfter ||
		waiting(time.Now().Add(-time.Hour), false, false) != time.Nanosecond || waiting(time.Now().Add(time.Hour), false, false) < 59*time.Minute || waiting(time.Time{}, false, true) != time.Nanosecond {
		t.Error("wrong")
	}
}
