package vnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestLookupAnswersAsTheClustersNameServer(t *testing.T) {
	t.Parallel()
	w := world()
	shop := From{Pod: pod("client", "10.128.0.77", 1, func(p *corev1.Pod) {
		p.Spec.HostAliases = []corev1.HostAlias{{IP: "10.1.2.3", Hostnames: []string{"legacy"}}}
	})}
	other := From{Pod: pod("client", "10.128.0.78", 1, func(p *corev1.Pod) { p.Namespace = "other" })}
	host := From{Pod: pod("client", "10.112.0.2", 1, func(p *corev1.Pod) { p.Spec.HostNetwork = true })}
	picky := From{Pod: pod("client", "10.128.0.79", 1, func(p *corev1.Pod) {
		p.Namespace, p.Spec.DNSPolicy = "other", corev1.DNSNone
		p.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"10.96.0.10"}, Searches: []string{"shop.svc.cluster.local"}}
	})}
	const none = "no such host"
	for _, c := range []struct {
		name string
		from From
		want string
	}{
		{"web", shop, "10.96.1.1"},
		{"WEB.Shop", shop, "10.96.1.1"},
		{"web", other, "outside web"},
		{"web.shop", other, "10.96.1.1"},
		{"web.shop.svc", From{}, "10.96.1.1"},
		{"web.shop.svc.cluster.local.", From{}, "10.96.1.1"},
		{"web.shop.svc.cluster.local", host, "outside web.shop.svc.cluster.local"},
		{"web", picky, "10.96.1.1"},
		{"nosuch.shop.svc.cluster.local", shop, none},
		{"db", shop, "10.128.0.9 10.128.1.9"},
		{"db-1.db", shop, "10.128.1.9"},
		{"db-7.db.shop.svc.cluster.local", shop, none},
		{"10-128-0-5.shop.pod.cluster.local", shop, "10.128.0.5"},
		{"out", shop, "outside api.example.com"},
		{"alias", shop, "10.96.1.1"},
		{"loop.shop.svc.cluster.local", shop, none},
		{"legacy", shop, "10.1.2.3"},
		{"client", shop, "10.128.0.77"},
		{"localhost", shop, "127.0.0.1"},
		{"n1", From{}, "10.112.0.2"},
		{"n1", shop, "outside n1"},
		{"example.com", shop, "outside example.com"},
		{"10.9.8.7", shop, "10.9.8.7"},
		{"", shop, none},
	} {
		got, err := w.Lookup(c.name, c.from)
		text := strings.Trim(fmt.Sprint(got.Addresses), "[]")
		if got.Outside != "" {
			text = "outside " + got.Outside
		}
		var dns *net.DNSError
		if err != nil && errors.As(err, &dns) && dns.IsNotFound {
			text = none
		}
		if text != c.want {
			t.Errorf("%q: %s (%v); want %s", c.name, text, err, c.want)
		}
	}
}

func FuzzLookupNeverFailsInAnotherWay(f *testing.F) {
	for _, s := range []string{"web", "web.shop.svc.cluster.local.", "..", "10-1.shop.pod.cluster.local", ".svc.cluster.local",
		"a.b.c.d.svc.cluster.local", strings.Repeat("a.", 200), "fe80::1%eth0"} {
		f.Add(s)
	}
	w := world()
	from := From{Pod: pod("client", "10.128.0.77", 1)}
	f.Fuzz(func(t *testing.T, name string) {
		a, err := w.Lookup(name, from)
		var dns *net.DNSError
		if err != nil && !errors.As(err, &dns) {
			t.Fatalf("%q: %v; want a DNS error", name, err)
		}
		if err == nil && (len(a.Addresses) > 0) == (a.Outside != "") {
			t.Fatalf("%q: %v; want addresses or an outside name", name, a)
		}
		for _, x := range a.Addresses {
			if !x.IsValid() {
				t.Fatalf("%q resolves to an invalid address", name)
			}
		}
		if again, _ := w.Lookup(name, from); fmt.Sprint(again) != fmt.Sprint(a) {
			t.Fatalf("%q: %v, then %v", name, a, again)
		}
	})
}

func FuzzResolveKeepsOurRangesInside(f *testing.F) {
	f.Add(uint32(0x0a600101), uint16(80))
	f.Add(uint32(0x7f000001), uint16(1))
	w := world()
	f.Fuzz(func(t *testing.T, ip uint32, port uint16) {
		a := netip.AddrFrom4([4]byte{byte(ip >> 24), byte(ip >> 16), byte(ip >> 8), byte(ip)})
		got := Resolve(netip.AddrPortFrom(a, port), corev1.ProtocolTCP, From{}, w)
		if Own(a) && (got.Kind == ToOutside || got.Kind == ToLoopback) {
			t.Fatalf("%s would leave the process: kind %d", a, got.Kind)
		}
		if got.Kind == ToService && len(got.Backends) == 0 {
			t.Fatalf("%s: a Service without backends", a)
		}
	})
}
