package virtual

import (
	"slices"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func exits(after time.Duration, code int32) Model {
	return Model{Exits: true, RunsFor: after, ExitCode: code}
}

func httpProbe(delay, period, failures int32) *v1.Probe {
	return &v1.Probe{ProbeHandler: v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Port: intstr.FromInt32(80)}},
		InitialDelaySeconds: delay, PeriodSeconds: period, FailureThreshold: failures, SuccessThreshold: 1}
}

func TestInitContainersRunInOrderBeforeApps(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withInit(simplePod("p", "app"), "one", "two"), RunForever{}, WritesObservable).run(time.Minute)
	w.wrote(
		"0s Pending one=PodInitializing two=PodInitializing app=PodInitializing",
		"2s Pending one=running two=PodInitializing app=PodInitializing",
		"3s Pending one=Completed:0 two=PodInitializing app=PodInitializing",
		"3.8s Pending one=Completed:0 two=running app=PodInitializing",
		"4.8s Pending one=Completed:0 two=Completed:0 app=PodInitializing",
		"5.6s Running Ready one=Completed:0 two=Completed:0 app=running")
}

func TestFailedInitContainerOfNeverPodFailsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, policy(withInit(simplePod("p", "app"), "one"), v1.RestartPolicyNever), programs{"one": {exits(time.Second, 3)}}, WritesLean).run(time.Minute)
	w.wrote("3s Failed one=Error:3 app=PodInitializing")
}

func TestFailedInitContainerIsRestartedWithBackoff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withInit(simplePod("p", "app"), "one"), programs{"one": {exits(time.Second, 3), exits(time.Second, 3), exits(time.Second, 0)}}, WritesLean).run(time.Minute)
	w.wrote("3s Pending one=Error:3 app=PodInitializing",
		"3.8s Pending one=running/1 app=PodInitializing",
		"4.8s Pending one=CrashLoopBackOff/1 app=PodInitializing",
		"15.6s Pending one=running/2 app=PodInitializing",
		"17.4s Running Ready one=Completed:0/2 app=running")
}

func TestSidecarStartsFirstOutlivesAppsAndDoesNotHoldCompletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, policy(withInit(simplePod("p", "app"), "+proxy"), v1.RestartPolicyNever), programs{"app": {exits(10*time.Second, 0)}, "proxy": {{}}}, WritesLean).run(time.Minute)
	w.wrote("2.8s Running Ready proxy=running app=running",
		"12.8s Running proxy=running app=Completed:0",
		"14.1s Succeeded proxy=Completed:0 app=Completed:0")
}

func TestSidecarsStopAfterAppsInReverseOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withOwner(withInit(simplePod("p", "app"), "+first", "+second"), "ReplicaSet"), programs{"first": {{}}, "second": {{}}}, WritesLean).run(time.Minute)
	w.delete(30)
	w.run(2 * time.Minute)
	var order []string
	for _, e := range w.events {
		if strings.HasSuffix(e, "Killing") {
			order = append(order, e)
		}
	}
	if want := []string{"1m0s app Killing", "1m1.3s second Killing", "1m2.6s first Killing"}; !slices.Equal(order, want) {
		t.Errorf("stopped in order %q, want %q", order, want)
	}
}

func TestCrashLoopDelaysDoubleToFiveMinutesAndResetAfterAQuietTenMinutes(t *testing.T) {
	t.Parallel()
	crash := exits(time.Second, 1)
	calm := exits(21*time.Minute, 1)
	w := newWorld(t, simplePod("p", "app"), programs{"app": {crash, crash, crash, crash, crash, crash, crash, crash, calm, calm}}, WritesLean).run(time.Hour)
	var starts []time.Duration
	for _, e := range w.events {
		if f := strings.Fields(e); f[2] == "Started" {
			d, _ := time.ParseDuration(f[0])
			starts = append(starts, d)
		}
	}
	const again = 1800 * time.Millisecond // runs 1 s, and starting takes 0.8 s
	want := []time.Duration{0, 10, 20, 40, 80, 160, 300, 300}
	for i, delay := range want {
		if got := starts[i+1] - starts[i]; got != delay*time.Second+again {
			t.Errorf("restart %d came %v after the last start, want back-off %v", i+1, got, delay*time.Second)
		}
	}
	if got := starts[9] - starts[8]; got != 21*time.Minute+800*time.Millisecond {
		t.Errorf("after a quiet run the restart came after %v; the back-off should be forgotten", got)
	}
}

func TestReadinessFollowsTheProbesTicks(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		probe *v1.Probe
		model Model
		ready time.Duration // after the start at 2 s
	}{
		"healthy at once":       {httpProbe(0, 10, 3), Model{}, 0},
		"healthy between ticks": {httpProbe(0, 10, 3), Model{Ready: 12 * time.Second}, 20 * time.Second},
		"initial delay skips":   {httpProbe(7, 5, 3), Model{}, 10 * time.Second},
		"on the tick itself":    {httpProbe(0, 3, 3), Model{Ready: 6 * time.Second}, 6 * time.Second},
		"two successes": {&v1.Probe{ProbeHandler: v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt32(1)}},
			PeriodSeconds: 4, SuccessThreshold: 2, FailureThreshold: 1}, Model{Ready: time.Second}, 8 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := simplePod("p", "app")
			pod.Spec.Containers[0].ReadinessProbe = tc.probe
			w := newWorld(t, pod, programs{"app": {tc.model}}, WritesLean).run(5 * time.Minute)
			if want := (2*time.Second + tc.ready).String() + " Running Ready app=running"; w.writes[len(w.writes)-1] != want {
				t.Errorf("last write %q, want %q", w.writes, want)
			}
		})
	}
}

func TestLivenessRestartsAContainerThatTurnsUnhealthy(t *testing.T) {
	t.Parallel()
	pod := simplePod("p", "app")
	pod.Spec.Containers[0].LivenessProbe = httpProbe(0, 10, 3)
	w := newWorld(t, pod, programs{"app": {{UnhealthyAfter: 60 * time.Second}, {}}}, WritesLean).run(10 * time.Minute)
	// Ticks at 0, 10, …; unhealthy from 62 s: failures at 70, 80, 90; SIGTERM takes 1.3 s and the start 0.8 s.
	w.wrote("2s Running Ready app=running", "1m31.3s Running app=Completed:0", "1m32.1s Running Ready app=running/1")
}

func TestAProbeOfAClosedPortNeverPasses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		set   func(*v1.Container)
		model Model
		want  []string
	}{
		"readiness": {func(c *v1.Container) { c.ReadinessProbe = httpProbe(0, 10, 3) }, Model{Fails: ReadinessProbe},
			[]string{"2s Running app=running"}},
		"liveness": {func(c *v1.Container) { c.LivenessProbe = httpProbe(15, 10, 1) }, Model{Fails: LivenessProbe},
			[]string{"2s Running Ready app=running", "21.3s Running app=Completed:0", "22.1s Running Ready app=running/1"}},
		"another probe": {func(c *v1.Container) { c.LivenessProbe = httpProbe(0, 10, 1) }, Model{Fails: StartupProbe},
			[]string{"2s Running Ready app=running"}},
		"one that does not ask what fails": {func(c *v1.Container) { c.LivenessProbe = httpProbe(0, 10, 1) },
			Model{UnhealthyAfter: 5 * time.Second, Steady: LivenessProbe}, []string{"2s Running Ready app=running"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := simplePod("p", "app")
			tc.set(&pod.Spec.Containers[0])
			newWorld(t, pod, programs{"app": {tc.model, {}}}, WritesLean).run(5 * time.Minute).wrote(tc.want...)
		})
	}
}

func TestStartupProbeGatesTheOthersAndItsFailureRestarts(t *testing.T) {
	t.Parallel()
	pod := simplePod("p", "app")
	pod.Spec.Containers[0].StartupProbe = httpProbe(0, 5, 3)
	pod.Spec.Containers[0].LivenessProbe = httpProbe(0, 1, 1)
	pod.Spec.Containers[0].ReadinessProbe = httpProbe(0, 1, 1)
	w := newWorld(t, pod, programs{"app": {{Ready: time.Hour}, {Ready: 8 * time.Second}}}, WritesLean).run(10 * time.Minute)
	// Ticks at 5, 10, 15 s fail; restarted at 17.1 s, healthy at 25.1 s, which the tick at 30 s sees.
	w.wrote("2s Running app=running", "16.3s Running app=Completed:0", "17.1s Running app=running/1", "30s Running Ready app=running/1")
}

func TestStopHonoursHooksGraceAndDeafness(t *testing.T) {
	t.Parallel()
	sleepHook := &v1.Lifecycle{PreStop: &v1.LifecycleHandler{Sleep: &v1.SleepAction{Seconds: 5}}}
	for name, tc := range map[string]struct {
		hook  *v1.Lifecycle
		model Model
		grace int64
		gone  time.Duration
		code  string
	}{
		"default":             {nil, Model{}, 30, 1300 * time.Millisecond, "Completed:0"},
		"slow":                {nil, Model{Stop: 20 * time.Second}, 30, 20 * time.Second, "Completed:0"},
		"killed at the end":   {nil, Model{Stop: time.Minute}, 30, 30 * time.Second, "Error:137"},
		"deaf":                {nil, Model{IgnoreTerm: true}, 30, 30 * time.Second, "Error:137"},
		"exits 143":           {nil, Model{TermCode: 143}, 30, 1300 * time.Millisecond, "Error:143"},
		"hook eats the grace": {sleepHook, Model{}, 30, 6300 * time.Millisecond, "Completed:0"},
		"hook uses it up":     {sleepHook, Model{Stop: time.Minute}, 3, 5 * time.Second, "Error:137"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := simplePod("p", "app")
			pod.Spec.Containers[0].Lifecycle = tc.hook
			w := newWorld(t, pod, programs{"app": {tc.model}}, WritesLean).run(time.Minute)
			w.delete(tc.grace)
			w.run(5 * time.Minute)
			if got := w.removed.Sub(w.start) - time.Minute; got != tc.gone {
				t.Errorf("gone after %v, want %v", got, tc.gone)
			}
			if last := w.writes[len(w.writes)-2]; !strings.HasSuffix(last, tc.code) {
				t.Errorf("last status %q, want %s", last, tc.code)
			}
		})
	}
}

func TestAShorterSecondDeletionShortens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simplePod("p", "app"), programs{"app": {{IgnoreTerm: true}}}, WritesLean).run(time.Minute)
	w.delete(60)
	w.run(70 * time.Second)
	w.delete(5)
	w.run(5 * time.Minute)
	if got := w.removed.Sub(w.start); got != 75*time.Second {
		t.Errorf("gone at %v, want 1m15s", got)
	}
}

func TestPodDeletedBeforeItStartsEndsFailedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simplePod("p", "app"), RunForever{}, WritesObservable).run(time.Second)
	w.delete(30)
	w.run(time.Minute)
	w.wrote("0s Pending app=ContainerCreating", "1s Failed app=ContainerStatusUnknown:137", "1s DELETE")
}

func TestMemoryBeyondTheLimitIsKilledAtTheCrossing(t *testing.T) {
	t.Parallel()
	pod := simplePod("p", "app")
	pod.Spec.Containers[0].Resources.Limits = v1.ResourceList{v1.ResourceMemory: resource.MustParse("100Mi")}
	w := newWorld(t, pod, programs{"app": {{Usage: IdleUsage{MemoryBytes: 40 << 20, LeakBytesPerHour: 60 << 20}}}}, WritesLean).run(70 * time.Minute)
	if len(w.writes) < 2 || !strings.Contains(w.writes[1], "Running app=OOMKilled:137") || !strings.HasPrefix(w.writes[1], "1h0m2") {
		t.Errorf("writes %q", w.writes)
	}
}

func TestActiveDeadlineFailsThePod(t *testing.T) {
	t.Parallel()
	pod := simplePod("p", "app")
	deadline := int64(20)
	pod.Spec.ActiveDeadlineSeconds = &deadline
	w := newWorld(t, pod, RunForever{}, WritesLean).run(time.Minute)
	w.wrote("2s Running Ready app=running", "21.3s Failed(DeadlineExceeded) app=Completed:0")
}

func TestCommandThatDoesNotExistIsAStartError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, policy(simplePod("p", "app"), v1.RestartPolicyNever), programs{"app": {{StartError: "exec: \"nope\": executable file not found in $PATH"}}}, WritesLean).run(time.Minute)
	w.wrote("2s Failed app=StartError:128")
}

func TestStartErrorOfAnAlwaysPodIsRetriedWithBackoff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simplePod("p", "app"), programs{"app": {{StartError: "no such file"}}}, WritesObservable).run(30 * time.Second)
	if !strings.Contains(strings.Join(w.writes, "\n"), "CrashLoopBackOff") {
		t.Errorf("writes %q", w.writes)
	}
}

func TestRestartRulesDecideByExitCode(t *testing.T) {
	t.Parallel()
	pod := policy(simplePod("p", "app"), v1.RestartPolicyNever)
	never := v1.ContainerRestartPolicyNever
	pod.Spec.Containers[0].RestartPolicy = &never
	pod.Spec.Containers[0].RestartPolicyRules = []v1.ContainerRestartRule{{Action: v1.ContainerRestartRuleActionRestart,
		ExitCodes: &v1.ContainerRestartRuleOnExitCodes{Operator: v1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}}}}
	w := newWorld(t, pod, programs{"app": {exits(time.Second, 42), exits(time.Second, 1)}}, WritesLean).run(time.Minute)
	w.wrote("2s Running Ready app=running", "3s Running app=Error:42", "3.8s Running Ready app=running/1", "4.8s Failed app=Error:1/1")
}

func TestAppsStartInOrderAndAreReportedTogether(t *testing.T) {
	t.Parallel()
	pod := simplePod("p", "b", "a")
	pod.Spec.Containers[0].Lifecycle = &v1.Lifecycle{PostStart: &v1.LifecycleHandler{Sleep: &v1.SleepAction{Seconds: 3}}}
	w := newWorld(t, pod, RunForever{}, WritesObservable).run(time.Minute)
	w.wrote("0s Pending a=ContainerCreating b=ContainerCreating", "5.8s Running Ready a=running b=running")
}

func TestMissingVolumeSourceHoldsThePodUntilItAppears(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simplePod("p", "app"), RunForever{}, WritesObservable)
	w.answers.missing = "MountVolume.SetUp failed for volume \"v\" : configmap \"c\" not found"
	w.run(20 * time.Second)
	w.answers.missing = ""
	w.run(5 * time.Minute)
	if !strings.Contains(strings.Join(w.events, "\n"), "FailedMount") || !strings.HasSuffix(w.writes[len(w.writes)-1], "Running Ready app=running") {
		t.Errorf("writes %q, events %q", w.writes, w.events)
	}
}

func TestRefusedPodFailsAndNeverRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simplePod("p", "app"), RunForever{}, WritesLean)
	w.answers.refuse = "OutOfcpu"
	w.run(time.Minute)
	w.wrote("0s Failed(OutOfcpu)")
}

func TestEphemeralContainerStartsLateAndNeverRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simplePod("p", "app"), programs{"debug": {exits(5*time.Second, 1)}}, WritesObservable).run(time.Minute)
	pod := *w.pod
	pod.Spec.EphemeralContainers = []v1.EphemeralContainer{{EphemeralContainerCommon: v1.EphemeralContainerCommon{Name: "debug", Image: "tools:1"}}}
	pod.Generation++
	w.pod = &pod
	w.run(5 * time.Minute)
	last := w.writes[len(w.writes)-1]
	if last != "1m5.8s Running Ready app=running debug=Error:1" {
		t.Errorf("writes %q", w.writes)
	}
}

func TestLeanPodThatWaitsForItsImageWritesNothingMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simplePod("p", "app"), RunForever{}, WritesLean)
	arrives := w.start.Add(30 * time.Second)
	w.answers.image = func(_ string, now time.Time) ImageAnswer {
		return ImageAnswer{Present: !now.Before(arrives), Pulling: now.Before(arrives)}
	}
	w.run(30 * time.Second)
	w.run(time.Minute)
	w.wrote("30.8s Running Ready app=running")
}

func TestARuleRestartsAllContainersFromTheFirstInitContainer(t *testing.T) {
	t.Parallel()
	pod := policy(withInit(simplePod("p", "app", "peer"), "one"), v1.RestartPolicyNever)
	never := v1.ContainerRestartPolicyNever
	pod.Spec.Containers[0].RestartPolicy = &never
	pod.Spec.Containers[0].RestartPolicyRules = []v1.ContainerRestartRule{{Action: v1.ContainerRestartRuleActionRestartAllContainers,
		ExitCodes: &v1.ContainerRestartRuleOnExitCodes{Operator: v1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}}}}
	w := newWorld(t, pod, programs{"app": {exits(10*time.Second, 42), {}}, "peer": {{}}, "one": {exits(time.Second, 0)}}, WritesLean).run(time.Minute)
	w.wrote("4.6s Running Ready one=Completed:0 app=running peer=running",
		"13.8s Running one=Completed:0 app=Error:42 peer=RestartingAllContainers:137",
		"14.6s Pending one=running/1 app=Error:42 peer=RestartingAllContainers:137",
		"16.4s Running Ready one=Completed:0/1 app=running/1 peer=running/1")
	if c := findCondition(w.pod.Status.Conditions, v1.AllContainersRestarting); c == nil || c.Status != v1.ConditionFalse {
		t.Errorf("condition %+v", c)
	}
}
