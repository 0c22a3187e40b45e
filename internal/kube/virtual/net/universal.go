package vnet

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// Universal is what an image without a model listens with: HTTP/1 and h2c answered 200, gRPC health SERVING, TLS by a
// certificate of the process with the same inside, Redis PING, and anything else accepted and read. Nothing runs
// until the first connection, and then one goroutine for all pods and those of the open connections. The zero value is
// ready to use and refuses TLS.
type Universal struct {
	// TLS gives the certificate for connections that begin with a TLS handshake; nil closes them.
	TLS *tls.Config

	once    sync.Once
	arrived queue
	server  *http.Server
	secured *tls.Config
}

// Port is a [Dialer.Pods] that goes by the pod's status: a declared or probed TCP port of a running container is
// served, everything else refused, and a pod that has ended has no route.
func (u *Universal) Port(pod *corev1.Pod, port uint16, protocol corev1.Protocol) Serving {
	if ended(pod) {
		return Serving{Lost: true}
	}
	if protocol == corev1.ProtocolTCP && Declares(pod, port) {
		return Serving{Serve: u.Serve}
	}
	return Serving{}
}

// Declares reports whether a running container of the pod declares or probes the TCP port.
func Declares(pod *corev1.Pod, port uint16) bool {
	running := func(statuses []corev1.ContainerStatus, name string) bool {
		for i := range statuses {
			if statuses[i].Name == name {
				return statuses[i].State.Running != nil
			}
		}
		return false
	}
	listens := func(c *corev1.Container, statuses []corev1.ContainerStatus) bool {
		for _, p := range ContainerPorts(c, corev1.ProtocolTCP) {
			if p == port {
				return running(statuses, c.Name)
			}
		}
		return false
	}
	for i := range pod.Spec.Containers {
		if listens(&pod.Spec.Containers[i], pod.Status.ContainerStatuses) {
			return true
		}
	}
	for i := range pod.Spec.InitContainers {
		if listens(&pod.Spec.InitContainers[i], pod.Status.InitContainerStatuses) {
			return true
		}
	}
	return false
}

// GRPCHandler is a handler that answers gRPC's requests as well.
type GRPCHandler interface {
	http.Handler
	ServeGRPC(http.ResponseWriter, *http.Request)
}

// Serve answers one connection until it ends, and closes it (or has the HTTP server close it).
func (u *Universal) Serve(c net.Conn) { u.serve(c, nil, nil) }

// With returns a Serve whose HTTP requests h answers, and gRPC's only if it is a [GRPCHandler]. TLS is by secure; nil = by the
// certificate of the process. It may be called concurrently.
func (u *Universal) With(h http.Handler, secure *tls.Config) func(net.Conn) {
	return func(c net.Conn) { u.serve(c, h, secure) }
}

func (u *Universal) serve(c net.Conn, handler http.Handler, secure *tls.Config) {
	u.once.Do(u.start)
	p := &peeked{Conn: c, ahead: bufio.NewReaderSize(c, 512), handler: handler}
	first, err := p.ahead.Peek(1)
	if err != nil {
		c.Close()
		return
	}
	switch {
	case first[0] == 0x16: // a TLS handshake record
		u.serveTLS(p, secure)
	case isHTTP(p.ahead):
		u.arrived.add(p)
	case isRedis(p.ahead):
		serveRedis(p)
	default:
		_, _ = io.Copy(io.Discard, p)
		c.Close()
	}
}

func (u *Universal) start() {
	u.arrived = queue{conns: make(chan net.Conn), done: make(chan struct{})}
	u.server = &http.Server{Handler: http.HandlerFunc(answer), Protocols: new(http.Protocols), ConnContext: withHandler,
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug)}
	u.server.Protocols.SetHTTP1(true)
	u.server.Protocols.SetHTTP2(true)
	u.server.Protocols.SetUnencryptedHTTP2(true)
	if u.TLS != nil {
		u.secured = u.TLS.Clone()
		u.secured.NextProtos = []string{"h2", "http/1.1"}
	}
	go u.server.Serve(u.arrived) // until Close
}

// Close ends the HTTP server and its connections; later connections are closed at once.
func (u *Universal) Close() error {
	u.once.Do(u.start)
	return u.server.Close()
}

func (u *Universal) serveTLS(c *peeked, secure *tls.Config) {
	own := secure != nil // then HTTP is spoken within, and the handler is to see the TLS
	if !own {
		secure = u.secured
	}
	if secure == nil {
		c.Close()
		return
	}
	t := tls.Server(c, secure)
	if err := t.Handshake(); err != nil {
		t.Close()
		return
	}
	if own || t.ConnectionState().NegotiatedProtocol != "" {
		u.arrived.add(t)
		return
	}
	p := &peeked{Conn: t, ahead: bufio.NewReaderSize(t, 512), handler: c.handler}
	if _, err := p.ahead.Peek(1); err == nil && isHTTP(p.ahead) {
		u.arrived.add(p)
		return
	}
	_, _ = io.Copy(io.Discard, p)
	t.Close()
}

// handlerKey is under what a connection's context holds the handler that [Universal.With] gave it.
type handlerKey struct{}

func withHandler(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if p, ok := c.(*peeked); ok && p.handler != nil {
		return context.WithValue(ctx, handlerKey{}, p.handler)
	}
	return ctx
}

// answer is the universal HTTP handler.
func answer(w http.ResponseWriter, r *http.Request) {
	h, own := r.Context().Value(handlerKey{}).(http.Handler)
	if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		if g, ok := h.(GRPCHandler); ok {
			g.ServeGRPC(w, r)
		} else {
			answerGRPC(w, r)
		}
		return
	}
	if own {
		h.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", "3")
	_, _ = io.WriteString(w, "ok\n")
}

// answerGRPC speaks the gRPC health protocol (grpc.health.v1) by hand: one message of two bytes needs no library.
func answerGRPC(w http.ResponseWriter, r *http.Request) {
	const unimplemented = "12"
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Trailer", "Grpc-Status, Grpc-Message")
	status, message := "0", ""
	switch r.URL.Path {
	case "/grpc.health.v1.Health/Check":
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, window))
		writeServing(w)
	case "/grpc.health.v1.Health/Watch":
		writeServing(w)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	default:
		status, message = unimplemented, fmt.Sprintf("no model serves %s", r.URL.Path)
	}
	h.Set("Grpc-Status", status)
	h.Set("Grpc-Message", message)
}

// writeServing writes a HealthCheckResponse{status: SERVING} in gRPC's framing.
func writeServing(w io.Writer) {
	_, _ = w.Write([]byte{0, 0, 0, 0, 2, 0x08, 0x01})
}

// isHTTP reports whether the first bytes are a request line or the preface of HTTP/2.
func isHTTP(r *bufio.Reader) bool {
	for _, method := range []string{"GET ", "HEAD ", "POST ", "PUT ", "PATCH ", "DELETE ", "OPTIONS ", "CONNECT ", "TRACE ", "PRI "} {
		if startsWith(r, method) {
			return true
		}
	}
	return false
}

func isRedis(r *bufio.Reader) bool {
	return startsWith(r, "*1\r\n") || startsWith(r, "PING\r\n")
}

// startsWith reads ahead only while what is there agrees, so that a protocol of few bytes does not wait for more.
func startsWith(r *bufio.Reader, prefix string) bool {
	for i := range len(prefix) {
		b, err := r.Peek(i + 1)
		if err != nil || b[i] != prefix[i] {
			return false
		}
	}
	return true
}

// argumentsMax bounds a Redis command; PING has one or two.
const argumentsMax = 64

// serveRedis answers PING, in RESP or inline, and an error to every other command.
func serveRedis(c *peeked) {
	defer c.Close()
	for {
		command, err := readCommand(c.ahead)
		if err != nil {
			return
		}
		reply := "-ERR unknown command\r\n"
		switch strings.ToUpper(command) {
		case "PING":
			reply = "+PONG\r\n"
		case "QUIT":
			reply = "+OK\r\n"
		}
		if _, err := io.WriteString(c, reply); err != nil || reply[1] == 'O' {
			return
		}
	}
}

// readCommand reads one Redis command and returns its first word.
func readCommand(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "*") {
		return strings.TrimSpace(line), err
	}
	count, err := strconv.Atoi(strings.TrimSpace(line[1:]))
	if err != nil || count < 1 || count > argumentsMax {
		return "", fmt.Errorf("a Redis command of %q arguments", strings.TrimSpace(line[1:]))
	}
	first := ""
	for i := range count {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		size, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "$")))
		if err != nil || size < 0 || size > window {
			return "", fmt.Errorf("a Redis argument of length %q", strings.TrimSpace(line))
		}
		word := make([]byte, size+2) // with the line end
		if _, err := io.ReadFull(r, word); err != nil {
			return "", err
		}
		if i == 0 {
			first = string(word[:size])
		}
	}
	return first, nil
}

// peeked is a connection of which some bytes were read ahead.
type peeked struct {
	net.Conn
	ahead   *bufio.Reader
	handler http.Handler // of its HTTP requests; nil = the universal one
}

func (p *peeked) Read(b []byte) (int, error) { return p.ahead.Read(b) }

// CloseWrite passes a half-close on where the connection knows it.
func (p *peeked) CloseWrite() error {
	if half, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// queue is a listener that accepts what is added to it.
type queue struct {
	conns chan net.Conn
	done  chan struct{}
}

// add hands a connection to Accept, or closes it when the listener is closed.
func (q queue) add(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.done:
		c.Close()
	}
}

func (q queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

func (q queue) Close() error {
	close(q.done)
	return nil
}

func (q queue) Addr() net.Addr { return &net.TCPAddr{} }
