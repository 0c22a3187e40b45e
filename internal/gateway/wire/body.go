package wire

import (
	"bytes"
	"io"
	"sync"

	"github.com/fairway-dev/fairway/internal/gateway/match"
)

const (
	// chunkExtMax bounds the extensions of one chunk, and what those of all chunks may be longer than their data.
	chunkExtMax = 4 << 10
	// chunkDigits keeps a chunk's size within 60 bits.
	chunkDigits = 15
	// longRead is how much of a long body is read at once, into a buffer borrowed for the time.
	longRead = 32 << 10
)

var longBuffers = sync.Pool{New: func() any { return new([longRead]byte) }}

// Body is the body that follows a head. The zero value is a body without bytes.
type Body struct {
	r *Reader
	// left of the body, or of the chunk.
	left  int64
	kind  kind
	ended bool
	err   error
	// data and ext have been read of a chunked body.
	data, ext int64
	long      *[longRead]byte
	trailers  fields
}

type kind uint8

const (
	byLength kind = iota
	byChunks
	byClose
)

// Begin starts the body of the head that was read last, of that Length.
func (b *Body) Begin(r *Reader, length int64) {
	b.Close()
	headers := b.trailers.headers
	b.r, b.left, b.kind, b.ended, b.err, b.data, b.ext = r, 0, byLength, false, nil, 0, 0
	b.trailers.headers = headers[:0]
	switch length {
	case Chunked:
		b.kind = byChunks
		b.left = -1 // a size comes next
	case UntilClose:
		b.kind = byClose
	default:
		b.left = length
		b.ended = length == 0
	}
}

// Ended reports whether the whole body has been read.
func (b *Body) Ended() bool { return b.ended }

// Buffered reports whether the next bytes are there without waiting for the source.
func (b *Body) Buffered() bool { return b.ended || b.r != nil && b.r.r < b.r.w }

// Trailers of a chunked body that has ended. Their strings lie in the reader's buffer.
func (b *Body) Trailers() []match.Header { return b.trailers.headers }

// Close gives back what a long body borrowed. It reads nothing.
func (b *Body) Close() {
	if b.long != nil {
		longBuffers.Put(b.long)
		b.long = nil
	}
}

// Next returns the next bytes, which are good until the call after. At the end of the body it returns io.EOF; when the source
// ends before that, io.ErrUnexpectedEOF. Malformed chunks are errors of type *Error.
func (b *Body) Next() ([]byte, error) {
	if b.ended {
		b.Close()
		return nil, io.EOF
	}
	if b.err != nil {
		return nil, b.err
	}
	p, err := b.next()
	if err != nil {
		b.Close()
		if !b.ended {
			b.err = err
		}
	}
	return p, err
}

func (b *Body) next() ([]byte, error) {
	if b.kind == byChunks && b.left <= 0 {
		if err := b.nextChunk(); err != nil {
			return nil, err
		}
	}
	if b.r.r == b.r.w {
		p, err := b.fill()
		if p != nil || err != nil {
			return p, err
		}
	}
	p := b.r.buf[b.r.r:b.r.w]
	if b.kind != byClose && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	b.r.r += len(p)
	b.took(len(p))
	return p, nil
}

// fill reads; long bodies not through the reader's buffer, in which little room may be left.
func (b *Body) fill() ([]byte, error) {
	if b.kind != byClose && b.left <= bufferFirst/2 {
		return nil, unexpected(b.r.Fill())
	}
	if b.long == nil {
		b.long = longBuffers.Get().(*[longRead]byte)
	}
	room := b.long[:]
	if b.kind != byClose && int64(len(room)) > b.left {
		room = room[:b.left]
	}
	n, err := b.r.src.Read(room)
	if n > 0 {
		b.took(n)
		return room[:n], nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	if b.kind == byClose && err == io.EOF {
		b.ended = true
		return nil, io.EOF
	}
	return nil, unexpected(err)
}

func (b *Body) took(n int) {
	switch b.kind {
	case byLength:
		b.left -= int64(n)
		b.ended = b.left == 0
	case byChunks:
		b.left -= int64(n)
		b.data += int64(n)
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// nextChunk reads up to the data of the next chunk, or to the end of the body. left is -1 before the first chunk, 0 when the
// data of one has been read and its line end has not.
func (b *Body) nextChunk() error {
	if b.left == 0 {
		for len(b.r.Buffered()) < 2 {
			if err := unexpected(b.r.Fill()); err != nil {
				return err
			}
		}
		if p := b.r.Buffered(); p[0] != '\r' || p[1] != '\n' {
			return errChunkEnd
		}
		b.r.Discard(2)
		b.left = -1
	}
	line, err := b.line(chunkExtMax+chunkDigits, errChunkExt)
	if err != nil {
		return err
	}
	size, err := b.size(line)
	if err != nil {
		return err
	}
	if b.left = size; size > 0 {
		return nil
	}
	if err := b.readTrailers(); err != nil {
		return err
	}
	b.ended = true
	return io.EOF
}

// line reads a line of at most limit bytes, without its end.
func (b *Body) line(limit int, tooLong error) ([]byte, error) {
	for {
		p := b.r.Buffered()
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			if i == 0 || p[i-1] != '\r' {
				return nil, errBareLF
			}
			if i-1 > limit {
				return nil, tooLong
			}
			b.r.Discard(i + 1)
			return p[:i-1], nil
		}
		if len(p) > limit+2 {
			return nil, tooLong
		}
		if err := unexpected(b.r.Fill()); err != nil {
			return nil, err
		}
	}
}

// size parses "1f;extension".
func (b *Body) size(line []byte) (int64, error) {
	n, i := int64(0), 0
	for ; i < len(line) && class[line[i]]&isHex != 0; i++ {
		if i == chunkDigits {
			return 0, errChunkSize
		}
		n = n<<4 | int64(hexValue(line[i]))
	}
	ext := line[i:]
	if i == 0 || len(ext) > 0 && (ext[0] != ';' || !all(ext, isValue)) {
		return 0, errChunkSize
	}
	if b.ext += int64(len(ext)); len(ext) > chunkExtMax || b.ext > chunkExtMax+b.data {
		return 0, errChunkExt
	}
	return n, nil
}

func hexValue(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}

// readTrailers reads the fields after the last chunk. Those that would change what the message is are dropped.
func (b *Body) readTrailers() error {
	scanned := 0
	for {
		p := b.r.Buffered()
		end := -1
		if len(p) >= 2 && p[0] == '\r' && p[1] == '\n' {
			end = 2
		} else if i := bytes.Index(p[max(0, scanned-3):], headEnd); i >= 0 {
			end = max(0, scanned-3) + i + len(headEnd)
		}
		if end > HeadMax || end < 0 && len(p) > HeadMax {
			return errHeadTooLong
		}
		if end >= 0 {
			b.r.Discard(end)
			f := &b.trailers
			f.reset(f.headers)
			if err := f.parse(p[:end]); err != nil {
				return err
			}
			f.headers = allowedTrailers(f.headers)
			return nil
		}
		scanned = len(p)
		if err := unexpected(b.r.Fill()); err != nil {
			return err
		}
	}
}

// allowedTrailers are those that do not frame, route, authenticate or describe the content (RFC 9110, section 6.5.1).
// Framing and connection fields are not among headers in the first place.
func allowedTrailers(headers []match.Header) []match.Header {
	kept := headers[:0]
	for _, h := range headers {
		if !forbiddenTrailer(h.Name) {
			kept = append(kept, h)
		}
	}
	return kept
}

func forbiddenTrailer(name string) bool {
	for _, forbidden := range [...]string{"trailer", "authorization", "cookie", "set-cookie", "content-encoding", "content-type",
		"content-range", "cache-control", "max-forwards", "range", "location", "vary", "forwarded"} {
		if EqualFold(name, forbidden) {
			return true
		}
	}
	return len(name) > 12 && EqualFold(name[:12], "x-forwarded-")
}
