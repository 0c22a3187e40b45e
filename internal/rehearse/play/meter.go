package play

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// meter measures a run in real time, which the program's own clock does not show when time is virtual.
type meter struct {
	wall0, wall1, wall2 float64
	cpu1, cpu2          float64
	virtual1, virtual2  time.Time
}

func startMeter() *meter { return &meter{wall0: realSeconds()} }

func (m *meter) playing() { m.wall1, m.cpu1, m.virtual1 = realSeconds(), cpuSeconds(), time.Now() }

func (m *meter) played(*run) { m.wall2, m.cpu2, m.virtual2 = realSeconds(), cpuSeconds(), time.Now() }

func (m *meter) execution(r *run) *record.Execution {
	e := &record.Execution{WallSeconds: realSeconds() - m.wall0, CPUSeconds: cpuSeconds(), PeakRSSBytes: peakRSS()}
	if !m.virtual2.IsZero() {
		e.PlayedSeconds, e.PlayWallSeconds, e.PlayCPUSeconds = m.virtual2.Sub(m.virtual1).Seconds(), m.wall2-m.wall1, m.cpu2-m.cpu1
	}
	if r.house != nil {
		e.Requests = r.house.Plane.Requests()
		e.PodStarts = r.house.Engine.Counters().StatusWrites
	}
	if r.metrics != nil {
		e.HPAEvaluations = r.metrics.reads
	}
	if r.hpa != nil {
		_, e.HPAElided, e.HPAWrong = r.hpa.Evaluations()
	}
	if r.sampler != nil {
		e.MaxPods, e.MinPods = r.sampler.maxPods, r.sampler.minPods
		e.FlowWindows = r.demand.system.Stats().Windows
	}
	return e
}

// realSeconds is the machine's monotonic clock, by a system call of our own: the runtime's clock may be virtual.
func realSeconds() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return float64(t.Sec) + float64(t.Nsec)/1e9
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

func peakRSS() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Maxrss << 10
}
