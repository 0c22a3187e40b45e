package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"

	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
)

// secretsOf serves the secrets of namespace ns, as an API server does, and returns a kubeconfig for it.
func secretsOf(t *testing.T, data map[string][]byte) string {
	t.Helper()
	list := corev1.SecretList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "SecretList"}, Items: []corev1.Secret{{}, {Data: data}}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/namespaces/ns/secrets") {
			_ = json.NewEncoder(w).Encode(&list)
			return
		}
		_ = json.NewEncoder(w).Encode(&corev1.SecretList{TypeMeta: list.TypeMeta})
	}))
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: %q}}], users: [{name: u, user: {}}]}`, s.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTheWebhooksAnswerWithTheCertificateOfTheServicesNamespace(t *testing.T) {
	t.Parallel()
	hooks, err := serveWebhooks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hooks.close)
	text, err := os.ReadFile(hooks.programs)
	if err != nil {
		t.Fatal(err)
	}
	programs, err := program.ReadPrograms(hooks.programs, text, program.Source{})
	if err != nil || len(programs) != 1 {
		t.Fatalf("%d programs, %v", len(programs), err)
	}
	certificate, key, err := cert.GenerateSelfSignedCertKey("hook.ns.svc", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := secretsOf(t, map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key})
	if err := hooks.connect(kubeconfig); err != nil {
		t.Fatal(err)
	}
	pool, err := cert.NewPoolFromBytes(certificate)
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + strings.TrimPrefix(programs[0].Spec.Run, "local:")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}}}
	t.Cleanup(client.CloseIdleConnections)

	review := admissionv1.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{UID: "u"}}
	body, err := json.Marshal(&review)
	if err != nil {
		t.Fatal(err)
	}
	r, err := client.Post("https://hook.ns.svc/always-deny", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Response == nil || review.Response.Allowed || review.Response.UID != "u" {
		t.Errorf("the webhook answers %+v, %v; want a refusal of u", review.Response, err)
	}
	if _, err := client.Get("https://hook.other.svc/readyz"); err == nil {
		t.Error("a namespace without a certificate is served")
	}
}
