package change

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/rollouts"
)

func parse[T any](t *testing.T, text string) *T {
	t.Helper()
	v := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVerbsSendThePatchesOfThePlugin(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 13, 0, 0, 5, time.FixedZone("here", 3600))
	for what, c := range map[string]struct {
		is   Patch
		want [3]string // status, spec, whole
	}{
		"pause":            {Pause(), [3]string{"", `{"spec":{"paused":true}}`}},
		"abort":            {Abort(), [3]string{`{"status":{"abort":true}}`, "", `{"status":{"abort":true}}`}},
		"retry":            {Retry(), [3]string{`{"status":{"abort":false}}`, "", `{"status":{"abort":false}}`}},
		"retry experiment": {RetryExperiment(), [3]string{"", `{"status":null}`}},
		"restart":          {Restart(at), [3]string{"", `{"spec":{"restartAt":"2026-01-01T12:00:00Z"}}`}},
		"terminate":        {Terminate(), [3]string{"", `{"spec":{"terminate":true}}`}},
	} {
		if got := [3]string{string(c.is.Status), string(c.is.Spec), string(c.is.Whole)}; got != c.want {
			t.Errorf("%s sends %q, want %q", what, got, c.want)
		}
	}
}

func TestPromoteSendsWhatTheStateOfTheRolloutAsksFor(t *testing.T) {
	t.Parallel()
	const steps = "canary: {steps: [{setWeight: 20}, {pause: {}}, {analysis: {}}]}"
	const whole = `{"spec":{"paused":false},"status":{"pauseConditions":null}}`
	for what, c := range map[string]struct {
		rollout string
		how     Promotion
		want    [3]string // status, spec, whole
		err     string
	}{
		"a pause": {"spec: {strategy: {" + steps + "}}\nstatus: {currentStepIndex: 1, controllerPause: true, pauseConditions: [{reason: CanaryPauseStep, startTime: null}]}",
			Promotion{}, [3]string{`{"status":{"pauseConditions":null}}`, "", whole}, ""},
		"a pause, and by hand too": {"spec: {paused: true, strategy: {" + steps + "}}\nstatus: {currentStepIndex: 1, pauseConditions: [{reason: CanaryPauseStep, startTime: null}]}",
			Promotion{}, [3]string{`{"status":{"pauseConditions":null}}`, `{"spec":{"paused":false}}`, whole}, ""},
		"an analysis that runs": {"spec: {strategy: {" + steps + "}}\nstatus: {currentStepIndex: 1}", Promotion{},
			[3]string{`{"status":{"currentStepIndex":2,"pauseConditions":null}}`, "", `{"spec":{"paused":false},"status":{"currentStepIndex":2,"pauseConditions":null}}`}, ""},
		"past the last step": {"spec: {strategy: {" + steps + "}}\nstatus: {currentStepIndex: 3}", Promotion{},
			[3]string{`{"status":{"currentStepIndex":3,"pauseConditions":null}}`, "", `{"spec":{"paused":false},"status":{"currentStepIndex":3,"pauseConditions":null}}`}, ""},
		"an inconclusive step": {"spec: {strategy: {" + steps + "}}\nstatus: {currentStepIndex: 2, controllerPause: true, pauseConditions: [{reason: InconclusiveAnalysisRun, startTime: null}], canary: {currentStepAnalysisRunStatus: {name: a, status: Inconclusive}}}",
			Promotion{}, [3]string{`{"status":{"controllerPause":false,"currentStepIndex":3,"pauseConditions":null}}`, "", whole}, ""},
		"blue-green": {"spec: {strategy: {blueGreen: {activeService: a}}}\nstatus: {pauseConditions: [{reason: BlueGreenPause, startTime: null}]}",
			Promotion{}, [3]string{`{"status":{"pauseConditions":null}}`, "", whole}, ""},
		"blue-green that waits for nobody": {"spec: {strategy: {blueGreen: {activeService: a}}}", Promotion{}, [3]string{"", "", whole}, ""},
		"without steps, by hand":           {"spec: {paused: true, strategy: {canary: {}}}", Promotion{}, [3]string{"", `{"spec":{"paused":false}}`, whole}, ""},
		"full":                             {"spec: {strategy: {" + steps + "}}\nstatus: {stableRS: a, currentPodHash: b}", Promotion{Full: true}, [3]string{`{"status":{"promoteFull":true}}`, "", `{"spec":{"paused":false},"status":{"promoteFull":true}}`}, ""},
		"full, paused":                     {"spec: {paused: true, strategy: {" + steps + "}}\nstatus: {stableRS: a, currentPodHash: b}", Promotion{Full: true}, [3]string{`{"status":{"promoteFull":true}}`, `{"spec":{"paused":false}}`, `{"spec":{"paused":false},"status":{"promoteFull":true}}`}, ""},
		"full when there is nothing to do": {"spec: {strategy: {" + steps + "}}\nstatus: {stableRS: a, currentPodHash: a}", Promotion{Full: true}, [3]string{"", "", `{"spec":{"paused":false},"status":{"promoteFull":true}}`}, ""},
		"the current step, the older way":  {"spec: {strategy: {" + steps + "}}\nstatus: {currentStepIndex: 0}", Promotion{SkipStep: true}, [3]string{`{"status":{"currentStepIndex":1}}`, "", `{"status":{"currentStepIndex":1}}`}, ""},
		"all steps, the older way":         {"spec: {strategy: {" + steps + "}}", Promotion{SkipAll: true}, [3]string{`{"status":{"currentStepIndex":3}}`, "", `{"status":{"currentStepIndex":3}}`}, ""},
		"both older ways":                  {"spec: {strategy: {" + steps + "}}", Promotion{SkipStep: true, SkipAll: true}, [3]string{}, "exclude each other"},
		"steps of blue-green":              {"spec: {strategy: {blueGreen: {activeService: a}}}", Promotion{SkipAll: true}, [3]string{}, "blue-green"},
		"steps of a canary that has none":  {"spec: {strategy: {canary: {}}}", Promotion{SkipStep: true}, [3]string{}, "no steps"},
	} {
		p, err := Promote(parse[rollouts.Rollout](t, c.rollout), c.how)
		if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: error %v, want %q", what, err, c.err)
		}
		if got := [3]string{string(p.Status), string(p.Spec), string(p.Whole)}; got != c.want {
			t.Errorf("%s: sends %q, want %q", what, got, c.want)
		}
		if p.Empty() != (c.want[0] == "" && c.want[1] == "") {
			t.Errorf("%s: empty is %v", what, p.Empty())
		}
	}
}

// owned makes a ReplicaSet of the Rollout with UID ro.
func owned(name, revision string) appsv1.ReplicaSet {
	yes := true
	return appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"rollout.argoproj.io/revision": revision},
		OwnerReferences: []metav1.OwnerReference{{UID: "ro", Controller: &yes}}}}
}

func TestRevisionFindsTheReplicaSetToGoBackTo(t *testing.T) {
	t.Parallel()
	ro := &rollouts.Rollout{ObjectMeta: metav1.ObjectMeta{UID: "ro"}}
	foreign := owned("foreign", "9")
	foreign.OwnerReferences[0].UID = "another"
	sets := []appsv1.ReplicaSet{owned("b", "10"), owned("a", "2"), foreign, owned("c", "7"), owned("d", "")}
	for wanted, want := range map[int64]string{0: "c", 2: "a", 7: "c", 10: "b"} {
		rs, n, err := Revision(ro, sets, wanted)
		if err != nil || rs.Name != want || wanted != 0 && n != wanted {
			t.Errorf("revision %d is %v, %d, %v; want %s", wanted, rs, n, err, want)
		}
	}
	if _, _, err := Revision(ro, sets, 9); err == nil || !strings.Contains(err.Error(), "[2 7 10]") {
		t.Errorf("an unknown revision gives %v", err)
	}
	if _, _, err := Revision(ro, sets[:1], 0); err == nil || !strings.Contains(err.Error(), "no revision before") {
		t.Errorf("the only revision gives %v", err)
	}
}

func TestUndoRestoresTheTemplateWithoutWhatTheControllerPutIn(t *testing.T) {
	t.Parallel()
	rs := parse[appsv1.ReplicaSet](t, `
metadata: {annotations: {rollout.argoproj.io/ephemeral-metadata: '{"labels":{"role":"stable"},"annotations":{"note":"x"}}'}}
spec:
  selector: {}
  template:
    metadata: {labels: {app: web, role: stable, rollouts-pod-template-hash: abc}, annotations: {note: x, mine: yours}}
    spec:
      containers: [{name: app, image: web:1, terminationMessagePath: /dev/termination-log}]
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - {topologyKey: kubernetes.io/hostname, labelSelector: {matchExpressions: [{key: rollouts-pod-template-hash, operator: In, values: [old]}]}}`)
	present := parse[corev1.PodTemplateSpec](t, `{metadata: {labels: {app: web}}, spec: {containers: [{name: app, image: "web:2"}]}}`)
	patch, err := Undo(present, rs, "/spec/template")
	if err != nil {
		t.Fatal(err)
	}
	var ops []struct {
		Op, Path string
		Value    corev1.PodTemplateSpec
	}
	if err := json.Unmarshal(patch, &ops); err != nil || len(ops) != 1 || ops[0].Op != "replace" || ops[0].Path != "/spec/template" {
		t.Fatalf("the patch is %s, %v", patch, err)
	}
	got := ops[0].Value
	if len(got.Labels) != 1 || got.Labels["app"] != "web" || len(got.Annotations) != 1 || got.Annotations["mine"] != "yours" || got.Spec.Affinity != nil || got.Spec.Containers[0].Image != "web:1" {
		t.Errorf("the template would be %+v", got)
	}
	if rs.Spec.Template.Labels["role"] != "stable" {
		t.Error("the ReplicaSet that was read is changed")
	}
	present.Spec.Containers[0].Image = "web:1"
	if patch, err := Undo(present, rs, "/spec/template"); patch != nil || err != nil {
		t.Errorf("a template that is there already gives %s, %v; want nothing", patch, err)
	}
}

func TestSetImageChangesTheContainersNamed(t *testing.T) {
	t.Parallel()
	read := func(text string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: *parse[map[string]any](t, text)}
	}
	image := func(u *unstructured.Unstructured, kind string, i int, path ...string) string {
		list, _, _ := unstructured.NestedSlice(u.Object, append(path, "spec", kind)...)
		return list[i].(map[string]any)["image"].(string)
	}
	const template = `template: {spec: {initContainers: [{name: init, image: "i:1"}], containers: [{name: app, image: "a:1", later: field}, {name: proxy, image: "p:1"}]}}`
	ro := read("{kind: Rollout, spec: {" + template + "}}")
	if err := SetImage(ro, "app", "a:2"); err != nil || image(ro, "containers", 0, "spec", "template") != "a:2" || image(ro, "containers", 1, "spec", "template") != "p:1" {
		t.Errorf("%v, %v", ro, err)
	}
	if err := SetImage(ro, "*", "x:3"); err != nil || image(ro, "initContainers", 0, "spec", "template") != "x:3" || image(ro, "containers", 1, "spec", "template") != "x:3" {
		t.Errorf("%v, %v", ro, err)
	}
	if err := SetImage(ro, "nope", "x"); err == nil || !strings.Contains(err.Error(), "init, app, proxy") {
		t.Errorf("an unknown container gives %v", err)
	}
	pt := read("{kind: PodTemplate, " + template + "}")
	if err := SetImage(pt, "app", "a:2"); err != nil || image(pt, "containers", 0, "template") != "a:2" {
		t.Errorf("%v, %v", pt, err)
	}
}
