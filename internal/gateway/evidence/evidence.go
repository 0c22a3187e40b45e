// Package evidence remembers how the requests to each revision went: their number, their errors and a sketch of their
// latencies for each of the last 900 seconds, by route. In go requests as the data path saw them, or rates as a model has
// them; out come windows, which analysis compares.
package evidence

import (
	"slices"
	"sync"
	"time"

	"github.com/fairway-dev/fairway/internal/kube/sketch"
)

const (
	// Depth is how far back a window can reach.
	Depth = 15 * time.Minute
	// maxSeries bounds the revisions × routes that are remembered at once. Beyond it the requests of further ones are not:
	// their windows are empty, and analysis finds too few samples.
	maxSeries = 10_000
	// A cell that is taken over keeps its memory up to this many buckets.
	keptBuckets = 128
)

// Key of a series. Empty fields of a question stand for all.
type Key struct {
	// Namespace of the pods, and the hash of their template.
	Namespace, Revision string
	// Route that the requests came by: kind/namespace/name.
	Route string
}

// Store of all series. The zero value is not ready: use New.
type Store struct {
	// Due, if set, is called before a question is answered: whoever counts at intervals brings the store up to date. Set it before
	// use.
	Due func()

	mu      sync.RWMutex
	series  map[Key]*Series
	refused uint64
}

// New returns an empty store.
func New() *Store { return &Store{series: map[Key]*Series{}} }

// Series returns the one with the key, made if there is none; nil when there are too many already. Callers may keep it: what is
// added to a series that was forgotten meanwhile is lost, so they ask again once Forgotten.
func (s *Store) Series(k Key) *Series {
	s.mu.RLock()
	one := s.series[k]
	s.mu.RUnlock()
	if one != nil {
		return one
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if one = s.series[k]; one != nil {
		return one
	}
	if len(s.series) >= maxSeries {
		s.refused++
		return nil
	}
	one = &Series{}
	s.series[k] = one
	return one
}

// Forget drops the series without a request in the last Depth. To be called now and then.
func (s *Store) Forget(now time.Time) {
	oldest := now.Add(-Depth).Unix()
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, one := range s.series {
		one.mu.Lock()
		if n := len(one.cells); n == 0 || one.cells[n-1].second < oldest {
			one.forgotten = true
			delete(s.series, k)
		}
		one.mu.Unlock()
	}
}

// Len is the number of series, and Refused how often one more was asked for than there may be.
func (s *Store) Len() (series int, refused uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.series), s.refused
}

// Keys of all series, sorted.
func (s *Store) Keys() []Key {
	s.mu.RLock()
	defer s.mu.RUnlock()
	keys := make([]Key, 0, len(s.series))
	for k := range s.series {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

// Window sums up the requests that ended in the last length before now, of all series that fit the key.
func (s *Store) Window(k Key, length time.Duration, now time.Time) *Window {
	w := &Window{}
	for _, key := range s.Keys() { // in order: sums of rates are the same each time
		if fits(k.Namespace, key.Namespace) && fits(k.Revision, key.Revision) && fits(k.Route, key.Route) {
			s.mu.RLock()
			one := s.series[key]
			s.mu.RUnlock()
			if one != nil {
				one.addTo(w, length, now)
			}
		}
	}
	w.Length = min(length, Depth)
	return w
}

func fits(asked, has string) bool { return asked == "" || asked == has }

// Series is that of one revision and route. All methods may be called at once.
type Series struct {
	mu        sync.Mutex
	cells     []cell // by second; those without requests are left out
	forgotten bool
}

// cell is one second.
type cell struct {
	second           int64
	requests, errors float64
	latency          sketch.Sparse
}

// Add counts a request that ended now. It reports false when the series was forgotten: ask the store for another.
func (s *Series) Add(latency time.Duration, failed bool, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forgotten {
		return false
	}
	c := s.cell(now.Unix())
	c.requests++
	if failed {
		c.errors++
	}
	c.latency.Add(latency.Seconds(), 1)
	return true
}

// AddMany counts what a model says of the second that ends now: so many requests, so many of them errors, with these
// latencies.
func (s *Series) AddMany(requests, errors float64, latency *sketch.Sketch, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forgotten {
		return false
	}
	c := s.cell(now.Unix())
	c.requests += requests
	c.errors += errors
	c.latency.AddSketch(latency)
	return true
}

// cell returns that of the second; one that is older than the newest counts for the newest.
func (s *Series) cell(second int64) *cell {
	n := len(s.cells)
	if n > 0 && s.cells[n-1].second >= second {
		return &s.cells[n-1]
	}
	var spare sketch.Sparse
	if n > 0 && s.cells[0].second < second-int64(Depth/time.Second) {
		spare = s.cells[0].latency
		spare.Reset(keptBuckets)
		s.cells = append(s.cells[:0], s.cells[1:]...)
	}
	s.cells = append(s.cells, cell{second: second, latency: spare})
	return &s.cells[len(s.cells)-1]
}

// addTo adds the cells of whole seconds within the window, and that of the present one.
func (s *Series) addTo(w *Window, length time.Duration, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := now.Add(-min(length, Depth)).Unix() + 1
	at, _ := slices.BinarySearchFunc(s.cells, first, func(c cell, second int64) int { return int(c.second - second) })
	for i := at; i < len(s.cells) && s.cells[i].second <= now.Unix(); i++ {
		c := &s.cells[i]
		w.Requests += c.requests
		w.Errors += c.errors
		c.latency.AddTo(&w.latency)
	}
}
