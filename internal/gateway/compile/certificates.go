package compile

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// keyPair is a parsed Secret, kept as long as the Secret is the same.
type keyPair struct {
	version     string
	certificate *tls.Certificate
	pem         [2][]byte
	err         error
}

// identity is the certificate that a Gateway shows its backends; nil = none.
type identity struct {
	verdict
	gateway  config.Name
	key, crt []byte
}

// keyPair reads a Secret of TLS.
func (c *compilation) keyPair(name config.Name) keyPair {
	c.secretsN.add(name)
	if done, ok := c.next.pairs[name]; ok {
		return done
	}
	s := c.secrets[name]
	if s == nil {
		pair := keyPair{err: fmt.Errorf("the Secret %s does not exist", name)}
		c.next.pairs[name] = pair
		return pair
	}
	version := versionOf(s)
	pair, ok := c.last.pairs[name]
	if !ok || pair.version != version {
		pair = parsePair(s)
		pair.version = version
	}
	c.next.pairs[name] = pair
	return pair
}

func parsePair(s *corev1.Secret) keyPair {
	crt, key := s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]
	if len(crt) == 0 || len(key) == 0 {
		return keyPair{err: fmt.Errorf("the Secret %s has no %s and %s", nameOf(s), corev1.TLSCertKey, corev1.TLSPrivateKeyKey)}
	}
	cert, err := tls.X509KeyPair(crt, key)
	if err != nil {
		return keyPair{err: fmt.Errorf("the Secret %s holds no certificate with its key: %w", nameOf(s), err)}
	}
	return keyPair{certificate: &cert, pem: [2][]byte{crt, key}}
}

// resolveTLS finds the certificates of a listener and what it asks of its clients.
func (c *compilation) resolveTLS(l *listener) {
	if !l.terminates() {
		return
	}
	var refs []gw.SecretObjectReference
	if l.spec.TLS != nil {
		refs = l.spec.TLS.CertificateRefs
	}
	if len(refs) == 0 {
		l.resolved.blame(string(gw.ListenerReasonInvalidCertificateRef), "tls.certificateRefs: TLS ends here, but there is no certificate; name a Secret")
	}
	for i, ref := range refs {
		c.listenerCertificate(l, i, ref)
	}
	if l.spec.Protocol == gw.HTTPSProtocolType && l.parent.gateway != nil {
		c.clientValidation(l)
	}
}

func (c *compilation) listenerCertificate(l *listener, i int, ref gw.SecretObjectReference) {
	owner := l.owner()
	group, kind := string(or(ref.Group, "")), string(or(ref.Kind, "Secret"))
	name := config.Name{Namespace: namespaceOr(ref.Namespace, owner.name.Namespace), Name: string(ref.Name)}
	where := fmt.Sprintf("tls.certificateRefs[%d]", i)
	if group != "" || kind != "Secret" {
		l.resolved.blame(string(gw.ListenerReasonInvalidCertificateRef), fmt.Sprintf("%s: kind %s is not supported; name a Secret", where, kind))
		return
	}
	r := reference{gw.GroupName, owner.kind, owner.name.Namespace, "", "Secret", name.Namespace, name.Name}
	if !c.grants.allow(r) {
		l.resolved.blame(string(gw.ListenerReasonRefNotPermitted), where+": "+r.refusal())
		return
	}
	slot := fmt.Sprintf("%s %s %s %d", owner.kind, owner.name, l.spec.Name, i)
	pair := c.keyPair(name)
	if pair.err == nil {
		l.certificates = append(l.certificates, *pair.certificate)
		c.next.served[slot] = servedPair{name, pair.certificate}
		return
	}
	message := where + ": " + pair.err.Error()
	// A Secret that is there but has become unreadable does not take down who is served with what it held before.
	if kept, ok := c.last.served[slot]; ok && kept.secret == name && c.secrets[name] != nil && c.valid(kept.certificate) {
		l.certificates = append(l.certificates, *kept.certificate)
		c.next.served[slot] = kept
		message += fmt.Sprintf("; the certificate it held before is served until it ends at %s", kept.certificate.Leaf.NotAfter.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	l.resolved.blame(string(gw.ListenerReasonInvalidCertificateRef), message)
}

func (c *compilation) valid(cert *tls.Certificate) bool {
	return cert.Leaf != nil && c.in.Now.Before(cert.Leaf.NotAfter)
}

// clientValidation is what a Gateway asks of clients on the port of a listener (GatewayFrontendClientCertificateValidation).
func (c *compilation) clientValidation(l *listener) {
	g := l.parent.gateway
	if g.Spec.TLS == nil || g.Spec.TLS.Frontend == nil {
		return
	}
	validation := g.Spec.TLS.Frontend.Default.Validation
	for _, p := range g.Spec.TLS.Frontend.PerPort {
		if p.Port == l.spec.Port {
			validation = p.TLS.Validation
		}
	}
	if validation == nil {
		return
	}
	var cas []byte
	for i, ref := range validation.CACertificateRefs {
		name := config.Name{Namespace: namespaceOr(ref.Namespace, g.Namespace), Name: string(ref.Name)}
		where := fmt.Sprintf("the client validation's caCertificateRefs[%d]", i)
		if ref.Group != "" || ref.Kind != "ConfigMap" {
			l.resolved.blame(string(gw.ListenerReasonInvalidCACertificateKind), fmt.Sprintf("%s: kind %s is not supported; name a ConfigMap", where, ref.Kind))
			continue
		}
		r := reference{gw.GroupName, kindGateway, g.Namespace, "", "ConfigMap", name.Namespace, name.Name}
		if !c.grants.allow(r) {
			l.resolved.blame(string(gw.ListenerReasonRefNotPermitted), where+": "+r.refusal())
			continue
		}
		ca, err := c.authority(name)
		if err != nil {
			l.resolved.blame(string(gw.ListenerReasonInvalidCACertificateRef), where+": "+err.Error())
			continue
		}
		cas = append(append(cas, ca...), '\n')
	}
	if cas == nil {
		l.accepted.blame(string(gw.ListenerReasonNoValidCACertificate), "no certificate authority for clients: "+l.resolved.message)
		return
	}
	l.insecure = validation.Mode == gw.AllowInsecureFallback
	l.clients = &config.ClientValidation{CAs: cas, Insecure: l.insecure}
}

// authority is the ca.crt of a ConfigMap: at least one certificate in PEM.
func (c *compilation) authority(name config.Name) ([]byte, error) {
	c.mapsN.add(name)
	m := c.configMaps[name]
	if m == nil {
		return nil, fmt.Errorf("the ConfigMap %s does not exist", name)
	}
	text := []byte(m.Data["ca.crt"])
	if len(text) == 0 {
		return nil, fmt.Errorf("the ConfigMap %s has no ca.crt", name)
	}
	if err := certificatesIn(text); err != nil {
		return nil, fmt.Errorf("the ConfigMap %s, ca.crt: %w", name, err)
	}
	return text, nil
}

func certificatesIn(text []byte) error {
	found := false
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return err
		}
		found = true
	}
	if !found {
		return errors.New("there is no certificate in PEM")
	}
	return nil
}

// identity of a Gateway towards its backends (GatewayBackendClientCertificate).
func (c *compilation) identity(p *parent) *identity {
	g := p.gateway
	if g.Spec.TLS == nil || g.Spec.TLS.Backend == nil || g.Spec.TLS.Backend.ClientCertificateRef == nil {
		return nil
	}
	id, ref := &identity{gateway: p.key.name}, g.Spec.TLS.Backend.ClientCertificateRef
	name := config.Name{Namespace: namespaceOr(ref.Namespace, g.Namespace), Name: string(ref.Name)}
	const where = "tls.backend.clientCertificateRef: "
	r := reference{gw.GroupName, kindGateway, g.Namespace, "", "Secret", name.Namespace, name.Name}
	if kind := string(or(ref.Kind, "Secret")); kind != "Secret" || or(ref.Group, "") != "" {
		id.blame(string(gw.GatewayReasonInvalidClientCertificateRef), where+"kind "+kind+" is not supported; name a Secret")
	} else if !c.grants.allow(r) {
		id.blame(string(gw.GatewayReasonRefNotPermitted), where+r.refusal())
	} else if pair := c.keyPair(name); pair.err != nil {
		id.blame(string(gw.GatewayReasonInvalidClientCertificateRef), where+pair.err.Error())
	} else {
		id.crt, id.key = pair.pem[0], pair.pem[1]
	}
	return id
}
