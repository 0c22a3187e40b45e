package vnet

import (
	"context"
	"io"
	"net"
)

// Splice copies between two connections in both directions, passing on half-closes, until both directions have ended
// or ctx is done, and closes both. The first failure of a copy ends the whole.
func Splice(ctx context.Context, a, b net.Conn) {
	done := make(chan error, 2)
	go func() { done <- copyHalf(a, b) }()
	go func() { done <- copyHalf(b, a) }()
	finished := 0
	for ended := false; finished < 2 && !ended; {
		select {
		case err := <-done:
			finished++
			ended = err != nil
		case <-ctx.Done():
			ended = true
		}
	}
	a.Close()
	b.Close()
	for ; finished < 2; finished++ {
		<-done
	}
}

// copyHalf copies one direction and passes its end on.
func copyHalf(to, from net.Conn) error {
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return to.Close()
}
