package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// policy publishes a Config whose first backend has another policy.
func (h *house) policy(f func(*config.Policy)) {
	h.t.Helper()
	b := *h.config.Backends[0]
	f(&b.Policy)
	h.config.Backends = append([]*config.Backend{&b}, h.config.Backends[1:]...)
	h.change(func(r *config.Rule) {
		r.Backends = append([]config.Share(nil), r.Backends...)
		r.Backends[0].Backend = &b
	})
}

func TestStatusesSayWhatIsMissing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says("hello"))
	c := newClient(t)
	status := func() int {
		resp, body := get(t, c, h.url("/"))
		if resp.StatusCode != 200 && !strings.HasSuffix(body, "\n") {
			t.Errorf("%d has the text %q", resp.StatusCode, body)
		}
		return resp.StatusCode
	}
	key := h.config.Backends[0].Key
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	h.SetEndpoints(key, []config.Endpoint{endpointOf(closed.Addr(), "r")})
	if s := status(); s != 502 {
		t.Errorf("a backend that refuses connections: %d", s)
	}
	h.SetEndpoints(key, nil)
	if s := status(); s != 503 {
		t.Errorf("a backend without endpoints: %d", s)
	}
	h.change(func(r *config.Rule) { r.Backends = []config.Share{{Weight: 1, Why: "no such Service"}} })
	if s := status(); s != 500 {
		t.Errorf("a reference that is not resolved: %d", s)
	}
	h.change(func(r *config.Rule) { r.Backends = nil })
	if s := status(); s != 500 {
		t.Errorf("no backends: %d", s)
	}
	h.change(func(r *config.Rule) { r.Broken = "unsupported filter" })
	if s := status(); s != 500 {
		t.Errorf("a broken rule: %d", s)
	}
	h.config.Sockets[0].Listeners[0].Hosts = nil
	h.publish()
	if s := status(); s != 404 {
		t.Errorf("no route: %d", s)
	}
}

func TestRetriesFollowTheRuleAndReplayBodies(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	fails := atomic.Int64{}
	h := newHouse(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if asked.Add(1) <= fails.Load() {
			w.WriteHeader(503)
			return
		}
		fmt.Fprint(w, len(b))
	}))
	h.change(func(r *config.Rule) {
		r.Retry = &config.Retry{Attempts: 2, Codes: []int{503}, Backoff: time.Millisecond}
	})
	c := newClient(t)
	for _, tc := range []struct {
		fails  int64
		body   int
		status int
		asked  int64
	}{{0, 0, 200, 1}, {2, 0, 200, 3}, {3, 0, 503, 3}, {2, 60_000, 200, 3}, {2, 100_000, 503, 1}} {
		asked.Store(0)
		fails.Store(tc.fails)
		resp, body := ask(t, c, "POST", h.url("/"), bytes.NewReader(make([]byte, tc.body)))
		if resp.StatusCode != tc.status || asked.Load() != tc.asked || tc.status == 200 && body != fmt.Sprint(tc.body) {
			t.Errorf("%+v: answered %d %q after %d tries", tc, resp.StatusCode, body, asked.Load())
		}
	}
	h.seen.wait(t, func(r Record) bool { return r.Status == 200 && r.Retries == 2 && !r.Retried })
	h.seen.wait(t, func(r Record) bool { return r.Status == 503 && r.Retried })
}

func TestTimeoutsAreAnswered504(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var asked atomic.Int64
	h := newHouse(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer close(release)
	c := newClient(t)
	h.change(func(r *config.Rule) { r.Timeouts.Request = 20 * time.Millisecond })
	if resp, _ := get(t, c, h.url("/")); resp.StatusCode != 504 {
		t.Errorf("a request that takes too long: %d", resp.StatusCode)
	}
	asked.Store(0)
	h.change(func(r *config.Rule) {
		r.Timeouts = config.Timeouts{Request: time.Minute, Try: 20 * time.Millisecond}
		r.Retry = &config.Retry{Attempts: 2, Timeout: true, Backoff: time.Millisecond}
	})
	if resp, _ := get(t, c, h.url("/")); resp.StatusCode != 504 || asked.Load() != 3 {
		t.Errorf("tries that take too long: %d after %d", resp.StatusCode, asked.Load())
	}
}

func TestConnectionsClosedWhileIdleCostNoRequest(t *testing.T) {
	t.Parallel()
	var open sync.Map
	s := httptest.NewUnstartedServer(says("hello"))
	s.Config.ConnState = func(nc net.Conn, state http.ConnState) {
		if state == http.StateIdle {
			open.Store(nc, true)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	h := newHouse(t, Options{}, says(""))
	h.SetEndpoints(h.config.Backends[0].Key, []config.Endpoint{endpointOf(s.Listener.Addr(), "r")})
	c := newClient(t)
	for i := range 20 {
		if resp, body := ask(t, c, "POST", h.url("/"), strings.NewReader("x")); resp.StatusCode != 200 {
			t.Fatalf("request %d is answered %d %q", i, resp.StatusCode, body)
		}
		for closed := false; !closed; time.Sleep(time.Millisecond) {
			open.Range(func(nc, _ any) bool { closed = true; open.Delete(nc); nc.(net.Conn).Close(); return true })
		}
	}
}

func TestBackendsThatAreFullAreAnswered503AtOnce(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	h := newHouse(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			entered <- struct{}{}
			<-leave
		}
	}))
	c := newClient(t)
	wait := func() *sync.WaitGroup {
		var wg sync.WaitGroup
		wg.Go(func() {
			if resp, _ := get(t, c, h.url("/wait")); resp.StatusCode != 200 {
				t.Errorf("who was there first is answered %d", resp.StatusCode)
			}
		})
		<-entered
		return &wg
	}
	h.policy(func(p *config.Policy) { p.MaxRequests = 1 })
	wg := wait()
	if resp, _ := get(t, c, h.url("/")); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("beyond the most requests: %d", resp.StatusCode)
	}
	leave <- struct{}{}
	wg.Wait()
	h.policy(func(p *config.Policy) { p.MaxRequests, p.MaxConnections, p.MaxPending = 0, 1, 1 })
	wg = wait()
	var second sync.WaitGroup
	second.Go(func() {
		if resp, _ := get(t, c, h.url("/")); resp.StatusCode != 200 {
			t.Errorf("who waits for the connection is answered %d", resp.StatusCode)
		}
	})
	for h.State().Backends[0].Pending == 0 {
		time.Sleep(time.Millisecond)
	}
	if resp, _ := get(t, c, h.url("/")); resp.StatusCode != 503 {
		t.Errorf("beyond the line: %d", resp.StatusCode)
	}
	leave <- struct{}{}
	wg.Wait()
	second.Wait()
}

func TestRequestsAreHeldUntilTheFirstEndpointComes(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(says("started"))
	t.Cleanup(s.Close)
	woken := make(chan config.BackendKey, 10)
	h := newHouse(t, Options{Wake: func(k config.BackendKey) { woken <- k }}, says(""))
	h.policy(func(p *config.Policy) { p.Hold = &config.Hold{For: time.Minute, MaxPending: 5, MaxBodyBytes: 10} })
	key := h.config.Backends[0].Key
	h.SetEndpoints(key, nil)
	c := newClient(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if resp, body := get(t, c, h.url("/")); body != "started" || resp.Header.Get("X-Keda-Http-Cold-Start") != "true" {
				t.Errorf("answered %d %q %v", resp.StatusCode, body, resp.Header)
			}
		})
	}
	gone := dialRaw(t, h.address())
	gone.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	held := func(n int) {
		for h.State().Backends[0].Held != n {
			time.Sleep(time.Millisecond)
		}
	}
	held(5)
	if resp, _ := get(t, c, h.url("/")); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("beyond the line: %d", resp.StatusCode)
	}
	gone.Close()
	held(4)
	if resp, _ := ask(t, c, "POST", h.url("/"), strings.NewReader("much too long")); resp.StatusCode != 503 {
		t.Errorf("with a long body: %d", resp.StatusCode)
	}
	if k := <-woken; k != key || len(woken) != 0 {
		t.Errorf("woken for %v, and %d times more", k, len(woken))
	}
	h.SetEndpoints(key, []config.Endpoint{endpointOf(s.Listener.Addr(), "r")})
	wg.Wait()
	if resp, _ := get(t, c, h.url("/")); resp.Header.Get("X-Keda-Http-Cold-Start") != "false" {
		t.Errorf("a warm start says %v", resp.Header)
	}
	h.SetEndpoints(key, nil)
	h.policy(func(p *config.Policy) { p.Hold = &config.Hold{For: 10 * time.Millisecond} })
	if resp, _ := get(t, c, h.url("/")); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("after the hold: %d", resp.StatusCode)
	}
}

func TestMirrorsGetTheirExactShareWithTheBody(t *testing.T) {
	t.Parallel()
	mirrored := make(chan string, 100)
	h := newHouse(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err == nil {
			mirrored <- r.URL.Path + " " + string(b) + " " + r.Header.Get("X-Kept")
		}
		w.WriteHeader(500)
	}))
	h.change(func(r *config.Rule) {
		r.Mirrors = []config.Mirror{{Backend: h.config.Backends[1], Numerator: 1, Denominator: 4}, {Numerator: 1, Denominator: 1}}
		r.Backends = r.Backends[:1]
	})
	c := newClient(t)
	for i := range 40 {
		if resp, body := ask(t, c, "POST", h.url("/x"), strings.NewReader("body"), "X-Kept", "yes"); resp.StatusCode != 200 || body != "body" {
			t.Fatalf("request %d is answered %d %q", i, resp.StatusCode, body)
		}
	}
	for range 10 {
		if got := <-mirrored; got != "/x body yes" {
			t.Errorf("mirrored %q", got)
		}
	}
	h.seen.wait(t, func(r Record) bool { return r.Mirror && r.Status == 500 })
	for _, r := range h.seen.all() {
		if !r.Mirror && r.Status != 200 {
			t.Errorf("a mirror's answer counts for the user: %+v", r)
		}
	}
	if len(mirrored) > 0 {
		t.Errorf("%d more were mirrored", len(mirrored))
	}
}

func TestSessionsStickToTheirEndpointAndThenToItsRevision(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says(""), says(""))
	h.change(func(r *config.Rule) { r.Session = &config.Session{Cookie: "fw", Permanent: true, Absolute: time.Hour} })
	set := func(i int, names ...string) {
		var all []config.Endpoint
		for _, name := range names {
			s := httptest.NewServer(says(name))
			t.Cleanup(s.Close)
			e := endpointOf(s.Listener.Addr(), strings.Split(name, "-")[0])
			all = append(all, e)
		}
		h.SetEndpoints(h.config.Backends[i].Key, all)
	}
	set(0, "stable-1", "stable-2")
	set(1, "canary-1", "canary-2")
	c := newClient(t)
	cookies := map[string]string{}
	for len(cookies) < 4 {
		resp, body := get(t, c, h.url("/"))
		cookie := resp.Cookies()[0]
		if cookie.Name != "fw" || !cookie.HttpOnly || cookie.MaxAge != 3600 {
			t.Fatalf("the cookie is %v", cookie)
		}
		cookies[body] = "fw=" + cookie.Value
	}
	for want, cookie := range cookies {
		for range 5 {
			if resp, body := get(t, c, h.url("/"), "Cookie", cookie); body != want || len(resp.Cookies()) > 0 {
				t.Errorf("a client of %s is answered by %s", want, body)
			}
		}
	}
	set(1, "canary-3")
	if _, body := get(t, c, h.url("/"), "Cookie", cookies["canary-1"]); body != "canary-3" {
		t.Errorf("a client of the canary goes to %s when its pod is replaced", body)
	}
	set(0, "canary-4")
	if err := h.SetWeights(h.rule().Key, []int32{1, 0}); err != nil {
		t.Fatal(err)
	}
	if _, body := get(t, c, h.url("/"), "Cookie", cookies["canary-2"]); body != "canary-4" {
		t.Errorf("a client of the canary goes to %s when it is promoted", body)
	}
	if _, body := get(t, c, h.url("/"), "Cookie", "fw=forged"); body != "canary-4" {
		t.Errorf("a forged token leads to %s", body)
	}
}

func TestEndpointsThatFailAreEjected(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says(""))
	var all []config.Endpoint
	for _, name := range []string{"good", "bad"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if name == "bad" {
				w.WriteHeader(500)
			}
		}))
		t.Cleanup(s.Close)
		all = append(all, endpointOf(s.Listener.Addr(), name))
	}
	key := h.config.Backends[0].Key
	h.SetEndpoints(key, all)
	h.policy(func(p *config.Policy) {
		o := config.DefaultOutlier()
		o.PanicBelowPercent = 0
		p.Outlier, p.Algorithm = &o, config.RoundRobin
	})
	c := newClient(t)
	failed := 0
	for range 40 {
		if resp, _ := get(t, c, h.url("/")); resp.StatusCode == 500 {
			failed++
		}
	}
	if failed != 5 {
		t.Errorf("%d requests failed, want the 5 that eject", failed)
	}
	for _, e := range h.State().Backends[0].Endpoints {
		if (e.Ejected > 0) != (e.Revision == "bad") {
			t.Errorf("%s is ejected for %v", e.Revision, e.Ejected)
		}
	}
	if h.Eject(key, all[0].UID, time.Now().Add(time.Minute), 10) {
		t.Error("the last endpoint is ejected too")
	}
}

func TestTapsStreamWhatTheirFilterTakes(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says("hello"))
	all, stop := h.Tap(func(r *Record) bool { return r.Path == "/wanted" })
	c := newClient(t)
	get(t, c, h.url("/other"))
	get(t, c, h.url("/wanted"))
	if s := <-all; s.Path != "/wanted" || s.Status != 200 || s.Revision != "b0" || s.Rule == "" {
		t.Errorf("tapped %+v", s)
	}
	stop()
	get(t, c, h.url("/wanted"))
	if len(all) > 0 {
		t.Error("it goes on after it was stopped")
	}
}

func TestConnectionsInMemoryAreServedAsIfAccepted(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says("hello"))
	ours, theirs := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(loopback, theirs) }()
	r := &raw{t, ours, bufio.NewReader(ours)}
	r.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if _, body := r.answer("GET"); body != "hello" {
		t.Errorf("answered %q", body)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := h.Serve(loopbackTwo, ours); err == nil {
		t.Error("a socket that there is not is served")
	}
}
