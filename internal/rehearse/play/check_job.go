package play

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
	"github.com/fairway-dev/fairway/internal/rehearse/model"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/draw"
)

// checks plays jobs that send requests, as an annotation of their pods says, over what containers do otherwise.
type checks struct {
	virtual.Behaviour
	r    *run
	done map[string]virtual.Model // by container instance: what was drawn for it stays
}

// Exit codes of a check.
const (
	checkFailed  = 1 // too many requests failed
	checkUnheard = 2 // nobody answers, or the annotation cannot be read
)

// Choose implements virtual.Behaviour. The engine asks under its own lock, which comes before the run's.
func (c *checks) Choose(q virtual.Choice) virtual.Model {
	m := c.Behaviour.Choose(q)
	text, ok := q.Pod.Annotations[model.CheckAnnotation]
	if !ok || q.Init || q.Pod.Spec.RestartPolicy == corev1.RestartPolicyAlways || !m.Exits || m.ExitCode != 0 {
		return m
	}
	id := fmt.Sprint(q.Pod.UID, "/", q.Container.Name, "/", q.Restart)
	if was, known := c.done[id]; known {
		return was
	}
	m.ExitCode, m.Message = c.r.check(text, q.Pod, int64(q.Restart))
	m.Why += "; annotation " + model.CheckAnnotation
	c.done[id] = m
	return m
}

// check sends the requests of a job, as draws, and tells its exit code and what it says.
func (r *run) check(text string, pod *corev1.Pod, restart int64) (code int32, message string) {
	k, err := model.ParseCheck(text)
	if err != nil {
		return checkUnheard, err.Error()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key, n := r.checkKey(pod)
	defer func() { r.cluster.checked(pod, message) }()
	share, heard := r.failing(&k, pod.Namespace)
	if !heard {
		return checkUnheard, fmt.Sprintf("no pod of %s answers", strings.TrimSpace(k.Service+" "+k.Revision))
	}
	failed := 0
	for i := range k.Requests {
		if draw.Uniform(r.doc.Seed, "check", key, (n+restart)*int64(k.Requests)+int64(i)) < share {
			failed++
		}
	}
	message = fmt.Sprintf("%d of %d requests to %s failed, %d may", failed, k.Requests, k.Service, int(k.Errors*float64(k.Requests)+rounding))
	if float64(failed) > k.Errors*float64(k.Requests)+rounding {
		return checkFailed, message
	}
	return 0, message
}

// rounding keeps 1 % of 200 from being less than 2.
const rounding = 1e-9

// checkKey is what the draws of a job's pod depend on: the analysis and its metric, or the job; and the number of the
// measurement. Never a UID.
func (r *run) checkKey(pod *corev1.Pod) (key string, n int64) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return pod.Namespace + "/" + pod.Name, 0
	}
	key = r.cluster.ownerOf(pod)
	if job, err := r.cluster.jobs.Jobs(pod.Namespace).Get(owner.Name); err == nil {
		key += "/" + job.Annotations["analysisrun.argoproj.io/metric-name"]
	}
	_, _ = fmt.Sscan(owner.Name[strings.LastIndexByte(owner.Name, '.')+1:], &n) // 0 for jobs that are not numbered
	return key, n
}

// failing is the share of the requests to a service that its pods fail by themselves, those of one revision or all that serve;
// heard is false when there are none.
func (r *run) failing(k *model.Check, namespace string) (share float64, heard bool) {
	name := k.Service
	if !strings.Contains(name, "/") {
		name = namespace + "/" + name
	}
	service, ok := r.topology.ServiceNamed(name)
	if !ok {
		return 0, false
	}
	pods := 0.0
	for _, p := range r.cluster.living() {
		if !p.ready || !p.demand.known || p.demand.service != service || k.Revision != "" && p.rec.Revision != k.Revision || k.Revision == "" && !p.serves() {
			continue
		}
		pods++
		share += r.shareOf(p, k.Route)
	}
	if pods == 0 {
		return 0, false
	}
	return share / pods, true
}

// shareOf is the share of the requests of a route ("" = the mean of all) that a pod fails by itself: its service's own and its
// revision's. Requests that fail because it is overloaded, or what it calls, are not among them.
func (r *run) shareOf(p *pod, route string) float64 {
	own, routes := 0.0, 0.0
	revision := r.topology.RevisionOf(p.demand.service, p.obj)
	for k, x := range r.demand.system.ModelOf(p.demand.service).Routes {
		if route != "" && x.Name != route {
			continue
		}
		if routes++; revision.RouteErrors != nil {
			own += revision.RouteErrors[k]
		} else {
			own += x.Errors
		}
	}
	return 1 - (1-revision.Errors)*(1-own/max(routes, 1))
}

// checkedMax is how many results of an analysis are kept for its entry.
const checkedMax = 3

// checked keeps what a job of an analysis found, for when the analysis ends.
func (c *cluster) checked(pod *corev1.Pod, message string) {
	owner := c.ownerOf(pod)
	if !strings.HasPrefix(owner, analysisRunKind+"/") {
		return
	}
	list := append(c.found[short(owner)], message)
	c.found[short(owner)] = slices.Clone(list[max(0, len(list)-checkedMax):])
}
