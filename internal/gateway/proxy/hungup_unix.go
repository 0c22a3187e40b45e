//go:build unix && !linux

package proxy

import "golang.org/x/sys/unix"

// hungUp reports whether the other side of a connection has closed it, or its half of it, and sent nothing before that could
// be read still.
func hungUp(fd int, _ bool) bool {
	var b [1]byte
	n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return n == 0 && err == nil || err == unix.ECONNRESET
}
