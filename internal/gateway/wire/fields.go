package wire

import (
	"bytes"

	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// fields is what the fields of a head say about the message itself. They are not kept among the headers: whoever sends the
// message on writes its own.
type fields struct {
	headers []match.Header // end-to-end, in the order they came

	length      int64 // -1 = not given
	chunked     bool
	host        string
	hosts       int
	connection  []string // one for each field of that name
	connections [4]string
	upgrade     string
	expect      bool
	trailers    bool // TE: trailers
}

func (f *fields) reset(headers []match.Header) {
	*f = fields{headers: headers[:0], length: -1}
	f.connection = f.connections[:0]
}

// parse reads field lines up to and with the empty line.
func (f *fields) parse(b []byte) error {
	for count := 0; ; count++ {
		i := bytes.IndexByte(b, '\n')
		if i < 1 || b[i-1] != '\r' {
			return errBareLF
		}
		line := b[:i-1]
		b = b[i+1:]
		if len(line) == 0 {
			if len(b) > 0 {
				return errFieldName // cannot be: the head ends at its first empty line
			}
			return f.settle()
		}
		if count == FieldsMax {
			return errFieldsTooMany
		}
		colon := 0
		for colon < len(line) && class[line[colon]]&isToken != 0 {
			colon++
		}
		if colon == 0 || colon == len(line) || line[colon] != ':' {
			return errFieldName
		}
		value := trim(line[colon+1:])
		if !all(value, isValue) {
			return errFieldValue
		}
		if err := f.take(text(line[:colon]), text(value)); err != nil {
			return err
		}
	}
}

// take sorts one field. Names are told apart by their lengths first.
func (f *fields) take(name, value string) error {
	switch len(name) {
	case 2:
		if EqualFold(name, "te") {
			f.trailers = f.trailers || HasToken(value, "trailers")
			return nil
		}
	case 4:
		if EqualFold(name, "host") {
			f.host = value
			f.hosts++
			return nil
		}
	case 6:
		if EqualFold(name, "expect") {
			if !EqualFold(value, "100-continue") {
				return errExpectation
			}
			f.expect = true
			return nil
		}
	case 7:
		if EqualFold(name, "upgrade") {
			if f.upgrade != "" {
				f.upgrade += ", " + value
			} else {
				f.upgrade = value
			}
			return nil
		}
	case 10:
		if EqualFold(name, "connection") {
			f.connection = append(f.connection, value)
			return nil
		}
		if EqualFold(name, "keep-alive") {
			return nil
		}
	case 14:
		if EqualFold(name, "content-length") {
			return f.takeLength(value)
		}
		if EqualFold(name, "http2-settings") {
			return nil
		}
	case 16:
		if EqualFold(name, "proxy-connection") {
			return nil
		}
	case 17:
		if EqualFold(name, "transfer-encoding") {
			if f.chunked || !EqualFold(value, "chunked") {
				return errTransfer
			}
			f.chunked = true
			return nil
		}
	case 18:
		if EqualFold(name, "proxy-authenticate") {
			return nil
		}
	case 19:
		if EqualFold(name, "proxy-authorization") {
			return nil
		}
	}
	f.headers = append(f.headers, match.Header{Name: name, Value: value})
	return nil
}

// lengthDigits keeps a Content-Length within 63 bits.
const lengthDigits = 18

func (f *fields) takeLength(value string) error {
	if f.length >= 0 || value == "" || len(value) > lengthDigits {
		return errLength
	}
	n := int64(0)
	for i := range len(value) {
		c := value[i]
		if c < '0' || c > '9' {
			return errLength
		}
		n = n*10 + int64(c-'0')
	}
	f.length = n
	return nil
}

// settle is what only the whole says.
func (f *fields) settle() error {
	if f.chunked && f.length >= 0 {
		return errLengthAndTE
	}
	for _, list := range f.connection {
		eachToken(list, func(token string) bool {
			f.drop(token)
			return true
		})
	}
	return nil
}

// drop removes the headers that Connection names.
func (f *fields) drop(name string) {
	kept := f.headers[:0]
	for _, h := range f.headers {
		if len(h.Name) != len(name) || !equalFold(h.Name, name) {
			kept = append(kept, h)
		}
	}
	f.headers = kept
}

// connects reports whether Connection has the token, in lower case.
func (f *fields) connects(lower string) bool {
	for _, list := range f.connection {
		if HasToken(list, lower) {
			return true
		}
	}
	return false
}

// equalFold compares two strings of the same length, of any case.
func equalFold(a, b string) bool {
	for i := range len(a) {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x |= 0x20
		}
		if 'A' <= y && y <= 'Z' {
			y |= 0x20
		}
		if x != y {
			return false
		}
	}
	return true
}
