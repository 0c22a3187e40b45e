package program

import (
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestProgramFlagsRefuseWhatTheyDoNotKnow(t *testing.T) {
	t.Parallel()
	for flag, want := range map[string]string{
		"nginx":                "write GLOB=WHAT",
		"=sleep":               "write GLOB=WHAT",
		"nginx=slep":           `did you mean "sleep"?`,
		"nginx=builtin:htpp":   `did you mean "http"?`,
		"nginx=local:0":        "1 to 65535",
		"nginx=local:http":     "1 to 65535",
		"nginx=exec:./run":     "use local:PORT",
		"nginx=":               "Write one of",
		"*/app=local:8080":     "",
		"app:v?=builtin:redis": "",
	} {
		err := up().AddFlag(flag, Source{})
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", flag, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), flag)):
			t.Errorf("%s: %v; want it to name the flag and say %q", flag, err, want)
		}
	}
	if err := up().AddFlag("a=local:80", Source{Rehearsal: true}); err == nil || !strings.Contains(err.Error(), "rehearsal") {
		t.Errorf("local: in a rehearsal: %v", err)
	}
}

const goodFile = `# two programs
apiVersion: fairway.dev/v1alpha1
kind: Program
metadata: {name: api}
spec:
  match: {images: ["*/api"]}
  run: local:8080
---
apiVersion: fairway.dev/v1alpha1
kind: Program
metadata: {name: worker}
spec:
  priority: 3
  match: {command: ["work *"]}
  model: {ready: {p50: 2s}, stop: 5s, memory: 300Mi, calls: [db*2, [a, b]]}
  outcomes: [{weight: 9, after: 1m}, {exitCode: 1, message: out of luck}]
  onTerm: ignore
---
`

func TestProgramFilesAreReadWhole(t *testing.T) {
	t.Parallel()
	got, err := ReadPrograms("p.yaml", []byte(goodFile), Source{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[1].Name != "worker" || got[1].Spec.Model.Stop.Duration != 5*time.Second || !got[1].Spec.OnTerm.Ignore {
		t.Fatalf("%+v", got)
	}
	rules, _ := up().With(got)
	c := Choose(ask("example.com/api:v1", nil), rules)
	if c.Local != 8080 {
		t.Errorf("%+v", c)
	}
	book := NewBook(rules)
	p := ask("example.com/api:v1", nil).Pod
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	if s := book.Port(p, 9999, corev1.ProtocolTCP); s.Local != 8080 {
		t.Errorf("a local: program serves every port of its pod: %+v", s)
	}
	if c := Choose(ask("x", []string{"work", "hard"}), rules); !c.Ends || !c.IgnoreTerm || c.Usage.MemoryBytes != 300<<20 || c.Unmodelled != "" {
		t.Errorf("%+v", c)
	}
}

func TestProgramFilesNameFileLineAndNearestField(t *testing.T) {
	t.Parallel()
	const head = "apiVersion: fairway.dev/v1alpha1\nkind: Program\nmetadata: {name: x}\n"
	for text, want := range map[string]string{
		head + "spec:\n  runn: sleep\n":                                     `p.yaml:5: field "runn" is not known here; did you mean "run"?`,
		head + "spec:\n  run: slep\n":                                       `p.yaml:5: the Program "x": spec.run: "slep" is not known; did you mean "sleep"?`,
		head + "spec:\n  duration: 5\n":                                     "p.yaml:5:",
		head + "spec:\n  model:\n    stop: 5s\n    memory: lots\n":          "p.yaml:7:",
		head + "spec:\n  model:\n    routes:\n      a: {cpus: 1ms}\n":       `p.yaml:7: field "cpus" is not known here; did you mean "cpu"?`,
		head + "spec:\n  exitCode: 256\n":                                   "p.yaml:5: the Program \"x\": spec.exitCode is 256",
		head + "spec: {}\n---\n" + head + "spec: {}\n":                      "p.yaml:6: Program \"x\" is there twice",
		"apiVersion: v1\nkind: Pod\n":                                       "p.yaml:1: apiVersion \"v1\", kind \"Pod\"",
		"a: [\n":                                                            "p.yaml: not valid YAML",
		head + "spec:\n  match: {podSelector: {matchLabels: {\"!\": x}}}\n": "p.yaml:5: the Program \"x\": spec.match.podSelector",
		"- 1\n": "p.yaml:1: not an object",
	} {
		if _, err := ReadPrograms("p.yaml", []byte(text), Source{}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s…", text, err, want)
		}
	}
}

func FuzzReadProgramsNeverPanics(f *testing.F) {
	f.Add(goodFile)
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ReadPrograms("p.yaml", []byte(text), Source{})
		if err != nil && !strings.HasPrefix(err.Error(), "p.yaml:") {
			t.Fatalf("%v; want it to name the file", err)
		}
		if err == nil {
			rules, _ := up().With(got)
			Choose(ask("nginx", nil), rules)
		}
	})
}

func TestOnlyServersListen(t *testing.T) {
	t.Parallel()
	serve := func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	}
	book := NewBook(up())
	book.Serve = (&nothing{}).serve
	for _, c := range []struct {
		q    Question
		port uint16
		want bool
	}{
		{ask("nginx", nil, serve), 8080, true},
		{ask("nginx", nil, serve), 80, true},
		{ask("nginx", nil, serve), 81, false},
		{ask("example.com/app", nil, serve), 8080, true},
		{ask("busybox", []string{"sleep", "60"}, serve), 8080, false},
		{ask("nginx", nil), 80, false},
	} {
		got := book.Port(c.q.Pod, c.port, corev1.ProtocolTCP)
		if (got.Serve != nil) != c.want || got.Lost {
			t.Errorf("%s port %d listens: %v; want %v", c.q.Container.Image, c.port, got.Serve != nil, c.want)
		}
	}
	ended := ask("nginx", nil, serve).Pod
	ended.Status.Phase = corev1.PodFailed
	if !book.Port(ended, 80, corev1.ProtocolTCP).Lost {
		t.Error("a pod that has ended can be reached")
	}
}

type nothing struct{}

func (*nothing) serve(c net.Conn) { c.Close() }
