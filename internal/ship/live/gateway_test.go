package live_test

import (
	"encoding/json"
	"fmt"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/live/house"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// A gateway tells by the status of a route that it follows it. The step of a weight waits for that, and goes on at once.
func TestStepWaitsUntilTheGatewayFollowsItsWeight(t *testing.T) {
	t.Parallel()
	c, _ := serve(t)
	ns := c.Namespace(t)
	house.Define(t, c, schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "TLSRoute"}, "")
	route := house.Read(t, &unstructured.Unstructured{}, ns, `
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: web}
spec: {rules: [{backendRefs: [{name: web, port: 80}, {name: web-canary, port: 80}]}]}
`)
	accept := func(reason string) {
		t.Helper()
		if err := c.Objects.Get(t.Context(), client.ObjectKeyFromObject(route), route); err != nil {
			t.Fatal(err)
		}
		status := "True"
		if reason != "Accepted" {
			status = "False"
		}
		body := fmt.Sprintf(`{"status":{"parents":[{"parentRef":{"name":"edge"},"conditions":[{"type":"Accepted","status":%q,"reason":%q,"observedGeneration":%d}]}]}}`,
			status, reason, route.GetGeneration())
		if err := c.Objects.Status().Patch(t.Context(), route.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(body))); err != nil {
			t.Fatal(err)
		}
	}
	ro := house.Read(t, &rollouts.Rollout{}, ns, routedByAny)
	ro.Spec.Strategy.Canary.TrafficRouting = &argo.RolloutTrafficRouting{Plugins: map[string]json.RawMessage{traffic.GatewayAPIPlugin: json.RawMessage(`{"tlsRoute":"web"}`)}}
	house.Create(t, c, service(ns, "web"), service(ns, "web-canary"), route, ro)
	await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	accept("Accepted")

	patch(t, c, ro, image("2"))
	unverified := func(ro *rollouts.Rollout) string {
		if w := ro.Status.Canary.Weights; w == nil || w.Canary.Weight != 20 || w.Verified == nil || *w.Verified || *ro.Status.CurrentStepIndex != 0 {
			return fmt.Sprintf("step %v with weights %+v", ro.Status.CurrentStepIndex, w)
		}
		return ""
	}
	await(t, c, ro, argo.RolloutPhaseProgressing, unverified)
	accept("NotAllowedByListeners")
	kubetest.Eventually(t, c, ro, unverified)
	accept("Accepted")
	ro = await(t, c, ro, argo.RolloutPhasePaused, at(1))
	if w := ro.Status.Canary.Weights; w.Canary.Weight != 20 || w.Verified != nil && !*w.Verified {
		t.Errorf("in the pause the weights are %+v", w)
	}
}
