package match

import (
	"net/url"
	"strings"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// reference finds a rule by going through everything in its order, with none of the code of the index: what the index has
// to agree with.
func reference(c *config.Config, socket int, req *Head) Result {
	s := &c.Sockets[socket]
	serving := referenceListener(s, req.Host)
	if serving == nil {
		return Result{Status: 404}
	}
	if s.Protocol == config.HTTPS && referenceListener(s, req.ServerName) != serving {
		return Result{Listener: serving, Status: 421}
	}
	for _, h := range serving.Hosts {
		if !referenceHost(h.Hostname, req.Host) {
			continue
		}
		for i := range h.Matches {
			if referenceFits(&h.Matches[i], req) {
				return Result{Listener: serving, Host: h, Match: &h.Matches[i], Rule: h.Matches[i].Rule}
			}
		}
	}
	return Result{Listener: serving, Status: 404}
}

func referenceListener(s *config.Socket, host string) *config.Listener {
	for _, l := range s.Listeners {
		if referenceHost(l.Hostname, host) {
			return l
		}
	}
	return nil
}

func referenceHost(pattern, host string) bool {
	host = strings.ToLower(host)
	if strings.HasPrefix(host, "[") {
		if end := strings.Index(host, "]"); end > 0 {
			host = host[:end+1]
		}
	} else {
		host, _, _ = strings.Cut(host, ":")
	}
	host = strings.TrimSuffix(host, ".")
	if len(host) > 255 {
		return false
	}
	if rest, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(host, rest) && len(host) > len(rest)
	}
	return pattern == "" || pattern == host
}

func referenceFits(m *config.Match, req *Head) bool {
	p := req.Path
	if p == "" {
		p = "/"
	}
	if m.Method != "" && m.Method != req.Method || !referencePath(m.Path, p) {
		return false
	}
	for _, v := range m.Headers {
		var values []string
		for _, h := range req.Headers {
			if strings.EqualFold(h.Name, v.Name) {
				values = append(values, h.Value)
			}
		}
		if !referenceValue(v, len(values) > 0, strings.Join(values, ",")) {
			return false
		}
	}
	for _, v := range m.Query {
		there, value := false, ""
		for _, pair := range strings.Split(req.Query, "&") {
			name, text, _ := strings.Cut(pair, "=")
			if pair != "" && !there && referenceUnescape(name) == v.Name {
				there, value = true, referenceUnescape(text)
			}
		}
		if !referenceValue(v, there, value) {
			return false
		}
	}
	for _, v := range m.Cookies {
		there, value := false, ""
		for _, h := range req.Headers {
			if !strings.EqualFold(h.Name, "Cookie") {
				continue
			}
			for _, pair := range strings.Split(h.Value, ";") {
				name, text, ok := strings.Cut(strings.TrimSpace(pair), "=")
				if ok && !there && name == v.Name {
					there, value = true, text
				}
			}
		}
		if !referenceValue(v, there, value) {
			return false
		}
	}
	return true
}

func referenceUnescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

func referencePath(m config.PathMatch, p string) bool {
	value := m.Value
	if m.Kind == config.PathRegexp {
		return m.Regexp.MatchString(p)
	}
	if m.Fold {
		p, value = strings.ToLower(p), strings.ToLower(value)
	}
	switch m.Kind {
	case config.PathExact:
		return p == value
	case config.PathRawPrefix:
		return strings.HasPrefix(p, value)
	}
	return value == "" || p == value || strings.HasPrefix(p, value+"/")
}

func referenceValue(v config.ValueMatch, there bool, value string) bool {
	fits := there
	switch {
	case !there || v.Present:
	case v.Regexp != nil:
		fits = v.Regexp.MatchString(value)
	case v.Prefix:
		fits = strings.HasPrefix(value, v.Value)
	default:
		fits = value == v.Value
	}
	return fits != v.Not
}
