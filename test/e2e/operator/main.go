// Command operator is a stock controller-runtime operator for the tests: it makes a ConfigMap of every Greeting, and its
// webhook refuses Greetings without words.
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

func greeting() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Greeting"})
	return u
}

type reconciler struct{ client.Client }

func (r reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	g := greeting()
	if err := r.Get(ctx, req.NamespacedName, g); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	words, _, _ := unstructured.NestedString(g.Object, "spec", "words")
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: g.GetNamespace(), Name: g.GetName()}}
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, cm, func() error {
		cm.Data = map[string]string{"words": words}
		return controllerutil.SetControllerReference(g, cm, r.Scheme())
	})
	return ctrl.Result{}, err
}

func validate(_ context.Context, req admission.Request) admission.Response {
	g := greeting()
	if err := g.UnmarshalJSON(req.Object.Raw); err != nil {
		return admission.Errored(400, err)
	}
	if words, _, _ := unstructured.NestedString(g.Object, "spec", "words"); words == "" {
		return admission.Denied("a greeting needs words")
	}
	return admission.Allowed("")
}

func main() {
	port := flag.Int("port", 9443, "of the webhook")
	certs := flag.String("certs", "", "directory of tls.crt and tls.key")
	flag.Parse()
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, nil)))
	m, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		Metrics:       metricsserver.Options{BindAddress: "0"},
		WebhookServer: webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: *port, CertDir: *certs}),
	})
	if err == nil {
		m.GetWebhookServer().Register("/validate", &webhook.Admission{Handler: admission.HandlerFunc(validate)})
		err = ctrl.NewControllerManagedBy(m).Named("greeting").For(greeting()).Complete(reconciler{m.GetClient()})
	}
	if err == nil {
		err = m.Start(ctrl.SetupSignalHandler())
	}
	if err != nil {
		ctrl.Log.Error(err, "operator")
		os.Exit(1)
	}
}
