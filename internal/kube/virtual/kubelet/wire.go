package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
)

// byNode is the index of pods by the node they are bound to.
const byNode = "fairway.dev/pods-by-node"

// Parts are what [Wire] puts together. All but TLS and Gate are required.
type Parts struct {
	Engine interface {
		NodeStats(node string, at time.Time) (virtual.NodeStats, error)
	}
	Pods   cache.SharedIndexInformer // shared; an index and a handler are added
	Dialer *vnet.Dialer
	Book   *program.Book
	Seed   int64
	TLS    *tls.Config // nil = a certificate of its own
	Gate   *Gate       // for connections by real sockets; see Options.Gate
}

// Wire makes the kubelet endpoints of an engine's nodes and lets the dialer lead to them. A node that does not answer
// the engine has no endpoint. The caller closes the server.
func Wire(p Parts) (*Server, error) {
	if p.Engine == nil || p.Pods == nil || p.Dialer == nil || p.Book == nil {
		return nil, errors.New("kubelet: Parts.Engine, Pods, Dialer and Book are required")
	}
	if p.TLS == nil {
		identity, err := vnet.Identity("kubelet")
		if err != nil {
			return nil, err
		}
		p.TLS = identity
	}
	if _, exists := p.Pods.GetIndexer().GetIndexers()[byNode]; !exists {
		if err := p.Pods.AddIndexers(cache.Indexers{byNode: nodeOf}); err != nil {
			return nil, fmt.Errorf("index pods by node: %w", err)
		}
	}
	index := p.Pods.GetIndexer()
	logs := &Logs{Scripted: Scripted(p.Book, p.Seed)}
	p.Book.Log = write(logs)
	s, err := New(Options{
		Node: p.Dialer.Tables.NodeAt,
		Pods: func(node string) []*corev1.Pod { return podsOn(index, node) },
		Pod: func(namespace, name string) *corev1.Pod {
			o, _, _ := index.GetByKey(namespace + "/" + name)
			pod, _ := o.(*corev1.Pod)
			return pod
		},
		Stats: p.Engine.NodeStats,
		Logs:  logs,
		Dial: func(ctx context.Context, pod *corev1.Pod, port uint16) (net.Conn, error) {
			return p.Dialer.Dial(ctx, vnet.From{Pod: pod, Node: pod.Spec.NodeName}, "tcp", net.JoinHostPort("localhost", strconv.Itoa(int(port))))
		},
		TLS: p.TLS, Gate: p.Gate,
	})
	if err != nil {
		return nil, err
	}
	if err := s.ObservePods(p.Pods); err != nil {
		return nil, err
	}
	p.Dialer.ServeKubelets(func(node string) func(net.Conn) {
		if _, err := p.Engine.NodeStats(node, time.Now()); err != nil {
			return nil
		}
		return s.Serve
	})
	return s, nil
}

func nodeOf(o any) ([]string, error) {
	if p, ok := o.(*corev1.Pod); ok && p.Spec.NodeName != "" {
		return []string{p.Spec.NodeName}, nil
	}
	return nil, nil
}

func podsOn(index cache.Indexer, node string) []*corev1.Pod {
	objects, err := index.ByIndex(byNode, node)
	if err != nil {
		return nil
	}
	var out []*corev1.Pod
	for _, o := range objects {
		if p, ok := o.(*corev1.Pod); ok {
			out = append(out, p)
		}
	}
	return out
}
