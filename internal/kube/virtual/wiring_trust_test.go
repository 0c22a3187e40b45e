package virtual_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	certutil "k8s.io/client-go/util/cert"
)

func TestAPodWaitsForItsTrustBundleAndGoesOnWhenItAppears(t *testing.T) {
	t.Parallel()
	p, ns := cluster(t)
	name := "trusted-" + ns
	for pod, optional := range map[string]bool{"needs": false, "likes": true} {
		o := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: pod}, Spec: podTemplate(nil).Spec}
		source := v1.VolumeProjection{ClusterTrustBundle: &v1.ClusterTrustBundleProjection{Name: &name, Path: "ca.crt", Optional: &optional}}
		o.Spec.Volumes = []v1.Volume{{Name: "trust", VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{source}}}}}
		if _, err := p.client.CoreV1().Pods(ns).Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	phase := func(pod string) string {
		o, err := p.client.CoreV1().Pods(ns).Get(t.Context(), pod, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		return string(o.Status.Phase)
	}
	eventually(t, func() string {
		list, err := p.client.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=FailedMount,involvedObject.name=needs"})
		if err != nil || len(list.Items) == 0 {
			return fmt.Sprint("no FailedMount event ", err)
		}
		if s := phase("likes"); s != "Running" {
			return "the pod whose bundle is optional is " + s
		}
		return ""
	})
	if s := phase("needs"); s != "Pending" {
		t.Errorf("the pod whose bundle is missing is %s", s)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := certutil.NewSelfSignedCACert(certutil.Config{CommonName: "test"}, key)
	if err != nil {
		t.Fatal(err)
	}
	anchors, err := certutil.EncodeCertificates(ca)
	if err != nil {
		t.Fatal(err)
	}
	bundle := &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: certificatesv1.ClusterTrustBundleSpec{TrustBundle: string(anchors)}}
	if _, err := p.client.CertificatesV1().ClusterTrustBundles().Create(t.Context(), bundle, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if s := phase("needs"); s != "Running" {
			return "the pod is " + s
		}
		return ""
	})
}
