package play

import (
	"net/http"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/kube/controlplane"
)

// restBefore is how long before the end of a run that ends in peace nobody writes Rollouts any more: longer than the time after
// which they are looked at although nothing has happened.
const restBefore = 20 * time.Minute

// request notes when a Rollout, or what belongs to it, was written last. A checker that is nil notes nothing.
func (k *checker) request(q controlplane.Request) {
	if k == nil || k.ship == nil || q.Method == http.MethodGet || q.Method == http.MethodHead {
		return
	}
	if strings.HasPrefix(q.User, "system:serviceaccount:kube-system:") || q.User == userSteps || !strings.HasPrefix(q.User, "system:serviceaccount:") {
		return
	}
	if strings.HasSuffix(q.Path, "/events") || strings.Contains(q.Path, "/leases") {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ship.written, k.ship.writtenWhat = time.Now(), q.Method+" "+q.Path
}

// atEnd: every Rollout has come to rest where it was to go, and is left alone there. A check that is nil finds nothing.
func (c *rolloutCheck) atEnd(excused map[string]bool, pods []*corev1.Pod) {
	if c == nil {
		return
	}
	waiting := false
	for _, name := range sortedKeys(c.rollouts) {
		t := c.rollouts[name]
		object := rolloutKind + "/" + name
		if excused[object] || c.k.atQuota(pods, t.is.Namespace, &t.is.Spec.Template.Spec) {
			waiting = true
			continue
		}
		c.rolloutAtRest(object, t.is)
	}
	c.k.mu.Lock()
	written, what := c.written, c.writtenWhat
	c.k.mu.Unlock()
	if quiet := time.Since(written); !waiting && quiet < restBefore {
		c.k.fail("what is at rest is left alone", what, "it was written %s before the end, and nothing has happened for long", quiet.Round(time.Second))
	}
}

// rolloutAtRest looks at one Rollout at the end.
func (c *rolloutCheck) rolloutAtRest(object string, ro *rollouts.Rollout) {
	st := &ro.Status
	fail := func(format string, args ...any) { c.k.fail("controllers come to rest", object, format, args...) }
	if s := standingOf(ro); !s.observed {
		fail("generation %d, observed %s", ro.Generation, st.ObservedGeneration)
		return
	}
	switch {
	case st.Phase == argo.RolloutPhaseHealthy:
		c.settled(fail, ro, st.CurrentPodHash)
		if st.StableRS != st.CurrentPodHash {
			fail("it is healthy, and %s is not the stable revision but %s", st.CurrentPodHash, st.StableRS)
		}
	case st.Phase == argo.RolloutPhaseDegraded && st.Abort:
		c.settled(fail, ro, st.StableRS)
	case st.Phase == argo.RolloutPhasePaused:
		if len(st.PauseConditions) == 0 && !ro.Spec.Paused {
			fail("it is paused, and nothing says why")
		}
	case st.Phase == argo.RolloutPhaseDegraded && strings.HasPrefix(st.Message, "ProgressDeadlineExceeded"):
	default:
		fail("it is %s: %s", st.Phase, st.Message)
	}
}

// settled: all traffic comes to one revision, which has all pods there are.
func (c *rolloutCheck) settled(fail func(string, ...any), ro *rollouts.Rollout, hash string) {
	replicas := int32(1)
	if ro.Spec.Replicas != nil {
		replicas = *ro.Spec.Replicas
	}
	keeps := false // an aborted revision that its user wants to look at
	if cn := ro.Spec.Strategy.Canary; cn != nil && cn.TrafficRouting != nil && cn.AbortScaleDownDelaySeconds != nil && *cn.AbortScaleDownDelaySeconds == 0 {
		keeps = true
	}
	if b := ro.Spec.Strategy.BlueGreen; b != nil && b.AbortScaleDownDelaySeconds != nil && *b.AbortScaleDownDelaySeconds == 0 {
		keeps = true
	}
	for _, t := range c.setsOf(ro) {
		h := t.is.Labels[argo.DefaultRolloutUniqueLabelKey]
		switch {
		case h == hash && (sizeOf(t.is) != replicas || t.is.Status.AvailableReplicas != replicas):
			fail("%s has size %d and %d available pods of %d", t.is.Name, sizeOf(t.is), t.is.Status.AvailableReplicas, replicas)
		case h != hash && sizeOf(t.is) > 0 && !(keeps && ro.Status.Abort && h == ro.Status.CurrentPodHash):
			fail("%s, which is not in use, has size %d", t.is.Name, sizeOf(t.is))
		}
	}
	name := ""
	if s := ro.Spec.Strategy; s.BlueGreen != nil {
		name = s.BlueGreen.ActiveService
	} else if s.Canary != nil {
		name = s.Canary.StableService
	}
	if svc := c.services[ro.Namespace+"/"+name]; svc != nil && svc.Spec.Selector[argo.DefaultRolloutUniqueLabelKey] != hash {
		fail("Service %s selects %q, and %s is in charge", name, svc.Spec.Selector[argo.DefaultRolloutUniqueLabelKey], hash)
	}
	for _, route := range sortedKeys(c.routes) {
		if t := c.routes[route]; metav1.IsControlledBy(t.is, ro) && weightOf(t.is) != 0 {
			fail("Ingress %s still has weight %d", t.is.Name, weightOf(t.is))
		}
	}
}
