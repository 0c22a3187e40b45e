package platform

import (
	"errors"
	"net/http"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/fairway-dev/fairway/config/crd"
)

// newMapper knows the kinds that this program installs from their definitions, and asks the API server for all others:
// discovery lists a new kind up to seconds after the API server serves it.
func newMapper(on []Capability) func(*rest.Config, *http.Client) (meta.RESTMapper, error) {
	return func(cfg *rest.Config, client *http.Client) (meta.RESTMapper, error) {
		dynamic, err := apiutil.NewDynamicRESTMapper(cfg, client)
		if err != nil {
			return nil, err
		}
		own := meta.NewDefaultRESTMapper(nil)
		for _, c := range on {
			for _, name := range c.CRDs {
				def, err := crd.ShapeOf(name)
				if err != nil {
					return nil, err
				}
				addDefinition(own, def)
			}
		}
		return ownFirst{own: own, RESTMapper: dynamic}, nil
	}
}

func addDefinition(m *meta.DefaultRESTMapper, def *crd.Shape) {
	var scope meta.RESTScope = meta.RESTScopeRoot
	if def.Spec.Scope == apiextensionsv1.NamespaceScoped {
		scope = meta.RESTScopeNamespace
	}
	for _, v := range def.Spec.Versions {
		if !v.Served {
			continue
		}
		at := schema.GroupVersion{Group: def.Spec.Group, Version: v.Name}
		m.AddSpecific(at.WithKind(def.Spec.Names.Kind), at.WithResource(def.Spec.Names.Plural), at.WithResource(def.Spec.Names.Singular), scope)
	}
}

// ownFirst answers the question clients ask, kind to resource, from the program's own definitions first.
type ownFirst struct {
	own *meta.DefaultRESTMapper
	meta.RESTMapper
}

// RESTMapping implements meta.RESTMapper.
func (m ownFirst) RESTMapping(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	got, err := m.own.RESTMapping(kind, versions...)
	var unknown *meta.NoKindMatchError
	if err == nil || !errors.As(err, &unknown) {
		return got, err
	}
	return m.RESTMapper.RESTMapping(kind, versions...)
}
