// Package load sends requests at a rate that does not depend on how fast they are answered (an open loop), and says how they
// went. The latency of a request counts from when it was planned: a server that stalls is seen by all the requests that it
// kept from being sent, not by one for each connection.
package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/fairway-dev/fairway/internal/kube/sketch"
)

const (
	// DefaultConnections is how many requests can be under way at once.
	DefaultConnections = 64
	// DefaultTimeout of a request, from when it is sent.
	DefaultTimeout = 10 * time.Second
	// maxGroups bounds the values that are told apart by Options.By.
	maxGroups = 100
	// MaxRate and MaxConnections are more than one process of this kind can do.
	MaxRate, MaxConnections = 1e6, 100_000
)

// Options of a run.
type Options struct {
	URL    string
	Method string // "" = GET, or POST with a body
	Header http.Header
	Body   []byte
	// Rate in requests a second, and for how long.
	Rate float64
	For  time.Duration
	// Poisson draws the times between requests from an exponential distribution; otherwise they are equal.
	Poisson bool
	Seed    uint64
	// Connections at once; DefaultConnections if 0. Requests that are planned while all are busy wait, and their wait counts.
	Connections int
	Timeout     time.Duration // DefaultTimeout if 0
	// HTTP2 speaks HTTP/2 (by prior knowledge to http:// URLs).
	HTTP2 bool
	// Transport TLS: Insecure takes any certificate.
	Insecure bool
	// ConnectTo is the host:port that is dialled, whatever the URL says; "" = the URL's.
	ConnectTo string
	// By is a header of responses whose values are counted apart; "" = none.
	By string
	// Dial opens connections; nil = a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Progress, if not nil, is told about once a second how it stands.
	Progress func(Progress)
}

// Progress of a run.
type Progress struct {
	Elapsed      time.Duration
	Done, Failed int
}

// Result of a run. A request fails that is not answered, or is answered 500 or above.
type Result struct {
	URL     string        `json:"url"`
	Rate    float64       `json:"rate"` // asked for, a second
	Elapsed time.Duration `json:"elapsed"`
	Done    int           `json:"done"`
	Failed  int           `json:"failed"`
	// Achieved are the answers a second.
	Achieved float64 `json:"achieved"`
	// Latency from when a request was planned to the last byte of its answer; Service from when it was sent.
	Latency Quantiles `json:"latency"`
	Service Quantiles `json:"service"`
	// Codes of the answers, and Errors of the requests that had none, with their numbers.
	Codes  map[string]int `json:"codes"`
	Errors map[string]int `json:"errors,omitempty"`
	// By holds the values of the header that was asked for.
	By map[string]Group `json:"by,omitempty"`
	// Late is how many requests could not be sent when planned, by more than 10 ms: all connections were busy, or this
	// machine was.
	Late int `json:"late"`
}

// Group of requests whose answers had the same value of a header.
type Group struct {
	Done    int       `json:"done"`
	Failed  int       `json:"failed"`
	Latency Quantiles `json:"latency"`
}

// Quantiles of durations in milliseconds, at most 1.6 % off.
type Quantiles struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// Check says what is wrong with the options, nil if nothing is.
func (o *Options) Check() error {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return fmt.Errorf("the URL cannot be read: %w", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("%q is not a URL of HTTP; write http://host:port/path", o.URL)
	case !(o.Rate > 0 && o.Rate <= MaxRate):
		return fmt.Errorf("a rate of %v is not between 0 and %v a second", o.Rate, MaxRate)
	case o.For <= 0:
		return fmt.Errorf("a load for %v sends nothing", o.For)
	case o.Connections < 0 || o.Connections > MaxConnections:
		return fmt.Errorf("%d connections are not between 1 and %d", o.Connections, MaxConnections)
	}
	return nil
}

// Run sends the load and waits for the answers. It ends early, with what there is, when ctx does.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if o.Connections == 0 {
		o.Connections = DefaultConnections
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Method == "" {
		o.Method = http.MethodGet
		if o.Body != nil {
			o.Method = http.MethodPost
		}
	}
	transport := o.transport()
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: o.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	start := time.Now()
	p := &plan{rate: o.Rate, poisson: o.Poisson, random: rand.New(rand.NewPCG(o.Seed, 0x10ad)), end: o.For}
	all := newTally()
	var group sync.WaitGroup
	stop := o.follow(ctx, start, all)
	for range o.Connections {
		group.Go(func() { work(ctx, &o, client, start, p, all) })
	}
	group.Wait()
	stop()
	return all.result(&o, time.Since(start)), nil
}

// follow tells how it stands until the returned function is called.
func (o *Options) follow(ctx context.Context, start time.Time, all *tally) (stop func()) {
	if o.Progress == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				o.Progress(all.progress(time.Since(start)))
			}
		}
	})
	return func() { cancel(); group.Wait() }
}

// plan says when requests are due. Whoever is free takes the next.
type plan struct {
	mu      sync.Mutex
	rate    float64
	poisson bool
	random  *rand.Rand
	n       int
	at, end time.Duration
}

func (p *plan) next() (due time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.poisson:
		p.at += time.Duration(p.random.ExpFloat64() / p.rate * float64(time.Second))
	default: // from the number, so that nothing adds up
		p.at = time.Duration(float64(p.n) / p.rate * float64(time.Second))
	}
	p.n++
	return p.at, p.at < p.end
}

// late is what a request may be sent after its time without being called late.
const late = 10 * time.Millisecond

// work sends one request after the other, each when it is due.
func work(ctx context.Context, o *Options, client *http.Client, start time.Time, p *plan, all *tally) {
	timer := time.NewTimer(math.MaxInt64)
	defer timer.Stop()
	for ctx.Err() == nil {
		due, ok := p.next()
		if !ok {
			return
		}
		if wait := due - time.Since(start); wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
		}
		sent := time.Since(start)
		answer := o.send(ctx, client)
		if ctx.Err() != nil && answer.err != nil {
			return // it was cut off by the end of the run
		}
		answer.latency, answer.service, answer.late = time.Since(start)-due, time.Since(start)-sent, sent-due > late
		all.add(answer)
	}
}

// answer is how a request went.
type answer struct {
	code             int
	by               string
	err              error
	latency, service time.Duration
	late             bool
}

func (o *Options) send(ctx context.Context, client *http.Client) answer {
	var body io.Reader
	if o.Body != nil {
		body = &repeat{o.Body}
	}
	r, err := http.NewRequestWithContext(ctx, o.Method, o.URL, body)
	if err != nil {
		return answer{err: err}
	}
	if o.Body != nil {
		r.ContentLength = int64(len(o.Body))
	}
	for name, values := range o.Header {
		r.Header[name] = values
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	response, err := client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	a := answer{code: response.StatusCode}
	if o.By != "" {
		if a.by = response.Header.Get(o.By); a.by == "" {
			a.by = "(none)"
		}
	}
	_, a.err = io.Copy(io.Discard, response.Body)
	return a
}

// repeat reads a body; a request has its own.
type repeat struct{ rest []byte }

func (r *repeat) Read(b []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// tally adds answers up.
type tally struct {
	mu               sync.Mutex
	done, failed     int
	late             int
	latency, service sum
	codes            map[string]int
	errors           map[string]int
	by               map[string]*groupTally
}

type groupTally struct {
	done, failed int
	latency      sum
}

type sum struct {
	sketch.Sketch
	max float64
}

func (s *sum) add(d time.Duration) {
	s.Add(d.Seconds(), 1)
	s.max = max(s.max, d.Seconds())
}

func (s *sum) quantiles() Quantiles {
	q := func(p float64) float64 { return min(s.Quantile(p), s.max) * 1000 }
	return Quantiles{Mean: s.Mean() * 1000, P50: q(0.5), P90: q(0.9), P99: q(0.99), P999: q(0.999), Max: s.max * 1000}
}

func newTally() *tally {
	return &tally{codes: map[string]int{}, errors: map[string]int{}, by: map[string]*groupTally{}}
}

func (t *tally) add(a answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	failed := a.err != nil || a.code >= 500
	t.done++
	if failed {
		t.failed++
	}
	if a.late {
		t.late++
	}
	if a.err != nil {
		t.errors[cause(a.err)]++
	} else {
		t.codes[fmt.Sprint(a.code)]++
	}
	t.latency.add(a.latency)
	t.service.add(a.service)
	if a.by == "" {
		return
	}
	if _, ok := t.by[a.by]; !ok && len(t.by) >= maxGroups {
		a.by = "(others)"
	}
	g := t.by[a.by]
	if g == nil {
		g = &groupTally{}
		t.by[a.by] = g
	}
	g.done++
	if failed {
		g.failed++
	}
	g.latency.add(a.latency)
}

func (t *tally) progress(elapsed time.Duration) Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Progress{Elapsed: elapsed, Done: t.done, Failed: t.failed}
}

func (t *tally) result(o *Options, elapsed time.Duration) *Result {
	r := &Result{URL: o.URL, Rate: o.Rate, Elapsed: elapsed, Done: t.done, Failed: t.failed, Achieved: float64(t.done) / elapsed.Seconds(),
		Latency: t.latency.quantiles(), Service: t.service.quantiles(), Codes: t.codes, Errors: t.errors, Late: t.late}
	for value, g := range t.by {
		if r.By == nil {
			r.By = map[string]Group{}
		}
		r.By[value] = Group{Done: g.done, Failed: g.failed, Latency: g.latency.quantiles()}
	}
	return r
}

// cause names an error in the words of its kind: those that differ in addresses and ports count together.
func cause(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		if u.Timeout() {
			return "timeout"
		}
		err = u.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}
