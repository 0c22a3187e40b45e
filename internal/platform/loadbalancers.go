package platform

import (
	"net/http"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/fairway-dev/fairway/internal/ship/traffic/elb"
)

// awsHandshakeMax bounds the beginning of a TLS connection to AWS; the client bounds each request as a whole.
const awsHandshakeMax = 10 * time.Second

// verifier asks AWS whether its load balancers follow Rollouts; nil where it is not to be asked. getenv reads the environment,
// which has AWS's credentials or says where they are.
func (h *House) verifier(getenv func(string) string) *elb.Verifier {
	v := verifierOf(h.Rollouts)
	if v == nil {
		return nil
	}
	// A verdict takes several requests, but comes 10 s after the one before at the soonest: connections that are kept in between
	// would keep goroutines without an owner.
	reach := &http.Transport{DialContext: h.Dial, DisableKeepAlives: true, TLSHandshakeTimeout: awsHandshakeMax, ForceAttemptHTTP2: true}
	if h.Dial == nil {
		reach.Proxy = http.ProxyFromEnvironment
	}
	v.Client, v.Reader = elb.NewClient(getenv, (&http.Client{Transport: reach}).Do), h.Manager.GetAPIReader()
	return v
}

// verifyingRules are the rights to verify, where it is asked for.
func verifyingRules(o RolloutOptions) []rbacv1.PolicyRule {
	if v := verifierOf(o); v != nil {
		return v.Rules()
	}
	return nil
}

// verifierOf options, without what it asks; nil where it is off.
func verifierOf(o RolloutOptions) *elb.Verifier {
	if !o.VerifyTargetGroups {
		return nil
	}
	return &elb.Verifier{Tag: o.TargetGroupTag, Bindings: o.TargetGroupBindings}
}
