package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"strconv"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/internal/ship/traffic"
	"github.com/fairway-dev/fairway/internal/ship/traffic/elb"
)

// LoadBalancers tells whether the load balancers of a cloud follow a Rollout. An elb.Verifier does for those of AWS.
type LoadBalancers interface {
	// Weights tells whether they forward by the weights of an intent; was is status.albs so far.
	Weights(ctx context.Context, in traffic.Intent, was []argo.ALBStatus) elb.Verdict
	// Targets tells whether the pods that a Service selects are registered with them.
	Targets(ctx context.Context, namespace, service string) elb.Verdict
}

// Balancer is the kind of Calls that ask load balancers, and WeightsMethod and TargetsMethod what they are asked, see Call.
const (
	Balancer      = "loadbalancer"
	WeightsMethod = "Weights"
	TargetsMethod = "Targets"
)

// askBalancers whether they forward by an intent: while somebody waits for it, for each question is one to a cloud.
func (p *pass) askBalancers(in traffic.Intent) (verified *bool) {
	if !p.s.Balanced || in.Routing.ALB == nil || !p.weightMatters(in) {
		return nil
	}
	in.Former, in.Port, in.Loaded = nil, 0, nil
	b, err := json.Marshal(in)
	if err != nil {
		return nil // an intent always has a form
	}
	h := fnv.New64a()
	h.Write(b)
	r := p.askBalancer(Call{Key: fmt.Sprintf("%s/%s", Balancer, p.ro.UID), Of: strconv.FormatUint(h.Sum64(), 16), Method: WeightsMethod, Intent: &in, ALBs: p.was.ALBs})
	if r == nil {
		no := false
		return &no
	}
	if len(r.ALBs) > 0 && !reflect.DeepEqual(r.ALBs, p.was.ALBs) {
		p.st.ALBs, p.st.ALB = r.ALBs, elb.Verdict{ALBs: r.ALBs}.ALB()
	}
	return r.Verified
}

// targetsVerified is whether load balancers send to the pods that a Service was switched to. A failure, or no answer yet, is no.
func (p *pass) targetsVerified(service, hash string) bool {
	if !p.s.Balanced || service == "" {
		return true
	}
	r := p.askBalancer(Call{Key: fmt.Sprintf("%s/%s/%s", Balancer, p.ro.UID, service), Of: hash, Method: TargetsMethod, Service: service})
	if r == nil || r.Verified != nil && !*r.Verified {
		p.because("TargetsNotVerified", "the load balancer has yet to register the pods of service "+service)
		return false
	}
	return true
}

// askBalancer, again while the answer is no, and return the last answer; nil while there is none. What an answer has to tell is
// told while it stands.
func (p *pass) askBalancer(c Call) *CallResult {
	c.Plugin, c.Kind = "aws", Balancer
	r, ok := p.answered(c)
	if !ok {
		p.put(c)
		return nil
	}
	p.verdict(c, &r)
	for _, e := range r.Events {
		if !slices.Contains(p.warnings, e) {
			p.warnings = append(p.warnings, e)
		}
	}
	return &r
}

// weightMatters is whether somebody waits for a weight to be followed: a step that sets it, or the end of an update.
func (p *pass) weightMatters(in traffic.Intent) bool {
	step := p.currentStep()
	return p.was.StableRS != "" && !p.promoted() && (step != nil && step.SetWeight != nil || step == nil && in.Weight == in.Max)
}

// answerOf load balancers to a Call of the kind Balancer.
func answerOf(ctx context.Context, b LoadBalancers, namespace string, c Call) CallResult {
	var v elb.Verdict
	if c.Method == TargetsMethod {
		v = b.Targets(ctx, namespace, c.Service)
	} else {
		v = b.Weights(ctx, *c.Intent, c.ALBs)
	}
	out := CallResult{Verified: v.Verified, ALBs: v.ALBs}
	for _, e := range v.Events {
		out.Events = append(out.Events, Event(e))
	}
	return out
}
