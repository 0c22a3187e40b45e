package play

import (
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-dev/fairway/internal/kube/controlplane"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// deleters remembers who asked for a pod's end, from the API requests, until the pod is gone.
type deleters struct {
	mu      sync.Mutex
	evicts  map[string]string // namespace/name → user that asked the Eviction API last; it may have refused
	deletes map[string]string // namespace/name → user that deleted it first
}

func (d *deleters) request(q controlplane.Request) {
	evict := q.Method == http.MethodPost && strings.HasSuffix(q.Path, "/eviction")
	if q.Method != http.MethodDelete && !evict {
		return
	}
	parts := strings.Split(strings.TrimPrefix(q.Path, "/api/v1/namespaces/"), "/")
	if len(parts) < 3 || parts[1] != "pods" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.evicts == nil {
		d.evicts, d.deletes = map[string]string{}, map[string]string{}
	}
	key := parts[0] + "/" + parts[2]
	if evict {
		d.evicts[key] = q.User
	} else if d.deletes[key] == "" { // the node that removes what is already being deleted is not its cause
		d.deletes[key] = q.User
	}
}

// of says who removes a pod, and whether through the Eviction API, which asks disruption budgets.
func (d *deleters) of(p *corev1.Pod) (user string, evicted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := p.Namespace + "/" + p.Name
	if disrupted(p, evictionReason) {
		return d.evicts[key], true
	}
	return d.deletes[key], false
}

// forget lets go of a pod that is gone; the next one may have its name.
func (d *deleters) forget(p *corev1.Pod) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.evicts, p.Namespace+"/"+p.Name)
	delete(d.deletes, p.Namespace+"/"+p.Name)
}

const serviceAccounts = "system:serviceaccount:kube-system:"

// byWhom says whose will a deletion was, when it was not the workload's own controller.
func byWhom(user string, evicted bool) (by, kind string) {
	kind = "deletion"
	if evicted {
		kind = "eviction"
	}
	switch strings.TrimPrefix(user, serviceAccounts) {
	case "pod-garbage-collector":
		return "node-lost", "forced"
	case "node-controller":
		return "taint", kind
	case "system:kube-scheduler":
		return "preemption", kind
	case userSteps:
		if evicted {
			return "drain", kind
		}
		return "user", kind
	}
	return "", ""
}

// deleted notes an eviction: a pod taken out by someone else's will. Whether its budget was kept follows from the budget's
// status just before.
func (c *cluster) deleted(p *pod, now time.Time) {
	by, kind := byWhom(c.r.deleters.of(p.obj))
	if by == "" {
		return
	}
	e := record.Eviction{Time: now.UTC(), Pod: p.rec.Namespace + "/" + p.rec.Name, Workload: p.rec.Workload, Node: p.rec.Node, By: by, Kind: kind, BudgetKept: true}
	if b := c.budgetOf(p.obj); b != nil {
		e.Budget = b.Namespace + "/" + b.Name
		if kind != "eviction" && wasReady(p) && b.Status.CurrentHealthy-1 < b.Status.DesiredHealthy {
			e.BudgetKept = false
			c.breaks++
		}
	}
	c.evictions++
	c.r.out.event(record.Event{Eviction: &e})
	c.entry(p, record.Entry{Kind: record.KindEviction, What: evictionTexts[by], Why: by, Actor: by, Severity: record.Notable, Data: map[string]string{"by": by, "budget": e.Budget}})
}

func wasReady(p *pod) bool {
	if p.ready {
		return true
	}
	for i := range p.obj.Status.Conditions {
		if p.obj.Status.Conditions[i].Type == corev1.PodReady {
			return p.obj.Status.Conditions[i].Status == corev1.ConditionTrue
		}
	}
	return false
}

// evictionTexts say what happened to the pod, by who took it out.
var evictionTexts = map[string]string{"node-lost": "pod is lost with its node", "taint": "pod is evicted from its unreachable or tainted node",
	"preemption": "pod gives way to one of higher priority", "drain": "pod is evicted by the drain of its node", "user": "pod is deleted"}
