package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/test/images/agnhost/crd-conversion-webhook/converter"
	"k8s.io/kubernetes/test/images/agnhost/webhook"
)

// programsFile has the pods that upstream's tests run webhooks in served by this process, as a user has his operator
// served on his machine. %d is the port.
const programsFile = `apiVersion: fairway.dev/v1alpha1
kind: Program
metadata: {name: webhook}
spec:
  match: {images: ["*/agnhost"], command: ["*webhook*"]}
  run: local:%d
`

// secretMax bounds the look-up of a certificate within a TLS handshake.
const secretMax = 10 * time.Second

// webhooks runs the admission and conversion webhooks of upstream's test image, from its own source.
type webhooks struct {
	programs string // the file for fairway up
	server   *http.Server
	client   atomic.Pointer[kubernetes.Clientset]
}

// serveWebhooks listens on a port of its own until close.
func serveWebhooks(dir string) (*webhooks, error) {
	if err := registerWebhooks(dir); err != nil {
		return nil, fmt.Errorf("taking over upstream's webhooks: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &webhooks{programs: filepath.Join(dir, "programs.yaml")}
	out, err := os.Create(filepath.Join(dir, "webhooks.log")) // open until the process ends
	if err != nil {
		return nil, err
	}
	klog.LogToStderr(false)
	klog.SetOutput(out)
	w.server = &http.Server{TLSConfig: &tls.Config{GetCertificate: w.certificate}, ReadHeaderTimeout: secretMax, ErrorLog: log.New(out, "", log.LstdFlags)}
	go w.server.ServeTLS(l, "", "") // until close
	text := fmt.Sprintf(programsFile, l.Addr().(*net.TCPAddr).Port)
	return w, os.WriteFile(w.programs, []byte(text), 0o600)
}

// registerWebhooks adds the handlers to http's own table. Upstream's command does so and then listens with a certificate
// from files; since every test has another certificate, it is told a port that does not exist, at which it gives up.
func registerWebhooks(dir string) (err error) {
	certificate, key, err := cert.GenerateSelfSignedCertKey("localhost", nil, nil)
	if err != nil {
		return err
	}
	c := webhook.CmdWebhook
	for flag, data := range map[string][]byte{"tls-cert-file": certificate, "tls-private-key-file": key} {
		file := filepath.Join(dir, "webhook."+flag)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return err
		}
		if err := c.Flags().Set(flag, file); err != nil {
			return err
		}
	}
	if err := c.Flags().Set("port", "-1"); err != nil {
		return err
	}
	http.HandleFunc("/crdconvert", converter.ServeExampleConvert)
	defer func() {
		if recover() != nil {
			err = nil
		}
	}()
	c.Run(c, nil)
	return fmt.Errorf("the command %s listens on port -1", c.Name())
}

// connect names the cluster whose secrets hold the certificates.
func (w *webhooks) connect(kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1 // no throttling of its own
	client, err := kubernetes.NewForConfig(config)
	w.client.Store(client)
	return err
}

// certificate is the one that the pod of the service NAME.NAMESPACE.svc mounts: a test has its own namespace, and one
// secret with a certificate in it.
func (w *webhooks) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	parts, client := strings.Split(hello.ServerName, "."), w.client.Load()
	if len(parts) != 3 || parts[2] != "svc" || client == nil {
		return nil, fmt.Errorf("%q is no service", hello.ServerName)
	}
	ctx, cancel := context.WithTimeout(hello.Context(), secretMax)
	defer cancel()
	secrets, err := client.CoreV1().Secrets(parts[1]).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range secrets.Items {
		data := secrets.Items[i].Data
		if len(data[corev1.TLSCertKey]) == 0 || len(data[corev1.TLSPrivateKeyKey]) == 0 {
			continue
		}
		pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
		return &pair, err
	}
	return nil, fmt.Errorf("namespace %s has no secret with a certificate", parts[1])
}

func (w *webhooks) close() { w.server.Close() }
