package program

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	corev1 "k8s.io/api/core/v1"

	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
)

const echoImage = "registry.k8s.io/gateway-api/echo-basic:v1.5.1"

// echoPod runs the echo server with this environment, and a certificate in a volume at /etc/secret-volume.
func echoPod(env ...string) *corev1.Pod {
	pod := servingPod(echoImage, nil)
	c := &pod.Spec.Containers[0]
	c.Ports = nil
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: value})
	}
	c.VolumeMounts = []corev1.VolumeMount{{Name: "secret-volume", MountPath: "/etc/secret-volume"}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "secret-volume", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "web-tls",
		Items: []corev1.KeyToPath{{Key: "tls.crt", Path: "crt"}, {Key: "tls.key", Path: "key"}}}}}}
	return pod
}

// withCertificate gives a book the Secret of echoPod, and returns its authority.
func withCertificate(t *testing.T, b *Book) *x509.CertPool {
	identity, err := vnet.Identity("abc.example.com")
	if err != nil {
		t.Fatal(err)
	}
	pair := identity.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, c := range pair.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	b.Read = func(namespace string, from Entry) ([]byte, error) {
		switch from {
		case Entry{true, "web-tls", "tls.crt"}:
			return chain, nil
		case Entry{true, "web-tls", "tls.key"}:
			return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), nil
		}
		return nil, errors.New("no such entry in " + namespace)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(chain)
	return pool
}

func dialTo(b *Book, pod *corev1.Pod, port uint16) (net.Conn, error) {
	s := b.Port(pod, port, corev1.ProtocolTCP)
	if s.Serve == nil {
		return nil, errors.New("refused")
	}
	here, there := vnet.Pair(&net.TCPAddr{Port: 1}, &net.TCPAddr{Port: int(port)})
	go s.Serve(there)
	return here, nil
}

func TestTheEchoServersPortsAreThoseOfItsEnvironment(t *testing.T) {
	t.Parallel()
	b := servingBook(t)
	for name, c := range map[string]struct {
		env  []string
		want []uint16
	}{
		"HTTP and h2c":         {nil, []uint16{3000, 3001}},
		"with a certificate":   {[]string{"TLS_SERVER_CERT=/c", "TLS_SERVER_PRIVKEY=/k"}, []uint16{3000, 3001, 8443}},
		"on other ports":       {[]string{"HTTP_PORT=8000", "H2C_PORT=8001", "HTTPS_PORT=8003", "TLS_SERVER_CERT=/c", "TLS_SERVER_PRIVKEY=/k"}, []uint16{8000, 8001, 8003}},
		"gRPC":                 {[]string{"GRPC_ECHO_SERVER=1"}, []uint16{3000}},
		"TCP":                  {[]string{"TCP_ECHO_SERVER=1"}, []uint16{3000}},
		"TCP with certificate": {[]string{"TCP_ECHO_SERVER=1", "TCP_PORT=4000", "TLS_SERVER_CERT=/c", "TLS_SERVER_PRIV_KEY=/k"}, []uint16{4000, 8443}},
		"UDP":                  {[]string{"UDP_ECHO_SERVER=1"}, nil},
	} {
		pod := echoPod(c.env...)
		var got []uint16
		for _, port := range []uint16{3000, 3001, 4000, 8000, 8001, 8003, 8443} {
			if b.Port(pod, port, corev1.ProtocolTCP).Serve != nil {
				got = append(got, port)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: it listens on %v, want %v", name, got, c.want)
		}
	}
}

func TestTheEchoServerEndsTLSByTheCertificateOfItsVolume(t *testing.T) {
	t.Parallel()
	b := servingBook(t)
	pool := withCertificate(t, b)
	pod := echoPod("TLS_SERVER_CERT=/etc/secret-volume/crt", "TLS_SERVER_PRIVKEY=/etc/secret-volume/key")
	for _, h2 := range []bool{false, true} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "abc.example.com"}, Protocols: new(http.Protocols),
			DialContext: func(context.Context, string, string) (net.Conn, error) { return dialTo(b, pod, 8443) }}
		transport.Protocols.SetHTTP1(!h2)
		transport.Protocols.SetHTTP2(h2)
		r, err := (&http.Client{Transport: transport}).Get("https://abc.example.com/x")
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Proto string
			TLS   struct{ ServerName, NegotiatedProtocol, Version string }
		}
		err = json.NewDecoder(r.Body).Decode(&got)
		r.Body.Close()
		transport.CloseIdleConnections()
		if want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[h2]; err != nil || got.Proto != want || got.TLS.ServerName != "abc.example.com" || got.TLS.Version != "TLSv1.3" {
			t.Errorf("%v %+v, want %s", err, got, want)
		}
	}
}

func TestTheGRPCEchoServerTellsTheMethodThatWasCalled(t *testing.T) {
	t.Parallel()
	b := servingBook(t)
	pod := echoPod("GRPC_ECHO_SERVER=1")
	c, err := grpc.NewClient("passthrough:///web", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return dialTo(b, pod, 3000) }))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const service = "/gateway_api_conformance.echo_basic.grpcecho.GrpcEcho/"
	for _, method := range []string{"Echo", "EchoTwo"} {
		var answer emptypb.Empty // its fields are kept, though not understood
		if err := c.Invoke(t.Context(), service+method, &emptypb.Empty{}, &answer); err != nil {
			t.Fatal(err)
		}
		if text := string(answer.ProtoReflect().GetUnknown()); !strings.Contains(text, service+method) || !strings.Contains(text, pod.Name) || !strings.Contains(text, ":authority") {
			t.Errorf("%s is answered %q", method, text)
		}
	}
	if err := c.Invoke(t.Context(), service+"EchoThree", &emptypb.Empty{}, &emptypb.Empty{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("EchoThree: %v", err)
	}
}

func TestTheTCPEchoServerTalksInLines(t *testing.T) {
	t.Parallel()
	b := servingBook(t)
	pool := withCertificate(t, b)
	pod := echoPod("TCP_ECHO_SERVER=1", "TLS_SERVER_CERT=/etc/secret-volume/crt", "TLS_SERVER_PRIV_KEY=/etc/secret-volume/key")
	for port, secure := range map[uint16]bool{3000: false, 8443: true} {
		conn, err := dialTo(b, pod, port)
		if err != nil {
			t.Fatal(err)
		}
		if secure {
			conn = tls.Client(conn, &tls.Config{RootCAs: pool, ServerName: "abc.example.com"})
		}
		lines := bufio.NewReader(conn)
		next := func(say string) string {
			if _, err := io.WriteString(conn, say); err != nil {
				t.Fatal(err)
			}
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(line)
		}
		if got := next(""); got != "Gateway API Test TCP Server" {
			t.Errorf("it says %q first", got)
		}
		if got := next("PING\n"); got != "PONG" {
			t.Errorf("PING is answered %q", got)
		}
		if got, want := next("IS_TLS\n"), map[bool]string{true: "true", false: "false"}[secure]; got != want {
			t.Errorf("IS_TLS is answered %q, want %q", got, want)
		}
		if got := next("TEST\n"); !strings.Contains(got, `"pod":"web-1"`) || strings.Contains(got, "abc.example.com") != secure {
			t.Errorf("TEST is answered %q", got)
		}
		conn.Close()
	}
}

func TestEntryOfFindsWhatAFileOfAVolumeShows(t *testing.T) {
	t.Parallel()
	pod := echoPod()
	c := &pod.Spec.Containers[0]
	pod.Spec.Volumes = append(pod.Spec.Volumes,
		corev1.Volume{Name: "whole", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "all"}}}},
		corev1.Volume{Name: "both", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "one"}, Items: []corev1.KeyToPath{{Key: "k", Path: "a/b"}}}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "two"}}}}}}},
		corev1.Volume{Name: "empty", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "whole", MountPath: "/etc"}, corev1.VolumeMount{Name: "both", MountPath: "/both/"},
		corev1.VolumeMount{Name: "whole", MountPath: "/one.conf", SubPath: "server.conf"}, corev1.VolumeMount{Name: "empty", MountPath: "/tmp"})
	for file, want := range map[string]Entry{
		"/etc/secret-volume/crt":     {true, "web-tls", "tls.crt"},
		"/etc/secret-volume/../conf": {false, "all", "conf"},
		"/etc/secret-volume/other":   {},
		"/one.conf":                  {false, "all", "server.conf"},
		"/both/a/b":                  {true, "one", "k"},
		"/both/c":                    {false, "two", "c"},
		"/tmp/x":                     {},
		"/usr/bin/x":                 {},
	} {
		got, ok := EntryOf(pod, c, file)
		if ok != (want != Entry{}) || ok && got != want {
			t.Errorf("%s comes from %+v, want %+v", file, got, want)
		}
	}
}
