package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/internal/gateway/compile"
	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// servicesOwner owns the fields of Gateways' Services that this capability applies.
const servicesOwner = client.FieldOwner("fairway-gateway")

// reasonServiceTaken is the reason of the event about a Gateway whose Service would have the name of another.
const reasonServiceTaken = "ServiceNameTaken"

// services makes the Services by which pods reach Gateways, and takes away those that no Gateway is for.
func (c *Controller) services(ctx context.Context, wanted []*corev1.Service) {
	keep := make(map[config.Name]*corev1.Service, len(wanted))
	for _, s := range wanted {
		name := nameOf(s)
		there := find[*corev1.Service](c.stores.services, name.String())
		if there != nil && !ours(there) {
			c.tell([]compile.Event{{Kind: "Gateway", Object: config.Name{Namespace: s.Namespace, Name: s.OwnerReferences[0].Name}, Warning: true, Reason: reasonServiceTaken,
				Message: fmt.Sprintf("Service %s exists and was not made for this Gateway, so that there is none by which pods reach it; delete that Service or rename the Gateway", s.Name)}})
			continue
		}
		if there != nil && !sameOwner(there, s) {
			continue // its Gateway has gone, and so does it
		}
		keep[name] = s
		if there == nil || !equality.Semantic.DeepEqual(c.applied[name], s) || !fits(there, s) {
			c.apply(ctx, s)
		}
	}
	for _, there := range all[*corev1.Service](c.stores.services) {
		if !ours(there) || keep[nameOf(there)] != nil || there.DeletionTimestamp != nil {
			continue
		}
		err := c.manager.GetClient().Delete(ctx, there, client.Preconditions{UID: &there.UID})
		if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) && ctx.Err() == nil {
			c.log.Warn("deleting a Service that no Gateway is for", "service", nameOf(there).String(), "error", err)
			time.AfterFunc(time.Second, c.changed)
		}
	}
	for name := range c.applied {
		if keep[name] == nil {
			delete(c.applied, name)
		}
	}
}

// ours tells whether this capability made a Service.
func ours(s *corev1.Service) bool {
	of := metav1.GetControllerOfNoCopy(s)
	return s.Labels[compile.ManagedByLabel] == compile.ManagedBy && of != nil && of.Kind == "Gateway"
}

func sameOwner(there, wanted *corev1.Service) bool {
	return metav1.GetControllerOfNoCopy(there).UID == wanted.OwnerReferences[0].UID
}

// fits tells whether a Service is as it is wanted. What others have added to it stays.
func fits(there, wanted *corev1.Service) bool {
	for _, pair := range [][2]map[string]string{{there.Labels, wanted.Labels}, {there.Annotations, wanted.Annotations}} {
		for k, v := range pair[1] {
			if got, ok := pair[0][k]; !ok || got != v {
				return false
			}
		}
	}
	return slices.EqualFunc(there.Spec.Ports, wanted.Spec.Ports, func(a, b corev1.ServicePort) bool {
		return a.Name == b.Name && a.Port == b.Port && a.Protocol == b.Protocol
	})
}

// apply makes a Service as it is wanted. What was applied before and is wanted no more goes.
func (c *Controller) apply(ctx context.Context, s *corev1.Service) {
	of := s.OwnerReferences[0]
	spec := applycorev1.ServiceSpec()
	for _, p := range s.Spec.Ports {
		spec.WithPorts(applycorev1.ServicePort().WithName(p.Name).WithProtocol(p.Protocol).WithPort(p.Port))
	}
	as := applycorev1.Service(s.Name, s.Namespace).WithLabels(s.Labels).WithAnnotations(s.Annotations).WithSpec(spec).
		WithOwnerReferences(applymetav1.OwnerReference().WithAPIVersion(of.APIVersion).WithKind(of.Kind).WithName(of.Name).WithUID(of.UID).WithController(true))
	err := c.manager.GetClient().Apply(ctx, as, servicesOwner, client.ForceOwnership)
	switch {
	case err == nil:
		c.applied[nameOf(s)] = s
	case ctx.Err() == nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		c.log.Warn("making the Service of a Gateway", "service", nameOf(s).String(), "error", err)
		time.AfterFunc(time.Second, c.changed) // nothing else may bring it about again
	}
}
