package vnet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
	"pgregory.net/rapid"
)

var (
	podA = netip.MustParseAddrPort("10.128.0.5:80")
	podB = netip.MustParseAddrPort("10.128.0.6:41000")
)

func pair() (*Conn, *Conn) {
	return Pair(net.TCPAddrFromAddrPort(podB), net.TCPAddrFromAddrPort(podA))
}

func TestPairBehavesAsANetworkConnection(t *testing.T) {
	t.Parallel()
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		a, b := pair()
		return a, b, func() { a.Close(); b.Close() }, nil
	})
}

func TestPairDeliversWhatWasWrittenBeforeClose(t *testing.T) {
	t.Parallel()
	a, b := pair()
	if _, err := a.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	a.Close()
	got, err := io.ReadAll(b)
	if err != nil || string(got) != "last words" {
		t.Fatalf("read %q, %v; want the words and a clean end", got, err)
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("write to a closed peer: %v; want EPIPE", err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("read after Close: %v; want net.ErrClosed", err)
	}
	if err := a.Close(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("second Close: %v; want net.ErrClosed", err)
	}
}

func TestPairHalfClosesEachDirectionAlone(t *testing.T) {
	t.Parallel()
	a, b := pair()
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("read after the peer's CloseWrite: %v; want EOF", err)
	}
	if _, err := b.Write([]byte("answer")); err != nil {
		t.Fatalf("the other direction must stay open: %v", err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("write after one's own CloseWrite: %v; want EPIPE", err)
	}
	if err := a.CloseRead(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("read after one's own CloseRead: %v; want EOF", err)
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("write to a peer that reads no more: %v; want EPIPE", err)
	}
}

func TestPairResetsWhenClosedWithoutLinger(t *testing.T) {
	t.Parallel()
	a, b := pair()
	if _, err := a.Write([]byte("lost")); err != nil {
		t.Fatal(err)
	}
	_ = a.SetLinger(0)
	a.Close()
	if n, err := b.Read(make([]byte, 8)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("read %d bytes, %v; want ECONNRESET", n, err)
	}
}

func TestPairHoldsAWriterAtItsWindowUntilTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := pair()
		_ = a.SetWriteDeadline(time.Now().Add(5 * time.Second))
		start := time.Now()
		n, err := a.Write(make([]byte, window+1))
		if n != window || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Fatalf("wrote %d, %v after %v; want %d, a timeout after 5s", n, err, time.Since(start), window)
		}
		_ = a.SetWriteDeadline(time.Time{})
		go io.Copy(io.Discard, b)
		if _, err := a.Write(make([]byte, 3*window)); err != nil {
			t.Fatalf("after the deadline was lifted: %v", err)
		}
		a.Close()
	})
}

func TestADeadlineMovedForwardDoesNotExpireAtTheOldTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, _ := pair()
		start := time.Now()
		_ = a.SetReadDeadline(start.Add(time.Second))
		go func() {
			time.Sleep(500 * time.Millisecond)
			_ = a.SetReadDeadline(start.Add(time.Minute))
		}()
		_, err := a.Read(make([]byte, 1))
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Fatalf("%v after %v; want a timeout after 1m", err, time.Since(start))
		}
	})
}

// A stream is a queue of bytes of bounded length, whatever the sizes of reads and writes.
func TestStreamIsABoundedQueueOfBytes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := pair()
		var model []byte
		next := byte(0)
		_ = a.SetWriteDeadline(time.Time{})
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "write") {
				chunk := make([]byte, rapid.IntRange(0, window-len(model)).Draw(t, "bytes"))
				for i := range chunk {
					next++
					chunk[i] = next
				}
				if n, err := a.Write(chunk); n != len(chunk) || err != nil {
					t.Fatalf("wrote %d of %d: %v", n, len(chunk), err)
				}
				model = append(model, chunk...)
				continue
			}
			if len(model) == 0 {
				continue
			}
			into := make([]byte, rapid.IntRange(1, window).Draw(t, "room"))
			n, err := b.Read(into)
			if err != nil || n != min(len(into), len(model)) || !bytes.Equal(into[:n], model[:n]) {
				t.Fatalf("read %d, %v; want the oldest %d bytes", n, err, min(len(into), len(model)))
			}
			model = model[n:]
		}
	})
}

func TestPacketsKeepTheirBoundsAndAnswersReachTheDialer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &Network{}
		server, err := n.ListenPacket(netip.MustParseAddrPort("10.128.0.5:53"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.ListenPacket(netip.MustParseAddrPort("10.128.0.5:53")); !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("second bind: %v; want EADDRINUSE", err)
		}
		service := netip.MustParseAddrPort("10.96.0.10:53")
		c, err := n.connectPacket(Process, service, netip.MustParseAddrPort("10.128.0.5:53"))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"one", "three"} {
			if _, err := c.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		b := make([]byte, 64)
		for _, want := range []string{"one", "three"} {
			k, from, err := server.ReadFrom(b)
			if err != nil || string(b[:k]) != want {
				t.Fatalf("read %q, %v; want %q", b[:k], err, want)
			}
			if _, err := server.WriteTo([]byte("re: "+want), from); err != nil {
				t.Fatal(err)
			}
		}
		k, from, err := c.ReadFrom(b)
		if err != nil || string(b[:k]) != "re: one" || from.String() != service.String() {
			t.Fatalf("answer %q from %v, %v; want it from the Service address", b[:k], from, err)
		}
		_ = server.SetReadDeadline(time.Now().Add(time.Second))
		if _, _, err := server.ReadFrom(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read with nothing there: %v; want a timeout", err)
		}
		server.Close()
		if _, err := c.Write([]byte("nobody")); err != nil {
			t.Fatalf("a datagram to nobody is dropped, not refused: %v", err)
		}
		c.Close()
	})
}
