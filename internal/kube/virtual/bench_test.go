package virtual

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// BenchmarkPodLife is everything the engine computes for one pod from binding to deletion with lean writes: decisions,
// statuses, comparisons. Requests to the API server are not in it.
func BenchmarkPodLife(b *testing.B) {
	o, _ := Options{PodStart: 2 * time.Second, PodWrites: WritesLean}.timingOptions()
	around := &fakeAround{}
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	at := metav1.NewTime(start.Add(time.Hour))
	grace := int64(30)
	b.ReportAllocs()
	for b.Loop() {
		pod := withOwner(simplePod("web", "app"), "ReplicaSet")
		s := newPodState(pod, "ns/web#1")
		in := Inputs{Pod: pod, Node: NodeView{Name: "n", IP: "10.112.1.0"}, Timing: timingOf(o), Behaviour: RunForever{}, Usage: ModelUsage{}, Around: around}
		now := start
		for range 3 {
			plan := DecidePod(s, &in, now)
			status := podStatus(s, &in, now, false)
			diff := compare(&pod.Status, &status)
			if write, _ := merge(WritesLean, diff, pod, s, plan.Hold, plan.Wake, now, now); write {
				pod.Status = status
			}
			if plan.Wake.IsZero() {
				break
			}
			now = plan.Wake
		}
		pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &at, &grace
		plan := DecidePod(s, &in, start.Add(time.Hour))
		DecidePod(s, &in, plan.Wake)
		if s.Ended.IsZero() || pod.Status.Phase != v1.PodRunning {
			b.Fatal("the pod did not live and end")
		}
	}
}

// BenchmarkDecideStep is one decision about a running pod whose object changed in a way that means nothing to it.
func BenchmarkDecideStep(b *testing.B) {
	o, _ := Options{PodStart: 2 * time.Second, PodWrites: WritesLean}.timingOptions()
	pod := withOwner(simplePod("web", "app"), "ReplicaSet")
	s := newPodState(pod, "ns/web#1")
	in := Inputs{Pod: pod, Node: NodeView{Name: "n", IP: "10.112.1.0"}, Timing: timingOf(o), Behaviour: RunForever{}, Usage: ModelUsage{}, Around: &fakeAround{}}
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	DecidePod(s, &in, start)
	now := start.Add(time.Minute)
	DecidePod(s, &in, now)
	pod.Status = podStatus(s, &in, now, false)
	b.ReportAllocs()
	for b.Loop() {
		DecidePod(s, &in, now)
		status := podStatus(s, &in, now, false)
		if d := compare(&pod.Status, &status); d.Any {
			b.Fatal("a difference")
		}
	}
}

// BenchmarkIdlePodMemory reports the engine's own bytes of an idle running pod, beyond the shared cache.
func BenchmarkIdlePodMemory(b *testing.B) {
	o, _ := Options{PodStart: 2 * time.Second, PodWrites: WritesLean}.timingOptions()
	const pods = 10000
	for b.Loop() {
		objects := make([]*v1.Pod, pods)
		for i := range objects {
			objects[i] = withOwner(simplePod(fmt.Sprintf("web-%d", i), "app"), "ReplicaSet")
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		records := map[types.NamespacedName]*podRecord{}
		start := time.Now()
		for i, pod := range objects {
			r := &podRecord{key: types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}, obj: pod, state: newPodState(pod, fmt.Sprintf("ns/web#%d", i))}
			r.timer = timer{key: pod.Namespace + "/" + pod.Name, fire: func(time.Time) {}}
			in := Inputs{Pod: pod, Timing: timingOf(o), Behaviour: RunForever{}, Usage: ModelUsage{}, Around: &fakeAround{}}
			DecidePod(r.state, &in, start)
			DecidePod(r.state, &in, start.Add(time.Minute))
			records[r.key] = r
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/pods, "bytes/pod")
		runtime.KeepAlive(records)
	}
}
