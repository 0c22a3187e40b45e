package vnet

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func ptr[T any](v T) *T { return &v }

func pod(name, ip string, port int32, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name)},
		Spec: corev1.PodSpec{
			NodeName: "n1", DNSPolicy: corev1.DNSClusterFirst,
			Containers: []corev1.Container{{Name: "app", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: port}}}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}, HostIP: "10.112.0.2",
			ContainerStatuses: []corev1.ContainerStatus{{Name: "app",
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
		},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func node(name, ip string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: "a"}},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}}},
	}
}

func svc(name, ip string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}},
		},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

// ep is one endpoint in short form.
type ep struct {
	ip, node, host     string
	ready, terminating bool
	zones              []string
}

func slice(service string, port int32, endpoints ...ep) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("%s-%d", service, len(endpoints)),
			Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr("http"), Port: &port, Protocol: ptr(corev1.ProtocolTCP)}},
	}
	for _, e := range endpoints {
		out := discoveryv1.Endpoint{
			Addresses: []string{e.ip}, NodeName: &e.node,
			Conditions: discoveryv1.EndpointConditions{Ready: &e.ready, Serving: ptr(e.ready || e.terminating), Terminating: &e.terminating},
		}
		if e.host != "" {
			out.Hostname = &e.host
		}
		for _, z := range e.zones {
			if out.Hints == nil {
				out.Hints = &discoveryv1.EndpointHints{}
			}
			out.Hints.ForZones = append(out.Hints.ForZones, discoveryv1.ForZone{Name: z})
		}
		s.Endpoints = append(s.Endpoints, out)
	}
	return s
}

// world is a small cluster: two nodes, three pods, Services of each kind.
func world() *Tables {
	t := &Tables{}
	t.SetNode(node("n1", "10.112.0.2"))
	t.SetNode(node("n2", "10.112.0.3"))
	t.SetPod(pod("web-1", "10.128.0.5", 8080))
	t.SetPod(pod("web-2", "10.128.1.5", 8080, func(p *corev1.Pod) { p.Spec.NodeName, p.Status.HostIP = "n2", "10.112.0.3" }))
	t.SetPod(pod("edge", "10.128.0.6", 8443, func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].HostPort = 443 }))
	t.SetPod(pod("exporter", "10.112.0.2", 9100, func(p *corev1.Pod) { p.Spec.HostNetwork = true }))
	t.SetService(svc("web", "10.96.1.1", func(s *corev1.Service) {
		s.Spec.Ports[0].NodePort = 30080
		s.Spec.ExternalIPs = []string{"203.0.113.7"}
	}))
	t.SetSlice(slice("web", 8080, ep{ip: "10.128.0.5", node: "n1", ready: true}, ep{ip: "10.128.1.5", node: "n2", ready: true}))
	t.SetService(svc("empty", "10.96.1.2"))
	t.SetService(svc("db", corev1.ClusterIPNone))
	t.SetSlice(slice("db", 5432, ep{ip: "10.128.0.9", node: "n1", host: "db-0", ready: true}, ep{ip: "10.128.1.9", node: "n2", host: "db-1", ready: true}, ep{ip: "10.128.1.10"}))
	t.SetService(svc("out", "", func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalName, s.Spec.ClusterIPs = corev1.ServiceTypeExternalName, "api.example.com", nil
	}))
	t.SetService(svc("alias", "", func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "web.shop.svc.cluster.local"
	}))
	t.SetService(svc("loop", "", func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "loop.shop.svc.cluster.local"
	}))
	return t
}
