package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/config/crd"
	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

// cluster is the package's, with the kinds of Rollouts and without a controller of theirs.
func cluster(t *testing.T) *kubetest.Cluster {
	t.Helper()
	c := kubetest.Start(t, rollouts.AddToScheme, apiextensionsv1.AddToScheme)
	installed.Do(func() {
		for _, name := range []string{"rollouts", "analysistemplates", "clusteranalysistemplates", "analysisruns", "experiments"} {
			b, err := crd.Definition(name+"."+rollouts.GroupVersion.Group, true)
			if err != nil {
				t.Fatal(err)
			}
			def := &apiextensionsv1.CustomResourceDefinition{}
			if err := json.Unmarshal(b, def); err != nil {
				t.Fatal(err)
			}
			if err := c.Objects.Create(t.Context(), def); err != nil {
				t.Fatal(err)
			}
		}
	})
	for _, name := range []string{"rollouts", "analysistemplates", "clusteranalysistemplates", "analysisruns", "experiments"} {
		def := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: name + "." + rollouts.GroupVersion.Group}}
		kubetest.Eventually(t, c, def, func(d *apiextensionsv1.CustomResourceDefinition) string {
			for _, cond := range d.Status.Conditions {
				if cond.Type == apiextensionsv1.Established && cond.Status == apiextensionsv1.ConditionTrue {
					return ""
				}
			}
			return "it is not established"
		})
	}
	return c
}

var installed sync.Once

// session is a namespace with a Rollout in it, and a command line.
type session struct {
	*kubetest.Cluster
	t          *testing.T
	namespace  string
	kubeconfig string
}

func newSession(t *testing.T) *session {
	t.Helper()
	c := cluster(t)
	s := &session{c, t, c.Namespace(t), filepath.Join(t.TempDir(), "kubeconfig")}
	var b []byte
	if c.Real {
		b = read(t, os.Getenv(kubetest.KubeconfigVariable))
	} else {
		b = c.Plane.Kubeconfig()
	}
	cfg, err := clientcmd.Load(b)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Contexts[cfg.CurrentContext].Namespace = s.namespace
	if err := clientcmd.WriteToFile(*cfg, s.kubeconfig); err != nil {
		t.Fatal(err)
	}
	return s
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run a command line; what it printed to both streams is returned together with the exit code.
func (s *session) run(args ...string) (string, int) {
	s.t.Helper()
	return s.runAs(Run, args...)
}

func (s *session) runAs(run func(context.Context, []string, Streams) int, args ...string) (string, int) {
	s.t.Helper()
	var out bytes.Buffer
	code := run(s.t.Context(), append(args, "--kubeconfig", s.kubeconfig), Streams{In: strings.NewReader(""), Out: &out, Err: &out})
	return out.String(), code
}

// says runs a command line and checks its exit code and that what it prints has a text in it.
func (s *session) says(code int, text string, args ...string) string {
	s.t.Helper()
	out, got := s.run(args...)
	if got != code || !strings.Contains(out, text) {
		s.t.Errorf("%v: exit code %d, want %d, prints\n%s\nwant %q", args, got, code, out, text)
	}
	return out
}

func (s *session) create(text string) {
	s.t.Helper()
	for doc := range strings.SplitSeq(text, "\n---\n") {
		var of metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &of); err != nil {
			s.t.Fatal(err)
		}
		obj, err := s.Scheme.New(of.GroupVersionKind())
		if err == nil {
			err = yaml.UnmarshalStrict([]byte(doc), obj)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		o := obj.(client.Object)
		o.SetNamespace(s.namespace)
		if err := s.Objects.Create(s.t.Context(), o); err != nil {
			s.t.Fatal(err)
		}
	}
}

const rolloutYAML = `apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app, image: "web:2"}]}}
  strategy: {canary: {steps: [{setWeight: 20}, {pause: {}}]}}`

// paused is a Rollout that a controller left at its pause, with the ReplicaSets of both revisions.
func (s *session) paused() *rollouts.Rollout {
	s.t.Helper()
	s.create(rolloutYAML)
	ro := s.rollout()
	ro.Status.RolloutStatus = argo.RolloutStatus{ObservedGeneration: "1", Phase: argo.RolloutPhasePaused, Message: "CanaryPauseStep", StableRS: "s1", CurrentPodHash: "c2",
		CurrentStepIndex: new(int32), ControllerPause: true, Replicas: 3, UpdatedReplicas: 1, ReadyReplicas: 3, AvailableReplicas: 3,
		PauseConditions: []argo.PauseCondition{{Reason: argo.PauseReasonCanaryPauseStep, StartTime: metav1.Now()}}}
	*ro.Status.CurrentStepIndex = 1
	ro.Status.CurrentStepHash = rollout.StepsHash(ro.Spec.Strategy.Canary.Steps)
	if err := s.Objects.Status().Update(s.t.Context(), ro); err != nil {
		s.t.Fatal(err)
	}
	yes := true
	for hash, image := range map[string]string{"s1": "web:1", "c2": "web:2"} {
		labels := map[string]string{"app": "web", "rollouts-pod-template-hash": hash}
		rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "web-" + hash, Labels: labels,
			Annotations:     map[string]string{"rollout.argoproj.io/revision": hash[1:]},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout", Name: "web", UID: ro.UID, Controller: &yes}}},
			Spec: appsv1.ReplicaSetSpec{Replicas: new(int32), Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image}}}}}}
		if err := s.Objects.Create(s.t.Context(), rs); err != nil {
			s.t.Fatal(err)
		}
	}
	return ro
}

func (s *session) rollout() *rollouts.Rollout {
	s.t.Helper()
	ro := &rollouts.Rollout{}
	if err := s.Objects.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "web"}, ro); err != nil {
		s.t.Fatal(err)
	}
	return ro
}

func TestVerbsChangeARolloutAsTheirNamesSay(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.paused()
	s.says(0, "rollout 'web' promoted\n", "rollouts", "promote", "web")
	if st := s.rollout().Status; len(st.PauseConditions) != 0 || !st.ControllerPause || *st.CurrentStepIndex != 1 {
		t.Errorf("after promote the status is %+v", st)
	}
	s.says(0, "rollout 'web' fully promoted\n", "promote", "rollout/web", "--full")
	if !s.rollout().Status.PromoteFull {
		t.Error("promote --full left no mark")
	}
	s.says(0, "rollout 'web' aborted\n", "abort", "ro/web")
	if !s.rollout().Status.Abort {
		t.Error("abort left no mark")
	}
	s.says(0, "rollout 'web' retried\n", "rollouts", "retry", "rollout", "web")
	if s.rollout().Status.Abort {
		t.Error("retry left the mark of abort")
	}
	s.says(0, "rollout 'web' paused\n", "rollouts", "pause", "web")
	if !s.rollout().Spec.Paused {
		t.Error("pause left no mark")
	}
	s.says(0, "rollout 'web' restarts in 5m0s\n", "restart", "web", "--in", "5m")
	if s.rollout().Spec.RestartAt == nil {
		t.Error("restart left no mark")
	}
	s.says(0, "rollout \"web\" image updated\n", "rollouts", "set", "image", "web", "app=web:3")
	s.says(1, `it has no container "nope"; it has app`, "rollouts", "set", "image", "web", "nope=web:3")
	s.says(0, "rollout 'web' undo\n", "rollouts", "undo", "web")
	if image := s.rollout().Spec.Template.Spec.Containers[0].Image; image != "web:1" {
		t.Errorf("undo put %s back", image)
	}
	s.says(0, "current template already matches revision 1", "undo", "rollout/web", "--to-revision", "1")
	s.says(1, "revision 7 is not in its history; known are [1 2]", "undo", "web", "--to-revision=7")
}

func TestARolloutIsShownListedAndWaitedFor(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.says(0, "No resources found.", "rollouts", "list", "rollouts")
	s.create(rolloutYAML)
	s.says(0, "web: no controller has looked at it yet", "why", "rollout/web")
	if err := s.Objects.Delete(t.Context(), s.rollout()); err != nil {
		t.Fatal(err)
	}
	s.paused()
	out := s.says(0, "Status:          ॥ Paused\nMessage:         CanaryPauseStep\nStrategy:        Canary\n  Step:          1/2\n", "rollouts", "get", "rollout", "web")
	if !strings.Contains(out, "└──# revision:1") || !strings.Contains(out, "⧉ web-s1") || strings.Contains(out, "\x1b") {
		t.Errorf("the tree is\n%s", out)
	}
	s.says(0, out[:40], "get", "rollout/web")
	s.says(0, "web         Canary     Paused        1/2   20          3/3    3        1           3\n", "rollouts", "list", "rollouts")
	s.says(0, "Paused - CanaryPauseStep\n", "rollouts", "status", "web", "--watch=false")
	s.says(1, "exceeded timeout of 1s; it is ", "status", "rollout/web", "--timeout", "1s")
	s.says(0, "step 2 of 2 is a pause", "why", "rollout/web")
	s.says(0, "Name:            web", "rollouts", "get", "rollout", "web", "-w", "--timeout-seconds", "1")
	ro := s.rollout()
	ro.Status.Phase, ro.Status.Message = argo.RolloutPhaseDegraded, "RolloutAborted: by hand"
	ro.Status.PauseConditions, ro.Status.ControllerPause = nil, false
	if err := s.Objects.Status().Update(t.Context(), ro); err != nil {
		t.Fatal(err)
	}
	s.says(1, "degraded state with message: RolloutAborted: by hand", "rollouts", "status", "web")
	s.says(1, "not found; `fairway rollouts list rollouts -A` shows", "rollouts", "get", "rollout", "nope")
	s.says(1, "not found; `fairway rollouts list rollouts -A` shows", "rollouts", "status", "nope")
}

func TestAnalysisRunsAreCreatedFromTemplatesAndEnded(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "templates.yaml")
	text := `apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: check}
spec:
  args: [{name: service}]
  metrics: [{name: up, provider: {web: {url: "http://{{args.service}}"}}}]
---
apiVersion: argoproj.io/v1alpha1
kind: Experiment
metadata: {name: try}
spec: {templates: [{name: a, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: a}]}}}]}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.says(0, "analysistemplate.argoproj.io/check created\nexperiment.argoproj.io/try created\n", "rollouts", "create", "-f", file)
	s.says(1, "args.service was not resolved", "rollouts", "create", "analysisrun", "--from", "check", "--name", "now")
	s.says(0, "analysisrun.argoproj.io/now created\n", "rollouts", "create", "analysisrun", "--from", "check", "--name", "now", "-a", "service=web", "--instance-id", "two")
	run := &argo.AnalysisRun{}
	if err := s.Objects.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "now"}, run); err != nil {
		t.Fatal(err)
	}
	if *run.Spec.Args[0].Value != "web" || len(run.Spec.Metrics) != 1 || run.Labels[instanceLabel] != "two" {
		t.Errorf("the run is %+v", run)
	}
	s.says(0, "analysisRun 'now' terminated\n", "rollouts", "terminate", "analysisrun", "now")
	if err := s.Objects.Get(t.Context(), client.ObjectKeyFromObject(run), run); err != nil || !run.Spec.Terminate {
		t.Errorf("the run is not to end: %v", err)
	}
	s.says(0, "now: no controller has looked at it yet", "why", "analysisrun/now")
	s.says(0, "experiment 'try' retried\n", "retry", "experiment/try")
	s.says(0, "experiment 'try' terminated\n", "terminate", "exp/try")
	s.says(0, "try ", "rollouts", "list", "experiments")
	s.says(0, "Σ try", "rollouts", "get", "experiment", "try")
	s.says(1, "not found; `kubectl get analysisruns -A` shows", "terminate", "ar/nope")
	s.says(2, "terminate: \"rollout/web\" is not analysisrun/NAME or experiment/NAME", "terminate", "rollout/web")
}

func TestThePluginAnswersUnderItsName(t *testing.T) {
	t.Parallel()
	if !IsPlugin("/usr/local/bin/kubectl-argo-rollouts") || IsPlugin("/usr/local/bin/fairway") {
		t.Error("the plugin is told by its name")
	}
	s := newSession(t)
	s.paused()
	if out, code := s.runAs(RunPlugin, "-n", s.namespace, "get", "rollout", "web", "--no-color", "--loglevel", "warn"); code != 0 || !strings.Contains(out, "॥ Paused") {
		t.Errorf("exit code %d, %s", code, out)
	}
	if out, code := s.runAs(RunPlugin, "get", "rollout", "nope"); code != 1 || !strings.HasPrefix(out, "Error: ") || !strings.Contains(out, "not found") {
		t.Errorf("exit code %d, %s", code, out)
	}
	if out, code := s.runAs(RunPlugin, "version", "--short"); code != 0 || !strings.HasPrefix(out, "kubectl-argo-rollouts: v1.10.1+fairway") {
		t.Errorf("exit code %d, %s", code, out)
	}
}

func TestWhatIsNotThereIsRefusedByName(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"there is no dashboard":               {"rollouts", "dashboard", "--port", "3100"},
		"sends no notifications":              {"rollouts", "notifications", "template", "get"},
		`unknown verb "promot"; did you mean`: {"rollouts", "promot"},
		"write the Rollout's name":            {"rollouts", "abort"},
		"is not rollout; write rollout/NAME":  {"abort", "deployment/web"},
		"is not CONTAINER=IMAGE":              {"rollouts", "set", "image", "web", "app"},
		"cannot be listed":                    {"rollouts", "list", "pods"},
	} {
		var out bytes.Buffer
		if code := Run(t.Context(), args, Streams{In: strings.NewReader(""), Out: &out, Err: &out}); code != ExitUsage || !strings.Contains(out.String(), want) {
			t.Errorf("%v: exit code %d, %s, want %q", args, code, out.String(), want)
		}
	}
}

func TestLintFindsWhatAdmissionWouldRefuse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	for file, text := range map[string]string{good: rolloutYAML, bad: strings.ReplaceAll(rolloutYAML, "setWeight: 20", "setWeight: 200")} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if code := Run(t.Context(), []string{"rollouts", "lint", "-f", good}, Streams{Out: &out, Err: &out}); code != 0 || out.Len() > 0 {
		t.Errorf("a good file: exit code %d, %s", code, out.String())
	}
	out.Reset()
	if code := Run(t.Context(), []string{"rollouts", "lint", "-f", good, "-f", bad}, Streams{Out: &out, Err: &out}); code != 1 || !strings.Contains(out.String(), "spec.strategy.canary.steps[0].setWeight") {
		t.Errorf("a bad file: exit code %d, %s", code, out.String())
	}
}
