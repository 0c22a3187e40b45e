package platform

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
	gw "sigs.k8s.io/gateway-api/apis/v1"

	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
)

// gatewayIsReachedInside: by its address and by its Service, from the process and from pods; the Service goes with it.
func gatewayIsReachedInside(t *testing.T, c *Cluster) {
	ctx := t.Context()
	free, err := net.Listen("tcp4", "127.32.0.1:0")
	if err != nil {
		t.Skipf("this machine answers 127.0.0.1 only: %v", err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	cfg := c.Plane.ConfigAs("test", "system:masters")
	cfg.ContentType, cfg.AcceptContentTypes = "", "" // custom kinds have no protobuf
	client, err := ctrlclient.New(cfg, ctrlclient.Options{Scheme: c.house.Manager.GetScheme()})
	if err != nil {
		t.Fatal(err)
	}
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "default", Name: name} }
	web, at := gw.ObjectName("inside"), gw.PortNumber(80)
	edge := &gw.Gateway{ObjectMeta: meta("edge"), Spec: gw.GatewaySpec{GatewayClassName: "fairway", Listeners: []gw.Listener{{Name: "http", Port: gw.PortNumber(port), Protocol: gw.HTTPProtocolType}},
		Infrastructure: &gw.GatewayInfrastructure{Labels: map[gw.LabelKey]gw.LabelValue{"team": "shop"}}}}
	pod := &corev1.Pod{ObjectMeta: meta("inside"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "registry.k8s.io/gateway-api/echo-basic:v1"}}}}
	pod.Labels = map[string]string{"app": "inside"}
	for _, o := range []ctrlclient.Object{edge, pod,
		&corev1.Service{ObjectMeta: meta("inside"), Spec: corev1.ServiceSpec{Selector: pod.Labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(3000)}}}},
		&gw.HTTPRoute{ObjectMeta: meta("inside"), Spec: gw.HTTPRouteSpec{CommonRouteSpec: gw.CommonRouteSpec{ParentRefs: []gw.ParentReference{{Name: "edge"}}},
			Rules: []gw.HTTPRouteRule{{BackendRefs: []gw.HTTPBackendRef{{BackendRef: gw.BackendRef{BackendObjectReference: gw.BackendObjectReference{Name: web, Port: &at}}}}}}}}} {
		if err := client.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() string {
		if err := client.Get(ctx, ctrlclient.ObjectKeyFromObject(edge), edge); err != nil || len(edge.Status.Addresses) == 0 {
			return fmt.Sprint("the Gateway has no address: ", err)
		}
		if err := client.Get(ctx, ctrlclient.ObjectKeyFromObject(pod), pod); err != nil || pod.Status.Phase != corev1.PodRunning {
			return fmt.Sprint("the pod does not run: ", err)
		}
		return ""
	})
	get := func(host string, from vnet.From) (string, error) {
		transport := &http.Transport{DialContext: c.Dialer.DialContext(from), DisableKeepAlives: true}
		r, err := (&http.Client{Transport: transport}).Get(fmt.Sprintf("http://%s:%d/x", host, port))
		if err != nil {
			return "", err
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		return fmt.Sprint(r.StatusCode, " ", string(body)), err
	}
	for name, ask := range map[string]func() (string, error){
		"the process, by the address":  func() (string, error) { return get(edge.Status.Addresses[0].Value, vnet.From{}) },
		"the process, by the Service":  func() (string, error) { return get("edge-fairway.default.svc", vnet.From{}) },
		"a pod, by the Service's name": func() (string, error) { return get("edge-fairway", vnet.From{Pod: pod}) },
		"a pod, by the cluster address": func() (string, error) {
			return byClusterIP(ctx, client, func(ip string) (string, error) { return get(ip, vnet.From{Pod: pod}) })
		},
	} {
		eventually(t, func() string {
			got, err := ask()
			if err != nil || !strings.HasPrefix(got, "200 ") || !strings.Contains(got, `"pod": "inside"`) {
				return fmt.Sprintf("%s: %v %s", name, err, got)
			}
			if fromPod := strings.Contains(got, pod.Status.PodIP); fromPod != strings.HasPrefix(name, "a pod") {
				return fmt.Sprintf("%s: it is said to come from somewhere else: %s", name, got)
			}
			return ""
		})
	}
	service := &corev1.Service{ObjectMeta: meta("edge-fairway")}
	if err := client.Get(ctx, ctrlclient.ObjectKeyFromObject(service), service); err != nil || service.Labels["team"] != "shop" {
		t.Errorf("%v; the Service's labels are %v", err, service.Labels)
	}
	edge.Spec.Infrastructure = nil
	if err := client.Update(ctx, edge); err != nil && !apierrors.IsConflict(err) {
		t.Error(err)
	}
	eventually(t, func() string {
		if err := client.Get(ctx, ctrlclient.ObjectKeyFromObject(service), service); err != nil || service.Labels["team"] != "" {
			return fmt.Sprintf("%v; after infrastructure has gone, the Service's labels are %v", err, service.Labels)
		}
		return ""
	})
	if err := client.Delete(ctx, edge); err != nil {
		t.Error(err)
	}
	eventually(t, func() string {
		if err := client.Get(ctx, ctrlclient.ObjectKeyFromObject(service), service); !apierrors.IsNotFound(err) {
			return fmt.Sprintf("the Service of a Gateway that has gone: %v", err)
		}
		return ""
	})
}

func byClusterIP(ctx context.Context, client ctrlclient.Client, ask func(ip string) (string, error)) (string, error) {
	s := &corev1.Service{}
	if err := client.Get(ctx, ctrlclient.ObjectKey{Namespace: "default", Name: "edge-fairway"}, s); err != nil {
		return "", err
	}
	return ask(s.Spec.ClusterIP)
}
