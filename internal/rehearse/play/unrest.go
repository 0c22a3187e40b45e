package play

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/scenario/draw"
)

// Unrest makes Fairway's own controllers live in a world that fails them, to see that they come to the same end. It exists for
// tests of the house; a document that comes from a scenario has none. Every share is of their writes, by a draw for each.
type Unrest struct {
	// Refuse is the share that the API server refuses: half as conflicts, half as errors of its own.
	Refuse float64 `json:"refuse,omitempty"`
	// Lose is the share that is carried out, and the answer lost.
	Lose float64 `json:"lose,omitempty"`
	// Die is the share after which the controllers end, as processes do that are killed; others take their place.
	Die float64 `json:"die,omitempty"`
	// Peace is how long before the end of the run all this is over.
	Peace time.Duration `json:"peace,omitempty"`
}

// afterDeath is how long nobody is in charge when the controllers have ended.
const afterDeath = 3 * time.Second

var (
	errDead = errors.New("the process of this client has ended")
	errLost = errors.New("the answer is lost")
)

// Lives are those of the controllers in a run with unrest, one after the other. A nil *Lives is one life in peace.
type Lives struct {
	unrest Unrest
	seed   int64
	over   time.Time // the unrest

	mu      sync.Mutex
	written map[string]int64 // by method and path
}

// lives of a document's controllers.
func (r *run) lives() *Lives {
	if r.doc.Unrest == nil {
		return nil
	}
	return &Lives{unrest: *r.doc.Unrest, seed: r.doc.Seed, over: r.end.Add(-r.doc.Unrest.Peace), written: map[string]int64{}}
}

// Run starts what build makes, until ctx ends. A build is given what wraps the transport of its clients, nil for nothing. The
// first is built at once, and its error returned; when it dies, the next is built.
func (l *Lives) Run(build func(wrap func(http.RoundTripper) http.RoundTripper) (start func(context.Context) error, err error)) (func(context.Context) error, error) {
	if l == nil {
		return build(nil)
	}
	one := &life{lives: l, dead: make(chan struct{})}
	start, err := build(one.wrap)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		for {
			if err := one.run(ctx, start); err != nil || ctx.Err() != nil {
				return err
			}
			time.Sleep(afterDeath)
			one = &life{lives: l, dead: make(chan struct{})}
			if start, err = build(one.wrap); err != nil {
				return fmt.Errorf("the controllers after those that ended: %w", err)
			}
		}
	}, nil
}

// life is one of the lives.
type life struct {
	lives *Lives
	once  sync.Once
	dead  chan struct{}
}

func (l *life) run(ctx context.Context, start func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- start(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-l.dead:
		cancel()
		<-ended // whatever it says of its death
		return nil
	}
}

func (l *life) wrap(inner http.RoundTripper) http.RoundTripper { return &failing{inner, l} }

// failing is the transport of a life.
type failing struct {
	inner http.RoundTripper
	life  *life
}

// fate of a write.
type fate int

const (
	served fate = iota
	conflict
	failure
	lost
	death // after it was served
)

// RoundTrip implements http.RoundTripper.
func (f *failing) RoundTrip(q *http.Request) (*http.Response, error) {
	select {
	case <-f.life.dead:
		return nil, errDead
	default:
	}
	if q.Method == http.MethodGet || q.Method == http.MethodHead || strings.HasSuffix(q.URL.Path, "/events") {
		return f.inner.RoundTrip(q)
	}
	switch f.life.lives.fate(q) {
	case conflict:
		return refusal(q, http.StatusConflict, "Conflict", "the object has been modified; please apply your changes to the latest version and try again"), nil
	case failure:
		return refusal(q, http.StatusInternalServerError, "InternalError", "the store does not answer"), nil
	case lost:
		if r, err := f.inner.RoundTrip(q); err == nil {
			_ = r.Body.Close()
		}
		return nil, errLost
	case death:
		if r, err := f.inner.RoundTrip(q); err == nil {
			_ = r.Body.Close()
		}
		f.life.once.Do(func() { close(f.life.dead) })
		return nil, errDead
	}
	return f.inner.RoundTrip(q)
}

// fate of a write: a draw of its own, by what it writes and how often that was written.
func (l *Lives) fate(q *http.Request) fate {
	if !time.Now().Before(l.over) {
		return served
	}
	what := q.Method + " " + q.URL.Path
	l.mu.Lock()
	l.written[what]++
	n := l.written[what]
	l.mu.Unlock()
	u := draw.Uniform(l.seed, "unrest", what, n)
	for _, c := range []struct {
		share float64
		fate  fate
	}{{l.unrest.Refuse / 2, conflict}, {l.unrest.Refuse / 2, failure}, {l.unrest.Lose, lost}, {l.unrest.Die, death}} {
		if u -= c.share; u < 0 {
			return c.fate
		}
	}
	return served
}

// refusal is an answer of the API server that says no.
func refusal(q *http.Request, code int, reason, message string) *http.Response {
	if q.Body != nil {
		_ = q.Body.Close()
	}
	body := fmt.Appendf(nil, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"message":%q,"code":%d}`, reason, message, code)
	return &http.Response{StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: q,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}
}
