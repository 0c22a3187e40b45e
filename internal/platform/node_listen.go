package platform

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
	"github.com/fairway-dev/fairway/internal/kube/virtual/kubelet"
	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
)

// kubeletGate is what stands before the kubelet endpoints when other programs reach them.
func (c *Cluster) kubeletGate(client kubernetes.Interface) (*kubelet.Gate, error) {
	own, err := clientcmd.Load(c.Plane.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	return kubelet.NewGate(client, own.Clusters["fairway"].CertificateAuthorityData)
}

// listening has every node of the groups show its address on this machine.
func listening(groups []virtual.NodeGroup) []virtual.NodeGroup {
	out := make([]virtual.NodeGroup, len(groups))
	for i, g := range groups {
		g.Listens = true
		out[i] = g
	}
	return out
}

// nodeSockets opens the kubelet port of virtual nodes on 127.x.y.z as they come, and shuts it as they go.
type nodeSockets struct {
	c    *Cluster
	life context.Context

	mu   sync.Mutex
	open map[string]context.CancelFunc // by node
}

// OnAdd implements cache.ResourceEventHandler.
func (s *nodeSockets) OnAdd(obj any, _ bool) { s.OnUpdate(nil, obj) }

// OnUpdate implements cache.ResourceEventHandler.
func (s *nodeSockets) OnUpdate(_, obj any) {
	n, ok := obj.(*corev1.Node)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[n.Name] != nil {
		return
	}
	for _, a := range n.Status.Addresses {
		at, err := netip.ParseAddr(a.Address)
		if a.Type != corev1.NodeInternalIP || err != nil || !vnet.Nodes.Contains(at) {
			continue
		}
		ctx, cancel := context.WithCancel(s.life)
		s.open[n.Name] = cancel
		err = s.c.kubelets.Listen(ctx, netip.AddrPortFrom(vnet.Loopback(at), vnet.KubeletPort), netip.AddrPortFrom(at, vnet.KubeletPort))
		if err != nil {
			s.c.log.Warn("a node's kubelet port is reached inside this process only", "node", n.Name, "error", err)
		}
	}
}

// OnDelete implements cache.ResourceEventHandler.
func (s *nodeSockets) OnDelete(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	n, ok := obj.(*corev1.Node)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if shut := s.open[n.Name]; shut != nil {
		shut()
		delete(s.open, n.Name)
	}
}
