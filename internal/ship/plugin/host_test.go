package plugin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// self is the location of the test binary.
func self(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func selfSum(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(self(t))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// hostWith runs a host with one plugin of each kind, called test/…, with these arguments.
func hostWith(t testing.TB, o Options, location string, more string) *Host {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := NewHost(o)
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	data := map[string]string{}
	for kind, name := range map[Kind]string{MetricProvider: "test/metric", TrafficRouter: "test/router", Step: "test/step"} {
		data[string(kind)] = fmt.Sprintf("- name: %s\n  location: %q\n%s", name, location, more)
	}
	c, err := ParseConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	h.Configure(c)
	return h
}

var analysisRun = &argo.AnalysisRun{}

func metric(name string) argo.Metric { return argo.Metric{Name: name} }

// aboutProcess asks the metric plugin about its process.
func aboutProcess(t *testing.T, h *Host) about {
	t.Helper()
	m, err := h.Metrics().Run(t.Context(), "test/metric", analysisRun, metric("about"))
	if err != nil {
		t.Fatal(err)
	}
	var a about
	if err := json.Unmarshal([]byte(m.Value), &a); err != nil {
		t.Fatal(m, err)
	}
	return a
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestAMetricPluginMeasuresResumesAndTells(t *testing.T) {
	t.Parallel()
	h := hostWith(t, Options{}, "file://"+self(t), "  sha256: "+strings.ToUpper(selfSum(t))+"\n")
	ctx, metrics := t.Context(), h.Metrics()
	run := analysisRun.DeepCopy()
	run.Name = "web-1"
	m, err := metrics.Run(ctx, "test/metric", run, metric("errors"))
	if err != nil || m.Value != "web-1/errors" || m.Phase != argo.AnalysisPhaseSuccessful {
		t.Fatal(m, err)
	}
	begun, err := metrics.Run(ctx, "test/metric", run, metric("slow"))
	if err != nil || begun.FinishedAt != nil || begun.ResumeAt == nil {
		t.Fatal(begun, err)
	}
	if m, err = metrics.Resume(ctx, "test/metric", run, metric("slow"), begun); err != nil || m.Value != "resumed" || m.FinishedAt == nil {
		t.Error(m, err)
	}
	if m, err = metrics.Terminate(ctx, "test/metric", run, metric("slow"), begun); err != nil || m.Phase != argo.AnalysisPhaseFailed {
		t.Error(m, err)
	}
	if m, err = metrics.Run(ctx, "test/metric", run, metric("fault")); err != nil || m.Phase != argo.AnalysisPhaseError || !strings.Contains(m.Message, "no such metric") {
		t.Error(m, err)
	}
	if err := metrics.GarbageCollect(ctx, "test/metric", run, metric("errors"), 7); err == nil || !strings.Contains(err.Error(), "kept 7 of errors") {
		t.Error(err)
	}
	asked := metric("errors")
	asked.Provider.Plugin = map[string]json.RawMessage{"test/metric": json.RawMessage(`{"q":1}`)}
	if got, err := metrics.Metadata(ctx, "test/metric", asked); err != nil || got["query"] != `{"q":1}` {
		t.Error(got, err)
	}
}

func TestARouterPluginIsToldEachMethod(t *testing.T) {
	t.Parallel()
	h := hostWith(t, Options{}, "file://"+self(t), "")
	ro := &argo.Rollout{}
	ro.Name = "web"
	in := traffic.Intent{Weight: 20, CanaryHash: "c", StableHash: "s", Headers: []argo.SetHeaderRoute{{Name: "h", Match: []argo.HeaderRoutingMatch{{HeaderName: "X"}}}},
		Mirrors: []argo.SetMirrorRoute{{Name: "m"}}}
	for _, method := range []Method{UpdateHash, SetWeight, SetHeaderRoute, SetMirrorRoute, RemoveManagedRoutes} {
		if verified, err := h.Routers().Do(t.Context(), "test/router", method, ro, in); verified != nil || err != nil {
			t.Error(method, verified, err)
		}
	}
	_, err := h.Routers().Do(t.Context(), "test/router", SetHeaderRoute, ro, traffic.Intent{Headers: []argo.SetHeaderRoute{{Name: "h"}}})
	if err == nil || !strings.Contains(err.Error(), "told: hash c s 0;weight web 20 0;header h;mirror m;remove;") {
		t.Error(err)
	}
	yes, no := true, false
	for weight, want := range map[int32]*bool{20: &yes, 30: &no} {
		verified, err := h.Routers().Do(t.Context(), "test/router", VerifyWeight, ro, traffic.Intent{Weight: weight})
		if err != nil || verified == nil || *verified != *want {
			t.Error(weight, verified, err)
		}
	}
	verified, err := h.Routers().Do(t.Context(), "test/router", VerifyWeight, ro, traffic.Intent{Additional: []argo.WeightDestination{{}}})
	if verified != nil || err != nil {
		t.Error("a plugin that cannot verify does", verified, err)
	}
	if _, err := h.Routers().Do(t.Context(), "test/router", "Other", ro, in); err == nil {
		t.Error("no error for a method that does not exist")
	}
}

func TestApplyGivesARouterPluginTheWholeIntentInThePeersOrder(t *testing.T) {
	t.Parallel()
	h := hostWith(t, Options{}, "file://"+self(t), "")
	ro := &argo.Rollout{}
	in := traffic.Intent{Weight: 5, CanaryHash: "c", StableHash: "s", Headers: []argo.SetHeaderRoute{{Name: "h", Match: []argo.HeaderRoutingMatch{{HeaderName: "X"}}}}, Mirrors: []argo.SetMirrorRoute{{Name: "m"}}}
	if verified, err := h.Routers().Apply(t.Context(), "test/router", ro, in); err != nil || verified == nil || !*verified {
		t.Error(verified, err)
	}
	in.Remove = true
	if _, err := h.Routers().Apply(t.Context(), "test/router", ro, in); err != nil {
		t.Error(err)
	}
	in.Remove, in.Headers = false, []argo.SetHeaderRoute{{Name: "h"}}
	verified, err := h.Routers().Apply(t.Context(), "test/router", ro, in)
	if verified != nil || err == nil || !strings.Contains(err.Error(), "told: header h;mirror m;hash c s 0;weight  5 0;remove;hash c s 0;weight  5 0;") {
		t.Error(verified, err)
	}
}

func TestAStepPluginRunsUntilItIsDoneWithItsOwnStatus(t *testing.T) {
	t.Parallel()
	h := hostWith(t, Options{}, "file://"+self(t), "")
	call := StepCall{Rollout: &argo.Rollout{}, Index: 2, Step: argo.PluginStep{Name: "test/step", Config: json.RawMessage("2")}, Operation: argo.StepPluginOperationRun}
	first, err := h.Steps().Do(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	if first.Phase != argo.StepPluginPhaseRunning || first.Backoff != "42s" || string(first.Status) != "1" || first.Index != 2 || first.Executions != 1 || first.Message != "at 1" {
		t.Errorf("%+v", first)
	}
	if wait := Ready(first).Sub(first.UpdatedAt.Time); wait != 42*time.Second {
		t.Error("ready after", wait)
	}
	call.Status = first
	second, err := h.Steps().Do(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	if second.Phase != argo.StepPluginPhaseSuccessful || second.FinishedAt == nil || second.Executions != 2 || !second.StartedAt.Equal(first.StartedAt) {
		t.Errorf("%+v", second)
	}
	call.Status, call.Operation = second, argo.StepPluginOperationAbort
	if aborted, err := h.Steps().Do(t.Context(), call); err != nil || aborted.Message != "undid 2" || aborted.Phase != argo.StepPluginPhaseSuccessful || aborted.Operation != argo.StepPluginOperationAbort {
		t.Errorf("%+v %v", aborted, err)
	}
	call.Operation = argo.StepPluginOperationTerminate
	if ended, err := h.Steps().Do(t.Context(), call); err != nil || ended.Phase != argo.StepPluginPhaseFailed || ended.FinishedAt == nil {
		t.Errorf("a Terminate that goes on in the background: %+v %v", ended, err)
	}
}

func TestAStepThatFailsIsTriedAgainAfterHalfAMinuteWithItsFormerStatus(t *testing.T) {
	t.Parallel()
	h := hostWith(t, Options{}, "file://"+self(t), "")
	call := StepCall{Rollout: &argo.Rollout{}, Step: argo.PluginStep{Name: "test/step", Config: json.RawMessage(`"no number"`)}, Operation: argo.StepPluginOperationRun,
		Status: &argo.StepPluginStatus{Name: "test/step", Operation: argo.StepPluginOperationRun, Phase: argo.StepPluginPhaseRunning, Status: json.RawMessage("7"), Executions: 3}}
	got, err := h.Steps().Do(t.Context(), call)
	if err != nil || got.Phase != argo.StepPluginPhaseError || got.Backoff != "30s" || string(got.Status) != "7" || got.Executions != 4 || !strings.Contains(got.Message, "config:") {
		t.Errorf("%+v %v", got, err)
	}
	call.Step.Config = json.RawMessage("-1")
	if _, err := h.Steps().Do(t.Context(), call); err == nil || !strings.Contains(err.Error(), "phase 'Odd' is not valid") {
		t.Error(err)
	}
}

func TestADisabledStepCountsAsDoneWithoutAProcess(t *testing.T) {
	t.Parallel()
	h := NewHost(Options{})
	defer h.Close()
	c, err := ParseConfig(map[string]string{"stepPlugins": "- {name: test/step, disabled: true}"})
	if err != nil {
		t.Fatal(err)
	}
	h.Configure(c)
	got, err := h.Steps().Do(t.Context(), StepCall{Step: argo.PluginStep{Name: "test/step"}, Operation: argo.StepPluginOperationRun})
	if err != nil || !got.Disabled || h.dir != "" || len(h.processes) != 0 {
		t.Errorf("%+v %v", got, err)
	}
}

func TestAHostWithoutPluginsHasNoDirectoryAndNoProcess(t *testing.T) {
	t.Parallel()
	h := NewHost(Options{})
	_, err := h.Metrics().Run(t.Context(), "test/metric", analysisRun, metric("x"))
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), ConfigMapName) {
		t.Error(err)
	}
	if h.dir != "" || len(h.processes) != 0 || !h.Config().Empty() {
		t.Error("something was made for nothing")
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

func TestARefusingHostSaysWhyAndStartsNothing(t *testing.T) {
	t.Parallel()
	h := hostWith(t, Options{Refuse: "rehearsal runs no other programs"}, "file://"+self(t), "")
	_, err := h.Steps().Do(t.Context(), StepCall{Rollout: &argo.Rollout{}, Step: argo.PluginStep{Name: "test/step"}, Operation: argo.StepPluginOperationRun})
	if err == nil || !strings.Contains(err.Error(), "rehearsal runs no other programs") || h.dir != "" {
		t.Error(err)
	}
}

func TestPluginsRunInTheirOwnDirectoryWithArgumentsAndWithoutFairwaysVariables(t *testing.T) {
	t.Setenv("FAIRWAY_SECRET", "1")
	t.Setenv("AWS_ROLE_ARN", "arn")
	h := hostWith(t, Options{}, "file://"+self(t), "  args: [--one, two]\n")
	a := aboutProcess(t, h)
	if wd, _ := os.Getwd(); a.Dir == wd || !strings.HasPrefix(a.Dir, h.dir) {
		t.Error("it runs in", a.Dir)
	}
	if !slices.Equal(a.Args, []string{"--one", "two"}) {
		t.Error(a.Args)
	}
	if slices.Contains(a.Env, "FAIRWAY_SECRET=1") || !slices.Contains(a.Env, "AWS_ROLE_ARN=arn") {
		t.Error(a.Env)
	}
}

func TestCloseEndsProcessesAndRemovesPrograms(t *testing.T) {
	t.Parallel()
	h := hostWith(t, Options{}, "file://"+self(t), "")
	a := aboutProcess(t, h)
	dir := h.dir
	if !alive(a.Pid) {
		t.Fatal("it does not run")
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if alive(a.Pid) {
		t.Error("its process runs after Close")
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("its directory is still there", err)
	}
	if _, err := h.Metrics().Run(t.Context(), "test/metric", analysisRun, metric("x")); err == nil {
		t.Error("a closed host answers")
	}
}

func TestCloseDoesNotWaitForAPluginThatNeverAnswers(t *testing.T) {
	t.Parallel()
	h := hostWith(t, Options{}, "file://"+self(t), "  args: [mute]\n")
	failed := make(chan error, 1)
	go func() {
		_, err := h.Metrics().Run(context.Background(), "test/metric", analysisRun, metric("x"))
		failed <- err
	}()
	p := func() *process {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.processes[key{MetricProvider, "test/metric"}]
	}
	for p() == nil || p().mu.TryLock() { // until it is starting
		if p() != nil {
			p().mu.Unlock()
		}
		time.Sleep(time.Millisecond)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; err == nil {
		t.Error("a plugin that never answers measured")
	}
}

func TestACallOfAStoppedProcessEndsItByForce(t *testing.T) {
	t.Parallel()
	h := hostWith(t, Options{}, "file://"+self(t), "")
	a := aboutProcess(t, h)
	if err := syscall.Kill(a.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// The system may stop a process a moment after it was told to: calls before that are answered.
	call := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := h.Metrics().Run(ctx, "test/metric", analysisRun, metric("x"))
		return err
	}
	err := call()
	for deadline := time.Now().Add(10 * time.Second); err == nil && time.Now().Before(deadline); {
		err = call()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call of a stopped process: %v", err)
	}
	if alive(a.Pid) {
		t.Error("the stopped process is still there")
	}
}

func TestAChangedConfigurationEndsOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	h := hostWith(t, Options{}, "file://"+self(t), "")
	first := aboutProcess(t, h)
	same, err := ParseConfig(map[string]string{"metricProviderPlugins": "- {name: test/metric, location: 'file://" + self(t) + "'}"})
	if err != nil {
		t.Fatal(err)
	}
	h.Configure(same)
	if again := aboutProcess(t, h); again.Pid != first.Pid {
		t.Error("a plugin that did not change was started anew")
	}
	if _, err := h.Steps().Do(t.Context(), StepCall{Rollout: &argo.Rollout{}, Step: argo.PluginStep{Name: "test/step"}, Operation: argo.StepPluginOperationRun}); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	other, _ := ParseConfig(map[string]string{"metricProviderPlugins": "- {name: test/metric, location: 'file://" + self(t) + "', args: [more]}"})
	h.Configure(other)
	if alive(first.Pid) {
		t.Error("the process of the former configuration runs on")
	}
	if again := aboutProcess(t, h); again.Pid == first.Pid || !slices.Equal(again.Args, []string{"more"}) {
		t.Errorf("%+v", again)
	}
}

func TestAProcessThatEndsIsStartedAnewByTheNextCall(t *testing.T) {
	t.Parallel()
	h := hostWith(t, Options{}, "file://"+self(t), "")
	first := aboutProcess(t, h)
	m, err := h.Metrics().Run(t.Context(), "test/metric", analysisRun, metric("exit"))
	if err == nil && m.Phase != argo.AnalysisPhaseError {
		t.Error("a call that ended the process succeeded", m)
	}
	for !h.processes[key{MetricProvider, "test/metric"}].client.Exited() {
		time.Sleep(time.Millisecond)
	}
	if second := aboutProcess(t, h); second.Pid == first.Pid || alive(first.Pid) {
		t.Error("the process was not started anew")
	}
}

func TestACallThatIsNotAnsweredEndsItsProcess(t *testing.T) {
	t.Parallel()
	h := hostWith(t, Options{}, "file://"+self(t), "")
	first := aboutProcess(t, h)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := h.Metrics().Run(ctx, "test/metric", analysisRun, metric("hang"))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "test/metric") {
		t.Error(err)
	}
	if alive(first.Pid) {
		t.Error("the process runs on")
	}
}

func TestAPluginThatDoesNotStartIsNotTriedAtOnceForEver(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{"refuse", "die"} {
		h := hostWith(t, Options{}, "file://"+self(t), "  args: ["+arg+"]\n")
		var err error
		for range 5 {
			_, err = h.Metrics().Run(t.Context(), "test/metric", analysisRun, metric("x"))
			if err == nil {
				t.Fatal("it started")
			}
		}
		if !strings.Contains(err.Error(), "failed 2 times in a row; the next start is in") {
			t.Error(arg, err)
		}
	}
}

func TestProgramsAreFetchedWithHeadersAndCheckedAgainstTheirSum(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer 1" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		http.ServeFile(w, r, self(t))
	}))
	t.Cleanup(server.Close)
	secret := func(_ context.Context, name string) (map[string][]byte, error) {
		if name != "token" {
			return nil, errors.New("no such secret " + name)
		}
		return map[string][]byte{"Authorization": []byte("Bearer 1\n")}, nil
	}
	for name, c := range map[string]struct {
		more, want string
		secret     func(context.Context, string) (map[string][]byte, error)
	}{
		"good":          {"  sha256: " + selfSum(t) + "\n  headersFrom: [{secretRef: {name: token}}]\n", "", secret},
		"wrong sum":     {"  sha256: " + strings.Repeat("f", 64) + "\n  headersFrom: [{secretRef: {name: token}}]\n", "does not match expected hash", secret},
		"no header":     {"", "response code 403", secret},
		"other secret":  {"  headersFrom: [{secretRef: {name: other}}]\n", "no such secret other", secret},
		"without reach": {"  headersFrom: [{secretRef: {name: token}}]\n", "no secrets can be read here", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hostWith(t, Options{Secret: c.secret}, server.URL+"/plugin", c.more)
			m, err := h.Metrics().Run(t.Context(), "test/metric", analysisRun, metric("x"))
			if c.want == "" {
				if err != nil || m.Value != "/x" {
					t.Error(m, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if h.dir == "" {
				return
			}
			if left, _ := filepath.Glob(filepath.Join(h.dir, "*")); len(left) > 0 {
				t.Error("left behind", left)
			}
		})
	}
}

func TestAMissingFileSaysWhichPluginAndWhere(t *testing.T) {
	t.Parallel()
	h := hostWith(t, Options{}, "file:///no/such/program", "")
	_, err := h.Metrics().Run(t.Context(), "test/metric", analysisRun, metric("x"))
	if err == nil || !strings.Contains(err.Error(), "plugin test/metric: open /no/such/program") {
		t.Error(err)
	}
}

func TestWhatAPluginWritesReachesTheLogWithItsName(t *testing.T) {
	t.Parallel()
	out := &lockedBuffer{}
	h := hostWith(t, Options{Log: slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))}, "file://"+self(t), "")
	aboutProcess(t, h)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "sample plugin is starting") || !strings.Contains(got, "plugin=test/metric") {
		t.Error(got)
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestParseConfigReadsWhatIsRightAndNamesAllThatIsWrong(t *testing.T) {
	t.Parallel()
	c, err := ParseConfig(map[string]string{
		"metricProviderPlugins": `
- {name: a/one, location: "https://example.com/one", sha256: "` + strings.Repeat("ab", 32) + `", args: [-v], headersFrom: [{secretRef: {name: s}}]}
- {name: a/one, location: "https://example.com/two"}
- {name: justone, location: "file:///x"}
- {name: a/../../etc, location: "file:///x"}
- {name: a/sum, location: "file:///x", sha256: abc}
- {name: a/scheme, location: "ftp://x/y"}
- {name: a/path, location: "plugin"}
`,
		"trafficRouterPlugins": "not: a list",
		"stepPlugins":          "- {name: a/off, disabled: true}\n- {name: a/.., location: 'file://./x'}",
		"other":                "ignored",
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"metricProviderPlugins[1]: \"a/one\" is named twice", "[2]: plugin repository (justone) must be in the format of <namespace>/<name>",
		"[3]: plugin repository (a/../../etc)", "[4]: plugin a/sum: sha256", "[5]: plugin a/scheme: location \"ftp://x/y\": plugin location must be of http(s) or file scheme",
		"[6]: plugin a/path: location \"plugin\" is not a URL", "trafficRouterPlugins is not a list of plugins"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nhas no %q", err, want)
		}
	}
	one, ok := c.Find(MetricProvider, "a/one")
	if !ok || one.Args[0] != "-v" || one.HeadersFrom[0].SecretRef.Name != "s" || one.Location != "https://example.com/one" {
		t.Errorf("%+v", one)
	}
	if !c.Disabled("a/off") || c.Disabled("a/other") || !slices.Equal(c.Names(Step), []string{"a/..", "a/off"}) || c.Empty() {
		t.Error(c.Names(Step))
	}
	if c, err := ParseConfig(nil); err != nil || !c.Empty() {
		t.Error(c, err)
	}
}

func TestConfigNamesABoundedNumberOfPlugins(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range pluginsMax + 1 {
		fmt.Fprintf(&b, "- {name: a/p%d, location: 'file:///x'}\n", i)
	}
	if _, err := ParseConfig(map[string]string{"stepPlugins": b.String()}); err == nil || !strings.Contains(err.Error(), "more than 64 plugins") {
		t.Error(err)
	}
}

func BenchmarkACallOfARunningPlugin(b *testing.B) {
	h := hostWith(b, Options{}, "file://"+self(b), "")
	for b.Loop() {
		if _, err := h.Routers().Do(b.Context(), "test/router", SetWeight, &argo.Rollout{}, traffic.Intent{Weight: 20}); err != nil {
			b.Fatal(err)
		}
	}
}
