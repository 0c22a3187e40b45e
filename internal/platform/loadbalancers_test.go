package platform

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
	"github.com/fairway-dev/fairway/internal/ship/traffic/elb/stub"
)

// oneIngress is a manager in whose cluster there is an Ingress with a load balancer of AWS and nothing else.
type oneIngress struct{ manager.Manager }

func (m oneIngress) GetAPIReader() client.Reader { return m }

func (oneIngress) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	in := o.(*networkingv1.Ingress)
	in.Namespace, in.Name = "shop", "web"
	in.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{Hostname: stub.Hostname}}
	return nil
}

func (oneIngress) List(_ context.Context, l client.ObjectList, _ ...client.ListOption) error {
	return errors.New("listed with " + l.GetObjectKind().GroupVersionKind().String())
}

func TestAWSIsAskedOnlyWhereTargetGroupsAreToBeVerified(t *testing.T) {
	t.Parallel()
	aws := &stub.AWS{Canary: "20", CanaryTag: "shop/web-web-canary:80", StableTag: "shop/web-web:80"}
	server := httptest.NewServer(aws)
	defer server.Close()
	h := &House{Manager: oneIngress{}}
	if v := h.verifier(stub.Env(server.URL)); v != nil {
		t.Error("without the option, AWS would be asked")
	}
	in := traffic.Intent{Namespace: "shop", Name: "web", CanaryService: "web-canary", StableService: "web", Weight: 20, Max: 100,
		Routing: &argo.RolloutTrafficRouting{ALB: &argo.ALBTrafficRouting{Ingress: "web", ServicePort: 80}}}
	h.Rollouts = RolloutOptions{VerifyTargetGroups: true, TargetGroupBindings: schema.GroupVersion{Group: "eks.amazonaws.com", Version: "v1"}}
	if got := h.verifier(stub.Env(server.URL)).Weights(t.Context(), in, nil); got.Verified == nil || !*got.Verified || aws.Asked() == 0 {
		t.Errorf("with the option: %+v after %d requests", got, aws.Asked())
	}
	if got := h.verifier(stub.Env(server.URL)).Targets(t.Context(), "shop", "web"); !strings.Contains(fmt.Sprint(got.Events), "eks.amazonaws.com/v1, Kind=TargetGroupBinding") {
		t.Errorf("with another API of bindings: %v", got.Events)
	}
	h.Rollouts.TargetGroupTag = "of-another-controller"
	if got := h.verifier(stub.Env(server.URL)).Weights(t.Context(), in, nil); *got.Verified {
		t.Error("the tag of target groups is not heeded")
	}
	h.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("egress is denied") }
	if got := h.verifier(stub.Env(server.URL)).Weights(t.Context(), in, nil); *got.Verified || !strings.Contains(fmt.Sprint(got.Events), "egress is denied") {
		t.Errorf("where nothing outside is reached: %+v", got)
	}
}

func TestRightsToVerifyTargetGroupsAreGrantedOnlyWhereTheyAreVerified(t *testing.T) {
	t.Parallel()
	may := func(o RolloutOptions, group, resource, verb string) bool {
		return slices.ContainsFunc(rolloutsCapability(o).Rules, func(r rbacv1.PolicyRule) bool {
			return r.APIGroups[0] == group && slices.Contains(r.Resources, resource) && slices.Contains(r.Verbs, verb)
		})
	}
	for _, right := range [][3]string{{"networking.k8s.io", "ingresses", "get"}, {"", "services", "get"}, {"discovery.k8s.io", "endpointslices", "list"}, {"elbv2.k8s.aws", "targetgroupbindings", "list"}} {
		if may(RolloutOptions{}, right[0], right[1], right[2]) {
			t.Errorf("%v is granted although nothing is verified", right)
		}
		if !may(RolloutOptions{VerifyTargetGroups: true}, right[0], right[1], right[2]) {
			t.Errorf("%v is not granted", right)
		}
	}
	eks := RolloutOptions{VerifyTargetGroups: true, TargetGroupBindings: schema.GroupVersion{Group: "eks.amazonaws.com", Version: "v1"}}
	if !may(eks, "eks.amazonaws.com", "targetgroupbindings", "list") || may(eks, "elbv2.k8s.aws", "targetgroupbindings", "list") {
		t.Error("the rights do not follow the API of bindings")
	}
}

// loadBalancerIsFollowed brings a Rollout behind a load balancer of AWS to a weight, with Fairway's own rights.
func loadBalancerIsFollowed(t *testing.T, c *Cluster, aws *stub.AWS) {
	cfg := c.Plane.Config()
	cfg.ContentType, cfg.AcceptContentTypes = "", ""
	in := func(gvr schema.GroupVersionResource) dynamic.ResourceInterface {
		return dynamic.NewForConfigOrDie(cfg).Resource(gvr).Namespace("default")
	}
	create := func(to dynamic.ResourceInterface, text string) *unstructured.Unstructured {
		t.Helper()
		made, err := to.Create(t.Context(), object(text), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	services := in(schema.GroupVersionResource{Version: "v1", Resource: "services"})
	for _, name := range []string{"alb", "alb-canary"} {
		create(services, `{"apiVersion":"v1","kind":"Service","metadata":{"name":"`+name+`"},"spec":{"selector":{"app":"alb"},"ports":[{"port":80}]}}`)
	}
	ingresses := in(networkingv1.SchemeGroupVersion.WithResource("ingresses"))
	ingress := create(ingresses, `{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"alb"},"spec":{"rules":[{"http":{"paths":[{"path":"/","pathType":"Prefix",
		"backend":{"service":{"name":"alb","port":{"name":"use-annotation"}}}}]}}]}}`)
	ingress.Object["status"] = map[string]any{"loadBalancer": map[string]any{"ingress": []any{map[string]any{"hostname": stub.Hostname}}}}
	if _, err := ingresses.UpdateStatus(t.Context(), ingress, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	ros := in(rollouts.GroupVersion.WithResource("rollouts"))
	create(ros, `{"apiVersion":"argoproj.io/v1alpha1","kind":"Rollout","metadata":{"name":"alb"},"spec":{"replicas":2,"selector":{"matchLabels":{"app":"alb"}},
		"template":{"metadata":{"labels":{"app":"alb"}},"spec":{"containers":[{"name":"app","image":"nginx:1"}]}},"strategy":{"canary":{"canaryService":"alb-canary","stableService":"alb",
		"trafficRouting":{"alb":{"ingress":"alb","servicePort":80}},"steps":[{"setWeight":50},{"pause":{}}]}}}}`)
	phase := func(want string, more func(status map[string]any) string) {
		t.Helper()
		eventually(t, func() string {
			got, err := ros.Get(t.Context(), "alb", metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			st, _, _ := unstructured.NestedMap(got.Object, "status")
			if st["phase"] != want || st["observedGeneration"] != fmt.Sprint(got.GetGeneration()) {
				return fmt.Sprintf("the Rollout is %v (%v), want %s", st["phase"], st["message"], want)
			}
			return more(st)
		})
	}
	phase("Healthy", func(map[string]any) string { return "" })
	if _, err := ros.Patch(t.Context(), "alb", types.MergePatchType, []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"nginx:2"}]}}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	phase("Paused", func(st map[string]any) string {
		if arn, _, _ := unstructured.NestedString(st, "alb", "loadBalancer", "arn"); arn != stub.LoadBalancerARN || aws.Asked() == 0 {
			return fmt.Sprintf("it goes on with load balancer %q after %d requests", arn, aws.Asked())
		}
		return ""
	})
}
