package podlife

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) metav1.Time { return metav1.NewTime(noon.Add(d)) }

func hashOf(p *corev1.Pod) string { return p.Labels["pod-template-hash"] }

// pod of revision abc, made at a moment after noon; scheduled a second later.
func pod(name string, made time.Duration, changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), CreationTimestamp: at(made), Labels: map[string]string{"pod-template-hash": "abc"}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "app"}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: at(made + time.Second)}}}}
	return with(p, changes...)
}

func with(p *corev1.Pod, changes ...func(*corev1.Pod)) *corev1.Pod {
	p = p.DeepCopy()
	for _, c := range changes {
		c(p)
	}
	return p
}

func isReady(yes bool, since time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		c := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: at(since)}
		if yes {
			c.Status = corev1.ConditionTrue
		}
		p.Status.Conditions = append(p.Status.Conditions[:1:1], c)
	}
}

// ended says that the container ended so at a moment, and runs again.
func ended(restarts int32, reason string, when time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		s := &p.Status.ContainerStatuses[0]
		s.RestartCount, s.State = restarts, corev1.ContainerState{}
		s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: reason, FinishedAt: at(when), ContainerID: fmt.Sprint(restarts)}
	}
}

func deleted(p *corev1.Pod) { now := at(0); p.DeletionTimestamp = &now }

func ask(metric string) analysis.Question {
	return analysis.Question{Source: analysis.KubeEvidence, Namespace: "shop", Hash: "abc", Metric: metric, Window: 5 * time.Minute}
}

// moment of a pod's life.
type moment struct {
	at  time.Duration
	pod *corev1.Pod
}

// tell a store of a pod's life; it returns the last of it.
func tell(s *Store, life ...moment) *corev1.Pod {
	var before *corev1.Pod
	for _, m := range life {
		s.Changed(before, m.pod, noon.Add(m.at))
		before = m.pod
	}
	return before
}

func TestWhatHappensToPodsIsCountedOnceWithinTheWindow(t *testing.T) {
	t.Parallel()
	fresh := pod("a", time.Second)
	up := with(fresh, isReady(true, 10*time.Second))
	down := with(up, isReady(false, 60*time.Second))
	killedNow := with(up, func(p *corev1.Pod) {
		p.Status.ContainerStatuses[0].State.Terminated = &corev1.ContainerStateTerminated{Reason: "OOMKilled", FinishedAt: at(70 * time.Second), ContainerID: "0"}
	})
	waiting := with(up, func(p *corev1.Pod) {
		p.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: "OOMKilled", FinishedAt: at(70 * time.Second), ContainerID: "0"}
	})
	again := with(waiting, func(p *corev1.Pod) { p.Status.ContainerStatuses[0].RestartCount = 1 })
	for name, c := range map[string]struct {
		life                   []moment
		now                    time.Duration
		restarts, kills, flaps float64
	}{
		"nothing":                             {[]moment{{time.Second, fresh}, {10 * time.Second, up}}, time.Minute, 0, 0, 0},
		"a restart":                           {[]moment{{time.Second, up}, {20 * time.Second, with(up, ended(1, "Error", 19*time.Second))}}, time.Minute, 1, 0, 0},
		"three between two looks":             {[]moment{{time.Second, up}, {20 * time.Second, with(up, ended(3, "Error", 19*time.Second))}}, time.Minute, 3, 0, 0},
		"a kill, as its status moves":         {[]moment{{time.Second, up}, {70 * time.Second, killedNow}, {71 * time.Second, waiting}, {80 * time.Second, again}}, 2 * time.Minute, 1, 1, 0},
		"a kill that is not restarted":        {[]moment{{time.Second, up}, {70 * time.Second, killedNow}}, 2 * time.Minute, 0, 1, 0},
		"a flap":                              {[]moment{{time.Second, up}, {60 * time.Second, down}}, 2 * time.Minute, 0, 0, 1},
		"a flap between two looks":            {[]moment{{time.Second, up}, {70 * time.Second, with(up, isReady(true, 65*time.Second))}}, 2 * time.Minute, 0, 0, 1},
		"no flap while it is being deleted":   {[]moment{{time.Second, up}, {60 * time.Second, with(down, deleted)}}, 2 * time.Minute, 0, 0, 0},
		"no flap at its orderly end":          {[]moment{{time.Second, up}, {60 * time.Second, with(down, func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })}}, 2 * time.Minute, 0, 0, 0},
		"long ago":                            {[]moment{{time.Second, up}, {20 * time.Second, with(up, ended(1, "OOMKilled", 19*time.Second))}}, 6 * time.Minute, 0, 0, 0},
		"another pod of the same name begins": {[]moment{{time.Second, with(up, ended(3, "Error", 0))}, {20 * time.Second, with(up, func(p *corev1.Pod) { p.UID = "b" })}}, time.Minute, 3, 0, 0},
	} {
		s := NewStore(hashOf, noon)
		tell(s, c.life...)
		for metric, want := range map[string]float64{analysis.Restarts: c.restarts, analysis.OOMKills: c.kills, analysis.ReadinessFlaps: c.flaps} {
			a, err := s.Measure(ask(metric), []*corev1.Pod{up}, noon.Add(c.now))
			if err != nil || a.Value != want || a.Count != 1 || a.Message != "" {
				t.Errorf("%s: %s is %+v, %v; want %v of 1 pod", name, metric, a, err, want)
			}
		}
	}
}

func TestNothingIsSaidOfARevisionWithoutPods(t *testing.T) {
	t.Parallel()
	s := NewStore(hashOf, noon)
	others := []*corev1.Pod{
		pod("deleted", 0, deleted),
		pod("done", 0, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }),
		pod("other", 0, func(p *corev1.Pod) { p.Labels["pod-template-hash"] = "xyz" }),
		pod("elsewhere", 0, func(p *corev1.Pod) { p.Namespace = "other" }),
	}
	for _, metric := range []string{analysis.Restarts, analysis.OOMKills, analysis.ReadinessFlaps, analysis.PodStartP95} {
		if a, err := s.Measure(ask(metric), others, noon); err == nil || !strings.Contains(err.Error(), "revision abc has no pod in namespace shop") {
			t.Errorf("%s: %+v, %v", metric, a, err)
		}
	}
}

func TestAnAnswerSaysWhichPartOfItsWindowWasNotWatched(t *testing.T) {
	t.Parallel()
	old := pod("old", -time.Hour, isReady(true, -time.Hour), ended(4, "OOMKilled", -2*time.Minute))
	s := NewStore(hashOf, noon)
	s.Found(old, noon)
	for metric, want := range map[string]float64{analysis.Restarts: 1, analysis.OOMKills: 1, analysis.ReadinessFlaps: 0} {
		a, err := s.Measure(ask(metric), []*corev1.Pod{old}, noon.Add(time.Minute))
		if err != nil || a.Value != want || !strings.Contains(a.Message, "only the last 1m0s of the window were watched") {
			t.Errorf("%s right after the start: %+v, %v; want %v, and how much was watched", metric, a, err, want)
		}
		young := pod("young", 30*time.Second)
		if a, _ := s.Measure(ask(metric), []*corev1.Pod{young}, noon.Add(time.Minute)); a.Message != "" {
			t.Errorf("%s of pods that were watched all their lives: %q", metric, a.Message)
		}
		if a, _ := s.Measure(ask(metric), []*corev1.Pod{old}, noon.Add(6*time.Minute)); a.Message != "" || a.Value != 0 {
			t.Errorf("%s once the window is covered: %+v", metric, a)
		}
	}
	young := pod("young", -time.Minute, ended(3, "Error", -10*time.Second))
	s = NewStore(hashOf, noon)
	s.Found(young, noon)
	if a, _ := s.Measure(ask(analysis.Restarts), []*corev1.Pod{young}, noon); a.Value != 3 {
		t.Errorf("of a pod younger than the window all restarts count: %+v", a)
	}
}

func TestPodStartIsFromScheduledToReady(t *testing.T) {
	t.Parallel()
	start := func(s *Store, name string, took time.Duration) *corev1.Pod {
		p := pod(name, 9*time.Second)
		return tell(s, moment{9 * time.Second, p}, moment{10*time.Second + took, with(p, isReady(true, 10*time.Second+took))})
	}
	find := func(s *Store, now time.Duration, pods ...*corev1.Pod) (analysis.Answer, error) {
		return s.Measure(ask(analysis.PodStartP95), pods, noon.Add(now))
	}
	s := NewStore(hashOf, noon)
	a, b := start(s, "a", 3*time.Second), start(s, "b", 7*time.Second)
	if got, err := find(s, time.Minute, a, b); err != nil || got.Value != 7 || got.Count != 2 || got.Message != "" {
		t.Errorf("%+v, %v", got, err)
	}
	flapped := with(b, isReady(false, 30*time.Second))
	well := with(b, isReady(true, 50*time.Second))
	tell(s, moment{0, b}, moment{30 * time.Second, flapped}, moment{50 * time.Second, well})
	if got, err := find(s, time.Minute, a, well); err != nil || got.Value != 7 || got.Count != 2 {
		t.Errorf("a flap is no start: %+v, %v", got, err)
	}
	if got, err := find(s, 10*time.Minute, a, well); err != nil || got.Value != 7 || !strings.Contains(got.Message, "no pod became ready within the window") {
		t.Errorf("after the window: %+v, %v", got, err)
	}
	slow := pod("slow", 20*time.Second)
	if got, err := find(s, time.Minute, a, well, slow); err != nil || got.Value != 39 || !strings.Contains(got.Message, "1 pods that are not ready yet count") {
		t.Errorf("a pod that takes longer than the others so far counts: %+v, %v", got, err)
	}
	if got, err := find(s, 22*time.Second, a, well, slow); err != nil || got.Value != 7 {
		t.Errorf("one that began just now does not: %+v, %v", got, err)
	}
	if got, err := find(s, time.Minute, slow); err != nil || got.Count != 3 {
		t.Errorf("pods that started within the window count although they are gone: %+v, %v", got, err)
	}
	if _, err := NewStore(hashOf, noon).Measure(ask(analysis.PodStartP95), []*corev1.Pod{slow}, noon.Add(time.Minute)); err == nil || !strings.Contains(err.Error(), "1 are starting, the longest for 39s") {
		t.Errorf("none is ready: %v", err)
	}
	known := pod("known", -time.Minute, isReady(true, -45*time.Second))
	if got, err := NewStore(hashOf, noon).Measure(ask(analysis.PodStartP95), []*corev1.Pod{known}, noon); err != nil || got.Value != 14 || !strings.Contains(got.Message, "before they were watched") {
		t.Errorf("a pod that was there before: %+v, %v", got, err)
	}
}

func TestWhatIsRememberedHasABound(t *testing.T) {
	t.Parallel()
	s := NewStore(hashOf, noon)
	s.most = 10
	p := pod("a", 0)
	for i := range int32(1000) {
		now := time.Duration(i) * time.Second
		next := with(p, ended(i+1, "Error", now))
		s.Changed(p, next, noon.Add(now))
		p = next
		if s.count > s.most {
			t.Fatalf("%d events are remembered, of %d", s.count, s.most)
		}
	}
	a, err := s.Measure(ask(analysis.Restarts), []*corev1.Pod{p}, noon.Add(1000*time.Second))
	if err != nil || a.Value < 1 || !strings.Contains(a.Message, "of the window were watched") {
		t.Errorf("%+v, %v; want those that are remembered, and that others are not", a, err)
	}
}

// A law: however the states of pods follow each other and whenever it is asked, the answer is what a plain count of the
// changes within the window gives.
func TestCountsAgreeWithAPlainCount(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := NewStore(hashOf, noon)
		pods := map[string]*corev1.Pod{}
		type change struct {
			at                     time.Duration
			restarts, kills, flaps int
		}
		var plain []change
		now := time.Duration(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 100).Draw(t, "wait")) * time.Second
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "pod")
			before := pods[name]
			if before == nil {
				pods[name] = pod(name, now)
				s.Changed(nil, pods[name], noon.Add(now))
				continue
			}
			c := change{at: now}
			next := before
			if c.restarts = rapid.IntRange(0, 2).Draw(t, "restarts"); c.restarts > 0 {
				reason := rapid.SampledFrom([]string{"Error", "OOMKilled"}).Draw(t, "reason")
				next = with(next, ended(before.Status.ContainerStatuses[0].RestartCount+int32(c.restarts), reason, now))
				if reason == "OOMKilled" {
					c.kills = 1
				}
			}
			was := ready(before).Status == corev1.ConditionTrue
			if is := rapid.Bool().Draw(t, "ready"); is != was {
				next = with(next, isReady(is, now))
				if was {
					c.flaps = 1
				}
			}
			s.Changed(before, next, noon.Add(now))
			pods[name], plain = next, append(plain, c)
		}
		asked := now + time.Duration(rapid.IntRange(0, 600).Draw(t, "later"))*time.Second
		var want change
		for _, c := range plain {
			if c.at >= asked-5*time.Minute {
				want.restarts, want.kills, want.flaps = want.restarts+c.restarts, want.kills+c.kills, want.flaps+c.flaps
			}
		}
		var list []*corev1.Pod
		for _, name := range []string{"a", "b", "c"} {
			if pods[name] != nil {
				list = append(list, pods[name])
			}
		}
		for metric, n := range map[string]int{analysis.Restarts: want.restarts, analysis.OOMKills: want.kills, analysis.ReadinessFlaps: want.flaps} {
			if a, err := s.Measure(ask(metric), list, noon.Add(asked)); err != nil || a.Value != float64(n) {
				t.Fatalf("%s is %v, %v; want %d", metric, a.Value, err, n)
			}
		}
		if a, err := s.Measure(ask(analysis.PodStartP95), list, noon.Add(asked)); err == nil && (a.Value < 0 || a.Value > asked.Seconds()) {
			t.Fatalf("a start of %v s", a.Value)
		}
	})
}
