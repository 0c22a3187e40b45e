package match

import (
	"fmt"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// Explanation says how the rule of a request was found, or why there is none.
type Explanation struct {
	Result
	// Found is what Match returns beside the Result.
	Found bool
	// Why there is no rule, in words; "" with a rule.
	Why string
	// Tried are the matches in the order they are tried, up to the one that fits. Those after it are not looked at.
	Tried []Tried
}

// Tried is a match that was compared.
type Tried struct {
	Host  *config.Host
	Match *config.Match
	// Why it does not fit: the first condition that the request does not meet; "" = it fits.
	Why string
}

// Explain a request: what Match does, with its reasons. It is for people, and takes its time.
func (x *Index) Explain(socket int, req *Head) Explanation {
	result, found := x.Match(socket, req)
	out := Explanation{Result: result, Found: found}
	switch {
	case result.Listener == nil:
		out.Why = fmt.Sprintf("no listener of %s has a host name that %q fits", x.sockets[socket].config.Address, req.Host)
		return out
	case result.Status == 421:
		out.Why = fmt.Sprintf("the connection was opened for %q, which is not served by listener %q that %q belongs to", req.ServerName, result.Listener.Section, req.Host)
		return out
	}
	var buf hostBuffer
	name, _ := plainHost(req.Host, &buf)
	for _, h := range result.Listener.Hosts {
		if !hostFits(h.Hostname, name) {
			continue
		}
		for i := range h.Matches {
			m := &h.Matches[i]
			out.Tried = append(out.Tried, Tried{h, m, misfit(m, req)})
			if m == result.Match {
				return out
			}
		}
	}
	out.Why = fmt.Sprintf("none of the %d matches for this host name fits", len(out.Tried))
	return out
}

// misfit is the first condition of a match that a request does not meet.
func misfit(m *config.Match, req *Head) string {
	if m.Method != "" && m.Method != req.Method {
		return fmt.Sprintf("the method is not %s", m.Method)
	}
	if !pathFits(&m.Path, path(req)) {
		kind := [...]string{config.PathExact: "is not", config.PathRegexp: "does not fit the expression", config.PathPrefix: "is not below", config.PathRawPrefix: "does not begin with"}
		return fmt.Sprintf("the path %s %s", kind[m.Path.Kind], orSlash(m.Path.Value))
	}
	for i := range m.Headers {
		if v := &m.Headers[i]; !headerFits(v, req) {
			return "the header " + describe(v)
		}
	}
	for i := range m.Query {
		if v := &m.Query[i]; !queryFits(v, req.Query) {
			return "the query parameter " + describe(v)
		}
	}
	for i := range m.Cookies {
		if v := &m.Cookies[i]; !cookieFits(v, req) {
			return "the cookie " + describe(v)
		}
	}
	return ""
}

func orSlash(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

func describe(v *config.ValueMatch) string {
	not, does := "is not", "does not"
	if v.Not {
		not, does = "is", "does"
	}
	switch {
	case v.Present:
		return fmt.Sprintf("%s %s there", v.Name, not)
	case v.Regexp != nil:
		return fmt.Sprintf("%s %s fit %s", v.Name, does, v.Regexp)
	case v.Prefix:
		return fmt.Sprintf("%s %s begin with %q", v.Name, does, v.Value)
	}
	return fmt.Sprintf("%s %s %q", v.Name, not, v.Value)
}
