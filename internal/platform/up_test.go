package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
	"github.com/fairway-dev/fairway/internal/platform/why"
	"github.com/fairway-dev/fairway/internal/ship/traffic/elb/stub"
)

// patience is far longer than anything takes, so that a busy machine fails no test.
const patience = 60 * time.Second

// eventually looks until missing returns "".
func eventually(t *testing.T, missing func() string) {
	t.Helper()
	var last string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if last = missing(); last == "" {
			return
		}
	}
	t.Fatalf("after %v: %s", patience, last)
}

// One process can hold one controller manager, so all of this is one cluster's life.
func TestUpIsAWholeCluster(t *testing.T) {
	aws := &stub.AWS{Canary: "50", CanaryTag: "default/alb-alb-canary:80", StableTag: "default/alb-alb:80"}
	server := httptest.NewServer(aws)
	defer server.Close()
	for _, name := range stub.Variables {
		t.Setenv(name, stub.Env(server.URL)(name))
	}
	c, err := Up(t.Context(), UpOptions{Rollouts: RolloutOptions{VerifyTargetGroups: true}, Virtual: virtual.Options{PodStart: 100 * time.Millisecond, PodStop: 50 * time.Millisecond,
		NodeGroups: []virtual.NodeGroup{{Name: "node", Size: 2}}, Stages: stagesOf(t, ripening)}})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	defer func() {
		if !stopped {
			c.Stop(context.Background())
		}
	}()
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(cfg)
	t.Run("definitions are in the store as the API server would put them there", func(t *testing.T) { storedAsApplied(t, c) })
	t.Run("kinds have documents", func(t *testing.T) { kindsHaveDocuments(t, c) })
	t.Run("pods run", func(t *testing.T) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"app": "web"}}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "app", Image: "nginx", Ports: []corev1.ContainerPort{{ContainerPort: 80}}}}}}
		eventually(t, func() string {
			_, err := client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return err.Error()
			}
			p, err := client.CoreV1().Pods("default").Get(t.Context(), "web", metav1.GetOptions{})
			if err != nil || p.Status.Phase != corev1.PodRunning {
				return fmt.Sprint("the pod does not run: ", p.Status.Phase, err)
			}
			return ""
		})
	})
	t.Run("usage is served", func(t *testing.T) {
		mc := metricsclient.NewForConfigOrDie(cfg)
		eventually(t, func() string {
			l, err := mc.MetricsV1beta1().PodMetricses("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
			if err != nil || len(l.Items) != 1 || l.Items[0].Labels["app"] != "web" || l.Items[0].Containers[0].Usage.Memory().IsZero() {
				return fmt.Sprint("pod metrics: ", l, err)
			}
			return ""
		})
		if l, err := mc.MetricsV1beta1().PodMetricses("default").List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=other"}); err != nil || len(l.Items) != 0 {
			t.Errorf("a field selector that matches nothing gives %v, %v", l, err)
		}
		if _, err := mc.MetricsV1beta1().PodMetricses("default").Get(t.Context(), "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("a pod that does not exist gives %v, want NotFound", err)
		}
	})
	t.Run("metrics are served in the cluster", func(t *testing.T) {
		eventually(t, func() string {
			inside := http.Client{Transport: &http.Transport{DialContext: c.Dialer.DialContext(vnet.From{}), DisableKeepAlives: true}}
			r, err := inside.Get("http://" + MetricsService + "." + Namespace + ".svc:8080/metrics")
			if err != nil {
				return err.Error()
			}
			defer r.Body.Close()
			b, err := io.ReadAll(r.Body)
			if err != nil || !strings.Contains(string(b), "fairway_virtual_nodes") {
				return fmt.Sprint("no fairway_virtual_nodes in the metrics: ", err)
			}
			return ""
		})
	})
	t.Run("others may not read usage", func(t *testing.T) {
		mc := metricsclient.NewForConfigOrDie(c.Plane.ConfigAs("nobody"))
		if _, err := mc.MetricsV1beta1().NodeMetricses().List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("a user without rights gets %v, want Forbidden", err)
		}
	})
	t.Run("fairway has only the rights of its capabilities", func(t *testing.T) {
		as := kubernetes.NewForConfigOrDie(c.Plane.ConfigAs(userName(Namespace)))
		if _, err := as.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Errorf("listing nodes: %v", err)
		}
		// Secrets are read, for the certificates of Gateways, and written nowhere but in its own namespace.
		if _, err := as.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("making a Secret gives %v, want Forbidden", err)
		}
		if err := as.CoreV1().Pods("default").Delete(t.Context(), "x", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("deleting a pod gives %v, want Forbidden", err)
		}
	})
	t.Run("Program objects are served and read", func(t *testing.T) { programObjects(t, c) })
	t.Run("Rollouts are carried out", func(t *testing.T) { rolloutsAreCarriedOut(t, c) })
	t.Run("AWS's load balancers are followed", func(t *testing.T) { loadBalancerIsFollowed(t, c, aws) })
	t.Run("a Gateway is reached within the process", func(t *testing.T) { gatewayIsReachedInside(t, c) })
	t.Run("a replaced serving certificate takes effect", func(t *testing.T) { servingRotation(t, c) })
	t.Run("the API server has an address inside", func(t *testing.T) {
		conn, err := c.Dialer.Dial(t.Context(), vnet.From{}, "tcp", "kubernetes.default.svc:443")
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	})
	t.Run("stages of other kinds are played", func(t *testing.T) { stagesOfOtherKinds(t, c) })
	t.Run("a crashed node is not reached", func(t *testing.T) { crashedNodeIsUnreachable(t, c) })
	t.Run("definitions of others stay", func(t *testing.T) { definitionsOfOthers(t, c) })
	address, file := c.Plane.Address(), c.Kubeconfig()
	stopped = true
	if err := c.Stop(context.Background()); err != nil {
		t.Errorf("stopping: %v", err)
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("the port is still open after Stop")
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary directory is left: %v", err)
	}
}

// programObjects makes a Program and sees a new pod follow it.
func programObjects(t *testing.T, c *Cluster) {
	d := dynamic.NewForConfigOrDie(jsonConfig(c))
	p := object(`{"apiVersion":"fairway.dev/v1alpha1","kind":"Program","metadata":{"name":"short"},"spec":{"match":{"images":["short"]},"duration":"100ms","exitCode":7}}`)
	if _, err := d.Resource(fairway.GroupVersion.WithResource("programs")).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(c.Plane.Config())
	n := 0
	eventually(t, func() string {
		name := fmt.Sprintf("short-%d", n/50) // the first may have started before the rule was read
		n++
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{Name: "app", Image: "short"}}}}
		if _, err := client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return err.Error()
		}
		got, err := client.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || len(got.Status.ContainerStatuses) == 0 || got.Status.ContainerStatuses[0].State.Terminated == nil {
			return fmt.Sprint("the pod has not ended: ", err)
		}
		if code := got.Status.ContainerStatuses[0].State.Terminated.ExitCode; code != 7 {
			return fmt.Sprintf("exit code %d, want 7", code)
		}
		return ""
	})
	scheme, err := newScheme(c.On)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := ctrlclient.New(c.Plane.Config(), ctrlclient.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	explain := why.Explainers()[0].Explain
	for pod, rule := range map[string]string{fmt.Sprintf("short-%d", (n-1)/50): "Program short", "web": "image table"} {
		a, err := explain(t.Context(), reader, ctrlclient.ObjectKey{Namespace: "default", Name: pod}, time.Now())
		if err != nil || !slices.ContainsFunc(a.Evidence, func(e why.Evidence) bool {
			return e.Source == "virtual container app" && strings.Contains(e.Detail, rule)
		}) {
			t.Errorf("why pod/%s does not name the rule %q: %+v, %v", pod, rule, a, err)
		}
	}
}

func jsonConfig(c *Cluster) *rest.Config {
	cfg := c.Plane.Config()
	cfg.ContentType, cfg.AcceptContentTypes = "", ""
	return cfg
}

func object(text string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(text)); err != nil {
		panic(err)
	}
	return u
}
