package controlplane

import (
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// leanCache prepares objects for the shared cache. managedFields go, as they do in upstream's controller manager. The strings
// that selectors compare are made one copy each: the scheduler compares the labels of all pods of all nodes for each pod it
// places, and equal strings at one address are equal without a look at their bytes.
type leanCache struct {
	mu    sync.Mutex
	texts map[string]string
}

// textsMax bounds the copies; beyond it they are forgotten and made anew.
const textsMax = 1 << 18

// transform is a cache.TransformFunc.
func (c *leanCache) transform(o any) (any, error) {
	m, err := meta.Accessor(o)
	if err != nil {
		return o, nil // what a cache keeps of a deleted object
	}
	m.SetManagedFields(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.texts) > textsMax {
		clear(c.texts)
	}
	m.SetNamespace(c.one(m.GetNamespace()))
	switch o := o.(type) {
	case *corev1.Pod:
		o.Labels = c.each(o.Labels)
		o.Spec.NodeName = c.one(o.Spec.NodeName)
	case *corev1.Service:
		o.Spec.Selector = c.each(o.Spec.Selector)
	case *appsv1.ReplicaSet:
		o.Spec.Selector = c.selector(o.Spec.Selector)
	case *appsv1.StatefulSet:
		o.Spec.Selector = c.selector(o.Spec.Selector)
	}
	return o, nil
}

func (c *leanCache) one(s string) string {
	if t, ok := c.texts[s]; ok {
		return t
	}
	c.texts[s] = s
	return s
}

func (c *leanCache) each(m map[string]string) map[string]string {
	if m == nil {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[c.one(k)] = c.one(v)
	}
	return out
}

func (c *leanCache) selector(s *metav1.LabelSelector) *metav1.LabelSelector {
	if s != nil {
		s.MatchLabels = c.each(s.MatchLabels)
	}
	return s
}
