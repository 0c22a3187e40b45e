package compile

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gw "sigs.k8s.io/gateway-api/apis/v1"
	gwx "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// policies are what the policies say of one backend.
type policies struct {
	version string
	tls     map[string]*tlsPolicy // by the name of the port; "" = all others
	backend *fairway.BackendPolicySpec
	traffic *gwx.BackendTrafficPolicySpec
	session *config.Session
	http2   string
}

// tlsPolicy is a BackendTLSPolicy, or what an XBackend says itself; bad when it cannot be trusted.
type tlsPolicy struct {
	verdict
	resolved verdict
	used     bool
	settings config.BackendTLS
	version  string
}

func (p *policies) tlsFor(port string) *tlsPolicy {
	if t := p.tls[port]; t != nil {
		return t
	}
	return p.tls[""]
}

// policy of a backend, or of a subset of it.
func (t *target) policy(subset string) config.Policy {
	out := config.Defaults()
	if t.rule != nil {
		t.rule.apply(&out, subset)
	}
	if t.policies == nil {
		return out
	}
	if t.policies.traffic != nil {
		applyTraffic(&out, t.policies.traffic)
		out.Session = t.policies.session
	}
	if t.policies.backend != nil {
		applyBackendPolicy(&out, t.policies.backend)
	}
	return out
}

// dressed is the policies of a backend, made when the first says something.
func (c *compilation) dressed(key targetKey) *policies {
	p := c.dresses[key]
	if p == nil {
		p = &policies{tls: map[string]*tlsPolicy{}, http2: "auto"}
		c.dresses[key] = p
	}
	return p
}

// resolvePolicies finds what counts for each backend: of several for the same the oldest.
func (c *compilation) resolvePolicies() {
	c.resolveForeignPolicies()
	for _, o := range byAge(c.in.BackendTLSPolicies) {
		c.backendTLSPolicy(o)
	}
	for _, o := range byAge(c.in.TrafficPolicies) {
		c.trafficPolicy(o)
	}
	for _, o := range byAge(c.in.BackendPolicies) {
		c.backendPolicy(o)
	}
}

// judged is a policy with what came of it, until it is known which Gateways it has to do with.
type judged struct {
	object   metav1.Object
	targets  []targetKey
	accepted verdict
	resolved *verdict
	write    func(gw.PolicyStatus)
}

func (c *compilation) backendTLSPolicy(o *gw.BackendTLSPolicy) {
	p := &tlsPolicy{used: true}
	c.trust(p, o.Namespace, &o.Spec.Validation)
	p.version = specVersion(o) + " " + p.version
	j := &judged{object: o, accepted: p.verdict, resolved: &p.resolved,
		write: func(s gw.PolicyStatus) { c.out.Statuses.BackendTLSPolicies[nameOf(o)] = s }}
	for i, ref := range o.Spec.TargetRefs {
		key, ok := policyTarget(string(ref.Group), string(ref.Kind), o.Namespace, string(ref.Name))
		if !ok || key.kind != kindService {
			j.accepted.blame(string(gw.PolicyReasonInvalid), fmt.Sprintf("targetRefs[%d]: kind %s is not supported; name a Service", i, ref.Kind))
			continue
		}
		j.targets = append(j.targets, key)
		section := string(or(ref.SectionName, ""))
		d := c.dressed(key)
		if d.tls[section] != nil {
			j.accepted.blame(string(gw.PolicyReasonConflicted), fmt.Sprintf("targetRefs[%d]: an older BackendTLSPolicy is for the same Service and port", i))
			continue
		}
		d.tls[section] = p
		d.version += " tls " + section + "=" + p.version
	}
	c.judged = append(c.judged, j)
}

// trust reads whom to trust. A policy of which no authority can be read is bad: it is not served in clear text instead.
func (c *compilation) trust(p *tlsPolicy, namespace string, v *gw.BackendTLSPolicyValidation) {
	p.settings.ServerName = string(v.Hostname)
	for _, s := range v.SubjectAltNames {
		if s.Type == gw.URISubjectAltNameType {
			p.settings.SANs = append(p.settings.SANs, string(s.URI))
		} else {
			p.settings.SANs = append(p.settings.SANs, string(s.Hostname))
		}
	}
	if len(v.CACertificateRefs) == 0 {
		if known := or(v.WellKnownCACertificates, ""); known != gw.WellKnownCACertificatesSystem {
			p.blame(string(gw.PolicyReasonInvalid), fmt.Sprintf("wellKnownCACertificates: %q is not supported; write System, or name caCertificateRefs", known))
		}
		return
	}
	for i, ref := range v.CACertificateRefs {
		where := fmt.Sprintf("caCertificateRefs[%d]: ", i)
		if ref.Group != "" || ref.Kind != "ConfigMap" {
			p.resolved.blame(string(gw.BackendTLSPolicyReasonInvalidKind), where+fmt.Sprintf("kind %s is not supported; name a ConfigMap", ref.Kind))
			continue
		}
		name := config.Name{Namespace: namespace, Name: string(ref.Name)}
		ca, err := c.authority(name)
		if err != nil {
			p.resolved.blame(string(gw.BackendTLSPolicyReasonInvalidCACertificateRef), where+err.Error())
			p.version += " " + name.Name + " bad"
			continue
		}
		p.version += " " + name.Name + "=" + versionOf(c.configMaps[name])
		p.settings.CAs = append(append(p.settings.CAs, ca...), '\n')
	}
	if p.settings.CAs == nil {
		p.blame(string(gw.BackendTLSPolicyReasonNoValidCACertificate), p.resolved.message)
	}
}

func policyTarget(group, kind, namespace, name string) (targetKey, bool) {
	key := targetKey{kind, config.Name{Namespace: namespace, Name: name}}
	if kind == "" {
		key.kind = kindService
	}
	return key, group == "" && key.kind == kindService || group == gwx.GroupName && kind == kindXBackend
}

func (c *compilation) trafficPolicy(o *gwx.XBackendTrafficPolicy) {
	j := &judged{object: o, write: func(s gw.PolicyStatus) { c.out.Statuses.TrafficPolicies[nameOf(o)] = s }}
	c.judged = append(c.judged, j)
	var s *config.Session
	if o.Spec.SessionPersistence != nil {
		var why string
		if s, why = session(o.Spec.SessionPersistence, "/", "XBackendTrafficPolicy "+nameOf(o).String()); why != "" {
			j.accepted.blame(string(gw.PolicyReasonInvalid), "sessionPersistence."+why)
		}
	}
	if err := applyTraffic(new(config.Policy), &o.Spec); err != nil {
		j.accepted.blame(string(gw.PolicyReasonInvalid), err.Error())
	}
	for i, ref := range o.Spec.TargetRefs {
		key, ok := policyTarget(string(ref.Group), string(ref.Kind), o.Namespace, string(ref.Name))
		if !ok {
			j.accepted.blame(string(gw.PolicyReasonInvalid), fmt.Sprintf("targetRefs[%d]: kind %s is not supported; name a Service or an XBackend", i, ref.Kind))
			continue
		}
		j.targets = append(j.targets, key)
		d := c.dressed(key)
		if d.traffic != nil {
			j.accepted.blame(string(gw.PolicyReasonConflicted), fmt.Sprintf("targetRefs[%d]: an older XBackendTrafficPolicy is for the same backend", i))
			continue
		}
		if j.accepted.bad {
			continue
		}
		d.traffic, d.session = &o.Spec, s
		d.version += " traffic=" + specVersion(o)
	}
}

// applyTraffic sets the budget of retries; its defaults are those of the Gateway API.
func applyTraffic(out *config.Policy, spec *gwx.BackendTrafficPolicySpec) error {
	rc := spec.RetryConstraint
	if rc == nil {
		return nil
	}
	var err error
	interval := func(to *time.Duration, d *gw.Duration, where string) {
		if d == nil || err != nil {
			return
		}
		if *to, err = duration(*d); err != nil {
			err = fmt.Errorf("retryConstraint.%s: %w", where, err)
		}
	}
	if rc.Budget != nil {
		out.BudgetPercent = or(rc.Budget.Percent, out.BudgetPercent)
		interval(&out.BudgetInterval, rc.Budget.Interval, "budget.interval")
	}
	if rc.MinRetryRate != nil {
		out.BudgetRate = or(rc.MinRetryRate.Count, out.BudgetRate)
		interval(&out.BudgetRateInterval, rc.MinRetryRate.Interval, "minRetryRate.interval")
	}
	return err
}

func (c *compilation) backendPolicy(o *fairway.BackendPolicy) {
	var v verdict
	if why := applyBackendPolicy(new(config.Policy), &o.Spec); why != "" {
		v.blame(string(gw.PolicyReasonInvalid), why)
	}
	for i, ref := range o.Spec.TargetRefs {
		where := fmt.Sprintf("targetRefs[%d]: ", i)
		key, ok := policyTarget(ref.Group, ref.Kind, o.Namespace, ref.Name)
		if !ok {
			v.blame(string(gw.PolicyReasonInvalid), where+"kind "+ref.Kind+" is not supported; name a Service or an XBackend")
			continue
		}
		if key.kind == kindService && c.services[key.name] == nil || key.kind == kindXBackend && c.xbackends[key.name] == nil {
			v.blame(string(gw.PolicyReasonTargetNotFound), where+key.kind+" "+key.name.String()+" does not exist")
		}
		d := c.dressed(key)
		if d.backend != nil {
			v.blame(string(gw.PolicyReasonConflicted), where+"an older BackendPolicy is for the same backend")
			continue
		}
		if v.bad && v.reason == string(gw.PolicyReasonInvalid) {
			continue
		}
		d.backend = &o.Spec
		d.version += " backend=" + specVersion(o)
		if o.Spec.Connection != nil && o.Spec.Connection.HTTP2 != "" {
			d.http2 = o.Spec.Connection.HTTP2
		}
	}
	c.out.Statuses.BackendPolicies[nameOf(o)] = fairway.BackendPolicyStatus{Conditions: []metav1.Condition{
		condition(gw.PolicyConditionAccepted, v, o.Generation, gw.PolicyReasonAccepted, "")}}
}

// noteAncestors remembers which Gateways a backend with policies is served by.
func (c *compilation) noteAncestors(k *compiled, cl *claim) {
	if len(cl.listeners) == 0 || cl.parent.gateway == nil {
		return
	}
	for key := range k.targets {
		if c.dresses[key] == nil && key.kind != kindXBackend {
			continue
		}
		if c.ancestors[key] == nil {
			c.ancestors[key] = nameSet{}
		}
		c.ancestors[key].add(nameOf(cl.parent.gateway))
	}
}

// reportPolicies says of each policy and XBackend, for each Gateway it has to do with, what came of it.
func (c *compilation) reportPolicies() {
	for _, j := range c.judged {
		gateways := nameSet{}
		for _, key := range j.targets {
			for g := range c.ancestors[key] {
				gateways.add(g)
			}
		}
		if len(gateways) == 0 {
			continue
		}
		conditions := []metav1.Condition{condition(gw.PolicyConditionAccepted, j.accepted, j.object.GetGeneration(), gw.PolicyReasonAccepted, "")}
		if j.resolved != nil {
			conditions = append(conditions, condition(gw.BackendTLSPolicyConditionResolvedRefs, *j.resolved, j.object.GetGeneration(), gw.BackendTLSPolicyReasonResolvedRefs, ""))
		}
		status := gw.PolicyStatus{}
		for _, g := range gateways.sorted() {
			status.Ancestors = append(status.Ancestors, gw.PolicyAncestorStatus{AncestorRef: gatewayRef(g), ControllerName: c.in.Controller, Conditions: conditions})
		}
		j.write(status)
	}
	for _, x := range c.in.XBackends {
		key := targetKey{kindXBackend, nameOf(x)}
		if len(c.ancestors[key]) == 0 {
			continue
		}
		v := verdict{}
		if why := refusedX(x); why != "" {
			v.blame(string(gw.PolicyReasonInvalid), why)
		} else if tls := c.target(key).xtls; tls.bad {
			v = tls.verdict
		}
		var status gwx.BackendStatus
		for _, g := range c.ancestors[key].sorted() {
			status.Ancestors = append(status.Ancestors, gwx.BackendAncestorStatus{AncestorRef: gatewayRef(g), ControllerName: c.in.Controller,
				Conditions: []metav1.Condition{condition(gw.PolicyConditionAccepted, v, x.Generation, gw.PolicyReasonAccepted, "")}})
		}
		c.out.Statuses.XBackends[key.name] = status
	}
}

func gatewayRef(g config.Name) gw.ParentReference {
	group, kind, ns := gw.Group(gw.GroupName), gw.Kind(kindGateway), gw.Namespace(g.Namespace)
	return gw.ParentReference{Group: &group, Kind: &kind, Namespace: &ns, Name: gw.ObjectName(g.Name)}
}

// applyBackendPolicy sets what a policy says, and tells what of it makes no sense.
func applyBackendPolicy(out *config.Policy, spec *fairway.BackendPolicySpec) (why string) {
	if lb := spec.LoadBalancing; lb != nil {
		switch lb.Algorithm {
		case "", "P2C":
			out.Algorithm = config.P2C
		case "RoundRobin":
			out.Algorithm = config.RoundRobin
		case "LeastRequest":
			out.Algorithm = config.LeastRequest
		case "Random":
			out.Algorithm = config.Random
		case "ConsistentHash":
			out.Algorithm = config.ConsistentHash
			k := lb.ConsistentHash
			if k == nil || k.Header == "" && k.Cookie == "" && k.Query == "" && !k.SourceIP {
				return "loadBalancing.consistentHash: the algorithm ConsistentHash needs one of header, cookie, query and sourceIP"
			}
			out.HashHeader, out.HashCookie, out.HashQuery, out.HashSource = strings.ToLower(k.Header), k.Cookie, k.Query, k.SourceIP
		default:
			return fmt.Sprintf("loadBalancing.algorithm: %q is not one of P2C, RoundRobin, LeastRequest, Random and ConsistentHash", lb.Algorithm)
		}
		length(&out.SlowStart, lb.SlowStart)
	}
	if cb := spec.CircuitBreaker; cb != nil {
		number(&out.MaxConnections, cb.MaxConnections)
		number(&out.MaxPending, cb.MaxPending)
		number(&out.MaxRequests, cb.MaxRequests)
	}
	if spec.OutlierDetection != nil {
		o := config.DefaultOutlier()
		d := spec.OutlierDetection
		number(&o.Consecutive5xx, d.Consecutive5xx)
		number(&o.ConsecutiveGatewayErrors, d.ConsecutiveGatewayErrors)
		number(&o.MaxEjectedPercent, d.MaxEjectedPercent)
		number(&o.PanicBelowPercent, d.PanicBelowPercent)
		length(&o.Interval, d.Interval)
		length(&o.BaseEjection, d.BaseEjection)
		length(&o.MaxEjection, d.MaxEjection)
		out.Outlier = &o
	}
	if cn := spec.Connection; cn != nil {
		length(&out.ConnectTimeout, cn.ConnectTimeout)
		length(&out.IdleTimeout, cn.IdleTimeout)
		length(&out.KeepAlive, cn.KeepAlive)
		number(&out.MaxIdlePerEndpoint, cn.MaxIdlePerEndpoint)
		number(&out.MaxRequestsPerConnection, cn.MaxRequestsPerConnection)
	}
	if z := spec.ScaleToZero; z != nil {
		h := config.Hold{For: 30 * time.Second, MaxPending: 1000, MaxBodyBytes: 1 << 20}
		length(&h.For, z.Hold)
		number(&h.MaxPending, z.MaxPending)
		h.MaxBodyBytes = or(z.MaxBodyBytes, h.MaxBodyBytes)
		out.Hold = &h
	}
	if why := applyLocality(out, spec.Locality); why != "" {
		return why
	}
	if spec.HealthCheck != nil && spec.HealthCheck.Active != nil {
		return applyHealth(out, spec.HealthCheck.Active)
	}
	return ""
}

// probeEvery is the shortest interval of probes: more often, they would be a load of their own.
const probeEvery = 100 * time.Millisecond

func applyHealth(out *config.Policy, a *fairway.ActiveHealthCheck) string {
	const field = "healthCheck.active."
	h := config.DefaultHealth()
	length(&h.Interval, a.Interval)
	h.Timeout = min(h.Timeout, h.Interval)
	length(&h.Timeout, a.Timeout)
	number(&h.Healthy, a.Healthy)
	number(&h.Unhealthy, a.Unhealthy)
	if a.GRPC != nil {
		h.GRPC, h.Service = true, a.GRPC.Service
	}
	if a.Path != "" {
		h.Path = a.Path
	}
	if low, high, ok := strings.Cut(a.Expected, "-"); low != "" {
		h.Lowest, _ = strconv.Atoi(low) // 0 is refused below
		if h.Highest = h.Lowest; ok {
			h.Highest, _ = strconv.Atoi(high)
		}
	}
	switch _, err := url.ParseRequestURI(h.Path); {
	case h.Interval < probeEvery:
		return fmt.Sprintf("%sinterval: %v is less than %v", field, h.Interval, probeEvery)
	case h.Timeout <= 0 || h.Timeout > h.Interval:
		return fmt.Sprintf("%stimeout: %v is not more than 0 and at most the interval, %v", field, h.Timeout, h.Interval)
	case h.GRPC && (a.Path != "" || a.Expected != ""):
		return field + "grpc: a probe of gRPC has no path and expects no status; leave them out, or grpc"
	case err != nil || h.Path[0] != '/':
		return fmt.Sprintf("%spath: %q is not a path such as /healthz", field, h.Path)
	case h.Lowest < 100 || h.Highest > 599 || h.Lowest > h.Highest:
		return fmt.Sprintf("%sexpected: %q is no status such as 200 and no range such as 200-399", field, a.Expected)
	case h.Healthy < 1 || h.Unhealthy < 1:
		return field + "healthy and unhealthy are at least 1"
	}
	out.Health = &h
	return ""
}

func applyLocality(out *config.Policy, l *fairway.Locality) string {
	if l == nil {
		return ""
	}
	out.Zone = l.Mode != "Any"
	if l.Overprovision == "" {
		return ""
	}
	f, err := strconv.ParseFloat(l.Overprovision, 64)
	if err != nil || f < 1 || f > 100 {
		return fmt.Sprintf("locality.overprovision: %q is not a number from 1 to 100", l.Overprovision)
	}
	out.Overprovision = f
	return ""
}

func length(to *time.Duration, d *fairway.Duration) {
	if d != nil {
		*to = d.Duration
	}
}

func number(to *int, n *int32) {
	if n != nil {
		*to = int(*n)
	}
}
