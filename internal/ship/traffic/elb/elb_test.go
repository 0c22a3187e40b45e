package elb

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/fairway-dev/fairway/internal/ship/traffic"
	"github.com/fairway-dev/fairway/internal/ship/traffic/elb/stub"
)

const (
	groupARN = stub.GroupARN
	hostname = stub.Hostname
)

func serve(t *testing.T, a *stub.AWS) *Client {
	t.Helper()
	a.CanaryTag, a.StableTag = "shop/web-web-canary:80", "shop/web-web:80"
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return NewClient(stub.Env(server.URL), http.DefaultClient.Do)
}

func intent(weight int32) traffic.Intent {
	return traffic.Intent{Namespace: "shop", Name: "web", CanaryService: "web-canary", StableService: "web", Weight: weight, Max: 100,
		Routing: &argo.RolloutTrafficRouting{ALB: &argo.ALBTrafficRouting{Ingress: "web", ServicePort: 80}}}
}

func ingress(hostnames ...string) *networkingv1.Ingress {
	i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	for _, h := range hostnames {
		i.Status.LoadBalancer.Ingress = append(i.Status.LoadBalancer.Ingress, networkingv1.IngressLoadBalancerIngress{Hostname: h})
	}
	return i
}

func reasons(v Verdict) (out []string) {
	for _, e := range v.Events {
		out = append(out, fmt.Sprintf("%t %s", e.Warning, e.Reason))
	}
	return out
}

func TestWeightsAreVerifiedOnceTheRulesOfTheLoadBalancerHaveThem(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		aws      *stub.AWS
		hosts    []string
		verified bool
		events   []string
		says     string
	}{
		"set":             {&stub.AWS{Canary: "20"}, []string{hostname}, true, []string{"false TargetGroupVerified"}, "Service web-canary (TargetGroup " + groupARN + "canary/1) verified: canary weight 20 set"},
		"not yet set":     {&stub.AWS{Canary: "10"}, []string{hostname}, false, []string{"true TargetGroupUnverified"}, "canary weight 20 not yet set (current: 10)"},
		"not allocated":   {&stub.AWS{Canary: "20"}, nil, false, nil, ""},
		"unknown to AWS":  {&stub.AWS{Canary: "20"}, []string{"gone.eu-west-1.elb.amazonaws.com"}, false, []string{"true LoadBalancerNotFound"}, "gone.eu-west-1"},
		"AWS refuses":     {&stub.AWS{Refuse: "DescribeTags"}, []string{hostname}, false, []string{"true TargetGroupVerifyError", "true WeightVerifyError"}, "DescribeTags: AccessDenied: no such right (403 Forbidden)"},
		"AWS refuses all": {&stub.AWS{Refuse: "DescribeLoadBalancers"}, []string{hostname}, false, []string{"true TargetGroupVerifyError", "true WeightVerifyError"}, "DescribeLoadBalancers: AccessDenied"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := Weights(t.Context(), serve(t, c.aws), ResourceTag, intent(20), []*networkingv1.Ingress{ingress(c.hosts...)}, nil)
			if v.Verified == nil || *v.Verified != c.verified || !slices.Equal(reasons(v), c.events) {
				t.Fatalf("verified %v with %v, want %v with %v", v.Verified, v.Events, c.verified, c.events)
			}
			if c.says != "" && !strings.Contains(fmt.Sprint(v.Events), c.says) {
				t.Errorf("%v do not say %s", v.Events, c.says)
			}
		})
	}
}

func TestStatusNamesTheLoadBalancerAndItsTargetGroups(t *testing.T) {
	t.Parallel()
	v := Weights(t.Context(), serve(t, &stub.AWS{Canary: "20"}), ResourceTag, intent(20), []*networkingv1.Ingress{ingress(hostname)}, nil)
	want := argo.ALBStatus{Ingress: "web",
		LoadBalancer:      argo.AwsResourceRef{Name: "k8s-shop", ARN: stub.LoadBalancerARN, FullName: "k8s-shop/50dc6c495c0c9188"},
		CanaryTargetGroup: argo.AwsResourceRef{Name: "canary", ARN: groupARN + "canary/1", FullName: "canary/1"},
		StableTargetGroup: argo.AwsResourceRef{Name: "stable", ARN: groupARN + "stable/2", FullName: "stable/2"}}
	if len(v.ALBs) != 1 || v.ALBs[0] != want || *v.ALB() != want {
		t.Errorf("%+v\nwant\n%+v", v.ALBs, want)
	}
	again := Weights(t.Context(), serve(t, &stub.AWS{}), ResourceTag, intent(20), []*networkingv1.Ingress{ingress()}, v.ALBs)
	if again.ALBs[0] != want {
		t.Errorf("what is known is lost: %+v", again.ALBs)
	}
}

func TestExperimentsAreVerifiedWithTheCanary(t *testing.T) {
	t.Parallel()
	in := intent(20)
	in.Additional = []argo.WeightDestination{{ServiceName: "exp", Weight: 5}}
	v := Weights(t.Context(), serve(t, &stub.AWS{Canary: "20"}), ResourceTag, in, []*networkingv1.Ingress{ingress(hostname)}, nil)
	if *v.Verified {
		t.Error("verified although no rule forwards to the experiment")
	}
}

func TestSwitchIsVerifiedOnceAllReadyAddressesAreRegistered(t *testing.T) {
	t.Parallel()
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
	endpoints := []*discoveryv1.EndpointSlice{{Ports: []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080)}}, Endpoints: []discoveryv1.Endpoint{
		{Addresses: []string{"10.0.0.1"}}, {Addresses: []string{"10.0.0.2"}}, {Addresses: []string{"10.0.0.3"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}}}}}
	binding := func(service string, port any, kind string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"targetGroupARN": groupARN + "web/1", "targetType": kind,
			"serviceRef": map[string]any{"name": service, "port": port}}}}
	}
	for name, c := range map[string]struct {
		binding *unstructured.Unstructured
		targets []string
		want    *bool
		says    string
	}{
		"all":              {binding("web", int64(80), "ip"), []string{"10.0.0.1", "10.0.0.2", "10.0.0.9"}, ptr.To(true), "verified: 2 endpoints registered"},
		"by name":          {binding("web", "http", "ip"), []string{"10.0.0.1", "10.0.0.2"}, ptr.To(true), "verified: 2 endpoints registered"},
		"some":             {binding("web", int64(80), "ip"), []string{"10.0.0.1", "10.0.0.1"}, ptr.To(false), "not verified: 1/2 endpoints registered"},
		"of nodes":         {binding("web", int64(80), "instance"), nil, ptr.To(true), "[]"},
		"another Service":  {binding("api", int64(80), "ip"), nil, nil, "[]"},
		"another port":     {binding("web", int64(81), "ip"), nil, nil, "[]"},
		"nothing is bound": {&unstructured.Unstructured{Object: map[string]any{}}, nil, nil, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := Targets(t.Context(), serve(t, &stub.AWS{Targets: c.targets}), svc, endpoints, []*unstructured.Unstructured{c.binding})
			if (v.Verified == nil) != (c.want == nil) || c.want != nil && *v.Verified != *c.want || !strings.Contains(fmt.Sprint(v.Events), c.says) {
				t.Errorf("verified %v with %v", v.Verified, v.Events)
			}
		})
	}
}

func TestRegionComesFromWhatIsAskedAboutElseFromTheEnvironment(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{hostname: "eu-west-1", "internal-a-1.cn-north-1.elb.amazonaws.com.cn": "cn-north-1", "lb.example.com": ""} {
		if got := regionOfName(name); got != want {
			t.Errorf("%s is in %q, want %q", name, got, want)
		}
	}
	c := NewClient(func(string) string { return "" }, http.DefaultClient.Do)
	if _, err := c.LoadBalancer(context.Background(), "lb.example.com"); err == nil || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("without a region: %v", err)
	}
}
