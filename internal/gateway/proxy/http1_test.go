package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

func TestRequestsReachTheBackendWithWhoAskedAndWithoutWhatConcernsOneConnection(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says("hello"))
	r := dialRaw(t, h.address())
	r.send("GET /a%2Fb?x=1 HTTP/1.1\r\nHost: Shop.example\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\n" +
		"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nX-Kept: yes\r\n\r\n")
	resp, body := r.answer("GET")
	want := map[string]string{"Seen-Host": "Shop.example", "Seen-Uri": "/a%2Fb?x=1", "Seen-X-Hop": "", "Seen-X-Kept": "yes", "Seen-X-Forwarded-For": "127.0.0.1",
		"Seen-X-Forwarded-Proto": "http", "Seen-X-Forwarded-Host": "Shop.example", "Seen-Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Seen-Connection": ""}
	for name, value := range want {
		if got := resp.Header.Get(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if id := resp.Header.Get("Seen-X-Request-Id"); len(id) != 36 || id[14] != '7' {
		t.Errorf("the request's ID %q is no UUIDv7", id)
	}
	if resp.StatusCode != 200 || body != "hello" {
		t.Errorf("answered %d %q", resp.StatusCode, body)
	}
	record := h.seen.wait(t, func(r Record) bool { return r.Status == 200 })
	if record.Rule == nil || record.Backend == nil || record.Endpoint.Revision != "b0" || record.Out != 5 || record.Gateway.Name != "gw" {
		t.Errorf("recorded %+v", record)
	}
}

func TestSmuggledRequestsAreRefusedAndTheConnectionIsClosed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says("hello"))
	for _, request := range []string{
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
		"GET / HTTP/1.1\nHost: a\n\n",
		"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
		"GET /../secret HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
	} {
		r := dialRaw(t, h.address())
		r.send(request)
		resp, _ := r.answer("GET")
		if resp.StatusCode != 400 || !r.closed() {
			t.Errorf("%q is answered %d", request, resp.StatusCode)
		}
	}
	for _, r := range h.seen.all() {
		if r.Status == 200 {
			t.Errorf("a request got through: %+v", r)
		}
	}
}

func TestRequestsInOneGoAreAnsweredInTheirOrder(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.URL.Path, b)
	}))
	r := dialRaw(t, h.address())
	r.send("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabGET /2 HTTP/1.1\r\nHost: a\r\n\r\nPOST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ncd\r\n0\r\n\r\n")
	for _, want := range []string{"/1 ab", "/2 ", "/3 cd"} {
		if _, body := r.answer("GET"); body != want {
			t.Errorf("answered %q, want %q", body, want)
		}
	}
}

func TestBodiesPassBothWaysUnchangedWhateverTheirLength(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
		}
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	}))
	c := newClient(t)
	for _, n := range []int{0, 1, 100, 4000, 16 << 10, 64<<10 + 1, 3 << 20} {
		sent := bytes.Repeat([]byte("0123456789abcde\n"), n/16+1)[:n]
		for _, path := range []string{"/length", "/chunked"} {
			var body io.Reader = bytes.NewReader(sent)
			if path == "/chunked" {
				body = struct{ io.Reader }{body}
			}
			if resp, got := ask(t, c, "POST", h.url(path), body); resp.StatusCode != 200 || got != string(sent) {
				t.Fatalf("%s: %d bytes came back as %d with status %d", path, n, len(got), resp.StatusCode)
			}
		}
	}
}

// The end of the answer may be there before it is known that the end of the body was sent; nothing is left of it then.
func TestAConnectionServesOnAfterABackendThatAnswersAsItReads(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	}))
	c := newClient(t)
	sent := bytes.Repeat([]byte("0123456789abcde\n"), 4<<10)
	for range 300 {
		if resp, got := ask(t, c, "POST", h.url("/"), bytes.NewReader(sent)); resp.StatusCode != 200 || got != string(sent) {
			t.Fatalf("%d bytes came back as %d with status %d", len(sent), len(got), resp.StatusCode)
		}
	}
}

func TestClientsThatWaitForContinueGetIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	r := dialRaw(t, h.address())
	r.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	line, err := r.r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("got %q (%v)", line, err)
	}
	_, _ = r.r.ReadString('\n')
	r.send("hello")
	if _, body := r.answer("POST"); body != "hello" {
		t.Errorf("answered %q", body)
	}
}

func TestOldClientsGetWhatTheyUnderstand(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "a")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "b")
	}))
	r := dialRaw(t, h.address())
	r.send("GET / HTTP/1.0\r\n\r\n")
	resp, body := r.answer("GET")
	if body != "ab" || len(resp.TransferEncoding) > 0 || !r.closed() {
		t.Errorf("answered %q with %v", body, resp.TransferEncoding)
	}
}

func TestResponsesAreFramedAnew(t *testing.T) {
	t.Parallel()
	responses := map[string]string{
		"/close":    "HTTP/1.1 200 OK\r\n\r\nuntil the end",
		"/old":      "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold",
		"/trailers": "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n",
		"/none":     "HTTP/1.1 204 No Content\r\n\r\n",
		"/hints":    "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"/bad":      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
		"/nothing":  "",
		"/hop":      "HTTP/1.1 200 OK\r\nConnection: x-inner\r\nX-Inner: 1\r\nKeep-Alive: 4\r\nContent-Length: 2\r\n\r\nok",
		"/switch":   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
	}
	a := scripted(t, func(nc net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err == nil {
			_, _ = io.WriteString(nc, responses[req.URL.Path])
		}
	})
	h := newHouse(t, Options{}, says(""))
	h.SetEndpoints(h.config.Backends[0].Key, []config.Endpoint{endpointOf(a, "r")})
	c := newClient(t)
	for path, want := range map[string]struct {
		status int
		body   string
	}{"/close": {200, "until the end"}, "/old": {200, "old"}, "/trailers": {200, "hi"}, "/none": {204, ""}, "/hints": {200, "ok"}, "/bad": {502, ""}, "/nothing": {502, ""},
		"/hop": {200, "ok"}, "/switch": {502, ""}} {
		resp, body := get(t, c, h.url(path))
		if resp.StatusCode != want.status || want.status == 200 && body != want.body {
			t.Errorf("%s: answered %d %q", path, resp.StatusCode, body)
		}
		if resp.Header.Get("X-Inner") != "" || resp.Header.Get("Keep-Alive") != "" {
			t.Errorf("%s: headers of the other connection came along: %v", path, resp.Header)
		}
		if path == "/trailers" && resp.Trailer.Get("X-Sum") != "7" {
			t.Errorf("trailers %v", resp.Trailer)
		}
	}
}

func TestResponsesCutShortAreCutShortForTheClientToo(t *testing.T) {
	t.Parallel()
	a := scripted(t, func(nc net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		}
	})
	h := newHouse(t, Options{}, says(""))
	h.SetEndpoints(h.config.Backends[0].Key, []config.Endpoint{endpointOf(a, "r")})
	resp, err := newClient(t).Get(h.url("/"))
	if err == nil {
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
	}
	if err == nil {
		t.Error("a response without its end looks whole")
	}
}

func TestHeadIsAnsweredWithTheLengthAndWithoutABody(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says("hello"))
	r := dialRaw(t, h.address())
	r.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, _ := r.answer("HEAD"); resp.ContentLength != 5 {
		t.Errorf("the length is %d", resp.ContentLength)
	}
	if _, body := r.answer("GET"); body != "hello" {
		t.Errorf("then answered %q", body)
	}
}

func TestUpgradedConnectionsPassBytesBothWays(t *testing.T) {
	t.Parallel()
	a := scripted(t, func(nc net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil || req.Header.Get("Upgrade") != "websocket" || req.Header.Get("Sec-Websocket-Key") != "k" {
			return
		}
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nfirst ")
		_, _ = io.Copy(nc, r)
	})
	h := newHouse(t, Options{}, says(""))
	h.SetEndpoints(h.config.Backends[0].Key, []config.Endpoint{endpointOf(a, "r")})
	r := dialRaw(t, h.address())
	r.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\nearly ")
	resp, err := http.ReadResponse(r.r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("answered %v (%v)", resp, err)
	}
	r.send("late")
	_ = r.Conn.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(r.r); string(got) != "first early late" {
		t.Errorf("got %q (%v)", got, err)
	}
}

func TestConnectIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says("hello"))
	r := dialRaw(t, h.address())
	r.send("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")
	if resp, _ := r.answer("GET"); resp.StatusCode != 405 {
		t.Errorf("answered %d", resp.StatusCode)
	}
}

func TestAPanicIsTheRequestsOwn(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says("hello"))
	h.change(func(r *config.Rule) {
		r.Mirrors = []config.Mirror{{Backend: &config.Backend{Index: 99}, Numerator: 1, Denominator: 1}}
	})
	c := newClient(t)
	if resp, _ := get(t, c, h.url("/")); resp.StatusCode != 500 {
		t.Errorf("answered %d", resp.StatusCode)
	}
	h.change(func(r *config.Rule) { r.Mirrors = nil })
	if resp, _ := get(t, c, h.url("/")); resp.StatusCode != 200 {
		t.Errorf("then answered %d", resp.StatusCode)
	}
}
