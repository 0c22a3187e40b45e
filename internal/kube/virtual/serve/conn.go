package serve

import "net"

// conn is a connection to a container.
type conn struct {
	net.Conn
	of *server
}

// keep counts a connection until it is closed.
func (s *server) keep(c net.Conn) net.Conn {
	k := &conn{c, s}
	s.mu.Lock()
	ended := s.ended.Err() != nil
	if !ended {
		s.conns[k] = true
	}
	s.mu.Unlock()
	if ended {
		c.Close()
	}
	return k
}

// Close closes the connection.
func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite ends the direction to the client.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// close ends what the container does: its connections break.
func (s *server) close() {
	s.end()
	s.cpu.stop()
	s.mu.Lock()
	all := s.conns
	s.conns = map[*conn]bool{}
	s.mu.Unlock()
	for c := range all {
		c.Conn.Close()
	}
}
