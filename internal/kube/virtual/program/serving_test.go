package program

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
	"github.com/fairway-dev/fairway/internal/kube/virtual/serve"
)

// servingPod runs one container since two minutes.
func servingPod(image string, annotations map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", UID: "u1", Annotations: annotations, Labels: map[string]string{"pod-template-hash": "5f7b"}},
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "app", Image: image, Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "app",
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Now().Add(-2 * time.Minute))}}}}},
	}
}

// servingBook answers for pods through the whole way of a connection.
func servingBook(t *testing.T) *Book {
	universal := &vnet.Universal{}
	t.Cleanup(func() { universal.Close() })
	b := NewBook(&Rules{Defaults: DefaultsUp()})
	b.Serve, b.With, b.Servers = universal.Serve, universal.With, &serve.Servers{}
	t.Cleanup(b.Servers.Close)
	return b
}

func clientOf(b *Book, pod *corev1.Pod) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		s := b.Port(pod, 8080, corev1.ProtocolTCP)
		if s.Serve == nil {
			return nil, net.ErrClosed
		}
		here, there := net.Pipe()
		go s.Serve(there)
		return here, nil
	}}}
}

func TestAContainerAnswersByItsAnnotationsAndTheirChanges(t *testing.T) {
	t.Parallel()
	b := servingBook(t)
	pod := servingPod("shop/web:v2", map[string]string{"fairway.dev/sim-errors": "100%"})
	client := clientOf(b, pod)
	r, err := client.Get("http://web/")
	if err != nil || r.StatusCode != 500 || r.Header.Get("X-Revision") != "5f7b" || r.Header.Get("X-Pod") != "web-1" {
		t.Fatalf("%+v %v", r, err)
	}
	changed := pod.DeepCopy()
	changed.Annotations = nil
	b.Follow(changed)
	if r, err := clientOf(b, changed).Get("http://web/"); err != nil || r.StatusCode != 200 {
		t.Errorf("after the annotation has gone: %+v %v", r, err)
	}
	if r, err := clientOf(b, servingPod("registry.example/gateway-api/echo-basic:v1", nil)).Get("http://web/"); err != nil || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("the echo server: %+v %v", r, err)
	}
}

func TestAnsweredRequestsUseCPU(t *testing.T) {
	t.Parallel()
	b := servingBook(t)
	pod := servingPod("shop/web:v2", map[string]string{"fairway.dev/sim-capacity": "10000rps"})
	for range 20 {
		if _, err := clientOf(b, pod).Get("http://web/"); err != nil {
			t.Fatal(err)
		}
	}
	instance := virtual.Instance{Pod: pod, Container: "app", Model: &virtual.Model{}, Started: pod.Status.ContainerStatuses[0].State.Running.StartedAt.Time}
	at := time.Now()
	idle := virtual.ModelUsage{}.Usage(instance, at).CPUSeconds
	if used := (ServedUsage{Servers: b.Servers}).Usage(instance, at).CPUSeconds - idle; used < 0.0005 || used > 0.01 {
		t.Errorf("20 requests of 0.1 ms used %v s of CPU beyond idle", used)
	}
}

func TestAServerThatRefusesAtTermTakesNoNewConnectionsThen(t *testing.T) {
	t.Parallel()
	b := servingBook(t)
	grace := int64(30)
	for name, c := range map[string]struct {
		stop    string
		preStop int64
		want    bool
	}{
		"it refuses":                           {"5s,refuse", 0, false},
		"it refuses after its preStop hook":    {"5s,refuse", 20, true},
		"it goes on taking them as most do so": {"5s", 0, true},
	} {
		pod := servingPod("shop/web", map[string]string{"fairway.dev/sim-stop": c.stop})
		if c.preStop > 0 {
			pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: c.preStop}}}
		}
		if b.Port(pod, 8080, corev1.ProtocolTCP).Serve == nil {
			t.Errorf("%s: it refuses before it is deleted", name)
		}
		deleted := metav1.NewTime(time.Now().Add(time.Duration(grace)*time.Second - time.Second))
		pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &deleted, &grace
		if got := b.Port(pod, 8080, corev1.ProtocolTCP).Serve != nil; got != c.want {
			t.Errorf("%s: a second after the deletion it takes connections = %v, want %v", name, got, c.want)
		}
	}
}
