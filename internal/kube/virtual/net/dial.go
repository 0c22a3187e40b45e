package vnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// noRouteAfter is how long a dial to an address that nobody has waits: the time Linux takes to give up on ARP.
	noRouteAfter = 3 * time.Second
	// lostAfter is how long a dial into a partition waits without a deadline: Linux's six retries of a SYN.
	lostAfter = 127 * time.Second
	// hopsMax bounds Services whose endpoints are cluster IPs of other Services.
	hopsMax = 3
)

// Serving says what a port of a pod does with a connection. The zero value refuses it.
type Serving struct {
	Local  uint16         // a port of 127.0.0.1 on this machine that stands for the pod (a Program local:PORT)
	Serve  func(net.Conn) // called in a goroutine of its own; owns the connection
	Socket bool           // the pod has a real socket on 127.x
	Lost   bool           // the pod or its node is gone or silent: no route
}

// Dialer makes connections inside the process. Set the fields before the first dial; all methods may be called
// concurrently.
type Dialer struct {
	Network *Network // what listens in memory
	Tables  *Tables  // what addresses and names mean
	// Pods says what a port of a pod does, beside listeners of Network; (*Universal).Port is one. nil = refused.
	Pods func(pod *corev1.Pod, port uint16, protocol corev1.Protocol) Serving
	// Outside dials what is not of the cluster; see [Egress]. nil = egress is denied.
	Outside func(ctx context.Context, network, addr string) (net.Conn, error)
	// Cut reports whether the caller is partitioned from the address: its dials hang. nil = never.
	Cut func(from From, to netip.Addr) bool
	// Seed varies which endpoint of a Service a connection gets.
	Seed uint64

	kubelets atomic.Pointer[func(node string) func(net.Conn)]
}

// ServeKubelets sets who serves port 10250 of nodes; serve returns nil for a node that does not answer. Without it those
// ports are refused. It may be called at any time: the API server, which needs the dialer, runs before there are nodes.
func (d *Dialer) ServeKubelets(serve func(node string) func(net.Conn)) { d.kubelets.Store(&serve) }

// DialContext returns the dial function of one caller, for an http.Transport and its like.
func (d *Dialer) DialContext(from From) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		return d.Dial(ctx, from, network, addr)
	}
}

// Dial connects to "host:port" as from would. network is tcp, tcp4, udp or udp4. Its errors are those of net.Dial:
// ECONNREFUSED at once where nothing listens, EHOSTUNREACH after 3 s for an address of ours that nobody has, a timeout
// inside a partition, *net.DNSError for a name of the cluster that does not exist.
func (d *Dialer) Dial(ctx context.Context, from From, network, addr string) (net.Conn, error) {
	protocol := protocolFor(network)
	if protocol == "" {
		return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(network)}
	}
	host, port, err := splitAddress(addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	answer, err := d.Tables.Lookup(host, from)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	if answer.Outside != "" {
		return d.dialOutside(ctx, network, net.JoinHostPort(answer.Outside, strconv.Itoa(int(port))))
	}
	var failed error
	first := 0
	if n := len(answer.Addresses); n > 1 { // a headless Service: clients start anywhere and go on
		first = int(hash(d.Seed, host, from.Source(), 0) % uint64(n))
	}
	for i := range answer.Addresses {
		a := answer.Addresses[(first+i)%len(answer.Addresses)]
		c, err := d.dialAddr(ctx, from, network, netip.AddrPortFrom(a, port), hopsMax)
		if err == nil {
			return c, nil
		}
		failed = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

func splitAddress(addr string) (string, uint16, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, &net.AddrError{Err: "the port is not a number from 0 to 65535", Addr: addr}
	}
	return host, uint16(port), nil
}

func (d *Dialer) dialAddr(ctx context.Context, from From, network string, to netip.AddrPort, hops int) (net.Conn, error) {
	protocol := protocolFor(network)
	if d.Cut != nil && d.Cut(from, to.Addr()) {
		return nil, hang(ctx, network, to, lostAfter, syscall.ETIMEDOUT)
	}
	target := Resolve(to, protocol, from, d.Tables)
	if target.Kind == ToPod {
		return d.dialPod(ctx, from, network, to, target)
	}
	if serve := d.Network.listening(target.At); serve != nil && protocol == corev1.ProtocolTCP {
		return d.Network.connect(from.Source(), target.At, serve), nil
	}
	if protocol == corev1.ProtocolUDP && d.Network.bound(target.At) != nil {
		return d.Network.connectPacket(from.Source(), to, target.At)
	}
	switch target.Kind {
	case ToKubelet:
		return d.dialKubelet(ctx, from, network, target)
	case ToService:
		if hops > 0 {
			return d.dialAddr(ctx, from, network, d.choose(target, from, time.Now()), hops-1)
		}
	case ToLoopback:
		return (&net.Dialer{}).DialContext(ctx, network, to.String())
	case ToNowhere:
		return nil, hang(ctx, network, to, noRouteAfter, syscall.EHOSTUNREACH)
	case ToOutside:
		return d.dialOutside(ctx, network, to.String())
	}
	return nil, dialError(network, to, syscall.ECONNREFUSED)
}

// dialPod connects to a port of a pod: a process of the user, a listener in memory, a real socket, in this order.
// asked is the address that was dialed, before hostPort.
func (d *Dialer) dialPod(ctx context.Context, from From, network string, asked netip.AddrPort, target Target) (net.Conn, error) {
	protocol := protocolFor(network)
	serving := Serving{}
	if d.Pods != nil {
		serving = d.Pods(target.Pod, target.At.Port(), protocol)
	}
	switch {
	case serving.Lost:
		return nil, hang(ctx, network, asked, noRouteAfter, syscall.EHOSTUNREACH)
	case serving.Local != 0:
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), serving.Local)
		return (&net.Dialer{}).DialContext(ctx, network, at.String())
	case protocol == corev1.ProtocolUDP:
		return d.Network.connectPacket(from.Source(), asked, target.At)
	}
	if serve := d.Network.listening(target.At); serve != nil {
		return d.Network.connect(from.Source(), target.At, serve), nil
	}
	if serving.Serve != nil {
		return d.Network.connect(from.Source(), target.At, serving.Serve), nil
	}
	if serving.Socket && Pods.Contains(target.At.Addr()) {
		at := netip.AddrPortFrom(Loopback(target.At.Addr()), target.At.Port())
		return (&net.Dialer{}).DialContext(ctx, network, at.String())
	}
	return nil, dialError(network, asked, syscall.ECONNREFUSED)
}

func (d *Dialer) dialKubelet(ctx context.Context, from From, network string, target Target) (net.Conn, error) {
	kubelets := d.kubelets.Load()
	if kubelets == nil {
		return nil, dialError(network, target.At, syscall.ECONNREFUSED)
	}
	serve := (*kubelets)(target.Node)
	if serve == nil {
		return nil, hang(ctx, network, target.At, noRouteAfter, syscall.EHOSTUNREACH)
	}
	return d.Network.connect(from.Source(), target.At, serve), nil
}

func (d *Dialer) dialOutside(ctx context.Context, network, addr string) (net.Conn, error) {
	if d.Outside == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf(
			"%s is outside the cluster and egress is denied; allow it with --egress allow: %w", addr, syscall.ENETUNREACH)}
	}
	return d.Outside(ctx, network, addr)
}

// Egress returns a dial function for [Dialer.Outside] that uses the machine's network and resolver, and refuses
// addresses of our own ranges, to which an outside name may resolve.
func Egress() func(ctx context.Context, network, addr string) (net.Conn, error) {
	dialer := &net.Dialer{Control: func(_, addr string, _ syscall.RawConn) error {
		if at, err := netip.ParseAddrPort(addr); err == nil && Own(at.Addr()) {
			return fmt.Errorf("%s is an address of the virtual cluster and never leaves the process: %w", at.Addr(), syscall.EHOSTUNREACH)
		}
		return nil
	}}
	return dialer.DialContext
}

// hang waits, then fails with errno, or earlier with what ended ctx.
func hang(ctx context.Context, network string, to netip.AddrPort, wait time.Duration, errno syscall.Errno) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return dialError(network, to, errno)
	case <-ctx.Done():
	}
	cause := error(context.Canceled)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		cause = os.ErrDeadlineExceeded
	}
	return &net.OpError{Op: "dial", Net: network, Addr: netAddr(network, to), Err: cause}
}

func dialError(network string, to netip.AddrPort, errno syscall.Errno) error {
	return &net.OpError{Op: "dial", Net: network, Addr: netAddr(network, to), Err: os.NewSyscallError("connect", errno)}
}

func netAddr(network string, at netip.AddrPort) net.Addr {
	if protocolFor(network) == corev1.ProtocolUDP {
		return net.UDPAddrFromAddrPort(at)
	}
	return net.TCPAddrFromAddrPort(at)
}
