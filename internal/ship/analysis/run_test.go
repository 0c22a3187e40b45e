package analysis

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func TestVerdictsFollowTheLimitsOfAMetric(t *testing.T) {
	t.Parallel()
	every := func(change func(*argo.Metric)) func(*argo.Metric) {
		return func(m *argo.Metric) { m.Interval = "10s"; change(m) }
	}
	for name, c := range map[string]struct {
		metric  func(*argo.Metric)
		script  string
		phase   argo.AnalysisPhase
		message string
		count   int // measurements made
	}{
		"neither count nor interval measures once":  {nil, "s", argo.AnalysisPhaseSuccessful, "", 1},
		"one failure is one too many":               {nil, "f", argo.AnalysisPhaseFailed, `Metric "m" assessed Failed due to failed (1) > failureLimit (0)`, 1},
		"one inconclusive measurement is too many":  {nil, "i", argo.AnalysisPhaseInconclusive, `Metric "m" assessed Inconclusive due to inconclusive (1) > inconclusiveLimit (0)`, 1},
		"five errors in a row are too many":         {nil, "e", argo.AnalysisPhaseError, `Metric "m" assessed Error due to consecutiveErrors (5) > consecutiveErrorLimit (4)`, 5},
		"errors do not count":                       {nil, "eeees", argo.AnalysisPhaseSuccessful, "", 5},
		"a success between errors starts anew":      {every(func(m *argo.Metric) { m.Count = num(2) }), "eeeeseeees", argo.AnalysisPhaseSuccessful, "", 10},
		"count ends a metric":                       {every(func(m *argo.Metric) { m.Count = num(3) }), "s", argo.AnalysisPhaseSuccessful, "", 3},
		"failures within the limit are forgiven":    {every(func(m *argo.Metric) { m.Count, m.FailureLimit = num(5), num(2) }), "fsfss", argo.AnalysisPhaseSuccessful, "", 5},
		"failures past the limit end it at once":    {every(func(m *argo.Metric) { m.Count, m.FailureLimit = num(9), num(1) }), "fsf", argo.AnalysisPhaseFailed, `Metric "m" assessed Failed due to failed (2) > failureLimit (1)`, 3},
		"inconclusive within the limit is forgiven": {every(func(m *argo.Metric) { m.Count, m.InconclusiveLimit = num(3), num(2) }), "isi", argo.AnalysisPhaseSuccessful, "", 3},
		"errors are limited as given":               {func(m *argo.Metric) { m.ConsecutiveErrorLimit = num(0) }, "e", argo.AnalysisPhaseError, `Metric "m" assessed Error due to consecutiveErrors (1) > consecutiveErrorLimit (0)`, 1},
		"limits may be text": {every(func(m *argo.Metric) {
			m.Count, m.FailureLimit = ptr.To(intstr.FromString("2")), ptr.To(intstr.FromString("2"))
		}), "f", argo.AnalysisPhaseSuccessful, "", 2},
		"successes in a row end it":              {every(func(m *argo.Metric) { m.ConsecutiveSuccessLimit, m.FailureLimit = num(3), num(9) }), "sfssfsss", argo.AnalysisPhaseSuccessful, "", 8},
		"an error breaks the row":                {every(func(m *argo.Metric) { m.ConsecutiveSuccessLimit = num(2) }), "sess", argo.AnalysisPhaseSuccessful, "", 4},
		"too few in a row by the count":          {every(func(m *argo.Metric) { m.ConsecutiveSuccessLimit, m.FailureLimit, m.Count = num(2), num(2), num(4) }), "sfsf", argo.AnalysisPhaseInconclusive, `Metric "m" assessed Inconclusive due to consecutiveSuccess (0) < consecutiveSuccessLimit (2) after 4 measurements`, 4},
		"too few in a row with failureLimit off": {every(func(m *argo.Metric) { m.ConsecutiveSuccessLimit, m.FailureLimit, m.Count = num(2), num(-1), num(4) }), "ffff", argo.AnalysisPhaseFailed, `Metric "m" assessed Failed due to consecutiveSuccess (0) < consecutiveSuccessLimit (2) after 4 measurements`, 4},
		"failureLimit off waits for the row":     {every(func(m *argo.Metric) { m.ConsecutiveSuccessLimit, m.FailureLimit = num(2), num(-1) }), "fffffss", argo.AnalysisPhaseSuccessful, "", 7},
		"where several limits are passed errors stand": {every(func(m *argo.Metric) {
			m.Count, m.ConsecutiveErrorLimit, m.InconclusiveLimit, m.FailureLimit = num(9), num(0), num(0), num(0)
		}), "e", argo.AnalysisPhaseError, `Metric "m" assessed Error due to consecutiveErrors (1) > consecutiveErrorLimit (0)`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := play(t, aRun(web("m", c.metric)), map[string]string{"m": c.script})
			p.until(noon.Add(time.Hour))
			s := p.run.Status
			if s.Phase != c.phase || s.Message != c.message || len(p.made["m"]) != c.count {
				t.Errorf("%s %q after %d measurements, want %s %q after %d", s.Phase, s.Message, len(p.made["m"]), c.phase, c.message, c.count)
			}
			if s.Phase.Completed() != (s.CompletedAt != nil) || s.StartedAt == nil {
				t.Errorf("started %v, completed %v", s.StartedAt, s.CompletedAt)
			}
		})
	}
}

func TestMeasurementsAreMadeExactlyWhenDue(t *testing.T) {
	t.Parallel()
	run := aRun(
		web("late", func(m *argo.Metric) { m.InitialDelay, m.Interval, m.Count = "30s", "20s", num(3) }),
		web("errs", func(m *argo.Metric) { m.Interval, m.Count = "1m", num(2) }),
		web("fine", func(m *argo.Metric) { m.Interval, m.Count = "10ms", num(3) }),
	)
	p := play(t, run, map[string]string{"late": "s", "errs": "esees", "fine": "s"})
	p.until(noon.Add(time.Hour))
	for name, want := range map[string][]int{"late": {30, 50, 70}, "errs": {0, 10, 70, 80, 90}, "fine": {0, 1, 2}} {
		var got []int
		for _, at := range p.made[name] {
			got = append(got, int(at.Sub(noon).Seconds()))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s was measured at %v, want %v", name, got, want)
		}
	}
}

func TestTheWorstMetricThatIsNotADryRunIsTheVerdict(t *testing.T) {
	t.Parallel()
	run := aRun(web("good", nil), web("unsure", nil), web("bad", nil), web("try", nil))
	run.Spec.DryRun = []argo.DryRun{{MetricName: "^try$"}}
	p := play(t, run, map[string]string{"good": "s", "unsure": "i", "bad": "f", "try": "f"})
	p.until(noon.Add(time.Hour))
	s := p.run.Status
	if s.Phase != argo.AnalysisPhaseFailed || !strings.Contains(s.Message, `"bad"`) {
		t.Errorf("%s %q", s.Phase, s.Message)
	}
	if s.RunSummary != (argo.RunSummary{Count: 3, Successful: 1, Failed: 1, Inconclusive: 1}) || *s.DryRunSummary != (argo.RunSummary{Count: 1, Failed: 1}) {
		t.Errorf("summaries %+v, %+v", s.RunSummary, s.DryRunSummary)
	}
	try := resultOf(&s, "try")
	if !try.DryRun || try.Message != "Metric assessed Failed due to failed (1) > failureLimit (0)" {
		t.Errorf("dry run: %+v", try)
	}
	want := []Event{
		{false, "MetricSuccessful", "Metric 'good' Completed. Result: Successful"},
		{false, "MetricInconclusive", "Metric 'unsure' Completed. Result: Inconclusive"},
		{true, "MetricFailed", "Metric 'bad' Completed. Result: Failed"},
		{true, "MetricFailed", "Metric 'try' Completed. Result: Failed"},
		{true, "AnalysisRunFailed", "Analysis Completed. Result: Failed"},
	}
	if !slices.Equal(p.events, want) {
		t.Errorf("events %v", p.events)
	}
}

func TestADryRunThatFailsEndsNothing(t *testing.T) {
	t.Parallel()
	run := aRun(web("real", func(m *argo.Metric) { m.Interval, m.Count = "10s", num(3) }), web("try", nil))
	run.Spec.DryRun = []argo.DryRun{{MetricName: "try"}}
	p := play(t, run, map[string]string{"real": "s", "try": "f"})
	p.until(noon.Add(time.Hour))
	if p.run.Status.Phase != argo.AnalysisPhaseSuccessful || len(p.made["real"]) != 3 {
		t.Errorf("%s after %d measurements", p.run.Status.Phase, len(p.made["real"]))
	}
}

func TestABadMetricEndsTheOthersAndTheirMeasurements(t *testing.T) {
	t.Parallel()
	run := aRun(web("endless", func(m *argo.Metric) { m.Interval = "10s" }), web("running", nil), web("waiting", func(m *argo.Metric) { m.InitialDelay = "1h" }),
		web("bad", func(m *argo.Metric) { m.InitialDelay = "15s" }))
	p := play(t, run, map[string]string{"endless": "s", "running": "r", "bad": "f"})
	p.until(noon.Add(2 * time.Hour))
	s := p.run.Status
	if s.Phase != argo.AnalysisPhaseFailed || s.CompletedAt.Sub(noon) != 15*time.Second {
		t.Errorf("%s at %v", s.Phase, s.CompletedAt)
	}
	if got := resultOf(&s, "running"); got.Phase != argo.AnalysisPhaseInconclusive || got.Message != "Metric Terminated" || got.Measurements[0].FinishedAt == nil {
		t.Errorf("what was running: %+v", got)
	}
	if got := resultOf(&s, "endless"); got.Phase != argo.AnalysisPhaseSuccessful {
		t.Errorf("what had no end: %+v", got)
	}
	if resultOf(&s, "waiting") != nil {
		t.Error("what was waiting has a result")
	}
}

func TestARunToldToTerminateEndsAtOnce(t *testing.T) {
	t.Parallel()
	run := aRun(web("m", func(m *argo.Metric) { m.Interval = "10s" }))
	run.Spec.Terminate = true
	p := play(t, run, map[string]string{"m": "s"})
	p.until(noon.Add(time.Hour))
	if s := p.run.Status; s.Phase != argo.AnalysisPhaseSuccessful || s.Message != "Run Terminated" || len(p.made["m"]) != 0 {
		t.Errorf("before any measurement: %s %q, %d measurements", s.Phase, s.Message, len(p.made["m"]))
	}
	p = play(t, aRun(run.Spec.Metrics...), map[string]string{"m": "s"})
	p.until(noon.Add(25 * time.Second))
	p.run.Spec.Terminate = true
	p.until(noon.Add(time.Hour))
	if s := p.run.Status; s.Phase != argo.AnalysisPhaseSuccessful || s.Message != "Run Terminated" || len(p.made["m"]) != 3 {
		t.Errorf("after some: %s %q, %d measurements", s.Phase, s.Message, len(p.made["m"]))
	}
}

func TestARunThatCannotBeReadIsAnErrorWithItsReason(t *testing.T) {
	t.Parallel()
	set := func(change func(*argo.Metric)) *argo.AnalysisRun { return aRun(web("m", change)) }
	withDry := set(nil)
	withDry.Spec.DryRun = []argo.DryRun{{MetricName: "other"}}
	two := aRun(web("m", nil), web("m", nil))
	open := set(nil)
	open.Spec.Args = []argo.Argument{{Name: "x"}}
	for message, run := range map[string]*argo.AnalysisRun{
		"Unable to resolve metric arguments: failed to resolve {{args.x}}":                                    set(func(m *argo.Metric) { m.SuccessCondition = "result < {{args.x}}" }),
		"Unable to resolve metric arguments: argument \"x\" was not supplied":                                 open,
		"Analysis spec invalid: no metrics specified":                                                         aRun(),
		"Analysis spec invalid: metrics[1]: duplicate name 'm'":                                               two,
		"Analysis spec invalid: metrics[0]: interval must be specified when count > 1":                        set(func(m *argo.Metric) { m.Count = num(2) }),
		"Analysis spec invalid: metrics[0]: no provider specified":                                            set(func(m *argo.Metric) { m.Provider.Web = nil }),
		"Analysis spec invalid: metrics[0]: multiple providers specified":                                     set(func(m *argo.Metric) { m.Provider.Job = &argo.JobMetric{} }),
		"Analysis spec invalid: metrics[0]: failureLimit must be >= 0, or -1 to be disabled":                  set(func(m *argo.Metric) { m.FailureLimit = num(-2) }),
		"Analysis spec invalid: metrics[0]: failureLimit and consecutiveSuccessLimit cannot both be disabled": set(func(m *argo.Metric) { m.FailureLimit = num(-1) }),
		"Analysis spec invalid: metrics[0]: consecutiveSuccessLimit must be >= 0":                             set(func(m *argo.Metric) { m.ConsecutiveSuccessLimit = num(-1) }),
		"Analysis spec invalid: metrics[0]: inconclusiveLimit must be >= 0":                                   set(func(m *argo.Metric) { m.InconclusiveLimit = num(-1) }),
		"Analysis spec invalid: metrics[0]: consecutiveErrorLimit must be >= 0":                               set(func(m *argo.Metric) { m.ConsecutiveErrorLimit = num(-1) }),
		"Analysis spec invalid: metrics[0]: count (2) must be >= failureLimit + consecutiveSuccessLimit (2 + 1) if both >= 0": set(func(m *argo.Metric) {
			m.Interval, m.Count, m.FailureLimit, m.ConsecutiveSuccessLimit = "1s", num(2), num(2), num(1)
		}),
		"Analysis spec invalid: metrics[0]: count must be >= consecutiveSuccessLimit": set(func(m *argo.Metric) {
			m.Interval, m.Count, m.FailureLimit, m.ConsecutiveSuccessLimit = "1s", num(2), num(-1), num(3)
		}),
		"Analysis spec invalid: metrics[0]: count must be >= inconclusiveLimit":                      set(func(m *argo.Metric) { m.Count, m.InconclusiveLimit = num(1), num(2) }),
		"Analysis spec invalid: metrics[0]: invalid interval string: time: invalid duration \"x\"":   set(func(m *argo.Metric) { m.Interval = "x" }),
		"Analysis spec invalid: metrics[0]: invalid startDelay string: time: invalid duration \"x\"": set(func(m *argo.Metric) { m.InitialDelay = "x" }),
		"Analysis spec invalid: metrics[0]: count is \"many\", which is not a whole number":          set(func(m *argo.Metric) { m.Count = ptr.To(intstr.FromString("many")) }),
		"Analysis spec invalid: dryRun[0]: Rule didn't match any metric name(s)":                     withDry,
		"Analysis spec invalid: metrics[0]: metric \"m\": Fairway does not have the provider wavefront; use prometheus, web, job, datadog, newRelic, cloudWatch, graphite or a plugin": set(func(m *argo.Metric) {
			m.Provider = argo.MetricProvider{Wavefront: &argo.WavefrontMetric{}}
		}),
	} {
		if plan := Next(run, noon); len(plan.Tasks) > 0 {
			t.Errorf("%s: measured all the same", message)
		}
		v := Assess(run, noon)
		if v.Status.Phase != argo.AnalysisPhaseError || v.Status.Message != message || v.Status.CompletedAt == nil || len(v.Events) != 1 {
			t.Errorf("%s %q, want %q", v.Status.Phase, v.Status.Message, message)
		}
	}
}

func TestProvidersThatAreNotThereAreRefusedByName(t *testing.T) {
	t.Parallel()
	raw := func(name string) argo.MetricProvider {
		return argo.MetricProvider{Plugin: map[string]json.RawMessage{name: json.RawMessage("{}")}}
	}
	for _, c := range []struct {
		provider argo.MetricProvider
		kind     string
		refused  string
	}{
		{argo.MetricProvider{Prometheus: &argo.PrometheusMetric{}}, "Prometheus", ""},
		{argo.MetricProvider{Web: &argo.WebMetric{}}, "Web", ""},
		{argo.MetricProvider{Job: &argo.JobMetric{}}, "Job", ""},
		{argo.MetricProvider{Datadog: &argo.DatadogMetric{}}, "Datadog", ""},
		{argo.MetricProvider{NewRelic: &argo.NewRelicMetric{}}, "NewRelic", ""},
		{argo.MetricProvider{CloudWatch: &argo.CloudWatchMetric{}}, "CloudWatch", ""},
		{argo.MetricProvider{Graphite: &argo.GraphiteMetric{}}, "Graphite", ""},
		{raw("fairway/gateway"), "RPCPlugin", ""},
		{raw("fairway/kube"), "RPCPlugin", ""},
		{raw("acme/metric"), "RPCPlugin", ""},
		{raw("fairway/other"), "RPCPlugin", `no plugin "fairway/other"`},
		{argo.MetricProvider{Kayenta: &argo.KayentaMetric{}}, "Kayenta", "provider kayenta"},
		{argo.MetricProvider{Wavefront: &argo.WavefrontMetric{}}, "Wavefront", "provider wavefront"},
		{argo.MetricProvider{Influxdb: &argo.InfluxdbMetric{}}, "Influxdb", "provider influxdb"},
		{argo.MetricProvider{SkyWalking: &argo.SkyWalkingMetric{}}, "skywalking", "provider skywalking"},
		{argo.MetricProvider{}, "Unknown Provider", ""},
	} {
		m := argo.Metric{Name: "m", Provider: c.provider}
		err := Supported(&m)
		if Kind(&m) != c.kind || (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: %v, want %s %q", Kind(&m), err, c.kind, c.refused)
		}
	}
}

func TestOnlyTheLastMeasurementsAreKept(t *testing.T) {
	t.Parallel()
	often := func(m *argo.Metric) { m.Interval, m.Count = "10s", num(25) }
	run := aRun(web("ten", often), web("three", often), web("thirty", often))
	run.Spec.MeasurementRetention = []argo.MeasurementRetention{{MetricName: "three", Limit: 3}, {MetricName: "thirty", Limit: 30}, {MetricName: "ten", Limit: 0}}
	p := play(t, run, map[string]string{"ten": "s", "three": "s", "thirty": "s"})
	p.until(noon.Add(time.Hour))
	for name, want := range map[string]int{"ten": 10, "three": 3, "thirty": 25} {
		r := resultOf(&p.run.Status, name)
		if len(r.Measurements) != want || r.Count != 25 || r.Successful != 25 {
			t.Errorf("%s keeps %d of %d", name, len(r.Measurements), r.Count)
		}
	}
	if p.dropped != 15+22 {
		t.Errorf("%d were reported as dropped", p.dropped)
	}
}

func TestRunsGoWhenTheirTimeToLiveIsOver(t *testing.T) {
	t.Parallel()
	all := &argo.TTLStrategy{SecondsAfterCompletion: ptr.To[int32](30), SecondsAfterFailure: ptr.To[int32](20), SecondsAfterSuccess: ptr.To[int32](10)}
	for _, c := range []struct {
		ttl     *argo.TTLStrategy
		phase   argo.AnalysisPhase
		seconds int // -1 = stays
	}{
		{nil, argo.AnalysisPhaseSuccessful, -1},
		{&argo.TTLStrategy{}, argo.AnalysisPhaseSuccessful, -1},
		{all, argo.AnalysisPhaseSuccessful, 10},
		{all, argo.AnalysisPhaseFailed, 20},
		{all, argo.AnalysisPhaseError, 30},
		{all, argo.AnalysisPhaseInconclusive, 30},
		{&argo.TTLStrategy{SecondsAfterFailure: ptr.To[int32](20)}, argo.AnalysisPhaseSuccessful, -1},
	} {
		run := aRun(web("m", nil))
		run.Spec.TTLStrategy = c.ttl
		run.Status.Phase, run.Status.CompletedAt = c.phase, &metav1.Time{Time: noon}
		early := Next(run, noon)
		if c.seconds < 0 {
			if early.Delete || !early.RequeueAt.IsZero() || Next(run, noon.Add(time.Hour)).Delete {
				t.Errorf("%s with %v does not stay", c.phase, c.ttl)
			}
			continue
		}
		at := noon.Add(time.Duration(c.seconds) * time.Second)
		if early.Delete || !early.RequeueAt.Equal(at) || Next(run, at.Add(-time.Millisecond)).Delete || !Next(run, at).Delete {
			t.Errorf("%s does not go exactly after %d s", c.phase, c.seconds)
		}
	}
}

func TestResultsComeInTheOrderOfTheSpecWhateverEndsFirst(t *testing.T) {
	t.Parallel()
	run := aRun(web("a", nil), web("b", nil), web("c", nil))
	at := metav1.Time{Time: noon}
	for _, name := range []string{"c", "a", "b"} {
		run.Status = Record(run, []Result{{Metric: name, Number: 1, Measurement: argo.Measurement{Phase: argo.AnalysisPhaseSuccessful, StartedAt: &at, FinishedAt: &at}}})
		run.Status = Assess(run, noon).Status
	}
	if r := run.Status.MetricResults; r[0].Name != "a" || r[1].Name != "b" || r[2].Name != "c" || run.Status.Phase != argo.AnalysisPhaseSuccessful {
		t.Errorf("%+v", run.Status)
	}
}

func TestAResultIsRecordedOnce(t *testing.T) {
	t.Parallel()
	run := aRun(web("m", func(m *argo.Metric) { m.Interval = "10s" }))
	at := metav1.Time{Time: noon}
	done := Result{Metric: "m", Number: 1, Measurement: argo.Measurement{Phase: argo.AnalysisPhaseSuccessful, StartedAt: &at, FinishedAt: &at}}
	run.Status = Record(run, []Result{done, done})
	run.Status = Record(run, []Result{done})
	if r := run.Status.MetricResults[0]; r.Count != 1 || len(r.Measurements) != 1 {
		t.Errorf("%+v", r)
	}
	other := done
	other.Metric, other.Number = "gone", 3
	if s := Record(run, []Result{other}); len(s.MetricResults) != 1 {
		t.Error("a result of nothing was recorded")
	}
}

func BenchmarkNextAndAssess(b *testing.B) {
	run := aRun(web("a", func(m *argo.Metric) { m.Interval = "10s" }), web("b{{args.x}}", nil), web("c", nil))
	run.Spec.Args = []argo.Argument{arg("x", "y")}
	b.ReportAllocs()
	for b.Loop() {
		Next(run, noon)
		Assess(run, noon)
	}
}
