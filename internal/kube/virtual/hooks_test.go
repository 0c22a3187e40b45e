package virtual

import (
	"errors"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// hooked is a world whose pod has HTTP hooks that the test answers.
func hooked(t *testing.T) *world {
	pod := simplePod("p", "app")
	get := &v1.LifecycleHandler{HTTPGet: &v1.HTTPGetAction{Port: intstr.FromInt32(80)}}
	pod.Spec.Containers[0].Lifecycle = &v1.Lifecycle{PostStart: get, PreStop: get}
	w := newWorld(t, pod, programs{"app": {{}}}, WritesLean)
	w.in.Hooks = true
	return w
}

// answer ends the hook's request at the world's present instant.
func (w *world) answer(kind HookKind, err error) {
	d := decider{s: w.state, in: &w.in, pod: w.in.Pod}
	d.answered(&w.state.Containers[0], kind, w.now, err)
	for i := range d.plan.Events {
		w.events = append(w.events, d.plan.Events[i].Reason)
	}
}

// later plays on for a while.
func (w *world) later(d time.Duration) *world { return w.run(w.now.Sub(w.start) + d) }

func TestAFailedPostStartKillsTheContainerWhichStartsAgain(t *testing.T) {
	t.Parallel()
	w := hooked(t).later(3 * time.Second)
	w.answer(PostStart, errors.New("refused"))
	w.answer(PreStop, nil)
	w.later(4 * time.Second)
	if all := strings.Join(w.events, " "); !strings.Contains(all, "FailedPostStartHook Killing") {
		t.Errorf("events %s", all)
	}
	if c := w.state.Containers[0]; c.Restarts != 1 {
		t.Fatalf("restarts %d, want 1: the first restart follows at once", c.Restarts)
	}
	w.answer(PostStart, errors.New("refused"))
	w.answer(PreStop, nil)
	w.later(3 * time.Second)
	if c := w.state.Containers[0]; c.Run != RunWaiting || c.Wait != "PostStartHookError" {
		t.Errorf("run %v waiting %q, want PostStartHookError", c.Run, c.Wait)
	}
}

func TestAPostStartNobodyAnswersCountsAsDoneAfterAMinute(t *testing.T) {
	t.Parallel()
	w := hooked(t).later(30 * time.Second)
	if w.state.Containers[0].HookDone.IsZero() {
		t.Fatal("the hook is over before its answer")
	}
	w.later(time.Minute)
	if c := w.state.Containers[0]; !c.HookDone.IsZero() || c.Asked != NoHook || c.Run != RunRunning {
		t.Errorf("container %+v", c)
	}
}

func TestSIGTERMWaitsForTheAnswerOfPreStop(t *testing.T) {
	t.Parallel()
	w := hooked(t).later(3 * time.Second)
	w.answer(PostStart, nil)
	w.later(time.Minute)
	w.delete(30)
	w.later(10 * time.Second)
	if !w.removed.IsZero() {
		t.Fatal("gone before the hook's answer")
	}
	asked := w.now
	w.answer(PreStop, errors.New("reset"))
	w.later(time.Minute)
	if got := w.removed.Sub(asked); got != 1300*time.Millisecond {
		t.Errorf("gone %v after the answer, want 1.3s", got)
	}
	if all := strings.Join(w.events, " "); !strings.Contains(all, "FailedPreStopHook") {
		t.Errorf("events %s", all)
	}
}
