package proxy

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/balance"
	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// chooseShare decides which of the rule's backends the request goes to: that of its session, or the next by weight.
func (x *exchange) chooseShare() bool {
	shares := x.rule.Backends
	i := -1
	if len(shares) > 0 {
		if i = x.stickyShare(); i < 0 {
			i = x.state.split.Next()
		}
	}
	if i < 0 || i >= len(shares) {
		x.fail(http.StatusInternalServerError, NoBackend, "no backend of this route has any weight")
		return false
	}
	x.share = &shares[i]
	if x.share.Backend == nil {
		x.fail(http.StatusInternalServerError, NoBackend, "the backend of this route does not exist or may not be used")
		return false
	}
	x.backend = x.snapshot.backends[x.share.Backend.Index]
	x.record.Backend = x.share.Backend
	if x.sticky.session == nil {
		x.sticky.session = x.share.Backend.Policy.Session
		x.openSession(x.share.Backend.Key.Name.String())
	}
	return true
}

// pick chooses the endpoint, and waits for the first if the backend holds requests. nil = it has answered.
func (x *exchange) pick(t *tries, policy *config.Policy) *balance.Endpoint {
	for {
		if e := x.pickNow(t.avoid, policy); e != nil {
			return e
		}
		if policy.Hold == nil || x.backend.left.Load() {
			x.fail(http.StatusServiceUnavailable, NoEndpoints, "the backend has no endpoints")
			return nil
		}
		if !x.hold(t, policy.Hold) {
			return nil
		}
	}
}

func (x *exchange) pickNow(avoid *balance.Endpoint, policy *config.Policy) *balance.Endpoint {
	pool := x.backend.pool
	now := x.g.now()
	choice := balance.Choice{Draw: x.random(), Avoid: avoid}
	if policy.Algorithm == config.ConsistentHash {
		choice.Hash = balance.Hash(x.hashed(policy))
	}
	if s := &x.sticky; s.known {
		if e := pool.Find(s.token.Endpoint); e != nil && e != avoid && e.EjectedUntil() <= now && e.Healthy() {
			return e
		}
		choice.Revision = s.token.Revision
	}
	e, _ := pool.Pick(choice, now)
	return e
}

// hashed is what ConsistentHash hashes of this request.
func (x *exchange) hashed(policy *config.Policy) string {
	switch {
	case policy.HashHeader != "":
		return header(x.head.Headers, strings.ToLower(policy.HashHeader))
	case policy.HashCookie != "":
		return x.cookie(policy.HashCookie)
	case policy.HashQuery != "":
		for rest := x.head.Query; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, "&")
			name, value, _ := strings.Cut(pair, "=")
			if n, err := url.QueryUnescape(name); err == nil && n == policy.HashQuery {
				return value
			}
		}
		return ""
	}
	return x.peer.address
}

// cookie is the value of the first cookie of that name.
func (x *exchange) cookie(wanted string) string {
	for _, h := range x.head.Headers {
		if !strings.EqualFold(h.Name, "cookie") {
			continue
		}
		for rest := h.Value; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			if name, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && name == wanted {
				return strings.Trim(value, `"`)
			}
		}
	}
	return ""
}

// hold waits in line for the backend's first endpoint. false = it has answered, or the client has gone.
func (x *exchange) hold(t *tries, h *config.Hold) bool {
	if h.MaxBodyBytes > 0 && x.length > h.MaxBodyBytes {
		x.fail(http.StatusServiceUnavailable, HoldFull, "the backend is being started, and the request's body is too long to wait")
		return false
	}
	now := x.g.now()
	if t.holdUntil == 0 {
		t.holdUntil = now + int64(h.For)
	}
	if now >= t.holdUntil {
		x.fail(http.StatusServiceUnavailable, HoldExpired, "the backend was not started in time")
		return false
	}
	w, wake := x.backend.wait(h.MaxPending)
	if w == nil {
		x.fail(http.StatusServiceUnavailable, HoldFull, "the backend is being started, and too many requests wait for it")
		return false
	}
	if wake && x.g.options.Wake != nil {
		x.g.options.Wake(x.backend.key)
	}
	x.held, x.record.Held = true, true
	return x.await(w, &x.backend.waiting, t.holdUntil, now)
}

// await waits for its turn in a line, until then. The time counts for the route's timeout if it names one; the default
// is meant for backends that run.
func (x *exchange) await(w *waiter, q *queue, until, began int64) bool {
	forgiving := x.rule.Timeouts.Request == config.RequestTimeout
	if x.deadline > 0 && !forgiving {
		until = min(until, x.deadline)
	}
	gone := make(chan struct{})
	stop := func() {}
	if x.upload.whole {
		stop = x.client.await(func() { close(gone) })
	}
	timer := time.NewTimer(time.Duration(until - began))
	defer timer.Stop()
	turn, left := false, false
	select {
	case <-w.turn:
		turn = true
	case <-gone:
		left = true
	case <-timer.C:
	case <-x.g.ctx.Done():
	}
	stop()
	if !turn {
		x.backend.mu.Lock()
		q.quit(w)
		x.backend.mu.Unlock()
	}
	now := x.g.now()
	if x.deadline > 0 && forgiving {
		x.deadline += now - began
	}
	switch {
	case left:
		x.record.Status, x.record.Reason = statusClientGone, ClientGone
		x.client.abort()
		return false
	case !turn && x.deadline > 0 && now >= x.deadline:
		x.fail(http.StatusGatewayTimeout, TimedOut, "the backend did not answer in time")
		return false
	case !turn:
		x.fail(http.StatusServiceUnavailable, HoldExpired, "the backend was not started in time")
		return false
	}
	return true
}

// wait takes a place in the line for the first endpoint; nil when it is full. wake says that the line was empty. When there is
// an endpoint by now, it is its turn at once.
func (b *backend) wait(limit int) (w *waiter, wake bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pool.Endpoints()) > 0 || b.left.Load() {
		w = &waiter{make(chan struct{})}
		close(w.turn)
		return w, false
	}
	wake = len(b.waiting.line) == 0
	return b.waiting.join(limit), wake
}
