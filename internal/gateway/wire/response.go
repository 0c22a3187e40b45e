package wire

import (
	"bytes"

	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// Response is the head of a response. Its strings lie in the reader's buffer. Fields that concern this connection alone, or
// the framing, are not among Headers.
type Response struct {
	Status int
	// Minor version: 0 or 1.
	Minor   int
	Headers []match.Header
	// Length of the body; 0 = none, or Chunked, or UntilClose.
	Length int64
	// Declared is the Content-Length, also of a response without a body (to HEAD, or 304); -1 = not given.
	Declared int64
	// Close: the connection cannot be used again.
	Close bool
	// Upgrade is the protocol that a 101 changes to.
	Upgrade string

	fields fields
}

// Response parses the next head of a response to a request of that method, if it has been read in full; false = Fill first.
// Errors are of type *Error with status 502.
func (r *Reader) Response(resp *Response, method string) (bool, error) {
	b, err := r.head()
	if b == nil || err != nil {
		return false, ofUpstream(err)
	}
	f := &resp.fields
	f.reset(resp.Headers)
	line := bytes.IndexByte(b, '\n') + 1
	if err = resp.line(b[:line]); err == nil {
		err = f.parse(b[line:])
	}
	resp.Headers = f.headers
	if err == nil && f.chunked && resp.Minor == 0 {
		err = errTransfer10
	}
	if err != nil {
		return false, ofUpstream(err)
	}
	resp.framing(method)
	return true, nil
}

// line parses "HTTP/1.1 200 OK"; the reason, and the space before it, may be missing.
func (resp *Response) line(b []byte) error {
	if len(b) < 2 || b[len(b)-2] != '\r' {
		return errBareLF
	}
	b = b[:len(b)-2]
	const prefix = "HTTP/1."
	if len(b) < len(prefix)+5 || string(b[:len(prefix)]) != prefix || b[7] != '0' && b[7] != '1' || b[8] != ' ' {
		return errStatusLine
	}
	resp.Minor = int(b[7] - '0')
	resp.Status = 0
	for _, c := range b[9:12] {
		if c < '0' || c > '9' {
			return errStatusLine
		}
		resp.Status = resp.Status*10 + int(c-'0')
	}
	if resp.Status < 100 || len(b) > 12 && (b[12] != ' ' || !all(b[13:], isValue)) {
		return errStatusLine
	}
	return nil
}

// framing follows RFC 9112, section 6.3.
func (resp *Response) framing(method string) {
	f := &resp.fields
	resp.Declared = f.length
	resp.Close = f.connects("close") || resp.Minor == 0 && !f.connects("keep-alive")
	resp.Upgrade = ""
	switch {
	case resp.Status == 101:
		resp.Length, resp.Upgrade = 0, f.upgrade
	case resp.Status < 200 || resp.Status == 204:
		resp.Length, resp.Declared = 0, -1
		// Some send a body all the same: what comes next on this connection is anybody's guess.
		resp.Close = resp.Close || f.chunked || f.length > 0
	case method == "HEAD" || resp.Status == 304:
		resp.Length = 0
	case f.chunked:
		resp.Length = Chunked
	case f.length >= 0:
		resp.Length = f.length
	default:
		resp.Length, resp.Close = UntilClose, true
	}
}
