package compile

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

const (
	// retryBackoff is waited before the first retry of a route that does not say.
	retryBackoff = 25 * time.Millisecond
	// retryAttempts of a route whose retry does not say how many.
	retryAttempts = 1
)

// timeouts of a rule. One that only bounds each try has no other bound.
func (t *translator) timeouts(i int, r *config.Rule, spec *gw.HTTPRouteTimeouts) {
	if spec == nil {
		return
	}
	if spec.BackendRequest != nil {
		d, err := duration(*spec.BackendRequest)
		if err != nil {
			t.breakRule(i, r, gw.RouteReasonUnsupportedValue, "timeouts.backendRequest: %s", err)
		}
		r.Timeouts = config.Timeouts{Try: d}
	}
	if spec.Request != nil {
		d, err := duration(*spec.Request)
		if err != nil {
			t.breakRule(i, r, gw.RouteReasonUnsupportedValue, "timeouts.request: %s", err)
		}
		r.Timeouts.Request = d
	}
	if r.Timeouts.Request > 0 && r.Timeouts.Try > r.Timeouts.Request {
		t.breakRule(i, r, gw.RouteReasonUnsupportedValue, "timeouts.backendRequest: %s is more than timeouts.request, %s", r.Timeouts.Try, r.Timeouts.Request)
	}
}

func (t *translator) retry(i int, r *config.Rule, spec *gw.HTTPRouteRetry, timeouts *gw.HTTPRouteTimeouts) {
	if spec == nil {
		return
	}
	retry := &config.Retry{Attempts: or(spec.Attempts, retryAttempts), Connect: true, Backoff: retryBackoff,
		Timeout: timeouts != nil && timeouts.BackendRequest != nil}
	for _, code := range spec.Codes {
		if code < 400 || code > 599 {
			t.breakRule(i, r, gw.RouteReasonUnsupportedValue, "retry.codes: %d is not between 400 and 599", code)
		}
		retry.Codes = append(retry.Codes, int(code))
	}
	if spec.Backoff != nil {
		d, err := duration(*spec.Backoff)
		if err != nil {
			t.breakRule(i, r, gw.RouteReasonUnsupportedValue, "retry.backoff: %s", err)
		}
		retry.Backoff = d
	}
	if retry.Attempts < 0 {
		t.breakRule(i, r, gw.RouteReasonUnsupportedValue, "retry.attempts: %d is less than 0", retry.Attempts)
	}
	r.Retry = retry
}

func (t *translator) session(i int, r *config.Rule, spec *gw.SessionPersistence, matches []config.Match) {
	if spec == nil {
		return
	}
	path := "/"
	if len(matches) == 1 && matches[0].Path.Kind != config.PathRegexp && matches[0].Path.Value != "" {
		path = matches[0].Path.Value
	}
	s, why := session(spec, path, r.Key.Kind+" "+r.Key.Name.String()+" "+r.Key.Rule)
	if why != "" {
		t.breakRule(i, r, gw.RouteReasonUnsupportedValue, "sessionPersistence.%s", why)
		return
	}
	r.Session = s
}

// session as the Gateway API describes it. Without a name it gets one that belongs to its rule alone, so that the tokens of
// two rules do not overwrite each other.
func session(spec *gw.SessionPersistence, path, of string) (*config.Session, string) {
	name := or(spec.SessionName, "")
	if name == "" {
		sum := sha256.Sum256([]byte(of))
		name = "fairway-" + hex.EncodeToString(sum[:4])
	}
	s := &config.Session{Path: path}
	switch or(spec.Type, gw.CookieBasedSessionPersistence) {
	case gw.CookieBasedSessionPersistence:
		s.Cookie = name
	case gw.HeaderBasedSessionPersistence:
		s.Header, s.Path = name, ""
	default:
		return nil, "type: it is not one of Cookie and Header"
	}
	if spec.AbsoluteTimeout != nil {
		d, err := duration(*spec.AbsoluteTimeout)
		if err != nil {
			return nil, "absoluteTimeout: " + err.Error()
		}
		s.Absolute = d
	}
	if spec.CookieConfig != nil && or(spec.CookieConfig.LifetimeType, gw.SessionCookieLifetimeType) == gw.PermanentCookieLifetimeType {
		if s.Absolute == 0 {
			return nil, "absoluteTimeout: it is needed with cookieConfig.lifetimeType Permanent"
		}
		s.Permanent = true
	}
	return s, ""
}
