package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// readRequest reads one request with its body from a source, as a connection does.
func readRequest(src io.Reader) (*Request, []byte, *Body, error) {
	r, req := NewReader(src), &Request{}
	body, b, err := nextRequest(r, req)
	return req, body, b, err
}

func nextRequest(r *Reader, req *Request) ([]byte, *Body, error) {
	for {
		ok, err := r.Request(req)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			break
		}
		if err := r.Fill(); err != nil {
			return nil, nil, err
		}
	}
	b := &Body{}
	b.Begin(r, req.Length)
	body, err := readBody(b)
	return body, b, err
}

func readBody(b *Body) (all []byte, err error) {
	for {
		p, err := b.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, p...)
	}
}

func TestRequestsThatCouldBeUnderstoodInTwoWaysAreRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", URIMax)
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"length and transfer encoding":        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"transfer encoding and length":        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400},
		"two equal lengths":                   {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400},
		"two different lengths":               {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
		"list of lengths":                     {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400},
		"signed length":                       {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400},
		"huge length":                         {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabc", 400},
		"no length in the field":              {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nabc", 400},
		"transfer encoding not final":         {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400},
		"transfer encoding gzip and chunked":  {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400},
		"transfer encoding identity":          {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 400},
		"transfer encoding twice":             {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"transfer encoding with vertical tab": {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400},
		"transfer encoding in HTTP/1.0":       {"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"bare line feed after a field":        {"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400},
		"bare line feed in the first line":    {"GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
		"bare line feeds only":                {"GET / HTTP/1.1\nHost: a\n\n", 400},
		"bare carriage return in a value":     {"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", 400},
		"bare carriage return in a name":      {"GET / HTTP/1.1\r\nHost: a\r\nX\r: b\r\n\r\n", 400},
		"bare carriage return in the target":  {"GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"field continued on the next line":    {"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400},
		"first field indented":                {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
		"space before the colon":              {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
		"field without a name":                {"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400},
		"field without a colon":               {"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400},
		"null in a value":                     {"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400},
		"delete in a value":                   {"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", 400},
		"bracket in a name":                   {"GET / HTTP/1.1\r\nHost: a\r\nX[1]: b\r\n\r\n", 400},
		"no host":                             {"GET / HTTP/1.1\r\n\r\n", 400},
		"two hosts":                           {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
		"empty host":                          {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
		"host with a path":                    {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
		"host with a user":                    {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
		"host with a port in letters":         {"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400},
		"absolute form of another host":       {"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"absolute form of another port":       {"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"absolute form with a user":           {"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"absolute form of another scheme":     {"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"target without a slash":              {"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"star that is no OPTIONS":             {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"fragment in the target":              {"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"space in the target":                 {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"escape cut short":                    {"GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"path above the root":                 {"GET /../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"path above the root further on":      {"GET /a/../../b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"path above the root, encoded":        {"GET /%2e%2E/b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"method with a colon":                 {"GE:T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"empty line first":                    {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"no version":                          {"GET /\r\nHost: a\r\n\r\n", 400},
		"two spaces":                          {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"HTTP/2 in a request line":            {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
		"HTTP/1.2":                            {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
		"upgrade to h2c":                      {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n", 400},
		"upgrade to h2c among others":         {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket, H2C\r\n\r\n", 400},
		"unknown expectation":                 {"POST / HTTP/1.1\r\nHost: a\r\nExpect: coffee\r\nContent-Length: 1\r\n\r\na", 417},
		"long target":                         {"GET /" + long + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
		"long target without an end":          {"GET /" + long + long, 414},
		"long head":                           {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", HeadMax) + "\r\n\r\n", 431},
		"long head without an end":            {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 2*HeadMax), 431},
		"many fields":                         {"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", FieldsMax) + "\r\n", 431},
		"chunk size that overflows":           {chunked("10000000000000000\r\na"), 400},
		"chunk size with a sign":              {chunked("-1\r\na"), 400},
		"chunk size with 0x":                  {chunked("0x1\r\na\r\n0\r\n\r\n"), 400},
		"chunk size with a space":             {chunked("1 \r\na\r\n0\r\n\r\n"), 400},
		"no chunk size":                       {chunked("\r\na\r\n0\r\n\r\n"), 400},
		"chunk line with a bare line feed":    {chunked("1\na\r\n0\r\n\r\n"), 400},
		"chunk longer than its size":          {chunked("1\r\nab\r\n0\r\n\r\n"), 400},
		"chunk without its line end":          {chunked("1\r\na0\r\n\r\n"), 400},
		"extension with a carriage return":    {chunked("1;a\rb\r\na\r\n0\r\n\r\n"), 400},
		"long extension":                      {chunked("1;" + strings.Repeat("a", chunkExtMax) + "\r\na\r\n0\r\n\r\n"), 400},
		"long extension without an end":       {chunked("1;" + strings.Repeat("a", 4*chunkExtMax)), 400},
		"many extensions":                     {chunked(strings.Repeat("1;aaaaaaaaaaaaaaaa\r\na\r\n", 500) + "0\r\n\r\n"), 400},
		"trailer with a bare line feed":       {chunked("0\r\nX: a\nY: b\r\n\r\n"), 400},
		"trailer with a space in its name":    {chunked("0\r\nX y: a\r\n\r\n"), 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for way, src := range map[string]io.Reader{"at once": strings.NewReader(c.request),
				"byte by byte": iotest.OneByteReader(strings.NewReader(c.request))} {
				_, _, _, err := readRequest(src)
				var refused *Error
				if !errors.As(err, &refused) || refused.Status != c.status {
					t.Errorf("%s: got %v, want a refusal with status %d", way, err, c.status)
				}
			}
		})
	}
}

func chunked(body string) string {
	return "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body
}

func TestRequestsAreReadAsTheyCame(t *testing.T) {
	t.Parallel()
	const request = "POST /a/%2F/..;b?x=1&y HTTP/1.1\r\nHost: Shop.example:8080\r\nX-One:  a b\t\r\nx-one: \xc3\xa4\r\n" +
		"Connection: close, x-secret\r\nKeep-Alive: 5\r\nX-Secret: drop me\r\nTE: trailers\r\nTransfer-Encoding: Chunked\r\n\r\n" +
		"3\r\nabc\r\n1f;name=\"v\"\r\n" + "0123456789012345678901234567890\r\n" + "0\r\nX-Sum: 5\r\nHost: evil\r\nContent-Length: 4\r\n\r\n"
	for way, src := range map[string]io.Reader{"at once": strings.NewReader(request), "byte by byte": iotest.OneByteReader(strings.NewReader(request))} {
		req, body, b, err := readRequest(src)
		if err != nil {
			t.Fatal(way, err)
		}
		if req.Method != "POST" || req.Host != "Shop.example:8080" || req.Path != "/a/%2F/..;b" || req.Query != "x=1&y" {
			t.Errorf("%s: read %q %q %q %q", way, req.Method, req.Host, req.Path, req.Query)
		}
		if len(req.Headers) != 2 || req.Headers[0].Name != "X-One" || req.Headers[0].Value != "a b" || req.Headers[1].Value != "ä" {
			t.Errorf("%s: headers %q", way, req.Headers)
		}
		if !req.Close || !req.Trailers || req.Minor != 1 || req.Length != Chunked {
			t.Errorf("%s: close %v, trailers %v, minor %d, length %d", way, req.Close, req.Trailers, req.Minor, req.Length)
		}
		if string(body) != "abc0123456789012345678901234567890" {
			t.Errorf("%s: body %q", way, body)
		}
		if tr := b.Trailers(); len(tr) != 1 || tr[0].Name != "X-Sum" || tr[0].Value != "5" {
			t.Errorf("%s: trailers %q", way, tr)
		}
	}
}

func TestRequestsThatFollowAtOnceAreReadOneByOne(t *testing.T) {
	t.Parallel()
	r := NewReader(strings.NewReader("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET http://A/2 HTTP/1.1\r\nHost: a\r\n\r\n" +
		chunked("2\r\nhi\r\n0\r\n\r\n") + "OPTIONS * HTTP/1.0\r\n\r\n"))
	req := &Request{}
	for _, want := range []struct{ path, body string }{{"/1", "abc"}, {"/2", ""}, {"/", "hi"}, {"*", ""}} {
		body, _, err := nextRequest(r, req)
		if err != nil || req.Path != want.path || string(body) != want.body {
			t.Fatalf("read %q with %q (%v), want %q with %q", req.Path, body, err, want.path, want.body)
		}
	}
	if !req.Close {
		t.Error("a client of HTTP/1.0 that does not ask for it is kept")
	}
}

func TestUpgradeIsOfferedOnlyWhenItIsNamedInConnection(t *testing.T) {
	t.Parallel()
	for request, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n":                  "websocket",
		"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n":                                                     "",
		"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\na":       "",
		"GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n":                              "",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: Upgrade\r\nUpgrade: a\r\nUpgrade: b/2\r\n\r\n": "a, b/2",
	} {
		req, _, _, err := readRequest(strings.NewReader(request))
		if err != nil || req.Upgrade != want {
			t.Errorf("%q offers %q (%v), want %q", request, req.Upgrade, err, want)
		}
	}
}

func TestBodiesAreReadToTheByteInWhateverPiecesTheyCome(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		content := rapid.SliceOfN(rapid.Byte(), 0, 100_000).Draw(t, "content")
		var message []byte
		if rapid.Bool().Draw(t, "chunked") {
			message = []byte(chunked(""))
			for rest := content; len(rest) > 0; {
				n := rapid.IntRange(1, len(rest)).Draw(t, "chunk")
				message = append(AppendChunkSize(message, n), rest[:n]...)
				message = append(message, ChunkEnd...)
				rest = rest[n:]
			}
			message = AppendLastChunk(message, nil)
		} else {
			message = AppendRequestLine(nil, "PUT", "/x", "", "h")
			message = append(AppendLength(message, int64(len(content))), HeadEnd...)
			message = append(message, content...)
		}
		message = append(message, "GET /next HTTP/1.1\r\nHost: a\r\n\r\n"...)
		r, req := NewReader(&pieces{rest: message, size: rapid.SampledFrom([]int{1, 7, 1000, 4096, 100_000}).Draw(t, "pieces")}), &Request{}
		body, _, err := nextRequest(r, req)
		if err != nil || !bytes.Equal(body, content) {
			t.Fatalf("read %d bytes (%v), want %d", len(body), err, len(content))
		}
		if _, _, err := nextRequest(r, req); err != nil || req.Path != "/next" {
			t.Fatalf("the next request is %q (%v)", req.Path, err)
		}
	})
}

// pieces is a source that gives at most size bytes at once.
type pieces struct {
	rest []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func TestBodiesCutShortAreErrors(t *testing.T) {
	t.Parallel()
	for _, request := range []string{
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc", chunked("5\r\nabc"), chunked("3\r\nabc\r\n"), chunked("3\r\nabc\r\n0\r\n"), chunked("0\r\nX: y\r\n"), chunked("3\r\nabc"),
	} {
		if _, _, _, err := readRequest(strings.NewReader(request)); err != io.ErrUnexpectedEOF {
			t.Errorf("%q: got %v, want an unexpected end", request, err)
		}
	}
}

func TestReadingRequestsAllocatesNothing(t *testing.T) {
	const request = "GET /shop/items?page=2 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n"
	r, req, src := NewReader(nil), &Request{}, strings.NewReader("")
	r.Reset(src)
	read := func() {
		src.Reset(request)
		if err := r.Fill(); err != nil {
			t.Fatal(err)
		}
		if ok, err := r.Request(req); !ok {
			t.Fatal(err)
		}
	}
	read()
	if n := testing.AllocsPerRun(100, read); n != 0 {
		t.Errorf("a request allocates %v times, want none", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	const request = "GET /shop/items?page=2 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n"
	r, req, src := NewReader(nil), &Request{}, strings.NewReader("")
	r.Reset(src)
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(request)
		_ = r.Fill()
		if ok, err := r.Request(req); !ok {
			b.Fatal(err)
		}
	}
}
