package crd_test

import (
	"encoding/json"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/fairway-dev/fairway/config/crd"
)

func TestDefinitionsOfTheGatewayAPISayTheirVersionAndKeepTheirRules(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants", "backendtlspolicies", "listenersets", "tlsroutes"} {
		b, err := crd.Definition(name+".gateway.networking.k8s.io", true)
		if err != nil {
			t.Fatal(err)
		}
		def := &apiextensionsv1.CustomResourceDefinition{}
		if err := json.Unmarshal(b, def); err != nil {
			t.Fatal(err)
		}
		if v, channel := def.Annotations["gateway.networking.k8s.io/bundle-version"], def.Annotations["gateway.networking.k8s.io/channel"]; v != "v1.6.3" || channel != "experimental" {
			t.Errorf("%s is of version %q, channel %q", name, v, channel)
		}
		if first := def.Spec.Versions[0]; first.Name != "v1" || !first.Served {
			t.Errorf("%s: its first version is %s, served %v", name, first.Name, first.Served)
		}
		root := def.Spec.Versions[0].Schema.OpenAPIV3Schema
		if root.Description != "" || len(root.Properties["spec"].Properties) == 0 {
			t.Errorf("%s has a description, or no fields", name)
		}
	}
	b, err := crd.Definition("gatewayclasses.gateway.networking.k8s.io", false)
	if err != nil {
		t.Fatal(err)
	}
	def := &apiextensionsv1.CustomResourceDefinition{}
	if err := json.Unmarshal(b, def); err != nil {
		t.Fatal(err)
	}
	spec := def.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	if _, there := spec.Properties["description"]; !there {
		t.Error("the field by the name description was taken for one")
	}
	if len(spec.Properties["controllerName"].XValidations) == 0 {
		t.Error("the rules of fields are gone")
	}
}
