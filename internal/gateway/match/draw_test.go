package match

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// Few names and paths, so that drawn requests meet drawn matches.
var (
	drawnHosts   = []string{"", "*.com", "*.example.com", "*.a.example.com", "example.com", "a.example.com", "b.a.example.com", "other.org"}
	drawnAsked   = []string{"example.com", "EXAMPLE.com:8080", "a.example.com", "b.a.example.com.", "c.b.a.example.com", "other.org", "", "[::1]:80", "x.com"}
	drawnPaths   = []string{"", "/a", "/a/b", "/a/b/c", "/ab", "/A", "/a//b"}
	drawnWalked  = []string{"", "/", "/a", "/a/", "/a/b", "/a/b/c/d", "/ab", "/abc", "/A/B", "/a//b", "/a//b/c"}
	drawnRegexps = []string{"^(?:/a.*)$", "^(?:/a/[bc])$", "^(?:.*)$", "^(?:v[12])$"}
	drawnValues  = []string{"v1", "v2", "v1,v2", "", "a b"}
)

func drawConfig(t *rapid.T) *config.Config {
	c := &config.Config{}
	for i := range rapid.IntRange(1, 2).Draw(t, "sockets") {
		s := config.Socket{Protocol: config.Protocol(i % 2)}
		for _, name := range drawNames(t, "listeners") {
			l := &config.Listener{Hostname: name, Section: name}
			for _, host := range drawNames(t, "hosts") {
				h := &config.Host{Hostname: host}
				for range rapid.IntRange(0, 6).Draw(t, "matches") {
					m := drawMatch(t)
					m.Rule = &config.Rule{Key: config.RuleKey{Rule: fmt.Sprint(len(c.Rules))}}
					c.Rules = append(c.Rules, m.Rule)
					h.Matches = append(h.Matches, m)
				}
				l.Hosts = append(l.Hosts, h)
			}
			s.Listeners = append(s.Listeners, l)
		}
		c.Sockets = append(c.Sockets, s)
	}
	return c
}

// drawNames from the most specific to the least.
func drawNames(t *rapid.T, label string) []string {
	names := rapid.SliceOfNDistinct(rapid.SampledFrom(drawnHosts), 0, 4, rapid.ID[string]).Draw(t, label)
	class := func(h string) int {
		switch {
		case h == "":
			return 2
		case strings.HasPrefix(h, "*"):
			return 1
		}
		return 0
	}
	slices.SortFunc(names, func(a, b string) int {
		if x := class(a) - class(b); x != 0 {
			return x
		}
		return len(b) - len(a)
	})
	return names
}

func drawMatch(t *rapid.T) config.Match {
	m := config.Match{Method: rapid.SampledFrom([]string{"", "", "GET", "POST"}).Draw(t, "method")}
	m.Path.Kind = config.PathKind(rapid.IntRange(0, 3).Draw(t, "kind"))
	m.Path.Value = rapid.SampledFrom(drawnPaths).Draw(t, "path")
	if m.Path.Kind == config.PathRegexp {
		m.Path.Regexp = regexp.MustCompile(rapid.SampledFrom(drawnRegexps).Draw(t, "regexp"))
	}
	m.Path.Fold = m.Path.Kind != config.PathRegexp && rapid.IntRange(0, 4).Draw(t, "fold") == 0
	m.Headers = drawValueMatches(t, "x-version", "x-other")
	m.Query = drawValueMatches(t, "q", "a b")
	m.Cookies = drawValueMatches(t, "c")
	return m
}

func drawValueMatches(t *rapid.T, names ...string) []config.ValueMatch {
	var out []config.ValueMatch
	for _, name := range names {
		if rapid.IntRange(0, 4).Draw(t, "matched "+name) > 0 {
			continue
		}
		v := config.ValueMatch{Name: name, Value: rapid.SampledFrom(drawnValues).Draw(t, "value")}
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			v.Regexp = regexp.MustCompile(drawnRegexps[3])
		case 1:
			v.Prefix = true
		case 2:
			v.Present = true
		}
		v.Not = rapid.IntRange(0, 3).Draw(t, "not") == 0
		out = append(out, v)
	}
	return out
}

func drawHead(t *rapid.T) *Head {
	h := &Head{
		Method: rapid.SampledFrom([]string{"GET", "POST"}).Draw(t, "method"), Host: rapid.SampledFrom(drawnAsked).Draw(t, "host"),
		Path:       rapid.SampledFrom(drawnWalked).Draw(t, "path"),
		Query:      rapid.SampledFrom([]string{"", "q=v1", "q=v2&q=v1", "a+b=v1", "a%20b=v2&q", "%zz=1&q=%76%31", "&&q=a%20b", "q=%7"}).Draw(t, "query"),
		ServerName: rapid.SampledFrom(drawnAsked).Draw(t, "server name"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "headers") {
		h.Headers = append(h.Headers, Header{rapid.SampledFrom([]string{"X-Version", "x-other", "X-VERSION"}).Draw(t, "name"), rapid.SampledFrom(drawnValues).Draw(t, "value")})
	}
	if cookie := rapid.SampledFrom([]string{"", "c=v1", "d=1; c=v2", "c", "c=v1;c=v2"}).Draw(t, "cookie"); cookie != "" {
		h.Headers = append(h.Headers, Header{"Cookie", cookie})
	}
	return h
}
