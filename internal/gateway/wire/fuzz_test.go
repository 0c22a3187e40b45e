package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"strings"
	"testing"
)

// FuzzRequest: what is accepted, net/http accepts too and with the same meaning. (It takes more: see the package's tests.)
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /a?b=c HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\nX: y\r\n\r\nabc",
		chunked("3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\n"),
		"GET http://a/b%20c HTTP/1.0\r\nHost: A\r\nConnection: x\r\nX: y\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
		"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		req, body, _, err := readRequest(bytes.NewReader(message))
		var refused *Error
		if errors.As(err, &refused) {
			if refused.Status < 400 || refused.Status > 599 {
				t.Fatalf("refused with status %d", refused.Status)
			}
			return
		}
		if req.Host == "" && req.Minor == 1 || req.Path == "" {
			if err == nil {
				t.Fatalf("host %q, path %q", req.Host, req.Path)
			}
			return // the head is incomplete
		}
		theirs, other := http.ReadRequest(bufio.NewReader(bytes.NewReader(message)))
		if other != nil {
			t.Fatalf("net/http refuses: %v", other)
		}
		if theirs.Method != req.Method || theirs.Host != req.Host && req.Method != "CONNECT" || theirs.ProtoMinor != req.Minor {
			t.Fatalf("%s %s 1.%d, net/http: %s %s %s", req.Method, req.Host, req.Minor, theirs.Method, theirs.Host, theirs.Proto)
		}
		path := theirs.URL.EscapedPath()
		if path == "" {
			path = "/" // of an absolute form without a path
		}
		// EscapedPath escapes what came unescaped; that is no other path.
		if req.Method != "CONNECT" && (path != req.Path && theirs.URL.Path == path || theirs.URL.RawQuery != req.Query) {
			t.Fatalf("path %q query %q, net/http: %q %q", req.Path, req.Query, path, theirs.URL.RawQuery)
		}
		if req.Length != theirs.ContentLength {
			t.Fatalf("length %d, net/http: %d", req.Length, theirs.ContentLength)
		}
		for _, h := range req.Headers {
			if !contains(theirs.Header.Values(h.Name), h.Value) && !strings.EqualFold(h.Name, "trailer") {
				t.Fatalf("header %q, net/http: %q", h, theirs.Header)
			}
		}
		all, other := io.ReadAll(theirs.Body)
		if (err == nil) && (other != nil || !bytes.Equal(all, body)) && !trailerOnly(other) {
			t.Fatalf("body %q, net/http: %q (%v)", body, all, other)
		}
	})
}

// trailerOnly are errors of net/http about a Trailer field that it does not like; the message itself is the same.
func trailerOnly(err error) bool { return err != nil && strings.Contains(err.Error(), "railer") }

func contains(values []string, value string) bool {
	for _, v := range values {
		if textproto.TrimString(v) == value {
			return true
		}
	}
	return false
}

// FuzzResponse: as FuzzRequest, of responses.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.0 404\r\n\r\nabc",
		"HTTP/1.1 204 No Content\r\n\r\n",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, message []byte, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		resp, body, err := readResponse(bytes.NewReader(message), method)
		var refused *Error
		if errors.As(err, &refused) || err != nil {
			return
		}
		theirs, other := http.ReadResponse(bufio.NewReader(bytes.NewReader(message)), &http.Request{Method: method})
		if other != nil {
			t.Fatalf("net/http refuses: %v", other)
		}
		if theirs.StatusCode != resp.Status || theirs.ProtoMinor != resp.Minor {
			t.Fatalf("status %d, net/http: %d", resp.Status, theirs.StatusCode)
		}
		if resp.Status < 200 {
			return // its body is the next response
		}
		all, other := io.ReadAll(theirs.Body)
		if (other != nil || !bytes.Equal(all, body)) && !trailerOnly(other) {
			t.Fatalf("body %q, net/http: %q (%v)", body, all, other)
		}
	})
}

// FuzzChunks: as FuzzRequest, of chunked bodies alone.
func FuzzChunks(f *testing.F) {
	for _, seed := range []string{"3\r\nabc\r\n0\r\n\r\n", "a;b=c\r\n0123456789\r\n0\r\nX: y\r\n\r\n", "1\r\na\r\n", "ffffffffffffffff\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		b := &Body{}
		b.Begin(NewReader(bytes.NewReader(message)), Chunked)
		body, err := readBody(b)
		if err != nil {
			return
		}
		all, other := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(message)))
		if other != nil || !bytes.Equal(all, body) {
			t.Fatalf("body %q, net/http: %q (%v)", body, all, other)
		}
	})
}
