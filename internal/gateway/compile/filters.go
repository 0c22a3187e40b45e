package compile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// corsMaxAge is how long a preflight's answer may be kept when the filter does not say, as the Gateway API has it.
const corsMaxAge = 5 * time.Second

// filters of a rule or a backend.
type filters struct {
	filters []config.Filter
	mirrors []config.Mirror
	cors    *config.CORS
}

func (t *translator) httpFilters(i int, r *config.Rule, specs []gw.HTTPRouteFilter, matches []config.Match) {
	f := t.filterSet(i, r, "filters", specs, matches)
	r.Filters, r.Mirrors, r.CORS = f.filters, f.mirrors, f.cors
}

// filterSet translates filters. Whatever of them cannot be carried out breaks the rule: none is left out.
func (t *translator) filterSet(i int, r *config.Rule, where string, specs []gw.HTTPRouteFilter, matches []config.Match) filters {
	var f filters
	seen := map[gw.HTTPRouteFilterType]bool{}
	for j := range specs {
		spec := &specs[j]
		at := fmt.Sprintf("%s[%d]", where, j)
		if seen[spec.Type] && spec.Type != gw.HTTPRouteFilterRequestMirror {
			t.breakRule(i, r, gw.RouteReasonIncompatibleFilters, "%s: there is another %s; write them as one", at, spec.Type)
			continue
		}
		seen[spec.Type] = true
		if err := t.filter(&f, spec, fmt.Sprintf("spec.rules[%d].%s", i, at), matches); err != nil {
			t.breakRule(i, r, gw.RouteReasonUnsupportedValue, "%s: %s", at, err)
		}
	}
	if seen[gw.HTTPRouteFilterRequestRedirect] && seen[gw.HTTPRouteFilterURLRewrite] {
		t.breakRule(i, r, gw.RouteReasonIncompatibleFilters, "%s: RequestRedirect and URLRewrite cannot be used together; keep one of them", where)
	}
	// Headers are changed before the request is redirected or rewritten, whatever order they are written in.
	slices.SortStableFunc(f.filters, func(a, b config.Filter) int { return stage(a) - stage(b) })
	return f
}

func stage(f config.Filter) int {
	if f.Redirect != nil || f.Rewrite != nil {
		return 1
	}
	return 0
}

func (t *translator) filter(f *filters, spec *gw.HTTPRouteFilter, where string, matches []config.Match) error {
	missing := fmt.Errorf("the field of type %s is missing", spec.Type)
	switch spec.Type {
	case gw.HTTPRouteFilterRequestHeaderModifier, gw.HTTPRouteFilterResponseHeaderModifier:
		request := spec.Type == gw.HTTPRouteFilterRequestHeaderModifier
		modifier := spec.ResponseHeaderModifier
		if request {
			modifier = spec.RequestHeaderModifier
		}
		if modifier == nil {
			return missing
		}
		h, err := headers(modifier)
		if err != nil {
			return err
		}
		if request {
			f.filters = append(f.filters, config.Filter{RequestHeaders: h})
		} else {
			f.filters = append(f.filters, config.Filter{ResponseHeaders: h})
		}
	case gw.HTTPRouteFilterRequestRedirect:
		if spec.RequestRedirect == nil {
			return missing
		}
		redirect, err := redirection(spec.RequestRedirect, matches)
		if err != nil {
			return err
		}
		f.filters = append(f.filters, config.Filter{Redirect: redirect})
	case gw.HTTPRouteFilterURLRewrite:
		if spec.URLRewrite == nil {
			return missing
		}
		path, err := pathChange(spec.URLRewrite.Path, matches)
		if err != nil {
			return err
		}
		f.filters = append(f.filters, config.Filter{Rewrite: &config.Rewrite{Host: string(or(spec.URLRewrite.Hostname, "")), Path: path}})
	case gw.HTTPRouteFilterRequestMirror:
		if spec.RequestMirror == nil {
			return missing
		}
		m, err := t.mirror(spec.RequestMirror, where)
		if err != nil {
			return err
		}
		f.mirrors = append(f.mirrors, m)
	case gw.HTTPRouteFilterCORS:
		if spec.CORS == nil {
			return missing
		}
		f.cors = cors(spec.CORS)
	default:
		return fmt.Errorf("type %s is not supported; use RequestHeaderModifier, ResponseHeaderModifier, RequestRedirect, URLRewrite, RequestMirror or CORS", spec.Type)
	}
	return nil
}

// headers of a modifier. Only one action is allowed for a name.
func headers(spec *gw.HTTPHeaderFilter) (*config.Headers, error) {
	h := &config.Headers{}
	used := map[string]string{}
	use := func(name, action string) (string, bool, error) {
		name = strings.ToLower(name)
		if by, ok := used[name]; ok {
			if by == action {
				return name, false, nil
			}
			return name, false, fmt.Errorf("header %s is named by %s and by %s; only one action is allowed", name, by, action)
		}
		used[name] = action
		return name, true, nil
	}
	for _, list := range []struct {
		action string
		from   []gw.HTTPHeader
		to     *[]config.Header
	}{{"set", spec.Set, &h.Set}, {"add", spec.Add, &h.Add}} {
		for _, header := range list.from {
			name, first, err := use(string(header.Name), list.action)
			if err != nil {
				return nil, err
			}
			if first {
				*list.to = append(*list.to, config.Header{Name: name, Value: header.Value})
			}
		}
	}
	for _, header := range spec.Remove {
		name, first, err := use(header, "remove")
		if err != nil {
			return nil, err
		}
		if first {
			h.Remove = append(h.Remove, name)
		}
	}
	return h, nil
}

func redirection(spec *gw.HTTPRequestRedirectFilter, matches []config.Match) (*config.Redirect, error) {
	path, err := pathChange(spec.Path, matches)
	if err != nil {
		return nil, err
	}
	r := &config.Redirect{Scheme: or(spec.Scheme, ""), Host: string(or(spec.Hostname, "")), Port: or(spec.Port, 0), Path: path, Status: or(spec.StatusCode, 302)}
	switch r.Status {
	case 301, 302, 303, 307, 308:
	default:
		return nil, fmt.Errorf("statusCode %d is not one of 301, 302, 303, 307 and 308", r.Status)
	}
	switch r.Scheme {
	case "", "http", "https":
	default:
		return nil, fmt.Errorf("scheme %q is not one of http and https", r.Scheme)
	}
	return r, nil
}

func pathChange(spec *gw.HTTPPathModifier, matches []config.Match) (config.Path, error) {
	if spec == nil {
		return config.Path{}, nil
	}
	switch spec.Type {
	case gw.FullPathHTTPPathModifier:
		full := or(spec.ReplaceFullPath, "")
		return config.Path{Full: &full}, nil
	case gw.PrefixMatchHTTPPathModifier:
		for _, m := range matches {
			if m.Path.Kind != config.PathPrefix {
				return config.Path{}, fmt.Errorf("path.type ReplacePrefixMatch needs matches of type PathPrefix alone")
			}
		}
		prefix := or(spec.ReplacePrefixMatch, "")
		return config.Path{Prefix: &prefix}, nil
	}
	return config.Path{}, fmt.Errorf("path.type %q is not one of ReplaceFullPath and ReplacePrefixMatch", spec.Type)
}

func (t *translator) mirror(spec *gw.HTTPRequestMirrorFilter, where string) (config.Mirror, error) {
	m := config.Mirror{Numerator: 100, Denominator: 100}
	switch {
	case spec.Percent != nil && spec.Fraction != nil:
		return m, fmt.Errorf("percent and fraction cannot be used together; keep one of them")
	case spec.Percent != nil:
		m.Numerator = *spec.Percent
	case spec.Fraction != nil:
		m.Numerator, m.Denominator = spec.Fraction.Numerator, or(spec.Fraction.Denominator, 100)
	}
	if m.Denominator < 1 || m.Numerator < 0 || m.Numerator > m.Denominator {
		return m, fmt.Errorf("%d of %d is not a share; it must be between 0 and all", m.Numerator, m.Denominator)
	}
	if found := t.resolve(spec.BackendRef, where); len(found) > 0 {
		m.Backend = found[0].backend
	}
	return m, nil
}

func cors(spec *gw.HTTPCORSFilter) *config.CORS {
	out := &config.CORS{Credentials: or(spec.AllowCredentials, false), MaxAge: corsMaxAge}
	if spec.MaxAge > 0 {
		out.MaxAge = time.Duration(spec.MaxAge) * time.Second
	}
	for _, o := range spec.AllowOrigins {
		out.Origins = append(out.Origins, string(o))
	}
	for _, m := range spec.AllowMethods {
		out.Methods = append(out.Methods, string(m))
	}
	for _, h := range spec.AllowHeaders {
		out.Headers = append(out.Headers, string(h))
	}
	for _, h := range spec.ExposeHeaders {
		out.Expose = append(out.Expose, string(h))
	}
	return out
}
