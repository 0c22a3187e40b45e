// Package wire reads and writes HTTP/1.1 (RFC 9112) strictly: what could be understood in two ways is refused, so that no
// request can be smuggled past the gateway inside another. Heads are parsed where they lie in the reader's buffer and
// copied nowhere: the strings of a Request or Response are good until the next one is read. Bytes come from an io.Reader,
// which is also where deadlines belong; nothing here knows of time, routes or sockets.
package wire

import (
	"bytes"
	"io"
)

const (
	// HeadMax and FieldsMax bound heads and trailers: 431 beyond. URIMax bounds the target of a request: 414 beyond.
	HeadMax   = 64 << 10
	FieldsMax = 100
	URIMax    = 8 << 10

	// A buffer is small at first, for thousands of connections wait with one each. It grows as heads need it and is given
	// back when it is above bufferKeep.
	bufferFirst = 4 << 10
	bufferKeep  = 16 << 10
	// bufferMax holds the longest head and what a chunk line or the trailers may need after it.
	bufferMax = 2*HeadMax + 8<<10
	// roomLeast is the free space with which a read is worth its system call.
	roomLeast = 512
)

// Reader reads heads and bodies from one side of a connection. It is used by one goroutine at a time.
type Reader struct {
	src io.Reader
	buf []byte
	// buf[r:w] has been read and not yet parsed; buf[:held] is the head that strings still point to.
	r, w, held int
	// scanned bytes of an incomplete head hold no end of it.
	scanned int
}

// NewReader returns a reader of src. Each read of src is one Fill, or one of a long body.
func NewReader(src io.Reader) *Reader {
	r := &Reader{}
	r.Reset(src)
	return r
}

// Reset starts over with another source and forgets what was read.
func (r *Reader) Reset(src io.Reader) {
	r.src, r.r, r.w, r.held, r.scanned = src, 0, 0, 0, 0
}

// Buffered is what has been read and not yet parsed, for whoever takes the connection over. It is good until the next call.
func (r *Reader) Buffered() []byte { return r.buf[r.r:r.w] }

// Discard drops the first n of the buffered bytes.
func (r *Reader) Discard(n int) { r.r += n }

// Fill reads once from the source. The error is the source's; io.EOF only when nothing was read.
func (r *Reader) Fill() error {
	if err := r.room(); err != nil {
		return err
	}
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// room makes place to read into. A head that is held stays where it is, or, in a buffer that is replaced, keeps the old one
// alive.
func (r *Reader) room() error {
	if r.r == r.w {
		r.r, r.w = r.held, r.held
	}
	if len(r.buf)-r.w >= roomLeast {
		return nil
	}
	if r.r > r.held {
		r.w = r.held + copy(r.buf[r.held:], r.buf[r.r:r.w])
		r.r = r.held
		if len(r.buf)-r.w >= roomLeast {
			return nil
		}
	}
	if len(r.buf) >= bufferMax {
		if len(r.buf) > r.w {
			return nil
		}
		return errHeadTooLong
	}
	next := make([]byte, min(max(2*len(r.buf), bufferFirst), bufferMax))
	copy(next, r.buf[:r.w])
	r.buf = next
	return nil
}

// Release forgets the head that is held. What was read beyond the last body moves to the front. Strings of the last head
// are no longer good.
func (r *Reader) Release() {
	if len(r.buf) > bufferKeep && r.w-r.r <= bufferFirst/2 {
		next := make([]byte, bufferFirst)
		r.w = copy(next, r.buf[r.r:r.w])
		r.buf = next
	} else {
		r.w = copy(r.buf, r.buf[r.r:r.w])
	}
	r.r, r.held, r.scanned = 0, 0, 0
}

var headEnd = []byte("\r\n\r\n")

// head cuts the next head off, with the empty line at its end; nil when it is not there in full.
func (r *Reader) head() ([]byte, error) {
	if r.held > 0 {
		r.Release()
	}
	b := r.buf[r.r:r.w]
	from := max(0, r.scanned-len(headEnd)+1)
	if i := bytes.Index(b[from:], headEnd); i >= 0 {
		end := from + i + len(headEnd)
		if end > HeadMax {
			return nil, tooLong(b)
		}
		r.r += end
		r.held, r.scanned = r.r, 0
		return b[:end:end], nil
	}
	if len(b) > HeadMax || len(b) > URIMax+lineSpare && bytes.IndexByte(b[:URIMax+lineSpare], '\n') < 0 {
		return nil, tooLong(b)
	}
	// A line that ended without a carriage return can never become right: do not wait for the rest.
	for at := from; ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			break
		}
		if at += i; at == 0 || b[at-1] != '\r' {
			return nil, errBareLF
		}
		at++
	}
	r.scanned = len(b)
	return nil, nil
}

// lineSpare is what a request line has beside its target: a method, a version, two spaces.
const lineSpare = 64

// tooLong tells a target that is too long from a head that is.
func tooLong(b []byte) error {
	if bytes.IndexByte(b[:min(len(b), URIMax+lineSpare)], '\n') < 0 {
		return errURITooLong
	}
	return errHeadTooLong
}
