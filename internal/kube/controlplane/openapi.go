package controlplane

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"unsafe"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apiextensionsinformers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/controller/openapiv3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/tools/cache"
	aggregator "k8s.io/kube-aggregator/pkg/apiserver"
	"k8s.io/kube-openapi/pkg/handler3"
)

// withoutOpenAPI drops the aggregation of OpenAPI documents, whose loops poll the local API groups every second. Server-side
// apply and validation have schemas of their own.
func withoutOpenAPI(a *aggregator.APIAggregator) {
	for _, name := range []string{"openAPIConfig", "openAPIV3Config"} {
		if f := reflect.ValueOf(a).Elem().FieldByName(name); f.IsValid() {
			reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem().SetZero()
		}
	}
}

// kindsServer is the API server of defined kinds: the last in the chain.
func kindsServer(a *aggregator.APIAggregator) *genericapiserver.GenericAPIServer {
	s := a.GenericAPIServer
	for {
		next, ok := s.NextDelegate().(*genericapiserver.GenericAPIServer)
		if !ok {
			return s
		}
		s = next
	}
}

// describeKinds writes the OpenAPI v3 documents of defined kinds, by upstream's controller, until ctx ends. Upstream begins
// with it while the API server starts, and makes each document twice when there are definitions from before: a fifth of a
// start with twenty of them.
func describeKinds(ctx context.Context, c apiextensions.Interface, documents *handler3.OpenAPIService) error {
	informer := apiextensionsinformers.NewCustomResourceDefinitionInformer(c, 0, cache.Indexers{})
	err := informer.SetTransform(func(o any) (any, error) {
		if def, ok := o.(*apiextensionsv1.CustomResourceDefinition); ok {
			return &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: def.Name, ResourceVersion: def.ResourceVersion}}, nil
		}
		return o, nil
	})
	if err != nil {
		return fmt.Errorf("watching definitions: %w", err)
	}
	controller := openapiv3.NewController(definitions{informer: informer, ctx: ctx, client: c})
	var watching sync.WaitGroup
	watching.Go(func() { informer.RunWithContext(ctx) })
	controller.Run(documents, ctx.Done())
	watching.Wait()
	return nil
}

// definitions are what describeKinds follows: which of them change, by an informer that keeps their names alone, and each as
// it is when it is looked at. All that there are come as news.
type definitions struct {
	listers.CustomResourceDefinitionListerExpansion
	informer cache.SharedIndexInformer
	ctx      context.Context
	client   apiextensions.Interface
}

func (d definitions) Informer() cache.SharedIndexInformer            { return d.informer }
func (d definitions) Lister() listers.CustomResourceDefinitionLister { return d }

func (d definitions) List(labels.Selector) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	return nil, nil
}

func (d definitions) Get(name string) (*apiextensionsv1.CustomResourceDefinition, error) {
	return d.client.ApiextensionsV1().CustomResourceDefinitions().Get(d.ctx, name, metav1.GetOptions{})
}
