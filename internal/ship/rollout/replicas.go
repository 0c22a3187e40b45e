package rollout

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// ownPrefix of annotations that are Fairway's own, and concern the Rollout alone.
const ownPrefix = v1alpha1.Prefix

// Kind of the Rollout, for owner references.
var Kind = rollouts.GroupVersion.WithKind("Rollout")

// create makes the ReplicaSet of the template, at size 0 for now: the pass sizes it before the Op is carried out.
func (p *pass) create() {
	hash, revision := p.s.Hash, p.maxRevision(nil)+1
	template := *p.ro.Spec.Template.DeepCopy()
	template.Spec.Affinity = affinityOf(p.ro, p.was.StableRS, hash).DeepCopy()
	template.Labels = with(template.Labels, HashLabel, hash)
	var selector metav1.LabelSelector
	if p.ro.Spec.Selector != nil {
		selector = *p.ro.Spec.Selector.DeepCopy()
	}
	selector.MatchLabels = with(selector.MatchLabels, HashLabel, hash)
	zero := int32(0)
	rs := &appsv1.ReplicaSet{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "ReplicaSet"},
		ObjectMeta: metav1.ObjectMeta{
			Name: p.ro.Name + "-" + hash, Namespace: p.ro.Namespace,
			Labels: p.inherit(maps.Clone(template.Labels)),
			Annotations: map[string]string{
				RevisionAnnotation:        strconv.FormatInt(revision, 10),
				DesiredReplicasAnnotation: strconv.Itoa(int(replicasOf(p.ro))),
			},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(p.ro, Kind)},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: &zero, MinReadySeconds: p.ro.Spec.MinReadySeconds, Selector: &selector, Template: template},
	}
	for k, v := range p.ro.Annotations {
		if copied(k) {
			rs.Annotations[k] = v
		}
	}
	p.sets = append(p.sets, replicaSet{is: rs, own: true, hash: hash})
	p.fresh = &p.sets[len(p.sets)-1]
	newcomer, inCharge := metadataOf(p.ro)
	if p.was.StableRS == "" {
		newcomer = inCharge
	}
	p.syncMetadata(p.fresh, newcomer)
}

// syncRevision gives the Rollout and the new ReplicaSet the highest revision, and the ReplicaSet what else it has of the Rollout.
// The Rollout comes first: when it has changed meanwhile, nothing has been done yet.
func (p *pass) syncRevision() {
	rs := p.fresh
	if rs.was != nil {
		p.syncFresh()
	}
	if w := p.s.Workload; w != nil {
		p.annotateRollout(WorkloadGenerationAnnotation, strconv.FormatInt(w.Generation, 10))
	}
	revision := rs.is.Annotations[RevisionAnnotation]
	if revision != "" && p.annotateRollout(RevisionAnnotation, revision) {
		p.event(Event{Reason: reasonUpdated, Message: "Rollout updated to revision " + revision})
	}
	switch {
	case rs.was == nil:
		p.op(Op{Verb: Create, After: rs.is})
		p.event(Event{Reason: reasonNewSet, Message: fmt.Sprintf("Created ReplicaSet %s (revision %s)", rs.is.Name, revision)})
		p.condition(&p.was, argo.RolloutProgressing, corev1.ConditionTrue, reasonNewSet, fmt.Sprintf("Created new replica set %q", rs.is.Name))
	case conditionOf(&p.was, argo.RolloutProgressing) == nil:
		p.condition(&p.was, argo.RolloutProgressing, corev1.ConditionTrue, "FoundNewReplicaSet", fmt.Sprintf("Found new replica set %q", rs.is.Name))
	}
}

// syncFresh edits a ReplicaSet that was there already.
func (p *pass) syncFresh() {
	rs := p.fresh
	renew := false
	if next := p.maxRevision(rs) + 1; rs.revision() < next {
		is := p.edit(rs)
		if old := is.Annotations[RevisionAnnotation]; old != "" {
			if h := is.Annotations[RevisionHistoryAnnotation]; h != "" {
				old = h + "," + old
			}
			is.Annotations[RevisionHistoryAnnotation] = old
		}
		is.Annotations[RevisionAnnotation] = strconv.FormatInt(next, 10)
		renew = true
	}
	for k, v := range p.ro.Annotations {
		if rs.is.Annotations[k] != v && copied(k) && k != WorkloadGenerationAnnotation {
			p.edit(rs).Annotations[k] = v
		}
	}
	if rs.is.Spec.MinReadySeconds != p.ro.Spec.MinReadySeconds {
		p.edit(rs).Spec.MinReadySeconds = p.ro.Spec.MinReadySeconds
	}
	if rule := antiAffinity(p.ro); rule != nil && p.was.StableRS != rs.hash {
		if h := injectedHash(rs.is.Spec.Template.Spec.Affinity); renew && h != p.was.StableRS || h != "" && h != p.was.StableRS {
			p.edit(rs).Spec.Template.Spec.Affinity = affinityOf(p.ro, p.was.StableRS, rs.hash).DeepCopy()
		}
	}
}

func (p *pass) maxRevision(except *replicaSet) int64 {
	top := int64(0)
	for i := range p.sets {
		if rs := &p.sets[i]; rs != except {
			top = max(top, rs.revision())
		}
	}
	return top
}

// copied is whether an annotation of a Rollout is copied to its ReplicaSets.
func copied(key string) bool {
	switch key {
	case corev1.LastAppliedConfigAnnotation, RevisionAnnotation, RevisionHistoryAnnotation, DesiredReplicasAnnotation,
		EphemeralMetadataAnnotation, DeadlineAnnotation, "notified.notifications.argoproj.io":
		return false
	}
	return !strings.HasPrefix(key, ownPrefix)
}

// inherit the label that says which instance of a controller is in charge.
func (p *pass) inherit(labels map[string]string) map[string]string {
	if id, ok := p.ro.Labels[argo.LabelKeyControllerInstanceID]; ok {
		labels[argo.LabelKeyControllerInstanceID] = id
	}
	return labels
}

// edit returns what rs is to be, for changing its annotations and the fields of its spec (not what they point to).
func (p *pass) edit(rs *replicaSet) *appsv1.ReplicaSet {
	if !rs.own {
		is := *rs.is
		is.Annotations = cloned(is.Annotations)
		rs.is, rs.own = &is, true
	}
	return rs.is
}

// flush makes an Op of what was edited.
func (p *pass) flush(rs *replicaSet) {
	if rs.own && rs.was != nil {
		p.op(Op{Verb: Patch, Before: rs.was, After: rs.is})
		rs.own = false
	}
}

// scale rs to n, and note the size of the Rollout it was done for. It says whether n is another size.
func (p *pass) scale(rs *replicaSet, n int32) bool {
	desired := strconv.Itoa(int(replicasOf(p.ro)))
	from := rs.size
	if n != from || rs.is.Annotations[DesiredReplicasAnnotation] != desired {
		is := p.edit(rs)
		is.Annotations[DesiredReplicasAnnotation] = desired
		is.Spec.Replicas, rs.size = &n, n
		if n == 0 && !p.delaysAbort() {
			delete(is.Annotations, DeadlineAnnotation)
		}
	}
	p.flush(rs)
	if n == from {
		return false
	}
	way := "up"
	if n < from {
		way = "down"
	}
	p.event(Event{Reason: reasonScaling, Message: fmt.Sprintf("Scaled %s ReplicaSet %s (revision %d) from %d to %d", way, rs.is.Name, rs.revision(), from, n)})
	p.resized = true
	return true
}

// rescaled is whether the Rollout has another size than when its ReplicaSets were scaled last. Nothing else is done then.
func (p *pass) rescaled() bool {
	for _, rs := range [...]*replicaSet{p.fresh, p.stable} {
		if rs == nil || rs.size == 0 {
			continue
		}
		n, err := strconv.ParseInt(rs.is.Annotations[DesiredReplicasAnnotation], 10, 32)
		if err == nil && int32(n) != replicasOf(p.ro) {
			p.scaling = true
			return true
		}
	}
	return false
}

// rescale the ReplicaSets to a new size of the Rollout, even when it is paused, and nothing else.
func (p *pass) rescale() {
	p.noteIncomplete()
	if p.ro.Spec.Strategy.BlueGreen != nil {
		p.active, p.preview = p.was.BlueGreen.ActiveSelector, p.was.BlueGreen.PreviewSelector
		p.scaleBlueGreen()
	} else {
		p.scaleCanary()
	}
	p.finish()
}

// scaleNew sizes the new ReplicaSet: as wanted or, after an abort, until its delay is over.
func (p *pass) scaleNew(want int32) {
	rs := p.fresh
	if p.scaling && p.halted() != "" && rs.size == 0 {
		p.flush(rs)
		return // a paused Rollout starts nothing
	}
	p.scaleWorkload(want)
	if !p.delaysAbort() {
		if _, never, _ := abortDelay(p.ro); never && p.aborted() && p.distinctStable() {
			want = max(want, rs.size) // the user wants to look at it
		}
		p.scale(rs, want)
		return
	}
	if at, ok := parseDeadline(rs.deadline()); ok {
		if at.After(p.now) {
			p.wakeAt(at, "the aborted ReplicaSet is scaled down")
			p.scale(rs, rs.size)
		} else if p.serves(rs) {
			p.because("StillServing", "replicaset/"+rs.is.Name+" still gets traffic; it is scaled down when the stable one serves in its place")
			p.scale(rs, rs.size)
		} else {
			p.scale(rs, 0)
		}
		return
	}
	if rs.deadline() == "" {
		delay, _, _ := abortDelay(p.ro)
		if rs.size > 0 && p.stable.available() >= replicasOf(p.ro) {
			p.delay(rs, delay)
		}
		p.scale(rs, rs.size)
		return
	}
	p.scale(rs, want)
}

// serves is whether users may come to the pods of rs.
func (p *pass) serves(rs *replicaSet) bool {
	w := p.st.Canary.Weights
	return p.active == rs.hash || w != nil && w.Canary.Weight > 0 && w.Canary.PodTemplateHash == rs.hash
}

// scaleWorkload scales what workloadRef names down, while the first revision takes over.
func (p *pass) scaleWorkload(want int32) {
	w, ref := p.s.Workload, p.ro.Spec.WorkloadRef
	if w == nil || ref == nil || ref.ScaleDown != argo.ScaleDownProgressively || p.fresh.revision() != 1 {
		return
	}
	if p.ro.Status.Phase == argo.RolloutPhaseHealthy {
		p.scaleRef(0)
	} else if ready := p.readyPods(); ready > 0 || p.fresh.size > want {
		p.scaleRef(max(0, replicasOf(p.ro)-ready))
	}
}

// readyPods of all revisions.
func (p *pass) readyPods() int32 {
	n := int32(0)
	for i := range p.sets {
		if rs := p.sets[i].was; rs != nil {
			n += rs.Status.ReadyReplicas
		}
	}
	return n
}

func (p *pass) scaleRef(n int32) {
	if w := p.s.Workload; w != nil && w.Replicas != nil && *w.Replicas != n {
		p.op(Op{Verb: Scale, Before: w.Object, Replicas: n})
	}
}

// cloned is a copy that is never nil.
func cloned(m map[string]string) map[string]string {
	if c := maps.Clone(m); c != nil {
		return c
	}
	return map[string]string{}
}

// with is a copy of m with one more.
func with(m map[string]string, key, value string) map[string]string {
	c := cloned(m)
	c[key] = value
	return c
}
