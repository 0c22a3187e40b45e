package proxy

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// eachProtocol runs a test with clients and backends in HTTP/1.1 and HTTP/2.
func eachProtocol(t *testing.T, backend func() http.HandlerFunc, f func(t *testing.T, h *house, c *http.Client)) {
	for name, http2 := range map[string][2]bool{"1 to 1": {false, false}, "1 to 2": {false, true}, "2 to 1": {true, false}, "2 to 2": {true, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, Options{}, backend())
			if http2[1] {
				h.speak(config.SpeakH2C, h2cServer(t, backend()), nil)
			}
			c := newClient(t)
			if http2[0] {
				c = h2c(t)
			}
			f(t, h, c)
		})
	}
}

func TestTrailersPassBothWays(t *testing.T) {
	t.Parallel()
	backend := func() http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			b, _ := io.ReadAll(r.Body)
			_, _ = w.Write(b)
			w.Header().Set("X-Sum", "of "+r.Trailer.Get("X-Digest"))
			w.Header().Set(http.TrailerPrefix+"X-Late", "not announced")
		}
	}
	eachProtocol(t, backend, func(t *testing.T, h *house, c *http.Client) {
		for range 2 { // the connection is good for another
			r, _ := http.NewRequest("POST", h.url("/"), struct{ io.Reader }{strings.NewReader("hello")})
			r.Trailer = http.Header{"X-Digest": {"5d41402a"}}
			resp, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(b) != "hello" || err != nil || resp.Trailer.Get("X-Sum") != "of 5d41402a" || resp.Trailer.Get("X-Late") != "not announced" {
				t.Errorf("answered %q with trailers %v (%v)", b, resp.Trailer, err)
			}
		}
	})
}

func TestInterimResponsesPassBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	backend := func() http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for _, link := range []string{"</a.css>", "</b.css>"} {
				w.Header().Set("Link", link)
				w.WriteHeader(http.StatusEarlyHints)
			}
			w.Header().Del("Link")
			w.Header().Set("X-Last", "yes")
			_, _ = io.WriteString(w, "done")
		}
	}
	eachProtocol(t, backend, func(t *testing.T, h *house, c *http.Client) {
		var mu sync.Mutex
		var got []string
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, h.Get("Link"))
			return nil
		}})
		r, _ := http.NewRequestWithContext(ctx, "GET", h.url("/"), nil)
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		mu.Lock()
		defer mu.Unlock()
		if string(b) != "done" || resp.Header.Get("X-Last") != "yes" || resp.Header.Get("Link") != "" || !slices.Equal(got, []string{"</a.css>", "</b.css>"}) {
			t.Errorf("answered %q %v after %q", b, resp.Header, got)
		}
	})
}

func TestABackendThatSendsInterimResponsesWithoutEndIsMalformed(t *testing.T) {
	t.Parallel()
	backend := func() http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for range interimMax + 1 {
				w.WriteHeader(http.StatusEarlyHints)
			}
			<-r.Context().Done()
		}
	}
	eachProtocol(t, backend, func(t *testing.T, h *house, c *http.Client) {
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error { return nil }})
		r, _ := http.NewRequestWithContext(ctx, "GET", h.url("/"), nil)
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadGateway {
			t.Errorf("answered %d", resp.StatusCode)
		}
		h.seen.wait(t, func(r Record) bool { return r.Reason == Malformed })
	})
}

func TestClientsThatWaitForContinueGetItWhateverTheBackendSpeaks(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says(""))
	h.speak(config.SpeakH2C, h2cServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })), nil)
	r := dialRaw(t, h.address())
	r.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	if line, err := r.r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("got %q (%v)", line, err)
	}
	_, _ = r.r.ReadString('\n')
	r.send("hello")
	if _, body := r.answer("POST"); body != "hello" {
		t.Errorf("answered %q", body)
	}
}
