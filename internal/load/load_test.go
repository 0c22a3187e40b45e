package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run plays a load against a handler, in virtual time.
func run(t *testing.T, o Options, handler http.HandlerFunc) *Result {
	t.Helper()
	var r *Result
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{make(chan net.Conn), make(chan struct{})}
		server := &http.Server{Handler: handler, Protocols: new(http.Protocols)}
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetUnencryptedHTTP2(true)
		go server.Serve(l)
		defer server.Close()
		o.URL = "http://shop.example/cart"
		if o.Dial == nil {
			o.Dial = l.dial
		}
		var err error
		if r, err = Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	})
	return r
}

func near(got, want float64) bool { return math.Abs(got-want) <= want*0.033 }

func TestRequestsAreSentAtTheRateHoweverSlowTheAnswersAre(t *testing.T) {
	for name, took := range map[string]time.Duration{"fast": time.Millisecond, "slow": 500 * time.Millisecond} {
		r := run(t, Options{Rate: 100, For: 10 * time.Second}, func(http.ResponseWriter, *http.Request) { time.Sleep(took) })
		if r.Done != 1000 || r.Failed != 0 || r.Late != 0 {
			t.Errorf("%s: %d done, %d failed, %d late; want 1000, 0, 0", name, r.Done, r.Failed, r.Late)
		}
		if want := took.Seconds() * 1000; !near(r.Latency.P50, want) || !near(r.Latency.P99, want) {
			t.Errorf("%s: p50 %v, p99 %v, want %v ms", name, r.Latency.P50, r.Latency.P99, want)
		}
	}
}

func TestAStallIsSeenByAllRequestsItKeptWaiting(t *testing.T) {
	var start time.Time
	var once atomic.Bool
	r := run(t, Options{Rate: 100, For: 10 * time.Second, Connections: 1}, func(http.ResponseWriter, *http.Request) {
		if once.CompareAndSwap(false, true) {
			start = time.Now()
		}
		if at := time.Since(start); at >= 5*time.Second && at < 7*time.Second {
			time.Sleep(7*time.Second - at)
		}
	})
	// The 200 requests planned for the two seconds waited for 2 s to nothing: a fifth of all.
	if r.Done != 1000 || !near(r.Latency.P90, 1000) || !near(r.Latency.Max, 2000) {
		t.Errorf("%d done, p90 %v, max %v ms; want 1000, 1000, 2000", r.Done, r.Latency.P90, r.Latency.Max)
	}
	if r.Service.P99 > 1 {
		t.Errorf("from sending p99 is %v ms: only one request saw the stall there", r.Service.P99)
	}
	if r.Late < 195 {
		t.Errorf("%d are said to be late, want 199", r.Late)
	}
}

func TestFailuresAreCountedByTheirCause(t *testing.T) {
	var n atomic.Int64
	r := run(t, Options{Rate: 100, For: time.Second, Timeout: 100 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) % 4 {
		case 0:
			w.WriteHeader(503)
		case 1:
			w.WriteHeader(404)
		case 2:
			<-r.Context().Done()
		}
	})
	if r.Done != 100 || r.Failed != 50 || r.Codes["503"] != 25 || r.Codes["404"] != 25 || r.Codes["200"] != 25 || r.Errors["timeout"] != 25 {
		t.Errorf("%d done, %d failed, codes %v, errors %v", r.Done, r.Failed, r.Codes, r.Errors)
	}
	refused := run(t, Options{Rate: 10, For: time.Second, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	}}, func(http.ResponseWriter, *http.Request) {})
	if refused.Failed != 10 || refused.Errors["dial: connection refused"] != 10 {
		t.Errorf("%d failed: %v", refused.Failed, refused.Errors)
	}
}

func TestAnswersAreToldApartByAHeader(t *testing.T) {
	var n atomic.Int64
	r := run(t, Options{Rate: 100, For: time.Second, By: "X-Version"}, func(w http.ResponseWriter, r *http.Request) {
		switch i := n.Add(1); {
		case i%10 == 0:
			w.Header().Set("X-Version", "v2")
			w.WriteHeader(500)
		case i%10 < 9:
			w.Header().Set("X-Version", "v1")
		}
	})
	if g := r.By["v2"]; g.Done != 10 || g.Failed != 10 {
		t.Errorf("v2: %+v", g)
	}
	if r.By["v1"].Done != 80 || r.By["(none)"].Done != 10 {
		t.Errorf("by %+v", r.By)
	}
	var b bytes.Buffer
	if err := r.Print(&b); err != nil || !strings.Contains(b.String(), "v2      10        10 %   100 %") {
		t.Errorf("%v\n%s", err, b.String())
	}
	if data, err := json.Marshal(r); err != nil || !bytes.Contains(data, []byte(`"codes":{"200":90,"500":10}`)) {
		t.Errorf("%v\n%s", err, data)
	}
}

func TestWhatIsAskedForIsSent(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		r := run(t, Options{Rate: 10, For: time.Second, Body: []byte("three apples"), Header: http.Header{"X-Test": {"yes"}, "Host": {"other.example"}}, HTTP2: http2, ConnectTo: "10.0.0.1:80"},
			func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if r.Method != "POST" || string(body) != "three apples" || r.Header.Get("X-Test") != "yes" || r.Host != "other.example" || (r.ProtoMajor == 2) != http2 {
					w.WriteHeader(500)
				}
			})
		if r.Done != 10 || r.Failed != 0 {
			t.Errorf("HTTP/2 %v: %d done, %d not as asked for", http2, r.Done, r.Failed)
		}
	}
}

func TestDrawnArrivalsHaveTheRateAndRepeat(t *testing.T) {
	first := run(t, Options{Rate: 100, For: 100 * time.Second, Poisson: true, Seed: 7}, func(http.ResponseWriter, *http.Request) {})
	if first.Done < 9_700 || first.Done > 10_300 {
		t.Errorf("%d requests, want 10000 ± 3 %%", first.Done)
	}
	if again := run(t, Options{Rate: 100, For: 100 * time.Second, Poisson: true, Seed: 7}, func(http.ResponseWriter, *http.Request) {}); again.Done != first.Done {
		t.Errorf("%d and then %d of the same seed", first.Done, again.Done)
	}
}

func TestARunThatIsCutOffTellsWhatItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var last Progress
		r, err := Run(ctx, Options{URL: "http://shop.example", Rate: 10, For: time.Hour, Progress: func(p Progress) { last = p },
			Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no") }})
		if err != nil || r.Done < 49 || r.Done > 51 || r.Elapsed > 6*time.Second || last.Done < 39 {
			t.Errorf("%v: %+v, last told %+v", err, r, last)
		}
	})
}

func TestWhatCannotBeSentIsRefused(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]Options{
		"not a URL of HTTP": {URL: "shop.example/cart", Rate: 1, For: time.Second},
		"rate":              {URL: "http://a", Rate: math.NaN(), For: time.Second},
		"sends nothing":     {URL: "http://a", Rate: 1},
		"connections":       {URL: "http://a", Rate: 1, For: time.Second, Connections: -1},
	} {
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
