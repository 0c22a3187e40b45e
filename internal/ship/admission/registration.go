package admission

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
)

// Registration makes the API server ask a Service of ours about the kinds of argoproj.io.
type Registration struct {
	Reader    client.Reader // straight from the API server: a few objects, read once in a while
	Writer    client.Writer
	Namespace string // of the Service
	Service   string
	Port      int32
	CABundle  func() []byte // PEM, that the serving certificate is checked against; it may change
	Every     time.Duration // how often the registration is repeated: the certificate, or others, may change it
	// InstanceID chooses the objects that are judged, and is part of the name.
	InstanceID string
	// Own is the user that Fairway itself writes as; its writes are not judged.
	Own string
	// Owner names a ClusterRole that goes when Fairway is uninstalled, and takes the configurations with it. Where there is none
	// they stay, and the API server goes on without an answer.
	Owner string
	// Off takes the configurations away in place of making them.
	Off bool
	// After is awaited first; nil = nothing is.
	After <-chan struct{}
	Log   *slog.Logger

	said string
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: only the leader writes.
func (r *Registration) NeedLeaderElection() bool { return true }

// Start registers the webhooks and keeps them so until ctx ends. They stay then: the next replica goes on with them, and while
// there is none the API server does without.
func (r *Registration) Start(ctx context.Context) error {
	if r.After != nil {
		select {
		case <-r.After:
		case <-ctx.Done():
			return nil
		}
	}
	t := time.NewTicker(r.Every)
	defer t.Stop()
	for done := false; !done; {
		var err error
		if done, err = r.settle(ctx); err != nil && ctx.Err() == nil {
			r.warn("the admission webhooks stay as they are: " + err.Error())
		}
		if done {
			break
		}
		select {
		case <-ctx.Done():
			done = true
		case <-t.C:
		}
	}
	return nil
}

// settle brings the configurations to where they should be, and says whether that is for good.
func (r *Registration) settle(ctx context.Context) (bool, error) {
	if r.Off {
		err := r.remove(ctx)
		return err == nil, err
	}
	return false, r.register(ctx)
}

// warn of something unless it was the last thing said.
func (r *Registration) warn(message string) {
	if r.said != message {
		r.Log.Warn(message)
		r.said = message
	}
}

// register writes the configurations that are not as they should be.
func (r *Registration) register(ctx context.Context) error {
	err := r.Reader.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: r.Service}, &corev1.Service{})
	if apierrors.IsNotFound(err) {
		r.warn(fmt.Sprintf("objects are not judged at admission: the Service %s/%s does not exist; the Helm chart brings it", r.Namespace, r.Service))
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for the Service %s/%s: %w", r.Namespace, r.Service, err)
	}
	owners, err := r.owners(ctx)
	if err != nil {
		return err
	}
	for _, want := range r.configurations() {
		want.SetLabels(map[string]string{ManagedLabel: fairway.CLI})
		want.SetOwnerReferences(owners)
		if err := r.write(ctx, want); err != nil {
			return fmt.Errorf("registering the webhooks %s: %w", want.GetName(), err)
		}
	}
	return nil
}

// owners of the configurations, if there are any.
func (r *Registration) owners(ctx context.Context) ([]metav1.OwnerReference, error) {
	if r.Owner == "" {
		return nil, nil
	}
	var role rbacv1.ClusterRole
	err := r.Reader.Get(ctx, client.ObjectKey{Name: r.Owner}, &role)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the ClusterRole %s: %w", r.Owner, err)
	}
	return []metav1.OwnerReference{{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole", Name: role.Name, UID: role.UID}}, nil
}

// write a configuration unless it is there as wanted, or belongs to somebody else.
func (r *Registration) write(ctx context.Context, want client.Object) error {
	have := emptied(want)
	err := r.Reader.Get(ctx, client.ObjectKeyFromObject(want), have)
	switch {
	case apierrors.IsNotFound(err):
		return r.Writer.Create(ctx, want)
	case err != nil:
		return err
	case !r.ours(have):
		r.warn(fmt.Sprintf("objects are judged at admission by another Fairway, whose webhooks are called %s, too; give one of the two an --instance-id", want.GetName()))
		return nil
	case equality.Semantic.DeepEqual(webhooksOf(have), webhooksOf(want)) && equality.Semantic.DeepEqual(have.GetOwnerReferences(), want.GetOwnerReferences()):
		return nil
	}
	want.SetResourceVersion(have.GetResourceVersion())
	return r.Writer.Update(ctx, want)
}

// remove the configurations that are ours.
func (r *Registration) remove(ctx context.Context) error {
	for _, c := range r.configurations() {
		have := emptied(c)
		err := r.Reader.Get(ctx, client.ObjectKeyFromObject(c), have)
		if err == nil && r.ours(have) {
			err = r.Writer.Delete(ctx, have)
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("taking the webhooks %s away: %w", c.GetName(), err)
		}
	}
	return nil
}

// ours tells whether all webhooks of a configuration lead to our Service.
func (r *Registration) ours(c client.Object) bool {
	mine := func(to admissionregistrationv1.WebhookClientConfig) bool {
		return to.Service != nil && to.Service.Namespace == r.Namespace && to.Service.Name == r.Service
	}
	switch c := c.(type) {
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		for i := range c.Webhooks {
			if !mine(c.Webhooks[i].ClientConfig) {
				return false
			}
		}
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		for i := range c.Webhooks {
			if !mine(c.Webhooks[i].ClientConfig) {
				return false
			}
		}
	}
	return true
}

func webhooksOf(c client.Object) any {
	switch c := c.(type) {
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		return c.Webhooks
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		return c.Webhooks
	}
	return nil
}

// emptied is an empty object of the same type.
func emptied(c client.Object) client.Object {
	if _, ok := c.(*admissionregistrationv1.MutatingWebhookConfiguration); ok {
		return &admissionregistrationv1.MutatingWebhookConfiguration{}
	}
	return &admissionregistrationv1.ValidatingWebhookConfiguration{}
}
