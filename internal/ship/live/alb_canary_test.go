package live_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/live/house"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
	"github.com/fairway-dev/fairway/internal/ship/traffic/elb"
	"github.com/fairway-dev/fairway/internal/ship/traffic/elb/stub"
)

func TestStepWaitsUntilTheLoadBalancerOfAWSHasItsWeight(t *testing.T) {
	t.Parallel()
	c := house.Cluster(t)
	ns := c.Namespace(t)
	aws := &stub.AWS{Canary: "0", CanaryTag: ns + "/web-web-canary:80", StableTag: ns + "/web-web:80"}
	server := httptest.NewServer(aws)
	defer server.Close()
	h := start(t, c, func(r *rollout.Controller) {
		r.InstanceID = "alb"
		r.Balancers = &elb.Verifier{Client: elb.NewClient(stub.Env(server.URL), http.DefaultClient.Do), Reader: c.Objects}
	})
	defer h.end()
	ro := sharded(t, ns, "alb", strings.Replace(routedByNginx, "nginx: {stableIngress: web}", "alb: {ingress: web, servicePort: 80}", 1))
	ingress := house.Read(t, &networkingv1.Ingress{}, ns, strings.Replace(webIngress, "number: 80", "name: use-annotation", 1))
	house.Create(t, c, service(ns, "web"), service(ns, "web-canary"), ingress)
	ingress.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{Hostname: stub.Hostname}}
	if err := c.Objects.Status().Update(t.Context(), ingress); err != nil {
		t.Fatal(err)
	}
	house.Create(t, c, ro)
	await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	patch(t, c, ro, image("2"))
	await(t, c, ro, argo.RolloutPhaseProgressing, func(ro *rollouts.Rollout) string {
		w := ro.Status.Canary.Weights
		if w == nil || w.Canary.Weight != 10 || w.Verified == nil || *w.Verified || ro.Status.ALB == nil || ro.Status.ALB.LoadBalancer.ARN != stub.LoadBalancerARN {
			return fmt.Sprintf("weights %+v, alb %+v", w, ro.Status.ALB)
		}
		return ""
	})
	for end := time.Now().Add(kubetest.Patience); !slices.Contains(reasons(t, c, ro), elb.ReasonUnverified) && time.Now().Before(end); { // it is unverified before AWS has answered, too
		time.Sleep(20 * time.Millisecond)
	}
	aws.Set(func(a *stub.AWS) { a.Canary = "10" })
	await(t, c, ro, argo.RolloutPhasePaused, at(1))
	if got := reasons(t, c, ro); !slices.Contains(got, elb.ReasonUnverified) {
		t.Errorf("events %v, want %s among them", got, elb.ReasonUnverified)
	}
}
