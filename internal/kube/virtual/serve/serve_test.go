package serve

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

func what(model *v1alpha1.ServiceModel) What {
	return What{Instance: Instance{Namespace: "shop", Name: "web-abc", UID: "1", Container: "app"}, Started: time.Now(), Model: model, Revision: "5f7b"}
}

func ms(n float64) *v1alpha1.Duration {
	d := v1alpha1.DurationOf(time.Duration(n * float64(time.Millisecond)))
	return &d
}

func ptr[T any](v T) *T { return &v }

// get asks once and says how long it took, in virtual time.
func get(h http.Handler, path string) (code int, took time.Duration) {
	began := time.Now()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, time.Since(began)
}

// many asks n times at once and returns how long each took, sorted.
func many(h http.Handler, n int) (codes map[int]int, took []time.Duration) {
	codes = map[int]int{}
	var mu sync.Mutex
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			code, d := get(h, "/")
			mu.Lock()
			defer mu.Unlock()
			codes[code]++
			took = append(took, d)
		})
	}
	group.Wait()
	slices.Sort(took)
	return codes, took
}

func TestWithoutAModelAnswersComeAtOnceAndSayWhoAnswered(t *testing.T) {
	t.Parallel()
	var s Servers
	defer s.Close()
	w := httptest.NewRecorder()
	s.Handler(what(nil)).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 200 || w.Body.String() != "ok\n" || w.Header().Get(HeaderPod) != "web-abc" || w.Header().Get(HeaderRevision) != "5f7b" {
		t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
	}
}

func TestLatenciesHaveTheDistributionOfTheModel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s Servers
		defer s.Close()
		h := s.Handler(what(&v1alpha1.ServiceModel{RouteModel: v1alpha1.RouteModel{Latency: &v1alpha1.Quantiles{P50: *ms(20), P99: *ms(200)}}}))
		_, took := many(h, 20_000)
		for p, want := range map[float64]float64{0.5: 20, 0.99: 200} {
			if got := took[int(p*20_000)].Seconds() * 1000; math.Abs(got-want) > want/10 {
				t.Errorf("p%v is %.1f ms, want %v", 100*p, got, want)
			}
		}
	})
}

func TestErrorsHaveTheirShareAndOnlyOnTheirRoute(t *testing.T) {
	t.Parallel()
	var s Servers
	defer s.Close()
	h := s.Handler(what(&v1alpha1.ServiceModel{Routes: map[string]v1alpha1.RouteModel{"/cart": {Errors: ptr(v1alpha1.Share(0.1))}, "*": {Errors: ptr(v1alpha1.Share(0))}, "/cart/x": {}}}))
	failed := func(path string) (n int) {
		for range 10_000 {
			if code, _ := get(h, path); code == 500 {
				n++
			}
		}
		return n
	}
	if n := failed("/cart/7"); n < 850 || n > 1150 {
		t.Errorf("%d of 10000 failed on /cart/7, want 1000", n)
	}
	if n := failed("/cartoon"); n != 0 {
		t.Errorf("%d failed on /cartoon", n)
	}
	if n := failed("/cart/x/y"); n != 0 {
		t.Errorf("%d failed on /cart/x/y, whose own route says nothing of errors", n)
	}
}

func TestRequestsShareTheCores(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s Servers
		defer s.Close()
		w := what(&v1alpha1.ServiceModel{RouteModel: v1alpha1.RouteModel{CPU: ms(100), CPUScv: ptr(0.0), Latency: &v1alpha1.Quantiles{P50: *ms(100), P99: *ms(100)}}})
		w.Cores = 2
		h := s.Handler(w)
		if _, took := many(h, 2); took[1] != 100*time.Millisecond {
			t.Errorf("two on two cores took %v, want 100ms", took)
		}
		if _, took := many(h, 8); took[0] != 400*time.Millisecond || took[7] != 400*time.Millisecond {
			t.Errorf("eight on two cores took %v, want 400ms each", took)
		}
		if used := s.Used(w.Instance, time.Now()); math.Abs(used-1) > 1e-6 {
			t.Errorf("ten requests of 100 ms used %v s of CPU", used)
		}
		w.Cores = 0.5
		h = s.Handler(w)
		if _, took := many(h, 1); took[0] != 200*time.Millisecond {
			t.Errorf("one on half a core took %v, want 200ms", took)
		}
	})
}

func TestWorkIsConservedWhateverArrivesWhen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &processor{cores: 1.5}
		var group sync.WaitGroup
		total := 0.0
		for i := range 50 {
			total += float64(i%7) / 100
			group.Go(func() { <-p.work(float64(i%7) / 100) })
			time.Sleep(time.Duration(i%5) * 7 * time.Millisecond)
		}
		group.Wait()
		if got := p.usedUntil(time.Now()); math.Abs(got-total) > 1e-6 {
			t.Errorf("used %v, want %v", got, total)
		}
		p.stop()
	})
}

func TestTheUseOfThePastCanStillBeRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &processor{cores: 1}
		start := time.Now()
		time.Sleep(10 * time.Second)
		for range 60 { // a minute at half a core
			<-p.work(0.5)
			time.Sleep(500 * time.Millisecond)
		}
		time.Sleep(60 * time.Second) // and one of rest
		for after, want := range map[int]float64{5: 0, 10: 0, 20: 5, 40: 15, 70: 30, 100: 30, 130: 30} {
			if got := p.usedUntil(start.Add(time.Duration(after) * time.Second)); math.Abs(got-want) > 0.5 {
				t.Errorf("after %d s it had used %v s, want %v", after, got, want)
			}
		}
		time.Sleep(10 * time.Minute)
		<-p.work(0.001)
		if n := len(p.past); n > 3 {
			t.Errorf("%d readings are kept of long ago", n)
		}
		p.stop()
	})
}

func TestARequestMoreThanTheQueueHoldsIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s Servers
		defer s.Close()
		h := s.Handler(what(&v1alpha1.ServiceModel{Concurrency: ptr(int32(2)), Queue: &v1alpha1.Queue{Max: ptr(int32(3))},
			RouteModel: v1alpha1.RouteModel{Latency: &v1alpha1.Quantiles{P50: *ms(10), P99: *ms(10)}}}))
		codes, took := many(h, 9)
		if codes[200] != 5 || codes[503] != 4 {
			t.Errorf("codes %v, want 5 answered and 4 refused", codes)
		}
		if took[8] != 30*time.Millisecond {
			t.Errorf("the last took %v, want three turns of 10ms", took[8])
		}
		if codes, _ := many(h, 5); codes[200] != 5 {
			t.Errorf("codes %v afterwards, want all answered", codes)
		}
	})
}

func TestWhoGivesUpWaitingGivesItsPlaceBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s Servers
		defer s.Close()
		h := s.Handler(what(&v1alpha1.ServiceModel{Concurrency: ptr(int32(1)), RouteModel: v1alpha1.RouteModel{Latency: &v1alpha1.Quantiles{P50: *ms(100), P99: *ms(100)}}}))
		var group sync.WaitGroup
		group.Go(func() { get(h, "/") })
		synctest.Wait()
		for range 20 {
			group.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
				defer cancel()
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil).WithContext(ctx))
			})
		}
		group.Wait()
		if _, took := get(h, "/"); took != 100*time.Millisecond {
			t.Errorf("afterwards a request took %v, want 100ms", took)
		}
	})
}

func TestChangesOfTheModelActAtOnceAndAWarmUpFades(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s Servers
		defer s.Close()
		w := what(&v1alpha1.ServiceModel{RouteModel: v1alpha1.RouteModel{CPU: ms(10), CPUScv: ptr(0.0), Latency: &v1alpha1.Quantiles{P50: *ms(10), P99: *ms(10)}},
			Warmup: &v1alpha1.Warmup{Factor: ptr(3.0), HalfLife: &v1alpha1.Duration{Duration: 45 * time.Second}}})
		h := s.Handler(w)
		if _, took := get(h, "/"); took < 29*time.Millisecond || took > 30*time.Millisecond {
			t.Errorf("the first request took %v, want 30ms", took)
		}
		time.Sleep(45 * time.Second)
		if _, took := get(h, "/"); took < 19*time.Millisecond || took > 20*time.Millisecond {
			t.Errorf("after the half-life it took %v, want 20ms", took)
		}
		w.Model = &v1alpha1.ServiceModel{RouteModel: v1alpha1.RouteModel{Latency: &v1alpha1.Quantiles{P50: *ms(1), P99: *ms(1)}}, LatencyFactor: ptr(7.0)}
		s.Update("1", []What{w})
		if _, took := get(h, "/"); took != 7*time.Millisecond {
			t.Errorf("after the change it took %v, want 7ms", took)
		}
	})
}

func TestConnectionsBreakWhenTheContainerEnds(t *testing.T) {
	t.Parallel()
	var s Servers
	defer s.Close()
	w := what(&v1alpha1.ServiceModel{RouteModel: v1alpha1.RouteModel{Latency: &v1alpha1.Quantiles{P50: *ms(3_600_000)}}})
	here, there := net.Pipe()
	c := s.Conn(w, there)
	h := s.Handler(w)
	ended := make(chan struct{})
	go func() { get(h, "/"); close(ended) }()
	s.Update("1", []What{w})
	if !s.Known("1") {
		t.Fatal("it is not known though it runs")
	}
	other := w
	other.Restart = 1
	s.Update("1", []What{other})
	<-ended
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("reading from the connection gives %v, want EOF", err)
	}
	if err := c.Close(); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if s.Known("1") {
		t.Error("it is still known")
	}
}

func TestWhoRefusesNewConnectionsEndsTheOthersWithTheirNextAnswer(t *testing.T) {
	t.Parallel()
	var s Servers
	defer s.Close()
	w := what(nil)
	h := s.Handler(w)
	w.Closing = time.Now()
	s.Update("1", []What{w})
	r := httptest.NewRecorder()
	h.ServeHTTP(r, httptest.NewRequest("GET", "/", nil))
	if r.Code != 200 || r.Header().Get("Connection") != "close" {
		t.Errorf("%d %v", r.Code, r.Header())
	}
}

func TestEchoTellsWhatArrived(t *testing.T) {
	t.Parallel()
	var s Servers
	defer s.Close()
	w := what(nil)
	w.Echo, w.Port, w.Env = true, 3000, map[string]string{"SERVICE_NAME": "web"}
	var logged []string
	w.Log = func(line string) { logged = append(logged, line) }
	server := httptest.NewServer(s.Handler(w))
	defer server.Close()
	request, _ := http.NewRequest("POST", server.URL+"/a/b?c=d", strings.NewReader("x"))
	request.Header.Set("X-Test", "yes")
	request.Header.Set("X-Echo-Set-Header", "X-One:1, X-Two: 2")
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var got echoed
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Path != "/a/b?c=d" || got.Method != "POST" || got.Headers["X-Test"][0] != "yes" || got.Pod != "web-abc" || got.Namespace != "shop" || got.Service != "web" || got.HTTPPort != "3000" || got.TLS != nil {
		t.Errorf("%+v", got)
	}
	if response.Header.Get("X-One") != "1" || response.Header.Get("X-Two") != "2" || response.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v", response.Header)
	}
	if len(logged) != 1 || !strings.Contains(logged[0], "/a/b?c=d") {
		t.Errorf("logged %q", logged)
	}
	for path, want := range map[string]int{"/health": 200, "/status/418": 418, "/status/99": 200} {
		if r, err := server.Client().Get(server.URL + path); err != nil || r.StatusCode != want {
			t.Errorf("%s: %v %v, want %d", path, r, err, want)
		}
	}
}

func TestEchoFailsAsOftenAsItIsAsked(t *testing.T) {
	t.Parallel()
	var s Servers
	defer s.Close()
	var servers []*httptest.Server
	for _, name := range []string{"web-1", "web-2"} {
		w := what(nil)
		w.Echo, w.Name, w.UID = true, name, name
		server := httptest.NewServer(s.Handler(w))
		defer server.Close()
		servers = append(servers, server)
	}
	ask := func(i int, query string) int {
		r, err := http.Get(servers[i%2].URL + "/retry?" + query)
		if err != nil {
			return 0
		}
		r.Body.Close()
		return r.StatusCode
	}
	for i, want := range []int{503, 503, 200, 200} {
		if got := ask(i, "uuid=a&succeedAfter=2&responseCode=503"); got != want {
			t.Errorf("request %d with a code: %d, want %d", i, got, want)
		}
	}
	for i, want := range []int{0, 200} {
		if got := ask(i, "uuid=b&succeedAfter=1"); got != want {
			t.Errorf("request %d without a code: %d, want %d (0 = the connection breaks)", i, got, want)
		}
	}
}

func TestEchoSendsWebSocketMessagesBack(t *testing.T) {
	t.Parallel()
	var s Servers
	defer s.Close()
	w := what(nil)
	w.Echo = true
	server := httptest.NewServer(s.Handler(w))
	defer server.Close()
	c, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http")+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, text := range []string{"one", "two"} {
		if err := c.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.ReadMessage(); err != nil || string(got) != text {
			t.Errorf("%q %v, want %q", got, err, text)
		}
	}
}
