package podlife

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

// Watch is a Store that a cache of pods feeds and whose questions are about its pods.
type Watch struct {
	store *Store
	pods  client.Reader
	ready func() bool
}

// NewWatch begins to watch the pods of a cache, by the informer that it has for them or makes. It ends with the cache.
func NewWatch(ctx context.Context, c ctrlcache.Cache, hashOf func(*corev1.Pod) string) (*Watch, error) {
	informer, err := c.GetInformer(ctx, &corev1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("watching pods for %s: %w", analysis.KubeEvidence, err)
	}
	w := &Watch{store: NewStore(hashOf, time.Now()), pods: c}
	handle, err := informer.AddEventHandler(w)
	if err != nil {
		return nil, fmt.Errorf("watching pods for %s: %w", analysis.KubeEvidence, err)
	}
	w.ready = handle.HasSynced
	return w, nil
}

// OnAdd implements cache.ResourceEventHandler.
func (w *Watch) OnAdd(o any, first bool) {
	pod, ok := o.(*corev1.Pod)
	switch {
	case !ok:
	case first:
		w.store.Found(pod, time.Now())
	default:
		w.store.Changed(nil, pod, time.Now())
	}
}

// OnUpdate implements cache.ResourceEventHandler.
func (w *Watch) OnUpdate(before, now any) {
	old, ok := before.(*corev1.Pod)
	pod, fine := now.(*corev1.Pod)
	if ok && fine && old.ResourceVersion != pod.ResourceVersion {
		w.store.Changed(old, pod, time.Now())
	}
}

// OnDelete implements cache.ResourceEventHandler. What happened stays known.
func (w *Watch) OnDelete(any) {}

var _ toolscache.ResourceEventHandler = &Watch{}

// Measure implements analysis.Evidence.
func (w *Watch) Measure(ctx context.Context, q analysis.Question) (analysis.Answer, error) {
	if !w.ready() {
		return analysis.Answer{}, fmt.Errorf("%s: the pods of the cluster have not been read yet", analysis.KubeEvidence)
	}
	list := &corev1.PodList{}
	if err := w.pods.List(ctx, list, client.InNamespace(q.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return analysis.Answer{}, fmt.Errorf("%s: reading the pods of namespace %s: %w", analysis.KubeEvidence, q.Namespace, err)
	}
	pods := make([]*corev1.Pod, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	return w.store.Measure(q, pods, time.Now())
}
