package wire

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func readResponse(src io.Reader, method string) (*Response, []byte, error) {
	r, resp := NewReader(src), &Response{}
	for {
		ok, err := r.Response(resp, method)
		if err != nil {
			return resp, nil, err
		}
		if ok {
			break
		}
		if err := r.Fill(); err != nil {
			return resp, nil, err
		}
	}
	b := &Body{}
	b.Begin(r, resp.Length)
	body, err := readBody(b)
	return resp, body, err
}

func TestResponsesEndWhereTheirFramingSays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, response string
		status           int
		body             string
		closes           bool
		declared         int64
	}{
		"length":                      {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!", 200, "hi", false, 2},
		"chunks":                      {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n!", 200, "hi", false, -1},
		"until the end":               {"GET", "HTTP/1.1 200 OK\r\n\r\nhi!", 200, "hi!", true, -1},
		"until the end, empty":        {"GET", "HTTP/1.1 200 OK\r\n\r\n", 200, "", true, -1},
		"no reason":                   {"GET", "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", 404, "", false, 0},
		"empty reason":                {"GET", "HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", 404, "", false, 0},
		"to HEAD":                     {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 200, "", false, 2},
		"to HEAD, chunked":            {"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, "", false, -1},
		"no content":                  {"GET", "HTTP/1.1 204 No Content\r\n\r\nHTTP", 204, "", false, -1},
		"no content with a length":    {"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi", 204, "", true, -1},
		"not modified with a length":  {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", 304, "", false, 2},
		"early hints":                 {"GET", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", 103, "", false, -1},
		"old version":                 {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", true, 2},
		"old version that is kept":    {"GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", false, 2},
		"connection that is closed":   {"GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", true, 2},
		"code that nobody knows":      {"GET", "HTTP/1.1 799 Odd\r\nContent-Length: 2\r\n\r\nhi", 799, "hi", false, 2},
		"bytes beyond ASCII in words": {"GET", "HTTP/1.1 200 \xc3\xa4\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for way, src := range map[string]io.Reader{"at once": strings.NewReader(c.response), "byte by byte": iotest.OneByteReader(strings.NewReader(c.response))} {
				resp, body, err := readResponse(src, c.method)
				if err != nil || resp.Status != c.status || string(body) != c.body || resp.Close != c.closes || resp.Declared != c.declared {
					t.Errorf("%s: status %d, body %q, close %v, declared %d (%v)", way, resp.Status, body, resp.Close, resp.Declared, err)
				}
			}
		})
	}
}

func TestMalformedResponsesAreRefused(t *testing.T) {
	t.Parallel()
	for name, response := range map[string]string{
		"no HTTP":                      "hello\r\n\r\n",
		"another version":              "HTTP/2.0 200 OK\r\n\r\n",
		"code too short":               "HTTP/1.1 20 OK\r\n\r\n",
		"code below 100":               "HTTP/1.1 099 OK\r\n\r\n",
		"code too long":                "HTTP/1.1 2000 OK\r\n\r\n",
		"two spaces":                   "HTTP/1.1  200 OK\r\n\r\n",
		"control character in reason":  "HTTP/1.1 200 O\x00K\r\n\r\n",
		"bare line feed":               "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
		"bare line feeds only":         "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
		"length and transfer encoding": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
		"two lengths":                  "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
		"transfer encoding gzip":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"field that is continued":      "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
		"space before the colon":       "HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
		"field without a colon":        "HTTP/1.1 200 OK\r\nX\r\n\r\n",
		"long head":                    "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", HeadMax) + "\r\n\r\n",
		"chunks in HTTP/1.0":           "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := readResponse(strings.NewReader(response), "GET")
			var refused *Error
			if !errors.As(err, &refused) || refused.Status != 502 {
				t.Errorf("got %v, want a refusal with status 502", err)
			}
		})
	}
}
