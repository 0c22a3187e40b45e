package cli

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestMemoryIsGivenBackOnlyByAClusterThatRests(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	for _, c := range []struct {
		what        string
		before, now heapUse
		want        bool
	}{
		{"much garbage, at rest", heapUse{allocated: 900 * mb}, heapUse{allocated: 910 * mb, live: 100 * mb, held: 300 * mb}, true},
		{"much garbage, at work", heapUse{allocated: 100 * mb}, heapUse{allocated: 900 * mb, live: 100 * mb, held: 300 * mb}, false},
		{"little garbage, at rest", heapUse{allocated: 900 * mb}, heapUse{allocated: 910 * mb, live: 100 * mb, held: 118 * mb}, false},
	} {
		if got := c.now.resting(c.before); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

func TestTheHeapIsRead(t *testing.T) {
	t.Parallel()
	if u := readHeapUse(); u.allocated == 0 || u.held == 0 {
		t.Errorf("%+v", u)
	}
}

func TestTheHeapMayGrowWithinItsRoom(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	last := gcMost
	for live := uint64(mb); live < 4000*mb; live += 10 * mb {
		g := rested.growth(live)
		if g > last || g < gcLeast || g > gcMost {
			t.Fatalf("%d MB live: %d %% after %d %%", live/mb, g, last)
		}
		if heap := live + live*uint64(g)/100; heap > heapRoom && g != gcLeast {
			t.Errorf("%d MB live may grow to %d MB", live/mb, heap/mb)
		}
		last = g
	}
	if settling.growth(0) != gcLeast || settling.growth(150*mb) != gcLeast || settling.growth(200*mb) != gcMost || settling.growth(2000*mb) != gcLeast {
		t.Error("what a start leaves may grow least, a small heap most, a large one least")
	}
}

func TestAStartLeavesSoMuchGarbageAndNoMore(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	for live := uint64(4 * mb); live < 400*mb; live += mb {
		garbage := live * uint64(starting.growth(live)) / 100
		if garbage > garbageOfAStart && starting.growth(live) != gcLeast || garbage < garbageOfAStart-live/100 {
			t.Errorf("%d MB live: %d MB of garbage", live/mb, garbage/mb)
		}
	}
	if first := starting.growth(0) * smallestHeap / 100; first > garbageOfAStart || first < garbageOfAStart-mb {
		t.Errorf("the first collection comes at %d MB", first/mb)
	}
}

func TestCollectionsArePacedUntilTheEnd(t *testing.T) {
	percent := func() uint64 {
		runtime.GC()
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	ctx, cancel := context.WithCancel(t.Context())
	paceCollections(ctx, settling.growth)
	for end := time.Now().Add(time.Minute); percent() != gcLeast; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("collected at %d %% growth", percent())
		}
	}
	cancel()
	percent() // what is under way ends
	debug.SetGCPercent(90)
	for range 5 {
		time.Sleep(time.Millisecond)
		if p := percent(); p != 90 {
			t.Fatalf("%d %% was set after the end", p)
		}
	}
}
