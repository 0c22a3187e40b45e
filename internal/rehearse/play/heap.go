package play

import (
	"fmt"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// fullShare of the memory limit in use by what lives is where a run stops: beyond it the collector would run all the time,
// since stacks and the runtime's own memory count too.
const fullShare = 0.7

// heapLive is what the last collection found alive.
const heapLive = "/gc/heap/live:bytes"

// memoryFull tells that the run needs more memory than it may have. What lives follows from the input alone, so equal runs
// stop at the same instant.
func (r *run) memoryFull() error {
	limit := debug.SetMemoryLimit(-1)
	if r.heap == nil {
		r.heap = []metrics.Sample{{Name: heapLive}}
	}
	metrics.Read(r.heap)
	live := r.heap[0].Value.Uint64()
	if float64(live) <= fullShare*float64(limit) {
		return nil
	}
	return fmt.Errorf("at %s the run needs %d MiB, and its limit is %d MiB: rehearse fewer pods, give the autoscalers a longer hpaSync, or raise --memory-limit",
		time.Now().UTC().Format(time.DateTime), live>>20, limit>>20)
}
