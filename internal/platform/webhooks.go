package platform

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
	"github.com/fairway-dev/fairway/internal/ship/admission"
)

// WebhookService is the Service in front of the admission webhooks.
const WebhookService = "fairway-webhooks"

const (
	// webhookPort is where the admission webhooks are served, webhookServicePort what the Service calls it.
	webhookPort        = 9443
	webhookServicePort = 443
	// webhookSecret holds the certificate that all replicas serve the webhooks with.
	webhookSecret = "fairway-serving-webhooks"

	webhookHeaderWithin = 5 * time.Second
	// webhookIdle ends connections of an API server that has had nothing to ask: an open one is kept alive by traffic of its own.
	webhookIdle = 30 * time.Second
)

// webhookServer serves the admission webhooks of all capabilities, on every replica.
type webhookServer struct {
	house   *House
	mux     *http.ServeMux
	tls     *tls.Config
	bundle  func() []byte // what the API server is to check the certificate against
	serving chan struct{} // closed once connections are accepted
}

// newWebhookServer prepares the server and adds it to the manager.
func (h *House) newWebhookServer(ctx context.Context, api kubernetes.Interface) (*webhookServer, error) {
	s := &webhookServer{house: h, mux: http.NewServeMux(), serving: make(chan struct{})}
	if h.Nodes != nil { // the API server is in this process
		identity, err := vnet.Identity(WebhookService+"."+h.Namespace+".svc", net.IP(vnet.Process.AsSlice()))
		if err != nil {
			return nil, err
		}
		own := certificate(identity)
		s.tls, s.bundle = identity, func() []byte { return own }
	} else {
		identity, err := h.newServing(ctx, api, WebhookService, webhookSecret)
		if err != nil {
			return nil, err
		}
		if err := h.Manager.Add(identity); err != nil {
			return nil, err
		}
		s.tls, s.bundle = identity.tls(), identity.bundle
	}
	return s, h.Manager.Add(s)
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica serves.
func (s *webhookServer) NeedLeaderElection() bool { return false }

// Start serves until ctx ends.
func (s *webhookServer) Start(ctx context.Context) error {
	l, err := s.house.Listen(webhookPort)
	if err != nil {
		return fmt.Errorf("admission webhooks: %w", err)
	}
	close(s.serving)
	cfg := s.tls.Clone()
	cfg.NextProtos = []string{"h2", "http/1.1"}
	server := &http.Server{Handler: s.mux, TLSConfig: cfg, ReadHeaderTimeout: webhookHeaderWithin, IdleTimeout: webhookIdle,
		ErrorLog: slog.NewLogLogger(s.house.Log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin/2)
		defer cancel()
		if server.Shutdown(end) != nil {
			server.Close()
		}
	})
	defer stop()
	if err := server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admission webhooks: %w", err)
	}
	return nil
}

// webhookRoles are the rights in Fairway's own namespace that the webhook server needs.
func webhookRoles() []RoleRule {
	in := func(resource string, verbs []string, names ...string) RoleRule {
		return RoleRule{Namespace: Namespace, Whole: true, Rule: rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{resource}, ResourceNames: names, Verbs: verbs}}
	}
	return []RoleRule{in("services", []string{"get"}, WebhookService), in("secrets", []string{"create"}), in("secrets", []string{"get", "update"}, webhookSecret)}
}

// admit judges Rollouts and their like when they are written. In a rehearsal nobody waits for warnings; the engine judges there.
func (h *House) admit(ctx context.Context, judge *admission.Judge) error {
	if h.Listen == nil || h.Only != "" { // webhooks are registered for a whole cluster
		return nil
	}
	m := h.Manager
	registration := &admission.Registration{Reader: m.GetAPIReader(), Writer: m.GetClient(), Namespace: h.Namespace, Service: WebhookService,
		Port: webhookServicePort, Every: h.servingEvery(), InstanceID: judge.InstanceID, Own: userName(h.Namespace), Owner: cmp.Or(h.Rollouts.WebhookOwner, WebhookOwner),
		Off: h.NoWebhooks, Log: h.Log, CABundle: func() []byte { return nil }}
	if !h.NoWebhooks {
		api, err := kubernetes.NewForConfig(m.GetConfig())
		if err != nil {
			return err
		}
		server, err := h.newWebhookServer(ctx, api)
		if err != nil {
			return err
		}
		server.mux.Handle("POST "+admission.ValidatePath, judge.Validator())
		server.mux.Handle("POST "+admission.MutatePath, judge.Mutator())
		registration.CABundle, registration.After = server.bundle, server.serving
	}
	return m.Add(registration)
}

// forgetWebhooks takes away those of an earlier start of an embedded cluster, which trust another certificate or serve a
// capability that is off now.
func forgetWebhooks(ctx context.Context, c kubernetes.Interface) error {
	ours := metav1.ListOptions{LabelSelector: admission.ManagedLabel + "=" + fairway.CLI}
	all := c.AdmissionregistrationV1()
	err := errors.Join(all.ValidatingWebhookConfigurations().DeleteCollection(ctx, metav1.DeleteOptions{}, ours),
		all.MutatingWebhookConfigurations().DeleteCollection(ctx, metav1.DeleteOptions{}, ours))
	if err != nil {
		return fmt.Errorf("taking away the admission webhooks of the start before: %w", err)
	}
	return nil
}
