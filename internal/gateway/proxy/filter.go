package proxy

import (
	"net/http"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// applyFilters carries out the filters on the request; those on the response wait for it. false = one of them has answered.
func (x *exchange) applyFilters(filters []config.Filter) bool {
	for i := range filters {
		f := &filters[i]
		switch {
		case f.RequestHeaders != nil:
			x.headers = changeHeaders(x.headers, f.RequestHeaders, &x.host)
		case f.Rewrite != nil:
			if f.Rewrite.Host != "" {
				x.host = f.Rewrite.Host
			}
			x.path = x.changedPath(&f.Rewrite.Path, x.path)
		case f.Redirect != nil:
			x.redirect(f.Redirect)
			return false
		}
	}
	return true
}

// applyResponseFilters does the same to the headers of the response: the backend's own filters first, for they are nearer to it.
func applyResponseFilters(headers []match.Header, filters []config.Filter) []match.Header {
	for i := range filters {
		if f := filters[i].ResponseHeaders; f != nil {
			headers = changeHeaders(headers, f, nil)
		}
	}
	return headers
}

func changesResponse(filters []config.Filter) bool {
	for i := range filters {
		if filters[i].ResponseHeaders != nil {
			return true
		}
	}
	return false
}

// changedPath is the path that a redirect or a rewrite makes.
func (x *exchange) changedPath(p *config.Path, path string) string {
	switch {
	case p.Full != nil:
		return safePath(*p.Full)
	case p.Prefix == nil:
		return path
	}
	matched := ""
	if m := x.result.Match; m != nil && m.Path.Kind != config.PathRegexp {
		matched = m.Path.Value
	}
	rest := ""
	if len(path) >= len(matched) {
		rest = path[len(matched):]
	}
	prefix := *p.Prefix
	switch {
	case strings.HasSuffix(prefix, "/") && strings.HasPrefix(rest, "/"):
		prefix = prefix[:len(prefix)-1]
	case rest != "" && !strings.HasPrefix(rest, "/") && !strings.HasSuffix(prefix, "/") && x.result.Match.Path.Kind == config.PathPrefix:
		prefix += "/"
	}
	return safePath(prefix + rest)
}

// safePath begins with a slash and has nothing in it that would end the request line; what comes from a route's author is no
// different from what comes from a client.
func safePath(path string) string {
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	ok := true
	for i := range len(path) {
		ok = ok && path[i] > ' ' && path[i] != 0x7f && path[i] != '#' && path[i] != '?'
	}
	if ok {
		return path
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c == 0x7f || c == '#' || c == '?' {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// redirect answers with a Location.
func (x *exchange) redirect(r *config.Redirect) {
	x.record.Reason = Filtered
	scheme := x.scheme()
	port := int(r.Port)
	if r.Scheme != "" {
		scheme = r.Scheme
	} else if port == 0 {
		port = int(x.peer.port)
	}
	name := hostName(x.head.Host)
	if r.Host != "" {
		name = r.Host
	}
	location := scheme + "://" + name + portText(scheme, port) + x.changedPath(&r.Path, x.path)
	if x.query != "" {
		location += "?" + x.query
	}
	status := r.Status
	if status == 0 {
		status = http.StatusFound
	}
	x.out = append(x.out[:0], match.Header{Name: "Location", Value: location})
	x.addCORS()
	x.answer(status, "")
}

// hostName is the host without its port.
func hostName(host string) string {
	if strings.HasPrefix(host, "[") {
		if end := strings.IndexByte(host, ']'); end >= 0 {
			return host[:end+1]
		}
	}
	name, _, _ := strings.Cut(host, ":")
	return name
}

// faultParts is what percentages of a Fault are counted in.
const faultParts = 1_000_000

// fault delays and aborts as the rule says, exactly over time; true = it has answered.
func (x *exchange) fault() bool {
	f := x.rule.Fault
	if f == nil {
		return false
	}
	if f.Delay > 0 && x.state.delays.Take(int32(f.DelayPercent*faultParts/100), faultParts) && !x.sleep(f.Delay) {
		x.fail(http.StatusGatewayTimeout, TimedOut, "the request took too long")
		return true
	}
	if f.AbortStatus >= 200 && x.state.aborts.Take(int32(f.AbortPercent*faultParts/100), faultParts) {
		x.fail(f.AbortStatus, Injected, "fault injected by the route")
		return true
	}
	return false
}

// sleep waits, but not beyond the request's time or the gateway's: false.
func (x *exchange) sleep(d time.Duration) bool {
	left := x.left(x.g.now())
	enough := left < 0 || d < left
	if !enough {
		d = left
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return enough
	case <-x.g.ctx.Done():
		return false
	}
}
