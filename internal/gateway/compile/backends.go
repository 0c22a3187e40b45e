package compile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gw "sigs.k8s.io/gateway-api/apis/v1"
	gwx "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// Kinds of backends.
const (
	kindService  = "Service"
	kindXBackend = "XBackend"
)

// targetKey names what a reference to a backend names.
type targetKey struct {
	kind string
	name config.Name
}

// target is a backend with all that other objects say of it, as it is now. It is the same pointer from one Compile to the
// next as long as none of them changed; that is how a route learns whether it has to be translated again.
type target struct {
	version  string
	service  *corev1.Service
	x        *gwx.XBackend
	xtls     *tlsPolicy // of an XBackend
	policies *policies
	split    *split
	rule     *destination
}

// target that a name stands for, whether it exists or not.
func (c *compilation) target(key targetKey) *target {
	if done := c.targets[key]; done != nil {
		return done
	}
	t := &target{policies: c.dresses[key]}
	switch key.kind {
	case kindService:
		t.service, t.split, t.rule = c.services[key.name], c.splits[key.name], c.subsets[key.name]
		if t.service != nil {
			t.version = versionOf(t.service)
		}
		if t.split != nil {
			t.version += " split " + t.split.version
		}
		if t.rule != nil {
			t.version += " rule " + t.rule.version
		}
	case kindXBackend:
		if t.x = c.xbackends[key.name]; t.x != nil {
			t.xtls = c.xbackendTLS(t.x)
			t.version = specVersion(t.x) + " tls " + t.xtls.version
		}
	}
	if t.policies != nil {
		t.version += " policies " + t.policies.version
	}
	if last := c.last.targets[key]; last != nil && last.version == t.version {
		t = last
	}
	c.targets[key], c.next.targets[key] = t, t
	return t
}

// portion of the requests that a reference gets; several where a TrafficSplit divides them further.
type portion struct {
	backend *config.Backend
	why     string
	service string
	weight  int64
}

// weighted is a reference with its weight.
type weighted struct {
	found   []portion
	weight  int32
	filters []config.Filter
}

// shares of the references of a rule. Where splits divide a reference, all weights grow so that none has to be rounded.
func shares(list []weighted) []config.Share {
	scale := int64(1)
	for _, w := range list {
		if total := w.total(); total > 0 {
			scale = scale / gcd(scale, total) * total
		}
	}
	var out []config.Share
	var weights []int64
	for _, w := range list {
		total := max(w.total(), 1)
		for _, p := range w.found {
			out = append(out, config.Share{Backend: p.backend, Why: p.why, Filters: w.filters, Service: p.service})
			weights = append(weights, int64(w.weight)*p.weight*(scale/total))
		}
	}
	divisor := int64(0)
	if scale > 1 { // weights stay as they were written where nothing is divided
		for _, w := range weights {
			divisor = gcd(divisor, w)
		}
	}
	for i, w := range weights {
		out[i].Weight = int32(min(w/max(divisor, 1), 1<<30))
	}
	return out
}

func (w weighted) total() int64 {
	total := int64(0)
	for _, p := range w.found {
		total += p.weight
	}
	return total
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// lost is a reference that cannot be resolved: its share is answered 500, and the route told why.
func (t *translator) lost(where, name string, reason gw.RouteConditionReason, format string, args ...any) []portion {
	why := fmt.Sprintf(format, args...)
	t.k.resolved.blame(string(reason), where+": "+why)
	return []portion{{why: why, service: name, weight: 1}}
}

// resolve a reference to a backend.
func (t *translator) resolve(ref gw.BackendObjectReference, where string) []portion {
	group, kind := string(or(ref.Group, "")), string(or(ref.Kind, kindService))
	key := targetKey{kind, config.Name{Namespace: namespaceOr(ref.Namespace, t.ns), Name: string(ref.Name)}}
	if (group != "" || kind != kindService) && (group != gwx.GroupName || kind != kindXBackend) {
		return t.lost(where, key.name.Name, gw.RouteReasonInvalidKind, "kind %s of group %q is not supported; use Service or XBackend", kind, group)
	}
	if key.name.Namespace != t.ns {
		t.k.grants[key.name.Namespace] = t.c.grants.version(key.name.Namespace)
		r := reference{gw.GroupName, t.kind, t.ns, group, kind, key.name.Namespace, key.name.Name}
		if !t.c.grants.allow(r) {
			return t.lost(where, key.name.Name, gw.RouteReasonRefNotPermitted, "%s", r.refusal())
		}
	}
	if kind == kindXBackend {
		return t.resolveX(key, where)
	}
	return t.resolveService(key.name, or(ref.Port, 0), where, true)
}

// resolveService finds a port of a Service; with split, a TrafficSplit of it divides the requests further.
func (t *translator) resolveService(name config.Name, port int32, where string, split bool) []portion {
	tg := t.look(targetKey{kindService, name})
	if split && tg.split != nil {
		var out []portion
		for _, b := range tg.split.backends {
			p := t.resolveService(config.Name{Namespace: name.Namespace, Name: b.service}, port, where, false)
			p[0].weight = b.weight
			out = append(out, p[0])
		}
		return out
	}
	if tg.service == nil {
		return t.lost(where, name.Name, gw.RouteReasonBackendNotFound, "Service %s does not exist", name)
	}
	if why := t.c.forbidden(tg.service); why != "" {
		return t.lost(where, name.Name, gw.RouteReasonRefNotPermitted, "%s", why)
	}
	if tg.service.Spec.Type == corev1.ServiceTypeExternalName {
		return t.lost(where, name.Name, gw.RouteReasonInvalidKind, "Service %s is of type ExternalName, which leads out of the cluster unseen; use an XBackend", name)
	}
	p := portOf(tg.service, port)
	if p == nil {
		return t.lost(where, name.Name, gw.RouteReasonBackendNotFound, "Service %s has no port %d", name, port)
	}
	speech, tls, why := t.speech(tg, p)
	if why != "" {
		return t.lost(where, name.Name, gw.RouteReasonUnsupportedProtocol, "port %d of Service %s: %s", p.Port, name, why)
	}
	if tls != nil && tls.bad {
		return []portion{{why: "its BackendTLSPolicy is not valid: " + tls.message, service: name.Name, weight: 1}}
	}
	b := config.Backend{Key: config.BackendKey{Kind: config.ServiceBackend, Name: name, Port: p.Port}, Speech: speech, Policy: tg.policy("")}
	return []portion{{backend: t.backend(b, tls), service: name.Name, weight: 1}}
}

// subset of a Service, of a DestinationRule.
func (t *translator) subset(name config.Name, port int32, subset, where string) []portion {
	found := t.resolveService(name, port, where, true)
	tg := t.look(targetKey{kindService, name})
	if subset == "" || len(found) != 1 || found[0].backend == nil {
		return found
	}
	if tg.rule == nil || tg.rule.subsets[subset] == nil {
		return t.lost(where, name.Name, gw.RouteReasonBackendNotFound, "no DestinationRule of %s has a subset %q", name, subset)
	}
	b := *found[0].backend
	b.Key.Kind, b.Key.Subset = config.SubsetBackend, subset
	b.Labels, b.Policy = tg.rule.subsets[subset].labels, tg.policy(subset)
	found[0].backend = t.register(b)
	return found
}

// look notes that the translation depends on a target.
func (t *translator) look(key targetKey) *target {
	tg := t.c.target(key)
	t.k.targets[key] = tg
	if key.kind == kindService {
		t.c.servicesN.add(key.name)
	}
	return tg
}

// forbidden are Services that a route must not open to the outside.
func (c *compilation) forbidden(s *corev1.Service) string {
	if c.in.AllowSystemBackends {
		return ""
	}
	if s.Namespace == "kube-system" || s.Namespace == "default" && s.Name == "kubernetes" {
		return fmt.Sprintf("Service %s belongs to the cluster itself, which is not opened to the outside", nameOf(s))
	}
	return ""
}

// portOf a Service by number; 0 stands for the only one.
func portOf(s *corev1.Service, port int32) *corev1.ServicePort {
	for i := range s.Spec.Ports {
		if p := &s.Spec.Ports[i]; p.Port == port || port == 0 && len(s.Spec.Ports) == 1 {
			return p
		}
	}
	return nil
}

// speech is how a port is spoken to, by its appProtocol (KEP-3726), its policies and the kind of the route.
func (t *translator) speech(tg *target, p *corev1.ServicePort) (config.Speech, *tlsPolicy, string) {
	var tls *tlsPolicy
	http2 := "auto"
	if tg.policies != nil {
		tls, http2 = tg.policies.tlsFor(p.Name), tg.policies.http2
	}
	if p.Protocol == corev1.ProtocolUDP || p.Protocol == corev1.ProtocolSCTP {
		return 0, nil, fmt.Sprintf("protocol %s is not served; use TCP", p.Protocol)
	}
	if t.kind == kindTLSRoute {
		return config.SpeakBytes, tls, ""
	}
	speech := config.SpeakHTTP1
	switch app := strings.ToLower(or(p.AppProtocol, "")); app {
	case "kubernetes.io/h2c", "h2c", "http2", "grpc", "kubernetes.io/grpc":
		speech = config.SpeakH2C
	case "kubernetes.io/wss", "https":
		if tls == nil {
			return 0, nil, fmt.Sprintf("appProtocol %s needs a BackendTLSPolicy that says whom to trust", app)
		}
	case "kubernetes.io/ws", "http", "":
	default:
		if strings.HasPrefix(app, "kubernetes.io/") {
			return 0, nil, fmt.Sprintf("appProtocol %s is not supported by %s", app, t.kind)
		}
	}
	if t.kind == kindGRPCRoute || http2 == "always" {
		speech = config.SpeakH2C
	}
	if tls != nil && http2 != "never" {
		speech = config.SpeakAuto
	}
	return speech, tls, ""
}

// backend with what TLS adds to it.
func (t *translator) backend(b config.Backend, tls *tlsPolicy) *config.Backend {
	if tls != nil {
		settings := tls.settings
		if settings.Certificate == nil && t.id != nil && !t.id.bad {
			settings.Certificate, settings.Key = t.id.crt, t.id.key
		}
		b.TLS = &settings
	}
	b.Key.Dress = dress(&b)
	return t.register(b)
}

// register a backend: the one of last time if nothing of it is different.
func (t *translator) register(b config.Backend) *config.Backend {
	b.Index = -1
	have := t.c.next.backends[b.Key]
	if have == nil {
		have = t.c.last.backends[b.Key]
	}
	if have != nil {
		same := b
		same.Index = have.Index
		if reflect.DeepEqual(&same, have) {
			t.use(have)
			return have
		}
	}
	t.use(&b)
	return &b
}

func (t *translator) use(b *config.Backend) {
	t.c.next.backends[b.Key] = b
	t.k.backends = append(t.k.backends, b)
}

// dress tells apart how the same endpoints are spoken to.
func dress(b *config.Backend) string {
	if b.TLS == nil && b.Speech == config.SpeakHTTP1 {
		return ""
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", b.Speech)
	if b.TLS != nil {
		fmt.Fprintf(h, "%q %q %q %q", b.TLS.ServerName, b.TLS.CAs, b.TLS.SANs, b.TLS.Certificate)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

func (id *identity) version() string {
	sum := sha256.Sum256(id.crt)
	return hex.EncodeToString(sum[:6])
}
