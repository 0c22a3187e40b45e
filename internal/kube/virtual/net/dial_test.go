package vnet

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
)

func TestDialReachesWhatEachAddressAndNameMeans(t *testing.T) {
	t.Parallel()
	n := &Network{}
	d := &Dialer{Network: n, Tables: world(), Pods: (&Universal{}).Port}
	d.ServeKubelets(func(node string) func(net.Conn) { return say("kubelet of " + node) })
	for at, what := range map[string]string{"10.96.0.1:443": "api server", "10.112.0.1:9443": "webhook", "10.128.0.9:5432": "db-0"} {
		release, err := n.Handle(netip.MustParseAddrPort(at), say(what))
		if err != nil {
			t.Fatal(err)
		}
		defer release()
	}
	d.Tables.SetPod(pod("db-0", "10.128.0.9", 5432))
	for _, c := range []struct{ addr, want string }{
		{"10.112.0.3:10250", "kubelet of n2"},
		{"10.96.0.1:443", "api server"},
		{"10.112.0.1:9443", "webhook"},
		{"db-0.db.shop.svc:5432", "db-0"},
		{"db.shop.svc:5432", "db-0"}, // the other endpoint's pod does not exist: a client goes on to the next
	} {
		synctest.Test(t, func(t *testing.T) {
			c2, err := d.Dial(t.Context(), From{}, "tcp", c.addr)
			if err != nil {
				t.Errorf("%s: %v", c.addr, err)
				return
			}
			got, _ := io.ReadAll(c2)
			if string(got) != c.want {
				t.Errorf("%s answers %q; want %q", c.addr, got, c.want)
			}
			c2.Close()
		})
	}
}

func say(what string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, what)
		c.Close()
	}
}

func TestDialFailsAsTheRealNetworkDoes(t *testing.T) {
	t.Parallel()
	lost := netip.MustParseAddr("10.128.1.5")
	d := &Dialer{Network: &Network{}, Tables: world(),
		Pods: func(p *corev1.Pod, port uint16, protocol corev1.Protocol) Serving {
			if p.Name == "edge" {
				return Serving{Lost: true}
			}
			return Serving{}
		},
		Cut: func(_ From, to netip.Addr) bool { return to == lost }}
	for _, c := range []struct {
		addr    string
		timeout time.Duration
		want    error
		after   time.Duration
	}{
		{"10.128.0.5:81", time.Hour, syscall.ECONNREFUSED, 0},
		{"10.96.1.2:80", time.Hour, syscall.ECONNREFUSED, 0},
		{"10.112.0.1:1", time.Hour, syscall.ECONNREFUSED, 0},
		{"10.112.0.2:10250", time.Hour, syscall.ECONNREFUSED, 0},
		{"10.128.99.1:80", time.Hour, syscall.EHOSTUNREACH, 3 * time.Second},
		{"10.128.0.6:8443", time.Hour, syscall.EHOSTUNREACH, 3 * time.Second},
		{"10.128.99.1:80", time.Second, os.ErrDeadlineExceeded, time.Second},
		{"10.128.1.5:8080", 30 * time.Second, os.ErrDeadlineExceeded, 30 * time.Second},
		{"10.128.1.5:8080", time.Hour, syscall.ETIMEDOUT, 127 * time.Second},
		{"198.51.100.1:80", time.Hour, syscall.ENETUNREACH, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
			defer cancel()
			start := time.Now()
			_, err := d.Dial(ctx, From{}, "tcp", c.addr)
			var op *net.OpError
			if !errors.Is(err, c.want) || !errors.As(err, &op) || time.Since(start) != c.after {
				t.Errorf("%s: %v after %v; want %v after %v", c.addr, err, time.Since(start), c.want, c.after)
			}
		})
	}
	var dns *net.DNSError
	if _, err := d.Dial(t.Context(), From{}, "tcp", "nosuch.shop.svc.cluster.local:80"); !errors.As(err, &dns) || !dns.IsNotFound {
		t.Errorf("a Service that does not exist: %v; want a DNS error", err)
	}
	for _, addr := range []string{"web", "web:http", "web:70000", "a:b:c"} {
		if _, err := d.Dial(t.Context(), From{}, "tcp", addr); err == nil {
			t.Errorf("%q was dialed", addr)
		}
	}
	if _, err := d.Dial(t.Context(), From{}, "unix", "/run/x"); err == nil {
		t.Error("a Unix socket was dialed")
	}
}

func TestEgressNeverLeadsIntoOurRanges(t *testing.T) {
	t.Parallel()
	if _, err := Egress()(t.Context(), "tcp", "10.128.0.5:80"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Fatalf("dialed %v; want a refusal", err)
	}
}

func TestAPodWithALocalProcessIsServedByIt(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			say("the user's process")(c)
		}
	}()
	d := &Dialer{Network: &Network{}, Tables: world(), Pods: func(p *corev1.Pod, _ uint16, _ corev1.Protocol) Serving {
		return Serving{Local: uint16(l.Addr().(*net.TCPAddr).Port), Serve: say("memory")}
	}}
	c, err := d.Dial(t.Context(), From{}, "tcp", "web.shop.svc:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, _ := io.ReadAll(c); string(got) != "the user's process" {
		t.Fatalf("answered by %q", got)
	}
}

func TestListenerServesHTTPAndFreesItsAddressWhenClosed(t *testing.T) {
	t.Parallel()
	n := &Network{}
	at := netip.MustParseAddrPort("10.112.0.1:9443")
	l, err := n.Listen(at)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Listen(at); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("second Listen: %v; want EADDRINUSE", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RemoteAddr)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	d := &Dialer{Network: n, Tables: &Tables{}}
	client := &http.Client{Transport: &http.Transport{DialContext: d.DialContext(From{Pod: pod("p", "10.128.0.5", 1)})}}
	for range 3 {
		r, err := client.Get("http://10.112.0.1:9443/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if host, _, _ := net.SplitHostPort(string(body)); host != "10.128.0.5" {
			t.Fatalf("the server sees %q; want the pod's address", body)
		}
	}
	client.CloseIdleConnections()
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("Accept after Close: %v", err)
	}
	if again, err := n.Listen(at); err != nil {
		t.Fatalf("the address was not freed: %v", err)
	} else {
		again.Close()
	}
}

func TestAClosedListenerResetsThoseWhoWaited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &Network{}
		l, err := n.Listen(netip.MustParseAddrPort("10.112.0.1:1"))
		if err != nil {
			t.Fatal(err)
		}
		d := &Dialer{Network: n, Tables: &Tables{}}
		c, err := d.Dial(t.Context(), From{}, "tcp", "10.112.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		l.Close()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("read: %v; want ECONNRESET", err)
		}
	})
}

func TestUDPReachesAPodThroughItsService(t *testing.T) {
	t.Parallel()
	w := world()
	w.SetService(svc("dns", "10.96.1.9", func(s *corev1.Service) { s.Spec.Ports[0].Protocol, s.Spec.Ports[0].Port = corev1.ProtocolUDP, 53 }))
	s := slice("dns", 5353, ep{ip: "10.128.0.5", ready: true})
	s.Ports[0].Protocol = ptr(corev1.ProtocolUDP)
	w.SetSlice(s)
	n := &Network{}
	server, err := n.ListenPacket(netip.MustParseAddrPort("10.128.0.5:5353"))
	if err != nil {
		t.Fatal(err)
	}
	d := &Dialer{Network: n, Tables: w}
	c, err := d.Dial(t.Context(), From{}, "udp", "dns.shop.svc:53")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("ask")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 8)
	k, from, err := server.ReadFrom(b)
	if err != nil || string(b[:k]) != "ask" {
		t.Fatalf("%q, %v", b[:k], err)
	}
	if _, err := server.WriteTo([]byte("told"), from); err != nil {
		t.Fatal(err)
	}
	if k, err = c.Read(b); err != nil || string(b[:k]) != "told" {
		t.Fatalf("%q, %v", b[:k], err)
	}
}

func TestTablesFollowSharedInformers(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := pod("web-1", "10.128.0.5", 8080)
	client := fake.NewClientset(p, svc("web", "10.96.1.1"), slice("web", 8080, ep{ip: "10.128.0.5", ready: true}), node("n1", "10.112.0.2"))
	f := informers.NewSharedInformerFactory(client, 0)
	w := &Tables{}
	done, err := w.Observe(f.Core().V1().Pods().Informer(), f.Core().V1().Nodes().Informer(), f.Core().V1().Services().Informer(),
		f.Discovery().V1().EndpointSlices().Informer())
	if err != nil {
		t.Fatal(err)
	}
	f.Start(ctx.Done())
	for _, r := range done {
		if !cache.WaitForCacheSync(ctx.Done(), r.HasSynced) {
			t.Fatal("not in sync")
		}
	}
	for addr, want := range map[string]Kind{"10.96.1.1:80": ToService, "10.128.0.5:1": ToPod, "10.112.0.2:10250": ToKubelet} {
		if got := Resolve(netip.MustParseAddrPort(addr), corev1.ProtocolTCP, From{}, w); got.Kind != want {
			t.Errorf("%s: kind %d; want %d", addr, got.Kind, want)
		}
	}
}
