package proxy

import (
	"context"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// source is a body that is read piece by piece. Each piece is good until the next is asked for; io.EOF ends it.
type source interface {
	Next() ([]byte, error)
	// Buffered reports whether Next returns without waiting.
	Buffered() bool
	// Trailers after the end.
	Trailers() []match.Header
}

// client is the side that asked, in whatever protocol.
type client interface {
	// inform sends an interim response (1xx).
	inform(status int, headers []match.Header) error
	// begin sends the head of the response; write its body, of which more says that the next piece is at hand; end what ends it.
	begin(*response) error
	write(p []byte, more bool) error
	end(trailers []match.Header) error
	// abort cuts the response off, so that the client notices.
	abort()
	// stopReading makes the body's Next return, for good.
	stopReading()
	// await calls gone if the client goes away, until stop is called, which waits for it. Only without a body left to read.
	await(gone func()) (stop func())
}

// response is the head of a response.
type response struct {
	status  int
	headers []match.Header
	// length of the body: 0 = none, or wire.Chunked, or wire.UntilClose.
	length int64
	// declared is a Content-Length without a body to it; -1 = none.
	declared int64
	body     source
	// own: the gateway's own.
	own bool
}

// exchange is a request on its way, with its response. One is used for request after request of a connection.
type exchange struct {
	g      *Gateway
	client client
	peer   *peer
	proto  string

	// The request as it came. Its strings are good until the exchange is over.
	head     match.Head
	length   int64 // of the body: 0 = none, or wire.Chunked
	body     source
	upgrade  string
	trailers bool // are welcome
	expects  bool // the client waits for 100 Continue before it sends the body
	// ctx ends when the client gives the request up; nil when that cannot be known. In HTTP/1.1 it is that of the connection,
	// and the vigil's.
	ctx   context.Context
	vigil *vigil

	snapshot *snapshot
	place    int
	result   match.Result
	rule     *config.Rule
	state    *ruleState

	// The request as the backend gets it.
	method, host, path, query string
	headers                   []match.Header
	upload                    upload
	http1                     http1Call
	buffer                    []byte // for the head that is sent

	share   *config.Share
	backend *backend
	sticky  stickiness
	held    bool

	response   response
	out        []match.Header // room for the headers of the response
	began      int64
	ended      int64
	deadline   int64 // of the response's head; 0 = none
	draw       uint64
	committed  bool // the head of the response has gone out
	cors       corsAnswer
	record     Record
	requestID  [36]byte
	errorText  []byte
	mirrorsNow []*mirror
}

// serve carries the request out, to the end of its response.
func (x *exchange) serve() {
	x.start()
	defer x.finish()
	if x.head.Method == http.MethodConnect {
		x.fail(http.StatusMethodNotAllowed, Refused, "CONNECT is never served")
		return
	}
	if !x.find() {
		return
	}
	x.prepare()
	if x.answerCORS() || x.fault() || !x.applyFilters(x.rule.Filters) {
		return
	}
	x.startMirrors()
	if !x.chooseShare() || !x.applyFilters(x.share.Filters) {
		return
	}
	x.forward()
}

// start sets the state of the request before back to nothing.
func (x *exchange) start() {
	x.began = x.g.now()
	x.result, x.rule, x.state, x.share, x.backend = match.Result{}, nil, nil, nil, nil
	x.deadline, x.committed, x.held = 0, false, false
	x.sticky, x.cors = stickiness{}, corsAnswer{}
	x.mirrorsNow = x.mirrorsNow[:0]
	x.upload.reset(x)
	x.record = Record{Protocol: x.proto, Method: x.head.Method, Host: x.head.Host, Path: x.head.Path, Client: x.peer.address, GRPC: -1}
}

// finish ends what is still open, answers for a panic, and tells the observer.
func (x *exchange) finish() {
	if p := recover(); p != nil {
		x.g.log.Error("a request panicked", "panic", p, "host", x.head.Host, "path", x.head.Path, "stack", string(debug.Stack()))
		if x.committed {
			x.record.Reason = Panicked
			x.client.abort()
		} else {
			x.fail(http.StatusInternalServerError, Panicked, "the gateway failed at this request")
		}
	}
	for _, m := range x.mirrorsNow {
		m.finish(x.upload.whole)
	}
	r := &x.record
	r.Began = x.g.epoch.Add(time.Duration(x.began))
	x.ended = x.g.now()
	r.Latency = time.Duration(x.ended - x.began)
	r.In = x.upload.count
	x.g.observe(r)
	x.upload.release()
}

// find looks the rule up.
func (x *exchange) find() bool {
	x.snapshot, x.place = x.peer.socket.pin()
	if x.place < 0 {
		x.fail(http.StatusNotFound, NoRoute, "nothing is served here")
		return false
	}
	result, ok := x.snapshot.index.Match(x.place, &x.head)
	x.result = result
	if result.Listener != nil {
		x.record.Gateway = result.Listener.Gateway
	}
	if !ok {
		if result.Status == http.StatusMisdirectedRequest {
			x.fail(result.Status, Misdirected, "this host is not served on this connection: open another for it")
		} else {
			x.fail(http.StatusNotFound, NoRoute, "no route is for this host and path")
		}
		return false
	}
	x.rule, x.state = result.Rule, x.snapshot.rules[result.Rule.Index]
	x.record.Rule = x.rule
	if x.rule.Broken != "" {
		x.fail(http.StatusInternalServerError, BrokenRule, "the rule for this request cannot be carried out")
		return false
	}
	if x.rule.Timeouts.Request > 0 {
		x.deadline = x.began + int64(x.rule.Timeouts.Request)
	}
	return true
}

// random is the next draw of this request.
func (x *exchange) random() uint64 {
	x.draw += 0x9e3779b97f4a7c15
	return mix(x.draw)
}

// left of the request's time; negative = no limit, never 0 before it is over.
func (x *exchange) left(now int64) time.Duration {
	if x.deadline == 0 {
		return -1
	}
	return max(time.Duration(x.deadline-now), 0)
}

// fail answers for the gateway itself: in plain text, or to gRPC with its status.
func (x *exchange) fail(status int, reason Reason, why string) {
	x.record.Reason = reason
	if x.committed {
		x.client.abort()
		return
	}
	x.out = x.out[:0]
	if x.isGRPC() {
		x.record.GRPC = grpcStatus(status)
		x.out = append(x.out, match.Header{Name: "Content-Type", Value: "application/grpc"},
			match.Header{Name: "Grpc-Status", Value: grpcCodes[x.record.GRPC]}, match.Header{Name: "Grpc-Message", Value: why})
		x.coldStart()
		x.answer(http.StatusOK, "")
		x.record.Status = status
		return
	}
	x.out = append(x.out, match.Header{Name: "Content-Type", Value: "text/plain; charset=utf-8"})
	if reason == NoEndpoints || reason == HoldExpired || reason == HoldFull || reason == Overflow {
		x.out = append(x.out, match.Header{Name: "Retry-After", Value: "1"})
	}
	if status == http.StatusMethodNotAllowed {
		x.out = append(x.out, match.Header{Name: "Allow", Value: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"})
	}
	x.coldStart()
	x.errorText = append(append(append(x.errorText[:0], http.StatusText(status)...), ": "...), why...)
	x.errorText = append(x.errorText, '\n')
	x.answer(status, bytesText(x.errorText))
}

// answer sends a response of the gateway's own, with the headers in x.out.
func (x *exchange) answer(status int, text string) {
	r := &x.response
	*r = response{status: status, headers: x.out, length: int64(len(text)), declared: int64(len(text)), own: true}
	bodiless := x.head.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
	if bodiless {
		r.length = 0
	}
	if status == http.StatusNoContent {
		r.declared = -1
	}
	x.record.Status = status
	x.committed = true
	if x.client.begin(r) != nil {
		return
	}
	if r.length > 0 && x.client.write(textBytes(text), true) != nil {
		return
	}
	x.record.Out += r.length
	_ = x.client.end(nil)
}

// isGRPC reports whether the request is one of gRPC, or its rule is.
func (x *exchange) isGRPC() bool {
	if x.rule != nil && x.rule.GRPC {
		return true
	}
	return strings.HasPrefix(header(x.head.Headers, "content-type"), "application/grpc")
}

var grpcCodes = [...]string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"}

// grpcStatus is the status that a gRPC client would make of an HTTP status (grpc's http-grpc-status-mapping), but that a
// timeout of the gateway is DEADLINE_EXCEEDED and a failure of its own INTERNAL.
func grpcStatus(status int) int {
	switch status {
	case http.StatusBadRequest, http.StatusInternalServerError:
		return 13
	case http.StatusUnauthorized:
		return 16
	case http.StatusForbidden:
		return 7
	case http.StatusNotFound:
		return 12
	case http.StatusGatewayTimeout:
		return 4
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable:
		return 14
	}
	return 2
}
