package record

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// frameBytesMax bounds one event, so that a damaged stream is noticed and not allocated.
const frameBytesMax = 16 << 20

// Writer writes events as frames: four bytes of length, big-endian, then JSON. The descriptor below must block: a full
// pipe then holds the virtual clock instead of letting it run on.
type Writer struct {
	w   io.Writer
	buf []byte
	err error
}

// NewWriter writes to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write appends one event. After the first error it does nothing; Err tells.
func (w *Writer) Write(e Event) {
	if w.err != nil {
		return
	}
	b, err := json.Marshal(e)
	if err != nil {
		w.err = fmt.Errorf("encoding an event of the run: %w", err)
		return
	}
	w.buf = binary.BigEndian.AppendUint32(w.buf[:0], uint32(len(b)))
	w.buf = append(w.buf, b...)
	if _, err := w.w.Write(w.buf); err != nil {
		w.err = fmt.Errorf("writing an event of the run: %w", err)
	}
}

// Err is the first error.
func (w *Writer) Err() error { return w.err }

// Reader reads what a Writer wrote.
type Reader struct{ r *bufio.Reader }

// NewReader reads from r.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, 1<<16)} }

// Read returns the next event, or io.EOF where the stream ends, also in the middle of a frame: a run that was killed
// leaves a broken last frame, and everything before it counts.
func (r *Reader) Read() (Event, error) {
	var e Event
	var head [4]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return e, end(err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > frameBytesMax {
		return e, fmt.Errorf("the stream of the run is damaged: a frame of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		return e, end(err)
	}
	if err := json.Unmarshal(b, &e); err != nil {
		return e, fmt.Errorf("the stream of the run is damaged: %w", err)
	}
	return e, nil
}

func end(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}
