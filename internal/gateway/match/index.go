// Package match finds the rule that a request is served by: the most specific listener of the socket (and no other, see
// listener isolation in the Gateway API), then its most specific host name with a match that fits, then the first match in
// their order. An Index is made once for each config.Config and is only read afterwards; a lookup allocates nothing.
package match

import "github.com/fairway-dev/fairway/internal/gateway/config"

// Index of a Config, safe for concurrent use.
type Index struct {
	sockets []socket
}

type socket struct {
	config *config.Socket
}

// NewIndex makes the index of a Config, which must not change from then on.
func NewIndex(c *config.Config) *Index {
	x := &Index{sockets: make([]socket, len(c.Sockets))}
	for i := range c.Sockets {
		x.sockets[i] = socket{config: &c.Sockets[i]}
	}
	return x
}

// Listener that a TLS connection with this server name belongs to: the most specific whose host name fits; nil = none, and
// the handshake is refused. It is what certificates and client validation are taken from.
func (x *Index) Listener(socket int, serverName string) *config.Listener {
	var buf hostBuffer
	name, ok := plainHost(serverName, &buf)
	if !ok {
		return nil
	}
	return x.sockets[socket].listener(name)
}

// Server finds the route of a connection on a socket of TLS by server name; nil = none, and the connection is closed.
func (x *Index) Server(socket int, serverName string) (*config.Listener, *config.Server) {
	var buf hostBuffer
	name, ok := plainHost(serverName, &buf)
	if !ok {
		return nil, nil
	}
	l := x.sockets[socket].listener(name)
	if l == nil {
		return nil, nil
	}
	for _, s := range l.Servers {
		if hostFits(s.Hostname, name) {
			return l, s
		}
	}
	return l, nil
}

// Match finds the rule of a request that came in by the socket of that place in Config.Sockets; false when there is none,
// with the status to answer.
func (x *Index) Match(socket int, req *Head) (Result, bool) {
	var buf hostBuffer
	name, ok := plainHost(req.Host, &buf)
	if !ok {
		return Result{Status: 404}, false
	}
	s := &x.sockets[socket]
	l := s.listener(name)
	if l == nil {
		return Result{Status: 404}, false
	}
	if s.config.Protocol == config.HTTPS && x.Listener(socket, req.ServerName) != l {
		return Result{Listener: l, Status: 421}, false
	}
	for _, h := range l.Hosts {
		if !hostFits(h.Hostname, name) {
			continue
		}
		for i := range h.Matches {
			if m := &h.Matches[i]; fits(m, req) {
				return Result{Listener: l, Host: h, Match: m, Rule: m.Rule}, true
			}
		}
	}
	return Result{Listener: l, Status: 404}, false
}

// listener is the first that fits: they stand from the most specific to the least.
func (s *socket) listener(name []byte) *config.Listener {
	for _, l := range s.config.Listeners {
		if hostFits(l.Hostname, name) {
			return l
		}
	}
	return nil
}
