package live_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/live/house"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

const (
	routedByNginx = `
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: "web:1"}]}
  strategy:
    canary:
      stableService: web
      canaryService: web-canary
      trafficRouting: {nginx: {stableIngress: web}}
      steps: [{setWeight: 10}, {pause: {}}, {setWeight: 50}, {pause: {}}]
`
	webIngress = `
metadata: {name: web}
spec:
  ingressClassName: nginx
  rules: [{host: web.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
`
	weightAnnotation = "nginx.ingress.kubernetes.io/canary-weight"
)

// routed is a healthy Rollout behind an Ingress.
func routed(t testing.TB, c *kubetest.Cluster, ns string) *rollouts.Rollout {
	t.Helper()
	ro := house.Read(t, &rollouts.Rollout{}, ns, routedByNginx)
	house.Create(t, c, service(ns, "web"), service(ns, "web-canary"), house.Read(t, &networkingv1.Ingress{}, ns, webIngress), ro)
	return await(t, c, ro, argo.RolloutPhaseHealthy, nil)
}

// weight waits until the canary's Ingress has a weight.
func weight(t testing.TB, c *kubetest.Cluster, ns, want string) {
	t.Helper()
	kubetest.Eventually(t, c, &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web-web-canary"}}, func(i *networkingv1.Ingress) string {
		if got := i.Annotations[weightAnnotation]; got != want {
			return fmt.Sprintf("the weight is %q, want %s", got, want)
		}
		return ""
	})
}

func TestWeightFollowsTheStepsAndFallsToZeroOnAbort(t *testing.T) {
	t.Parallel()
	c, _ := serve(t)
	ns := c.Namespace(t)
	ro := routed(t, c, ns)
	patch(t, c, ro, image("2"))
	ro = await(t, c, ro, argo.RolloutPhasePaused, at(1))
	weight(t, c, ns, "10")
	fresh := sets(t, c, ns)[ro.Status.CurrentPodHash]
	patchStatus(t, c, ro, `{"status":{"pauseConditions":null}}`)
	await(t, c, ro, argo.RolloutPhasePaused, at(3))
	weight(t, c, ns, "50")
	patchStatus(t, c, ro, `{"status":{"abort":true}}`)
	ro = await(t, c, ro, argo.RolloutPhaseDegraded, nil)
	weight(t, c, ns, "0")
	if w := ro.Status.Canary.Weights; w == nil || w.Canary.Weight != 0 || w.Stable.Weight != 100 {
		t.Errorf("the weights on record are %+v", w)
	}
	kubetest.Eventually(t, c, fresh, func(rs *appsv1.ReplicaSet) string {
		if rs.Annotations[rollout.DeadlineAnnotation] == "" || *rs.Spec.Replicas == 0 {
			return "the canary is to stay for a while, with a deadline"
		}
		return ""
	})
	patchStatus(t, c, ro, `{"status":{"abort":false,"promoteFull":true}}`)
	await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	weight(t, c, ns, "0")
}

func TestIngressLeadsToTheStableServiceWhenItsRolloutIsGone(t *testing.T) {
	t.Parallel()
	c, _ := serve(t)
	ns := c.Namespace(t)
	ro := house.Read(t, &rollouts.Rollout{}, ns, strings.Replace(routedByNginx, "nginx: {stableIngress: web}", "alb: {ingress: web, servicePort: 80}", 1))
	ingress := house.Read(t, &networkingv1.Ingress{}, ns, strings.Replace(strings.Replace(webIngress, "number: 80", "name: use-annotation", 1), "ingressClassName: nginx", "ingressClassName: alb", 1))
	ingress.Annotations = map[string]string{"team": "shop"}
	house.Create(t, c, service(ns, "web"), service(ns, "web-canary"), ingress, ro)
	await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	patch(t, c, ro, image("2"))
	await(t, c, ro, argo.RolloutPhasePaused, at(1))
	const action = "alb.ingress.kubernetes.io/actions.web"
	kubetest.Eventually(t, c, ingress, func(i *networkingv1.Ingress) string {
		if !strings.Contains(i.Annotations[action], `"Weight":10`) {
			return "the action is " + i.Annotations[action]
		}
		return ""
	})
	if err := c.Objects.Delete(t.Context(), ro); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, c, ingress, func(i *networkingv1.Ingress) string {
		// The action stays: the Ingress names it as its backend.
		if len(i.Annotations) != 2 || i.Annotations["team"] != "shop" || !strings.Contains(i.Annotations[action], `"ServiceName":"web","ServicePort":"80","Weight":100`) {
			return fmt.Sprintf("its annotations are %v", i.Annotations)
		}
		return ""
	})
}

func TestMissingKindOfARouterIsAProblemOfTheRollout(t *testing.T) {
	t.Parallel()
	c := house.Cluster(t)
	ns := c.Namespace(t)
	h := start(t, c, func(c *rollout.Controller) { c.InstanceID, c.Versions.Traefik = "absent", "traefik.example.com/v1" })
	defer h.end()
	ro := sharded(t, ns, "absent", routedByNginx)
	ro.Spec.Strategy.Canary.TrafficRouting = &argo.RolloutTrafficRouting{Traefik: &argo.TraefikTrafficRouting{WeightedTraefikServiceName: "web"}}
	house.Create(t, c, service(ns, "web"), service(ns, "web-canary"), ro)
	got := await(t, c, ro, argo.RolloutPhaseDegraded, nil)
	if m := got.Status.Message; !strings.Contains(m, "TraefikService.traefik.example.com") || !strings.Contains(m, "install its definition") {
		t.Errorf("the message is %s", m)
	}
}

// BenchmarkPromoteToWeight is from the moment that a client's patch is sent to the moment that a watcher sees the weight.
func BenchmarkPromoteToWeight(b *testing.B) {
	benchWeight(b, `{"status":{"pauseConditions":null}}`, "50")
}

// BenchmarkAbortToWeightZero is the same for an abort.
func BenchmarkAbortToWeightZero(b *testing.B) { benchWeight(b, `{"status":{"abort":true}}`, "0") }

func benchWeight(b *testing.B, verb, want string) {
	c, _ := serve(b)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		ns := c.Namespace(b)
		ro := routed(b, c, ns)
		patch(b, c, ro, image("2"))
		ro = await(b, c, ro, argo.RolloutPhasePaused, at(1))
		ctx, cancel := context.WithTimeout(b.Context(), kubetest.Patience)
		w, err := c.Objects.Watch(ctx, &networkingv1.IngressList{}, client.InNamespace(ns))
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		began := time.Now()
		patchStatus(b, c, ro, verb)
		for ev := range w.ResultChan() {
			if o, ok := ev.Object.(*networkingv1.Ingress); ok && o.Name == "web-web-canary" && o.Annotations[weightAnnotation] == want {
				took = append(took, time.Since(began))
				break
			}
		}
		b.StopTimer()
		w.Stop()
		cancel()
		patch(b, c, ro, `{"spec":{"replicas":0}}`) // the nodes have room for so many pods only
		b.StartTimer()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
