package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 365 * 24 * time.Hour
	// leafRenewBefore leaves a month in which a plane that is started now and then renews at a start.
	leafRenewBefore = 30 * 24 * time.Hour
)

// identity is one data directory's keys and certificates: one CA, and below it everything the parts and other programs
// show each other. Private keys are ECDSA P-256. Files are readable by their owner alone.
type identity struct {
	dir   string
	ca    *x509.Certificate
	caKey *ecdsa.PrivateKey
}

func (id *identity) path(name string) string { return filepath.Join(id.dir, name) }

type leaf struct {
	name    string
	subject pkix.Name
	server  bool
	hosts   []string
}

func leaves(address string, profile Profile) []leaf {
	host, _, _ := net.SplitHostPort(address)
	hosts := []string{"127.0.0.1", "::1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local", APIServiceIP, AdvertisedAddress, host}
	// A rehearsal has no listener, and nothing of this machine may be in it.
	if h, err := os.Hostname(); err == nil && profile == Full {
		hosts = append(hosts, h)
	}
	return []leaf{
		{name: "serving", subject: pkix.Name{CommonName: "kube-apiserver"}, server: true, hosts: hosts},
		{name: "front-proxy-client", subject: pkix.Name{CommonName: "front-proxy-client"}},
		{name: "kubelet-client", subject: pkix.Name{CommonName: "kube-apiserver-kubelet-client", Organization: []string{user.SystemPrivilegedGroup}}},
		{name: "admin", subject: pkix.Name{CommonName: "fairway-admin", Organization: []string{user.SystemPrivilegedGroup}}},
	}
}

// loadIdentity reads the directory's keys, makes what is missing and renews what ends soon.
func loadIdentity(dir, address string, profile Profile) (*identity, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the key directory: %w", err)
	}
	id := &identity{dir: dir}
	if err := id.loadCA(); err != nil {
		return nil, err
	}
	for _, l := range leaves(address, profile) {
		if id.valid(l) {
			continue
		}
		if err := id.issue(l); err != nil {
			return nil, fmt.Errorf("issuing the certificate %q: %w", l.name, err)
		}
	}
	if err := id.ensure("sa.key", func() ([]byte, error) { _, b, err := newKey(); return b, err }); err != nil {
		return nil, err
	}
	if err := id.ensure("encryption.yaml", newEncryptionConfig); err != nil {
		return nil, err
	}
	return id, id.writeKubeconfig(id.path("kubeconfig"), address)
}

func (id *identity) loadCA() error {
	crt, errC := os.ReadFile(id.path("ca.crt"))
	key, errK := os.ReadFile(id.path("ca.key"))
	if errors.Is(errC, os.ErrNotExist) && errors.Is(errK, os.ErrNotExist) {
		return id.newCA()
	}
	if err := errors.Join(errC, errK); err != nil {
		return fmt.Errorf("reading the certificate authority: %w", err)
	}
	pair, err := tls.X509KeyPair(crt, key)
	if err != nil {
		return fmt.Errorf("the certificate authority in %s is damaged: %w; `fairway up --reset` starts afresh", id.dir, err)
	}
	k, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("the key in %s is not an ECDSA key; `fairway up --reset` starts afresh", id.path("ca.key"))
	}
	if id.ca, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
		return err
	}
	id.caKey = k
	return nil
}

func (id *identity) newCA() error {
	key, keyPEM, err := newKey()
	if err != nil {
		return err
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fairway"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(caLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return err
	}
	if id.ca, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	id.caKey = key
	return errors.Join(write(id.path("ca.key"), keyPEM), write(id.path("ca.crt"), certPEM(der)))
}

func (id *identity) valid(l leaf) bool {
	pair, err := tls.LoadX509KeyPair(id.path(l.name+".crt"), id.path(l.name+".key"))
	if err != nil {
		return false
	}
	c, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil || time.Until(c.NotAfter) < leafRenewBefore || c.CheckSignatureFrom(id.ca) != nil {
		return false
	}
	for _, h := range l.hosts {
		if h != "" && c.VerifyHostname(h) != nil {
			return false
		}
	}
	return true
}

func (id *identity) issue(l leaf) error {
	key, keyPEM, err := newKey()
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: serial, Subject: l.subject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if l.server {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, h := range l.hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if h != "" {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, id.ca, &key.PublicKey, id.caKey)
	if err != nil {
		return err
	}
	// The key first: a certificate never stands beside another certificate's key after a crash in between, because the
	// pair is checked at the next start.
	return errors.Join(write(id.path(l.name+".key"), keyPEM), write(id.path(l.name+".crt"), certPEM(der)))
}

func (id *identity) ensure(name string, make func() ([]byte, error)) error {
	if _, err := os.Stat(id.path(name)); err == nil {
		return nil
	}
	b, err := make()
	if err != nil {
		return fmt.Errorf("making %s: %w", name, err)
	}
	return write(id.path(name), b)
}

// writeKubeconfig writes a self-contained kubeconfig with the context "fairway".
func (id *identity) writeKubeconfig(file, address string) error {
	ca, err1 := os.ReadFile(id.path("ca.crt"))
	crt, err2 := os.ReadFile(id.path("admin.crt"))
	key, err3 := os.ReadFile(id.path("admin.key"))
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	c := clientcmdapi.NewConfig()
	c.Clusters["fairway"] = &clientcmdapi.Cluster{Server: "https://" + net.JoinHostPort(host, port), CertificateAuthorityData: ca}
	c.AuthInfos["fairway"] = &clientcmdapi.AuthInfo{ClientCertificateData: crt, ClientKeyData: key}
	c.Contexts["fairway"] = &clientcmdapi.Context{Cluster: "fairway", AuthInfo: "fairway"}
	c.CurrentContext = "fairway"
	b, err := clientcmd.Write(*c)
	if err != nil {
		return err
	}
	return write(file, b)
}

// Kubeconfig is for other programs: TLS, the admin's client certificate, context "fairway".
func (p *ControlPlane) Kubeconfig() []byte {
	b, err := os.ReadFile(p.identity.path("kubeconfig"))
	if err != nil {
		return nil
	}
	return b
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	b, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	return k, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: b}), nil
}

// newEncryptionConfig encrypts Secrets at rest (XSalsa20-Poly1305) with a key of this data directory; "identity" last
// lets a store written without encryption be read.
func newEncryptionConfig() ([]byte, error) {
	key := make([]byte, 32)
	if _, err := io.ReadFull(rand.Reader, key); err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - secretbox:
      keys:
      - {name: key1, secret: %s}
  - identity: {}
`, base64.StdEncoding.EncodeToString(key)), nil
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// write replaces a file whole, readable by its owner alone.
func write(file string, b []byte) error {
	tmp := file + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}
