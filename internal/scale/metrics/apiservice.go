package metrics

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
)

const (
	groupPriority   = 100
	versionPriority = 100
	// ReplacedAnnotation keeps the spec of an APIService that was taken over, as JSON.
	ReplacedAnnotation = fairway.Prefix + "replaced-apiservice"
	// ManagedLabel marks the APIServices that are ours.
	ManagedLabel = "app.kubernetes.io/managed-by"
)

// Registration makes the API server forward metrics.k8s.io to a Service of ours.
type Registration struct {
	Reader    client.Reader // straight from the API server: APIServices are read once
	Writer    client.Writer
	Namespace string // of the Service
	Service   string
	Port      int32
	CABundle  func() []byte // PEM, that the serving certificate is checked against; it may change
	Every     time.Duration // how often the registration is repeated: the certificate, or others, may change it
	// TakeOver lets us replace an APIService that belongs to somebody else; its spec is kept in ReplacedAnnotation.
	TakeOver bool
	// After is awaited first: an API server that is told of a server that does not answer yet looks again only later.
	After <-chan struct{}
	Log   *slog.Logger

	said map[string]bool
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: only the leader writes.
func (r *Registration) NeedLeaderElection() bool { return true }

// Start registers every version and keeps it so until ctx ends. What belongs to another owner is left alone, and said.
func (r *Registration) Start(ctx context.Context) error {
	select {
	case <-r.After:
	case <-ctx.Done():
		return nil
	}
	t := time.NewTicker(r.Every)
	defer t.Stop()
	for first := true; ; first = false {
		switch err := r.registerAll(ctx); {
		case ctx.Err() != nil:
			return nil
		case err != nil && first:
			return err
		case err != nil:
			r.Log.Warn("the resource metrics API stays registered as it is", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (r *Registration) registerAll(ctx context.Context) error {
	// An APIService without its Service would make discovery incomplete and hold up the deletion of namespaces.
	err := r.Reader.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: r.Service}, &corev1.Service{})
	if apierrors.IsNotFound(err) {
		r.say("the resource metrics API is not registered: its Service does not exist; the Helm chart brings it", "service", r.Namespace+"/"+r.Service)
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for the Service %s/%s: %w", r.Namespace, r.Service, err)
	}
	for _, v := range versions {
		if err := r.register(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

// say warns once of what stays as it is.
func (r *Registration) say(message string, args ...any) {
	if key := fmt.Sprint(message, args); !r.said[key] {
		if r.said == nil {
			r.said = map[string]bool{}
		}
		r.said[key] = true // at most a few an API
		r.Log.Warn(message, args...)
	}
}

func (r *Registration) register(ctx context.Context, version string) error {
	name := version + ".metrics.k8s.io"
	var have apiregistrationv1.APIService
	err := r.Reader.Get(ctx, client.ObjectKey{Name: name}, &have)
	switch {
	case apierrors.IsNotFound(err):
		have = apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: name}}
		r.fill(&have, version)
		err = r.Writer.Create(ctx, &have)
	case err != nil:
	case !r.ours(&have) && !r.TakeOver:
		r.say("the resource metrics API belongs to another server and is left to it; --take-over-metrics=resource takes it",
			"apiservice", name, "owner", owner(&have))
		return nil
	default:
		if !r.ours(&have) {
			if err := keep(&have); err != nil {
				return err
			}
		}
		before := have.DeepCopy()
		r.fill(&have, version)
		if same(before, &have) {
			return nil
		}
		err = r.Writer.Update(ctx, &have)
	}
	if err != nil {
		return fmt.Errorf("registering the APIService %s: %w", name, err)
	}
	return nil
}

func (r *Registration) fill(a *apiregistrationv1.APIService, version string) {
	port := r.Port
	if a.Labels == nil {
		a.Labels = map[string]string{}
	}
	a.Labels[ManagedLabel] = fairway.CLI
	a.Spec = apiregistrationv1.APIServiceSpec{
		Group: "metrics.k8s.io", Version: version, GroupPriorityMinimum: groupPriority, VersionPriority: versionPriority, CABundle: r.CABundle(),
		Service: &apiregistrationv1.ServiceReference{Namespace: r.Namespace, Name: r.Service, Port: &port},
	}
}

func (r *Registration) ours(a *apiregistrationv1.APIService) bool {
	return a.Spec.Service != nil && a.Spec.Service.Namespace == r.Namespace && a.Spec.Service.Name == r.Service
}

func owner(a *apiregistrationv1.APIService) string {
	if a.Spec.Service == nil {
		return "the API server itself"
	}
	return "Service " + a.Spec.Service.Namespace + "/" + a.Spec.Service.Name
}

// keep notes the spec that is about to be replaced.
func keep(a *apiregistrationv1.APIService) error {
	b, err := json.Marshal(a.Spec)
	if err != nil {
		return err
	}
	if a.Annotations == nil {
		a.Annotations = map[string]string{}
	}
	a.Annotations[ReplacedAnnotation] = string(b)
	return nil
}

func same(a, b *apiregistrationv1.APIService) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// Release gives every metrics API that was taken over back to its owner before, and removes those that had none. It
// returns what it did, a line each.
func Release(ctx context.Context, c client.Client) ([]string, error) {
	var done []string
	for _, v := range versions {
		name := v + ".metrics.k8s.io"
		var have apiregistrationv1.APIService
		err := c.Get(ctx, client.ObjectKey{Name: name}, &have)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return done, fmt.Errorf("reading the APIService %s: %w", name, err)
		}
		said, err := release(ctx, c, &have)
		if err != nil {
			return done, fmt.Errorf("releasing the APIService %s: %w", name, err)
		}
		done = append(done, said)
	}
	return done, nil
}

func release(ctx context.Context, c client.Client, a *apiregistrationv1.APIService) (string, error) {
	if a.Labels[ManagedLabel] != fairway.CLI {
		return a.Name + " is not Fairway's; it stays with " + owner(a), nil
	}
	before, taken := a.Annotations[ReplacedAnnotation]
	if !taken {
		version := a.ResourceVersion
		return a.Name + " is removed; nobody had it before", c.Delete(ctx, a, client.Preconditions{ResourceVersion: &version})
	}
	var spec apiregistrationv1.APIServiceSpec
	if err := json.Unmarshal([]byte(before), &spec); err != nil {
		return "", fmt.Errorf("the annotation %s is damaged: %w", ReplacedAnnotation, err)
	}
	a.Spec = spec
	delete(a.Annotations, ReplacedAnnotation)
	delete(a.Labels, ManagedLabel)
	return a.Name + " is given back to " + owner(a), c.Update(ctx, a)
}
