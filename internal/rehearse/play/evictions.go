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

// deleters remembers who asked for a pod's end, from the API requests, until the deletion is seen.
type deleters struct {
	mu sync.Mutex
	by map[string]deletion // namespace/name
}

type deletion struct {
	user    string
	evicted bool // through the Eviction API, which asks disruption budgets
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
	key := parts[0] + "/" + parts[2]
	if _, known := d.by[key]; known && !evict {
		return // the node that removes what is already being deleted is not its cause
	}
	if d.by == nil {
		d.by = map[string]deletion{}
	}
	d.by[key] = deletion{user: q.User, evicted: evict}
}

func (d *deleters) take(key string) deletion {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.by[key]
	delete(d.by, key)
	return x
}

const serviceAccounts = "system:serviceaccount:kube-system:"

// byWhom says whose will a deletion was, when it was not the workload's own controller.
func byWhom(x deletion, p *pod) (by, kind string) {
	kind = "deletion"
	if x.evicted {
		kind = "eviction"
	}
	switch strings.TrimPrefix(x.user, serviceAccounts) {
	case "pod-garbage-collector":
		return "node-lost", "forced"
	case "node-controller":
		return "taint", kind
	case "system:kube-scheduler":
		return "preemption", kind
	case userSteps:
		if x.evicted {
			return "drain", kind
		}
		return "user", kind
	}
	return "", ""
}

// deleted notes an eviction: a pod taken out by someone else's will. Whether its budget was kept follows from the budget's
// status just before.
func (c *cluster) deleted(p *pod, now time.Time) {
	by, kind := byWhom(c.r.deleters.take(p.rec.Namespace+"/"+p.rec.Name), p)
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
	c.entry(p, record.Entry{Kind: record.KindEviction, What: "pod evicted", Why: by, Actor: by, Severity: record.Notable, Data: map[string]string{"by": by, "budget": e.Budget}})
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
