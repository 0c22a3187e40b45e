package play

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// Field managers: what was there before the run, and what the run's steps do.
const (
	managerSetup = "rehearse-setup"
	managerSteps = "rehearse"
)

// userSteps is who acts in a scenario.
const userSteps = "rehearse"

// applier writes objects of any kind through the API, admission included.
type applier struct {
	client dynamic.Interface
	mapper meta.ResettableRESTMapper
}

func newApplier(cfg *rest.Config) (*applier, error) {
	c, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	d, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, err
	}
	return &applier{client: c, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))}, nil
}

// resource finds where objects of a kind live, and whether in namespaces.
func (a *applier) resource(gvk schema.GroupVersionKind, ns string) (dynamic.ResourceInterface, error) {
	m, err := a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		a.mapper.Reset() // a definition may just have been applied
		m, err = a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return nil, err
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		if ns == "" {
			ns = metav1.NamespaceDefault
		}
		return a.client.Resource(m.Resource).Namespace(ns), nil
	}
	return a.client.Resource(m.Resource), nil
}

// apply is a server-side apply that takes over fields of other managers.
func (a *applier) apply(ctx context.Context, u *unstructured.Unstructured, manager string) error {
	r, err := a.resource(u.GroupVersionKind(), u.GetNamespace())
	if err != nil {
		return err
	}
	if u.GetName() == "" && u.GetGenerateName() != "" {
		_, err := r.Create(ctx, u, metav1.CreateOptions{FieldManager: manager})
		return err
	}
	_, err = r.Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: manager, Force: true})
	return err
}

// kind resolves a kind as users write it (Deployment, Rollout.argoproj.io, HPA's full name) by discovery.
func (a *applier) kind(name string) (schema.GroupVersionKind, error) {
	gk := schema.ParseGroupKind(name)
	if gk.Group != "" {
		m, err := a.mapper.RESTMapping(gk)
		if err != nil {
			return schema.GroupVersionKind{}, err
		}
		return m.GroupVersionKind, nil
	}
	for _, g := range []string{"", "apps", "batch", "autoscaling", "policy", "networking.k8s.io", "argoproj.io"} {
		if m, err := a.mapper.RESTMapping(schema.GroupKind{Group: g, Kind: gk.Kind}); err == nil {
			return m.GroupVersionKind, nil
		}
	}
	gvk, err := a.mapper.KindFor(schema.GroupVersionResource{Resource: strings.ToLower(name)})
	if err != nil {
		return schema.GroupVersionKind{}, fmt.Errorf("no kind %q in this cluster; write it with its group, for example Rollout.argoproj.io", name)
	}
	return gvk, nil
}

func (a *applier) patch(ctx context.Context, gvk schema.GroupVersionKind, ns, name string, t types.PatchType, data []byte, sub ...string) error {
	r, err := a.resource(gvk, ns)
	if err != nil {
		return err
	}
	_, err = r.Patch(ctx, name, t, data, metav1.PatchOptions{FieldManager: managerSteps}, sub...)
	return err
}

// setUp applies the manifests. With lenient, objects that are refused are reported and left out.
func (a *applier) setUp(ctx context.Context, objects []Object, lenient bool, left func(Object, error)) error {
	var errs []error
	made := map[string]bool{metav1.NamespaceDefault: true, "kube-system": true}
	for _, o := range objects {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(o.Object); err != nil {
			return fmt.Errorf("%s:%d: %w", o.File, o.Line, err)
		}
		// A namespace that the manifests use but do not define is made, as on the cluster they were written for.
		if ns := u.GetNamespace(); ns != "" && !made[ns] {
			made[ns] = true
			if err := a.ensureNamespace(ctx, ns); err != nil {
				return err
			}
		}
		if u.GetKind() == "Namespace" {
			made[u.GetName()] = true
		}
		if err := a.apply(ctx, u, managerSetup); err != nil {
			err = describe(o, u, err)
			if !lenient {
				errs = append(errs, err)
				continue
			}
			left(o, err)
		}
	}
	return errors.Join(errs...)
}

func (a *applier) ensureNamespace(ctx context.Context, name string) error {
	ns := &unstructured.Unstructured{}
	ns.SetAPIVersion("v1")
	ns.SetKind("Namespace")
	ns.SetName(name)
	return a.apply(ctx, ns, managerSetup)
}

func describe(o Object, u *unstructured.Unstructured, err error) error {
	at := fmt.Sprintf("%s:%d: %s %s", o.File, o.Line, u.GetKind(), path(u.GetNamespace(), u.GetName()))
	switch {
	case meta.IsNoMatchError(err):
		return fmt.Errorf("%s: no kind %s in the rehearsed cluster; add its CustomResourceDefinition to the manifests, or run with --lenient to leave such objects out", at, u.GroupVersionKind())
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err):
		return fmt.Errorf("%s was refused by the API server: %w", at, err)
	}
	return fmt.Errorf("%s: %w", at, err)
}

func path(ns, name string) string {
	if ns == "" {
		return name
	}
	return ns + "/" + name
}
