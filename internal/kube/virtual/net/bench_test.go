package vnet

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// BenchmarkDialAndGet compares one dial with one HTTP GET on it, as a probe makes them, in memory and over a socket of
// the loopback interface. The figure to compare is cpu-µs/op: user and system time of the process.
func BenchmarkDialAndGet(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		d := anyone(b)
		get(b, "http://10.128.0.5:8080/", &http.Transport{DialContext: d.DialContext(From{}), DisableKeepAlives: true})
	})
	b.Run("loopback", func(b *testing.B) {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(answer)}
		go server.Serve(l)
		defer server.Close()
		get(b, "http://"+l.Addr().String()+"/", &http.Transport{DisableKeepAlives: true})
	})
}

// BenchmarkDialAndEcho is the same without HTTP: one dial, 100 bytes there and back, close.
func BenchmarkDialAndEcho(b *testing.B) {
	echo := func(c net.Conn) {
		_, _ = io.Copy(c, c)
		c.Close()
	}
	run := func(b *testing.B, dial func() (net.Conn, error)) {
		message := make([]byte, 100)
		start := cpu()
		for b.Loop() {
			c, err := dial()
			if err != nil {
				b.Fatal(err)
			}
			_, _ = c.Write(message)
			if _, err := io.ReadFull(c, message); err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
		b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-µs/op")
	}
	b.Run("memory", func(b *testing.B) {
		d := &Dialer{Network: &Network{}, Tables: world()}
		release, _ := d.Network.Handle(netip.MustParseAddrPort("10.128.0.5:8080"), echo)
		defer release()
		run(b, func() (net.Conn, error) { return d.Dial(b.Context(), From{}, "tcp", "10.128.0.5:8080") })
	})
	b.Run("loopback", func(b *testing.B) {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go echo(c)
			}
		}()
		run(b, func() (net.Conn, error) { return net.Dial("tcp4", l.Addr().String()) })
	})
}

func get(b *testing.B, url string, transport *http.Transport) {
	client := &http.Client{Transport: transport}
	start := cpu()
	for b.Loop() {
		r, err := client.Get(url)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-µs/op")
}

// cpu returns the process' user and system time in microseconds.
func cpu() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return (u.Utime.Sec+u.Stime.Sec)*1e6 + u.Utime.Usec + u.Stime.Usec
}

func BenchmarkResolve(b *testing.B) {
	for _, n := range []int{2, 1000} {
		w := world()
		var all []ep
		for i := range n {
			all = append(all, ep{ip: fmt.Sprintf("10.128.%d.%d", i/250, i%250+1), ready: true})
		}
		w.SetService(svc("big", "10.96.1.50"))
		w.SetSlice(slice("big", 8080, all...))
		b.Run(fmt.Sprintf("service of %d", n), func(b *testing.B) {
			b.ReportAllocs()
			at := netip.MustParseAddrPort("10.96.1.50:80")
			for b.Loop() {
				Resolve(at, corev1.ProtocolTCP, From{}, w)
			}
		})
	}
}
