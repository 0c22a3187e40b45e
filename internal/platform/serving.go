package platform

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
)

const (
	// servingSecret holds the certificate that all replicas serve the metrics APIs with.
	servingSecret = "fairway-serving"
	// servingRenewBefore leaves time to notice when renewing fails.
	servingRenewBefore = 30 * 24 * time.Hour
	// servingLook is how often replicas look at the Secret; registrations are repeated as often.
	servingLook = time.Minute
)

// serving is the certificate of a Service of ours, which all replicas share through a Secret. Each looks at it again and
// again: a Secret that was renewed, replaced or deleted takes effect without a restart.
type serving struct {
	secrets typedcorev1.SecretInterface
	house   *House
	service string // that it is the certificate of
	secret  string // that it is kept in

	mu      sync.Mutex
	shown   *tls.Certificate // what is served
	next    *tls.Certificate // what is served from the next look on: the API server must trust it first
	trusted [][]byte         // PEM, newest first
}

// newServing reads the Secret or makes it.
func (h *House) newServing(ctx context.Context, c kubernetes.Interface, service, secret string) (*serving, error) {
	s := &serving{house: h, secrets: c.CoreV1().Secrets(h.Namespace), service: service, secret: secret}
	return s, s.look(ctx)
}

// tls serves with whatever certificate is the current one.
func (s *serving) tls() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.shown, nil
	}}
}

// bundle is what the API server is to check the certificate against: the newest, and the one before it while replicas
// still serve with that.
func (s *serving) bundle() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Join(s.trusted, nil)
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica serves.
func (s *serving) NeedLeaderElection() bool { return false }

// Start looks at the Secret until ctx ends.
func (s *serving) Start(ctx context.Context) error {
	t := time.NewTicker(s.house.servingEvery())
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := s.look(ctx); err != nil && ctx.Err() == nil {
				s.house.Log.Warn("the serving certificate stays as it is", "error", err)
			}
		}
	}
}

// look takes up what the Secret holds now.
func (s *serving) look(ctx context.Context) error {
	pair, pem, err := s.read(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.shown == nil:
		s.shown, s.trusted = pair, [][]byte{pem}
	case !bytes.Equal(s.trusted[0], pem):
		s.next, s.trusted = pair, [][]byte{pem, s.trusted[0]}
	case s.next != nil:
		s.shown, s.next = s.next, nil
		s.house.Log.Info("serving with a new certificate", "secret", s.where())
	}
	return nil
}

// read returns the Secret's certificate, and makes it where there is none that can be used.
func (s *serving) read(ctx context.Context) (*tls.Certificate, []byte, error) {
	where := s.where()
	for range 3 { // another replica may be making it at the same time
		have, err := s.secrets.Get(ctx, s.secret, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, nil, fmt.Errorf("reading the Secret %s: %w", where, err)
		}
		if err == nil {
			if pair := usable(have); pair != nil {
				return pair, have.Data[corev1.TLSCertKey], nil
			}
		}
		fresh, errMake := s.fresh()
		if errMake != nil {
			return nil, nil, errMake
		}
		if err == nil {
			fresh.ResourceVersion = have.ResourceVersion
			_, err = s.secrets.Update(ctx, fresh, metav1.UpdateOptions{})
		} else {
			_, err = s.secrets.Create(ctx, fresh, metav1.CreateOptions{})
		}
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			return nil, nil, fmt.Errorf("writing the Secret %s: %w", where, err)
		}
	}
	return nil, nil, fmt.Errorf("the Secret %s keeps changing", where)
}

// usable returns the Secret's certificate unless it is damaged or ends soon.
func usable(s *corev1.Secret) *tls.Certificate {
	pair, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	if err != nil || pair.Leaf == nil || time.Until(pair.Leaf.NotAfter) < servingRenewBefore {
		return nil
	}
	return &pair
}

// where the Secret is.
func (s *serving) where() string { return s.house.Namespace + "/" + s.secret }

// fresh makes a Secret with a new certificate.
func (s *serving) fresh() (*corev1.Secret, error) {
	id, err := vnet.Identity(s.service + "." + s.house.Namespace + ".svc")
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(id.Certificates[0].PrivateKey)
	if err != nil {
		return nil, err
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.house.Namespace, Name: s.secret}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey:       certificate(id),
			corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		}}, nil
}

// servingEvery is how often the certificate is looked at.
func (h *House) servingEvery() time.Duration {
	if h.Look > 0 {
		return h.Look
	}
	return servingLook
}
