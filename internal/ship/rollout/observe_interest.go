package rollout

import (
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// anyName stands for all objects of a kind in a namespace.
const anyName = "*"

// interests say which Rollouts looked at an object when they were observed last, be it that it did not exist: a change of it
// concerns them. The zero value is empty.
type interests struct {
	mu sync.Mutex
	of map[types.NamespacedName][]id
	in map[id]map[types.NamespacedName]bool
}

// set replaces what a Rollout looks at; nil forgets it. It says whether that is something else than before.
func (n *interests) set(ro types.NamespacedName, ids []id) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Equal(n.of[ro], ids) {
		return false
	}
	if n.of == nil {
		n.of, n.in = map[types.NamespacedName][]id{}, map[id]map[types.NamespacedName]bool{}
	}
	for _, key := range n.of[ro] {
		if delete(n.in[key], ro); len(n.in[key]) == 0 {
			delete(n.in, key)
		}
	}
	delete(n.of, ro)
	if len(ids) == 0 {
		return true
	}
	n.of[ro] = ids
	for _, key := range ids {
		if n.in[key] == nil {
			n.in[key] = map[types.NamespacedName]bool{}
		}
		n.in[key][ro] = true
	}
	return true
}

// who looks at the object, in the order of their names.
func (n *interests) who(key id) []types.NamespacedName {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []types.NamespacedName
	for ro := range n.in[key] {
		out = append(out, ro)
	}
	key.name = anyName
	for ro := range n.in[key] {
		out = append(out, ro)
	}
	slices.SortFunc(out, func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(out)
}
