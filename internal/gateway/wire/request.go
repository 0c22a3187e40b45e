package wire

import (
	"bytes"
	"net/netip"
	"strings"

	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// Request is the head of a request. Its strings lie in the reader's buffer. Fields that concern this connection alone, or
// the framing, are not among Headers; nor is Host.
type Request struct {
	match.Head
	// Minor version: 0 or 1.
	Minor int
	// Length of the body; 0 = none, Chunked = known only at its end.
	Length int64
	// Close: the client wants no further request on this connection, or its version cannot.
	Close bool
	// Continue: the body comes once 100 Continue was answered.
	Continue bool
	// Upgrade is the protocol that the client offers to change to; "" = none.
	Upgrade string
	// Trailers of the response are welcome.
	Trailers bool

	fields fields
}

// Chunked is the Length of a body in chunks; of a response, UntilClose that of one that ends with the connection.
const (
	Chunked    = -1
	UntilClose = -2
)

// Request parses the next head, if it has been read in full; false = Fill first. Errors are of type *Error.
func (r *Reader) Request(req *Request) (bool, error) {
	b, err := r.head()
	if b == nil || err != nil {
		return false, err
	}
	f := &req.fields
	f.reset(req.Headers)
	line := bytes.IndexByte(b, '\n') + 1
	target, err := req.line(b[:line])
	if err == nil {
		err = f.parse(b[line:])
	}
	req.Headers = f.headers
	if err == nil {
		err = req.place(target)
	}
	if err == nil {
		err = req.framing()
	}
	return err == nil, err
}

// line parses the first line.
func (req *Request) line(b []byte) (target string, err error) {
	if len(b) < 2 || b[len(b)-2] != '\r' {
		return "", errBareLF
	}
	b = b[:len(b)-2]
	first, last := bytes.IndexByte(b, ' '), bytes.LastIndexByte(b, ' ')
	if first <= 0 || last <= first+1 {
		return "", errRequestLine
	}
	req.Method = text(b[:first])
	if !all(req.Method, isToken) {
		return "", errMethod
	}
	switch version := text(b[last+1:]); {
	case version == "HTTP/1.1":
		req.Minor = 1
	case version == "HTTP/1.0":
		req.Minor = 0
	case len(version) == 8 && strings.HasPrefix(version, "HTTP/") && class[version[5]]&isHex != 0 && version[6] == '.':
		return "", errVersion
	default:
		return "", errRequestLine
	}
	return text(b[first+1 : last]), nil
}

// place settles Host, Path and Query.
func (req *Request) place(target string) error {
	f := &req.fields
	switch {
	case f.hosts > 1:
		return errHostTwice
	case f.hosts == 0 && req.Minor == 1:
		return errHostMissing
	case f.hosts == 1 && !validHost(f.host):
		return errHost
	}
	req.Host = f.host
	if req.Method == "CONNECT" {
		// Refused by whoever asked for it; all that matters here is that it is well-formed.
		req.Path, req.Query = target, ""
		if !validHost(target) {
			return errTarget
		}
		return nil
	}
	if target[0] != '/' && target != "*" {
		rest, authority, ok := absolute(target)
		if !ok || f.hosts == 1 && !sameHost(authority, f.host) {
			if ok {
				return errAuthority
			}
			return errTarget
		}
		req.Host, target = authority, rest
	}
	if target == "*" && req.Method != "OPTIONS" {
		return errTarget
	}
	var err error
	req.Path, req.Query, err = SplitTarget(target)
	return err
}

// absolute cuts "http://host" off a target.
func absolute(target string) (rest, authority string, ok bool) {
	switch {
	case len(target) > 7 && EqualFold(target[:7], "http://"):
		target = target[7:]
	case len(target) > 8 && EqualFold(target[:8], "https://"):
		target = target[8:]
	default:
		return "", "", false
	}
	end := strings.IndexAny(target, "/?")
	if end < 0 {
		return "/", target, validHost(target)
	}
	authority, rest = target[:end], target[end:]
	if rest[0] == '?' {
		// A target without a path is one of "/"; there is no place in the buffer for the slash.
		rest = "/" + rest
	}
	return rest, authority, validHost(authority)
}

// sameHost compares an authority to a Host header.
func sameHost(a, b string) bool { return len(a) == len(b) && equalFold(a, b) }

// validHost takes a host name or an address in brackets, with an optional port.
func validHost(host string) bool {
	if host == "" {
		return false
	}
	name, port := host, ""
	if host[0] == '[' {
		end := strings.IndexByte(host, ']')
		if end < 0 {
			return false
		}
		if a, err := netip.ParseAddr(host[1:end]); err != nil || !a.Is6() || a.Zone() != "" {
			return false
		}
		if name, port = "v6", host[end+1:]; port != "" && port[0] != ':' {
			return false
		}
	} else if colon := strings.IndexByte(host, ':'); colon >= 0 {
		name, port = host[:colon], host[colon:]
	}
	for i := 1; i < len(port); i++ {
		if port[i] < '0' || port[i] > '9' {
			return false
		}
	}
	return name != "" && all(name, isHost)
}

// framing settles how long the body is and what becomes of the connection.
func (req *Request) framing() error {
	f := &req.fields
	if f.chunked && req.Minor == 0 {
		return errTransfer10
	}
	req.Length = max(f.length, 0)
	if f.chunked {
		req.Length = Chunked
	}
	req.Close = f.connects("close") || req.Minor == 0 && !f.connects("keep-alive")
	req.Continue = f.expect && req.Minor == 1 && req.Length != 0
	req.Trailers = f.trailers
	req.Upgrade = ""
	if f.upgrade != "" {
		if HasToken(f.upgrade, "h2c") {
			return errUpgradeH2C
		}
		// A request with a body does not change the protocol: it would be unclear where the body ends.
		if req.Minor == 1 && req.Length == 0 && f.connects("upgrade") {
			req.Upgrade = f.upgrade
		}
	}
	return nil
}

// SplitTarget checks a path with its query, as it comes in a request line or an HTTP/2 :path, and divides it. Nothing is
// decoded. Errors are of type *Error.
func SplitTarget(target string) (path, query string, err error) {
	if len(target) > URIMax {
		return "", "", errURITooLong
	}
	if target == "" || target[0] != '/' && target != "*" || !all(target, isTarget) {
		return "", "", errTarget
	}
	path = target
	if i := strings.IndexByte(target, '?'); i >= 0 {
		path, query = target[:i], target[i+1:]
	}
	if strings.IndexByte(path, '%') >= 0 && !validEscapes(path) {
		return "", "", errEscape
	}
	if aboveRoot(path) {
		return "", "", errAboveRoot
	}
	return path, query, nil
}

func validEscapes(path string) bool {
	for i := range len(path) {
		if path[i] == '%' && (i+2 >= len(path) || class[path[i+1]]&isHex == 0 || class[path[i+2]]&isHex == 0) {
			return false
		}
	}
	return true
}

// aboveRoot reports whether some ".." leaves the root. Dots are the same when they are encoded (RFC 3986, section 6.2.2.2).
func aboveRoot(path string) bool {
	if !strings.Contains(path, "..") && !strings.Contains(path, "%2e") && !strings.Contains(path, "%2E") {
		return false
	}
	depth := 0
	for rest := path[1:]; ; {
		segment, after, more := strings.Cut(rest, "/")
		switch dots(segment) {
		case 2:
			if depth--; depth < 0 {
				return true
			}
		case 1:
		default:
			depth++
		}
		if !more {
			return false
		}
		rest = after
	}
}

// dots is 1 for "." and 2 for "..", encoded or not; 0 for all else.
func dots(segment string) (n int) {
	for segment != "" {
		switch {
		case segment[0] == '.':
			segment = segment[1:]
		case len(segment) >= 3 && EqualFold(segment[:3], "%2e"):
			segment = segment[3:]
		default:
			return 0
		}
		n++
	}
	if n > 2 {
		return 0
	}
	return n
}
