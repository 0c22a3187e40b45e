package proxy

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// memory is a network of pipes, on which time is the test's own.
type memory struct{ conns chan net.Conn }

func newMemory() *memory { return &memory{make(chan net.Conn)} }

func (m *memory) dial() net.Conn {
	ours, theirs := net.Pipe()
	m.conns <- theirs
	return ours
}

func (m *memory) Accept() (net.Conn, error) {
	nc, ok := <-m.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return nc, nil
}

func (m *memory) Close() error {
	defer func() { _ = recover() }() // a second time
	close(m.conns)
	return nil
}

func (m *memory) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// timed runs a test on a network in memory, in virtual time; the backend answers each request by the function.
func timed(t *testing.T, backend func(net.Conn, *bufio.Reader), f func(h *house, front *memory)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		front := newMemory()
		o := Options{Seed: 1, Log: slog.New(slog.DiscardHandler),
			Listen: func(string, string) (net.Listener, error) { return front, nil },
			Dial: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() {
					defer theirs.Close()
					backend(theirs, bufio.NewReader(theirs))
				}()
				return ours, nil
			}}
		h := newHouse(t, o)
		b := h.backend("b", config.SpeakHTTP1)
		h.SetEndpoints(b.Key, []config.Endpoint{{Address: "10.0.0.1", Port: 80, Revision: "r"}})
		h.change(func(r *config.Rule) { r.Backends = []config.Share{{Backend: b, Weight: 1}} })
		f(h, front)
		h.Close()
		time.Sleep(2 * time.Minute) // backends that sleep find out
	})
}

// answers is a backend that answers all requests with "ok" after a while.
func answers(after time.Duration) func(net.Conn, *bufio.Reader) {
	return func(nc net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			time.Sleep(after)
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}
}

func TestSlowHeadsAndBodiesAreAnswered408AndIdleConnectionsEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		send   []string // each after a second
		status int
		after  time.Duration
	}{
		"head cut short":                  {[]string{"GET / HTTP/1.1\r\nHo"}, 408, 10 * time.Second},
		"head in drops":                   {strings.Split("GET / HTTP/1.1\r\nHost: a", ""), 408, 10 * time.Second},
		"body that does not come":         {[]string{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"}, 408, 10 * time.Second},
		"body in drops":                   {append([]string{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n"}, strings.Split(strings.Repeat("a", 60), "")...), 408, 10 * time.Second},
		"nothing":                         {nil, 0, 75 * time.Second},
		"nothing after the first":         {[]string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n"}, 200, 75 * time.Second},
		"body that is slow, not too slow": {append([]string{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n"}, chunksOf(30000, 1000)...), 200, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timed(t, answers(0), func(h *house, front *memory) {
				nc := front.dial()
				defer nc.Close()
				began := time.Now()
				go func() {
					for _, text := range c.send {
						if _, err := io.WriteString(nc, text); err != nil {
							return
						}
						time.Sleep(time.Second)
					}
				}()
				r := bufio.NewReader(nc)
				if c.status > 0 {
					resp, err := http.ReadResponse(r, nil)
					if err != nil || resp.StatusCode != c.status {
						t.Fatalf("answered %v (%v)", resp, err)
					}
					_, _ = io.Copy(io.Discard, resp.Body)
				}
				if c.status != 200 || c.after == 75*time.Second {
					_, _ = io.Copy(io.Discard, r)
				}
				if took := time.Since(began); took < c.after-time.Second || took > c.after+c.after/10+2*time.Second {
					t.Errorf("it took %v, want about %v", took, c.after)
				}
			})
		})
	}
}

func chunksOf(n, size int) (all []string) {
	for ; n > 0; n -= size {
		all = append(all, strings.Repeat("a", min(n, size)))
	}
	return all
}

func TestRequestsWithoutAnAnswerEndWithTheirTimeoutAndStreamsDoNot(t *testing.T) {
	t.Parallel()
	timed(t, answers(time.Minute), func(h *house, front *memory) {
		h.change(func(r *config.Rule) { r.Timeouts.Request = config.RequestTimeout })
		nc := front.dial()
		defer nc.Close()
		began := time.Now()
		_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if took := time.Since(began); err != nil || resp.StatusCode != 504 || took < 15*time.Second || took > 16*time.Second {
			t.Errorf("answered %v (%v) after %v", resp, err, took)
		}
	})
	timed(t, func(nc net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range 5 {
			time.Sleep(time.Minute)
			_, _ = io.WriteString(nc, "1\r\na\r\n")
		}
		_, _ = io.WriteString(nc, "0\r\n\r\n")
	}, func(h *house, front *memory) {
		h.change(func(r *config.Rule) { r.Timeouts.Request = config.RequestTimeout })
		nc := front.dial()
		defer nc.Close()
		_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); string(b) != "aaaaa" {
			t.Errorf("a stream of five minutes is %q (%v)", b, err)
		}
	})
}
