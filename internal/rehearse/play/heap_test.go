package play

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// TestARunStopsWhenWhatLivesFillsItsMemory is not parallel: the limit is that of the process.
func TestARunStopsWhenWhatLivesFillsItsMemory(t *testing.T) {
	runtime.GC()
	r := &run{}
	if err := r.memoryFull(); err != nil {
		t.Fatalf("without a limit: %v", err)
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1 << 20))
	err := r.memoryFull()
	if err == nil || !strings.Contains(err.Error(), "its limit is 1 MiB") || !strings.Contains(err.Error(), "--memory-limit") {
		t.Errorf("error %v, want the limit and what to do about it", err)
	}
}
