package match

import "github.com/fairway-dev/fairway/internal/gateway/config"

// Head is what a request is matched by. It only borrows its strings: Match keeps none of them, so they may lie in a
// reader's buffer (unsafe.String) and the whole Head be used again for the next request.
type Head struct {
	// Method as it came, "GET".
	Method string
	// Host is the Host header or :authority as it came: with or without a port, in any case of letters.
	Host string
	// Path as it came, nothing decoded, without the query. "" is matched as "/".
	Path string
	// Query as it came, without the "?".
	Query string
	// Headers in the order they came, names in any case of letters. Those that come more than once stand more than once.
	Headers []Header
	// ServerName is what the client asked for when TLS began (SNI); "" without TLS or without SNI.
	ServerName string
}

// Header is one field of a request.
type Header struct{ Name, Value string }

// Result of Match.
type Result struct {
	// Listener that serves the request; nil when none of the socket does.
	Listener *config.Listener
	// Host and Match of it that were found; nil unless Match returned true.
	Host  *config.Host
	Match *config.Match
	// Rule to carry out; nil unless Match returned true.
	Rule *config.Rule
	// Status to answer with when there is no rule: 404, or 421 when the host name belongs to another listener than the
	// connection's server name does, so that the client should open a connection of its own. 0 with a rule.
	Status int
}
