package platform

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
)

const (
	// servingSecret holds the certificate that all replicas serve with.
	servingSecret = "fairway-serving"
	// servingRenewBefore leaves time for every replica to restart with a new one.
	servingRenewBefore = 30 * 24 * time.Hour
)

// servingIdentity reads the certificate that all replicas share, or makes it, and returns it with the bundle the API
// server is to check it against.
func (h *House) servingIdentity(ctx context.Context, c kubernetes.Interface) (*tls.Config, []byte, error) {
	secrets := c.CoreV1().Secrets(h.Namespace)
	for range 3 { // another replica may be making it at the same time
		have, err := secrets.Get(ctx, servingSecret, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, nil, fmt.Errorf("reading the Secret %s/%s: %w", h.Namespace, servingSecret, err)
		}
		if err == nil {
			if t := usable(have); t != nil {
				return t, have.Data[corev1.TLSCertKey], nil
			}
		}
		fresh, errMake := newServingSecret(h.Namespace)
		if errMake != nil {
			return nil, nil, errMake
		}
		if err == nil {
			fresh.ResourceVersion = have.ResourceVersion
			_, err = secrets.Update(ctx, fresh, metav1.UpdateOptions{})
		} else {
			_, err = secrets.Create(ctx, fresh, metav1.CreateOptions{})
		}
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			return nil, nil, fmt.Errorf("writing the Secret %s/%s: %w", h.Namespace, servingSecret, err)
		}
	}
	return nil, nil, fmt.Errorf("the Secret %s/%s keeps changing", h.Namespace, servingSecret)
}

// usable returns the Secret's certificate unless it is damaged or ends soon.
func usable(s *corev1.Secret) *tls.Config {
	pair, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	if err != nil || pair.Leaf == nil || time.Until(pair.Leaf.NotAfter) < servingRenewBefore {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
}

func newServingSecret(namespace string) (*corev1.Secret, error) {
	id, err := vnet.Identity(MetricsService + "." + namespace + ".svc")
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(id.Certificates[0].PrivateKey)
	if err != nil {
		return nil, err
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: servingSecret}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey:       certificate(id),
			corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		}}, nil
}
