package platform

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	kwok "sigs.k8s.io/kwok/pkg/apis/v1alpha1"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
	"github.com/fairway-dev/fairway/internal/kube/virtual/stage"
)

// ripening is a Stage of a kind that the engine does not play.
const ripening = `apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: ripen}
spec:
  resourceRef: {apiGroup: v1, kind: ConfigMap}
  selector: {matchLabels: {fruit: green}}
  next:
    patches:
    - root: metadata
      type: merge
      template: |
        {"labels": {"fruit": "ripe"}}
`

func stagesOf(t *testing.T, text string) []*kwok.Stage {
	t.Helper()
	list, _, err := stage.Read("stages.yaml", []byte(text))
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	return list
}

// stagesOfOtherKinds sees a ConfigMap moved by its Stage. Part of TestUpIsAWholeCluster.
func stagesOfOtherKinds(t *testing.T, c *Cluster) {
	maps := kubernetes.NewForConfigOrDie(c.Plane.Config()).CoreV1().ConfigMaps("default")
	green := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "apple", Labels: map[string]string{"fruit": "green"}}}
	if _, err := maps.Create(t.Context(), green, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		got, err := maps.Get(t.Context(), "apple", metav1.GetOptions{})
		if err != nil || got.Labels["fruit"] != "ripe" {
			return "the Stage has not moved the ConfigMap"
		}
		return ""
	})
}

// crashedNodeIsUnreachable takes a pod's node away under its clients. Part of TestUpIsAWholeCluster, near its end.
func crashedNodeIsUnreachable(t *testing.T, c *Cluster) {
	pod, err := kubernetes.NewForConfigOrDie(c.Plane.Config()).CoreV1().Pods("default").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dial := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		conn, err := c.Dialer.Dial(ctx, vnet.From{}, "tcp", pod.Status.PodIP+":80")
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := dial(); err != nil {
		t.Fatalf("before the crash: %v", err)
	}
	if err := c.Engine.CrashNode(pod.Spec.NodeName, virtual.CrashHang, 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if dial() == nil {
			return "a pod of a crashed node still answers"
		}
		return ""
	})
}
