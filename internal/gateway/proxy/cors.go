package proxy

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// corsAnswer is what the response says of the origin that the request comes from.
type corsAnswer struct {
	rule   *config.CORS
	origin string // as Access-Control-Allow-Origin; "" = not allowed
}

// answerCORS answers a preflight request (Fetch standard, section 3.3), and remembers for other requests with an origin what
// their response is to say. true = it has answered.
func (x *exchange) answerCORS() bool {
	c := x.rule.CORS
	if c == nil {
		return false
	}
	x.cors.rule = c
	origin := header(x.head.Headers, "origin")
	if origin == "" {
		return false
	}
	x.cors.origin = allowedOrigin(c, origin)
	method := header(x.head.Headers, "access-control-request-method")
	if x.head.Method != http.MethodOptions || method == "" {
		return false
	}
	x.record.Reason = Filtered
	x.out = x.out[:0]
	x.addCORS()
	if x.cors.origin != "" {
		x.addPreflight(c, method, header(x.head.Headers, "access-control-request-headers"))
	}
	x.answer(http.StatusNoContent, "")
	return true
}

func (x *exchange) addPreflight(c *config.CORS, method, headers string) {
	add := func(name, value string) {
		if value != "" {
			x.out = append(x.out, match.Header{Name: name, Value: value})
		}
	}
	// With credentials a "*" is the name of a method, so what was asked for is answered.
	methods := strings.Join(c.Methods, ", ")
	if slices.Contains(c.Methods, "*") && c.Credentials {
		methods = method
	}
	add("Access-Control-Allow-Methods", methods)
	allowed := strings.Join(c.Headers, ", ")
	if slices.Contains(c.Headers, "*") && (c.Credentials || headers != "") {
		allowed = headers
	}
	add("Access-Control-Allow-Headers", allowed)
	if c.MaxAge > 0 {
		add("Access-Control-Max-Age", strconv.FormatInt(int64(c.MaxAge/time.Second), 10))
	}
}

// addCORS adds to x.out what a response to another origin says. The backend's own words on it are removed.
func (x *exchange) addCORS() {
	c := x.cors.rule
	if c == nil {
		return
	}
	for _, name := range [...]string{"access-control-allow-origin", "access-control-allow-credentials", "access-control-expose-headers",
		"access-control-allow-methods", "access-control-allow-headers", "access-control-max-age"} {
		x.out = removeHeader(x.out, name)
	}
	if x.cors.origin != "*" {
		x.out = append(x.out, match.Header{Name: "Vary", Value: "Origin"})
	}
	if x.cors.origin == "" {
		return
	}
	x.out = append(x.out, match.Header{Name: "Access-Control-Allow-Origin", Value: x.cors.origin})
	if c.Credentials {
		x.out = append(x.out, match.Header{Name: "Access-Control-Allow-Credentials", Value: "true"})
	}
	if len(c.Expose) > 0 {
		x.out = append(x.out, match.Header{Name: "Access-Control-Expose-Headers", Value: strings.Join(c.Expose, ", ")})
	}
}

// allowedOrigin is what is said of an origin: itself, "*", or "" when it is not allowed.
func allowedOrigin(c *config.CORS, origin string) string {
	for _, o := range c.Origins {
		switch {
		case o == "*" && !c.Credentials:
			return "*"
		case o == "*" || strings.EqualFold(o, origin) || wildcardOrigin(o, origin):
			return origin
		}
	}
	return ""
}

// wildcardOrigin takes "https://*.example.com": any host name that ends so, with something before it.
func wildcardOrigin(pattern, origin string) bool {
	before, after, ok := strings.Cut(strings.ToLower(pattern), "*")
	if !ok {
		return false
	}
	origin = strings.ToLower(origin)
	if len(origin) <= len(before)+len(after) || !strings.HasPrefix(origin, before) || !strings.HasSuffix(origin, after) {
		return false
	}
	return !strings.ContainsAny(origin[len(before):len(origin)-len(after)], "/:@")
}
