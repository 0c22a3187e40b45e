package play

import (
	"slices"
	"strings"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/celenv"
)

// observer shows the run to the conditions of its steps.
type observer struct{ r *run }

// Columns implements celenv.Observer.
func (o observer) Columns(metric string, labels map[string]string) []celenv.Column {
	o.r.mu.Lock()
	defer o.r.mu.Unlock()
	var out []celenv.Column
	for i := range o.r.sampler.history {
		h := &o.r.sampler.history[i]
		own := map[string]string{}
		if h.label != "" {
			own[h.label] = h.value
		}
		if h.metric != metric || !includes(own, labels) {
			continue
		}
		out = append(out, celenv.Column{Metric: metric, Labels: own, Points: slices.Clone(h.points)})
	}
	return out
}

func includes(own, asked map[string]string) bool {
	for k, v := range asked {
		if own[k] != v {
			return false
		}
	}
	return true
}

// find is the workload of a namespace/name or Kind/namespace/name. The caller holds the lock.
func (o observer) find(name string) *workload {
	if w := o.r.cluster.workloads[name]; w != nil {
		return w
	}
	if strings.Count(name, "/") == 1 {
		for _, kind := range []string{rolloutKind + "/", "Deployment/", "StatefulSet/", "DaemonSet/"} {
			if w := o.r.cluster.workloads[kind+name]; w != nil {
				return w
			}
		}
	}
	return nil
}

// Workload implements celenv.Observer.
func (o observer) Workload(name string) (celenv.Workload, bool) {
	o.r.mu.Lock()
	defer o.r.mu.Unlock()
	w := o.find(name)
	if w == nil {
		return celenv.Workload{}, false
	}
	return celenv.Workload{Desired: int64(max(w.desired, 0)), Ready: int64(w.ready), Total: int64(w.total), Available: int64(w.ready), Updated: int64(w.updated), Image: w.image}, true
}

// Rollout implements celenv.Observer.
func (o observer) Rollout(name string) (celenv.Rollout, bool) {
	o.r.mu.Lock()
	defer o.r.mu.Unlock()
	w := o.find(name)
	if w == nil {
		return celenv.Rollout{}, false
	}
	out := celenv.Rollout{Phase: celenv.RolloutHealthy, Revision: w.template, Updated: int64(w.updated), Desired: int64(max(w.desired, 0)), Paused: w.paused, Image: w.image}
	if w.newest != nil {
		w.describe(&out)
		return out, true
	}
	switch {
	case w.stalled != "":
		out.Phase, out.Message = celenv.RolloutDegraded, w.stalled
	case w.paused:
		out.Phase = celenv.RolloutPaused
	case w.rolling:
		out.Phase = celenv.RolloutProgressing
	}
	return out, true
}

// Pods implements celenv.Observer.
func (o observer) Pods() []celenv.Pod {
	o.r.mu.Lock()
	defer o.r.mu.Unlock()
	var out []celenv.Pod
	for _, p := range o.r.cluster.living() {
		v := celenv.Pod{Namespace: p.rec.Namespace, Name: p.rec.Name, Workload: p.rec.Workload, Node: p.rec.Node, Phase: p.rec.Phase, Ready: p.ready, Reason: p.rec.Reason,
			Restarts: int64(p.rec.Restarts), Created: p.rec.Created, Labels: p.obj.Labels}
		if n := o.r.cluster.nodes[p.rec.Node]; n != nil {
			v.Zone = n.rec.Zone
		}
		out = append(out, v)
	}
	return out
}

// Nodes implements celenv.Observer.
func (o observer) Nodes() []celenv.Node {
	o.r.mu.Lock()
	defer o.r.mu.Unlock()
	count := map[string]int64{}
	for _, p := range o.r.cluster.pods {
		count[p.rec.Node]++
	}
	var out []celenv.Node
	for _, name := range sortedKeys(o.r.cluster.nodes) {
		n := o.r.cluster.nodes[name]
		out = append(out, celenv.Node{Name: name, Pool: n.rec.Pool, Zone: n.rec.Zone, Type: n.rec.Type, CapacityType: n.rec.CapacityType, Ready: n.ready, Unschedulable: n.cordoned, Pods: count[name]})
	}
	return out
}

// Timeline implements celenv.Observer: the newest entries.
func (o observer) Timeline() []record.Entry { return o.r.out.newest() }

// Steps implements celenv.Observer.
func (o observer) Steps() []record.Step {
	var out []record.Step
	for _, key := range sortedKeys(o.r.steps.marks) {
		out = append(out, o.r.steps.marks[key])
	}
	return out
}
