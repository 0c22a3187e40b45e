package kubelet

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
)

const (
	// hooksMax bounds the requests under way, each of which holds a goroutine; further hooks are not sent.
	hooksMax = 256
	// hookTries and hookPause are for hooks that ask their own pod, which can be reached a moment after its start.
	hookTries = 5
	hookPause = time.Second
	// hookAnswerMax bounds the wait for one answer.
	hookAnswerMax = 30 * time.Second
	// hookBodyMax bounds what is read of an answer, which nobody looks at.
	hookBodyMax = 64 << 10
)

// Hooks sends the HTTP requests of postStart and preStop hooks from the pod's node. Make it with [NewHooks].
type Hooks struct {
	dialer *vnet.Dialer
	life   context.Context
	end    context.CancelFunc
	slots  chan struct{}
	sent   sync.WaitGroup
}

// NewHooks returns a sender until its Close.
func NewHooks(d *vnet.Dialer) *Hooks {
	h := &Hooks{dialer: d, slots: make(chan struct{}, hooksMax)}
	h.life, h.end = context.WithCancel(context.Background())
	return h
}

// Send is a virtual.Options.OnHook: it sends the request in the background and reports how it ended.
func (h *Hooks) Send(hook virtual.Hook) {
	select {
	case h.slots <- struct{}{}:
	default:
		slog.Warn("a hook is not sent: too many are under way", "pod", hook.Pod.Namespace+"/"+hook.Pod.Name, "container", hook.Container.Name)
		h.sent.Go(func() { hook.Answer(nil) }) // not from the engine's own goroutine, which calls Send
		return
	}
	h.sent.Go(func() {
		defer func() { <-h.slots }()
		err := h.send(hook)
		if h.life.Err() != nil {
			return
		}
		if err != nil {
			slog.Info("a hook failed", "pod", hook.Pod.Namespace+"/"+hook.Pod.Name, "container", hook.Container.Name, "err", err)
		}
		hook.Answer(err)
	})
}

func (h *Hooks) send(hook virtual.Hook) error {
	request, err := httpprobe.NewRequestForHTTPGetAction(hook.Get, hook.Container, hook.IP, "lifecycle")
	if err != nil {
		return err
	}
	transport := &http.Transport{
		DialContext:     h.dialer.DialContext(vnet.From{Node: hook.Pod.Spec.NodeName}),
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // as a kubelet, which knows no authority for pods
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: hookAnswerMax}
	for try := 1; ; try++ {
		response, err := client.Do(request.Clone(h.life))
		if err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, hookBodyMax))
			response.Body.Close()
			return nil // whatever its status, as for a kubelet
		}
		if try == hookTries {
			return err
		}
		select {
		case <-time.After(hookPause):
		case <-h.life.Done():
			return h.life.Err()
		}
	}
}

// Close ends the requests under way.
func (h *Hooks) Close() {
	h.end()
	h.sent.Wait()
}

// write adds a line to the log of a container's instance.
func write(logs *Logs) func(pod *corev1.Pod, container string, restart int32, line string) {
	return func(pod *corev1.Pod, container string, restart int32, line string) {
		logs.Append(Instance{Pod: string(pod.UID), Container: container, Restart: restart}, LogLine{At: time.Now(), Text: line, Stderr: true})
	}
}
