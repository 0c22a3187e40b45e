package proxy

import (
	"net/http"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/balance"
	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
	"github.com/fairway-dev/fairway/internal/gateway/wire"
)

const (
	// passMax is how many endpoints that refuse a connection, or close it before they answer, a request passes over.
	passMax = 3
	// suspension is how long such an endpoint gets no requests.
	suspension = time.Second
	// What a held request tries again while the first endpoint comes up.
	coldStep, coldStepMax = 10 * time.Millisecond, 100 * time.Millisecond
)

// failure is why a try has no answer.
type failure struct {
	reason Reason // "" = there is an answer
	// unsent: nothing of the request was taken. stale: an idle connection had been closed; the endpoint is not to blame.
	unsent, stale bool
	// busy: the request's body is still on its way, so there cannot be another try.
	busy bool
	err  error
}

// call is a try under way, in the protocol of its backend.
type call interface {
	// send sends the request and waits until deadline (0 = none) for the head of the response, which it leaves in x.response.
	send(x *exchange, deadline int64) failure
	// done ends the try. The connection is used again if all that belongs to it has been read.
	done(x *exchange)
}

// tries is what is known of the tries of one request.
type tries struct {
	retries, passed int
	avoid           *balance.Endpoint
	holdUntil       int64
	coldWait        time.Duration
}

// forward asks the backend, with retries, and passes its answer on.
func (x *exchange) forward() {
	b := x.backend
	policy := b.pool.Policy()
	if !b.breaker.Begin(policy.MaxRequests) {
		x.fail(http.StatusServiceUnavailable, Overflow, "the backend has as many requests as it may")
		return
	}
	defer b.breaker.End()
	b.budget.Request(policy, x.g.now())
	var t tries
	for x.try(policy, &t) {
	}
}

// try makes one try; true = make another.
func (x *exchange) try(policy *config.Policy, t *tries) (again bool) {
	e := x.pick(t, policy)
	if e == nil {
		return false
	}
	c, ok := x.connect(e, policy)
	if !ok {
		return false
	}
	x.record.Endpoint = &e.Endpoint
	e.Begin()
	defer e.End()
	defer c.done(x) // before the end of the request, and when something panics
	began := x.g.now()
	deadline := x.deadline
	if d := x.rule.Timeouts.Try; d > 0 && (deadline == 0 || began+int64(d) < deadline) {
		deadline = began + int64(d)
	}
	x.response = response{declared: -1}
	if x.vigil != nil {
		x.vigil.begin()
		defer x.vigil.end() // before the call is done, which may give the connection to another request
	}
	f := c.send(x, deadline)
	now := x.g.now()
	x.record.Upstream = time.Duration(now - began)
	x.measure(e, f, now)
	if f.reason == ClientGone {
		x.clientFailed()
		return false
	}
	if again, wait := x.again(e, f, policy, t, now); again {
		x.observeTry(f)
		if wait == 0 || x.sleep(wait) {
			t.avoid = e
			return true
		}
		f = failure{reason: TimedOut}
	}
	if f.reason == "" {
		x.deliver()
		return false
	}
	x.failTry(f)
	return false
}

// measure takes the outcome in, for balancing and ejection.
func (x *exchange) measure(e *balance.Endpoint, f failure, now int64) {
	if f.stale || f.reason == ClientGone || f.reason == Overflow {
		return
	}
	outcome := balance.Success
	switch {
	case f.reason != "" || x.response.status >= 502 && x.response.status <= 504:
		outcome = balance.GatewayError
	case x.response.status >= 500:
		outcome = balance.ServerError
	}
	e.Measured(x.record.Upstream, outcome != balance.Success, now)
	x.backend.pool.Report(e, outcome, now)
	if f.reason == Unreachable || f.reason == Reset {
		x.backend.pool.Suspend(e, now+int64(suspension))
	}
}

// again decides whether there is another try, and how long to wait before.
func (x *exchange) again(e *balance.Endpoint, f failure, policy *config.Policy, t *tries, now int64) (bool, time.Duration) {
	if f.reason == "" && x.rule.Retry == nil || f.busy || f.reason == Overflow || !x.upload.rewind() || x.upload.err != nil {
		return false, 0
	}
	left := x.left(now)
	idempotent := idempotentMethod(x.method)
	passable := f.unsent || f.reason == Reset && idempotent
	if passable && t.passed < passMax && left != 0 && (f.stale || len(x.backend.pool.Endpoints()) > 1) {
		t.passed++
		// A connection that had been closed while idle costs nobody anything: it is no retry.
		return f.stale || x.takeRetry(policy, now), 0
	}
	if f.reason == Unreachable && t.holdUntil > now {
		t.coldWait = min(max(2*t.coldWait, coldStep), coldStepMax)
		return true, t.coldWait
	}
	try := balance.Try{Number: t.retries, Unsent: f.unsent, Timeout: f.reason == TimedOut, Idempotent: idempotent, Replayable: true,
		Left: left, Draw: x.random()}
	if f.reason == "" {
		try.Status = x.response.status
	}
	again, wait := balance.Retry(x.rule.Retry, try)
	if !again || !x.takeRetry(policy, now) {
		return false, 0
	}
	t.retries++
	return true, wait
}

// takeRetry asks the budget.
func (x *exchange) takeRetry(policy *config.Policy, now int64) bool {
	if !x.backend.budget.Take(policy, now) {
		return false
	}
	x.record.Retries++
	return true
}

// idempotentMethod reports whether a request can be sent again when it is unclear whether it was carried out (RFC 9110,
// section 9.2.2).
func idempotentMethod(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// observeTry tells the observer of a try whose answer the client does not get.
func (x *exchange) observeTry(f failure) {
	if f.stale {
		return
	}
	r := x.record
	r.Retried, r.Reason, r.Status = true, f.reason, x.response.status
	if f.reason != "" {
		r.Status = statusOf(f.reason)
	}
	r.Began = x.g.epoch.Add(time.Duration(x.began))
	r.Latency = time.Duration(x.g.now() - x.began)
	x.g.observe(&r)
}

func statusOf(r Reason) int {
	switch r {
	case TimedOut:
		return http.StatusGatewayTimeout
	case Overflow, NoEndpoints, HoldExpired, HoldFull:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadGateway
}

// failTry answers for a backend that did not.
func (x *exchange) failTry(f failure) {
	x.g.log.Debug("a backend did not answer", "backend", x.backend.key.Name.String(), "reason", string(f.reason), "error", f.err)
	why := map[Reason]string{TimedOut: "the backend did not answer in time", Unreachable: "the backend cannot be connected to",
		Reset: "the backend closed the connection before it answered", Malformed: "the backend's answer is not valid HTTP",
		Overflow: "the backend has as many connections as it may"}[f.reason]
	x.fail(statusOf(f.reason), f.reason, why)
}

// clientFailed ends a request whose body will never come to its end.
func (x *exchange) clientFailed() {
	if e, ok := x.upload.err.(*wire.Error); ok && !x.committed {
		x.fail(e.Status, Refused, e.What)
		return
	}
	x.record.Status, x.record.Reason = statusClientGone, ClientGone
	x.client.abort()
}

// statusClientGone is what nginx logs for clients that did not wait.
const statusClientGone = 499

// deliver passes the answer of the backend on.
func (x *exchange) deliver() {
	r := &x.response
	x.record.Status = r.status
	x.finishHeaders()
	x.committed = true
	if r.status == http.StatusSwitchingProtocols {
		if x.vigil != nil {
			x.vigil.end() // in a tunnel one side may end before the other
		}
		x.tunnel()
		return
	}
	if err := x.client.begin(r); err != nil {
		x.gone()
		return
	}
	if r.length != 0 {
		for {
			p, err := r.body.Next()
			if len(p) > 0 {
				x.record.Out += int64(len(p))
				if err := x.client.write(p, r.body.Buffered()); err != nil {
					x.gone()
					return
				}
			}
			if err != nil {
				if !isEOF(err) {
					if x.record.Reason = Interrupted; x.ctx != nil && x.ctx.Err() != nil {
						x.record.Reason = ClientGone
					}
					x.client.abort()
					return
				}
				break
			}
		}
		x.takeTrailers(r.body.Trailers())
	} else {
		x.takeGRPC(r.headers)
	}
	var trailers []match.Header
	if r.length != 0 {
		trailers = r.body.Trailers()
	}
	if x.client.end(trailers) != nil {
		x.gone()
	}
}

func (x *exchange) gone() {
	x.record.Reason = ClientGone
	x.client.abort()
}

// takeTrailers reads the status of gRPC, which stands in the trailers, or in the head when there is no body.
func (x *exchange) takeTrailers(trailers []match.Header) {
	if len(trailers) > 0 {
		x.takeGRPC(trailers)
	}
	if x.record.GRPC < 0 && x.rule.GRPC {
		x.takeGRPC(x.response.headers)
	}
}

func (x *exchange) takeGRPC(headers []match.Header) {
	if !x.rule.GRPC && len(headers) > 8 {
		return
	}
	if s := header(headers, "grpc-status"); s != "" {
		for i, c := range grpcCodes {
			if s == c {
				x.record.GRPC = i
			}
		}
	}
}

// finishHeaders makes the headers of the response ready: what filters, CORS, sessions and cold starts say.
func (x *exchange) finishHeaders() {
	r := &x.response
	shareFilters := x.share != nil && changesResponse(x.share.Filters)
	ruleFilters := changesResponse(x.rule.Filters)
	if !shareFilters && !ruleFilters && x.cors.rule == nil && x.sticky.session == nil && x.backend.pool.Policy().Hold == nil {
		return
	}
	x.out = append(x.out[:0], r.headers...)
	if shareFilters {
		x.out = applyResponseFilters(x.out, x.share.Filters)
	}
	if ruleFilters {
		x.out = applyResponseFilters(x.out, x.rule.Filters)
	}
	x.addCORS()
	x.addSession()
	x.coldStart()
	r.headers = x.out
}

// coldStart says whether the request was held for a backend that is started on demand.
func (x *exchange) coldStart() {
	if x.backend == nil || x.backend.pool.Policy().Hold == nil {
		return
	}
	value := "false"
	if x.held {
		value = "true"
	}
	x.out = append(x.out, match.Header{Name: "X-KEDA-HTTP-Cold-Start", Value: value})
}
