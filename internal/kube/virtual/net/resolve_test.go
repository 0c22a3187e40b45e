package vnet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"pgregory.net/rapid"
)

func TestResolveSaysWhatEachAddressMeans(t *testing.T) {
	t.Parallel()
	w := world()
	caller := From{Pod: w.PodAt(netip.MustParseAddr("10.128.0.5")), Node: "n1"}
	both := "10.128.0.5:8080 10.128.1.5:8080"
	for _, c := range []struct {
		to   string
		from From
		kind Kind
		want string // address, or node, or backends
	}{
		{"10.128.0.5:8080", From{}, ToPod, "10.128.0.5:8080"},
		{"10.128.200.1:80", From{}, ToNowhere, "10.128.200.1:80"},
		{"10.112.0.2:10250", From{}, ToKubelet, "n1"},
		{"10.112.0.2:443", From{}, ToPod, "10.128.0.6:8443"},
		{"10.112.0.2:9100", From{}, ToPod, "10.112.0.2:9100"},
		{"10.112.0.2:9999", From{}, ToNothing, "10.112.0.2:9999"},
		{"10.112.0.2:30080", From{}, ToService, both},
		{"10.112.0.3:443", From{}, ToNothing, "10.112.0.3:443"},
		{"10.113.0.1:80", From{}, ToNowhere, "10.113.0.1:80"},
		{"10.96.1.1:80", From{}, ToService, both},
		{"203.0.113.7:80", From{}, ToService, both},
		{"10.96.1.1:81", From{}, ToNothing, "10.96.1.1:81"},
		{"10.96.1.2:80", From{}, ToNothing, "10.96.1.2:80"},
		{"10.96.9.9:80", From{}, ToNothing, "10.96.9.9:80"},
		{"10.112.0.1:6443", From{}, ToProcess, "10.112.0.1:6443"},
		{"198.51.100.1:80", From{}, ToOutside, "198.51.100.1:80"},
		{"127.0.0.1:9443", From{}, ToLoopback, "127.0.0.1:9443"},
		{"127.0.0.1:8080", caller, ToPod, "10.128.0.5:8080"},
		{"[::ffff:10.128.0.5]:8080", From{}, ToPod, "10.128.0.5:8080"},
	} {
		got := Resolve(netip.MustParseAddrPort(c.to), corev1.ProtocolTCP, c.from, w)
		if got.Kind != c.kind || describe(got) != c.want {
			t.Errorf("%s: kind %d %q; want kind %d %q", c.to, got.Kind, describe(got), c.kind, c.want)
		}
		if (got.Kind == ToNothing || got.Kind == ToNowhere) && got.Why == "" {
			t.Errorf("%s: no reason given", c.to)
		}
	}
	if got := Resolve(netip.MustParseAddrPort("10.96.1.1:80"), corev1.ProtocolUDP, From{}, w); got.Kind != ToNothing {
		t.Errorf("a TCP port dialed over UDP: kind %d; want refused", got.Kind)
	}
}

func describe(t Target) string {
	switch {
	case t.Kind == ToKubelet:
		return t.Node
	case t.Kind == ToService:
		return strings.Trim(fmt.Sprint(t.Backends), "[]")
	}
	return t.At.String()
}

func TestBackendsFollowReadinessPoliciesAndHints(t *testing.T) {
	t.Parallel()
	local := corev1.ServiceInternalTrafficPolicyLocal
	a := ep{ip: "10.128.0.5", node: "n1", ready: true, zones: []string{"a"}}
	b := ep{ip: "10.128.1.5", node: "n2", ready: true, zones: []string{"b"}}
	ending := ep{ip: "10.128.2.5", node: "n1", terminating: true}
	dead := ep{ip: "10.128.3.5", node: "n1"}
	unhinted := ep{ip: "10.128.4.5", node: "n3", ready: true}
	for _, c := range []struct {
		name      string
		endpoints []ep
		policy    *corev1.ServiceInternalTrafficPolicy
		from      From
		want      string
		kind      Kind
	}{
		{"ready ones hide those that end", []ep{unhinted, ending, dead}, nil, From{}, "10.128.4.5:8080", ToService},
		{"those that end serve when none is ready", []ep{ending, dead}, nil, From{}, "10.128.2.5:8080", ToService},
		{"none serves", []ep{dead}, nil, From{}, "", ToNothing},
		{"hints keep traffic in the zone", []ep{a, b}, nil, From{Node: "n1", Zone: "a"}, "10.128.0.5:8080", ToService},
		{"one without hints turns them off", []ep{a, b, unhinted}, nil, From{Zone: "a"},
			"10.128.0.5:8080 10.128.1.5:8080 10.128.4.5:8080", ToService},
		{"a zone nobody serves uses all", []ep{a, b}, nil, From{Zone: "c"}, "10.128.0.5:8080 10.128.1.5:8080", ToService},
		{"Local keeps traffic on the node", []ep{a, b}, &local, From{Node: "n2"}, "10.128.1.5:8080", ToService},
		{"Local drops on a node without endpoints", []ep{a, b}, &local, From{Node: "n3"}, "", ToNowhere},
		{"Local means nothing to the process itself", []ep{a, b}, &local, From{}, "10.128.0.5:8080 10.128.1.5:8080", ToService},
	} {
		w := &Tables{}
		w.SetSlice(slice("s", 8080, c.endpoints...)) // slices may come first
		w.SetService(svc("s", "10.96.1.1", func(s *corev1.Service) { s.Spec.InternalTrafficPolicy = c.policy }))
		got := Resolve(netip.MustParseAddrPort("10.96.1.1:80"), corev1.ProtocolTCP, c.from, w)
		if got.Kind != c.kind || strings.Trim(fmt.Sprint(got.Backends), "[]") != c.want {
			t.Errorf("%s: kind %d %v; want kind %d %s", c.name, got.Kind, got.Backends, c.kind, c.want)
		}
	}
}

func TestAnAddressBelongsToItsNewPodAfterTheOldOneEnded(t *testing.T) {
	t.Parallel()
	w := &Tables{}
	at := netip.MustParseAddr("10.128.0.5")
	first, second := pod("first", "10.128.0.5", 80), pod("second", "10.128.0.5", 80)
	w.SetPod(first)
	done := first.DeepCopy()
	done.Status.Phase = corev1.PodSucceeded
	w.SetPod(done)
	if w.PodAt(at) != nil {
		t.Fatal("a pod that has ended keeps no address")
	}
	w.SetPod(second)
	w.SetPod(done) // a late update of the old one
	w.DeletePod(done)
	if p := w.PodAt(at); p != second {
		t.Fatalf("the address belongs to %v; want the second pod", p)
	}
	successor := second.DeepCopy()
	successor.UID = "another"
	w.SetPod(successor)
	w.DeletePod(second) // its delete comes late
	if p := w.PodAt(at); p != successor {
		t.Fatalf("the late delete of a pod took its successor's address: %v", p)
	}
}

func TestSessionAffinityKeepsAClientAtItsBackendUntilItIsGoneOrTimeHasPassed(t *testing.T) {
	t.Parallel()
	w := &Tables{}
	w.SetService(svc("s", "10.96.1.1", func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }))
	set := func(n int) Target {
		var all []ep
		for i := range n {
			all = append(all, ep{ip: fmt.Sprintf("10.128.0.%d", i+1), ready: true})
		}
		s := slice("s", 8080, all...)
		s.Name = "s"
		w.SetSlice(s)
		return Resolve(netip.MustParseAddrPort("10.96.1.1:80"), corev1.ProtocolTCP, From{}, w)
	}
	d := &Dialer{Tables: w}
	now := time.Unix(1e9, 0)
	first := d.choose(set(50), From{}, now)
	for range 20 {
		now = now.Add(2 * time.Hour) // less than the default of three hours since the last use
		if got := d.choose(set(50), From{}, now); got != first {
			t.Fatalf("the client moved from %s to %s", first, got)
		}
	}
	seen := map[netip.AddrPort]bool{}
	for range 20 {
		now = now.Add(3 * time.Hour)
		seen[d.choose(set(50), From{}, now)] = true
	}
	if len(seen) < 2 {
		t.Fatal("a client stays for ever although its affinity has ended")
	}
}

func TestRememberedClientsAreBounded(t *testing.T) {
	t.Parallel()
	s := &service{}
	now := time.Unix(1e9, 0)
	a := netip.MustParseAddr("10.128.0.0")
	for i := range 3 * clientsMax {
		a = a.Next()
		s.remember(a, client{used: now.Add(time.Duration(i) * time.Second)}, time.Hour)
		if len(s.clients) > clientsMax {
			t.Fatalf("%d clients remembered; want at most %d", len(s.clients), clientsMax)
		}
	}
	if _, ok := s.clients[a]; !ok {
		t.Fatal("the newest client was forgotten")
	}
}

// Every connection gets one of the usable backends, equal arguments the same one, and many connections spread evenly.
func TestPickIsRepeatableAndEven(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "backends")
		target := Target{Service: rapid.StringMatching(`[a-z]{1,8}/[a-z]{1,8}:80`).Draw(t, "service")}
		for i := range n {
			target.Backends = append(target.Backends, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 128, 0, byte(i)}), 80))
		}
		seed := rapid.Uint64().Draw(t, "seed")
		count := map[netip.AddrPort]int{}
		const connections = 4000
		for i := range uint64(connections) {
			got := Pick(target, seed, Process, i)
			if again := Pick(target, seed, Process, i); again != got || !slices.Contains(target.Backends, got) {
				t.Fatalf("connection %d: %s, then %s", i, got, again)
			}
			count[got]++
		}
		for _, b := range target.Backends {
			if mean := connections / n; count[b] < mean/2 || count[b] > 2*mean {
				t.Fatalf("%s got %d of %d connections over %d backends", b, count[b], connections, n)
			}
		}
	})
}

// Tables fed one event at a time, in any order, hold what tables fed the final state hold.
func TestTablesAreWhatTheirFinalObjectsMakeThem(t *testing.T) {
	t.Parallel()
	ips := []string{"10.128.0.1", "10.128.0.2", "10.128.0.3", "10.128.0.4"}
	rapid.Check(t, func(t *rapid.T) {
		inc := &Tables{}
		services, slicesNow := map[string]*corev1.Service{}, map[string]*discoveryv1.EndpointSlice{}
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "service")
			switch rapid.SampledFrom([]string{"set", "delete", "slice", "unslice"}).Draw(t, "event") {
			case "set":
				vip := map[string]string{"a": "10.96.0.21", "b": "10.96.0.22", "c": "10.96.0.23"}[name]
				s := svc(name, vip, func(s *corev1.Service) {
					s.Spec.Ports[0].NodePort = map[string]int32{"a": 30001, "b": 30002, "c": 30003}[name] + int32(10*rapid.IntRange(0, 3).Draw(t, "port"))
				})
				services[name] = s
				inc.SetService(s)
			case "delete":
				if s := services[name]; s != nil {
					inc.DeleteService(s)
					delete(services, name)
				}
			case "slice":
				s := slice(name, 8080, ep{ip: rapid.SampledFrom(ips).Draw(t, "ip"), ready: rapid.Bool().Draw(t, "ready")})
				slicesNow[name] = s
				inc.SetSlice(s)
			case "unslice":
				if s := slicesNow[name]; s != nil {
					inc.DeleteSlice(s)
					delete(slicesNow, name)
				}
			}
			_ = Resolve(netip.MustParseAddrPort("10.96.0.21:80"), corev1.ProtocolTCP, From{}, inc) // fills caches
		}
		whole := &Tables{}
		for _, s := range services {
			whole.SetService(s)
		}
		for _, s := range slicesNow {
			whole.SetSlice(s)
		}
		for _, vip := range []string{"10.96.0.21:80", "10.96.0.22:80", "10.96.0.23:80"} {
			at := netip.MustParseAddrPort(vip)
			a := Resolve(at, corev1.ProtocolTCP, From{}, inc)
			b := Resolve(at, corev1.ProtocolTCP, From{}, whole)
			if a.Kind != b.Kind || describe(a) != describe(b) || a.Why != b.Why {
				t.Fatalf("%s: step by step %v %s (%s), at once %v %s (%s)", vip, a.Kind, describe(a), a.Why, b.Kind, describe(b), b.Why)
			}
		}
		if len(inc.services) != len(whole.services) || len(inc.nodePorts) != len(whole.nodePorts) || len(inc.vips) != len(whole.vips) {
			t.Fatalf("left behind: %d services, %d node ports, %d addresses; want %d, %d, %d", len(inc.services), len(inc.nodePorts),
				len(inc.vips), len(whole.services), len(whole.nodePorts), len(whole.vips))
		}
	})
}
