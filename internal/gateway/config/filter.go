package config

import "time"

// Filter is one step of what is done to a request or its response; exactly one field is set.
type Filter struct {
	RequestHeaders  *Headers
	ResponseHeaders *Headers
	Redirect        *Redirect
	Rewrite         *Rewrite
}

// Headers are changed in this order: Remove, Set, Add. Names are in lower case.
type Headers struct {
	Set, Add []Header
	Remove   []string
}

// Header with its value.
type Header struct{ Name, Value string }

// Path is how a redirect or a rewrite changes the path.
type Path struct {
	// Full replaces the whole path.
	Full *string
	// Prefix replaces the prefix that the match of the rule named.
	Prefix *string
}

// Redirect answers with a Location. What is empty stays as the request has it.
type Redirect struct {
	Scheme, Host string
	// Port of the Location; 0 = that of the scheme if Scheme is set, else of the listener.
	Port   int32
	Path   Path
	Status int // 301, 302, 303, 307 or 308
}

// Rewrite changes what the backend sees.
type Rewrite struct {
	// Host replaces the host; "" = it stays.
	Host string
	Path Path
}

// CORS answers preflight requests and marks the others.
type CORS struct {
	// Origins that are allowed: "*", exact ("https://example.com"), or with a wildcard in the host.
	Origins []string
	// Credentials are allowed.
	Credentials bool
	// Methods and Headers that are allowed; "*" = all (only without credentials as such).
	Methods, Headers []string
	// Expose are the headers of responses that scripts may see.
	Expose []string
	// MaxAge of a preflight's answer.
	MaxAge time.Duration
}
