package scenario

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/fairway-dev/fairway/internal/rehearse/manifest"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/spelling"
)

// UnknownKinds are the objects of a kind that Kubernetes' own groups do not have: as a rule a slip of the pen. Kinds of
// other groups are for the rehearsed cluster to know.
func UnknownKinds(objects []manifest.Object) []manifest.Problem {
	var unknown []manifest.Problem
	for _, o := range objects {
		kind := o.Object.GroupVersionKind()
		if !scheme.Scheme.IsGroupRegistered(kind.Group) || scheme.Scheme.Recognizes(kind) {
			continue
		}
		unknown = append(unknown, manifest.Problem{File: o.File, Line: o.Line, Hint: kindHint(kind),
			Message: fmt.Sprintf("Kubernetes has no kind %s in %s", kind.Kind, kind.GroupVersion())})
	}
	return unknown
}

// kindHint is the version that has the kind, else the kinds of that group and version.
func kindHint(kind schema.GroupVersionKind) string {
	for _, gv := range scheme.Scheme.PrioritizedVersionsForGroup(kind.Group) {
		if scheme.Scheme.Recognizes(gv.WithKind(kind.Kind)) {
			return fmt.Sprintf("write apiVersion: %s", gv)
		}
	}
	return spelling.Suggest(kind.Kind, sortedKeys(scheme.Scheme.KnownTypes(kind.GroupVersion())))
}
