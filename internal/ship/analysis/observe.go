package analysis

import (
	"context"
	"sync"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// written remembers what the API server answered to the last write of each run, until the cache has caught up: a decision
// on an older state would measure again what was measured.
type written struct {
	mu   sync.Mutex
	runs map[types.NamespacedName]*argo.AnalysisRun
}

func (w *written) keep(run *argo.AnalysisRun) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.runs == nil {
		w.runs = map[types.NamespacedName]*argo.AnalysisRun{}
	}
	w.runs[client.ObjectKeyFromObject(run)] = run.DeepCopy()
}

func (w *written) forget(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.runs, key)
}

// over is the newer of what the cache has and of what was written.
func (w *written) over(cached *argo.AnalysisRun) *argo.AnalysisRun {
	key := client.ObjectKeyFromObject(cached)
	w.mu.Lock()
	defer w.mu.Unlock()
	own := w.runs[key]
	if own == nil {
		return cached
	}
	order, err := resourceversion.CompareResourceVersion(cached.ResourceVersion, own.ResourceVersion)
	if own.UID != cached.UID || err != nil || order >= 0 {
		delete(w.runs, key)
		return cached
	}
	return own.DeepCopy()
}

// job reads a Job: from the cache, and where that does not have it (yet) from the API server. It is nil when there is none.
func (c *Controller) job(ctx context.Context, namespace, name string) (*batchv1.Job, error) {
	job := &batchv1.Job{}
	key := types.NamespacedName{Namespace: namespace, Name: name}
	err := c.Client.Get(ctx, key, job)
	if apierrors.IsNotFound(err) {
		err = c.Reader.Get(ctx, key, job)
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return job, err
}

// podsOf lists the pods of a Job that the cache has.
func (c *Controller) podsOf(ctx context.Context, job *batchv1.Job) ([]corev1.Pod, error) {
	if job.Spec.Selector == nil {
		return nil, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil {
		return nil, err
	}
	var pods corev1.PodList
	err = c.Client.List(ctx, &pods, client.InNamespace(job.Namespace), client.MatchingLabelsSelector{Selector: selector})
	return pods.Items, err
}

// Secrets reads Secrets from the API server itself: Fairway keeps no cache of them.
func Secrets(r client.Reader) SecretReader {
	return func(ctx context.Context, namespace, name string) (map[string][]byte, error) {
		s := &corev1.Secret{}
		err := r.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, s)
		return s.Data, err
	}
}
