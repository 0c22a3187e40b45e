package kubelet

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
)

// Options say where the answers come from. Node, Pods, Pod and Stats are required.
type Options struct {
	// Node returns the node that has the address, or nil.
	Node func(netip.Addr) *corev1.Node
	// Pods returns the pods bound to a node, in any order.
	Pods func(node string) []*corev1.Pod
	// Pod returns a pod, or nil.
	Pod func(namespace, name string) *corev1.Pod
	// Stats returns what a node and its pods used until an instant.
	Stats func(node string, at time.Time) (virtual.NodeStats, error)
	// Logs holds what containers wrote; nil = they wrote nothing.
	Logs *Logs
	// Dial connects to a port of a pod from inside it (its loopback); nil = port-forward is refused.
	Dial func(ctx context.Context, pod *corev1.Pod, port uint16) (net.Conn, error)
	// TLS is the server's certificate; nil = plain HTTP.
	TLS *tls.Config
	// Gate asks who calls and what he may, of connections by a real socket (ServeOutside); nil = nobody may. Those made
	// in this process are trusted.
	Gate *Gate
}

// Server is the kubelet endpoint of all virtual nodes. All methods may be called concurrently.
type Server struct {
	opts   Options
	http   *http.Server
	conns  chan net.Conn
	done   chan struct{}
	start  sync.Once
	ended  sync.Once
	served chan struct{}

	accepting sync.WaitGroup // real sockets

	mu       sync.Mutex
	watchers map[string]map[chan struct{}]bool // by pod UID: who follows its logs
}

// New returns a server. It does nothing until the first connection.
func New(o Options) (*Server, error) {
	if o.Node == nil || o.Pods == nil || o.Pod == nil || o.Stats == nil {
		return nil, errors.New("kubelet: Options.Node, Pods, Pod and Stats are required")
	}
	if o.TLS != nil {
		// HTTP/2 as a kubelet's: over HTTP/1 the last bytes of a log may come together with its end, in which case the API
		// server drops them when it passes the log on to a WebSocket.
		o.TLS = o.TLS.Clone()
		o.TLS.NextProtos = []string{"h2", "http/1.1"}
	}
	s := &Server{opts: o, conns: make(chan net.Conn), done: make(chan struct{}), served: make(chan struct{}),
		watchers: map[string]map[chan struct{}]bool{}}
	s.http = &http.Server{
		Handler: s.guard(s.routes()),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(context.WithValue(ctx, localKey{}, c.LocalAddr()), outsideKey{}, isOutside(c))
		},
		ErrorLog: slog.NewLogLogger(slog.Default().With("component", "kubelet").Handler(), slog.LevelDebug),
	}
	return s, nil
}

type localKey struct{}

// Serve answers one connection to the kubelet port of a node, and owns it. See vnet.Dialer.ServeKubelets.
func (s *Server) Serve(c net.Conn) {
	s.start.Do(func() {
		go func() {
			defer close(s.served)
			_ = s.http.Serve((*listener)(s)) // ends with Close
		}()
	})
	if s.opts.TLS != nil {
		config := s.opts.TLS
		if _, yes := c.(outside); yes {
			config = withClientCertificates(config)
		}
		c = tls.Server(c, config)
	}
	select {
	case s.conns <- c:
	case <-s.done:
		c.Close()
	}
}

// Close ends all connections and waits for the server to end. The contexts of Listen must have ended.
func (s *Server) Close() error {
	s.ended.Do(func() { close(s.done) })
	err := s.http.Close()
	s.start.Do(func() { close(s.served) })
	<-s.served
	s.accepting.Wait()
	return err
}

// ObservePods registers with an informer of pods: a log that is followed ends when its container does, without polling.
func (s *Server) ObservePods(informer interface {
	AddEventHandler(cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error)
}) error {
	changed := func(o any) {
		if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		if p, ok := o.(*corev1.Pod); ok {
			s.Changed(p)
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(_, o any) { changed(o) },
		DeleteFunc: changed,
	})
	if err != nil {
		return fmt.Errorf("watch pods for the kubelet endpoint: %w", err)
	}
	return nil
}

// Changed tells that a pod has changed or gone, to those who follow its logs.
func (s *Server) Changed(p *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers[string(p.UID)] {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// watch returns a channel that is signalled when the pod changes, until stop is called.
func (s *Server) watch(p *corev1.Pod) (changed <-chan struct{}, stop func()) {
	w := make(chan struct{}, 1)
	key := string(p.UID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watchers[key] == nil {
		s.watchers[key] = map[chan struct{}]bool{}
	}
	s.watchers[key][w] = true
	return w, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if delete(s.watchers[key], w); len(s.watchers[key]) == 0 {
			delete(s.watchers, key)
		}
	}
}

// listener hands connections from Serve to the HTTP server.
type listener Server

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.onNode(s.containerLogs))
	for _, path := range []string{"/{namespace}/{pod}/{container}", "/{namespace}/{pod}/{uid}/{container}"} {
		mux.HandleFunc("/exec"+path, s.onNode(s.exec))
		mux.HandleFunc("/attach"+path, s.onNode(s.attach))
		mux.HandleFunc("POST /run"+path, s.onNode(s.run))
	}
	mux.HandleFunc("/portForward/{namespace}/{pod}", s.onNode(s.portForward))
	mux.HandleFunc("/portForward/{namespace}/{pod}/{uid}", s.onNode(s.portForward))
	mux.HandleFunc("GET /pods", s.onNode(s.pods))
	mux.HandleFunc("GET /runningpods/", s.onNode(s.runningPods))
	mux.HandleFunc("GET /healthz", s.onNode(healthz))
	mux.HandleFunc("GET /healthz/ping", s.onNode(healthz))
	mux.HandleFunc("GET /healthz/syncloop", s.onNode(healthz))
	mux.HandleFunc("GET /stats/summary", s.onNode(s.summary))
	mux.HandleFunc("GET /metrics", s.onNode(s.metrics))
	mux.HandleFunc("GET /metrics/resource", s.onNode(s.metricsResource))
	mux.HandleFunc("GET /metrics/cadvisor", s.onNode(s.metricsCadvisor))
	mux.HandleFunc("GET /metrics/probes", s.onNode(s.metricsProbes))
	mux.HandleFunc("GET /configz", s.onNode(s.configz))
	return mux
}

// onNode finds the node whose address was dialed.
func (s *Server) onNode(handle func(http.ResponseWriter, *http.Request, *corev1.Node)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		addr, _ := r.Context().Value(localKey{}).(net.Addr)
		var node *corev1.Node
		if addr != nil {
			if at, err := netip.ParseAddrPort(addr.String()); err == nil {
				node = s.opts.Node(at.Addr().Unmap())
			}
		}
		if node == nil {
			http.Error(w, fmt.Sprintf("no virtual node has the address %v", addr), http.StatusNotFound)
			return
		}
		handle(w, r, node)
	}
}

// pod returns the pod and container that a path names, or answers with the kubelet's error.
func (s *Server) pod(w http.ResponseWriter, r *http.Request, node *corev1.Node) (*corev1.Pod, bool) {
	name := r.PathValue("pod")
	p := s.opts.Pod(r.PathValue("namespace"), name)
	if uid := r.PathValue("uid"); p == nil || p.Spec.NodeName != node.Name || uid != "" && string(p.UID) != uid {
		http.Error(w, fmt.Sprintf("pod %q does not exist", name), http.StatusNotFound)
		return nil, false
	}
	if container := r.PathValue("container"); container != "" && !hasContainer(p, container) {
		http.Error(w, fmt.Sprintf("container %q not found in pod %q", container, name), http.StatusNotFound)
		return nil, false
	}
	return p, true
}

func hasContainer(p *corev1.Pod, name string) bool {
	for i := range p.Spec.EphemeralContainers {
		if p.Spec.EphemeralContainers[i].Name == name {
			return true
		}
	}
	return containerSpec(p, name) != nil
}

// containerSpec returns a container or init container by name, or nil.
func containerSpec(p *corev1.Pod, name string) *corev1.Container {
	for _, set := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range set {
			if set[i].Name == name {
				return &set[i]
			}
		}
	}
	return nil
}

func healthz(w http.ResponseWriter, _ *http.Request, _ *corev1.Node) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok"))
}

func writeJSON(w http.ResponseWriter, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(data)
}
