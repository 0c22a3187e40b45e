package compile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	gw "sigs.k8s.io/gateway-api/apis/v1"
	gwx "sigs.k8s.io/gateway-api/apisx/v1alpha1"
	"sigs.k8s.io/yaml"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// now of the tests: between begin and end of their certificates.
var now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// preamble of all tests: the class, two namespaces, and Services.
const preamble = `
kind: GatewayClass
metadata: {name: fairway}
spec: {controllerName: fairway.dev/gateway}
---
kind: Namespace
metadata: {name: shop, labels: {team: shop}}
---
kind: Namespace
metadata: {name: infra, labels: {team: infra}}
---
kind: Service
metadata: {name: web}
spec: {ports: [{name: http, port: 80}]}
---
kind: Service
metadata: {name: canary}
spec: {ports: [{name: http, port: 80}]}
---
kind: Service
metadata: {name: far, namespace: infra}
spec: {ports: [{port: 80}]}
---
kind: Service
metadata: {name: ports}
spec:
  ports:
  - {name: h2c, port: 3001, appProtocol: kubernetes.io/h2c}
  - {name: ws, port: 3002, appProtocol: kubernetes.io/ws}
  - {name: wss, port: 3003, appProtocol: kubernetes.io/wss}
  - {name: tls, port: 443}
  - {name: odd, port: 3004, appProtocol: kubernetes.io/unheard-of}
  - {name: udp, port: 53, protocol: UDP}
---
`

const plainGateway = `
kind: Gateway
metadata: {name: gate}
spec:
  gatewayClassName: fairway
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
`

// decoder of one kind into an Input.
func decoder[T any, P interface {
	*T
	metav1.Object
}](to func(*Input) *[]P) func(*testing.T, *Input, string) metav1.Object {
	return func(t *testing.T, in *Input, text string) metav1.Object {
		o := P(new(T))
		if err := yaml.UnmarshalStrict([]byte(text), o); err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		list := to(in)
		*list = append(*list, o)
		return o
	}
}

var decoders = map[string]func(*testing.T, *Input, string) metav1.Object{
	"GatewayClass":          decoder(func(in *Input) *[]*gw.GatewayClass { return &in.Classes }),
	"Gateway":               decoder(func(in *Input) *[]*gw.Gateway { return &in.Gateways }),
	"ListenerSet":           decoder(func(in *Input) *[]*gw.ListenerSet { return &in.ListenerSets }),
	"HTTPRoute":             decoder(func(in *Input) *[]*gw.HTTPRoute { return &in.HTTPRoutes }),
	"GRPCRoute":             decoder(func(in *Input) *[]*gw.GRPCRoute { return &in.GRPCRoutes }),
	"TLSRoute":              decoder(func(in *Input) *[]*gw.TLSRoute { return &in.TLSRoutes }),
	"TCPRoute":              decoder(func(in *Input) *[]*gw.TCPRoute { return &in.TCPRoutes }),
	"ReferenceGrant":        decoder(func(in *Input) *[]*gw.ReferenceGrant { return &in.ReferenceGrants }),
	"BackendTLSPolicy":      decoder(func(in *Input) *[]*gw.BackendTLSPolicy { return &in.BackendTLSPolicies }),
	"XBackendTrafficPolicy": decoder(func(in *Input) *[]*gwx.XBackendTrafficPolicy { return &in.TrafficPolicies }),
	"XBackend":              decoder(func(in *Input) *[]*gwx.XBackend { return &in.XBackends }),
	"BackendPolicy":         decoder(func(in *Input) *[]*fairway.BackendPolicy { return &in.BackendPolicies }),
	"Ingress":               decoder(func(in *Input) *[]*networkingv1.Ingress { return &in.Ingresses }),
	"IngressClass":          decoder(func(in *Input) *[]*networkingv1.IngressClass { return &in.IngressClasses }),
	"Service":               decoder(func(in *Input) *[]*corev1.Service { return &in.Services }),
	"Namespace":             decoder(func(in *Input) *[]*corev1.Namespace { return &in.Namespaces }),
	"Secret":                decoder(func(in *Input) *[]*corev1.Secret { return &in.Secrets }),
	"ConfigMap":             decoder(func(in *Input) *[]*corev1.ConfigMap { return &in.ConfigMaps }),
}

// load an Input from YAML after the preamble. Objects are the younger the later they stand, in namespace shop unless they
// say otherwise, and of generation 1. Each Gateway gets an address.
func load(t *testing.T, texts ...string) Input {
	t.Helper()
	in := Input{Now: now, IngressAddresses: []netip.Addr{netip.MustParseAddr("127.32.255.1")}, ForeignClasses: []string{"nginx"}, Addresses: map[config.Name][]netip.Addr{}}
	for i, text := range strings.Split(preamble+strings.Join(texts, "\n---\n"), "\n---\n") {
		if strings.TrimSpace(text) != "" {
			add(t, &in, text, i)
		}
	}
	for i, g := range in.Gateways {
		in.Addresses[nameOf(g)] = []netip.Addr{netip.AddrFrom4([4]byte{127, 32, 0, byte(i + 1)})}
	}
	return in
}

func add(t *testing.T, in *Input, text string, i int) {
	t.Helper()
	var head struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal([]byte(text), &head); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	var o metav1.Object
	if decode := decoders[head.Kind]; decode != nil {
		o = decode(t, in, text)
	} else {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		in.Foreign = append(in.Foreign, u)
		o = u
	}
	if o.GetNamespace() == "" && head.Kind != "Namespace" && head.Kind != "GatewayClass" && head.Kind != "IngressClass" {
		o.SetNamespace("shop")
	}
	if o.GetGeneration() == 0 {
		o.SetGeneration(1)
	}
	if o.GetResourceVersion() == "" {
		o.SetResourceVersion(fmt.Sprint(i))
	}
	o.SetUID(types.UID(head.Kind + "/" + o.GetNamespace() + "/" + o.GetName()))
	if ts := o.GetCreationTimestamp(); ts.IsZero() {
		o.SetCreationTimestamp(metav1.NewTime(now.Add(time.Duration(i-10000) * time.Second)))
	}
}

// route of that name for a Gateway, with the rules of the text.
func httpRoute(name, rest string) string {
	return "kind: HTTPRoute\nmetadata: {name: " + name + "}\nspec:\n  parentRefs: [{name: gate}]\n" + rest + "\n---\n"
}

// conditionOf is "Status Reason" of a condition, "" without it.
func conditionOf(conditions []metav1.Condition, kind string) string {
	for _, c := range conditions {
		if c.Type == kind {
			return string(c.Status) + " " + c.Reason
		}
	}
	return ""
}

func messageOf(conditions []metav1.Condition, kind string) string {
	for _, c := range conditions {
		if c.Type == kind {
			return c.Message
		}
	}
	return ""
}

func shop(name string) config.Name { return config.Name{Namespace: "shop", Name: name} }

// ask the socket at that port of the first Gateway, or of the entrance.
func ask(t *testing.T, out Output, port uint16, head match.Head) (match.Result, bool) {
	t.Helper()
	for i, s := range out.Config.Sockets {
		if s.Address.Port() == port {
			return match.NewIndex(out.Config).Match(i, &head)
		}
	}
	t.Fatalf("no socket has port %d", port)
	return match.Result{}, false
}

func get(host, path string, headers ...string) match.Head {
	h := match.Head{Method: "GET", Host: host, Path: path}
	h.Path, h.Query, _ = strings.Cut(path, "?")
	for i := 0; i+1 < len(headers); i += 2 {
		h.Headers = append(h.Headers, match.Header{Name: headers[i], Value: headers[i+1]})
	}
	return h
}

// answered is the name of the rule that a request is served by, or the status.
func answered(t *testing.T, out Output, port uint16, head match.Head) string {
	t.Helper()
	r, ok := ask(t, out, port, head)
	if !ok {
		return fmt.Sprint(r.Status)
	}
	return r.Rule.Key.Name.Name + "#" + r.Rule.Key.Rule
}

// shared is how the requests of a rule are shared.
func shared(r *config.Rule) string {
	var parts []string
	for _, s := range r.Backends {
		name := "500"
		if s.Backend != nil {
			name = s.Backend.Key.Name.Name
			if s.Backend.Key.Subset != "" {
				name += "/" + s.Backend.Key.Subset
			}
		}
		parts = append(parts, fmt.Sprintf("%s %d", name, s.Weight))
	}
	return strings.Join(parts, ", ")
}

var makeCertificate = sync.OnceValues(func() ([]byte, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		DNSNames: []string{"example.com"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs})
})

// withTrust adds Secret cert and ConfigMap ca to a namespace.
func withTrust(in Input, namespace string) Input {
	crt, key := makeCertificate()
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: namespace, UID: types.UID(namespace + name), ResourceVersion: "1"}
	}
	in.Secrets = append(in.Secrets, &corev1.Secret{ObjectMeta: meta("cert"), Data: map[string][]byte{"tls.crt": crt, "tls.key": key}},
		&corev1.Secret{ObjectMeta: meta("broken"), Data: map[string][]byte{"tls.crt": []byte("no"), "tls.key": []byte("no")}})
	in.ConfigMaps = append(in.ConfigMaps, &corev1.ConfigMap{ObjectMeta: meta("ca"), Data: map[string]string{"ca.crt": string(crt)}},
		&corev1.ConfigMap{ObjectMeta: meta("bad-ca"), Data: map[string]string{"ca.crt": "no"}})
	return in
}

func replace(text, what, by string) string { return strings.ReplaceAll(text, what, by) }
