package cli

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// lookAtMemoryEvery is how often a running cluster looks whether it rests.
	lookAtMemoryEvery = 30 * time.Second
	// slackKept is garbage not worth a collection, beside a quarter of what lives.
	slackKept = 24 << 20
	// gcPercent is the heap's growth between two collections while a cluster runs: a mass start of 10,000 pods stays under
	// 2 GB with it (2.3 GB with Go's 100), for about a tenth more CPU.
	gcPercent = 70
)

// collectOften sets gcPercent, unless whoever started the process chose by GOGC.
func collectOften() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

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
	return now.allocated-before.allocated < now.live/4 && now.held > now.live+now.live/4+slackKept
}

// giveBackMemory returns to the system what a start or a burst of work has left, whenever the cluster rests. The runtime
// by itself keeps it for the next burst.
func giveBackMemory(ctx context.Context) {
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
			debug.FreeOSMemory()
			now = readHeapUse()
			given = now.held
		}
		before = now
	}
}
