package match

import (
	"strings"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// valueFits compares a value that is there; Not is for the callers, who know whether it is.
func valueFits(m *config.ValueMatch, value string) bool {
	switch {
	case m.Present:
		return true
	case m.Regexp != nil:
		return m.Regexp.MatchString(value)
	case m.Prefix:
		return strings.HasPrefix(value, m.Value)
	}
	return value == m.Value
}

// authority is the name by which a ValueMatch compares the host name, as HTTP/2 calls it.
const authority = ":authority"

// headerFits compares a header. One that came more than once is compared as the list that it is, joined by commas
// (RFC 9110, section 5.2).
func headerFits(m *config.ValueMatch, req *Head) bool {
	if m.Name == authority {
		return valueFits(m, req.Host) != m.Not
	}
	first, count := "", 0
	for i := range req.Headers {
		if strings.EqualFold(req.Headers[i].Name, m.Name) {
			if count == 0 {
				first = req.Headers[i].Value
			}
			count++
		}
	}
	switch {
	case count == 0:
		return m.Not
	case count > 1 && !m.Present:
		first = joined(req, m.Name)
	}
	return valueFits(m, first) != m.Not
}

// joined is the only thing here that allocates: for headers that are matched and came more than once.
func joined(req *Head, name string) string {
	var values []string
	for i := range req.Headers {
		if strings.EqualFold(req.Headers[i].Name, name) {
			values = append(values, req.Headers[i].Value)
		}
	}
	return strings.Join(values, ",")
}

// queryFits compares the first of the parameters of that name, as browsers' and servers' libraries do.
func queryFits(m *config.ValueMatch, query string) bool {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		if unescaped(name) == m.Name {
			return valueFits(m, unescaped(value)) != m.Not
		}
	}
	return m.Not
}

// cookieFits compares the first cookie of that name.
func cookieFits(m *config.ValueMatch, req *Head) bool {
	for i := range req.Headers {
		if !strings.EqualFold(req.Headers[i].Name, "cookie") {
			continue
		}
		for rest := req.Headers[i].Value; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			name, value, found := strings.Cut(strings.TrimSpace(pair), "=")
			if found && name == m.Name {
				return valueFits(m, value) != m.Not
			}
		}
	}
	return m.Not
}

// unescaped is the text with %XX and + resolved, or as it is where they are not well-formed. It allocates only for text
// that has some.
func unescaped(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			b.WriteByte(' ')
		case c == '%':
			if i+2 >= len(s) || hex(s[i+1]) < 0 || hex(s[i+2]) < 0 {
				return s
			}
			b.WriteByte(byte(hex(s[i+1])<<4 | hex(s[i+2])))
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
