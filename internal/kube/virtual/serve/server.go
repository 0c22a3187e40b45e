package serve

import (
	"context"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// Headers of every answer: which pod gave it, and of which revision (its pod-template hash) it is.
const (
	HeaderPod      = "X-Pod"
	HeaderRevision = "X-Revision"
)

// server is one run of one container.
type server struct {
	of      Instance
	cpu     processor
	started time.Time
	ended   context.Context // of the container
	end     context.CancelFunc

	mu      sync.Mutex
	random  *rand.Rand
	model   *v1alpha1.ServiceModel // nil = it answers at once
	revised string                 // the revision, for the header
	closing time.Time              // no new connections from then on
	busy    int                    // requests worked on
	waiting []chan struct{}        // in the order of their coming
	conns   map[*conn]bool
}

func newServer(of Instance, started time.Time) *server {
	h := fnv.New64a()
	_, _ = io.WriteString(h, of.Namespace+"/"+of.Name+"/"+of.Container)
	s := &server{of: of, started: started, random: rand.New(rand.NewPCG(h.Sum64(), uint64(of.Restart))), conns: map[*conn]bool{}}
	s.ended, s.end = context.WithCancel(context.Background())
	return s
}

// set takes what is known of the container now; it is in force for the next request.
func (s *server) set(w What) {
	s.mu.Lock()
	s.model, s.revised, s.closing = w.Model, w.Revision, w.Closing
	s.mu.Unlock()
	cores := w.Cores
	if w.Model != nil && w.Model.Threads != nil && (cores == 0 || float64(*w.Model.Threads) < cores) {
		cores = float64(*w.Model.Threads)
	}
	s.cpu.setCores(cores)
}

// ServeHTTP answers by the model.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.perform(w, r, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Length", "3")
		_, _ = io.WriteString(w, "ok\n")
	})
}

// perform lets a request take the time, and meet the errors, that the model says, and then be answered.
func (s *server) perform(w http.ResponseWriter, r *http.Request, answer http.HandlerFunc) {
	s.mu.Lock()
	model, revision, closing := s.model, s.revised, s.closing
	s.mu.Unlock()
	h := w.Header()
	h.Set(HeaderPod, s.of.Name)
	if revision != "" {
		h.Set(HeaderRevision, revision)
	}
	if !closing.IsZero() && !time.Now().Before(closing) {
		h.Set("Connection", "close")
	}
	if model == nil {
		answer(w, r)
		return
	}
	if !s.enter(r.Context(), model) {
		h.Set("Retry-After", "1")
		http.Error(w, "the queue is full", http.StatusServiceUnavailable)
		return
	}
	defer s.leave(model)
	s.mu.Lock()
	c := draw(model, r.URL.Path, time.Since(s.started), s.random)
	s.mu.Unlock()
	if !s.spend(r.Context(), model, c) {
		return
	}
	if c.error {
		http.Error(w, "error", http.StatusInternalServerError)
		return
	}
	answer(w, r)
}

// spend lets the time of a request pass. It is false when nobody waits for the answer any more.
func (s *server) spend(ctx context.Context, model *v1alpha1.ServiceModel, c cost) bool {
	gone := ctx.Done()
	if model.Cancel == nil || !*model.Cancel {
		gone = nil // the work goes on
	}
	select {
	case <-s.cpu.work(c.cpu):
	case <-gone:
		return false
	case <-s.ended.Done():
		return false
	}
	if c.wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(c.wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-gone:
	case <-s.ended.Done():
	}
	return ctx.Err() == nil && s.ended.Err() == nil
}

// enter waits for a worker when the model bounds them; false when the queue is full, or the client has gone.
func (s *server) enter(ctx context.Context, model *v1alpha1.ServiceModel) bool {
	s.mu.Lock()
	if model.Concurrency == nil || s.busy < int(*model.Concurrency) {
		s.busy++
		s.mu.Unlock()
		return true
	}
	if len(s.waiting) >= QueueMaxOf(model) {
		s.mu.Unlock()
		return false
	}
	turn := make(chan struct{})
	s.waiting = append(s.waiting, turn)
	s.mu.Unlock()
	select {
	case <-turn:
		return true
	case <-ctx.Done():
	case <-s.ended.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, other := range s.waiting {
		if other == turn {
			s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
			return false
		}
	}
	return true // its turn came at the same time: it has a worker to give back
}

func (s *server) leave(model *v1alpha1.ServiceModel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) > 0 && (model.Concurrency == nil || s.busy <= int(*model.Concurrency)) {
		close(s.waiting[0])
		s.waiting = s.waiting[1:]
		return
	}
	s.busy--
}

// statusOf reads /status/NNN.
func statusOf(path string) (int, bool) {
	n, err := strconv.Atoi(path)
	return n, err == nil && n >= 200 && n <= 599
}
