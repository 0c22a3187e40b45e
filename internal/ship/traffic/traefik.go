package traffic

import (
	"fmt"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const traefikField = "spec.strategy.canary.trafficRouting.traefik.weightedTraefikServiceName"

// traefik drives Traefik by the weights in a TraefikService.
// https://doc.traefik.io/traefik/reference/routing-configuration/kubernetes/crd/http/traefikservice/
type traefik struct {
	namespace string
	config    *argo.TraefikTrafficRouting
	kind      schema.GroupVersionKind
}

func newTraefik(v Versions, namespace string, config *argo.TraefikTrafficRouting) traefik {
	group, version, both := strings.Cut(or(v.Traefik, "traefik.io/v1alpha1"), "/")
	if !both {
		group, version = "traefik.io", group
	}
	return traefik{namespace, config, kind(group, version, "TraefikService")}
}

func (traefik) Kind() string { return "Traefik" }

func (r traefik) ref() Ref {
	return Ref{GroupVersionKind: r.kind, Namespace: r.namespace, Name: r.config.WeightedTraefikServiceName}
}

func (r traefik) Refs(Intent) []Ref { return []Ref{r.ref()} }

func (r traefik) Translate(in Intent, objects Objects) (Result, error) {
	in, err := in.withoutExperiments("traefik")
	if err != nil {
		return Result{}, err
	}
	stable, err := in.stableWeight()
	if err != nil {
		return Result{}, err
	}
	object, err := objects.copyOf(r.ref(), traefikField)
	if err != nil {
		return Result{}, err
	}
	services, err := items(object.Object, "spec", "weighted", "services")
	if err != nil {
		return Result{}, fmt.Errorf("%s: spec.weighted.%w", r.ref(), err)
	}
	if err := setNamed(services, "name", in.CanaryService, in.Weight); err != nil {
		return Result{}, fmt.Errorf("%s: traefik canary service was not found in spec.weighted.services: %w", r.ref(), err)
	}
	if err := setNamed(services, "name", in.StableService, stable); err != nil {
		return Result{}, fmt.Errorf("%s: traefik stable service was not found in spec.weighted.services: %w", r.ref(), err)
	}
	if err := set(object.Object, list(services), "spec", "weighted", "services"); err != nil {
		return Result{}, err
	}
	return Result{Changes: changed(nil, objects[r.ref()], object, "", "")}, nil
}

// setNamed sets the weight of the item whose field holds name.
func setNamed(items []map[string]any, field, name string, weight int32) error {
	for _, item := range items {
		if name != "" && text(item, field) == name {
			setWeight(item, weight)
			return nil
		}
	}
	return fmt.Errorf("no item has %s %q; add one", field, name)
}
