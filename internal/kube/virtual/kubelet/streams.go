package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// refusal is why a container cannot be entered; the user reads it in his terminal.
func refusal(verb, namespace, pod, container string) error {
	return fmt.Errorf("%s is not available on a virtual node: container %q of pod %s/%s is a model without processes or files; "+
		"use logs, port-forward, or run the program yourself with --program IMAGE=local:PORT", verb, container, namespace, pod)
}

// exec refuses in the protocol of the client, so that kubectl shows the reason.
func (s *Server) exec(w http.ResponseWriter, r *http.Request, node *corev1.Node) {
	p, ok := s.pod(w, r, node)
	if !ok {
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c := streaming.DefaultConfig
	remotecommand.ServeExec(w, r, refuser{}, p.Namespace+"/"+p.Name, string(p.UID), r.PathValue("container"),
		r.URL.Query()["command"], options, c.StreamIdleTimeout, c.StreamCreationTimeout, c.SupportedRemoteCommandProtocols)
}

// attach refuses as exec does.
func (s *Server) attach(w http.ResponseWriter, r *http.Request, node *corev1.Node) {
	p, ok := s.pod(w, r, node)
	if !ok {
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c := streaming.DefaultConfig
	remotecommand.ServeAttach(w, r, refuser{}, p.Namespace+"/"+p.Name, string(p.UID), r.PathValue("container"),
		options, c.StreamIdleTimeout, c.StreamCreationTimeout, c.SupportedRemoteCommandProtocols)
}

// run refuses the kubelet's own way to run a command.
func (s *Server) run(w http.ResponseWriter, r *http.Request, node *corev1.Node) {
	if p, ok := s.pod(w, r, node); ok {
		http.Error(w, refusal("run", p.Namespace, p.Name, r.PathValue("container")).Error(), http.StatusNotImplemented)
	}
}

// refuser is a runtime in which nothing can be executed. name is namespace/pod.
type refuser struct{}

func (refuser) ExecInContainer(_ context.Context, name, _, container string, _ []string, _ io.Reader, _, _ io.WriteCloser, _ bool,
	_ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	return refuse("exec", name, container)
}

func (refuser) AttachContainer(_ context.Context, name, _, container string, _ io.Reader, _, _ io.WriteCloser, _ bool,
	_ <-chan remotecommand.TerminalSize) error {
	return refuse("attach", name, container)
}

func refuse(verb, name, container string) error {
	for i := range name {
		if name[i] == '/' {
			return refusal(verb, name[:i], name[i+1:], container)
		}
	}
	return refusal(verb, "", name, container)
}

// portForward carries connections to ports of the pod, by SPDY streams or a WebSocket.
func (s *Server) portForward(w http.ResponseWriter, r *http.Request, node *corev1.Node) {
	p, ok := s.pod(w, r, node)
	if !ok {
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c := streaming.DefaultConfig
	portforward.ServePortForward(w, r, forwarder{s.opts.Dial, p}, p.Name, string(p.UID), options,
		c.StreamIdleTimeout, c.StreamCreationTimeout, c.SupportedPortForwardProtocols)
}

// forwarder connects streams to one pod.
type forwarder struct {
	dial func(ctx context.Context, pod *corev1.Pod, port uint16) (net.Conn, error)
	pod  *corev1.Pod
}

// PortForward implements portforward.PortForwarder: it returns when the pod's side has ended.
func (f forwarder) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	if f.dial == nil {
		return errors.New("port-forward is not available: the node has no network")
	}
	c, err := f.dial(ctx, f.pod, uint16(port))
	if err != nil {
		return fmt.Errorf("failed to connect to port %d of pod %s/%s: %w", port, f.pod.Namespace, f.pod.Name, err)
	}
	defer c.Close()
	go func() { // ends with the stream, which the caller closes when this call returns
		_, err := io.Copy(c, stream)
		if half, ok := c.(interface{ CloseWrite() error }); ok && err == nil {
			_ = half.CloseWrite()
			return
		}
		c.Close()
	}()
	if _, err := io.Copy(stream, c); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("port %d of pod %s/%s: %w", port, f.pod.Namespace, f.pod.Name, err)
	}
	return nil
}
