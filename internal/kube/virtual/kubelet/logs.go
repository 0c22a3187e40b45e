package kubelet

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// logTime is the form of timestamps in container logs: RFC 3339 with nine digits.
const logTime = "2006-01-02T15:04:05.000000000Z07:00"

// logQuery is what a reader of logs asks for.
type logQuery struct {
	follow, previous, timestamps bool
	tail, limit                  int64 // lines, bytes; negative = all
	since                        time.Time
	stream                       string
}

func parseLogQuery(q url.Values, now time.Time) (logQuery, error) {
	out := logQuery{tail: -1, limit: -1, stream: "All"}
	for key, into := range map[string]*bool{"follow": &out.follow, "previous": &out.previous, "timestamps": &out.timestamps} {
		if text := q.Get(key); text != "" {
			*into = text != "0" && text != "false"
		}
	}
	if tail := q.Get("tail"); tail != "" && tail != "all" && q.Get("tailLines") == "" {
		q.Set("tailLines", tail) // the name of older clients
	}
	seconds := int64(-1)
	for _, number := range []struct {
		key   string
		least int64
		into  *int64
	}{{"limitBytes", 1, &out.limit}, {"sinceSeconds", 1, &seconds}, {"tailLines", 0, &out.tail}} {
		text := q.Get(number.key)
		if text == "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < number.least {
			return out, fmt.Errorf("%s: %q must be a whole number of at least %d", number.key, text, number.least)
		}
		*number.into = n
	}
	if seconds > 0 {
		out.since = now.Add(-time.Duration(min(seconds, int64(1<<33))) * time.Second)
	}
	if text := q.Get("sinceTime"); text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil || seconds > 0 {
			return out, fmt.Errorf("sinceTime: %q must be a time as RFC 3339 writes it, and not stand beside sinceSeconds", text)
		}
		out.since = at
	}
	if text := q.Get("stream"); text != "" {
		if text != "All" && text != "Stdout" && text != "Stderr" || text != "All" && out.tail >= 0 {
			return out, fmt.Errorf("stream: %q must be All, Stdout or Stderr, and All with tailLines", text)
		}
		out.stream = text
	}
	return out, nil
}

// containerLogs writes the log of a container instance, and follows it if asked.
func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request, node *corev1.Node) {
	q, err := parseLogQuery(r.URL.Query(), time.Now())
	if err != nil {
		http.Error(w, fmt.Sprintf(`{"message": "Invalid request.", "cause": %q}`, err), http.StatusUnprocessableEntity)
		return
	}
	p, ok := s.pod(w, r, node)
	if !ok {
		return
	}
	container := r.PathValue("container")
	run, err := instanceFor(p, container, q.previous)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out := &logWriter{w: w, flush: http.NewResponseController(w).Flush, query: q, left: q.limit}
	s.copyLog(r.Context(), out, p, container, run)
}

// instance is one run of a container, as its status shows it.
type instance struct {
	restart int32
	started time.Time
	ended   time.Time // zero while it runs
}

// instanceFor chooses the instance whose log is shown, by the kubelet's rules and with its errors.
func instanceFor(p *corev1.Pod, container string, previous bool) (instance, error) {
	status := containerStatus(p, container)
	if status == nil {
		return instance{}, fmt.Errorf("container %q in pod %q is not available", container, p.Name)
	}
	last := status.LastTerminationState.Terminated
	state := &status.State
	switch {
	case previous:
		if last == nil || last.ContainerID == "" {
			return instance{}, fmt.Errorf("previous terminated container %q in pod %q not found", container, p.Name)
		}
		return ended(last, status.RestartCount-1), nil
	case state.Running != nil:
		return instance{restart: status.RestartCount, started: state.Running.StartedAt.Time}, nil
	case state.Terminated != nil && state.Terminated.ContainerID != "":
		return ended(state.Terminated, status.RestartCount), nil
	case last != nil && last.ContainerID != "":
		return ended(last, status.RestartCount), nil
	case state.Terminated != nil || last != nil:
		return instance{}, fmt.Errorf("container %q in pod %q is terminated", container, p.Name)
	case state.Waiting == nil:
		return instance{}, fmt.Errorf("container %q in pod %q is waiting to start - no logs yet", container, p.Name)
	}
	reason := state.Waiting.Reason
	switch reason {
	case "ErrImagePull":
		reason = "image can't be pulled"
	case "ImagePullBackOff":
		reason = "trying and failing to pull image"
	}
	return instance{}, fmt.Errorf("container %q in pod %q is waiting to start: %s", container, p.Name, reason)
}

func ended(t *corev1.ContainerStateTerminated, restart int32) instance {
	return instance{restart: max(restart, 0), started: t.StartedAt.Time, ended: t.FinishedAt.Time}
}

func containerStatus(p *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, set := range [][]corev1.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for i := range set {
			if set[i].Name == name {
				return &set[i]
			}
		}
	}
	return nil
}

// copyLog writes what there is, and, when following, what comes until the instance ends.
func (s *Server) copyLog(ctx context.Context, out *logWriter, p *corev1.Pod, container string, run instance) {
	changed, stop := s.watch(p)
	defer stop()
	shown := time.Time{} // lines up to here are out
	count := 0           // lines at exactly that instant that are out
	first := true
	for {
		lines, more := s.opts.Logs.read(p, container, run.restart, run.started, out.query.follow)
		until := time.Now()
		if !run.ended.IsZero() && run.ended.Add(time.Second).Before(until) {
			until = run.ended.Add(time.Second) // statuses have whole seconds
		}
		due, next := divide(lines, until)
		if first && out.query.tail >= 0 && int64(len(due)) > out.query.tail {
			tail := due[int64(len(due))-out.query.tail:]
			shown, count = position(due)
			for i := range tail {
				if !out.write(&tail[i]) {
					return
				}
			}
		} else {
			for i := range due {
				if due[i].At.Before(shown) || due[i].At.Equal(shown) && countBefore(due, i) < count {
					continue
				}
				if !out.write(&due[i]) {
					return
				}
			}
			shown, count = position(due)
		}
		first = false
		if !out.query.follow || !run.ended.IsZero() || out.flush() != nil {
			return
		}
		if !wait(ctx, more, changed, next, until) {
			return
		}
		if run, p = s.refresh(p, container, run); p == nil {
			return
		}
	}
}

// divide cuts lines at an instant and returns when the next one is due.
func divide(lines []LogLine, until time.Time) (due []LogLine, next time.Time) {
	for i := range lines {
		if lines[i].At.After(until) {
			return lines[:i], lines[i].At
		}
	}
	return lines, time.Time{}
}

// position returns the instant of the last line and how many lines have it.
func position(lines []LogLine) (time.Time, int) {
	if len(lines) == 0 {
		return time.Time{}, 0
	}
	return lines[len(lines)-1].At, countBefore(lines, len(lines)-1) + 1
}

// countBefore returns how many lines before i have its instant.
func countBefore(lines []LogLine, i int) int {
	n := 0
	for i-n-1 >= 0 && lines[i-n-1].At.Equal(lines[i].At) {
		n++
	}
	return n
}

// wait returns when there may be something new; false when the reader has left. There is a timer only while a scripted
// line is due.
func wait(ctx context.Context, more, changed <-chan struct{}, next, now time.Time) bool {
	var due <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(next.Sub(now))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-more:
	case <-changed:
	case <-due:
	}
	return true
}

// refresh reads the pod again and tells whether the followed instance has ended; no pod, no more log.
func (s *Server) refresh(p *corev1.Pod, container string, run instance) (instance, *corev1.Pod) {
	now := s.opts.Pod(p.Namespace, p.Name)
	if now == nil || now.UID != p.UID {
		return run, nil
	}
	status := containerStatus(now, container)
	switch {
	case status == nil:
		return run, nil
	case status.State.Running != nil && status.RestartCount == run.restart:
	case status.State.Terminated != nil:
		run.ended = status.State.Terminated.FinishedAt.Time
	case status.LastTerminationState.Terminated != nil:
		run.ended = status.LastTerminationState.Terminated.FinishedAt.Time
	}
	return run, now
}

// logWriter formats lines and keeps the limit of bytes.
type logWriter struct {
	w     http.ResponseWriter
	flush func() error
	query logQuery
	left  int64
	buf   bytes.Buffer
}

// write writes one line; it returns false when no more is wanted.
func (l *logWriter) write(line *LogLine) bool {
	if line.At.Before(l.query.since) || line.Stderr && l.query.stream == "Stdout" || !line.Stderr && l.query.stream == "Stderr" {
		return true
	}
	l.buf.Reset()
	if l.query.timestamps {
		l.buf.WriteString(line.At.UTC().Format(logTime))
		l.buf.WriteByte(' ')
	}
	l.buf.WriteString(line.Text)
	l.buf.WriteByte('\n')
	data := l.buf.Bytes()
	if l.left >= 0 && int64(len(data)) > l.left {
		data = data[:l.left]
	}
	if l.left >= 0 {
		l.left -= int64(len(data))
	}
	_, err := l.w.Write(data)
	return err == nil && l.left != 0
}
