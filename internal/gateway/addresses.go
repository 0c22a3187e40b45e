package gateway

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// DefaultPool is where Gateways get their addresses from on this machine.
var DefaultPool = netip.MustParsePrefix("127.32.0.0/16")

// Entrance is the address of a pool that Ingresses and foreign objects are served on: its last but one.
func Entrance(pool netip.Prefix) netip.Addr {
	last := pool.Masked().Addr().As4()
	for bit := pool.Bits(); bit < 32; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(last).Prev()
}

// assign gives each Gateway its addresses: those it asks for, those it had, or else the lowest that is free. Older Gateways
// come first.
func assign(gateways []*gw.Gateway, pool netip.Prefix) (given map[config.Name][]netip.Addr, problems map[config.Name]string) {
	given, problems = map[config.Name][]netip.Addr{}, map[config.Name]string{}
	taken := map[netip.Addr]bool{pool.Addr(): true, Entrance(pool): true, Entrance(pool).Next(): true}
	ordered := slices.SortedFunc(slices.Values(gateways), func(a, b *gw.Gateway) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	var open []*gw.Gateway
	for _, g := range ordered { // what is asked for, and what they have: nobody else may get these
		asked, problem := askedFor(g, pool)
		switch {
		case problem != "":
			problems[nameOf(g)] = problem
		case len(asked) > 0:
			if held := slices.IndexFunc(asked, func(a netip.Addr) bool { return taken[a] }); held >= 0 {
				problems[nameOf(g)] = fmt.Sprintf("address %s belongs to another Gateway", asked[held])
				continue
			}
			for _, a := range asked {
				taken[a] = true
			}
			given[nameOf(g)] = asked
		default:
			open = append(open, g)
		}
	}
	var without []*gw.Gateway
	for _, g := range open {
		had := had(g, pool)
		if !had.IsValid() || taken[had] {
			without = append(without, g)
			continue
		}
		taken[had] = true
		given[nameOf(g)] = []netip.Addr{had}
	}
	next := pool.Addr()
	for _, g := range without {
		for taken[next] {
			next = next.Next()
		}
		if !pool.Contains(next) {
			problems[nameOf(g)] = fmt.Sprintf("all addresses of %s are given away", pool)
			continue
		}
		taken[next] = true
		given[nameOf(g)] = []netip.Addr{next}
	}
	return given, problems
}

// askedFor are the addresses that a Gateway names. One without a value asks for any.
func askedFor(g *gw.Gateway, pool netip.Prefix) (asked []netip.Addr, problem string) {
	for _, a := range g.Spec.Addresses {
		if a.Type != nil && *a.Type != gw.IPAddressType || a.Value == "" {
			continue // another type is refused where it is compiled
		}
		ip, err := netip.ParseAddr(a.Value)
		if err != nil || !pool.Contains(ip) {
			return nil, fmt.Sprintf("address %q is not in %s, the pool of this gateway's addresses", a.Value, pool)
		}
		asked = append(asked, ip)
	}
	return asked, ""
}

// had is the address that a Gateway's status names.
func had(g *gw.Gateway, pool netip.Prefix) netip.Addr {
	for _, a := range g.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Value); err == nil && pool.Contains(ip) {
			return ip
		}
	}
	return netip.Addr{}
}
