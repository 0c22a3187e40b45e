package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// load asks again and again, with clients connections at a time, until stopped.
type load struct {
	t                testing.TB
	answered, failed atomic.Int64
	first            atomic.Pointer[string]
	stop             chan struct{}
	wg               sync.WaitGroup
}

func startLoad(t testing.TB, url string, clients int) *load {
	l := &load{t: t, stop: make(chan struct{})}
	for range clients {
		c := newClient(t)
		l.wg.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				l.one(c, url)
			}
		})
	}
	return l
}

func (l *load) one(c *http.Client, url string) {
	resp, err := c.Get(url)
	why := ""
	if err != nil {
		why = err.Error()
	} else {
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 {
			why = fmt.Sprint(resp.StatusCode, " ", string(b), " ", err)
		}
	}
	l.answered.Add(1)
	if why != "" {
		l.failed.Add(1)
		l.first.CompareAndSwap(nil, &why)
	}
}

// reached waits until n more requests have been answered.
func (l *load) reached(n int64) {
	for from := l.answered.Load(); l.answered.Load() < from+n; {
		time.Sleep(time.Millisecond)
	}
}

func (l *load) end() {
	l.t.Helper()
	close(l.stop)
	l.wg.Wait()
	if n := l.failed.Load(); n > 0 {
		l.t.Errorf("%d of %d requests failed: %s", n, l.answered.Load(), *l.first.Load())
	}
}

func TestAThousandChangesOfWeightsUnderLoadLoseNothingAndAreInForceAtOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says("a"), says("b"))
	l := startLoad(t, h.url("/"), 8)
	key := h.rule().Key
	for i := range 1000 {
		w := []int32{int32(i % 101), int32(100 - i%101)}
		if err := h.SetWeights(key, w); err != nil {
			t.Fatal(err)
		}
		if got, ok := h.Weights(key); !ok || got[0] != w[0] {
			t.Fatalf("the weights in force are %v", got)
		}
	}
	l.end()
	c := newClient(t)
	for _, w := range [][]int32{{1, 0}, {0, 1}, {1, 0}} {
		if err := h.SetWeights(key, w); err != nil {
			t.Fatal(err)
		}
		want := "a"
		if w[1] == 1 {
			want = "b"
		}
		for range 10 {
			if _, body := get(t, c, h.url("/")); body != want {
				t.Fatalf("with weights %v, %s answered", w, body)
			}
		}
	}
}

func TestWeightsSplitRequestsExactlyAndOutliveConfigs(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says("a"), says("b"))
	if err := h.SetWeights(h.rule().Key, []int32{95, 5}); err != nil {
		t.Fatal(err)
	}
	h.change(func(r *config.Rule) { r.GRPC = false })
	c := newClient(t)
	n := 0
	for range 400 {
		if _, body := get(t, c, h.url("/")); body == "b" {
			n++
		}
	}
	if n < 18 || n > 22 {
		t.Errorf("5 %% of 400 requests are %d", n)
	}
	if err := h.SetWeights(h.rule().Key, nil); err != nil {
		t.Fatal(err)
	}
	if w, _ := h.Weights(h.rule().Key); w[0] != 1 || w[1] != 1 {
		t.Errorf("without weights of its own, the rule has %v", w)
	}
	if err := h.SetWeights(h.rule().Key, []int32{1}); err == nil {
		t.Error("one weight for two backends is taken")
	}
}

func TestConfigsAreSwappedUnderLoadWithoutAFailure(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says("a"), says("b"))
	l := startLoad(t, h.url("/"), 8)
	for i := range 200 {
		h.change(func(r *config.Rule) {
			r.Filters = []config.Filter{{ResponseHeaders: &config.Headers{Set: []config.Header{{Name: "x-version", Value: fmt.Sprint(i)}}}}}
		})
		l.reached(5)
	}
	l.end()
}

// pod is a backend that ends as a good one does: it refuses connections at once, and finishes what it has.
type pod struct {
	server *http.Server
	addr   net.Addr
}

func startPod(t testing.TB, name string) *pod {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{&http.Server{Handler: says(name)}, l.Addr()}
	go func() { _ = p.server.Serve(l) }()
	t.Cleanup(func() { p.server.Close() })
	return p
}

func (p *pod) endpoint(terminating bool) config.Endpoint {
	e := endpointOf(p.addr, "r")
	e.Terminating = terminating
	return e
}

func TestPodsThatRefuseConnectionsBeforeTheGatewayKnowsAreReplacedWithoutAFailure(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says("first"))
	key := h.config.Backends[0].Key
	pods := make([]*pod, 5)
	for i := range pods {
		pods[i] = startPod(t, fmt.Sprint("pod ", i))
	}
	set := func(terminating int) {
		var all []config.Endpoint
		for i, p := range pods {
			all = append(all, p.endpoint(i == terminating))
		}
		h.SetEndpoints(key, all)
	}
	set(-1)
	l := startLoad(t, h.url("/"), 8)
	for round := range 10 {
		for i, old := range pods {
			next := startPod(t, fmt.Sprint("pod ", round, i))
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			if err := old.server.Shutdown(ctx); err != nil { // the pod is told before its endpoint is
				t.Error(err)
			}
			cancel()
			l.reached(10)
			set(i)
			pods[i] = next
			set(-1)
		}
	}
	l.end()
}

func TestDrainingFinishesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	h := newHouse(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-leave
		_, _ = io.WriteString(w, "done")
	}))
	idle := dialRaw(t, h.address())
	r := dialRaw(t, h.address())
	r.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-entered
	drained := make(chan error, 1)
	go func() { drained <- h.Drain(context.Background()) }()
	for h.Ready() {
		time.Sleep(time.Millisecond)
	}
	close(leave)
	resp, body := r.answer("GET")
	if body != "done" || !resp.Close {
		t.Errorf("answered %q, close %v", body, resp.Close)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if !idle.closed() {
		t.Error("the idle connection is still open")
	}
	if _, err := net.Dial("tcp", r.RemoteAddr().String()); err == nil {
		t.Error("somebody still listens")
	}
}

func TestASocketThatIsGoneEndsItsConnectionsAndAnotherOpens(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says("a"))
	r := dialRaw(t, h.address())
	r.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	_, _ = r.answer("GET")
	s := h.config.Sockets[0]
	s.Address = loopbackTwo
	h.config.Sockets = []config.Socket{s}
	h.publish()
	r.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, body := r.answer("GET"); body != "a" || !resp.Close {
		t.Errorf("the old connection is answered %q, close %v", body, resp.Close)
	}
	if _, body := get(t, newClient(t), "http://"+h.Address(loopbackTwo).String()+"/"); body != "a" {
		t.Errorf("the new socket answers %q", body)
	}
}

func TestSocketsThatCannotBeBoundAreNamedAndTheOthersServe(t *testing.T) {
	t.Parallel()
	taken := httptest.NewServer(says(""))
	defer taken.Close()
	h := newHouse(t, Options{}, says("a"))
	s := h.config.Sockets[0]
	s.Address = addressOf(taken.Listener.Addr())
	c := *h.config
	c.Sockets = append([]config.Socket{s}, c.Sockets...)
	problems := h.Publish(&c, indexOf(&c))
	if len(problems) != 1 || problems[0].Address != s.Address || problems[0].Remedy == "" {
		t.Errorf("problems are %v", problems)
	}
	if _, body := get(t, newClient(t), h.url("/")); body != "a" {
		t.Errorf("the other socket answers %q", body)
	}
}
