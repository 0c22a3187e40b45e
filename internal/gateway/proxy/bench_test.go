package proxy

import (
	"bufio"
	"log/slog"
	"net"
	"testing"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// BenchmarkHTTP1 is one keep-alive connection through the gateway to a backend that allocates nothing: what is allocated is
// the gateway's.
func BenchmarkHTTP1(b *testing.B) {
	response := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n" + string(make([]byte, 100)))
	a := scripted(b, func(nc net.Conn, _ *bufio.Reader) {
		buf := make([]byte, 4096)
		for {
			if _, err := nc.Read(buf); err != nil {
				return
			}
			if _, err := nc.Write(response); err != nil {
				return
			}
		}
	})
	h := newHouse(b, Options{})
	h.Gateway.options.Observe, h.log = nil, slog.New(slog.DiscardHandler)
	backend := h.backend("b", config.SpeakHTTP1)
	h.SetEndpoints(backend.Key, []config.Endpoint{endpointOf(a, "r")})
	h.change(func(r *config.Rule) { r.Backends = []config.Share{{Backend: backend, Weight: 1}} })
	r := dialRaw(b, h.address())
	request := []byte("GET /shop/items?page=2 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Write(request); err != nil {
			b.Fatal(err)
		}
		for n := 0; n < len(response); { // it is framed the same again
			m, err := r.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			n += m
		}
	}
}
