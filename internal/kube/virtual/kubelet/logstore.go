package kubelet

import (
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// instanceBytes bounds what is kept of one container instance; the oldest lines go first. A kubelet keeps 50 MiB on
	// disk; this is memory of one process for a whole cluster.
	instanceBytes = 256 << 10
	// totalBytes bounds what is kept of all; then the instance written to longest ago is forgotten.
	totalBytes = 64 << 20
	// lineOverhead is what a line costs beside its text.
	lineOverhead = 48
)

// LogLine is one line a container wrote.
type LogLine struct {
	At     time.Time
	Text   string // without the line end
	Stderr bool
}

// Instance names one run of a container.
type Instance struct {
	Pod       string // its UID
	Container string
	Restart   int32
}

// Logs keeps what container instances write, the current and the previous one of each container. The zero value keeps
// what is appended; all methods may be called concurrently.
type Logs struct {
	// Scripted returns what an instance that started at an instant writes by its model, in order of time; lines in the
	// future are not shown yet. nil = nothing. It must always return the same for the same instance.
	Scripted func(pod *corev1.Pod, container *corev1.Container, restart int32, started time.Time) []LogLine

	mu        sync.Mutex
	instances map[Instance]*instanceLog
	bytes     int
	writes    uint64
}

type instanceLog struct {
	lines []LogLine
	bytes int
	wrote uint64 // number of the newest write
	more  chan struct{}
}

// Append adds a line. The logs of instances before the previous one are dropped.
func (l *Logs) Append(i Instance, line LogLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.instances == nil {
		l.instances = map[Instance]*instanceLog{}
	}
	e := l.instances[i]
	if e == nil {
		e = &instanceLog{}
		l.instances[i] = e
		l.drop(Instance{i.Pod, i.Container, i.Restart - 2})
	}
	l.writes++
	e.wrote = l.writes
	e.lines = append(e.lines, line)
	size := len(line.Text) + lineOverhead
	e.bytes += size
	l.bytes += size
	for e.bytes > instanceBytes && len(e.lines) > 1 {
		size := len(e.lines[0].Text) + lineOverhead
		e.lines = e.lines[1:]
		e.bytes -= size
		l.bytes -= size
	}
	for l.bytes > totalBytes && len(l.instances) > 1 {
		l.dropOldest(i)
	}
	if e.more != nil {
		close(e.more)
		e.more = nil
	}
}

// Forget drops all logs of a pod.
func (l *Logs) Forget(pod string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.instances {
		if i.Pod == pod {
			l.drop(i)
		}
	}
}

func (l *Logs) drop(i Instance) {
	if e := l.instances[i]; e != nil {
		l.bytes -= e.bytes
		delete(l.instances, i)
		if e.more != nil {
			close(e.more)
		}
	}
}

// dropOldest forgets the instance written to longest ago, except keep.
func (l *Logs) dropOldest(keep Instance) {
	var oldest Instance
	var found *instanceLog
	for i, e := range l.instances {
		if i != keep && (found == nil || e.wrote < found.wrote) {
			oldest, found = i, e
		}
	}
	if found != nil {
		l.drop(oldest)
	}
}

// read returns all lines of an instance in order of time, scripted ones of the future included, and for a follower a
// channel that is closed when a line is appended.
func (l *Logs) read(pod *corev1.Pod, container string, restart int32, started time.Time, follow bool) ([]LogLine, <-chan struct{}) {
	if l == nil {
		return nil, nil
	}
	var lines []LogLine
	if c := containerSpec(pod, container); c != nil && l.Scripted != nil {
		lines = slices.Clone(l.Scripted(pod, c, restart, started))
	}
	i := Instance{string(pod.UID), container, restart}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.instances == nil {
		l.instances = map[Instance]*instanceLog{}
	}
	e := l.instances[i]
	switch {
	case e == nil && !follow:
		return lines, nil
	case e == nil:
		e = &instanceLog{}
		l.instances[i] = e
	}
	if e.more == nil && follow {
		e.more = make(chan struct{})
	}
	lines = append(lines, e.lines...)
	slices.SortStableFunc(lines, func(a, b LogLine) int { return a.At.Compare(b.At) })
	return lines, e.more
}
