package match

import "strings"

// hostMax is the longest host name that is looked up: DNS allows 253 characters. Longer ones match nothing exact.
const hostMax = 255

// hostBuffer holds a host name in lower case without an allocation.
type hostBuffer [hostMax]byte

// plainHost is the host without its port and trailing dot, in lower case. It is a part of the host itself where that is
// lower case already, and else written to buf. ok is false for a name too long to be one.
func plainHost(host string, buf *hostBuffer) (name []byte, ok bool) {
	host = withoutPort(host)
	if n := len(host); n > 0 && host[n-1] == '.' {
		host = host[:n-1]
	}
	if len(host) > hostMax {
		return nil, false
	}
	for i := range len(host) {
		c := host[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[i] = c
	}
	return buf[:len(host)], true
}

// withoutPort cuts ":80" off "name:80" and "[::1]:80". The brackets of an address stay.
func withoutPort(host string) string {
	if host != "" && host[0] == '[' {
		if end := strings.IndexByte(host, ']'); end >= 0 {
			return host[:end+1]
		}
		return host
	}
	if colon := strings.IndexByte(host, ':'); colon >= 0 {
		return host[:colon]
	}
	return host
}

// hostFits tells whether a name in lower case fits the host name of a listener or a route: "" fits all, "*.example.com" all
// names that end with ".example.com" and have something before it.
func hostFits(pattern string, name []byte) bool {
	switch {
	case pattern == "":
		return true
	case strings.HasPrefix(pattern, "*."):
		suffix := pattern[1:]
		return len(name) > len(suffix) && string(name[len(name)-len(suffix):]) == suffix
	}
	return pattern == string(name)
}

// byHost finds things by host name, from the most specific to the least.
type byHost[T any] struct {
	exact map[string][]T
	wild  map[string][]T // by what stands after the star: ".example.com"
	all   []T
}

func (b *byHost[T]) add(pattern string, t T) {
	switch {
	case pattern == "":
		b.all = append(b.all, t)
	case strings.HasPrefix(pattern, "*."):
		if b.wild == nil {
			b.wild = map[string][]T{}
		}
		b.wild[pattern[1:]] = append(b.wild[pattern[1:]], t)
	default:
		if b.exact == nil {
			b.exact = map[string][]T{}
		}
		b.exact[pattern] = append(b.exact[pattern], t)
	}
}

// each calls visit with what fits a name, the most specific first, until it returns false.
func (b *byHost[T]) each(name []byte, visit func(T) bool) {
	for _, t := range b.exact[string(name)] {
		if !visit(t) {
			return
		}
	}
	if len(b.wild) > 0 {
		for i := 1; i < len(name); i++ {
			if name[i] != '.' {
				continue
			}
			for _, t := range b.wild[string(name[i:])] {
				if !visit(t) {
					return
				}
			}
		}
	}
	for _, t := range b.all {
		if !visit(t) {
			return
		}
	}
}
