package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// Kinds whose objects a Rollout's Snapshot is made of, besides those of routers.
var (
	replicaSetKind      = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
	deploymentKind      = appsv1.SchemeGroupVersion.WithKind("Deployment")
	podTemplateKind     = corev1.SchemeGroupVersion.WithKind("PodTemplate")
	podKind             = corev1.SchemeGroupVersion.WithKind("Pod")
	serviceKind         = corev1.SchemeGroupVersion.WithKind("Service")
	leaseKind           = coordinationv1.SchemeGroupVersion.WithKind("Lease")
	templateKind        = rollouts.GroupVersion.WithKind("AnalysisTemplate")
	clusterTemplateKind = rollouts.GroupVersion.WithKind("ClusterAnalysisTemplate")
	runKind             = rollouts.GroupVersion.WithKind("AnalysisRun")
	experimentKind      = rollouts.GroupVersion.WithKind("Experiment")
)

// typed are the kinds that are read and written by their Go types; all others are unstructured.
var typed = map[schema.GroupVersionKind]func() client.Object{
	Kind:                func() client.Object { return &rollouts.Rollout{} },
	replicaSetKind:      func() client.Object { return &appsv1.ReplicaSet{} },
	deploymentKind:      func() client.Object { return &appsv1.Deployment{} },
	podTemplateKind:     func() client.Object { return &corev1.PodTemplate{} },
	podKind:             func() client.Object { return &corev1.Pod{} },
	serviceKind:         func() client.Object { return &corev1.Service{} },
	leaseKind:           func() client.Object { return &coordinationv1.Lease{} },
	templateKind:        func() client.Object { return &argo.AnalysisTemplate{} },
	clusterTemplateKind: func() client.Object { return &argo.ClusterAnalysisTemplate{} },
	runKind:             func() client.Object { return &argo.AnalysisRun{} },
	experimentKind:      func() client.Object { return &argo.Experiment{} },
}

// always are the kinds that are watched from the start. The others are from the moment a Rollout needs them.
var always = []schema.GroupVersionKind{Kind, replicaSetKind, serviceKind, leaseKind, templateKind, clusterTemplateKind, runKind, experimentKind}

// newObject is an empty object of the kind.
func newObject(kind schema.GroupVersionKind) client.Object {
	if f, ok := typed[kind]; ok {
		return f()
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	return u
}

// kindOf an object: by its Go type, for objects of caches often do not say it themselves.
func kindOf(obj client.Object) schema.GroupVersionKind {
	switch obj.(type) {
	case *rollouts.Rollout:
		return Kind
	case *appsv1.ReplicaSet:
		return replicaSetKind
	case *appsv1.Deployment:
		return deploymentKind
	case *corev1.PodTemplate:
		return podTemplateKind
	case *corev1.Pod:
		return podKind
	case *corev1.Service:
		return serviceKind
	case *coordinationv1.Lease:
		return leaseKind
	case *argo.AnalysisTemplate:
		return templateKind
	case *argo.ClusterAnalysisTemplate:
		return clusterTemplateKind
	case *argo.AnalysisRun:
		return runKind
	case *argo.Experiment:
		return experimentKind
	}
	return obj.GetObjectKind().GroupVersionKind()
}

// Indexes of the caches.
const (
	byController = "fairway.dev/controller" // UID of the controller
	byOrphanage  = "fairway.dev/orphans"    // namespace, of objects without a controller
	byMark       = "fairway.dev/managed-by" // namespace/name of the Rollouts that left their mark on an object
)

// indexers of a kind's cache.
func indexers(kind schema.GroupVersionKind) cache.Indexers {
	switch {
	case kind == replicaSetKind:
		return cache.Indexers{byController: controllerIndex, byOrphanage: orphanIndex}
	case kind == runKind || kind == experimentKind || kind == podKind:
		return cache.Indexers{byController: controllerIndex}
	case kind == serviceKind:
		return cache.Indexers{byMark: serviceMarkIndex}
	case typed[kind] == nil:
		return cache.Indexers{byMark: routerMarkIndex}
	}
	return nil
}

func controllerIndex(obj any) ([]string, error) {
	if o, ok := obj.(metav1.Object); ok {
		if c := metav1.GetControllerOfNoCopy(o); c != nil {
			return []string{string(c.UID)}, nil
		}
	}
	return nil, nil
}

func orphanIndex(obj any) ([]string, error) {
	if o, ok := obj.(metav1.Object); ok && metav1.GetControllerOfNoCopy(o) == nil {
		return []string{o.GetNamespace()}, nil
	}
	return nil, nil
}

func serviceMarkIndex(obj any) ([]string, error) {
	if o, ok := obj.(metav1.Object); ok {
		if name := o.GetAnnotations()[ManagedByAnnotation]; name != "" {
			return []string{o.GetNamespace() + "/" + name}, nil
		}
	}
	return nil, nil
}

func routerMarkIndex(obj any) ([]string, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil, nil
	}
	var marks []string
	for _, name := range traffic.Managers(u) {
		marks = append(marks, u.GetNamespace()+"/"+name)
	}
	return marks, nil
}

// errNoKind is wrapped by errors about kinds that the API server does not serve.
var errNoKind = errors.New("the API server does not serve this kind; install its definition")

const (
	fillWithin = 2 * time.Second // a cache of a kind that is opened on demand
	kindRetry  = 5 * time.Second // a kind that was not served is not asked for again before
)

// stores are the caches by kind.
type stores struct {
	// open starts a cache and returns it when it is filled; it reports errNoKind for kinds that are not served.
	open func(ctx context.Context, kind schema.GroupVersionKind) (cache.Indexer, error)

	mu     sync.Mutex
	by     map[schema.GroupVersionKind]cache.Indexer
	absent map[schema.GroupVersionKind]time.Time
}

// have returns the cache of a kind, nil when it is not open.
func (s *stores) have(kind schema.GroupVersionKind) cache.Indexer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[kind]
}

func (s *stores) put(kind schema.GroupVersionKind, ix cache.Indexer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[schema.GroupVersionKind]cache.Indexer{}
	}
	s.by[kind] = ix
}

// need returns the cache of a kind and opens it if need be.
func (s *stores) need(ctx context.Context, kind schema.GroupVersionKind) (cache.Indexer, error) {
	s.mu.Lock()
	ix, gone := s.by[kind], s.absent[kind]
	s.mu.Unlock()
	if ix != nil {
		return ix, nil
	}
	if time.Since(gone) < kindRetry {
		return nil, fmt.Errorf("%s: %w", kind.GroupKind(), errNoKind)
	}
	ctx, cancel := context.WithTimeout(ctx, fillWithin)
	defer cancel()
	ix, err := s.open(ctx, kind)
	if meta.IsNoMatchError(err) {
		err = errNoKind
		s.mu.Lock()
		if s.absent == nil {
			s.absent = map[schema.GroupVersionKind]time.Time{}
		}
		s.absent[kind] = time.Now()
		s.mu.Unlock()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind.GroupKind(), err)
	}
	s.put(kind, ix)
	return ix, nil
}

// opened are the kinds of routers' objects that are watched.
func (s *stores) opened() []schema.GroupVersionKind {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []schema.GroupVersionKind
	for kind := range s.by {
		if typed[kind] == nil {
			out = append(out, kind)
		}
	}
	slices.SortFunc(out, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
	return out
}
