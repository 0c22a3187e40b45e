package play

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"

	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/draw"
)

// network is what the metrics of an analysis reach: the Services and pods of the run, in memory. What the containers answer is
// what is known of them, and their revision's share of requests fails.
type network struct {
	r      *run
	book   *program.Book
	answer vnet.Universal
	dialer vnet.Dialer
	asked  map[string]int64 // connections by pod, as its draws are keyed
}

func newNetwork(r *run, book *program.Book) *network {
	n := &network{r: r, book: book, asked: map[string]int64{}}
	book.Serve, book.With = n.answer.Serve, n.answer.With
	n.dialer.Network, n.dialer.Tables, n.dialer.Pods = &vnet.Network{}, &vnet.Tables{}, n.port
	n.dialer.Seed, n.dialer.Outside = uint64(r.doc.Seed), outside
	return n
}

// observe learns addresses and names. The factory is started by the caller.
func (n *network) observe(f informers.SharedInformerFactory) error {
	_, err := n.dialer.Tables.Observe(f.Core().V1().Pods().Informer(), f.Core().V1().Nodes().Informer(), f.Core().V1().Services().Informer(), f.Discovery().V1().EndpointSlices().Informer())
	return err
}

// errOutside is the answer to whatever is not of the cluster.
var errOutside = errors.New("a rehearsal reaches nothing outside its cluster")

func outside(_ context.Context, network, address string) (net.Conn, error) {
	return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%s: %w", address, errOutside)}
}

// port answers for a port of a pod. A connection carries one request: analyses keep none open.
func (n *network) port(pod *corev1.Pod, port uint16, protocol corev1.Protocol) vnet.Serving {
	s := n.book.Port(pod, port, protocol)
	if s.Serve != nil && n.fails(pod) {
		s.Serve = n.answer.With(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "the request fails, as this share of the revision's do", http.StatusInternalServerError)
		}), nil)
	}
	return s
}

// fails draws whether the next request to a pod fails.
func (n *network) fails(pod *corev1.Pod) bool {
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	p := n.r.cluster.pods[pod.UID]
	if p == nil || !p.demand.known {
		return false
	}
	share := n.r.shareOf(p, "")
	n.asked[p.demand.key]++
	return share > 0 && draw.Uniform(n.r.doc.Seed, "answer", p.demand.key, n.asked[p.demand.key]) < share
}
