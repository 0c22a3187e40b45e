package admin

import (
	"fmt"
	"strings"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// describe a match in a line.
func describe(m *config.Match) string {
	var parts []string
	if m.Method != "" {
		parts = append(parts, m.Method)
	}
	switch m.Path.Kind {
	case config.PathExact:
		parts = append(parts, "= "+m.Path.Value)
	case config.PathRegexp:
		parts = append(parts, fmt.Sprintf("~ %s", m.Path.Regexp))
	case config.PathPrefix:
		parts = append(parts, m.Path.Value+"/*")
	case config.PathRawPrefix:
		parts = append(parts, m.Path.Value+"*")
	}
	for i, values := range [][]config.ValueMatch{m.Headers, m.Query, m.Cookies} {
		for _, v := range values {
			parts = append(parts, [...]string{"header ", "query ", "cookie "}[i]+value(&v))
		}
	}
	return strings.Join(parts, " ")
}

func value(v *config.ValueMatch) string {
	not := ""
	if v.Not {
		not = "!"
	}
	switch {
	case v.Present:
		return not + v.Name
	case v.Regexp != nil:
		return fmt.Sprintf("%s%s~%s", not, v.Name, v.Regexp)
	case v.Prefix:
		return fmt.Sprintf("%s%s=%s*", not, v.Name, v.Value)
	}
	return fmt.Sprintf("%s%s=%s", not, v.Name, v.Value)
}

// filtersOf a rule, each in a line.
func filtersOf(r *config.Rule) (out []string) {
	if r.CORS != nil {
		out = append(out, "CORS for "+strings.Join(r.CORS.Origins, ", "))
	}
	for _, f := range r.Filters {
		switch {
		case f.RequestHeaders != nil:
			out = append(out, "request headers: "+headers(f.RequestHeaders))
		case f.ResponseHeaders != nil:
			out = append(out, "response headers: "+headers(f.ResponseHeaders))
		case f.Redirect != nil:
			out = append(out, fmt.Sprintf("redirect %d to %s", f.Redirect.Status, strings.TrimSpace(f.Redirect.Scheme+" "+f.Redirect.Host+" "+path(f.Redirect.Path))))
		case f.Rewrite != nil:
			out = append(out, "rewrite to "+strings.TrimSpace(f.Rewrite.Host+" "+path(f.Rewrite.Path)))
		}
	}
	for _, m := range r.Mirrors {
		to := "nowhere: the reference cannot be resolved"
		if m.Backend != nil {
			to = m.Backend.Key.Name.String()
		}
		out = append(out, fmt.Sprintf("mirror %d/%d to %s", m.Numerator, m.Denominator, to))
	}
	return out
}

func headers(h *config.Headers) string {
	var parts []string
	for _, name := range h.Remove {
		parts = append(parts, "-"+name)
	}
	for _, one := range h.Set {
		parts = append(parts, one.Name+"="+one.Value)
	}
	for _, one := range h.Add {
		parts = append(parts, "+"+one.Name+"="+one.Value)
	}
	return strings.Join(parts, " ")
}

func path(p config.Path) string {
	switch {
	case p.Full != nil:
		return *p.Full
	case p.Prefix != nil:
		return *p.Prefix + "/*"
	}
	return ""
}

// policiesOf a rule and its backends, each in a line.
func policiesOf(r *config.Rule) (out []string) {
	if r.Timeouts.Request > 0 {
		out = append(out, fmt.Sprintf("answered within %v, else 504", r.Timeouts.Request))
	}
	if r.Timeouts.Try > 0 {
		out = append(out, fmt.Sprintf("each try within %v", r.Timeouts.Try))
	}
	if t := r.Retry; t != nil {
		out = append(out, fmt.Sprintf("up to %d retries, of answers %v, connections that break: %v", t.Attempts, t.Codes, t.Connect))
	}
	if s := r.Session; s != nil {
		out = append(out, "sticky by "+strings.TrimSpace(s.Cookie+" "+s.Header))
	}
	for _, b := range r.Backends {
		if b.Backend == nil {
			continue
		}
		p := &b.Backend.Policy
		if o := p.Outlier; o != nil {
			out = append(out, fmt.Sprintf("%s: an endpoint is ejected for %v after %d 5xx or %d broken connections in a row", b.Service, o.BaseEjection, o.Consecutive5xx, o.ConsecutiveGatewayErrors))
		}
		if p.Hold != nil {
			out = append(out, fmt.Sprintf("%s: requests wait up to %v for the first endpoint", b.Service, p.Hold.For))
		}
	}
	return out
}
