package elb

import (
	"context"
	"fmt"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
)

// BindingKind is the kind of the AWS Load Balancer Controller's objects that bind a Service to a target group.
//
// Source: https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/targetgroupbinding/targetgroupbinding/
var BindingKind = schema.GroupVersionKind{Group: "elbv2.k8s.aws", Version: "v1beta1", Kind: "TargetGroupBinding"}

// Targets tells whether the addresses of a Service are registered with all target groups that are bound to it: whether a
// switch of its selector has reached the load balancer. Only target groups of pods' own addresses (targetType ip) can tell;
// without one there is nothing to verify. bindings are those of the Service's namespace.
func Targets(ctx context.Context, c *Client, svc *corev1.Service, slices []*discoveryv1.EndpointSlice, bindings []*unstructured.Unstructured) Verdict {
	var v Verdict
	for _, b := range bindings {
		port := boundPort(b, svc)
		if port == nil {
			continue
		}
		v.Verified = ptr.To(true)
		arn, _, _ := unstructured.NestedString(b.Object, "spec", "targetGroupARN")
		if kind, _, _ := unstructured.NestedString(b.Object, "spec", "targetType"); kind != "ip" {
			continue
		}
		want := addresses(slices, port)
		targets, err := c.Targets(ctx, arn)
		if err != nil {
			v.tell(true, ReasonError, "Failed to verify Service %s (TargetGroup %s): %v", svc.Name, arn, err)
			v.Verified = ptr.To(false)
			return v
		}
		registered := 0
		for _, t := range targets {
			if at := net.JoinHostPort(t.ID, strconv.Itoa(int(t.Port))); want[at] {
				registered++
				delete(want, at) // AWS names one target once a zone
			}
		}
		if total := registered + len(want); len(want) > 0 {
			v.tell(true, ReasonUnverified, "Service %s (TargetGroup %s) not verified: %d/%d endpoints registered", svc.Name, arn, registered, total)
			v.Verified = ptr.To(false)
			return v
		}
		v.tell(false, ReasonVerified, "Service %s (TargetGroup %s) verified: %d endpoints registered", svc.Name, arn, registered)
	}
	return v
}

// boundPort is the port of a Service that a binding refers to by its name or number, nil when it refers to none.
func boundPort(b *unstructured.Unstructured, svc *corev1.Service) *corev1.ServicePort {
	if name, _, _ := unstructured.NestedString(b.Object, "spec", "serviceRef", "name"); name != svc.Name {
		return nil
	}
	value, _, _ := unstructured.NestedFieldNoCopy(b.Object, "spec", "serviceRef", "port")
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if text := fmt.Sprint(value); text == strconv.Itoa(int(p.Port)) || text != "" && text == p.Name {
			return p
		}
	}
	return nil
}

// addresses of ready pods behind a port of a Service, as address:port. The slices say under which number a pod has a port
// that the Service knows by name.
func addresses(slices []*discoveryv1.EndpointSlice, port *corev1.ServicePort) map[string]bool {
	out := map[string]bool{}
	for _, s := range slices {
		for _, p := range s.Ports {
			if p.Port == nil || ptr.Deref(p.Name, "") != port.Name {
				continue
			}
			for _, e := range s.Endpoints {
				if ptr.Deref(e.Conditions.Ready, true) && len(e.Addresses) > 0 {
					out[net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port)))] = true
				}
			}
		}
	}
	return out
}
