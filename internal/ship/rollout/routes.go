package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// Base is the part of a Rollout's intent that does not depend on how far it is: enough for asking routers for their Refs.
func Base(ro *rollouts.Rollout) traffic.Intent {
	in := traffic.Intent{Namespace: ro.Namespace, Name: ro.Name, UID: string(ro.UID), Max: maxTraffic(ro)}
	if routed(ro) {
		in.Routing = ro.Spec.Strategy.Canary.TrafficRouting
	}
	in.CanaryService, in.StableService = Services(ro)
	in.Port = traffic.Port(&ro.Spec.Template)
	return in
}

// route gives the canary its weight. It says whether the pass may go on: not when a router cannot follow.
func (p *pass) route() bool {
	if !routed(p.ro) || len(p.s.Routers) == 0 && len(p.ro.Spec.Strategy.Canary.TrafficRouting.Plugins) == 0 {
		p.st.Canary.Weights = nil
		return true
	}
	in := p.intent()
	if p.fresh.lasting() == 0 && p.stable != nil && p.stable.lasting() > 0 {
		// any stable pod is better than none
	} else if !p.stableCarries(in.Max - in.Weight) {
		if p.distinctStable() {
			p.because("StableNotReady", fmt.Sprintf("the stable ReplicaSet %s has %d available pods, too few for weight %d",
				p.stable.is.Name, p.stable.available(), in.Max-in.Weight))
		}
		return true
	}
	if (p.was.Abort || p.aborted()) && p.distinctStable() && p.descending() == "" && (in.Weight == 0 || !dynamicStable(p.ro)) {
		// After the weight, which takes the traffic away at once; and also when a router cannot follow.
		defer p.point(p.ro.Spec.Strategy.Canary.CanaryService, p.stable, false)
	}
	if _, service := Services(p.ro); in.Weight < in.Max {
		p.point(service, p.stable, true) // it is about to have traffic
	}
	objects := p.s.Objects
	var verified *bool
	why := ""
	for _, in := range p.stages(in) {
		verified, why = nil, ""
		for _, r := range p.s.Routers {
			res, err := r.Translate(in, objects)
			if err != nil {
				p.routingFailed(r.Kind(), err.Error())
				return false
			}
			objects = p.write(in, res.Changes, objects)
			if verified == nil || res.Verified != nil && !*res.Verified {
				verified = cmp.Or(res.Verified, verified)
			}
			if res.Verified != nil && !*res.Verified {
				why = cmp.Or(why, r.Kind()+": "+res.Message)
			}
		}
	}
	ok, asked := p.askRouters(in)
	if !ok {
		return false
	}
	if verified == nil || asked != nil && !*asked {
		verified = cmp.Or(asked, verified)
	}
	if v := p.askBalancers(in); v != nil && (verified == nil || !*v) {
		if verified = v; !*v {
			why = cmp.Or(why, "ALB: the load balancer does not forward by it yet")
		}
	}
	p.recordWeights(in, verified)
	if v := p.st.Canary.Weights.Verified; v != nil && !*v {
		p.wakeAt(p.now.Add(p.verifyAgain(&in)), "the weight is verified again")
		p.because("WeightNotVerified", fmt.Sprintf("the router has yet to follow weight %d %s", in.Weight, why))
		return in.Weight != in.Max
	}
	return true
}

// intent for the routers, as far as pods allow.
func (p *pass) intent() traffic.Intent {
	in := Base(p.ro)
	in.Loaded = p.s.Loaded
	if w := p.was.Canary.Weights; w != nil {
		in.Former = w.Additional
	}
	if p.stable != nil {
		in.StableHash = p.stable.hash
	}
	in.CanaryHash = p.fresh.hash
	back := p.descending()
	switch {
	case back != "":
		in.Weight, in.CanaryHash = p.descent(), back
	case p.promoted():
		in.Remove = true
	case p.aborted():
		in.Weight, in.Remove = p.descent(), true
	case p.fresh.lasting() == 0 || p.routedSplit(nil).canary == 0:
		in.Remove, in.Additional = true, p.experimentWeights() // nobody is there to take traffic, or will be
	case p.was.PromoteFull:
		in.Remove = true
		if n := replicasOf(p.ro); dynamicStable(p.ro) {
			in.Weight = min(in.Max, in.Max*p.fresh.lasting()/max(n, 1))
		} else if w := p.was.Canary.Weights; w != nil {
			in.Weight = w.Canary.Weight
		}
	case p.steps() == 0:
	case !p.scaledAsWanted(nil):
		in.Weight, in.Additional = p.weightBefore(p.stepIndex()), p.experimentWeights()
	case p.currentStep() != nil:
		in.Weight, in.Additional = p.stepWeight(), p.experimentWeights()
	default:
		in.Weight = in.Max
	}
	if !p.aborted() && back == "" && (!p.ready(p.fresh) || p.stable != nil && !p.ready(p.stable)) {
		// Where the routers do not know yet what is stable since the last promotion, what they take for it may have no pods.
		w := p.was.Canary.Weights
		in.HoldHash = w == nil || w.Stable.PodTemplateHash == in.StableHash
		if p.subsets() && !p.inSubset(in.CanaryHash) {
			in.Weight = 0 // the subset still selects another revision
		}
	}
	if !in.Remove && p.was.StableRS != "" && !p.promoted() {
		in.Headers, in.Mirrors = p.managedRoutes(false)
	}
	return in
}

// full is whether all pods of a ReplicaSet are available, and there are some.
func full(rs *replicaSet) bool { return rs.size > 0 && rs.available() >= rs.size }

// ready is whether enough pods of a ReplicaSet are available for pointing a subset to it.
func (p *pass) ready(rs *replicaSet) bool {
	return full(rs) || rs.size > 0 && p.ro.Spec.Strategy.Canary.ReplicaProgressThreshold != nil && p.thresholdMet(rs, rs.size)
}

// subsets is whether the revisions are told apart by Istio subsets.
func (p *pass) subsets() bool {
	istio := p.ro.Spec.Strategy.Canary.TrafficRouting.Istio
	return istio != nil && istio.DestinationRule != nil
}

// stages of coming to an intent. New hashes come before their weights; but weight is taken from a canary without pods before
// anything else. Ping and pong, which Services tell apart, exchange their parts and their weights in one.
func (p *pass) stages(in traffic.Intent) []traffic.Intent {
	w := p.was.Canary.Weights
	if w == nil || p.ro.Spec.Strategy.Canary.PingPong != nil || w.Canary.PodTemplateHash == in.CanaryHash && w.Stable.PodTemplateHash == in.StableHash {
		return []traffic.Intent{in}
	}
	first := in
	if p.fresh.lasting() == 0 && w.Canary.Weight > 0 {
		first.CanaryHash = w.Canary.PodTemplateHash
	} else {
		first.Weight, first.Additional = w.Canary.Weight, w.Additional
	}
	return []traffic.Intent{first, in}
}

// stableCarries is whether the stable revision has the pods for a weight, and one at least for any.
func (p *pass) stableCarries(weight int32) bool {
	if p.stable == nil {
		return false
	}
	want := int32(int64(max(weight, 0)) * int64(replicasOf(p.ro)) / int64(max(maxTraffic(p.ro), 1)))
	if weight > 0 && want == 0 {
		want = min(1, replicasOf(p.ro))
	}
	return p.stable.lasting() >= want || p.ro.Spec.Strategy.Canary.ReplicaProgressThreshold != nil && p.thresholdMet(p.stable, want)
}

// descent is the weight of a canary that is going back. Without a dynamic stable it is 0. With one it follows the stable pods
// as they become available, and never rises.
func (p *pass) descent() int32 {
	n, m := replicasOf(p.ro), maxTraffic(p.ro)
	if !dynamicStable(p.ro) || p.stable == nil || n == 0 {
		return 0
	}
	carried := m * p.stable.lasting() / n
	left := max(0, m-carried)
	want := p.canaryWeight()
	w := p.was.Canary.Weights
	switch {
	case w == nil && p.fresh.available() == 0:
		return 0
	case w == nil:
		return max(left, want)
	case want <= 0:
		return min(left, w.Canary.Weight)
	case carried < m-want:
		return w.Canary.Weight
	}
	return min(want, w.Canary.Weight)
}

// experimentWeights are those of a running experiment's templates.
func (p *pass) experimentWeights() []argo.WeightDestination {
	ex := p.exp
	if ex == nil || ex.Status.Phase != argo.AnalysisPhaseRunning {
		return nil
	}
	step := p.experimentStep()
	if step == nil {
		return nil
	}
	var out []argo.WeightDestination
	for _, st := range ex.Status.TemplateStatuses {
		for i := range step.Templates {
			if t := &step.Templates[i]; t.Name == st.Name && t.Weight != nil {
				out = append(out, argo.WeightDestination{ServiceName: st.ServiceName, PodTemplateHash: st.PodTemplateHash, Weight: *t.Weight})
				break
			}
		}
	}
	return out
}

// managedRoutes in force: of each name what the last step said, up to the current one. A step without a match removes; with
// removals it is among them, as plugins want it.
func (p *pass) managedRoutes(removals bool) (headers []argo.SetHeaderRoute, mirrors []argo.SetMirrorRoute) {
	c := p.ro.Spec.Strategy.Canary
	last := min(p.stepIndex(), p.steps()-1)
	for _, route := range c.TrafficRouting.ManagedRoutes {
	search:
		for i := last; i >= 0; i-- {
			switch s := &c.Steps[i]; {
			case s.SetHeaderRoute != nil && s.SetHeaderRoute.Name == route.Name:
				if removals || len(s.SetHeaderRoute.Match) > 0 {
					headers = append(headers, *s.SetHeaderRoute)
				}
				break search
			case s.SetMirrorRoute != nil && s.SetMirrorRoute.Name == route.Name:
				if removals || len(s.SetMirrorRoute.Match) > 0 {
					mirrors = append(mirrors, *s.SetMirrorRoute)
				}
				break search
			}
		}
	}
	return headers, mirrors
}

// write makes Ops of the changes that carry an intent out, and returns the objects as they are then.
func (p *pass) write(in traffic.Intent, changes []traffic.Change, objects traffic.Objects) traffic.Objects {
	if len(changes) == 0 {
		return objects
	}
	objects = maps.Clone(objects)
	if objects == nil {
		objects = traffic.Objects{}
	}
	for _, c := range changes {
		o := c.After
		if o == nil {
			o = c.Before
		}
		ref := traffic.Ref{GroupVersionKind: o.GroupVersionKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
		switch {
		case c.Before == nil:
			p.op(Op{Verb: Create, After: c.After})
			objects[ref] = c.After
		case c.After == nil:
			p.op(Op{Verb: Delete, Before: c.Before})
			delete(objects, ref)
		default:
			op := Op{Verb: Patch, Before: c.Before, After: c.After}
			if c.Steer {
				op.Steer = steer(in, ref, c.Rule)
			}
			p.op(op)
			objects[ref] = c.After
		}
	}
	return objects
}

// verifyAgain is how long to wait before a weight is verified again: of a data path of this process, as long as it has been
// waited already, for it mostly follows at once, and may never if its route is not valid.
func (p *pass) verifyAgain(in *traffic.Intent) time.Duration {
	if len(in.Loaded) == 0 {
		return verifyRetry
	}
	if p.unfollowed = p.s.Unfollowed; p.unfollowed.IsZero() {
		p.unfollowed = p.now
	}
	return min(max(p.now.Sub(p.unfollowed), loadedRetry), verifyRetry)
}

// steer is what a data path is told of an intent.
func steer(in traffic.Intent, route traffic.Ref, rule string) *Steer {
	w := traffic.Weights{Canary: in.Weight, Stable: in.Max - in.Weight}
	for _, d := range in.Additional {
		if w.Additional == nil {
			w.Additional = map[string]int32{}
		}
		w.Additional[d.ServiceName] = d.Weight
		w.Stable -= d.Weight
	}
	return &Steer{Route: route, Rule: rule, CanaryService: in.CanaryService, StableService: in.StableService, Weights: w}
}

func (p *pass) routingFailed(kind, message string) {
	p.warn(Event{Reason: "TrafficRoutingError", Message: message})
	p.wakeAt(p.now.Add(verifyRetry), "the router is tried again")
	p.because("TrafficRoutingError", kind+": "+message)
}

// recordWeights that the routers were given, and whether they follow: as far as that matters at this moment.
func (p *pass) recordWeights(in traffic.Intent, verified *bool) {
	c := p.ro.Spec.Strategy.Canary
	is := argo.TrafficWeights{
		Canary:     argo.WeightDestination{Weight: in.Weight, PodTemplateHash: in.CanaryHash, ServiceName: c.CanaryService},
		Stable:     argo.WeightDestination{Weight: in.Max - in.Weight, PodTemplateHash: in.StableHash, ServiceName: c.StableService},
		Additional: in.Additional,
	}
	for _, a := range in.Additional {
		is.Stable.Weight -= a.Weight
	}
	if !p.weightMatters(in) {
		verified = nil
	}
	was := p.was.Canary.Weights
	same := was != nil && was.Canary == is.Canary && was.Stable == is.Stable && slices.Equal(was.Additional, is.Additional)
	if same && (was.Verified == nil) == (verified == nil) && (verified == nil || *was.Verified == *verified) {
		p.st.Canary.Weights = was
		return
	}
	is.Verified = verified
	p.st.Canary.Weights = &is
	if same {
		return
	}
	var details []string
	if was == nil {
		details = append(details, fmt.Sprintf("to %d", is.Canary.Weight))
	} else {
		if was.Canary.Weight != is.Canary.Weight {
			details = append(details, fmt.Sprintf("from %d to %d", was.Canary.Weight, is.Canary.Weight))
		}
		if !slices.Equal(was.Additional, is.Additional) {
			details = append(details, fmt.Sprintf("additional: %v", is.Additional))
		}
		if len(details) == 0 {
			details = append(details, fmt.Sprintf("at %d: canary %s, stable %s", is.Canary.Weight, is.Canary.PodTemplateHash, is.Stable.PodTemplateHash))
		}
	}
	p.later(Event{Reason: "TrafficWeightUpdated", Message: "Traffic weight updated " + strings.Join(details, ", ")})
}
