package live_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/live/house"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
	"github.com/fairway-dev/fairway/internal/ship/traffic/elb"
	"github.com/fairway-dev/fairway/internal/ship/traffic/elb/stub"
)

func TestLoadBalancersAreVerifiedByWhatTheClusterAndAWSSay(t *testing.T) {
	t.Parallel()
	c := house.Cluster(t)
	house.Define(t, c, elb.BindingKind, "")
	ns := c.Namespace(t)
	aws := &stub.AWS{Canary: "10", CanaryTag: ns + "/web-web-canary:80", StableTag: ns + "/web-web:80"}
	server := httptest.NewServer(aws)
	defer server.Close()
	v := &elb.Verifier{Client: elb.NewClient(stub.Env(server.URL), http.DefaultClient.Do), Reader: c.Objects}

	ingress := house.Read(t, &networkingv1.Ingress{}, ns, webIngress)
	house.Create(t, c, ingress)
	ingress.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{Hostname: stub.Hostname}}
	if err := c.Objects.Status().Update(t.Context(), ingress); err != nil {
		t.Fatal(err)
	}
	in := traffic.Intent{Namespace: ns, Name: "web", CanaryService: "web-canary", StableService: "web", Weight: 20, Max: 100,
		Routing: &argo.RolloutTrafficRouting{ALB: &argo.ALBTrafficRouting{Ingress: "web", ServicePort: 80}}}
	got := v.Weights(t.Context(), in, nil)
	if *got.Verified || len(got.Events) != 1 || got.Events[0].Reason != elb.ReasonUnverified {
		t.Errorf("while AWS has another weight: %+v", got)
	}
	aws.Set(func(a *stub.AWS) { a.Canary = "20" })
	got = v.Weights(t.Context(), in, got.ALBs)
	if !*got.Verified || got.ALB().CanaryTargetGroup.FullName != "canary/1" {
		t.Errorf("once it has the weight: %+v", got)
	}
	in.Routing.ALB.Ingress = "gone"
	if got = v.Weights(t.Context(), in, nil); *got.Verified || len(got.Events) == 0 {
		t.Errorf("without the Ingress: %+v", got)
	}

	if got = v.Targets(t.Context(), ns, "web"); got.Verified != nil {
		t.Errorf("where nothing is bound: %+v", got)
	}
	svc := service(ns, "web")
	svc.Spec.Ports[0].TargetPort = intstr.FromInt32(8080)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "web:1"}}}}
	binding := house.Read(t, &unstructured.Unstructured{}, ns, `
apiVersion: elbv2.k8s.aws/v1beta1
kind: TargetGroupBinding
metadata: {name: web}
spec: {targetGroupARN: "`+stub.GroupARN+`web/1", targetType: ip, serviceRef: {name: web, port: 80}}
`)
	house.Create(t, c, svc, pod, binding)
	address := registered(t, c, ns)
	if got = v.Targets(t.Context(), ns, "web"); *got.Verified || !strings.Contains(got.Events[0].Message, "0/1 endpoints") {
		t.Errorf("before the address is registered: %+v", got)
	}
	aws.Set(func(a *stub.AWS) { a.Targets = []string{address} })
	if got = v.Targets(t.Context(), ns, "web"); !*got.Verified || got.Events[0].Reason != elb.ReasonVerified {
		t.Errorf("once it is: %+v", got)
	}
}

// registered waits until an EndpointSlice of the namespace has a ready address.
func registered(t *testing.T, c *kubetest.Cluster, ns string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), kubetest.Patience)
	defer cancel()
	w, err := c.Objects.Watch(ctx, &discoveryv1.EndpointSliceList{}, client.InNamespace(ns))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		s, ok := e.Object.(*discoveryv1.EndpointSlice)
		if ok && len(s.Endpoints) == 1 && ptr.Deref(s.Endpoints[0].Conditions.Ready, false) {
			return s.Endpoints[0].Addresses[0]
		}
	}
	t.Fatal("no address is ready")
	return ""
}
