package virtual

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	certificateslisters "k8s.io/client-go/listers/certificates/v1"
	"k8s.io/client-go/tools/cache"
)

// trust is the engine's view of ClusterTrustBundles. Few clusters use them, so that they are watched from the first pod
// on that projects one.
type trust struct {
	asked   bool
	bundles certificateslisters.ClusterTrustBundleLister // nil until watched
	synced  cache.InformerSynced
}

// run begins to watch, once, until the engine stops.
func (t *trust) run(ctx context.Context, e *Engine) {
	informer := e.opts.Informers.Certificates().V1().ClusterTrustBundles()
	changed := func(any) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.sourceAppeared(metav1.NamespaceAll)
	}
	reg, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: changed, UpdateFunc: func(_, o any) { changed(o) }})
	if err != nil {
		e.log.Warn("cluster trust bundles cannot be watched: pods that need one wait", "error", err)
		return
	}
	e.opts.Informers.StartWithContext(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	t.bundles, t.synced = informer.Lister(), reg.HasSynced
}

// noTrustBundle says why a projected ClusterTrustBundle cannot be mounted, as the kubelet does; "" when it can.
func (a around) noTrustBundle(p *v1.ClusterTrustBundleProjection) string {
	t := &a.e.trust
	if !t.asked {
		t.asked = true
		a.e.queue.put(t)
	}
	if t.bundles == nil || !t.synced() {
		return "ClusterTrustBundle informer has not yet synced"
	}
	if isTrue(p.Optional) {
		return ""
	}
	if p.Name != nil {
		if _, err := t.bundles.Get(*p.Name); err != nil {
			return fmt.Sprintf("while getting ClusterTrustBundle: %v", err)
		}
		return ""
	}
	selector, err := metav1.LabelSelectorAsSelector(p.LabelSelector)
	if err != nil {
		return fmt.Sprintf("while parsing label selector: %v", err)
	}
	if p.SignerName == nil || !t.any(*p.SignerName, selector) {
		return "combination of signerName and labelSelector matched zero ClusterTrustBundles"
	}
	return ""
}

// any reports whether the signer has a bundle that the selector matches.
func (t *trust) any(signer string, selector labels.Selector) bool {
	all, err := t.bundles.List(selector)
	if err != nil {
		return false
	}
	for _, b := range all {
		if b.Spec.SignerName == signer {
			return true
		}
	}
	return false
}
