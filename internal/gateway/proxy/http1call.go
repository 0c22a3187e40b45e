package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/wire"
)

const (
	// inlineMax is how much of a body is sent along with the head, if it is at hand.
	inlineMax = 16 << 10
	// interimMax bounds the 1xx responses before an answer.
	interimMax = 16
	// lastWrite is how long the last piece of a body may still take once it has been answered.
	lastWrite = time.Second
)

// http1Call is a try in HTTP/1.1.
type http1Call struct {
	e     *endpoint
	conn  *upConn
	given *upConn // made already, and not used yet
	stop  func() bool
}

func (c *http1Call) send(x *exchange, deadline int64) failure {
	u := c.given
	c.given = nil
	if u == nil {
		var f failure
		if u, f = c.e.get(x, deadline); f.reason != "" {
			return f
		}
	}
	c.conn = u
	u.answered, u.uploaded, u.uploadErr = false, nil, nil
	u.cutOff.Store(false)
	u.setDeadline(x.g.now(), deadline)
	switch {
	case x.vigil != nil:
		x.vigil.over(u.nc)
	case x.ctx != nil:
		c.stop = context.AfterFunc(x.ctx, func() { _ = u.nc.SetDeadline(past) })
	}
	if f := u.sendHead(x); f.reason != "" {
		return f
	}
	return u.readHead(x)
}

// sendHead sends the head, with as much of the body as is at hand; a goroutine sends the rest.
func (u *upConn) sendHead(x *exchange) failure {
	w := wire.AppendRequestLine(x.buffer[:0], x.method, x.path, x.query, x.host)
	w = wire.AppendFields(w, x.headers)
	hasBody := x.length != 0
	if hasBody || x.method == http.MethodPost || x.method == http.MethodPut || x.method == http.MethodPatch {
		w = wire.AppendLength(w, x.length)
	}
	if x.upgrade != "" {
		w = wire.AppendField(wire.AppendField(w, "Connection", "Upgrade"), "Upgrade", x.upgrade)
	}
	w = append(w, wire.HeadEnd...)
	ended := !hasBody
	for !ended && x.upload.Buffered() && len(w) < inlineMax {
		p, err := x.upload.Next()
		if err != nil && err != io.EOF {
			return failure{reason: ClientGone, err: err}
		}
		w = appendBody(w, x, p, err)
		ended = err == io.EOF
	}
	if !ended && x.expects {
		x.expects = false
		if err := x.client.inform(http.StatusContinue, nil); err != nil {
			return failure{reason: ClientGone, err: err}
		}
	}
	n, err := u.nc.Write(w)
	x.buffer = w[:0]
	if err != nil {
		return failure{reason: Reset, unsent: n == 0, stale: u.uses > 0, err: err}
	}
	if !ended {
		u.uploaded = make(chan struct{})
		go u.sendRest(x)
	}
	return failure{}
}

// appendBody appends a piece of the body as it is framed; io.EOF its end.
func appendBody(w []byte, x *exchange, p []byte, err error) []byte {
	if x.length != wire.Chunked {
		return append(w, p...)
	}
	if len(p) > 0 {
		w = append(append(wire.AppendChunkSize(w, len(p)), p...), wire.ChunkEnd...)
	}
	if err == io.EOF {
		w = wire.AppendLastChunk(w, x.upload.Trailers())
	}
	return w
}

// sendRest sends the rest of the body as it comes, until its end or the connection's.
func (u *upConn) sendRest(x *exchange) {
	defer close(u.uploaded)
	var w []byte
	for {
		p, err := x.upload.Next()
		if err != nil && err != io.EOF {
			// The client will not send the rest: whoever waits for the answer need not.
			u.uploadErr = err
			u.cutOff.Store(true)
			_ = u.nc.Close()
			return
		}
		w = appendBody(w[:0], x, p, err)
		if len(w) > 0 {
			if _, err := u.nc.Write(w); err != nil {
				u.uploadErr = err
				return
			}
		}
		if err == io.EOF {
			return
		}
	}
}

// uploading reports whether the body is still on its way.
func (u *upConn) uploading() bool {
	if u.uploaded == nil {
		return false
	}
	select {
	case <-u.uploaded:
		return false
	default:
		return true
	}
}

// readHead waits for the head of the response; interim ones are passed on.
func (u *upConn) readHead(x *exchange) failure {
	for interim, received := 0, false; ; {
		ok, err := u.r.Response(&u.resp, x.method)
		if err != nil {
			return u.failed(x, failure{reason: Malformed, err: err})
		}
		if !ok {
			if err := u.r.Fill(); err != nil {
				return u.failed(x, failure{reason: Reset, stale: u.uses > 0 && !received, err: err})
			}
			received = true
			continue
		}
		if u.resp.Status >= 200 || u.resp.Status == http.StatusSwitchingProtocols {
			break
		}
		if interim++; interim > interimMax {
			return u.failed(x, failure{reason: Malformed, err: errInterim})
		}
		if u.resp.Status != http.StatusContinue {
			if err := x.client.inform(u.resp.Status, u.resp.Headers); err != nil {
				return u.failed(x, failure{reason: ClientGone, err: err})
			}
		}
	}
	u.answered = true
	if u.resp.Status == http.StatusSwitchingProtocols && x.upgrade == "" {
		return u.failed(x, failure{reason: Malformed, err: errSwitched})
	}
	u.body.Begin(u.r, u.resp.Length)
	x.response.status, x.response.headers = u.resp.Status, u.resp.Headers
	x.response.length, x.response.declared, x.response.body = u.resp.Length, u.resp.Declared, &u.body
	if !u.whole() {
		u.setDeadline(0, 0) // the body may take as long as it likes
		if x.ctx != nil && x.ctx.Err() != nil {
			_ = u.nc.SetDeadline(past) // it was given up just before
		}
	}
	if r := x.rule.Retry; r != nil && slices.Contains(r.Codes, u.resp.Status) {
		u.awaitUploaded(x) // this answer may be tried again
	}
	return failure{busy: u.uploading()}
}

var (
	errInterim  = errors.New("more than 16 interim responses before an answer")
	errSwitched = errors.New("the backend switches protocols without being asked to")
)

// awaitUploaded waits until the goroutine that was given the last of the body knows that it has sent it.
func (u *upConn) awaitUploaded(x *exchange) {
	if u.uploading() && x.upload.taken.Load() {
		_ = u.nc.SetWriteDeadline(time.Now().Add(lastWrite))
		<-u.uploaded
		_ = u.nc.SetWriteDeadline(time.Time{})
	}
}

// whole reports whether the body has come with the head.
func (u *upConn) whole() bool {
	b := u.r.Buffered()
	switch {
	case u.resp.Length >= 0:
		return u.resp.Length <= int64(len(b))
	case u.resp.Length == wire.Chunked:
		return len(b) >= 5 && string(b[len(b)-5:]) == "0\r\n\r\n"
	}
	return false
}

// failed finds out why the head did not come, with the goroutine of the body ended.
func (u *upConn) failed(x *exchange, f failure) failure {
	timeout := errors.Is(f.err, os.ErrDeadlineExceeded)
	if u.cutOff.Load() {
		<-u.uploaded
		return failure{reason: ClientGone, err: x.upload.err}
	}
	if u.uploading() {
		x.client.stopReading()
		_ = u.nc.SetDeadline(past)
		<-u.uploaded
		f.busy = true
		switch {
		case x.ctx != nil && x.ctx.Err() != nil:
			f.reason = ClientGone
		case timeout:
			f.reason = TimedOut
		}
		return f
	}
	if timeout {
		f = failure{reason: TimedOut, err: f.err}
	}
	if x.ctx != nil && x.ctx.Err() != nil {
		f = failure{reason: ClientGone, err: x.ctx.Err()}
	}
	return f
}

func (c *http1Call) done(x *exchange) {
	u := c.conn
	c.conn = nil
	stopped := c.stop == nil || c.stop()
	c.stop = nil
	if x.vigil != nil { // which has ended before
		stopped = x.ctx.Err() == nil
	}
	if u == nil {
		return
	}
	if stopped && u.answered && u.body.Ended() {
		u.awaitUploaded(x) // a backend that answers as it reads may be heard to the end before that
	}
	if u.uploading() {
		x.client.stopReading()
		_ = u.nc.SetDeadline(past)
		<-u.uploaded
		u.close()
		return
	}
	// What is left of an answer that nobody wants is read if it is here already.
	for u.answered && !u.body.Ended() && u.body.Buffered() {
		if _, err := u.body.Next(); err != nil {
			break
		}
	}
	if !stopped || !u.answered || !u.body.Ended() || u.resp.Close || u.tunneled || u.uploadErr != nil || len(u.r.Buffered()) > 0 {
		u.close()
		return
	}
	u.body.Close()
	c.e.put(u)
}
