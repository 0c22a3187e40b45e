package wire

import (
	"net/http"
	"strconv"

	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// AppendRequestLine appends the first line of a request and its Host. An empty path is "/".
func AppendRequestLine(b []byte, method, path, query, host string) []byte {
	b = append(append(b, method...), ' ')
	if path == "" {
		path = "/"
	}
	b = append(b, path...)
	if query != "" {
		b = append(append(b, '?'), query...)
	}
	b = append(b, " HTTP/1.1\r\nHost: "...)
	return append(append(b, host...), '\r', '\n')
}

var statusLines = func() (t [600]string) {
	for i := range t {
		if reason := http.StatusText(i); reason != "" {
			t[i] = "HTTP/1.1 " + strconv.Itoa(i) + " " + reason + "\r\n"
		}
	}
	return t
}()

// AppendStatusLine appends the first line of a response.
func AppendStatusLine(b []byte, status int) []byte {
	if status < len(statusLines) && statusLines[status] != "" {
		return append(b, statusLines[status]...)
	}
	return append(strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(status), 10), " \r\n"...)
}

// AppendField appends one field. Name and value must be valid.
func AppendField(b []byte, name, value string) []byte {
	b = append(append(b, name...), ':', ' ')
	return append(append(b, value...), '\r', '\n')
}

// AppendFields appends fields in their order.
func AppendFields(b []byte, fields []match.Header) []byte {
	for i := range fields {
		b = AppendField(b, fields[i].Name, fields[i].Value)
	}
	return b
}

// AppendLength appends the field that says how long the body is: a Content-Length, or for Chunked the Transfer-Encoding.
func AppendLength(b []byte, length int64) []byte {
	if length == Chunked {
		return append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	return append(strconv.AppendInt(append(b, "Content-Length: "...), length, 10), '\r', '\n')
}

// AppendChunkSize appends the line before a chunk's data, which is followed by ChunkEnd. The size must not be 0.
func AppendChunkSize(b []byte, size int) []byte {
	return append(strconv.AppendInt(b, int64(size), 16), '\r', '\n')
}

// ChunkEnd follows a chunk's data, as HeadEnd does the fields of a head.
const (
	ChunkEnd = "\r\n"
	HeadEnd  = "\r\n"
)

// AppendLastChunk ends a chunked body.
func AppendLastChunk(b []byte, trailers []match.Header) []byte {
	return append(AppendFields(append(b, "0\r\n"...), trailers), '\r', '\n')
}
