package virtual

import (
	"fmt"
	"net/netip"
	"time"
)

// The in-process network's ranges: nodes 10.112.0.0/12 (10.112.0.1 is the process itself), pods 10.128.0.0/9.
var (
	nodeRange = netip.MustParsePrefix("10.112.0.0/12")
	podRange  = netip.MustParsePrefix("10.128.0.0/9")
)

const (
	// addressRest is how long a freed pod address is not given out again: caches of endpoints outlive pods by seconds.
	addressRest = 60 * time.Second
	// podPrefixBits is the size of a node's share of the pod range: 254 addresses.
	podPrefixBits = 24
	// maxNodeIndex is the number of /24s in the pod range.
	maxNodeIndex = 1 << (podPrefixBits - 9)
	// firstNodeAddress leaves 10.112.0.0 to 10.112.0.255 to the process.
	firstNodeAddress = 256
)

func offset(base netip.Addr, n uint32) netip.Addr {
	b := base.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += n
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func distance(base, a netip.Addr) uint32 {
	x, y := base.As4(), a.As4()
	u := func(b [4]byte) uint32 {
		return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	}
	return u(y) - u(x)
}

// nodeAddress and podPrefix follow from a node's index, which its spec.podCIDR preserves.
func nodeAddress(index int) string {
	return offset(nodeRange.Addr(), firstNodeAddress+uint32(index)).String()
}

func podPrefix(index int) netip.Prefix {
	return netip.PrefixFrom(offset(podRange.Addr(), uint32(index)<<(32-podPrefixBits)), podPrefixBits)
}

// indexOfPrefix is the inverse of podPrefix.
func indexOfPrefix(cidr string) (int, bool) {
	p, err := netip.ParsePrefix(cidr)
	if err != nil || !podRange.Contains(p.Addr()) {
		return 0, false
	}
	return int(distance(podRange.Addr(), p.Addr()) >> (32 - podPrefixBits)), true
}

// addresses is the ledger of one node's pod addresses.
type addresses struct {
	prefix netip.Prefix
	used   [4]uint64 // bit n: address n is in use or rests
	fresh  int       // the next address never given out
	freed  []freedAddress
}

type freedAddress struct {
	n  int
	at time.Time
}

// hosts is the number of usable addresses: not the network's, its first (the bridge's) or its last (broadcast).
const hosts = 1<<(32-podPrefixBits) - 3

func newAddresses(prefix netip.Prefix) *addresses {
	a := &addresses{prefix: prefix}
	a.set(0)
	a.set(1)
	a.set(255)
	return a
}

func (a *addresses) set(n int)      { a.used[n>>6] |= 1 << (n & 63) }
func (a *addresses) has(n int) bool { return a.used[n>>6]&(1<<(n&63)) != 0 }

// reserve marks an address found in a pod's status as used.
func (a *addresses) reserve(ip string) {
	if n, ok := a.number(ip); ok {
		a.set(n)
	}
}

func (a *addresses) number(ip string) (int, bool) {
	addr, err := netip.ParseAddr(ip)
	if err != nil || !a.prefix.Contains(addr) {
		return 0, false
	}
	return int(distance(a.prefix.Addr(), addr)), true
}

// allocate returns a free address: one never used, else the one freed longest ago if it has rested.
func (a *addresses) allocate(now time.Time) (string, error) {
	for a.fresh < 256 && a.has(a.fresh) {
		a.fresh++
	}
	if a.fresh < 256 {
		n := a.fresh
		a.set(n)
		return offset(a.prefix.Addr(), uint32(n)).String(), nil
	}
	if len(a.freed) > 0 && now.Sub(a.freed[0].at) >= addressRest {
		n := a.freed[0].n
		a.freed = a.freed[1:]
		return offset(a.prefix.Addr(), uint32(n)).String(), nil
	}
	return "", fmt.Errorf("no free address in %s: %d are in use or were freed less than %v ago", a.prefix, hosts, addressRest)
}

// free gives an address back; it stays marked as used until it has rested.
func (a *addresses) free(ip string, now time.Time) {
	if n, ok := a.number(ip); ok && a.has(n) {
		a.freed = append(a.freed, freedAddress{n, now})
	}
}
