package proxy

import "golang.org/x/sys/unix"

// hungUp reports whether the other side of a connection has closed it, or its half of it, which is taken for the same as nginx
// does. Where a further request can be read, that one is still to be served. Within TLS, what can be read is TLS's own good-bye.
func hungUp(fd int, secure bool) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	if _, err := unix.Poll(p, 0); err != nil {
		return false
	}
	switch {
	case p[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0:
		return true
	case p[0].Revents&unix.POLLRDHUP == 0:
		return false
	}
	var b [1]byte
	n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return secure || n == 0 && err == nil
}
