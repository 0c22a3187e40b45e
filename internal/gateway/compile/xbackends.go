package compile

import (
	"fmt"
	"net/netip"
	"strings"

	gw "sigs.k8s.io/gateway-api/apis/v1"
	gwx "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// resolveX finds an XBackend: a host name outside the cluster.
func (t *translator) resolveX(key targetKey, where string) []portion {
	tg := t.look(key)
	if tg.x == nil {
		return t.lost(where, key.name.Name, gw.RouteReasonBackendNotFound, "XBackend %s does not exist", key.name)
	}
	if why := refusedX(tg.x); why != "" {
		return t.lost(where, key.name.Name, gw.RouteReasonUnsupportedProtocol, "XBackend %s: %s", key.name, why)
	}
	if tg.xtls.bad {
		return []portion{{why: "XBackend " + key.name.String() + ": " + tg.xtls.message, service: key.name.Name, weight: 1}}
	}
	b := config.Backend{Key: config.BackendKey{Kind: config.ExternalBackend, Name: key.name, Port: int32(tg.x.Spec.Port.Port)},
		Host: string(tg.x.Spec.ExternalHostname.Hostname), Policy: tg.policy("")}
	var tls *tlsPolicy
	if tg.xtls.used {
		tls = tg.xtls
	}
	switch protocol := or(tg.x.Spec.Protocol, gwx.BackendProtocolHTTP); {
	case protocol == gwx.BackendProtocolTCP || t.kind == kindTLSRoute:
		b.Speech = config.SpeakBytes
	case protocol == gwx.BackendProtocolHTTP11:
		b.Speech = config.SpeakHTTP1
	case tls != nil:
		b.Speech = config.SpeakAuto
	case protocol == gwx.BackendProtocolHTTP && t.kind != kindGRPCRoute:
		b.Speech = config.SpeakHTTP1
	default:
		b.Speech = config.SpeakH2C
	}
	return []portion{{backend: t.backend(b, tls), service: key.name.Name, weight: 1}}
}

// refusedX says why an XBackend is not served: what it asks for is unknown, or it leads where an outside name must not.
func refusedX(x *gwx.XBackend) string {
	if x.Spec.Type != gwx.BackendTypeExternalHostname || x.Spec.ExternalHostname == nil {
		return fmt.Sprintf("spec.type %q is not supported; use ExternalHostname", x.Spec.Type)
	}
	switch or(x.Spec.Protocol, gwx.BackendProtocolHTTP) {
	case gwx.BackendProtocolHTTP, gwx.BackendProtocolHTTP11, gwx.BackendProtocolHTTP2, gwx.BackendProtocolH2C, gwx.BackendProtocolGRPC, gwx.BackendProtocolTCP:
	default:
		return fmt.Sprintf("spec.protocol %s is not supported; use HTTP, HTTP11, HTTP2, H2C, GRPC or TCP", *x.Spec.Protocol)
	}
	host := strings.TrimSuffix(strings.ToLower(string(x.Spec.ExternalHostname.Hostname)), ".")
	if _, err := netip.ParseAddr(host); err == nil {
		return fmt.Sprintf("spec.externalHostname.hostname %s is an address; only names are allowed", host)
	}
	for _, inside := range []string{"localhost", "cluster.local", "metadata.google.internal"} {
		if host == inside || strings.HasSuffix(host, "."+inside) {
			return fmt.Sprintf("spec.externalHostname.hostname %s is not outside; refer to the Service itself", host)
		}
	}
	return ""
}

// xbackendTLS of an XBackend.
func (c *compilation) xbackendTLS(x *gwx.XBackend) *tlsPolicy {
	p := &tlsPolicy{}
	if x.Spec.TLS == nil || x.Spec.TLS.Mode == gwx.BackendTLSModeNone {
		return p
	}
	p.used = true
	c.trust(p, x.Namespace, &x.Spec.TLS.Validation)
	if x.Spec.TLS.Mode != gwx.BackendTLSModeClientAndServer {
		return p
	}
	ref := x.Spec.TLS.ClientCertificateRef
	if ref == nil {
		p.blame("InvalidClientCertificateRef", "tls.clientCertificateRef: it is needed with mode ClientAndServer")
		return p
	}
	name := config.Name{Namespace: namespaceOr(ref.Namespace, x.Namespace), Name: string(ref.Name)}
	r := reference{gwx.GroupName, kindXBackend, x.Namespace, "", "Secret", name.Namespace, name.Name}
	if !c.grants.allow(r) {
		p.blame("RefNotPermitted", "tls.clientCertificateRef: "+r.refusal())
	} else if pair := c.keyPair(name); pair.err != nil {
		p.blame("InvalidClientCertificateRef", "tls.clientCertificateRef: "+pair.err.Error())
	} else {
		p.settings.Certificate, p.settings.Key = pair.pem[0], pair.pem[1]
		p.version += " " + pair.version
	}
	p.version += " " + p.message
	return p
}
