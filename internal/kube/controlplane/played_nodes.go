package controlplane

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// nodeLifecycleController is upstream's name for it.
const nodeLifecycleController = "node-lifecycle-controller"

// OverseeNodes starts the node-lifecycle controller of a Full plane with Options.NodesPlayed: quiet, until WatchNodes
// says otherwise. It reads from f, which the caller starts afterwards.
func (p *ControlPlane) OverseeNodes(f informers.SharedInformerFactory) error {
	if p.opts.Profile != Full || !p.opts.NodesPlayed {
		return errors.New("the control plane oversees its nodes itself: Options.NodesPlayed is not set")
	}
	life := newLifecycle(&parts{p: p, f: f})
	life.timing = p.nodeTiming
	if err := life.set(p.ctrlLife, false); err != nil {
		return err
	}
	p.life = life
	p.ctrlParts.Go(func() { life.run(p.ctrlLife) })
	return nil
}

// registeredOnce is a client for a node-lifecycle controller that takes the place of an earlier one: it would report every
// node as registered once more, and those Events are not written.
func (b *parts) registeredOnce(name string) kubernetes.Interface {
	cfg := b.config(name)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return dropRegistered{next} })
	return kubernetes.NewForConfigOrDie(rest.CopyConfig(cfg))
}

type dropRegistered struct{ next http.RoundTripper }

// RoundTrip answers an Event of a node's registration with itself, as if it had been written.
func (d dropRegistered) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil || !isEventWrite(r) {
		return d.next.RoundTrip(r)
	}
	b, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil {
		return nil, err
	}
	if !bytes.Contains(b, []byte("RegisteredNode")) {
		again := r.Clone(r.Context())
		again.Body = io.NopCloser(bytes.NewReader(b))
		return d.next.RoundTrip(again)
	}
	return &http.Response{StatusCode: http.StatusCreated, Status: "201 Created", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": r.Header["Content-Type"]}, Body: io.NopCloser(bytes.NewReader(b)), ContentLength: int64(len(b)), Request: r}, nil
}
