package cli

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// lookAtMemoryEvery is how often a running cluster looks whether it rests.
	lookAtMemoryEvery = 30 * time.Second
	// slackKept is garbage not worth a collection, beside an eighth of what lives.
	slackKept = 8 << 20
	// gcMost and gcLeast bound the heap's growth between two collections, in percent of what lives, and heapRoom is the size
	// that the heap may reach in any case. What collections cost falls with the growth: with Go's 100 throughout, a mass start
	// of 10,000 pods on 1,000 nodes took more memory at its end (2.3 GB resident) and more CPU on the way there.
	gcMost, gcLeast = 200, 60
	heapRoom        = 1400 << 20
	// heapOfAStart is more than lives in a cluster that has just started. Until it first rests, a heap up to this size grows by
	// gcLeast: what a start leaves stays where it was made, among what it threw away, so with Go's 100 a cluster at rest would
	// hold 20 to 30 MB more. From then on memory is given back at every rest, and collections amid work are rare.
	heapOfAStart = 192 << 20
	// garbageOfAStart is what a start may leave between two collections: about what the last of them find with gcLeast.
	garbageOfAStart = 96 << 20
	// smallestHeap is what the runtime takes for live when less is.
	smallestHeap = 4 << 20
)

// collectByOurselves reports that whoever started the process did not choose by GOGC or GOMEMLIMIT.
func collectByOurselves() bool { return os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" }

// phase is how far a cluster has come.
type phase int32

const (
	starting phase = iota
	settling
	rested
)

// growth is how far the heap may grow before the next collection, in percent of the live bytes.
func (p phase) growth(live uint64) int {
	switch {
	case p == starting: // the little that lives at first is not gone through for every few megabytes
		return max(int(garbageOfAStart*100/max(live, smallestHeap)), gcLeast)
	case p == settling && live <= heapOfAStart:
		return gcLeast
	}
	return min(max(int((heapRoom-min(heapRoom, live))*100/max(live, 1)), gcLeast), gcMost)
}

// paceCollections sets the growth anew after each collection until ctx ends.
func paceCollections(ctx context.Context, growth func(live uint64) int) {
	current := 0
	var pace func(*collected)
	pace = func(c *collected) {
		if ctx.Err() != nil {
			return
		}
		if next := growth(readHeapUse().live); next != current {
			current = next
			debug.SetGCPercent(next)
		}
		runtime.SetFinalizer(c, pace) // the next collection finds it unused again
	}
	pace(&collected{})
}

// collected is what the runtime finds unused at each collection.
type collected struct{ _ [16]byte }

// heapUse is what the process holds of memory.
type heapUse struct {
	allocated uint64 // bytes since the start
	live      uint64 // bytes that the last collection found in use
	held      uint64 // bytes of the heap that are not given back to the system
}

func readHeapUse() heapUse {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(s)
	held := s[2].Value.Uint64() + s[3].Value.Uint64() + s[4].Value.Uint64()
	return heapUse{allocated: s[0].Value.Uint64(), live: s[1].Value.Uint64(), held: held}
}

// resting reports whether memory is worth giving back: little was allocated since before, and more is held than lives.
func (now heapUse) resting(before heapUse) bool {
	return now.allocated-before.allocated < now.live/4 && now.held > now.live+now.live/8+slackKept
}

// giveBackMemory returns to the system what a start or a burst of work has left, whenever the cluster rests. The runtime
// by itself keeps it for the next burst. giving is called before each time.
func giveBackMemory(ctx context.Context, giving func()) {
	t := time.NewTicker(lookAtMemoryEvery)
	defer t.Stop()
	before := readHeapUse()
	var given uint64 // what was held after the last time: fragments that no collection frees
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := readHeapUse()
		if now.resting(before) && now.held > given+slackKept {
			giving()
			debug.FreeOSMemory()
			now = readHeapUse()
			given = now.held
		}
		before = now
	}
}
