package platform

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/fairway-dev/fairway/config/crd"
)

// clusterScoped are the resources, beyond upstream's, that are in no namespace: a Role cannot grant them.
var clusterScoped = []string{"clusteranalysistemplates", "validatingwebhookconfigurations", "mutatingwebhookconfigurations", "clusterroles"}

// within are the rules that make sense in one namespace.
func within(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for _, r := range rules {
		r.Resources = slices.DeleteFunc(slices.Clone(r.Resources), func(resource string) bool { return slices.Contains(clusterScoped, resource) })
		if len(r.Resources) > 0 {
			out = append(out, r)
		}
	}
	return out
}

// namespaced leaves out the capabilities that make sense for a whole cluster only, and says which.
func namespaced(on []Capability, namespace string, log *slog.Logger) []Capability {
	var kept, left []Capability
	for _, c := range on {
		if c.Namespaced {
			kept = append(kept, c)
		} else {
			left = append(left, c)
		}
	}
	log.Info("one namespace only is seen and changed; what belongs to the whole cluster is left out", "namespace", namespace,
		"capabilities left out", names(left), "kinds not watched", "ClusterAnalysisTemplate", "admission webhooks", "none", "definitions", "have to be there")
	return kept
}

// checkServed reports definitions that are not there: who sees one namespace cannot install any.
func checkServed(cfg *rest.Config, on []Capability) error {
	d, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return err
	}
	var missing []string
	for _, c := range on {
		for _, name := range c.CRDs {
			def, err := crd.ShapeOf(name)
			if err != nil {
				return err
			}
			version, plural := def.Spec.Group+"/"+def.Spec.Versions[0].Name, def.Spec.Names.Plural
			list, err := d.ServerResourcesForGroupVersion(version)
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("asking which kinds of %s are served: %w", version, err)
			}
			if err != nil || !slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == plural }) {
				missing = append(missing, name)
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the definitions %s are not installed, and with --namespaced they are not ours to install; install Argo Rollouts', or run `fairway controller` once without --namespaced",
			strings.Join(missing, ", "))
	}
	return nil
}

// cacheOf one namespace. Kinds that are in no namespace have no objects there: they are not watched. Its informers have indexes,
// as those of a cache of the whole cluster do; controller-runtime's for a list of namespaces have not.
func cacheOf(namespace string) ctrlcache.NewCacheFunc {
	return func(cfg *rest.Config, o ctrlcache.Options) (ctrlcache.Cache, error) {
		c := &oneNamespace{made: map[any]cache.SharedIndexInformer{}}
		o.DefaultNamespaces = map[string]ctrlcache.Config{namespace: {}}
		o.NewInformer = func(lw cache.ListerWatcher, obj runtime.Object, resync time.Duration, ix cache.Indexers) cache.SharedIndexInformer {
			if in, err := apiutil.IsObjectNamespaced(obj, o.Scheme, o.Mapper); err == nil && !in {
				lw = nothing{}
			}
			i := cache.NewSharedIndexInformer(lw, obj, resync, ix)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.made[kindKey(obj)] = i
			return i
		}
		inner, err := ctrlcache.New(cfg, o)
		c.Cache = inner
		return c, err
	}
}

// oneNamespace gives out the informers that it consists of.
type oneNamespace struct {
	ctrlcache.Cache

	mu   sync.Mutex
	made map[any]cache.SharedIndexInformer
}

// GetInformer implements cache.Informers.
func (c *oneNamespace) GetInformer(ctx context.Context, obj client.Object, opts ...ctrlcache.InformerGetOption) (ctrlcache.Informer, error) {
	i, err := c.Cache.GetInformer(ctx, obj, opts...)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if own, ok := c.made[kindKey(obj)]; ok {
		return own, nil
	}
	return i, nil
}

// kindKey tells kinds apart: by the Go type, and where that is the same for all by the kind, too.
func kindKey(obj runtime.Object) any {
	type of struct {
		reflect.Type
		schema.GroupVersionKind
	}
	key := of{Type: reflect.TypeOf(obj)}
	switch obj.(type) {
	case runtime.Unstructured, *metav1.PartialObjectMetadata:
		key.GroupVersionKind = obj.GetObjectKind().GroupVersionKind()
	}
	return key
}

// nothing is a kind without objects, of which nothing is ever heard.
type nothing struct{}

// List implements cache.Lister.
func (nothing) List(metav1.ListOptions) (runtime.Object, error) {
	return &metav1.PartialObjectMetadataList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}, nil
}

// Watch implements cache.Watcher.
func (nothing) Watch(metav1.ListOptions) (watch.Interface, error) { return watch.NewFake(), nil }

// IsWatchListSemanticsUnSupported makes a reflector list before it watches.
func (nothing) IsWatchListSemanticsUnSupported() bool { return true }
