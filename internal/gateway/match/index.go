// Package match finds the rule that a request is served by: the most specific listener of the socket (and no other, see
// listener isolation in the Gateway API), then its most specific host name with a match that fits, then the first match in
// their order. An Index is made once for each config.Config and is only read afterwards; a lookup allocates nothing, but
// for headers that are matched and came more than once, and for escapes in query parameters that are matched.
package match

import "github.com/fairway-dev/fairway/internal/gateway/config"

// Index of a Config, safe for concurrent use.
type Index struct {
	sockets []socket
	// hosts are kept for the next Index: a host that is the same pointer is not indexed again.
	hosts map[*config.Host]*paths
}

type socket struct {
	config    *config.Socket
	listeners byHost[*listener]
}

type listener struct {
	config *config.Listener
	hosts  byHost[*paths]
}

// NewIndex makes the index of a Config, which must not change from then on.
func NewIndex(c *config.Config) *Index { return (&Index{}).Next(c) }

// Next makes the index of the Config that comes after; hosts that are the same in both are taken over, so that it costs as
// much as what has changed.
func (x *Index) Next(c *config.Config) *Index {
	next := &Index{sockets: make([]socket, len(c.Sockets)), hosts: map[*config.Host]*paths{}}
	made := map[*config.Listener]*listener{}
	for i := range c.Sockets {
		s := &next.sockets[i]
		s.config = &c.Sockets[i]
		for _, l := range s.config.Listeners {
			if made[l] == nil {
				made[l] = next.listener(x, l)
			}
			s.listeners.add(l.Hostname, made[l])
		}
	}
	return next
}

func (x *Index) listener(last *Index, l *config.Listener) *listener {
	out := &listener{config: l}
	for _, h := range l.Hosts {
		p := last.hosts[h]
		if p == nil {
			p = newPaths(h)
		}
		x.hosts[h] = p
		out.hosts.add(h.Hostname, p)
	}
	return out
}

// Listener that a TLS connection with this server name belongs to: the most specific whose host name fits; nil = none, and
// the handshake is refused. It is what certificates and client validation are taken from.
func (x *Index) Listener(socket int, serverName string) *config.Listener {
	var buf hostBuffer
	name, ok := plainHost(serverName, &buf)
	if !ok {
		return nil
	}
	if l := x.sockets[socket].listener(name); l != nil {
		return l.config
	}
	return nil
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
	for _, s := range l.config.Servers {
		if hostFits(s.Hostname, name) {
			return l.config, s
		}
	}
	return l.config, nil
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
	if s.config.Protocol == config.HTTPS && req.ServerName != req.Host && x.Listener(socket, req.ServerName) != l.config {
		return Result{Listener: l.config, Status: 421}, false
	}
	result := Result{Listener: l.config, Status: 404}
	path := path(req)
	l.hosts.each(name, func(p *paths) bool {
		if i := p.find(path, req); i >= 0 {
			m := &p.host.Matches[i]
			result = Result{Listener: l.config, Host: p.host, Match: m, Rule: m.Rule}
			return false
		}
		return true
	})
	return result, result.Status == 0
}

// listener is the most specific that fits; of several with the same host name the first.
func (s *socket) listener(name []byte) *listener {
	var found *listener
	s.listeners.each(name, func(l *listener) bool {
		found = l
		return false
	})
	return found
}
