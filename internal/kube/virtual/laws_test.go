package virtual

import (
	"fmt"
	"slices"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

// A drawn pod: containers of every kind, models that run, end, fail and turn unhealthy, probes, and any restart policy.
type drawn struct {
	pod    *v1.Pod
	models programs
}

func drawPod(t *rapid.T) drawn {
	duration := func(name string) time.Duration {
		return time.Duration(rapid.IntRange(0, 90_000).Draw(t, name)) * time.Millisecond
	}
	model := func(name string) Model {
		m := Model{Ready: duration(name + " ready"), Stop: duration(name+" stop") / 10}
		switch rapid.IntRange(0, 4).Draw(t, name+" kind") {
		case 0:
			m.Exits, m.RunsFor = true, duration(name+" runs")
		case 1:
			m.Exits, m.RunsFor, m.ExitCode = true, duration(name+" runs"), 1
		case 2:
			m.UnhealthyAfter = duration(name+" unhealthy") + time.Second
		case 3:
			m.StartError = rapid.SampledFrom([]string{"", "not found"}).Draw(t, name+" start error")
		}
		return m
	}
	d := drawn{pod: simplePod("p"), models: programs{}}
	if rapid.Bool().Draw(t, "owned") {
		withOwner(d.pod, "ReplicaSet")
	}
	policy(d.pod, rapid.SampledFrom([]v1.RestartPolicy{v1.RestartPolicyAlways, v1.RestartPolicyOnFailure, v1.RestartPolicyNever}).Draw(t, "policy"))
	for i := range rapid.IntRange(0, 2).Draw(t, "init") {
		withInit(d.pod, rapid.SampledFrom([]string{"", "+"}).Draw(t, "sidecar")+fmt.Sprintf("i%d", i))
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "apps") {
		c := v1.Container{Name: fmt.Sprintf("c%d", i), Image: "x:1"}
		if rapid.Bool().Draw(t, "readiness") {
			c.ReadinessProbe = httpProbe(int32(rapid.IntRange(0, 5).Draw(t, "delay")), int32(rapid.IntRange(1, 10).Draw(t, "period")), 2)
		}
		if rapid.IntRange(0, 3).Draw(t, "liveness") == 0 {
			c.LivenessProbe = httpProbe(0, int32(rapid.IntRange(1, 10).Draw(t, "period")), 3)
		}
		if rapid.IntRange(0, 3).Draw(t, "startup") == 0 {
			c.StartupProbe = httpProbe(0, int32(rapid.IntRange(1, 5).Draw(t, "period")), 5)
		}
		d.pod.Spec.Containers = append(d.pod.Spec.Containers, c)
	}
	for i := range d.pod.Spec.InitContainers {
		d.models[d.pod.Spec.InitContainers[i].Name] = []Model{model("init first"), model("init later")}
	}
	for i := range d.pod.Spec.Containers {
		d.models[d.pod.Spec.Containers[i].Name] = []Model{model("first"), model("second"), model("later")}
	}
	return d
}

func TestLawsHoldForEveryPodUnderEveryPolicy(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		d := drawPod(r)
		deleteAt := time.Duration(rapid.IntRange(0, 600).Draw(r, "delete at")) * time.Second
		for _, writes := range []WritePolicy{WritesFull, WritesObservable, WritesLean} {
			w := newWorld(t, d.pod, d.models, writes).run(deleteAt)
			w.delete(30)
			w.run(deleteAt + 5*time.Minute)
			if w.removed.IsZero() {
				r.Fatalf("%s: a deleted pod is still there after five minutes: %q", writes, w.writes)
			}
			if late := w.removed.Sub(w.start) - deleteAt; late > 30*time.Second+minStopGrace*time.Duration(len(w.state.Containers)) {
				r.Fatalf("%s: the pod outlived its grace: %v", writes, late)
			}
		}
	})
}

func TestDecidingTwiceAtOneInstantChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		d := drawPod(r)
		w := newWorld(t, d.pod, d.models, WritesLean).run(time.Duration(rapid.IntRange(0, 600).Draw(r, "at")) * time.Second)
		w.step()
		before := summaryOf(w)
		plan := DecidePod(w.state, &w.in, w.now)
		if plan.Changed || len(plan.Events) > 0 {
			r.Fatalf("a second decision changed something: %+v", plan)
		}
		if after := summaryOf(w); after != before {
			r.Fatalf("status %q became %q", before, after)
		}
	})
}

func summaryOf(w *world) string {
	st := podStatus(w.state, &w.in, w.now, true)
	return summary(&st)
}

// An engine that is restarted knows only what the API shows. The pod must still come to the same end.
func TestARestartAtAnyInstantConverges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		d := drawPod(r)
		at := time.Duration(rapid.IntRange(0, 300).Draw(r, "restart at")) * time.Second
		w := newWorld(t, d.pod, d.models, WritesObservable).run(at)
		phase := w.pod.Status.Phase
		w.state = newPodState(w.pod, w.state.Identity)
		w.in.Pod = w.pod
		restore(w.state, &w.in, w.now)
		w.run(at + time.Hour)
		if terminalPhase(phase) && w.pod.Status.Phase != phase {
			r.Fatalf("a terminal pod changed from %s to %s", phase, w.pod.Status.Phase)
		}
		w.delete(30)
		w.run(at + 2*time.Hour)
		if w.removed.IsZero() {
			r.Fatalf("after a restart the pod cannot be deleted: %q", w.writes)
		}
	})
}

func TestMergingNeverHidesAnExit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		d := drawPod(r)
		full := newWorld(t, d.pod, d.models, WritesFull)
		full.exits = map[string]bool{}
		lean := newWorld(t, d.pod, d.models, WritesLean)
		lean.exits = map[string]bool{}
		full.run(20 * time.Minute)
		lean.run(20 * time.Minute)
		for e := range full.exits {
			if !lean.exits[e] {
				keys := make([]string, 0, len(lean.exits))
				for k := range lean.exits {
					keys = append(keys, k)
				}
				slices.Sort(keys)
				r.Fatalf("exit %q is not seen with lean writes, which show %q:\nfull %q\nlean %q", e, keys, full.writes, lean.writes)
			}
		}
		if a, b := full.pod.Status.Phase, lean.pod.Status.Phase; a != b {
			r.Fatalf("full ends %s, lean %s", a, b)
		}
	})
}

func TestAddressesAreNeverGivenTwiceAndRest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		a := newAddresses(podPrefix(7))
		now := time.Unix(0, 0)
		held, freed := map[string]bool{}, map[string]time.Time{}
		for range rapid.IntRange(1, 800).Draw(r, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(r, "ms")) * time.Millisecond)
			if len(held) > 0 && rapid.IntRange(0, 2).Draw(r, "free") == 0 {
				keys := make([]string, 0, len(held))
				for k := range held {
					keys = append(keys, k)
				}
				slices.Sort(keys)
				ip := rapid.SampledFrom(keys).Draw(r, "which")
				a.free(ip, now)
				delete(held, ip)
				freed[ip] = now
				continue
			}
			ip, err := a.allocate(now)
			if err != nil {
				continue
			}
			if held[ip] {
				r.Fatalf("%s was given twice", ip)
			}
			if at, ok := freed[ip]; ok && now.Sub(at) < addressRest {
				r.Fatalf("%s was given again after %v", ip, now.Sub(at))
			}
			held[ip] = true
		}
	})
}
