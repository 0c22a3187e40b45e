package platform

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
	"github.com/fairway-dev/fairway/internal/scale/metrics"
)

// metricsPort is where the aggregated metrics APIs are served, metricsServicePort what the Service calls it.
const (
	metricsPort        = 6444
	metricsServicePort = 443
)

// metricsCapability is the resource metrics API.
func metricsCapability() Capability {
	return Capability{
		Name: "metrics", Purpose: "resource metrics API for kubectl top and the HorizontalPodAutoscaler", Default: true,
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"nodes/metrics"}, Verbs: []string{"get"}},
			{APIGroups: []string{"apiregistration.k8s.io"}, Resources: []string{"apiservices"}, Verbs: []string{"get", "create", "update"}},
			{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}},
			{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}, Verbs: []string{"create"}},
			{APIGroups: []string{""}, Resources: []string{"pods", "nodes"}, Verbs: []string{"list", "watch"}},
		},
		Readers: []rbacv1.PolicyRule{{APIGroups: []string{"metrics.k8s.io"}, Resources: []string{"pods", "nodes"}, Verbs: []string{"get", "list", "watch"}}},
		Roles: []RoleRule{
			{Namespace: metav1.NamespaceSystem, Rule: rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"},
				ResourceNames: []string{"extension-apiserver-authentication"}, Verbs: []string{"get", "list", "watch"}}},
			{Namespace: Namespace, Rule: rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"services"}, ResourceNames: []string{MetricsService}, Verbs: []string{"get"}}},
			{Namespace: Namespace, Rule: rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}}},
			{Namespace: Namespace, Rule: rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"},
				ResourceNames: []string{servingSecret}, Verbs: []string{"get", "update"}}},
		},
		Setup: setUpMetrics,
	}
}

func setUpMetrics(ctx context.Context, h *House) error {
	if err := metrics.Register(ctrlmetrics.Registry); err != nil {
		return err
	}
	m := h.Manager
	for _, obj := range []client.Object{&corev1.Pod{}, &corev1.Node{}} {
		if _, err := m.GetCache().GetInformer(ctx, obj); err != nil {
			return err
		}
	}
	api, err := kubernetes.NewForConfig(m.GetConfig())
	if err != nil {
		return err
	}
	server := &metrics.Server{Objects: m.GetCache(), Client: api, Log: h.Log, Listen: func() (net.Listener, error) { return h.Listen(metricsPort) }}
	var ca func() []byte
	if h.Nodes != nil {
		server.Sources = []metrics.Source{metrics.NewVirtual(h.Nodes, h.MetricResolution)}
		if server.TLS, err = vnet.Identity(MetricsService+"."+h.Namespace+".svc", net.IP(vnet.Process.AsSlice())); err != nil {
			return err
		}
		own := certificate(server.TLS)
		ca = func() []byte { return own }
	} else {
		kubelets, err := h.kubelets(server)
		if err != nil {
			return err
		}
		server.Sources, server.Ready = []metrics.Source{kubelets}, kubelets.Ready
		if err := m.AddReadyzCheck("metrics", func(*http.Request) error { return kubelets.Ready() }); err != nil {
			return err
		}
		identity, err := h.newServing(ctx, api, MetricsService, servingSecret)
		if err != nil {
			return err
		}
		server.TLS, ca = identity.tls(), identity.bundle
		if err := m.Add(identity); err != nil {
			return err
		}
	}
	registration := &metrics.Registration{Reader: m.GetAPIReader(), Writer: m.GetClient(), Namespace: h.Namespace, Service: MetricsService, Port: metricsServicePort,
		CABundle: ca, TakeOver: h.takes("resource"), After: server.Serving(), Every: h.servingEvery(), Log: h.Log}
	if err := m.Add(server); err != nil {
		return err
	}
	return m.Add(registration)
}

func (h *House) takes(api string) bool {
	for _, t := range h.TakeOver {
		if t == api {
			return true
		}
	}
	return false
}

func certificate(c *tls.Config) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificates[0].Certificate[0]})
}

// everywhere runs on every replica, leader or not.
type everywhere struct{ manager.RunnableFunc }

func (everywhere) NeedLeaderElection() bool { return false }

// kubelets is the source that scrapes the nodes of an existing cluster.
func (h *House) kubelets(server *metrics.Server) (*metrics.Kubelets, error) {
	cfg := rest.CopyConfig(h.Manager.GetConfig())
	if h.Kubelets.CAFile != "" {
		cfg.TLSClientConfig.CAFile, cfg.TLSClientConfig.CAData = h.Kubelets.CAFile, nil
	}
	if h.Kubelets.Insecure {
		cfg.TLSClientConfig.Insecure = true
		cfg.TLSClientConfig.CAFile, cfg.TLSClientConfig.CAData = "", nil
	}
	c, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("preparing the client for kubelets: %w", err)
	}
	k := &metrics.Kubelets{Client: c, Log: h.Log, Addresses: h.Kubelets.Addresses, Resolution: h.Kubelets.Resolution, Nodes: func(ctx context.Context) ([]corev1.Node, error) {
		var list corev1.NodeList
		err := server.Objects.List(ctx, &list)
		return list.Items, err
	}}
	return k, h.Manager.Add(everywhere{k.Run})
}

// metricsEndpoint makes the Service of the metrics APIs lead to this process: it has no pod to select.
func metricsEndpoint(ctx context.Context, c kubernetes.Interface, namespace string, at netip.Addr) error {
	return endpoint(ctx, c, namespace, MetricsService, at, endpointPort{"https", metricsServicePort, metricsPort}, endpointPort{"metrics", observePort, observePort})
}

// endpointPort is a port of a Service, and the port of this process that it leads to.
type endpointPort struct {
	name     string
	port, to int32
}

// endpoint makes a Service that leads to this process.
func endpoint(ctx context.Context, c kubernetes.Interface, namespace, name string, at netip.Addr, ports ...endpointPort) error {
	tcp, ready := corev1.ProtocolTCP, true
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name,
			discoveryv1.LabelManagedBy: "fairway.dev"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{at.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}
	for _, p := range ports {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: p.name, Port: p.port, Protocol: tcp, TargetPort: intstr.FromInt32(p.to)})
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &p.name, Port: &p.to, Protocol: &tcp})
	}
	if _, err := c.CoreV1().Services(namespace).Create(ctx, svc, metav1.CreateOptions{}); ignoreExists(err) != nil {
		return fmt.Errorf("making the Service %s: %w", name, err)
	}
	if _, err := c.DiscoveryV1().EndpointSlices(namespace).Create(ctx, slice, metav1.CreateOptions{}); ignoreExists(err) != nil {
		return fmt.Errorf("making the endpoints of Service %s: %w", name, err)
	}
	return nil
}
