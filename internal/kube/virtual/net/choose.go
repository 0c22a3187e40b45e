package vnet

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"
)

// clientsMax bounds the clients whose endpoint a Service remembers; beyond it the longest unused is forgotten.
const clientsMax = 4096

// client is the endpoint that a client with session affinity uses.
type client struct {
	backend netip.AddrPort
	used    time.Time
}

// choose picks the backend of one connection: the client's last one while its affinity lasts and it is still there,
// else one drawn from the seed, the Service, the caller and the number of the connection to that Service.
func (d *Dialer) choose(t Target, from From, now time.Time) netip.AddrPort {
	s := t.entry
	s.computing.Lock()
	defer s.computing.Unlock()
	source := from.Source()
	if t.Affinity > 0 {
		if c, ok := s.clients[source]; ok && now.Sub(c.used) < t.Affinity && slices.Contains(t.Backends, c.backend) {
			s.clients[source] = client{c.backend, now}
			return c.backend
		}
	}
	s.turn++
	chosen := Pick(t, d.Seed, source, s.turn)
	if t.Affinity > 0 {
		s.remember(source, client{chosen, now}, t.Affinity)
	}
	return chosen
}

// Pick draws a backend of the target for the n-th connection: the same arguments give the same backend, and many n
// spread evenly. The target must have backends.
func Pick(t Target, seed uint64, source netip.Addr, n uint64) netip.AddrPort {
	if len(t.Backends) == 1 {
		return t.Backends[0]
	}
	return t.Backends[hash(seed, t.Service, source, n)%uint64(len(t.Backends))]
}

func (s *service) remember(source netip.Addr, c client, affinity time.Duration) {
	if s.clients == nil {
		s.clients = map[netip.Addr]client{}
	}
	if _, known := s.clients[source]; !known && len(s.clients) >= clientsMax {
		s.forget(c.used, affinity)
	}
	s.clients[source] = c
}

// forget drops the clients whose affinity has ended, or the one unused for longest.
func (s *service) forget(now time.Time, affinity time.Duration) {
	var oldest netip.Addr
	for a, c := range s.clients {
		if now.Sub(c.used) >= affinity {
			delete(s.clients, a)
			continue
		}
		o, known := s.clients[oldest]
		if !known || c.used.Before(o.used) || c.used.Equal(o.used) && a.Less(oldest) {
			oldest = a
		}
	}
	if len(s.clients) >= clientsMax {
		delete(s.clients, oldest)
	}
}

// hash mixes its arguments into 64 bits (FNV-1a with a finaliser, so that the low bits are good too).
func hash(seed uint64, text string, source netip.Addr, n uint64) uint64 {
	h := fnv.New64a()
	var b [32]byte
	binary.LittleEndian.PutUint64(b[:8], seed)
	binary.LittleEndian.PutUint64(b[8:16], n)
	from := source.As16()
	copy(b[16:], from[:])
	h.Write(b[:])
	h.Write([]byte(text))
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
