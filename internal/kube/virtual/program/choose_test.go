package program

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
)

// ask makes a question about one container of an always restarted pod.
func ask(image string, argv []string, change ...func(*corev1.Pod)) Question {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", Annotations: map[string]string{}},
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways,
			Containers: []corev1.Container{{Name: "app", Image: image, Command: argv}}}}
	for _, c := range change {
		c(p)
	}
	return Question{Pod: p, Container: &p.Spec.Containers[0], Identity: "shop/web#0", Seed: 1}
}

func args(a ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Args = a }
}

func note(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations[key] = value }
}

func job(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }

func up() *Rules { return &Rules{Defaults: DefaultsUp()} }

// told is a choice in short form.
func told(c Choice) string {
	out := "forever"
	switch {
	case c.StartError != "":
		return "start error: " + c.StartError[strings.LastIndex(c.StartError, "exec: ")+6:]
	case c.Ends:
		out = fmt.Sprintf("%d after %v", c.ExitCode, c.RunsFor)
	}
	if c.Listens || len(c.Ports) > 0 {
		out += fmt.Sprintf(", listens%v", c.Ports)
	}
	if c.Unmodelled != "" {
		out += ", guessed"
	}
	return out
}

func TestImagesAndCommandsSayWhatContainersDo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		q    Question
		want string
	}{
		{"pause", ask("registry.k8s.io/pause:3.10", nil), "forever"},
		{"a server", ask("nginx:1.27", nil), "forever, listens[80]"},
		{"a server from another registry", ask("public.ecr.aws/docker/library/redis:7", nil), "forever, listens[6379]"},
		{"a server's own command", ask("nginx", []string{"nginx", "-g", "daemon off;"}), "forever, listens[80]"},
		{"another command in a server's image", ask("nginx", []string{"sleep", "60"}), "0 after 1m0s"},
		{"a shell without input ends", ask("busybox", nil), "0 after 0s"},
		{"a shell with input waits", ask("busybox", nil, func(p *corev1.Pod) { p.Spec.Containers[0].Stdin = true }), "forever"},
		{"args alone on a shell image", ask("busybox:1.36", nil, args("sleep", "5")), "0 after 5s"},
		{"a variable in args", ask("busybox", []string{"sleep"}, args("$(TIME)"), func(p *corev1.Pod) {
			p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "TIME", Value: "7"}}
		}), "0 after 7s"},
		{"a command that is not there", ask("busybox", []string{"nosuch"}), `start error: "nosuch": executable file not found in $PATH: unknown`},
		{"a path that is not there", ask("alpine", []string{"/opt/run"}), `start error: "/opt/run": stat /opt/run: no such file or directory: unknown`},
		{"a path in a volume", ask("alpine", []string{"/opt/run"}, func(p *corev1.Pod) {
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/opt"}}
		}), "forever, listens[], guessed"},
		{"a path of a name that stands for nothing", ask("nginx:1.19-alpine", []string{"/bad-command"}), `start error: "/bad-command": stat /bad-command: no such file or directory: unknown`},
		{"a shell keyword", ask("example.com/app", []string{"exit", "1"}), `start error: "exit": executable file not found in $PATH: unknown`},
		{"an unknown image", ask("example.com/app:v1", nil), "forever, listens[], guessed"},
		{"an unknown image's command", ask("example.com/app:v1", []string{"/server"}), "forever, listens[], guessed"},
		{"an unknown job", ask("example.com/app:v1", nil, job), "0 after 1s, guessed"},
		{"a job's shell without sleep", ask("example.com/app:v1", []string{"sh", "-c", "migrate --all"}, job), "0 after 0s, guessed"},
		{"a job's shell with a sleep", ask("example.com/app:v1", []string{"sh", "-c", "run | tee x; sleep 5"}, job), "0 after 1s, guessed"},
		{"perl's digits", ask("perl:5.34.0", []string{"perl", "-Mbignum=bpi", "-wle", "print bpi(2000)"}, job), "0 after 5s"},
		{"stress", ask("polinux/stress", []string{"stress"}, args("--vm", "1", "--vm-bytes", "250M", "--timeout", "60")), "0 after 1m0s"},
		{"agnhost by itself", ask("registry.k8s.io/e2e-test-images/agnhost:2.53", nil), "forever"},
		{"agnhost's server", ask("registry.k8s.io/e2e-test-images/agnhost:2.53", nil, args("netexec", "--http-port=8083")), "forever, listens[8083]"},
		{"agnhost's tester", ask("registry.k8s.io/e2e-test-images/agnhost:2.53", nil, args("entrypoint-tester", "x")), "0 after 0s"},
		{"agnhost's copy under another name", ask("registry.k8s.io/e2e-test-images/agnhost:2.53", []string{"/agnhost-2", "entrypoint-tester"}), "0 after 0s"},
		{"agnhost's unknown", ask("registry.k8s.io/e2e-test-images/agnhost:2.53", nil, args("netexek")), "forever, guessed"},
		{"exit by annotation", ask("nginx", nil, note(v1alpha1.SimExit, "1@30s")), "1 after 30s, listens[80]"},
		{"exit code of a command", ask("busybox", []string{"sleep", "9"}, note(v1alpha1.SimExit, "137")), "137 after 9s"},
		{"duration and exit", ask("nginx", nil, note(v1alpha1.SimExit, "3"), note(v1alpha1.SimDuration, "90s")), "3 after 1m30s, listens[80]"},
		{"crash", ask("nginx", nil, note(v1alpha1.SimCrash, "every=10m")), "1 after 10m0s, listens[80]"},
		{"an annotation for another container", ask("nginx", nil, note(v1alpha1.SimExit+".side", "1"), func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "side"}}
		}), "forever, listens[80]"},
	} {
		if got := told(Choose(c.q, up())); got != c.want {
			t.Errorf("%s: %s; want %s", c.name, got, c.want)
		}
	}
}

func TestEveryGuessIsVisibleAndFailsWhenAsked(t *testing.T) {
	t.Parallel()
	rules := up()
	rules.FailUnmodelled = true
	if got := Choose(ask("example.com/app", nil), rules); !got.Ends || got.ExitCode != 127 || !strings.Contains(got.Message, "--unmodelled") {
		t.Errorf("%+v; want a failure that names the flag", got)
	}
	var events []string
	book := NewBook(up())
	book.Report = func(p *corev1.Pod, eventType, reason, message string) { events = append(events, reason+": "+message) }
	q := ask("example.com/app", nil, note(v1alpha1.SimPrefix+"exitt", "1"), note(v1alpha1.SimStop, "soon"), note(v1alpha1.SimCPU+".no", "1"))
	for range 3 {
		model := book.Choose(virtual.Choice{Pod: q.Pod, Container: q.Container, Identity: q.Identity})
		if model.Exits || model.Why == "" {
			t.Errorf("model %+v", model)
		}
	}
	if len(events) != 4 {
		t.Fatalf("events %q; want one guess and three problems, once", events)
	}
	for i, want := range []string{"Unmodelled: container app", "did you mean fairway.dev/sim-exit?", "app", `"soon" is not understood; write "5s", "5s,refuse", or "ignore"`} {
		if !strings.Contains(strings.Join(events, "\n"), want) {
			t.Errorf("event %d: nothing says %q in %q", i, want, events)
		}
	}
}

func TestAnnotationsSetStartStopUseAndHealth(t *testing.T) {
	t.Parallel()
	c := Choose(ask("nginx", nil,
		note(v1alpha1.SimStartup, "3s"), note(v1alpha1.SimLatency, "p50=20ms,p99=200ms"), note(v1alpha1.SimErrors, "1%"),
		note(v1alpha1.SimCapacity, "50rps"), note(v1alpha1.SimMemory, "base=200Mi,perRequest=100Ki,leak=10Mi/h"),
		note(v1alpha1.SimStop, "ignore"), note(v1alpha1.SimPull, "20s"), note(v1alpha1.SimReady, "false@10m"),
		note(v1alpha1.SimResize, "delay=5s"), note("kwok.x-k8s.io/usage-cpu", "100m")), up())
	if len(c.Problems) > 0 {
		t.Fatal(c.Problems)
	}
	if c.Ready != 3*time.Second || !c.IgnoreTerm || c.Pull.Takes != 20*time.Second || c.UnhealthyAfter != 10*time.Minute || c.Resize.Delay != 5*time.Second {
		t.Errorf("%+v", c)
	}
	if c.Usage.CPUMilli != 100 || c.Usage.MemoryBytes != 200<<20 || c.Usage.LeakBytesPerHour < 10<<20-1 || c.Usage.LeakBytesPerHour > 10<<20+1 {
		t.Errorf("use %+v", c.Usage)
	}
	if m := c.Model; m.CPU.Duration != 20*time.Millisecond || *m.Errors != 0.01 || m.Latency.P99.Duration != 200*time.Millisecond {
		t.Errorf("model %+v", m)
	}
	if c := Choose(ask("nginx", nil, note(v1alpha1.SimCPU, "250m")), up()); c.Usage.CPUMilli != 250 || c.Model != nil {
		t.Errorf("250m is a constant use: %+v", c.Usage)
	}
	if c := Choose(ask("nginx", nil, note(v1alpha1.SimCPU, "6ms")), up()); c.Usage.CPUMilli != 0 || c.Model.CPU.Duration != 6*time.Millisecond {
		t.Errorf("6ms is a cost a request: %+v", c)
	}
	if c := Choose(ask("nginx", nil, note(v1alpha1.SimReady, "false")), up()); c.Ready < 24*365*time.Hour {
		t.Errorf("ready after %v; want never", c.Ready)
	}
}

func TestPrecedenceIsFaultAnnotationServiceProgramTable(t *testing.T) {
	t.Parallel()
	ready := func(d time.Duration) *v1alpha1.ServiceModel {
		q := v1alpha1.Constant(d)
		return &v1alpha1.ServiceModel{Ready: &q}
	}
	table := up()
	program, bad := table.With([]*v1alpha1.Program{
		{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Spec: v1alpha1.ProgramSpec{Model: ready(2 * time.Second)}},
		{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v1alpha1.ProgramSpec{Model: ready(time.Second)}},
		{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: v1alpha1.ProgramSpec{Priority: 5, Model: ready(9 * time.Second),
			Match: v1alpha1.ProgramMatch{Namespaces: []string{"other"}}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: v1alpha1.ProgramSpec{Priority: 9, Model: ready(9 * time.Second),
			Match: v1alpha1.ProgramMatch{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}}}},
	})
	if bad != nil {
		t.Fatal(bad)
	}
	service := *program
	service.Service = func(*Question) *v1alpha1.ServiceModel { return ready(3 * time.Second) }
	fault := service
	fault.Faults = func(*Question) map[string]string { return map[string]string{v1alpha1.SimStartup: "5s"} }
	annotated := note(v1alpha1.SimStartup, "4s")
	for i, c := range []struct {
		rules *Rules
		q     Question
		want  time.Duration
	}{
		{table, ask("nginx", nil), 0},
		{program, ask("nginx", nil), time.Second},
		{&service, ask("nginx", nil), 3 * time.Second},
		{&service, ask("nginx", nil, annotated), 4 * time.Second},
		{&fault, ask("nginx", nil, annotated), 5 * time.Second},
	} {
		if got := Choose(c.q, c.rules); got.Ready != c.want || !strings.Contains(got.Why, "image table: http") {
			t.Errorf("case %d: ready after %v by %q; want %v", i, got.Ready, got.Why, c.want)
		}
	}
	flagged := *program
	if err := flagged.AddFlag("nginx=sleep", Source{}); err != nil {
		t.Fatal(err)
	}
	if again, _ := flagged.With(nil); told(Choose(ask("nginx", nil), again)) != "forever" {
		t.Error("a flag is lost when the Programs change")
	}
	if got := Choose(ask("nginx", nil), &flagged); got.Listens || got.Ready != 0 {
		t.Errorf("%+v; want the flag to come first", got)
	}
}

func TestAnAnnotationChoosesOnlyProgramsThatAllowIt(t *testing.T) {
	t.Parallel()
	seconds := v1alpha1.DurationOf(time.Minute)
	rules, _ := up().With([]*v1alpha1.Program{
		{ObjectMeta: metav1.ObjectMeta{Name: "open"}, Spec: v1alpha1.ProgramSpec{AllowAnnotation: true, Duration: &seconds,
			Match: v1alpha1.ProgramMatch{Images: []string{"none"}}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "closed"}, Spec: v1alpha1.ProgramSpec{Duration: &seconds, Match: v1alpha1.ProgramMatch{Images: []string{"none"}}}},
	})
	if got := Choose(ask("nginx", nil, note(v1alpha1.SimProgram, "open")), rules); !got.Ends || len(got.Problems) > 0 {
		t.Errorf("%+v", got)
	}
	if got := Choose(ask("nginx", nil, note(v1alpha1.SimProgram, "closed")), rules); got.Ends || len(got.Problems) != 1 {
		t.Errorf("%+v", got)
	}
}

// Outcomes come by weight, and the same instance always has the same one.
func TestOutcomesAreDrawnByWeightAndRepeat(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Int64().Draw(t, "seed")
		share := rapid.IntRange(10, 90).Draw(t, "percent")
		q := ask("nginx", nil, note(v1alpha1.SimExit, fmt.Sprintf("0:%d%%,1:%d%%", share, 100-share)))
		q.Seed = seed
		failed := 0
		const starts = 2000
		for q.Restart = range int32(starts) {
			got := Choose(q, up())
			if again := Choose(q, up()); again.ExitCode != got.ExitCode {
				t.Fatal("the same start ends in two ways")
			}
			failed += int(got.ExitCode)
		}
		if want := starts * (100 - share) / 100; failed < want-120 || failed > want+120 {
			t.Fatalf("%d of %d failed; want about %d", failed, starts, want)
		}
	})
}

func TestPidOneWithoutAHandlerIgnoresTermWhenSignalsAreReal(t *testing.T) {
	t.Parallel()
	rules := up()
	rules.RealSignals = true
	for _, c := range []struct {
		q      Question
		ignore bool
		code   int32
	}{
		{ask("busybox", []string{"sleep", "60"}), true, 0},
		{ask("busybox", []string{"sh", "-c", "trap 'exit 3' TERM; sleep infinity & wait"}), false, 3},
		{ask("nginx", nil), false, 0},
		{ask("pause", nil), false, 0},
	} {
		if got := Choose(c.q, rules); got.IgnoreTerm != c.ignore || got.TermCode != c.code {
			t.Errorf("%q: ignores %v, exits %d; want %v, %d", c.q.Container.Command, got.IgnoreTerm, got.TermCode, c.ignore, c.code)
		}
	}
	if Choose(ask("busybox", []string{"sleep", "60"}), up()).IgnoreTerm {
		t.Error("with quick signals sleep ends at once")
	}
}

func TestPiHasTheDigitsOfPi(t *testing.T) {
	t.Parallel()
	if got, want := pi(50), "3.1415926535897932384626433832795028841971693993751"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
	if got := pi(2000); len(got) != 2001 || !strings.HasPrefix(got, pi(1999)[:1990]) {
		t.Errorf("%d characters; want 2000 digits and a point", len(got))
	}
}

func BenchmarkChoose(b *testing.B) {
	rules := up()
	for name, q := range map[string]Question{"unknown": ask("example.com/team/app:v1", []string{"/server"}), "nginx": ask("nginx:1.27", nil),
		"script": ask("busybox", []string{"sh", "-c", "echo a; sleep 5; exit 1"})} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Choose(q, rules)
			}
		})
	}
}
