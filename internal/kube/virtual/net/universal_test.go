package vnet

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
)

// anyone is a dialer into a cluster whose pods all have the universal listener.
func anyone(t testing.TB) *Dialer {
	t.Helper()
	identity, err := Identity("pod")
	if err != nil {
		t.Fatal(err)
	}
	u := &Universal{TLS: identity}
	t.Cleanup(func() { u.Close() })
	return &Dialer{Network: &Network{}, Tables: world(), Pods: u.Port}
}

func TestUniversalListenerAnswersHTTPInEveryForm(t *testing.T) {
	t.Parallel()
	d := anyone(t)
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	both := new(http.Protocols)
	both.SetHTTP1(true)
	both.SetHTTP2(true)
	for name, c := range map[string]struct {
		url       string
		transport *http.Transport
		major     int
	}{
		"http/1":          {"http://web.shop.svc/healthz", &http.Transport{}, 1},
		"h2c":             {"http://10.128.0.5:8080/", &http.Transport{Protocols: h2c}, 2},
		"https, http/1":   {"https://10.128.0.5:8080/", &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, 1},
		"https, http/2":   {"https://10.128.0.5:8080/", &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: both}, 2},
		"hostPort, plain": {"http://10.112.0.2:443/", &http.Transport{}, 1},
	} {
		c.transport.DialContext = d.DialContext(From{})
		client := &http.Client{Transport: c.transport}
		for range 2 {
			r, err := client.Get(c.url)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
			_, _ = io.Copy(io.Discard, r.Body)
			r.Body.Close()
			if r.StatusCode != http.StatusOK || r.ProtoMajor != c.major {
				t.Errorf("%s: %s %s", name, r.Status, r.Proto)
			}
		}
		client.CloseIdleConnections()
	}
}

func TestUniversalListenerServesTheGRPCHealthProtocol(t *testing.T) {
	t.Parallel()
	d := anyone(t)
	conn, err := grpc.NewClient("passthrough:///10.128.0.5:8080", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return d.Dial(ctx, From{}, "tcp", addr) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	health := grpc_health_v1.NewHealthClient(conn)
	got, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "any"})
	if err != nil || got.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("Check: %v, %v; want SERVING", got, err)
	}
	watch, err := health.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := watch.Recv(); err != nil || got.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("Watch: %v, %v; want SERVING", got, err)
	}
	err = conn.Invoke(t.Context(), "/shop.Cart/Add", &grpc_health_v1.HealthCheckRequest{}, &grpc_health_v1.HealthCheckResponse{})
	if status.Code(err) != codes.Unimplemented {
		t.Fatalf("a method without a model: %v; want Unimplemented", err)
	}
}

func TestUniversalListenerAnswersRedisPingAndAcceptsTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := &Universal{} // refuses TLS
		defer u.Close()
		dial := func() net.Conn {
			a, b := pair()
			go u.Serve(b)
			_ = a.SetReadDeadline(time.Now().Add(time.Minute))
			return a
		}
		for _, c := range []struct{ say, want string }{
			{"*1\r\n$4\r\nPING\r\n", "+PONG\r\n"},
			{"PING\r\n", "+PONG\r\n"},
		} {
			a := dial()
			for range 2 {
				if _, err := io.WriteString(a, c.say); err != nil {
					t.Fatal(err)
				}
				if got, err := bufio.NewReader(a).ReadString('\n'); err != nil || got != c.want {
					t.Fatalf("%q answered %q, %v; want %q", c.say, got, err, c.want)
				}
			}
			_, _ = io.WriteString(a, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")
			if got, err := bufio.NewReader(a).ReadString('\n'); err != nil || got[0] != '-' {
				t.Fatalf("GET answered %q, %v; want an error", got, err)
			}
			a.Close()
		}
		silent := dial()
		if _, err := silent.Write([]byte{0, 1, 2, 3, 4, 5, 6, 7}); err != nil {
			t.Fatal(err)
		}
		if _, err := silent.Read(make([]byte, 1)); err == nil {
			t.Fatal("an unknown protocol was answered")
		}
		silent.Close()
		tlsClient := tls.Client(dial(), &tls.Config{InsecureSkipVerify: true})
		if err := tlsClient.Handshake(); err == nil {
			t.Fatal("TLS without a certificate")
		}
		tlsClient.Close()
	})
}

func TestOnlyDeclaredPortsOfRunningContainersListen(t *testing.T) {
	t.Parallel()
	p := pod("p", "10.128.0.5", 8080)
	p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{}}}
	p.Spec.Containers[0].ReadinessProbe.TCPSocket.Port.IntVal = 9000
	p.Spec.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 9001}}}
	for port, want := range map[uint16]bool{8080: true, 9000: true, 9001: true, 80: false} {
		if got := Declares(p, port); got != want {
			t.Errorf("port %d listens: %v; want %v", port, got, want)
		}
	}
	p.Status.ContainerStatuses[0].State = corev1.ContainerState{}
	if Declares(p, 8080) {
		t.Error("a container that does not run listens")
	}
}

func TestPodSocketsForwardToTheVirtualPod(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp4", "127.128.0.5:0")
	if err != nil {
		t.Skipf("this machine answers 127.0.0.1 only: %v", err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	d := anyone(t)
	p := pod("web-1", "10.128.0.5", int32(port))
	d.Tables.SetPod(p)
	s, err := NewSockets(SocketsAuto, d, discard())
	if err != nil {
		t.Fatal(err)
	}
	s.Open(p)
	s.Open(p)
	url := "http://" + free.Addr().String() + "/"
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Fatal(r.Status)
	}
	http.DefaultClient.CloseIdleConnections()
	s.Shut(p.UID)
	if _, err := net.Dial("tcp4", free.Addr().String()); err == nil {
		t.Fatal("the socket is still open")
	}
	s.Close()
	if _, err := NewSockets("some", d, discard()); err == nil {
		t.Fatal("an unknown mode was taken")
	}
}

func TestServiceSocketsForwardToItsEndpoints(t *testing.T) {
	t.Parallel()
	first, err := net.Listen("tcp4", "127.96.0.5:0")
	if err != nil {
		t.Skipf("this machine answers 127.0.0.1 only: %v", err)
	}
	second, err := net.Listen("tcp4", "127.96.0.5:0")
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	second.Close()
	port := func(l net.Listener) int32 { return int32(l.Addr().(*net.TCPAddr).Port) }
	d := anyone(t)
	d.Tables.SetPod(pod("web-1", "10.128.0.5", 8080))
	web := svc("web", "10.96.0.5", func(s *corev1.Service) { s.UID, s.Spec.Ports[0].Port = "web", port(first) })
	d.Tables.SetService(web)
	d.Tables.SetSlice(slice("web", 8080, ep{ip: "10.128.0.5", node: "n1", ready: true}))
	s, err := NewSockets(SocketsAuto, d, discard())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	get := func(l net.Listener) error {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		r, err := client.Get("http://" + l.Addr().String() + "/")
		if err == nil {
			r.Body.Close()
		}
		return err
	}
	s.OpenService(web)
	if err := get(first); err != nil {
		t.Fatal(err)
	}
	web = web.DeepCopy()
	web.Spec.Ports[0].Port = port(second)
	d.Tables.SetService(web)
	s.OpenService(web)
	if err := get(second); err != nil {
		t.Errorf("the port it has now: %v", err)
	}
	if err := get(first); err == nil {
		t.Error("the port it had is still open")
	}
	web.Spec.ClusterIP = "None"
	s.OpenService(web)
	if err := get(second); err == nil {
		t.Error("a headless Service has a socket")
	}
}

func TestAHandlerAnswersTheHTTPRequestsOfItsPodsAlone(t *testing.T) {
	t.Parallel()
	identity, err := Identity("pod")
	if err != nil {
		t.Fatal(err)
	}
	u := &Universal{TLS: identity}
	t.Cleanup(func() { u.Close() })
	serve := u.With(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "mine") }), nil)
	own := &Dialer{Network: &Network{}, Tables: world(), Pods: func(*corev1.Pod, uint16, corev1.Protocol) Serving { return Serving{Serve: serve} }}
	other := &Dialer{Network: &Network{}, Tables: world(), Pods: u.Port}
	h2 := new(http.Protocols)
	h2.SetHTTP2(true)
	insecure := func() *tls.Config { return &tls.Config{InsecureSkipVerify: true} } // a transport writes into its own
	for name, c := range map[string]struct {
		d         *Dialer
		url, want string
		transport *http.Transport
	}{
		"plain":          {own, "http://10.128.0.5:8080/", "mine", &http.Transport{}},
		"https":          {own, "https://10.128.0.5:8080/", "mine", &http.Transport{TLSClientConfig: insecure()}},
		"https, http/2":  {own, "https://10.128.0.5:8080/", "mine", &http.Transport{TLSClientConfig: insecure(), Protocols: h2}},
		"of another pod": {other, "http://10.128.0.5:8080/", "ok\n", &http.Transport{}},
	} {
		c.transport.DialContext = c.d.DialContext(From{})
		r, err := (&http.Client{Transport: c.transport}).Get(c.url)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		c.transport.CloseIdleConnections()
		if string(body) != c.want {
			t.Errorf("%s: the answer is %q, want %q", name, body, c.want)
		}
	}
}
