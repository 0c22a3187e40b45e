package rollout

import (
	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// drawer draws Rollouts.
type drawer struct{ *rapid.T }

func (d drawer) yes(name string) bool { return rapid.Bool().Draw(d.T, name) }

func (d drawer) seldom(name string) bool { return rapid.IntRange(0, 3).Draw(d.T, name) == 0 }

func (d drawer) between(low, high int32, name string) int32 {
	return rapid.Int32Range(low, high).Draw(d.T, name)
}

var checks = []argo.AnalysisTemplateRef{{TemplateName: "check"}}

// anyRollout draws a strategy with everything that can be combined.
func anyRollout(t *rapid.T) *rollouts.Rollout {
	d := drawer{t}
	n := d.between(1, 6, "replicas")
	var ro *rollouts.Rollout
	if d.seldom("blue-green") {
		ro = greenRollout(n, d.blueGreen())
	} else {
		ro = canaryRollout(n, d.canary(n))
	}
	if d.yes("window") {
		ro.Spec.RollbackWindow = &argo.RollbackWindowSpec{Revisions: d.between(1, 3, "revisions")}
	}
	if d.yes("late") {
		ro.Spec.ProgressDeadlineAbort = d.yes("abort when late")
		ro.Spec.ProgressDeadlineSeconds = ptr(d.between(20, 120, "deadline"))
	}
	if d.seldom("history") {
		ro.Spec.RevisionHistoryLimit = ptr(d.between(0, 2, "kept"))
	}
	if d.seldom("lent") {
		ro.Spec.WorkloadRef = &argo.ObjectRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "lent",
			ScaleDown: rapid.SampledFrom([]string{argo.ScaleDownNever, argo.ScaleDownOnSuccess, argo.ScaleDownProgressively}).Draw(t, "scale down")}
	}
	return ro
}

func (d drawer) blueGreen() argo.BlueGreenStrategy {
	b := argo.BlueGreenStrategy{ActiveService: "active"}
	if d.yes("preview") {
		b.PreviewService = "preview"
	}
	if d.yes("manual") {
		b.AutoPromotionEnabled = ptr(false)
	} else if d.yes("auto") {
		b.AutoPromotionSeconds = 10
	}
	if d.yes("count") {
		b.PreviewReplicaCount = ptr(int32(1))
	}
	if d.yes("pre") {
		b.PrePromotionAnalysis = &argo.RolloutAnalysis{Templates: checks}
	}
	if d.yes("post") {
		b.PostPromotionAnalysis = &argo.RolloutAnalysis{Templates: checks}
	}
	if d.seldom("delay") {
		b.ScaleDownDelaySeconds = ptr(d.between(0, 60, "delay seconds"))
	}
	if d.seldom("limit") {
		b.ScaleDownDelayRevisionLimit = ptr(d.between(0, 2, "limit of delayed"))
	}
	if d.seldom("abort delay") {
		b.AbortScaleDownDelaySeconds = ptr(d.between(0, 20, "abort delay seconds"))
	}
	if d.seldom("metadata") {
		b.PreviewMetadata = &argo.PodTemplateMetadata{Labels: map[string]string{"part": "preview"}}
		b.ActiveMetadata = &argo.PodTemplateMetadata{Labels: map[string]string{"part": "active"}}
	}
	return b
}

func (d drawer) canary(n int32) argo.CanaryStrategy {
	c := argo.CanaryStrategy{MaxSurge: ptr(intstr.FromInt32(d.between(1, 2, "surge"))), MaxUnavailable: ptr(intstr.FromInt32(d.between(0, 2, "unavailable")))}
	if d.yes("services") {
		c.CanaryService, c.StableService = "canary", "stable"
	}
	if d.yes("routed") {
		d.routing(&c)
	}
	if d.yes("background") {
		c.Analysis = &argo.RolloutAnalysisBackground{RolloutAnalysis: argo.RolloutAnalysis{Templates: checks}}
		if d.yes("starts later") {
			c.Analysis.StartingStep = ptr(d.between(0, 3, "first step"))
		}
	}
	for range rapid.IntRange(0, 5).Draw(d.T, "steps") {
		c.Steps = append(c.Steps, d.steps(&c, n)...)
	}
	if d.seldom("metadata") {
		c.CanaryMetadata = &argo.PodTemplateMetadata{Labels: map[string]string{"part": "canary"}}
		c.StableMetadata = &argo.PodTemplateMetadata{Labels: map[string]string{"part": "stable"}}
	}
	if d.seldom("apart") {
		c.AntiAffinity = &argo.AntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &argo.RequiredDuringSchedulingIgnoredDuringExecution{}}
	}
	return c
}

func (d drawer) routing(c *argo.CanaryStrategy) {
	c.CanaryService, c.StableService = "canary", "stable"
	c.TrafficRouting = &argo.RolloutTrafficRouting{SMI: &argo.SMITrafficRouting{}, ManagedRoutes: []argo.MangedRoutes{{Name: "beta"}}}
	if c.DynamicStableScale = d.yes("dynamic"); !c.DynamicStableScale && d.seldom("delay") {
		c.ScaleDownDelaySeconds = ptr(d.between(0, 60, "delay seconds"))
	}
	if d.yes("delayed") {
		c.AbortScaleDownDelaySeconds = ptr(d.between(0, 20, "abort delay seconds"))
	}
	if d.yes("pairs") {
		c.MinPodsPerReplicaSet = ptr(int32(2))
	}
	if d.seldom("limit") {
		c.ScaleDownDelayRevisionLimit = ptr(d.between(0, 2, "limit of delayed"))
	}
	if d.seldom("ping-pong") {
		c.CanaryService, c.StableService = "", ""
		c.PingPong = &argo.PingPongSpec{PingService: "ping", PongService: "pong"}
	}
	if d.seldom("fine") {
		c.TrafficRouting.MaxTrafficWeight = ptr(int32(1000))
	}
}

// steps are one step, or two that belong together.
func (d drawer) steps(c *argo.CanaryStrategy, n int32) []argo.CanaryStep {
	header := func(match ...argo.HeaderRoutingMatch) argo.CanaryStep {
		return argo.CanaryStep{SetHeaderRoute: &argo.SetHeaderRoute{Name: "beta", Match: match}}
	}
	switch kind := rapid.IntRange(0, 9).Draw(d.T, "step"); {
	case kind < 2:
		most := int32(100)
		if c.TrafficRouting != nil {
			most = orDefault(c.TrafficRouting.MaxTrafficWeight, most)
		}
		return []argo.CanaryStep{weight(d.between(0, most, "weight"))}
	case kind == 2:
		return []argo.CanaryStep{pauseFor("")}
	case kind == 3:
		return []argo.CanaryStep{pauseFor("10s")}
	case kind == 4:
		return []argo.CanaryStep{{Analysis: &argo.RolloutAnalysis{Templates: checks}}}
	case kind == 5:
		t := argo.RolloutExperimentTemplate{Name: "a", SpecRef: argo.CanarySpecRef}
		if c.TrafficRouting != nil && d.yes("weighed") {
			t.Weight = ptr(int32(5))
		}
		return []argo.CanaryStep{{Experiment: &argo.RolloutExperimentStep{Templates: []argo.RolloutExperimentTemplate{t}}}}
	case kind == 6:
		return []argo.CanaryStep{{Plugin: &argo.PluginStep{Name: "works"}}}
	case c.TrafficRouting == nil:
		return nil
	case kind == 7:
		return []argo.CanaryStep{header(argo.HeaderRoutingMatch{HeaderName: "x"}), weight(5), header()}
	}
	s := argo.SetCanaryScale{}
	switch rapid.IntRange(0, 2).Draw(d.T, "scale") {
	case 0:
		s.Replicas = ptr(d.between(0, n, "pods"))
	case 1:
		s.Weight = ptr(d.between(0, 100, "weight of pods"))
	default:
		s.MatchTrafficWeight = true
	}
	return []argo.CanaryStep{{SetCanaryScale: &s}}
}

// withTemplates gives a world what a drawn Rollout refers to.
func withTemplates(w *world) {
	w.tmpls = map[string]*argo.AnalysisTemplate{"check": {ObjectMeta: metav1.ObjectMeta{Name: "check", Namespace: "shop"},
		Spec: argo.AnalysisTemplateSpec{Metrics: []argo.Metric{{Name: "ok", Provider: argo.MetricProvider{Web: &argo.WebMetric{URL: "http://x"}}}}}}}
	if w.ro.Spec.WorkloadRef != nil {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "lent"}, Spec: appsv1.DeploymentSpec{Replicas: ptr(int32(3))}}
		w.stamp(d)
		w.work = &Workload{Object: d, Replicas: d.Spec.Replicas, Generation: 1}
	}
}
