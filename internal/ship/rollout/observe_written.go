package rollout

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// writtenFor is how long an own write may be ahead of the cache. A watch that is later than that has been lost; what is
// decided on old objects then fails by their resourceVersion.
const writtenFor = 30 * time.Second

// id names an object.
type id struct {
	schema.GroupVersionKind
	namespace, name string
}

func idOf(obj client.Object) id { return id{kindOf(obj), obj.GetNamespace(), obj.GetName()} }

// written are the results of own writes that the caches do not show yet. They are laid over what caches hold, so that the
// next decision sees them. An entry goes when the cache has caught up with it.
type written struct {
	mu      sync.Mutex
	by      map[id]write
	byOwner map[types.UID]map[id]bool // of created objects
}

// wrote is what became of an object.
type wrote int

const (
	changed wrote = iota // or made
	deleted              // it is gone, or will be
	leaving              // it will be deleted, by somebody else
)

type write struct {
	obj client.Object
	how wrote
	at  time.Time
}

// shown is whether a cache that holds have shows the write.
func (e write) shown(have client.Object) bool {
	if e.how == changed {
		return version(have) >= version(e.obj)
	}
	return version(have) > version(e.obj)
}

// add the result of a write, unless the cache shows it already.
func (w *written) add(obj client.Object, how wrote, cached cache.Indexer) {
	key, e := idOf(obj), write{obj, how, time.Now()}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.by == nil {
		w.by, w.byOwner = map[id]write{}, map[types.UID]map[id]bool{}
	}
	have, there := lookup(cached, key)
	w.drop(key)
	if there && e.shown(have) || !there && how != changed {
		return
	}
	w.by[key] = e
	if owner := metav1.GetControllerOfNoCopy(obj); owner != nil {
		if w.byOwner[owner.UID] == nil {
			w.byOwner[owner.UID] = map[id]bool{}
		}
		w.byOwner[owner.UID][key] = true
	}
}

func lookup(cached cache.Indexer, key id) (client.Object, bool) {
	if cached == nil {
		return nil, false
	}
	name := key.name
	if key.namespace != "" {
		name = key.namespace + "/" + key.name
	}
	got, there, err := cached.GetByKey(name)
	if err != nil || !there {
		return nil, false
	}
	obj, ok := got.(client.Object)
	return obj, ok
}

// drop an entry; w.mu is held.
func (w *written) drop(key id) {
	e, ok := w.by[key]
	if !ok {
		return
	}
	delete(w.by, key)
	if owner := metav1.GetControllerOfNoCopy(e.obj); owner != nil {
		if delete(w.byOwner[owner.UID], key); len(w.byOwner[owner.UID]) == 0 {
			delete(w.byOwner, owner.UID)
		}
	}
}

// seen is called for every state of an object that a cache shows.
func (w *written) seen(obj client.Object, gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.by) == 0 {
		return
	}
	key := idOf(obj)
	if e, ok := w.by[key]; ok && (e.shown(obj) || gone && obj.GetUID() == e.obj.GetUID()) {
		w.drop(key)
	}
}

// over lays what was written over what the cache holds (nil = nothing). It returns nil for what was deleted.
func (w *written) over(key id, cached client.Object) client.Object {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.by[key]
	if !ok {
		return cached
	}
	if time.Since(e.at) > writtenFor || cached != nil && e.shown(cached) {
		w.drop(key)
		return cached
	}
	if e.how == deleted {
		return nil
	}
	return e.obj
}

// created are the objects of a kind that were made for an owner and are newer than the caches, by name.
func (w *written) created(owner types.UID, kind schema.GroupVersionKind) []id {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []id
	for key := range w.byOwner[owner] {
		if key.GroupVersionKind == kind {
			out = append(out, key)
		}
	}
	slices.SortFunc(out, func(a, b id) int { return cmp.Compare(a.name, b.name) })
	return out
}

// version is an object's resourceVersion as a number: Kubernetes promises since 1.35 that they can be compared.
func version(obj client.Object) uint64 {
	n, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
