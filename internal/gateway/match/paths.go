package match

import (
	"strings"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// paths is the index of a host: its matches by what their paths ask for. All lists are in the order of precedence, which is
// the place of a match in Host.Matches.
type paths struct {
	host *config.Host
	// exact paths.
	exact map[string][]int32
	// prefixes of whole segments, without a slash at their end.
	prefix map[string][]int32
	// depth is the most segments that one of them has: no more of a path are looked at.
	depth int
	// others have to be compared one by one: regular expressions, prefixes of characters, letters of any case.
	others []int32
}

func newPaths(h *config.Host) *paths {
	p := &paths{host: h, exact: map[string][]int32{}, prefix: map[string][]int32{}}
	for i := range h.Matches {
		m := &h.Matches[i].Path
		switch {
		case m.Fold || m.Kind == config.PathRegexp || m.Kind == config.PathRawPrefix:
			p.others = append(p.others, int32(i))
		case m.Kind == config.PathExact:
			p.exact[m.Value] = append(p.exact[m.Value], int32(i))
		default:
			p.prefix[m.Value] = append(p.prefix[m.Value], int32(i))
			if m.Value != "" {
				p.depth = max(p.depth, 1+strings.Count(m.Value[1:], "/"))
			}
		}
	}
	return p
}

// find the first match that fits, by its place; -1 = none.
func (p *paths) find(path string, req *Head) int {
	best := int32(len(p.host.Matches))
	best = p.first(p.exact[path], best, req)
	best = p.firstOf(p.others, best, path, req)
	best = p.first(p.prefix[""], best, req)
	segments := 0
	for i := 1; i <= len(path) && segments < p.depth; i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		segments++
		best = p.first(p.prefix[path[:i]], best, req)
	}
	if best == int32(len(p.host.Matches)) {
		return -1
	}
	return int(best)
}

// first of a list that fits and comes before best; the path is known to fit.
func (p *paths) first(list []int32, best int32, req *Head) int32 {
	for _, i := range list {
		if i >= best {
			return best
		}
		if m := &p.host.Matches[i]; (m.Method == "" || m.Method == req.Method) && valuesFit(m, req) {
			return i
		}
	}
	return best
}

// firstOf is first where the path has to be compared as well.
func (p *paths) firstOf(list []int32, best int32, path string, req *Head) int32 {
	for _, i := range list {
		if i >= best {
			return best
		}
		m := &p.host.Matches[i]
		if (m.Method == "" || m.Method == req.Method) && pathFits(&m.Path, path) && valuesFit(m, req) {
			return i
		}
	}
	return best
}
