package lint

import (
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// routerObjects are the objects that the Rollout's routers ask for, in whatever version the files have them.
func routerObjects(ro *rollouts.Rollout, all []*object) traffic.Objects {
	objects := traffic.Objects{}
	if ro.Spec.Strategy.Canary == nil {
		return objects
	}
	routing := ro.Spec.Strategy.Canary.TrafficRouting
	routers, err := traffic.For(ro.Namespace, routing)
	if err != nil {
		return objects
	}
	for _, r := range routers {
		for _, ref := range r.Refs(traffic.Intent{Namespace: ro.Namespace, Name: ro.Name, Routing: routing}) {
			for _, o := range all {
				if matches(ref, o) {
					ref := ref
					ref.Name, ref.Selector = o.GetName(), ""
					objects[ref] = o.Unstructured
				}
			}
		}
	}
	return objects
}

func matches(ref traffic.Ref, o *object) bool {
	kind := o.GroupVersionKind()
	if kind.Group != ref.Group || kind.Kind != ref.Kind || !together(o.GetNamespace(), ref.Namespace) {
		return false
	}
	if ref.Selector == "" {
		return o.GetName() == ref.Name
	}
	selector, err := labels.Parse(ref.Selector)
	return err == nil && selector.Matches(labels.Set(o.GetLabels()))
}
