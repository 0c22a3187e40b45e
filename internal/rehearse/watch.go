package rehearse

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// stallDefault is how long a run that does nothing may be silent: it reports every virtual minute, which takes an idle
// cluster milliseconds.
const stallDefault = time.Minute

// busyFactor times that much CPU a run that works may use in silence: the start of thousands of pods at one instant takes
// minutes. It is counted in CPU because a busy machine must not make a run count as stuck.
const busyFactor = 6

// idleShare of a core is less than any run uses that gets on.
const idleShare = 0.05

// stall says that a run does not get on.
type stall struct {
	silent time.Duration
	busy   bool
	where  string
}

func (s *stall) Error() string {
	if s.busy {
		return fmt.Sprintf("the run is stuck%s: it is busy, but virtual time did not get on for %s. This is a bug of Fairway; where its goroutines stand:", s.where, s.silent)
	}
	return fmt.Sprintf("the run is stuck%s: everything in it waits, and nothing is due, for %s. This is a bug of Fairway; where its goroutines stand:", s.where, s.silent)
}

// watcher looks after one run in real time.
type watcher struct {
	last atomic.Int64 // when the run was heard, in nanoseconds since the watcher began
	from time.Time
	when atomic.Int64 // virtual time last told, in unix nanoseconds
	done chan struct{}
}

// watch calls stuck when nothing was heard of the process for too long.
func watch(pid int, limit time.Duration, stuck context.CancelCauseFunc) *watcher {
	if limit <= 0 {
		limit = stallDefault
	}
	w := &watcher{from: time.Now(), done: make(chan struct{})}
	go func() {
		tick := time.NewTicker(limit / 4)
		defer tick.Stop()
		since, used := time.Duration(-1), time.Duration(0)
		for {
			select {
			case <-w.done:
				return
			case <-tick.C:
			}
			if last := time.Duration(w.last.Load()); last != since {
				since, used = last, cpuTime(pid)
				continue
			}
			silent := time.Since(w.from) - since
			worked := cpuTime(pid) - used
			busy := worked.Seconds() > idleShare*silent.Seconds()
			if silent > limit && !busy || worked > busyFactor*limit {
				stuck(&stall{silent: silent.Round(time.Second), busy: busy, where: w.where()})
				return
			}
		}
	}()
	return w
}

func (w *watcher) heard(e record.Event) {
	w.last.Store(int64(time.Since(w.from)))
	if e.Progress != nil {
		w.when.Store(e.Progress.Time.UnixNano())
	}
}

func (w *watcher) stop() { close(w.done) }

// cpuTime is what a process has used; 0 where the system does not say, which counts as idle.
func cpuTime(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	const userTicks, systemTicks, ticksPerSecond = 11, 12, 100 // fields after the name in parentheses; USER_HZ of every Linux
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) <= systemTicks {
		return 0
	}
	u, _ := strconv.ParseInt(string(f[userTicks]), 10, 64)
	s, _ := strconv.ParseInt(string(f[systemTicks]), 10, 64)
	return time.Duration(u+s) * time.Second / ticksPerSecond
}

// where is the virtual time the run was last heard at, as part of a sentence.
func (w *watcher) where() string {
	if ns := w.when.Load(); ns != 0 {
		return " after " + time.Unix(0, ns).UTC().Format(time.DateTime)
	}
	return " before it was set up"
}
