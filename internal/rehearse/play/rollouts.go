package play

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/celenv"
)

// Names tells whether an object or a step of the document has a text, such as an API group and version: the kinds of others
// need not be there, nor their controllers.
func (d *Document) Names(text string) bool {
	for i := range d.Objects {
		if bytes.Contains(d.Objects[i].Object, []byte(text)) {
			return true
		}
	}
	for i := range d.Scenario.Spec.Steps {
		for _, a := range d.Scenario.Spec.Steps[i].Apply {
			if bytes.Contains(a.Object, []byte(text)) {
				return true
			}
		}
	}
	return false
}

// followRollouts watches Rollouts, AnalysisRuns and Experiments, when the document has any; their kinds must be served.
func (r *run) followRollouts(ctx context.Context, cfg *rest.Config) error {
	if !r.rollouts {
		return nil
	}
	s := runtime.NewScheme()
	if err := rollouts.AddToScheme(s); err != nil {
		return err
	}
	cfg = rest.CopyConfig(cfg)
	cfg.GroupVersion, cfg.APIPath = &rollouts.GroupVersion, "/apis"
	cfg.ContentType, cfg.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON // kinds of definitions have no protobuf
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(s).WithoutConversion()
	client, err := rest.RESTClientFor(cfg)
	if err != nil {
		return err
	}
	c := r.cluster
	for _, k := range []struct {
		resource string
		object   runtime.Object
		handler  cache.ResourceEventHandlerFuncs
	}{
		{"rollouts", &rollouts.Rollout{}, on(c, c.rolloutSeen, c.rolloutGone)},
		{"analysisruns", &argo.AnalysisRun{}, on(c, c.analysisSeen, c.analysisGone)},
		{"experiments", &argo.Experiment{}, on(c, c.experimentSeen, c.experimentGone)},
	} {
		informer := cache.NewSharedIndexInformer(cache.NewListWatchFromClient(client, k.resource, metav1.NamespaceAll, fields.Everything()), k.object, 0, cache.Indexers{})
		if _, err := informer.AddEventHandler(k.handler); err != nil {
			return err
		}
		if r.checker != nil && k.resource == "rollouts" {
			if _, err := informer.AddEventHandler(r.checker.ship.handler()); err != nil {
				return err
			}
		}
		r.background.Go(func() { informer.RunWithContext(ctx) })
	}
	return nil
}

// rolloutSeen follows a Rollout from one state to the next.
func (c *cluster) rolloutSeen(o *rollouts.Rollout) {
	w := c.workload(rolloutKind + "/" + o.Namespace + "/" + o.Name)
	was, is := w.newest, standingOf(o)
	w.newest = is
	replicas := int32(1)
	if o.Spec.Replicas != nil {
		replicas = *o.Spec.Replicas
	}
	c.scaled(w, replicas)
	w.updated, w.paused, w.stalled = is.updated, is.paused != "", is.stalled
	if ref := o.Spec.WorkloadRef; ref != nil {
		c.workload(ref.Kind + "/" + o.Namespace + "/" + ref.Name).referred = true
	} else {
		c.templated(w, o.Generation, &o.Spec.Template)
	}
	if was == nil {
		w.rolling = true // until its first revision is there
		was = &standing{}
	}
	if was.current != is.current {
		c.another(w, o, was, is)
	}
	if was.aborted && !is.aborted && was.current == is.current && is.current != is.stable {
		c.retried(w)
	}
	if w.update != nil && !is.aborted { // an abort takes it back to its first step
		w.update.Step = is.place()
	}
	for _, e := range rolloutNews(short(w.object), was, is) {
		c.tell(w, e)
	}
	c.weighed(w, time.Now())
	switch {
	case is.aborted && !was.aborted:
		c.updateEnds(w, record.UpdateAborted, is.why())
	case w.rolling && is.done():
		c.finished(w)
	}
	if is.active != w.active {
		w.active = is.active
		c.switched(w)
	}
}

// tell writes an entry about a workload.
func (c *cluster) tell(w *workload, e record.Entry) {
	e.Object, e.Owner = w.object, w.object
	e.Data["workload"] = w.object
	c.r.entry(e)
}

// another notes that the controller works at another revision. For a Rollout that refers to a workload it is the first to be
// seen of an update.
func (c *cluster) another(w *workload, o *rollouts.Rollout, was, is *standing) {
	if o.Spec.WorkloadRef != nil {
		w.image = c.imageOf(o, is.current)
		if was.current != "" {
			w.back, w.rolling, w.startedAt = w.known[is.current], true, time.Now()
			c.begins(w)
		}
		if w.known == nil {
			w.known = map[string]bool{}
		}
		w.known[is.current] = true
	}
	if w.update == nil {
		return
	}
	if w.update.Revision = is.current; is.current == is.stable {
		w.update = nil // back to what is stable: the end of the update before, not another one
	}
}

// imageOf is the image of a revision's first container: by its ReplicaSet, or if that was not seen yet or cannot be made by the
// workload that lends its template.
func (c *cluster) imageOf(o *rollouts.Rollout, hash string) string {
	sets, err := c.sets.ReplicaSets(o.Namespace).List(labels.SelectorFromSet(labels.Set{argo.DefaultRolloutUniqueLabelKey: hash}))
	if err != nil {
		return ""
	}
	for _, rs := range sets {
		if metav1.IsControlledBy(rs, o) && len(rs.Spec.Template.Spec.Containers) > 0 {
			return rs.Spec.Template.Spec.Containers[0].Image
		}
	}
	return c.workload(o.Spec.WorkloadRef.Kind + "/" + o.Namespace + "/" + o.Spec.WorkloadRef.Name).image
}

// retried notes that an aborted update begins anew.
func (c *cluster) retried(w *workload) {
	w.rolling, w.startedAt = true, time.Now()
	w.update = &record.Update{Workload: w.object, Image: w.image, Revision: w.newest.current, Began: time.Now().UTC()}
	w.revisions++
}

// finished notes that the newest revision runs everywhere.
func (c *cluster) finished(w *workload) {
	w.rolling = false
	c.updateEnds(w, record.UpdateHealthy, "")
	if w.revisions == 0 {
		return
	}
	text := rolledOut(w.back, time.Since(w.startedAt))
	c.tell(w, record.Entry{Kind: record.KindRollout, What: short(w.object) + " " + text, Severity: record.Notable, Data: map[string]string{"state": "ends"}})
}

// switched lets requests follow the active Service to another revision.
func (c *cluster) switched(w *workload) {
	var came, gone []*pod
	for _, p := range c.living() {
		switch {
		case p.workload != w:
		case p.serves():
			came = append(came, p)
		default:
			gone = append(gone, p)
		}
	}
	c.r.demand.hand(came, gone, w.object, time.Now())
}

// serves tells whether clients reach the pod: it is ready, and if its workload updates blue-green, of the active revision.
func (p *pod) serves() bool {
	return p.ready && (p.workload == nil || p.workload.active == "" || p.workload.active == p.rec.Revision)
}

// weight is the share of the traffic that the newest revision of a Rollout has.
func (w *workload) weight() (float64, bool) {
	s := w.newest
	switch {
	case s == nil || s.current == "":
		return 0, false
	case s.current == s.stable:
		return 1, true
	case s.strategy == blueGreen:
		if s.active == s.current {
			return 1, true
		}
		return 0, true
	case s.routed:
		return float64(s.told) / 100, true
	case w.ready == 0:
		return 0, false
	}
	return float64(w.serving[s.current]) / float64(w.ready), true
}

// weighed notes the weights of the update under way.
func (c *cluster) weighed(w *workload, now time.Time) {
	if w.update == nil || w.newest == nil || w.update.Revision != w.newest.current {
		return
	}
	v, ok := w.weight()
	if !ok {
		return
	}
	was := 0.0
	if n := len(w.update.Weights); n > 0 {
		was = w.update.Weights[n-1].Share
	}
	if v != was && len(w.update.Weights) < record.WeightsMax {
		w.update.Weights = append(w.update.Weights, record.Weight{At: now.UTC(), Share: v})
	}
	if v > w.update.WeightMax {
		w.update.WeightMax, w.update.WeightMaxAt = v, now.UTC()
	}
}

func (c *cluster) rolloutGone(o *rollouts.Rollout) {
	if w := c.workloads[rolloutKind+"/"+o.Namespace+"/"+o.Name]; w != nil {
		c.updateEnds(w, record.UpdateSuperseded, "the Rollout was deleted")
		w.newest, w.rolling, w.active = nil, false, ""
	}
}

// analysisSeen tells when an analysis begins and how it ends.
func (c *cluster) analysisSeen(run *argo.AnalysisRun) {
	key := run.Namespace + "/" + run.Name
	over := c.judged(run, analysisRunKind, run.Status.Phase, analysisText(run), func() string {
		return joined(append([]string{verdictText(run)}, c.found[key]...))
	})
	if over {
		delete(c.found, key)
	}
}

// experimentSeen tells when an experiment begins and how it ends.
func (c *cluster) experimentSeen(x *argo.Experiment) {
	text := "the experiment " + x.Namespace + "/" + x.Name
	if owner := metav1.GetControllerOf(x); owner != nil {
		text = "the experiment of " + x.Namespace + "/" + owner.Name
	}
	c.judged(x, experimentKind, x.Status.Phase, text, func() string { return x.Status.Message })
}

// judged writes what has become of an analysis or experiment since it was seen last; over says that it has just ended.
func (c *cluster) judged(o metav1.Object, kind string, is argo.AnalysisPhase, text string, why func() string) (over bool) {
	key := kind + "/" + o.GetNamespace() + "/" + o.GetName()
	was := c.analyses[key]
	if was == is || is == "" || was == "" && is == argo.AnalysisPhasePending {
		return false
	}
	c.analyses[key] = is
	e := record.Entry{Kind: record.KindAnalysis, Object: key, Data: map[string]string{"state": "begins"}}
	if owner := metav1.GetControllerOf(o); owner != nil {
		e.Owner = owner.Kind + "/" + o.GetNamespace() + "/" + owner.Name
		e.Data["workload"] = e.Owner
	}
	if was == "" || was == argo.AnalysisPhasePending {
		b := e
		b.What, b.Data = text+" begins", maps.Clone(e.Data)
		c.r.entry(b)
	}
	if !is.Completed() {
		return false
	}
	e.What, e.Why = fmt.Sprintf("%s is %s", text, is), why()
	e.Data["state"], e.Severity = "ends", record.Notable
	if is == argo.AnalysisPhaseFailed || is == argo.AnalysisPhaseError || is == argo.AnalysisPhaseInconclusive {
		e.Data["state"], e.Severity = "fails", record.Warning
	}
	c.r.entry(e)
	return true
}

// joined puts sentences together, without those that say nothing.
func joined(texts []string) string {
	return strings.Join(slices.DeleteFunc(texts, func(s string) bool { return s == "" }), "; ")
}

func (c *cluster) analysisGone(run *argo.AnalysisRun) {
	delete(c.analyses, analysisRunKind+"/"+run.Namespace+"/"+run.Name)
}

func (c *cluster) experimentGone(x *argo.Experiment) {
	delete(c.analyses, experimentKind+"/"+x.Namespace+"/"+x.Name)
}

// checkOver tells whether a pod of an analysis has done its work: that it is no longer ready is nothing to tell.
func checkOver(p *pod) bool {
	return strings.HasPrefix(p.rec.Workload, analysisRunKind+"/") && (p.obj.Status.Phase == corev1.PodSucceeded || p.obj.Status.Phase == corev1.PodFailed)
}

// saidByObject tells whether an Event says what the timeline has from the object itself.
func saidByObject(kind, reason string) bool {
	switch kind {
	case rolloutKind:
		switch reason {
		case "RolloutAborted", "ProgressDeadlineExceeded", "InvalidSpec", "AnalysisRunFailed", "AnalysisRunError", "AnalysisRunInconclusive":
			return true
		}
	case experimentKind:
		switch reason {
		case "ExperimentFailed", "ExperimentError", "ExperimentInconclusive", "AnalysisRunFailed", "AnalysisRunError", "AnalysisRunInconclusive":
			return true
		}
	case analysisRunKind:
		switch reason {
		case "AnalysisRunFailed", "AnalysisRunError", "AnalysisRunInconclusive", "MetricFailed", "MetricError", "MetricInconclusive":
			return true
		}
	}
	return false
}

// atEnd is the update under way at the end of the run.
func (w *workload) atEnd() *record.Update {
	u := *w.update
	if s := w.newest; s != nil {
		u.Step, u.Message = s.place(), cmp.Or(s.paused, s.why())
	} else if w.stalled != "" {
		u.Message = w.stalled
	}
	return &u
}

// recordRollout writes where a Rollout stands at the end into its row.
func (w *workload) recordRollout(out *record.Workload) {
	s := w.newest
	if s == nil {
		return
	}
	out.Strategy, out.Step, out.Phase = s.strategy, s.place(), s.phase
	out.Weight, _ = w.weight()
}

// describe is where a Rollout stands, for conditions.
func (w *workload) describe(out *celenv.Rollout) {
	s := w.newest
	out.Strategy, out.Message, out.Revision, out.Stable, out.Aborted = s.strategy, s.message, s.current, s.stable, s.aborted
	out.Phase = cmp.Or(s.phase, celenv.RolloutProgressing)
	if !s.observed {
		out.Phase = celenv.RolloutProgressing // what it says is of the spec before
	}
	out.Steps, out.Set = int64(s.steps), float64(s.set)/100
	if s.steps > 0 {
		out.Step = int64(s.step) + 1
	}
	if s.current != s.stable {
		out.Canary = s.current
	}
	out.Weight, _ = w.weight()
}
