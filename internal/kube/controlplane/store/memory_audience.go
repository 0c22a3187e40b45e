package store

import (
	"cmp"
	"slices"
	"strings"
)

// audience finds the watches of a key without asking each of them. Nearly all watch a directory ("/registry/pods/"),
// so these are kept by name, and a key's directories are looked up; watches of one key likewise; others are tried
// one by one.
type audience struct {
	byKey       map[string]*watchGroup
	byDirectory map[string]*watchGroup
	depths      [maxDepth]int // number of watched directories with that many slashes in their name
	others      []*watchGroup
	nextID      uint64
}

// maxDepth bounds the slashes in a directory that is found by name; the API server's keys have up to six.
const maxDepth = 16

// watchGroup is the watches of one span, in the order in which they began.
type watchGroup struct {
	span    span
	depth   int // as a directory; 0 if it is none
	watches []*watch
}

func newAudience() audience {
	return audience{byKey: map[string]*watchGroup{}, byDirectory: map[string]*watchGroup{}}
}

// directoryDepth is the number of slashes in the name of a directory, or 0 when the span is not what a prefix that
// ends with a slash covers.
func directoryDepth(s span) int {
	n := len(s.start)
	if n == 0 || s.start[n-1] != '/' || len(s.end) != n || s.end[:n-1] != s.start[:n-1] || s.end[n-1] != '/'+1 {
		return 0
	}
	if depth := strings.Count(s.start, "/"); depth < maxDepth {
		return depth
	}
	return 0
}

func (a *audience) add(w *watch) {
	w.id = a.nextID
	a.nextID++
	group := a.find(w.span)
	if group == nil {
		group = &watchGroup{span: w.span, depth: directoryDepth(w.span)}
		switch {
		case w.span.point():
			a.byKey[w.span.start] = group
		case group.depth > 0:
			a.byDirectory[w.span.start] = group
			a.depths[group.depth]++
		default:
			a.others = append(a.others, group)
		}
	}
	group.watches = append(group.watches, w)
}

func (a *audience) find(s span) *watchGroup {
	if s.point() {
		return a.byKey[s.start]
	}
	if g := a.byDirectory[s.start]; g != nil && g.span == s {
		return g
	}
	for _, g := range a.others {
		if g.span == s {
			return g
		}
	}
	return nil
}

func (a *audience) remove(w *watch) {
	group := a.find(w.span)
	if group == nil {
		return
	}
	// A new slice: a commit that is being published may be walking the old one.
	group.watches = slices.DeleteFunc(slices.Clone(group.watches), func(x *watch) bool { return x == w })
	if len(group.watches) > 0 {
		return
	}
	switch {
	case w.span.point():
		delete(a.byKey, w.span.start)
	case group.depth > 0:
		delete(a.byDirectory, w.span.start)
		a.depths[group.depth]--
	default:
		a.others = slices.DeleteFunc(a.others, func(g *watchGroup) bool { return g == group })
	}
}

// of calls f for each group of watches that a key belongs to, widest directory first.
func (a *audience) of(key string, f func(*watchGroup)) {
	if len(a.byDirectory) > 0 {
		for depth, from := 1, 0; depth < maxDepth; depth++ {
			i := strings.IndexByte(key[from:], '/')
			if i < 0 {
				break
			}
			from += i + 1
			if a.depths[depth] == 0 {
				continue
			}
			if g := a.byDirectory[key[:from]]; g != nil {
				f(g)
			}
		}
	}
	if len(a.byKey) > 0 {
		if g := a.byKey[key]; g != nil {
			f(g)
		}
	}
	for _, g := range a.others {
		if g.span.holds(key) {
			f(g)
		}
	}
}

// all returns every watch, oldest first.
func (a *audience) all() []*watch {
	var out []*watch
	for _, g := range a.byKey {
		out = append(out, g.watches...)
	}
	for _, g := range a.byDirectory {
		out = append(out, g.watches...)
	}
	for _, g := range a.others {
		out = append(out, g.watches...)
	}
	slices.SortFunc(out, func(x, y *watch) int { return cmp.Compare(x.id, y.id) })
	return out
}
