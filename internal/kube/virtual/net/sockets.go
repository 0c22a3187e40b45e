package vnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// PodSockets says which pods get real sockets (`--pod-sockets`).
type PodSockets string

// The values of the flag. Auto opens sockets for the first 2,000 pods.
const (
	SocketsAuto PodSockets = "auto"
	SocketsAll  PodSockets = "all"
	SocketsNone PodSockets = "none"

	socketPodsAuto = 2000
)

// Sockets opens real TCP listeners on 127.a.b.c for pods on 10.a.b.c, so that other programs of this machine reach
// them, and forwards what they accept through the dialer. A port that cannot be bound (taken, or below 1024 without
// the right to) stays in memory only.
type Sockets struct {
	mode   PodSockets
	dialer *Dialer
	log    *slog.Logger

	ctx    context.Context
	cancel context.CancelFunc
	serve  sync.WaitGroup

	mu   sync.Mutex
	open map[types.UID][]net.Listener
	full bool // out of file descriptors; said once
}

// NewSockets returns an opener of sockets. Close ends all of them.
func NewSockets(mode PodSockets, d *Dialer, log *slog.Logger) (*Sockets, error) {
	switch mode {
	case SocketsAuto, SocketsAll, SocketsNone:
	default:
		return nil, fmt.Errorf("--pod-sockets %q is not known; use auto, all or none", mode)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Sockets{mode: mode, dialer: d, log: log, ctx: ctx, cancel: cancel, open: map[types.UID][]net.Listener{}}, nil
}

// Open opens the declared TCP ports of a pod that has its address. It does nothing for a pod that is open already, on
// the host's network, beyond the mode's number of pods, or when file descriptors have run out.
func (s *Sockets) Open(pod *corev1.Pod) {
	at, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil || !Pods.Contains(at) || pod.Spec.HostNetwork || s.mode == SocketsNone {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[pod.UID] != nil || s.full || s.ctx.Err() != nil || s.mode == SocketsAuto && len(s.open) >= socketPodsAuto {
		return
	}
	listeners := []net.Listener{}
	for _, port := range DeclaredPorts(pod, corev1.ProtocolTCP) {
		real := netip.AddrPortFrom(Loopback(at), port)
		l, err := net.Listen("tcp4", real.String())
		if err != nil {
			s.failed(pod, real, err)
			continue
		}
		listeners = append(listeners, l)
		to := net.JoinHostPort(at.String(), strconv.Itoa(int(port)))
		s.serve.Go(func() { s.accept(l, to) })
	}
	s.open[pod.UID] = listeners
}

func (s *Sockets) failed(pod *corev1.Pod, real netip.AddrPort, err error) {
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		s.full = true
		s.log.Warn("out of file descriptors: further pods listen in memory only; raise the limit (ulimit -n) or use --pod-sockets none")
		return
	}
	s.log.Debug("a port of a pod has no real socket and listens in memory only",
		"pod", pod.Namespace+"/"+pod.Name, "address", real.String(), "error", err)
}

func (s *Sockets) accept(l net.Listener, to string) {
	err := forward(s.ctx, l, func(ctx context.Context) (net.Conn, error) {
		return s.dialer.Dial(ctx, From{}, "tcp", to)
	})
	if err != nil && !errors.Is(err, net.ErrClosed) {
		s.log.Warn("a pod's real socket ended", "address", l.Addr().String(), "error", err)
	}
}

// Shut closes the sockets of a pod.
func (s *Sockets) Shut(pod types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.open[pod] {
		l.Close()
	}
	delete(s.open, pod)
}

// Close closes all sockets and waits until nothing is forwarded any more.
func (s *Sockets) Close() {
	s.cancel()
	s.mu.Lock()
	for pod, listeners := range s.open {
		for _, l := range listeners {
			l.Close()
		}
		delete(s.open, pod)
	}
	s.mu.Unlock()
	s.serve.Wait()
}
