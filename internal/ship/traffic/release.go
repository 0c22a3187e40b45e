package traffic

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Managers are the names of the Rollouts (of the object's namespace) that have left a mark on an object, sorted: on a
// DestinationRule by its annotation, on an Ingress of the AWS Load Balancer Controller by its books. Marks that cannot be read
// count as none.
func Managers(obj *unstructured.Unstructured) []string {
	switch obj.GetKind() {
	case "DestinationRule":
		if name := obj.GetAnnotations()[managedByAnnotation]; name != "" {
			return []string{name}
		}
	case "Ingress":
		books, _ := readBooks(obj)
		return slices.Sorted(maps.Keys(books))
	}
	return nil
}

// Release takes what a Rollout put on an object away from it, once the Rollout is gone or refers to the object no more: the
// hashes in a DestinationRule's subsets, the actions in an Ingress's annotations. It returns nil when there is nothing to do.
// Objects that a router made itself go with the Rollout that owns them.
func Release(obj *unstructured.Unstructured, rollout string) (*Change, error) {
	if !slices.Contains(Managers(obj), rollout) {
		return nil, nil
	}
	after := editable(obj)
	var err error
	switch obj.GetKind() {
	case "DestinationRule":
		err = releaseRule(after)
	case "Ingress":
		err = releaseIngress(after, rollout)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s/%s: taking away what rollout %s put there: %w", obj.GetKind(), obj.GetNamespace(), obj.GetName(), rollout, err)
	}
	if changes := changed(nil, obj, after, "", ""); len(changes) > 0 {
		return &changes[0], nil
	}
	return nil, nil
}
