package controlplane

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	coreinformers "k8s.io/client-go/informers/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// indexedPods answers lists by label from an index. The controllers of autoscalers, endpoint slices and disruption budgets
// list by selector at every look, and a scan of the namespace each time would be the largest cost of a rehearsal.
type indexedPods struct{ coreinformers.PodInformer }

const byLabel = "namespace/label"

func newIndexedPods(i coreinformers.PodInformer) indexedPods {
	if _, ok := i.Informer().GetIndexer().GetIndexers()[byLabel]; !ok {
		err := i.Informer().AddIndexers(cache.Indexers{byLabel: func(o any) ([]string, error) {
			p := o.(*corev1.Pod)
			keys := make([]string, 0, len(p.Labels))
			for k, v := range p.Labels {
				keys = append(keys, labelKey(p.Namespace, k, v))
			}
			return keys, nil
		}})
		if err != nil {
			panic(err) // only for an informer that has stopped
		}
	}
	return indexedPods{i}
}

func labelKey(ns, k, v string) string { return ns + "/" + k + "=" + v }

// podChanges counts the events of the pods that carry a label, so that a reader can keep what it derived from a list.
type podChanges struct {
	mu sync.Mutex
	n  map[string]uint64 // by labelKey
}

func watchPodChanges(i coreinformers.PodInformer) (*podChanges, error) {
	c := &podChanges{n: map[string]uint64{}}
	_, err := i.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { c.note(o) },
		UpdateFunc: func(before, after any) {
			c.note(before) // its labels may have changed
			c.note(after)
		},
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			c.note(o)
		},
	})
	return c, err
}

func (c *podChanges) note(o any) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, v := range p.Labels {
		c.n[labelKey(p.Namespace, k, v)]++
	}
}

// count is different from an earlier count when a pod with that label has changed since.
func (c *podChanges) count(key string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[key]
}

// PodsByLabel is a lister whose namespaced lists by label are answered from an index.
func (p *ControlPlane) PodsByLabel() corelisters.PodLister {
	return newIndexedPods(p.shared.Core().V1().Pods()).Lister()
}

func (i indexedPods) Lister() corelisters.PodLister {
	return indexedLister{i.PodInformer.Lister(), i.Informer().GetIndexer()}
}

type indexedLister struct {
	corelisters.PodLister
	index cache.Indexer
}

func (l indexedLister) Pods(ns string) corelisters.PodNamespaceLister {
	return indexedNamespace{l.PodLister.Pods(ns), l.index, ns}
}

type indexedNamespace struct {
	corelisters.PodNamespaceLister
	index cache.Indexer
	ns    string
}

func (l indexedNamespace) List(sel labels.Selector) ([]*corev1.Pod, error) {
	reqs, selectable := sel.Requirements()
	if !selectable {
		return nil, nil
	}
	smallest, found := []any(nil), false
	for _, r := range reqs {
		v := r.Values()
		if op := r.Operator(); (op != selection.Equals && op != selection.DoubleEquals && op != selection.In) || v.Len() != 1 {
			continue
		}
		value, _ := v.PopAny()
		objs, err := l.index.ByIndex(byLabel, labelKey(l.ns, r.Key(), value))
		if err != nil {
			return nil, err
		}
		if !found || len(objs) < len(smallest) {
			smallest, found = objs, true
		}
	}
	if !found {
		return l.PodNamespaceLister.List(sel)
	}
	out := make([]*corev1.Pod, 0, len(smallest))
	for _, o := range smallest {
		if p := o.(*corev1.Pod); len(reqs) == 1 || sel.Matches(labels.Set(p.Labels)) {
			out = append(out, p)
		}
	}
	return out, nil
}
