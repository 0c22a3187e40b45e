package vnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// PodSockets says which pods get real sockets (`--pod-sockets`).
type PodSockets string

// The values of the flag. Auto opens sockets for the first 2,000 pods and Services.
const (
	SocketsAuto PodSockets = "auto"
	SocketsAll  PodSockets = "all"
	SocketsNone PodSockets = "none"

	socketPodsAuto = 2000
)

// Sockets opens real TCP listeners on 127.a.b.c for pods and Services on 10.a.b.c, so that other programs of this machine
// reach them, and forwards what they accept through the dialer. A port that cannot be bound (taken, or below 1024 without
// the right to) stays in memory only.
type Sockets struct {
	mode   PodSockets
	dialer *Dialer
	log    *slog.Logger

	ctx    context.Context
	cancel context.CancelFunc
	serve  sync.WaitGroup

	mu   sync.Mutex
	open map[types.UID]opened
	full bool // out of file descriptors; said once
}

// opened are the ports that were to be opened for a pod or a Service, and the listeners of those that could be.
type opened struct {
	ports     []uint16
	listeners []net.Listener
}

// NewSockets returns an opener of sockets. Close ends all of them.
func NewSockets(mode PodSockets, d *Dialer, log *slog.Logger) (*Sockets, error) {
	switch mode {
	case SocketsAuto, SocketsAll, SocketsNone:
	default:
		return nil, fmt.Errorf("--pod-sockets %q is not known; use auto, all or none", mode)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Sockets{mode: mode, dialer: d, log: log, ctx: ctx, cancel: cancel, open: map[types.UID]opened{}}, nil
}

// Open opens the declared TCP ports of a pod that has its address. It does nothing for a pod that is open already, on
// the host's network, beyond the mode's number of pods, or when file descriptors have run out.
func (s *Sockets) Open(pod *corev1.Pod) {
	at, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil || !Pods.Contains(at) || pod.Spec.HostNetwork || s.mode == SocketsNone {
		return
	}
	s.listen(pod.UID, pod.Namespace+"/"+pod.Name, at, DeclaredPorts(pod, corev1.ProtocolTCP))
}

// OpenService opens the TCP ports of a Service's cluster address, and closes those it has no more. It does nothing beyond the
// mode's number, or when file descriptors have run out.
func (s *Sockets) OpenService(svc *corev1.Service) {
	at, err := netip.ParseAddr(svc.Spec.ClusterIP)
	if err != nil || !Services.Contains(at) || s.mode == SocketsNone {
		s.Shut(svc.UID)
		return
	}
	var ports []uint16
	for _, p := range svc.Spec.Ports {
		if p.Protocol == corev1.ProtocolTCP || p.Protocol == "" {
			ports = append(ports, uint16(p.Port))
		}
	}
	s.mu.Lock()
	before, there := s.open[svc.UID]
	s.mu.Unlock()
	if there && !slices.Equal(ports, before.ports) {
		s.Shut(svc.UID)
	}
	s.listen(svc.UID, "Service "+svc.Namespace+"/"+svc.Name, at, ports)
}

func (s *Sockets) listen(of types.UID, name string, at netip.Addr, ports []uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.open[of]; there || s.full || s.ctx.Err() != nil || s.mode == SocketsAuto && len(s.open) >= socketPodsAuto {
		return
	}
	one := opened{ports: ports}
	for _, port := range ports {
		real := netip.AddrPortFrom(Loopback(at), port)
		l, err := net.Listen("tcp4", real.String())
		if err != nil {
			s.failed(name, real, err)
			continue
		}
		one.listeners = append(one.listeners, l)
		to := net.JoinHostPort(at.String(), strconv.Itoa(int(port)))
		s.serve.Go(func() { s.accept(l, to) })
	}
	s.open[of] = one
}

func (s *Sockets) failed(name string, real netip.AddrPort, err error) {
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		s.full = true
		s.log.Warn("out of file descriptors: further pods and Services listen in memory only; raise the limit (ulimit -n) or use --pod-sockets none")
		return
	}
	s.log.Debug("a port has no real socket and listens in memory only", "of", name, "address", real.String(), "error", err)
}

func (s *Sockets) accept(l net.Listener, to string) {
	err := forward(s.ctx, l, func(ctx context.Context) (net.Conn, error) {
		return s.dialer.Dial(ctx, From{}, "tcp", to)
	})
	if err != nil && !errors.Is(err, net.ErrClosed) {
		s.log.Warn("a pod's real socket ended", "address", l.Addr().String(), "error", err)
	}
}

// Shut closes the sockets of a pod or a Service.
func (s *Sockets) Shut(of types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.open[of].listeners {
		l.Close()
	}
	delete(s.open, of)
}

// Close closes all sockets and waits until nothing is forwarded any more.
func (s *Sockets) Close() {
	s.cancel()
	s.mu.Lock()
	for of, one := range s.open {
		for _, l := range one.listeners {
			l.Close()
		}
		delete(s.open, of)
	}
	s.mu.Unlock()
	s.serve.Wait()
}
