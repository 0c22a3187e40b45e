package proxy

import (
	"io"
	"sync"
	"sync/atomic"

	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// replayMax is the longest body that can be sent again to another endpoint.
const replayMax = 64 << 10

var replayBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// upload is the body of a request as tries read it: what came is kept up to replayMax, so that another try can begin again.
type upload struct {
	x    *exchange
	from source
	// kept is what has come, while replays is true.
	kept    *[]byte
	replays bool
	// at is how much of kept this try has been given; live says that this try reads on from the client.
	at    int
	count int64
	// whole: the body has come to its end. err is why it never will: the client's fault.
	whole bool
	err   error
	// taken: whoever sends it has been given all of it. Unlike the rest, it may be asked while another goroutine sends.
	taken atomic.Bool
}

// reset begins the body of the exchange's request.
func (u *upload) reset(x *exchange) {
	*u = upload{x: x, from: x.body, replays: true, whole: x.length == 0 || x.body == nil}
}

// rewind begins a further try; false when the body cannot be sent again.
func (u *upload) rewind() bool {
	u.at = 0
	return u.replays
}

func (u *upload) release() {
	if u.kept != nil {
		*u.kept = (*u.kept)[:0]
		replayBuffers.Put(u.kept)
		u.kept = nil
	}
}

// Next, Buffered and Trailers make it a source.
func (u *upload) Next() ([]byte, error) {
	if u.kept != nil && u.replays && u.at < len(*u.kept) {
		p := (*u.kept)[u.at:]
		u.at = len(*u.kept)
		return p, nil
	}
	if u.whole {
		return nil, io.EOF
	}
	if u.err != nil {
		return nil, u.err
	}
	p, err := u.from.Next()
	switch {
	case err == io.EOF:
		u.whole = true
		u.taken.Store(true)
	case err != nil:
		u.err = err
	default:
		u.keep(p)
		if u.count == u.x.length {
			u.taken.Store(true)
		}
	}
	return p, err
}

func (u *upload) keep(p []byte) {
	u.count += int64(len(p))
	for _, m := range u.x.mirrorsNow {
		m.take(p)
	}
	if !u.replays {
		return
	}
	if u.kept == nil {
		u.kept = replayBuffers.Get().(*[]byte)
	}
	if len(*u.kept)+len(p) > replayMax {
		u.replays = false
		return
	}
	*u.kept = append(*u.kept, p...)
	u.at = len(*u.kept)
}

// Buffered implements source.
func (u *upload) Buffered() bool {
	return u.whole || u.kept != nil && u.replays && u.at < len(*u.kept) || u.err == nil && u.from.Buffered()
}

// Trailers implements source.
func (u *upload) Trailers() []match.Header {
	if u.from == nil {
		return nil
	}
	return u.from.Trailers()
}
