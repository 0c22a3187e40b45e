package play

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"net/http"
	"sync"
	"time"

	"github.com/fairway-dev/fairway/internal/kube/controlplane"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// recorder writes the run's stream and keeps the two hashes that prove a run equal to another: one over every API write in
// order with its virtual nanosecond, one over the timeline.
type recorder struct {
	mu       sync.Mutex
	out      *record.Writer
	writes   hash.Hash
	timeline hash.Hash
	count    int64
	entries  int
	columns  map[string]int
	muted    bool   // during the set-up nothing is worth an entry
	headline string // the last severe entry
	headedAt time.Time
	recent   []record.Entry // for conditions
}

// recentMax is how many entries conditions can look back on.
const recentMax = 2000

func newRecorder(out *record.Writer) *recorder {
	return &recorder{out: out, writes: sha256.New(), timeline: sha256.New(), columns: map[string]int{}, muted: true}
}

// request takes part in the hash of writes. Reads do not: they change nothing, and their number is an implementation
// detail of client libraries.
func (r *recorder) request(q controlplane.Request) {
	if q.Method == http.MethodGet || q.Method == http.MethodHead {
		return
	}
	now := time.Now().UnixNano()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	var t [8]byte
	binary.BigEndian.PutUint64(t[:], uint64(now))
	r.writes.Write(t[:])
	for _, s := range []string{q.Method, q.Path, q.Query, q.User} {
		r.writes.Write([]byte(s))
		r.writes.Write([]byte{0})
	}
	r.writes.Write(q.Body)
}

// entry puts a fact on the timeline.
func (r *recorder) entry(e record.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.muted {
		return
	}
	r.entries++
	e.ID = r.entries
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = e.Time.UTC()
	if e.Severity == "" {
		e.Severity = record.Info
	}
	if e.Severity == record.Severe {
		r.headline, r.headedAt = e.What, e.Time
	}
	var t [8]byte
	binary.BigEndian.PutUint64(t[:], uint64(e.Time.UnixNano()))
	r.timeline.Write(t[:])
	for _, s := range []string{e.Kind, e.Object, e.What} {
		r.timeline.Write([]byte(s))
		r.timeline.Write([]byte{0})
	}
	r.out.Write(record.Event{Entry: &e})
	if r.recent = append(r.recent, e); len(r.recent) > 2*recentMax {
		r.recent = append(r.recent[:0], r.recent[len(r.recent)-recentMax:]...)
	}
}

// headlineFor is how long a severe entry is shown beside the progress.
const headlineFor = time.Hour

// latest is the last severe entry, "" when it is long ago.
func (r *recorder) latest(now time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.headedAt) > headlineFor {
		return ""
	}
	return r.headline
}

// newest are the last entries, oldest first.
func (r *recorder) newest() []record.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]record.Entry(nil), r.recent...)
}

func (r *recorder) mute(on bool) {
	r.mu.Lock()
	r.muted = on
	r.mu.Unlock()
}

func (r *recorder) event(e record.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out.Write(e)
}

// column returns the number of a series, declaring it the first time.
func (r *recorder) column(metric, label, value string) int {
	key := metric + "\x00" + label + "\x00" + value
	r.mu.Lock()
	defer r.mu.Unlock()
	if id, ok := r.columns[key]; ok {
		return id
	}
	id := len(r.columns)
	r.columns[key] = id
	c := record.Column{ID: id, Metric: metric}
	if label != "" {
		c.Labels = map[string]string{label: value}
	}
	r.out.Write(record.Event{Column: &c})
	return id
}

func (r *recorder) end(e record.End) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.WritesHash, e.TimelineHash = hex.EncodeToString(r.writes.Sum(nil)), hex.EncodeToString(r.timeline.Sum(nil))
	e.Writes = r.count
	r.out.Write(record.Event{End: &e})
	return r.out.Err()
}
