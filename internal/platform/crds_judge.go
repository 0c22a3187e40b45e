package platform

import (
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// replacing is what to do about a definition that stays.
	replacing = "--replace-definitions puts Fairway's in its place"
	// lostShown bounds how many fields are named.
	lostShown = 5
)

// judgeCRD says why a definition that is there stays as it is; "" when ours may take its place. One that somebody else put there
// stays: other programs may need it so, and whoever put it there would put it back. So does one that has fields which ours does
// not have: the values of objects in them would be lost with the next write. It is an error if what is there cannot be used.
func judgeCRD(have, want *apiextensionsv1.CustomResourceDefinition, replace bool) (string, error) {
	served := want.Spec.Versions[0].Name
	there := version(have, served)
	if !replace && !ours(have) {
		if there == nil || !there.Served {
			return "", fmt.Errorf("it is there, from %s, without the version %s; update what brought it, or %s", managers(have), served, replacing)
		}
		return "it comes from " + managers(have) + "; " + replacing, nil
	}
	if have.Spec.Scope != want.Spec.Scope {
		return "", fmt.Errorf("it is there with the scope %s, which cannot be changed; ours is %s", have.Spec.Scope, want.Spec.Scope)
	}
	if there == nil || there.Schema == nil {
		return "", nil
	}
	lost := lostFields(there.Schema.OpenAPIV3Schema, version(want, served).Schema.OpenAPIV3Schema, "")
	if len(lost) == 0 {
		return "", nil
	}
	more := ""
	if len(lost) > lostShown {
		more = fmt.Sprintf(" and %d more", len(lost)-lostShown)
		lost = lost[:lostShown]
	}
	return "it has fields that Fairway's does not have, and objects would lose them: " + strings.Join(lost, ", ") + more, nil
}

// ours tells whether Fairway applied a definition.
func ours(have *apiextensionsv1.CustomResourceDefinition) bool {
	return slices.ContainsFunc(have.ManagedFields, func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == FieldManager && f.Operation == metav1.ManagedFieldsOperationApply
	})
}

// holds tells whether applying a definition of ours would change nothing. It fills in want's defaults.
func holds(have, want *apiextensionsv1.CustomResourceDefinition) bool {
	apiextensionsv1.SetObjectDefaults_CustomResourceDefinition(want)
	within := func(has, all map[string]string) bool {
		for k, v := range has {
			if got, there := all[k]; !there || got != v {
				return false
			}
		}
		return true
	}
	return ours(have) && within(want.Labels, have.Labels) && within(want.Annotations, have.Annotations) && equality.Semantic.DeepEqual(have.Spec, want.Spec)
}

// managers are those who wrote the definition's spec, by the names of their programs.
func managers(have *apiextensionsv1.CustomResourceDefinition) string {
	var names []string
	for _, f := range have.ManagedFields {
		if f.Subresource == "" && !slices.Contains(names, f.Manager) {
			names = append(names, f.Manager)
		}
	}
	if len(names) == 0 {
		return "somebody else"
	}
	return strings.Join(names, ", ")
}

func version(def *apiextensionsv1.CustomResourceDefinition, name string) *apiextensionsv1.CustomResourceDefinitionVersion {
	for i := range def.Spec.Versions {
		if def.Spec.Versions[i].Name == name {
			return &def.Spec.Versions[i]
		}
	}
	return nil
}

// lostFields are the paths of fields that objects may have by one schema and not by another, sorted.
func lostFields(have, want *apiextensionsv1.JSONSchemaProps, path string) []string {
	if have == nil || want == nil {
		return nil
	}
	keeps := func(s *apiextensionsv1.JSONSchemaProps) bool {
		return s.XPreserveUnknownFields != nil && *s.XPreserveUnknownFields || s.AdditionalProperties != nil
	}
	if keeps(have) && !keeps(want) {
		return []string{path + ".*"}
	}
	var lost []string
	for name := range have.Properties {
		h := have.Properties[name]
		w, there := want.Properties[name]
		switch {
		case there:
			lost = append(lost, lostFields(&h, &w, path+"."+name)...)
		case !keeps(want):
			lost = append(lost, path+"."+name)
		}
	}
	if have.Items != nil && want.Items != nil {
		lost = append(lost, lostFields(have.Items.Schema, want.Items.Schema, path+"[]")...)
	}
	if have.AdditionalProperties != nil && want.AdditionalProperties != nil {
		lost = append(lost, lostFields(have.AdditionalProperties.Schema, want.AdditionalProperties.Schema, path+".*")...)
	}
	slices.Sort(lost)
	return lost
}
