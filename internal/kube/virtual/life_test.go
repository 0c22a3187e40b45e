package virtual

import (
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// world plays one pod on one node without an API server: it moves the state from wake-up to wake-up, applies the
// writes that the policy asks for to the object, and notes what an observer saw.
type world struct {
	t       *testing.T
	pod     *v1.Pod
	state   *PodState
	in      Inputs
	policy  WritePolicy
	now     time.Time
	start   time.Time
	since   time.Time
	writes  []string // "offset summary"
	events  []string // "offset container reason"
	removed time.Time
	exits   map[string]bool // "container/restart code" as shown by writes, when not nil
	answers fakeAround
}

type fakeAround struct {
	missing, config string
	image           func(c string, now time.Time) ImageAnswer
	refuse, resize  string
}

func (f *fakeAround) Address(time.Time) (string, error) { return "10.128.0.2", nil }
func (f *fakeAround) Image(_ *v1.Pod, c *v1.Container, now time.Time) ImageAnswer {
	if f.image != nil {
		return f.image(c.Name, now)
	}
	return ImageAnswer{Present: true}
}
func (f *fakeAround) Volumes(*v1.Pod, time.Time) Blocked {
	return Blocked{Reason: "FailedMount", Message: f.missing}
}
func (f *fakeAround) ConfigError(*v1.Pod, *v1.Container) string { return f.config }
func (f *fakeAround) Resize(*v1.Pod) (string, string)           { return f.resize, "no room" }
func (f *fakeAround) Admit(*v1.Pod) (string, string, bool)      { return f.refuse, f.refuse, f.refuse != "" }

// programs chooses models by container name; the nth instance takes the nth model, the last one repeats.
type programs map[string][]Model

func (p programs) Choose(c Choice) Model {
	list := p[c.Container.Name]
	if len(list) == 0 {
		return RunForever{}.Choose(c)
	}
	return list[min(int(c.Restart), len(list)-1)]
}

func newWorld(t *testing.T, pod *v1.Pod, b Behaviour, policy WritePolicy) *world {
	o, err := Options{PodStart: 2 * time.Second, PodWrites: policy}.timingOptions()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	w := &world{t: t, pod: pod, policy: policy, now: start, start: start}
	w.state = newPodState(pod, "ns/"+pod.Name)
	w.in = Inputs{Pod: pod, Node: NodeView{Name: "n", IP: "10.112.1.0"}, Timing: timingOf(o), Behaviour: b, Usage: ModelUsage{}, Around: &w.answers, Events: true}
	return w
}

func (o Options) timingOptions() (Options, error) {
	if o.PodStop == 0 {
		o.PodStop = DefaultPodStop
	}
	return o, nil
}

// run plays until the given offset.
func (w *world) run(until time.Duration) *world {
	w.t.Helper()
	end := w.start.Add(until)
	for range 5000 {
		next := w.step()
		if next.IsZero() || next.After(end) {
			w.now = end
			return w
		}
		if next.Before(w.now) {
			w.t.Fatalf("wake-up %v is before now %v", next, w.now)
		}
		w.now = next
	}
	w.t.Fatal("the pod never comes to rest")
	return w
}

func (w *world) step() (next time.Time) {
	if !w.removed.IsZero() {
		return time.Time{}
	}
	w.in.Pod = w.pod
	plan := DecidePod(w.state, &w.in, w.now)
	for _, e := range plan.Events {
		w.events = append(w.events, fmt.Sprintf("%v %s %s", e.At.Sub(w.start).Round(time.Millisecond), e.Container, e.Reason))
	}
	next = plan.Wake
	if !w.state.Ended.IsZero() && w.pod.DeletionTimestamp != nil && (terminalPhase(w.pod.Status.Phase) || removable(w.policy, w.pod)) {
		w.removed = w.now
		w.writes = append(w.writes, fmt.Sprintf("%v DELETE", w.now.Sub(w.start).Round(time.Millisecond)))
		return time.Time{}
	}
	status := podStatus(w.state, &w.in, w.now, true)
	diff := compare(&w.pod.Status, &status)
	if !diff.Any {
		w.since = time.Time{}
		return next
	}
	if w.since.IsZero() {
		w.since = w.now
	}
	write, at := merge(w.policy, diff, w.pod, w.state, plan.Hold, plan.Wake, w.since, w.now)
	if !write {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
		return next
	}
	w.check(&w.pod.Status, &status)
	w.noteExits(&status)
	pod := *w.pod
	pod.Status = status
	w.pod = &pod
	w.since = time.Time{}
	w.writes = append(w.writes, fmt.Sprintf("%v %s", w.now.Sub(w.start).Round(time.Millisecond), summary(&status)))
	if next.IsZero() || !next.After(w.now) {
		return w.now
	}
	return next
}

// check are the laws that hold for every write of every pod.
func (w *world) check(old, next *v1.PodStatus) {
	w.t.Helper()
	if terminalPhase(old.Phase) && old.Phase != next.Phase {
		w.t.Errorf("terminal phase %s became %s", old.Phase, next.Phase)
	}
	// As with a kubelet, a pod whose init containers all run again is pending meanwhile.
	if old.Phase == v1.PodRunning && next.Phase == v1.PodPending && findCondition(next.Conditions, v1.AllContainersRestarting) == nil {
		w.t.Errorf("a running pod became pending: %s", summary(next))
	}
	ready := findCondition(next.Conditions, v1.PodReady)
	for i := range next.ContainerStatuses {
		c := &next.ContainerStatuses[i]
		if ready.Status == v1.ConditionTrue && !c.Ready {
			w.t.Errorf("pod is Ready although container %s is not", c.Name)
		}
		if i < len(old.ContainerStatuses) && c.RestartCount < old.ContainerStatuses[i].RestartCount {
			w.t.Errorf("restart count of %s fell", c.Name)
		}
	}
	for _, c := range next.Conditions {
		if c.LastTransitionTime.IsZero() {
			w.t.Errorf("condition %s has no transition time", c.Type)
		}
	}
}

// noteExits records every exit that a status shows.
func (w *world) noteExits(st *v1.PodStatus) {
	if w.exits == nil {
		return
	}
	for _, list := range [][]v1.ContainerStatus{st.InitContainerStatuses, st.ContainerStatuses} {
		for i := range list {
			c := &list[i]
			if t := c.State.Terminated; t != nil {
				w.exits[fmt.Sprintf("%s/%d %d", c.Name, c.RestartCount, t.ExitCode)] = true
			}
			if t := c.LastTerminationState.Terminated; t != nil {
				n := c.RestartCount - 1
				if c.State.Waiting != nil {
					n = c.RestartCount // not started again yet
				}
				w.exits[fmt.Sprintf("%s/%d %d", c.Name, n, t.ExitCode)] = true
			}
		}
	}
}

func (w *world) delete(grace int64) {
	pod := *w.pod
	at := metav1.NewTime(w.now.Add(time.Duration(grace) * time.Second))
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &at, &grace
	pod.Generation++
	w.pod = &pod
}

// summary is a status in one line: phase, readiness, and each container's state.
func summary(st *v1.PodStatus) string {
	var b strings.Builder
	b.WriteString(string(st.Phase))
	if st.Reason != "" {
		b.WriteString("(" + st.Reason + ")")
	}
	if c := findCondition(st.Conditions, v1.PodReady); c != nil && c.Status == v1.ConditionTrue {
		b.WriteString(" Ready")
	}
	for _, list := range [][]v1.ContainerStatus{st.InitContainerStatuses, st.ContainerStatuses, st.EphemeralContainerStatuses} {
		for i := range list {
			c := &list[i]
			b.WriteString(" " + c.Name + "=")
			switch {
			case c.State.Running != nil:
				b.WriteString("running")
			case c.State.Terminated != nil:
				fmt.Fprintf(&b, "%s:%d", c.State.Terminated.Reason, c.State.Terminated.ExitCode)
			case c.State.Waiting != nil:
				b.WriteString(c.State.Waiting.Reason)
			}
			if c.RestartCount > 0 {
				fmt.Fprintf(&b, "/%d", c.RestartCount)
			}
		}
	}
	return b.String()
}

func simplePod(name string, containers ...string) *v1.Pod {
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: "uid-" + "1", Generation: 1}}
	p.Spec.RestartPolicy = v1.RestartPolicyAlways
	p.Spec.NodeName = "n"
	p.Status.Phase = v1.PodPending
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, v1.Container{Name: c, Image: "app:1"})
	}
	return p
}

func withOwner(p *v1.Pod, kind string) *v1.Pod {
	yes := true
	p.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: "owner", Controller: &yes}}
	return p
}

func withInit(p *v1.Pod, names ...string) *v1.Pod {
	for _, n := range names {
		c := v1.Container{Name: strings.TrimPrefix(n, "+"), Image: "init:1"}
		if strings.HasPrefix(n, "+") {
			always := v1.ContainerRestartPolicyAlways
			c.RestartPolicy = &always
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, c)
	}
	return p
}

func policy(p *v1.Pod, r v1.RestartPolicy) *v1.Pod {
	p.Spec.RestartPolicy = r
	return p
}

func (w *world) wrote(want ...string) {
	w.t.Helper()
	if got := strings.Join(w.writes, "\n"); got != strings.Join(want, "\n") {
		w.t.Errorf("writes:\n%s\nwant:\n%s\nevents:\n%s", got, strings.Join(want, "\n"), strings.Join(w.events, "\n"))
	}
}

func TestLeanPodLifeIsOneStatusWriteAndOneDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withOwner(simplePod("web", "app"), "ReplicaSet"), RunForever{}, WritesLean).run(time.Hour)
	w.delete(30)
	w.run(2 * time.Hour)
	w.wrote("2s Running Ready app=running", "1h0m1.3s DELETE")
}

func TestObservablePodLifeShowsAdmissionRunningAndEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withOwner(simplePod("web", "app"), "ReplicaSet"), RunForever{}, WritesObservable).run(time.Hour)
	w.delete(30)
	w.run(2 * time.Hour)
	w.wrote("0s Pending app=ContainerCreating", "2s Running Ready app=running",
		"1h0m1.3s Succeeded app=Completed:0", "1h0m1.3s DELETE")
}
