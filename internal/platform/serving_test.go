package platform

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// servingRotation replaces the shared certificate under a replica that serves with it. Part of TestUpIsAWholeCluster.
func servingRotation(t *testing.T, c *Cluster) {
	client := kubernetes.NewForConfigOrDie(c.Plane.Config())
	h := &House{Namespace: Namespace, Look: 50 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}
	s, err := h.newServing(t.Context(), client, MetricsService, servingSecret)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start(t.Context())
	shown := func() []byte {
		pair, _ := s.tls().GetCertificate(nil)
		return pair.Certificate[0]
	}
	before, trusted := shown(), s.bundle()
	if err := client.CoreV1().Secrets(Namespace).Delete(t.Context(), servingSecret, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if !bytes.Contains(s.bundle(), trusted) {
			t.Fatal("the certificate before the new one is not trusted any more, though replicas may still serve with it")
		}
		if bytes.Equal(shown(), before) {
			return "a deleted certificate is served on"
		}
		return ""
	})
	if bytes.Equal(s.bundle(), trusted) {
		t.Error("the new certificate is served, but not in the bundle")
	}
}
