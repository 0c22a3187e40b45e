package wire

import "net/http"

// Error is why a message is refused. The connection is to be closed after it, for what follows cannot be told apart.
type Error struct {
	// Status to answer a client with. Of an upstream's response it is 502.
	Status int
	// What is wrong, in words.
	What string
}

func (e *Error) Error() string { return "HTTP/1.1 message refused: " + e.What }

func bad(what string) *Error { return &Error{http.StatusBadRequest, what} }

// The refusals, made once so that an attacker's garbage costs no memory.
var (
	errBareLF        = bad("a line ends with a line feed without a carriage return")
	errRequestLine   = bad("the request line is not METHOD TARGET HTTP/1.1")
	errStatusLine    = bad("the status line is not HTTP/1.1 CODE REASON")
	errMethod        = bad("the method has characters that no method has")
	errTarget        = bad("the target is neither a path nor an absolute http URI, or has characters that no URI has")
	errEscape        = bad("the path has a % without two hexadecimal digits after it")
	errAboveRoot     = bad("the path goes above the root with ..")
	errAuthority     = bad("the host of the target differs from the Host header")
	errFieldName     = bad("a header's name is empty, has characters that no name has, or a space before its colon")
	errFieldValue    = bad("a header's value has control characters, or is continued on the next line")
	errHostMissing   = bad("there is no Host header")
	errHostTwice     = bad("there is more than one Host header")
	errHost          = bad("the Host header is not a host name with an optional port")
	errLength        = bad("the Content-Length is not a number, or is given more than once")
	errLengthAndTE   = bad("there are both a Transfer-Encoding and a Content-Length")
	errTransfer      = bad("the Transfer-Encoding is not chunked alone")
	errTransfer10    = bad("there is a Transfer-Encoding in HTTP/1.0")
	errUpgradeH2C    = bad("HTTP/2 is only spoken from the beginning of a connection, not by Upgrade")
	errChunkSize     = bad("a chunk's size is not a hexadecimal number, or too large")
	errChunkEnd      = bad("a chunk does not end where its size says")
	errChunkExt      = bad("the extensions of chunks are too long")
	errVersion       = &Error{http.StatusHTTPVersionNotSupported, "the version is neither HTTP/1.1 nor HTTP/1.0"}
	errURITooLong    = &Error{http.StatusRequestURITooLong, "the target is longer than 8 KiB"}
	errHeadTooLong   = &Error{http.StatusRequestHeaderFieldsTooLarge, "the head is longer than 64 KiB"}
	errFieldsTooMany = &Error{http.StatusRequestHeaderFieldsTooLarge, "the head has more than 100 fields"}
	errExpectation   = &Error{http.StatusExpectationFailed, "the only expectation that is met is 100-continue"}
)

// ofUpstream is the same refusal of a response.
func ofUpstream(err error) error {
	if e, ok := err.(*Error); ok {
		return &Error{http.StatusBadGateway, e.What}
	}
	return err
}
