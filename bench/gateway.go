package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairway-dev/fairway/internal/load"
)

// gatewayParts are the parts that "gateway" stands for.
var gatewayParts = []string{"changes", "restarts"}

const (
	// requestRate is that of the load, a second.
	requestRate = 2000
	// weightChanges are made in changesWithin.
	weightChanges, changesWithin = 1000, time.Minute
	// rollingRestarts of a Deployment of restartedPods.
	rollingRestarts, restartedPods = 100, 10
)

var (
	gatewaysResource = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}
	routesResource   = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}
)

// served is a cluster whose gateway serves two Deployments by weight.
type served struct {
	*cluster
	client  *kubernetes.Clientset
	any     dynamic.Interface
	address string // of the Gateway
}

// serve starts a cluster with a Gateway, one route, and Deployments a and b of n pods each, which refuse connections as soon as
// they are asked to stop.
func serve(ctx context.Context, o options, n int32) (*served, error) {
	dir, err := os.MkdirTemp(o.work, "gateway-")
	if err != nil {
		return nil, err
	}
	pool := fmt.Sprintf("127.34.%d.0/24", os.Getpid()%250)
	c, err := fairway(o, dir, "--memory", "--gateway-address-pool", pool, "--pod-start", "200ms", "--capabilities=-rollouts")
	if err != nil {
		return nil, err
	}
	s := &served{cluster: c, address: fmt.Sprintf("127.34.%d.1:8080", os.Getpid()%250)}
	if err := s.apply(ctx, n); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *served) apply(ctx context.Context, n int32) error {
	var err error
	if s.client, _, err = s.ready(ctx); err != nil {
		return err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		return err
	}
	cfg.QPS = -1
	if s.any, err = dynamic.NewForConfig(cfg); err != nil {
		return err
	}
	for _, name := range []string{"a", "b"} {
		labels := map[string]string{"app": name}
		if _, err := s.client.CoreV1().Services("default").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{}); err != nil {
			return err
		}
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{"fairway.dev/sim-latency": "1ms", "fairway.dev/sim-stop": "200ms,refuse"}},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "bench/" + name + ":1", Ports: []corev1.ContainerPort{{ContainerPort: 80}}}}}}}}
		if _, err := s.client.AppsV1().Deployments("default").Create(ctx, d, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	gateway := map[string]any{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": map[string]any{"name": "edge"},
		"spec": map[string]any{"gatewayClassName": "fairway", "listeners": []any{map[string]any{"name": "http", "port": int64(8080), "protocol": "HTTP"}}}}
	if _, err := s.any.Resource(gatewaysResource).Namespace("default").Create(ctx, &unstructured.Unstructured{Object: gateway}, metav1.CreateOptions{}); err != nil {
		return err
	}
	backend := func(name string, weight int64) any {
		return map[string]any{"name": name, "port": int64(80), "weight": weight}
	}
	route := map[string]any{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": map[string]any{"name": "web"},
		"spec": map[string]any{"parentRefs": []any{map[string]any{"name": "edge"}}, "rules": []any{map[string]any{"backendRefs": []any{backend("a", 100), backend("b", 0)}}}}}
	if _, err := s.any.Resource(routesResource).Namespace("default").Create(ctx, &unstructured.Unstructured{Object: route}, metav1.CreateOptions{}); err != nil {
		return err
	}
	for _, name := range []string{"a", "b"} {
		if err := s.complete(ctx, name); err != nil {
			return err
		}
	}
	return until(ctx, func() (bool, error) {
		_, err := s.revision(ctx)
		return err == nil, nil
	})
}

// complete waits until all pods of a Deployment are new and ready, and no others are left.
func (s *served) complete(ctx context.Context, name string) error {
	return until(ctx, func() (bool, error) {
		d, err := s.client.AppsV1().Deployments("default").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		st, n := d.Status, *d.Spec.Replicas
		return st.ObservedGeneration >= d.Generation && st.UpdatedReplicas == n && st.AvailableReplicas == n && st.Replicas == n, nil
	})
}

// revision is who answers a request.
func (s *served) revision(ctx context.Context) (string, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/", nil)
	if err != nil {
		return "", err
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return "", errors.New(r.Status)
	}
	return r.Header.Get("X-Revision"), nil
}

// underLoad does what it is given while requests come, and fails if one of them does.
func (s *served) underLoad(ctx context.Context, do func() error) (*load.Result, error) {
	loading, enough := context.WithCancel(ctx)
	defer enough()
	var result *load.Result
	var failed error
	var done sync.WaitGroup
	done.Go(func() {
		result, failed = load.Run(loading, load.Options{URL: "http://" + s.address + "/", Rate: requestRate, For: time.Hour, Connections: 64, By: "X-Revision",
			Dial: (&net.Dialer{}).DialContext})
	})
	time.Sleep(2 * time.Second)
	err := do()
	enough()
	done.Wait()
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	row("requests", "", float64(result.Done))
	row("requests a second", "", result.Achieved)
	row("failed requests", "", float64(result.Failed))
	row("latency from the planned moment, p50", "ms", result.Latency.P50)
	row("latency from the planned moment, p99", "ms", result.Latency.P99)
	if result.Failed > 0 {
		return result, fmt.Errorf("%d of %d requests failed: codes %v, errors %v", result.Failed, result.Done, result.Codes, result.Errors)
	}
	return result, nil
}

// changes moves all requests from one backend to the other and back, a thousand times a minute.
func changes(ctx context.Context, o options) error {
	s, err := serve(ctx, o, 2)
	if err != nil {
		return err
	}
	defer s.stop()
	fmt.Printf("changes: weights of a route are written %d times in %s, under %d requests a second\n", weightChanges, changesWithin, requestRate)
	var forced []float64
	_, err = s.underLoad(ctx, func() error {
		was, err := s.revision(ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		for i := range weightChanges {
			weights := [2]int{100, 0}
			if i%2 == 0 {
				weights = [2]int{0, 100}
			}
			patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/rules/0/backendRefs/0/weight","value":%d},{"op":"replace","path":"/spec/rules/0/backendRefs/1/weight","value":%d}]`, weights[0], weights[1])
			if _, err := s.any.Resource(routesResource).Namespace("default").Patch(ctx, "web", types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
				return err
			}
			written := time.Now()
			for {
				is, err := s.revision(ctx)
				if err != nil {
					return err
				}
				if is != was {
					was = is
					break
				}
			}
			forced = append(forced, time.Since(written).Seconds()*1000)
			time.Sleep(time.Until(began.Add(time.Duration(i+1) * changesWithin / weightChanges)))
		}
		row("changes a minute", "", weightChanges/time.Since(began).Minutes())
		return nil
	})
	if len(forced) > 0 {
		slices.Sort(forced)
		row("write of a route answered, to a client that sees it, p50", "ms", forced[len(forced)/2])
		row("write of a route answered, to a client that sees it, p99", "ms", forced[len(forced)*99/100])
	}
	return err
}

// restarts restarts all pods of a Deployment again and again.
func restarts(ctx context.Context, o options) error {
	s, err := serve(ctx, o, restartedPods)
	if err != nil {
		return err
	}
	defer s.stop()
	fmt.Printf("restarts: %d rolling restarts of %d pods that refuse connections when they are stopped, under %d requests a second\n", rollingRestarts, restartedPods, requestRate)
	result, err := s.underLoad(ctx, func() error {
		for i := range rollingRestarts {
			patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"bench/restart":"%d"}}}}}`, i)
			if _, err := s.client.AppsV1().Deployments("default").Patch(ctx, "a", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
				return err
			}
			if err := s.complete(ctx, "a"); err != nil {
				return err
			}
		}
		return nil
	})
	if result != nil {
		row("revisions that answered", "", float64(len(result.By)))
	}
	return err
}
