package virtual

import (
	"math"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

// play runs pulls to their ends and returns when each ended.
func playPulls(x *transfers, start []*pull, at []time.Duration) map[*pull]time.Duration {
	zero := time.Unix(0, 0)
	ends := map[*pull]time.Duration{}
	i := 0
	for len(ends) < len(start) {
		next := x.next()
		if i < len(start) && (next.IsZero() || zero.Add(at[i]).Before(next)) {
			now := zero.Add(at[i])
			for _, p := range x.finished(now) {
				ends[p] = now.Sub(zero)
			}
			x.start(start[i], now)
			i++
			continue
		}
		for _, p := range x.finished(next) {
			ends[p] = next.Sub(zero)
		}
	}
	return ends
}

func TestPullTakesOverheadPlusBytesOverItsShare(t *testing.T) {
	t.Parallel()
	node := func() *imageStore { return &imageStore{bandwidth: 100e6, parallel: 4} }
	a, b := node(), node()
	pa, pb := &pull{store: a, size: 1000e6}, &pull{store: b, size: 1000e6}
	ends := playPulls(&transfers{registry: 1e9}, []*pull{pa, pb}, []time.Duration{0, 0})
	if got := ends[pa].Round(time.Millisecond); got != 10300*time.Millisecond {
		t.Errorf("an uncontended pull of 10 s and 0.3 s overhead took %v", got)
	}
	pa, pb = &pull{store: a, size: 1000e6}, &pull{store: b, size: 1000e6}
	ends = playPulls(&transfers{registry: 100e6}, []*pull{pa, pb}, []time.Duration{0, 0})
	if got := ends[pb].Round(time.Millisecond); got != 20600*time.Millisecond {
		t.Errorf("two pulls sharing the registry took %v, want twice as long", got)
	}
	pa, pb = &pull{store: a, size: 1000e6}, &pull{store: a, size: 1000e6}
	ends = playPulls(&transfers{registry: 1e9}, []*pull{pa, pb}, []time.Duration{0, 0})
	if got := ends[pa].Round(time.Millisecond); got != 20600*time.Millisecond {
		t.Errorf("two pulls sharing a node took %v, want twice as long", got)
	}
}

func TestSharingLosesNoBytesAndNeverExceedsTheRegistry(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		x := &transfers{registry: 300e6}
		stores := make([]*imageStore, rapid.IntRange(1, 5).Draw(r, "nodes"))
		for i := range stores {
			stores[i] = &imageStore{bandwidth: 120e6}
		}
		var pulls []*pull
		var at []time.Duration
		var now time.Duration
		total := 0.0
		for range rapid.IntRange(1, 12).Draw(r, "pulls") {
			p := &pull{store: rapid.SampledFrom(stores).Draw(r, "node"), size: int64(rapid.IntRange(1, 2000).Draw(r, "MB")) * 1e6}
			total += float64(p.size)
			now += time.Duration(rapid.IntRange(0, 5000).Draw(r, "ms")) * time.Millisecond
			pulls, at = append(pulls, p), append(at, now)
		}
		ends := playPulls(x, pulls, at)
		var last time.Duration
		for i, p := range pulls {
			alone := time.Duration(float64(p.size) / 120e6 * float64(time.Second))
			if took := ends[p] - at[i]; took < alone {
				r.Fatalf("pull of %d bytes took %v, less than %v alone", p.size, took, alone)
			}
			last = max(last, ends[p])
		}
		if rate := total / last.Seconds(); rate > 300e6*1.001 || math.IsNaN(rate) {
			r.Fatalf("%v bytes a second exceed the registry", rate)
		}
		for _, s := range stores {
			if s.active != 0 {
				r.Fatalf("a node counts %d pulls after the last ended", s.active)
			}
		}
	})
}

func TestImageCollectionFreesTheOldestUnused(t *testing.T) {
	t.Parallel()
	now := time.Unix(100000, 0)
	s := &imageStore{capacity: 100, images: map[string]*storedImage{
		"old":    {size: 30, used: now.Add(-3 * time.Hour)},
		"in use": {size: 30, used: now.Add(-4 * time.Hour)},
		"new":    {size: 29, used: now, arrived: now},
	}}
	s.collect(0, map[string]bool{"in use": true}, now)
	if s.images["old"] != nil || s.images["in use"] == nil || s.images["new"] == nil {
		t.Errorf("kept %v", s.images)
	}
}

func TestImageFailuresAlternateErrorAndBackOffWithDoublingDelays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simplePod("p", "app"), RunForever{}, WritesObservable)
	heal := w.start.Add(60 * time.Second)
	var attempts []time.Duration
	w.answers.image = func(_ string, now time.Time) ImageAnswer {
		attempts = append(attempts, now.Sub(w.start))
		if now.Before(heal) {
			return ImageAnswer{Reason: reasonImagePull, Message: "not found", BackOff: true}
		}
		return ImageAnswer{Present: true}
	}
	w.run(5 * time.Minute)
	w.wrote("0s Pending app=ContainerCreating",
		"1.2s Pending app=ErrImagePull", "2.2s Pending app=ImagePullBackOff",
		"11.2s Pending app=ErrImagePull", "12.2s Pending app=ImagePullBackOff",
		"31.2s Pending app=ErrImagePull", "32.2s Pending app=ImagePullBackOff",
		"1m12s Running Ready app=running")
}

func TestConventionalReferencesFail(t *testing.T) {
	t.Parallel()
	for ref, want := range map[string]bool{
		"nginx:1.27": false, "registry.example.org/team/app:v2": false, "shop/nonexistent-thing": true, "webserver:404": true, "app:does-not-exist": true, "app:nonexistent": true,
		"invalid.registry/x": true, "registry.invalid/x:1": true, "registry.invalid:5000/x": true, "web-argo-error": true,
	} {
		if got := failingReference(ref); got != want {
			t.Errorf("%s: failing %v, want %v", ref, got, want)
		}
	}
}

func TestPodsOfOneNodeShareAPullAndOtherImagesQueueBehindIt(t *testing.T) {
	t.Parallel()
	e := &Engine{opts: Options{PodStart: Modelled, OnEvent: func(Event) {}}, wake: make(chan struct{}, 1), byNode: map[string]*nodeRecord{}, indexes: make([]uint64, 1)}
	e.initImages()
	n := &nodeRecord{name: "n", pods: map[types.NamespacedName]*podRecord{}}
	e.enroll(n, 0)
	ask := func(pod, image string, now time.Time) ImageAnswer {
		p := simplePod(pod, "app")
		p.Spec.Containers[0].Image = image
		r := &podRecord{key: types.NamespacedName{Name: pod}, obj: p, node: n, state: newPodState(p, pod)}
		n.pods[r.key] = r
		return around{e, r}.Image(p, &p.Spec.Containers[0], now)
	}
	start := time.Unix(1000, 0)
	if a := ask("one", "first:1", start); !a.Pulling || len(a.Events) != 1 || a.Events[0].Reason != "Pulling" {
		t.Fatalf("the first pod gets %+v", a)
	}
	if a := ask("two", "first:1", start); !a.Pulling || len(a.Events) != 0 {
		t.Fatalf("the second pod starts a pull of its own: %+v", a)
	}
	if a := ask("three", "second:1", start); !a.Pulling {
		t.Fatalf("the third pod gets %+v", a)
	}
	if got := len(e.images.transfers.active); got != 1 {
		t.Fatalf("%d pulls at once on a node that pulls serially", got)
	}
	end := e.images.transfers.next()
	if took := end.Sub(start); took < time.Second || took > 5*time.Minute {
		t.Errorf("an assumed pull takes %v", took)
	}
	e.pullsDue(end)
	if a := ask("one", "first:1", end); !a.Present || a.Events[0].Reason != "Pulled" {
		t.Errorf("after the pull the pod gets %+v", a)
	}
	if len(e.images.transfers.active) != 1 || n.images.images["second:1"] != nil {
		t.Error("the second image is not on its way now")
	}
	e.Registry(RegistryFault{Down: true})
	if a := ask("four", "third:1", end); a.Reason != reasonImagePull || !a.BackOff {
		t.Errorf("with the registry down the pod gets %+v", a)
	}
	if a := ask("five", "first:1", end); !a.Present {
		t.Errorf("a cached image does not start while the registry is down: %+v", a)
	}
}
