package change

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// allContainers stands for every container.
const allContainers = "*"

// TemplatePath is where an object of a kind has its pod template.
func TemplatePath(kind string) []string {
	if kind == "PodTemplate" {
		return []string{"template"}
	}
	return []string{"spec", "template"}
}

// SetImage gives a container of obj's pod template an image, init and ephemeral containers among them; * is all of them. What
// this program does not know of the object stays as it is.
func SetImage(obj *unstructured.Unstructured, container, image string) error {
	found := false
	var known []string
	for _, kind := range []string{"initContainers", "containers", "ephemeralContainers"} {
		path := append(slices.Clone(TemplatePath(obj.GetKind())), "spec", kind)
		list, _, err := unstructured.NestedFieldNoCopy(obj.Object, path...)
		if err != nil {
			return err
		}
		containers, _ := list.([]any)
		for _, c := range containers {
			fields, _ := c.(map[string]any)
			name, _ := fields["name"].(string)
			known = append(known, name)
			if fields != nil && (name == container || container == allContainers) {
				fields["image"], found = image, true
			}
		}
	}
	if !found {
		return fmt.Errorf("it has no container %q; it has %s", container, strings.Join(known, ", "))
	}
	return nil
}
