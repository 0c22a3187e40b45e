package elb

import (
	"context"
	"fmt"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// ResourceTag is the tag by which the AWS Load Balancer Controller marks the target group of a Service, unless another one is
// configured.
const ResourceTag = "ingress.k8s.aws/resource"

// Reasons of Events, the peer's.
const (
	ReasonVerified    = "TargetGroupVerified"
	ReasonUnverified  = "TargetGroupUnverified"
	ReasonError       = "TargetGroupVerifyError"
	ReasonWeightError = "WeightVerifyError"
	ReasonNotFound    = "LoadBalancerNotFound"
)

// Event is one to tell on the Rollout.
type Event struct {
	Warning         bool
	Reason, Message string
}

// Verdict on a Rollout's load balancers.
type Verdict struct {
	// Verified is nil when there is nothing to verify.
	Verified *bool
	// ALBs are status.albs, one an Ingress in the order of the spec; status.alb is the last one that a load balancer is known of.
	ALBs   []argo.ALBStatus
	Events []Event
}

// ALB is what status.alb is to be: the last of ALBs that is known; the peer leaves it empty before any is.
func (v Verdict) ALB() *argo.ALBStatus {
	out := &argo.ALBStatus{}
	for i := range v.ALBs {
		if v.ALBs[i].LoadBalancer.ARN != "" {
			*out = v.ALBs[i]
		}
	}
	return out
}

func (v *Verdict) tell(warning bool, reason, format string, args ...any) {
	v.Events = append(v.Events, Event{warning, reason, fmt.Sprintf(format, args...)})
}

// fail ends a verdict.
func (v Verdict) fail(canary string, err error) Verdict {
	v.tell(true, ReasonError, "Failed to verify Service %s (TargetGroup unknown): %v", canary, err)
	v.tell(true, ReasonWeightError, "Failed to verify weight: %v", err)
	no := false
	v.Verified = &no
	return v
}

// Weights tells whether the load balancers of a Rollout's Ingresses forward to the canary and to experiments by the weights of
// an intent. was is status.albs so far: what AWS does not say again is kept. tag is ResourceTag unless another is configured.
// An Ingress that has no load balancer yet is not verified.
func Weights(ctx context.Context, c *Client, tag string, in traffic.Intent, ingresses []*networkingv1.Ingress, was []argo.ALBStatus) Verdict {
	v := Verdict{ALBs: make([]argo.ALBStatus, len(ingresses))}
	if len(was) == len(ingresses) {
		copy(v.ALBs, was)
	}
	if in.Routing == nil || in.Routing.ALB == nil {
		return Verdict{}
	}
	verified := 0
	for i, ingress := range ingresses {
		for _, at := range ingress.Status.LoadBalancer.Ingress {
			if at.Hostname == "" {
				continue
			}
			lb, err := c.LoadBalancer(ctx, at.Hostname)
			if err != nil {
				return v.fail(in.CanaryService, err)
			}
			if lb == nil {
				v.tell(true, ReasonNotFound, "Failed to find load balancer: %s", at.Hostname)
				no := false
				v.Verified = &no
				return v
			}
			groups, err := c.TargetGroups(ctx, lb.ARN)
			if err != nil {
				return v.fail(in.CanaryService, err)
			}
			status := &v.ALBs[i]
			status.Ingress, status.LoadBalancer = ingress.Name, reference(lb.Name, lb.ARN, 2)
			verified += v.judge(status, ingress, in, groups, tag)
		}
	}
	all := verified == len(ingresses)*(1+len(in.Additional))
	v.Verified = &all
	return v
}

// judge takes up the target groups of one Ingress, and counts those that have the weights they should.
func (v *Verdict) judge(status *argo.ALBStatus, ingress *networkingv1.Ingress, in traffic.Intent, groups []TargetGroup, tag string) int {
	id := func(service string) string {
		return fmt.Sprintf("%s/%s-%s:%d", ingress.Namespace, ingress.Name, service, in.Routing.ALB.ServicePort)
	}
	want := map[string]argo.WeightDestination{id(in.CanaryService): {ServiceName: in.CanaryService, Weight: in.Weight}}
	for _, d := range in.Additional {
		want[id(d.ServiceName)] = d
	}
	good := map[string]bool{}
	for _, g := range groups {
		resource := g.Tags[tag]
		switch resource {
		case id(in.CanaryService):
			status.CanaryTargetGroup = reference(g.Name, g.ARN, 1)
		case id(in.StableService):
			status.StableTargetGroup = reference(g.Name, g.ARN, 1)
		}
		w, asked := want[resource]
		switch {
		case !asked || g.Weight == nil:
		case *g.Weight == w.Weight:
			good[resource] = true
			v.tell(false, ReasonVerified, "Service %s (TargetGroup %s) verified: canary weight %d set", w.ServiceName, g.ARN, w.Weight)
		default:
			v.tell(true, ReasonUnverified, "Service %s (TargetGroup %s) not verified: canary weight %d not yet set (current: %d)",
				w.ServiceName, g.ARN, w.Weight, *g.Weight)
		}
	}
	return len(good)
}

// reference to a thing of AWS; its full name is what follows a number of slashes in its ARN.
func reference(name, arn string, slashes int) argo.AwsResourceRef {
	ref := argo.AwsResourceRef{Name: name, ARN: arn}
	if parts := strings.SplitN(arn, "/", slashes+1); len(parts) > slashes {
		ref.FullName = parts[slashes]
	}
	return ref
}
