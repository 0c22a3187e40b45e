package rolloutview

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/rollouts"
)

var update = flag.Bool("update", false, "write the texts that views give now into testdata")

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// read the objects of a file.
func read(t *testing.T, file string) (*rollouts.Rollout, Around) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var ro *rollouts.Rollout
	var a Around
	for documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(b))); ; {
		doc, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return ro, a
		}
		var of metav1.TypeMeta
		if err == nil {
			err = yaml.Unmarshal(doc, &of)
		}
		if err == nil {
			switch of.Kind {
			case "Rollout":
				ro = &rollouts.Rollout{}
				err = yaml.UnmarshalStrict(doc, ro)
			case "ReplicaSet":
				a.ReplicaSets = append(a.ReplicaSets, appsv1.ReplicaSet{})
				err = yaml.UnmarshalStrict(doc, &a.ReplicaSets[len(a.ReplicaSets)-1])
			case "Pod":
				a.Pods = append(a.Pods, corev1.Pod{})
				err = yaml.UnmarshalStrict(doc, &a.Pods[len(a.Pods)-1])
			case "Experiment":
				a.Experiments = append(a.Experiments, argo.Experiment{})
				err = yaml.UnmarshalStrict(doc, &a.Experiments[len(a.Experiments)-1])
			case "AnalysisRun":
				a.Runs = append(a.Runs, argo.AnalysisRun{})
				err = yaml.UnmarshalStrict(doc, &a.Runs[len(a.Runs)-1])
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s has\n%s\nthe view is\n%s", file, want, got)
	}
}

func TestRolloutsLookAsInTheirGoldenFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			ro, around := read(t, file)
			name := strings.TrimSuffix(file, ".yaml")
			golden(t, name+".txt", Of(ro, around).Text(noon, false))
			if len(around.Experiments) > 0 {
				golden(t, name+"-experiment.txt", OfExperiment(&around.Experiments[0], around).Text(noon, false))
			}
		})
	}
}

func TestColoursChangeNothingButColour(t *testing.T) {
	t.Parallel()
	ro, around := read(t, "testdata/canary.yaml")
	v := Of(ro, around)
	plainText, coloured := v.Text(noon, false), v.Text(noon, true)
	stripped := coloured
	for {
		before, rest, found := strings.Cut(stripped, escape)
		if !found {
			break
		}
		_, after, _ := strings.Cut(rest, "m")
		stripped = before + after
	}
	if stripped != plainText {
		t.Errorf("without its colours the text is\n%s\nwant\n%s", stripped, plainText)
	}
	for what, want := range map[string]string{"the tag of the stable version": "\x1b[32mstable\x1b[0m", "the canary's": "\x1b[33mcanary\x1b[0m",
		"a run that goes on": "\x1b[94mweb-c3-3-1-check\x1b[0m", "a warning": "\x1b[31m⚠\x1b[0m"} {
		if !strings.Contains(coloured, want) {
			t.Errorf("%s is not coloured as %q", what, want)
		}
	}
}

func TestTheOrderOfWhatIsReadDoesNotMatter(t *testing.T) {
	t.Parallel()
	ro, around := read(t, "testdata/canary.yaml")
	want := Of(ro, around).Text(noon, false)
	rapid.Check(t, func(t *rapid.T) {
		mixed := Around{
			ReplicaSets: rapid.Permutation(around.ReplicaSets).Draw(t, "sets"),
			Pods:        rapid.Permutation(around.Pods).Draw(t, "pods"),
			Runs:        rapid.Permutation(around.Runs).Draw(t, "runs"),
			Experiments: rapid.Permutation(around.Experiments).Draw(t, "experiments"),
		}
		if got := Of(ro, mixed).Text(noon, false); got != want {
			t.Fatalf("another order gives\n%s\nwant\n%s", got, want)
		}
	})
}

func TestPodsSayWhatKubectlSaysOfThem(t *testing.T) {
	t.Parallel()
	always := corev1.ContainerRestartPolicyAlways
	yes := true
	ended := func(reason string, code, signal int32) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: reason, ExitCode: code, Signal: signal}}
	}
	waiting := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	one := []corev1.Container{{Name: "a"}}
	status := func(phase corev1.PodPhase, states ...corev1.ContainerState) corev1.PodStatus {
		st := corev1.PodStatus{Phase: phase}
		for _, s := range states {
			st.ContainerStatuses = append(st.ContainerStatuses, corev1.ContainerStatus{State: s, Ready: s.Running != nil, RestartCount: 1})
		}
		return st
	}
	for want, p := range map[string]*corev1.Pod{
		"Pending 0/1 0 ◌":          {Spec: corev1.PodSpec{Containers: one}, Status: status(corev1.PodPending)},
		"Evicted 0/1 0  ":          {Spec: corev1.PodSpec{Containers: one}, Status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}},
		"Running 1/1 1 ✔":          {Spec: corev1.PodSpec{Containers: one}, Status: status(corev1.PodRunning, running)},
		"Running 1/2 2 ✔":          {Spec: corev1.PodSpec{Containers: append(one, one...)}, Status: status(corev1.PodRunning, running, ended("Completed", 0, 0))},
		"Completed 0/1 1 ✔":        {Spec: corev1.PodSpec{Containers: one}, Status: status(corev1.PodSucceeded, ended("Completed", 0, 0))},
		"Error 0/1 1 ⚠":            {Spec: corev1.PodSpec{Containers: one}, Status: status(corev1.PodRunning, ended("Error", 1, 0))},
		"Signal:9 0/1 1 ✖":         {Spec: corev1.PodSpec{Containers: one}, Status: status(corev1.PodRunning, ended("", 137, 9))},
		"ExitCode:3 0/1 1 ✖":       {Spec: corev1.PodSpec{Containers: one}, Status: status(corev1.PodRunning, ended("", 3, 0))},
		"ErrImagePull 0/1 1 ⚠":     {Spec: corev1.PodSpec{Containers: one}, Status: status(corev1.PodPending, waiting("ErrImagePull"))},
		"ImagePullBackOff 0/1 1 ⚠": {Spec: corev1.PodSpec{Containers: one}, Status: status(corev1.PodPending, waiting("ImagePullBackOff"))},
		"Terminating 1/1 1 ◌": {ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{Time: noon}}, Spec: corev1.PodSpec{Containers: one},
			Status: status(corev1.PodRunning, running)},
		"Unknown 0/1 0 ?": {ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{Time: noon}}, Spec: corev1.PodSpec{Containers: one},
			Status: corev1.PodStatus{Reason: "NodeLost"}},
		"Init:0/2 0/1 0 ◌": {Spec: corev1.PodSpec{Containers: one, InitContainers: append(one, one...)},
			Status: corev1.PodStatus{Phase: corev1.PodPending, InitContainerStatuses: []corev1.ContainerStatus{{State: running}}}},
		"Init:CrashLoopBackOff 0/1 3 ◌": {Spec: corev1.PodSpec{Containers: one, InitContainers: one},
			Status: corev1.PodStatus{Phase: corev1.PodPending, InitContainerStatuses: []corev1.ContainerStatus{{RestartCount: 3, State: waiting("CrashLoopBackOff")}}}},
		"Init:Error 0/1 0 ◌": {Spec: corev1.PodSpec{Containers: one, InitContainers: one},
			Status: corev1.PodStatus{Phase: corev1.PodPending, InitContainerStatuses: []corev1.ContainerStatus{{State: ended("Error", 1, 0)}}}},
		"Running 1/1 0 ✔": {Spec: corev1.PodSpec{Containers: one, InitContainers: []corev1.Container{{Name: "side", RestartPolicy: &always}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, InitContainerStatuses: []corev1.ContainerStatus{{Name: "side", Started: &yes, Ready: true, State: running}},
				ContainerStatuses: []corev1.ContainerStatus{{Ready: true, State: running}}}},
	} {
		v := pod(p)
		if got := fmt.Sprintf("%s %s %d %s", v.Status, v.Ready, v.Restarts, podGlyph(v.Status)); got != want {
			t.Errorf("a pod is %q, want %q", got, want)
		}
	}
}

func TestListsKeepTheirColumnsWhenRowsCome(t *testing.T) {
	t.Parallel()
	ro, _ := read(t, "testdata/canary.yaml")
	green, _ := read(t, "testdata/bluegreen.yaml")
	green.Name, green.Namespace = "a-longer-name", "elsewhere"
	l := List{Namespaces: true}
	got := l.Rollouts([]rollouts.Rollout{*ro}, noon, true) + l.Rollouts([]rollouts.Rollout{*green}, noon, false) + l.Rollouts([]rollouts.Rollout{*ro}, noon, false)
	want := `NAMESPACE  NAME        STRATEGY   STATUS        STEP  SET-WEIGHT  READY  DESIRED  UP-TO-DATE  AVAILABLE
shop       web         Canary     Progressing   1/3   25          4/5    4        1           4
elsewhere  a-longer-name  BlueGreen  Paused        -     -           1/2    1        1           1
shop       web            Canary     Progressing   1/3   25          4/5    4        1           4
`
	if got != want {
		t.Errorf("the list is\n%s\nwant\n%s", got, want)
	}
	times := List{Times: true}
	if got := times.Rollouts([]rollouts.Rollout{*ro}, noon, false); !strings.HasPrefix(got, "2026-01-01T12:00:00Z  web ") {
		t.Errorf("with times a row is %q", got)
	}
}

func TestExperimentsAreListedWithTheTimeTheyHaveLeft(t *testing.T) {
	t.Parallel()
	at := metav1.NewTime(noon.Add(-time.Minute))
	e := argo.Experiment{ObjectMeta: metav1.ObjectMeta{Name: "e", CreationTimestamp: at}, Spec: argo.ExperimentSpec{Duration: "5m"},
		Status: argo.ExperimentStatus{Phase: argo.AnalysisPhaseRunning, AvailableAt: &at}}
	over := *e.DeepCopy()
	over.Status.Phase = argo.AnalysisPhaseSuccessful
	endless := *e.DeepCopy()
	endless.Spec.Duration = ""
	l := List{}
	want := `NAME        STATUS   DURATION  REMAINING  AGE
e           Running  5m        4m         60s
e           Successful  5m        -          60s
e           Running     -         -          60s
`
	got := l.Experiments([]argo.Experiment{e}, noon, true) + l.Experiments([]argo.Experiment{over, endless}, noon, false)
	if got != want {
		t.Errorf("the list is\n%s\nwant\n%s", got, want)
	}
}
