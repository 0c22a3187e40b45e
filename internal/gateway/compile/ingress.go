package compile

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

const (
	kindIngress       = "Ingress"
	classAnnotation   = "kubernetes.io/ingress.class" // older than spec.ingressClassName
	defaultAnnotation = "ingressclass.kubernetes.io/is-default-class"
)

// entrance makes the listeners of Ingresses and foreign objects: one in clear text for all host names, and one for each
// host name that an Ingress has a certificate for.
func (c *compilation) entrance() {
	if len(c.in.IngressAddresses) == 0 {
		return
	}
	c.ingresses = slices.DeleteFunc(byAge(c.in.Ingresses), func(o *networkingv1.Ingress) bool { return !c.servesIngress(o) })
	p := &parent{key: parentKey{kind: kindIngress}}
	add := func(l *listener) {
		c.bind(l, c.in.IngressAddresses)
		c.entrances = append(c.entrances, l)
		c.listeners = append(c.listeners, l)
	}
	add(newListener(p, gw.Listener{Name: "http", Protocol: gw.HTTPProtocolType, Port: int32(orPort(c.in.IngressHTTPPort, 80))}))
	secured := map[string]*listener{}
	for _, o := range c.ingresses {
		for i, t := range o.Spec.TLS {
			c.secure(p, secured, o, i, t)
		}
	}
	for _, host := range sortedKeys(secured) {
		add(secured[host])
	}
}

// secure the host names of one entry of spec.tls. Where two Ingresses have a certificate for one, the older's counts.
func (c *compilation) secure(p *parent, secured map[string]*listener, o *networkingv1.Ingress, i int, t networkingv1.IngressTLS) {
	name := config.Name{Namespace: o.Namespace, Name: t.SecretName}
	where := fmt.Sprintf("spec.tls[%d].secretName: ", i)
	pair := c.keyPair(name)
	slot := fmt.Sprintf("%s %s %d", kindIngress, nameOf(o), i)
	cert := pair.certificate
	if pair.err != nil {
		message := where + pair.err.Error()
		kept, ok := c.last.served[slot]
		if !ok || kept.secret != name || c.secrets[name] == nil || !c.valid(kept.certificate) {
			c.warn(kindIngress, nameOf(o), string(gw.ListenerReasonInvalidCertificateRef), message)
			return
		}
		cert = kept.certificate
		c.warn(kindIngress, nameOf(o), string(gw.ListenerReasonInvalidCertificateRef), message+"; the certificate it held before is served")
	}
	c.next.served[slot] = servedPair{name, cert}
	hosts := t.Hosts
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	for _, host := range hosts {
		host = strings.ToLower(host)
		if secured[host] != nil {
			continue
		}
		h := gw.Hostname(host)
		l := newListener(p, gw.Listener{Name: gw.SectionName("https"), Protocol: gw.HTTPSProtocolType, Port: int32(orPort(c.in.IngressHTTPSPort, 443)), Hostname: &h})
		l.certificates = append(l.certificates, *cert)
		secured[host] = l
	}
}

func orPort(port, other uint16) uint16 {
	if port == 0 {
		return other
	}
	return port
}

// servesIngress tells whether an Ingress is of a class that is served: by name, by the class's controller, or by default.
func (c *compilation) servesIngress(o *networkingv1.Ingress) bool {
	name := or(o.Spec.IngressClassName, o.Annotations[classAnnotation])
	for _, class := range c.in.IngressClasses {
		if class.Spec.Controller == string(c.in.Controller) && (class.Name == name || name == "" && class.Annotations[defaultAnnotation] == "true") {
			return true
		}
	}
	return name == c.in.IngressClass || name != "" && slices.Contains(c.in.ForeignClasses, name)
}

// compileIngresses translates Ingresses, each host name for itself, with the canaries beside them.
func (c *compilation) compileIngresses() {
	canaries := c.canaries()
	for _, o := range c.ingresses {
		if isCanary(o) {
			continue
		}
		byHost := map[string][]int{}
		var hosts []string
		for i, rule := range o.Spec.Rules {
			host := strings.ToLower(rule.Host)
			if byHost[host] == nil {
				hosts = append(hosts, host)
			}
			byHost[host] = append(byHost[host], i)
		}
		if o.Spec.DefaultBackend != nil && byHost[""] == nil {
			hosts = append(hosts, "")
		}
		for _, host := range hosts {
			c.ingressHost(o, host, byHost[host], canaries[canaryKey{o.Namespace, host}])
		}
		c.ingressStatus(o)
	}
}

func (c *compilation) ingressHost(o *networkingv1.Ingress, host string, rules []int, canaries []*canary) {
	key := routeKey{kind: kindIngress, name: nameOf(o), part: host}
	version := versionOf(o)
	for _, cn := range canaries {
		version += " canary " + cn.version
	}
	k := c.make(c.last.routes[key], key, version, o, func(t *translator) {
		if host != "" {
			t.k.hostnames = []string{host}
		}
		for _, i := range rules {
			if http := o.Spec.Rules[i].HTTP; http != nil {
				for j := range http.Paths {
					t.ingressPath(i, j, &http.Paths[j], canaries)
				}
			}
		}
		if o.Spec.DefaultBackend != nil && host == "" {
			r := t.ruleNamed("default")
			r.Backends = shares([]weighted{{t.ingressBackend(o.Spec.DefaultBackend, "spec.defaultBackend"), 1, nil}})
			m := config.Match{Path: config.PathMatch{Kind: config.PathPrefix}, Rule: r}
			t.matchRanked(m, rank{class: 3})
		}
		if t.k.resolved.bad {
			t.warn(t.k.resolved.reason, t.k.resolved.message)
		}
		t.warnUnknownAnnotations(o)
		for _, cn := range canaries {
			t.warnUnknownAnnotations(cn.object)
		}
	})
	c.next.routes[key] = k
	c.attachEntrances(k)
}

// attachEntrances serves a translation at all entrances.
func (c *compilation) attachEntrances(k *compiled) {
	live := false
	for _, l := range c.entrances {
		c.attach(l, k)
		live = live || len(l.sockets) > 0
	}
	if live {
		c.live = append(c.live, k)
	}
}

// warn is an Event about the object that is translated; it is told as long as the translation is in use.
func (t *translator) warn(reason, message string) {
	t.k.warnings = append(t.k.warnings, Event{Kind: t.k.key.kind, Object: t.k.key.name, Warning: true, Reason: reason, Message: message})
}

func (t *translator) ingressPath(i, j int, spec *networkingv1.HTTPIngressPath, canaries []*canary) {
	where := fmt.Sprintf("spec.rules[%d].http.paths[%d]", i, j)
	r := t.ruleNamed(fmt.Sprintf("%d/%d", i, j))
	m := config.Match{Path: ingressPath(spec), Rule: r}
	stable := weighted{t.ingressBackend(&spec.Backend, where+".backend"), 1, nil}
	r.Backends = shares([]weighted{stable})
	for _, cn := range canaries {
		if p := cn.at(spec); p != nil {
			t.canary(r, m, stable, cn, p)
			break // NGINX too takes one canary for each path
		}
	}
	t.match(m)
}

func ingressPath(spec *networkingv1.HTTPIngressPath) config.PathMatch {
	if or(spec.PathType, networkingv1.PathTypePrefix) == networkingv1.PathTypeExact {
		return config.PathMatch{Kind: config.PathExact, Value: spec.Path}
	}
	return config.PathMatch{Kind: config.PathPrefix, Value: strings.TrimRight(spec.Path, "/")}
}

func (t *translator) ingressBackend(b *networkingv1.IngressBackend, where string) []portion {
	if b.Service == nil {
		return t.lost(where, "", gw.RouteReasonInvalidKind, "only backends of kind Service are supported; write service")
	}
	name := config.Name{Namespace: t.ns, Name: b.Service.Name}
	port := b.Service.Port.Number
	if b.Service.Port.Name != "" {
		s := t.look(targetKey{kindService, name}).service
		if s != nil {
			for _, p := range s.Spec.Ports {
				if p.Name == b.Service.Port.Name {
					port = p.Port
				}
			}
			if port == 0 {
				return t.lost(where, name.Name, gw.RouteReasonBackendNotFound, "Service %s has no port named %s", name, b.Service.Port.Name)
			}
		}
	}
	return t.resolveService(name, port, where, true)
}

// ingressStatus names the addresses that an Ingress is served at.
func (c *compilation) ingressStatus(o *networkingv1.Ingress) {
	var status networkingv1.IngressStatus
	for _, a := range c.in.IngressAddresses {
		at := networkingv1.IngressLoadBalancerIngress{IP: a.String(), Ports: []networkingv1.IngressPortStatus{{Port: int32(orPort(c.in.IngressHTTPPort, 80)), Protocol: "TCP"}}}
		if len(o.Spec.TLS) > 0 {
			at.Ports = append(at.Ports, networkingv1.IngressPortStatus{Port: int32(orPort(c.in.IngressHTTPSPort, 443)), Protocol: "TCP"})
		}
		status.LoadBalancer.Ingress = append(status.LoadBalancer.Ingress, at)
	}
	c.out.Statuses.Ingresses[nameOf(o)] = status
}
