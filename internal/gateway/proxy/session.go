package proxy

import (
	"strconv"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/balance"
	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// stickiness is the session of a request.
type stickiness struct {
	session *config.Session // nil = none
	token   balance.Sticky
	known   bool // the token was opened
}

// openSession reads the token that the client carries; backend is the only one that it may be for, "" = any of the rule.
func (x *exchange) openSession(backend string) {
	s := &x.sticky
	if s.session == nil {
		return
	}
	token := ""
	if s.session.Cookie != "" {
		token = x.cookie(s.session.Cookie)
	} else {
		token = header(x.head.Headers, strings.ToLower(s.session.Header))
	}
	if token == "" {
		return
	}
	s.token, s.known = x.g.sealer.Open(token, x.state.hash, s.session.Absolute, s.session.Idle, time.Now())
	s.known = s.known && (backend == "" || s.token.Backend == backend)
}

// stickyShare is the share that the session of the rule belongs to: its backend, as long as that has weight, else another one
// that has endpoints of the same revision. -1 = none.
func (x *exchange) stickyShare() int {
	x.sticky.session = x.rule.Session
	x.openSession("")
	if !x.sticky.known {
		return -1
	}
	token := &x.sticky.token
	shares := x.rule.Backends
	weights := *x.state.weights.Load()
	for i := range shares {
		b := shares[i].Backend
		if b != nil && i < len(weights) && weights[i] > 0 && b.Key.Name.String() == token.Backend && len(x.snapshot.backends[b.Index].pool.Endpoints()) > 0 {
			return i
		}
	}
	for i := range shares {
		b := shares[i].Backend
		if b == nil || i >= len(weights) || weights[i] <= 0 || token.Revision == "" {
			continue
		}
		for _, e := range x.snapshot.backends[b.Index].pool.Endpoints() {
			if e.Revision == token.Revision {
				return i
			}
		}
	}
	x.sticky.known = false
	return -1
}

// addSession gives the client a token, when it has none, belongs elsewhere now, or is to be seen again in time.
func (x *exchange) addSession() {
	s := &x.sticky
	if s.session == nil || x.record.Endpoint == nil {
		return
	}
	e := balance.Endpoint{Endpoint: *x.record.Endpoint}
	now := time.Now().Unix()
	next := balance.Sticky{Rule: x.state.hash, Backend: x.share.Backend.Key.Name.String(), Endpoint: e.ID(), Revision: e.Revision,
		Began: now, Seen: now}
	if s.known {
		next.Began = s.token.Began
		same := s.token.Endpoint == next.Endpoint && s.token.Backend == next.Backend && s.token.Revision == next.Revision
		if same && s.session.Idle == 0 {
			return
		}
	}
	token := x.g.sealer.Seal(next)
	if s.session.Cookie == "" {
		x.out = append(x.out, match.Header{Name: s.session.Header, Value: token})
		return
	}
	cookie := s.session.Cookie + "=" + token + "; HttpOnly; SameSite=Lax; Path="
	if s.session.Path == "" {
		cookie += "/"
	} else {
		cookie += s.session.Path
	}
	if x.peer.tls {
		cookie += "; Secure"
	}
	if s.session.Permanent && s.session.Absolute > 0 {
		left := next.Began + int64(s.session.Absolute/time.Second) - now
		cookie += "; Max-Age=" + strconv.FormatInt(max(left, 0), 10)
	}
	x.out = append(x.out, match.Header{Name: "Set-Cookie", Value: cookie})
}
