package match

import (
	"strings"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// valuesFit tells whether a request fits all of a match but its path and method: no index helps with that.
func valuesFit(m *config.Match, req *Head) bool {
	for i := range m.Headers {
		if !headerFits(&m.Headers[i], req) {
			return false
		}
	}
	for i := range m.Query {
		if !queryFits(&m.Query[i], req.Query) {
			return false
		}
	}
	for i := range m.Cookies {
		if !cookieFits(&m.Cookies[i], req) {
			return false
		}
	}
	return true
}

func path(req *Head) string {
	if req.Path == "" {
		return "/"
	}
	return req.Path
}

func pathFits(m *config.PathMatch, path string) bool {
	switch m.Kind {
	case config.PathExact:
		return path == m.Value || m.Fold && strings.EqualFold(path, m.Value)
	case config.PathRegexp:
		return m.Regexp.MatchString(path)
	case config.PathRawPrefix:
		return hasPrefix(path, m.Value, m.Fold)
	}
	return hasPrefix(path, m.Value, m.Fold) && (len(path) == len(m.Value) || m.Value == "" || path[len(m.Value)] == '/')
}

// hasPrefix compares bytes: with fold, letters of ASCII in any case, so that both sides have the same length.
func hasPrefix(s, prefix string, fold bool) bool {
	if len(s) < len(prefix) {
		return false
	}
	return s[:len(prefix)] == prefix || fold && strings.EqualFold(s[:len(prefix)], prefix)
}
