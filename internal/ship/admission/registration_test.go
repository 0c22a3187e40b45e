package admission

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/internal/kube/kubetest"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

// registered is a Registration at work, of an instance of its own.
type registered struct {
	*testing.T
	c    *kubetest.Cluster
	of   *Registration
	logs *logged
}

func register(t *testing.T, instanceID, service string) *registered {
	c := kubetest.Start(t)
	r := &registered{T: t, c: c, logs: &logged{}}
	r.of = &Registration{Reader: c.Objects, Writer: c.Objects, Namespace: c.Namespace(t), Service: service, Port: 443, InstanceID: instanceID,
		CABundle: func() []byte { return nil }, Every: 10 * time.Millisecond, Own: "fairway", Owner: "not-there", Log: slog.New(slog.NewTextHandler(r.logs, nil))}
	return r
}

// start it, until the function that is returned is called.
func (r *registered) start() (stop func()) {
	ctx, cancel := context.WithCancel(r.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := r.of.Start(ctx); err != nil {
			r.Error(err)
		}
	})
	return func() { cancel(); done.Wait() }
}

func (r *registered) service() {
	r.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: r.of.Namespace, Name: r.of.Service}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}}}
	if err := r.c.Objects.Create(r.Context(), s); err != nil {
		r.Fatal(err)
	}
}

func (r *registered) validating() *admissionregistrationv1.ValidatingWebhookConfiguration {
	return &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: ConfigurationName(r.of.InstanceID)}}
}

func (r *registered) mutating() *admissionregistrationv1.MutatingWebhookConfiguration {
	return &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: ConfigurationName(r.of.InstanceID)}}
}

// logged is a log that is read while it is written.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) has(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// said waits for a text in the log.
func (r *registered) said(text string) {
	r.Helper()
	for end := time.Now().Add(kubetest.Patience); r.logs.has(text) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("the log does not say %q", text)
		}
	}
}

func TestWebhooksAreRegisteredOnceTheirServiceIsThereAndKeptSo(t *testing.T) {
	t.Parallel()
	r := register(t, "kept", "webhooks")
	stop := r.start()
	r.said("the Helm chart brings it")
	if err := r.c.Objects.Get(t.Context(), client.ObjectKeyFromObject(r.validating()), r.validating()); !apierrors.IsNotFound(err) {
		t.Errorf("without a Service the webhooks are registered: %v", err)
	}
	r.service()
	ignored := func(v *admissionregistrationv1.ValidatingWebhookConfiguration) string {
		if len(v.Webhooks) != 1 || *v.Webhooks[0].FailurePolicy != admissionregistrationv1.Ignore {
			return "it is not as wanted"
		}
		return ""
	}
	got := kubetest.Eventually(t, r.c, r.validating(), ignored)
	kubetest.Eventually(t, r.c, r.mutating(), func(*admissionregistrationv1.MutatingWebhookConfiguration) string { return "" })
	fail := admissionregistrationv1.Fail
	got.Webhooks[0].FailurePolicy = &fail
	if err := r.c.Objects.Update(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	got = kubetest.Eventually(t, r.c, r.validating(), ignored)
	time.Sleep(5 * r.of.Every)
	if v := kubetest.Eventually(t, r.c, r.validating(), ignored); v.ResourceVersion != got.ResourceVersion {
		t.Error("what is as wanted is written again")
	}
	stop()
	kubetest.Eventually(t, r.c, r.validating(), ignored) // the next replica goes on with them
	r.of.Off = true
	defer r.start()()
	kubetest.Gone(t, r.c, r.validating())
	kubetest.Gone(t, r.c, r.mutating())
}

func TestWebhooksOfAnotherFairwayAreLeftAlone(t *testing.T) {
	t.Parallel()
	theirs := register(t, "shared", "webhooks")
	theirs.service()
	stop := theirs.start()
	before := kubetest.Eventually(t, theirs.c, theirs.validating(), func(*admissionregistrationv1.ValidatingWebhookConfiguration) string { return "" })
	kubetest.Eventually(t, theirs.c, theirs.mutating(), func(*admissionregistrationv1.MutatingWebhookConfiguration) string { return "" })
	stop()

	ours := register(t, "shared", "webhooks") // in another namespace
	ours.service()
	stop = ours.start()
	ours.said("--instance-id")
	stop()
	if n := ours.logs.has("--instance-id"); n != 1 {
		t.Errorf("it is said %d times, want once", n)
	}
	ours.of.Off = true
	if err := ours.of.Start(t.Context()); err != nil { // it has nothing to keep up
		t.Error(err)
	}
	got := kubetest.Eventually(t, theirs.c, theirs.validating(), func(*admissionregistrationv1.ValidatingWebhookConfiguration) string { return "" })
	if got.ResourceVersion != before.ResourceVersion {
		t.Error("the webhooks of another Fairway were written")
	}
	theirs.of.Off = true
	defer theirs.start()()
	kubetest.Gone(t, theirs.c, theirs.validating())
}
