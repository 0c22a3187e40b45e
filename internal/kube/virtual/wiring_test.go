package virtual_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"github.com/fairway-dev/fairway/internal/kube/controlplane"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
	"github.com/fairway-dev/fairway/internal/kube/virtual/stage"
)

// chaosStage fails running pods that ask for it, as KWOK's users do.
const chaosStage = `
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-chaos}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchLabels: {chaos: fail}
    matchExpressions:
    - {key: '.status.phase', operator: In, values: [Running]}
  delay: {durationMilliseconds: 300}
  next:
    statusTemplate: |
      phase: Failed
      reason: Chaos
`

// hasty makes upstream's controllers look often, and give up on a node when it has missed a heartbeat of 25 s; upstream's 50 s
// are two.
var hasty = []string{"--node-monitor-period=1s", "--node-monitor-grace-period=37s", "--pvclaimbinder-sync-period=2s"}

// plane is one control plane and one engine for all wiring tests of the package: a process can have one.
type plane struct {
	client kubernetes.Interface
	engine *virtual.Engine
	err    error
}

var shared = sync.OnceValue(func() plane {
	ctx := context.Background()
	p, err := controlplane.Start(ctx, controlplane.Options{ControllerManagerArgs: hasty})
	if err != nil {
		return plane{err: err}
	}
	client, err := kubernetes.NewForConfig(p.ConfigAs("fairway-nodes", "system:masters"))
	if err != nil {
		return plane{err: err}
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	stages, _, err := stage.Read("chaos.yaml", []byte(chaosStage))
	if err != nil {
		return plane{err: err}
	}
	engine, err := virtual.New(virtual.Options{
		Client: client, Informers: factory, Behaviour: memoryByAnnotation{}, PodStart: 100 * time.Millisecond, PodStop: 50 * time.Millisecond, Heartbeat: virtual.HeartbeatLease,
		Provisioners: []string{"*"}, DefaultClass: true, Stages: stages,
		NodeGroups: []virtual.NodeGroup{{Name: "web", Size: 3, Zones: []string{"a", "b", "c"}}},
	})
	if err != nil {
		return plane{err: err}
	}
	factory.Start(ctx.Done())
	go engine.Run(ctx)
	return plane{client: client, engine: engine}
})

// memoryByAnnotation lets a test say what its pods use.
type memoryByAnnotation struct{}

func (memoryByAnnotation) Choose(c virtual.Choice) virtual.Model {
	m := virtual.RunForever{}.Choose(c)
	if q, err := resource.ParseQuantity(c.Pod.Annotations["test/memory"]); err == nil {
		m.Usage.MemoryBytes = q.Value()
	}
	return m
}

// TestMain lets more tests run at once than there are processors: most wait for the one cluster.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "8"); err != nil { // what the command line says comes later and wins
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// cluster returns the shared plane and a namespace of the test's own.
func cluster(t *testing.T) (plane, string) {
	t.Helper()
	p := shared()
	if p.err != nil {
		t.Fatal(p.err)
	}
	ns := strings.ToLower(t.Name())
	if len(ns) > 50 {
		ns = ns[:50]
	}
	if _, err := p.client.CoreV1().Namespaces().Create(t.Context(), &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return p, ns
}

// eventually polls until done says "" or the patience ends; done returns what is still missing.
func eventually(t *testing.T, done func() string) {
	t.Helper()
	const patience = 90 * time.Second
	var missing string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if missing = done(); missing == "" {
			return
		}
	}
	t.Fatalf("after %v: %s", patience, missing)
}

// podTemplate is of pods on the nodes that no test harms.
func podTemplate(labels map[string]string) v1.PodTemplateSpec {
	return v1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: v1.PodSpec{NodeSelector: map[string]string{virtual.LabelNodeGroup: "web"},
		Containers: []v1.Container{{Name: "app", Image: "web:1"}}}}
}

func TestDeploymentBecomesAvailableAndGoesAway(t *testing.T) {
	t.Parallel()
	p, ns := cluster(t)
	labels, replicas := map[string]string{"app": "web"}, int32(5)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{Replicas: &replicas,
		Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: podTemplate(labels)}}
	if _, err := p.client.AppsV1().Deployments(ns).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		d, err := p.client.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil || d.Status.AvailableReplicas != replicas {
			return fmt.Sprintf("%d of %d replicas available, error %v", d.Status.AvailableReplicas, replicas, err)
		}
		return ""
	})
	pods, err := p.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, pod := range pods.Items {
		if ip := pod.Status.PodIP; seen[ip] || !strings.HasPrefix(ip, "10.") {
			t.Errorf("pod %s has address %q, given twice or not ours", pod.Name, ip)
		} else {
			seen[ip] = true
		}
		if pod.Status.ObservedGeneration != pod.Generation {
			t.Errorf("pod %s: generation %d, observed %d", pod.Name, pod.Generation, pod.Status.ObservedGeneration)
		}
	}
	if err := p.client.AppsV1().Deployments(ns).Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		pods, err := p.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(pods.Items) > 0 {
			return fmt.Sprintf("%d pods left, error %v", len(pods.Items), err)
		}
		return ""
	})
}

func TestJobCompletesAndItsPodStaysSucceeded(t *testing.T) {
	t.Parallel()
	p, ns := cluster(t)
	tmpl := podTemplate(nil)
	tmpl.Spec.RestartPolicy = v1.RestartPolicyNever
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "once"}, Spec: batchv1.JobSpec{Template: tmpl}}
	if _, err := p.client.BatchV1().Jobs(ns).Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		j, err := p.client.BatchV1().Jobs(ns).Get(t.Context(), "once", metav1.GetOptions{})
		if err != nil || j.Status.Succeeded != 1 || j.Status.CompletionTime == nil {
			return fmt.Sprintf("job status %+v, error %v", j.Status, err)
		}
		return ""
	})
	pods, err := p.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pods.Items) != 1 || pods.Items[0].Status.Phase != v1.PodSucceeded {
		t.Fatalf("want one Succeeded pod, have %+v, error %v", pods.Items, err)
	}
}

func TestPodWaitsForItsConfigMapAndGoesOnWhenItAppears(t *testing.T) {
	t.Parallel()
	p, ns := cluster(t)
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "needy"}, Spec: podTemplate(nil).Spec}
	pod.Spec.Containers[0].EnvFrom = []v1.EnvFromSource{{ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: "settings"}}}}
	if _, err := p.client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	state := func() string {
		pod, err := p.client.CoreV1().Pods(ns).Get(t.Context(), "needy", metav1.GetOptions{})
		if err != nil || len(pod.Status.ContainerStatuses) == 0 {
			return fmt.Sprint("no status ", err)
		}
		if w := pod.Status.ContainerStatuses[0].State.Waiting; w != nil {
			return w.Reason
		}
		return string(pod.Status.Phase)
	}
	eventually(t, func() string {
		if s := state(); s != "CreateContainerConfigError" {
			return "state is " + s
		}
		return ""
	})
	cm := &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}
	if _, err := p.client.CoreV1().ConfigMaps(ns).Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if s := state(); s != "Running" {
			return "state is " + s
		}
		return ""
	})
	eventually(t, func() string {
		list, err := p.client.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=Started"})
		if err != nil || len(list.Items) == 0 {
			return fmt.Sprint("no Started event ", err)
		}
		return ""
	})
}

func TestNodesAreReadyUntaintedAndAnswerUsage(t *testing.T) {
	t.Parallel()
	p, _ := cluster(t)
	eventually(t, func() string {
		nodes, err := p.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: "fairway.dev/node-group=web"})
		if err != nil || len(nodes.Items) < 3 {
			return fmt.Sprintf("%d nodes, error %v", len(nodes.Items), err)
		}
		for _, n := range nodes.Items {
			if len(n.Spec.Taints) > 0 {
				return fmt.Sprintf("node %s is tainted %v", n.Name, n.Spec.Taints)
			}
			lease, err := p.client.CoordinationV1().Leases("kube-node-lease").Get(t.Context(), n.Name, metav1.GetOptions{})
			if err != nil || *lease.Spec.HolderIdentity != n.Name {
				return fmt.Sprint("no lease ", err)
			}
		}
		return ""
	})
	st, err := p.engine.NodeStats("web-000", time.Now())
	if err != nil || st.CPUNanoseconds == 0 || st.WorkingSetBytes == 0 {
		t.Fatalf("node statistics %+v, error %v", st, err)
	}
}

func TestStagePreEmptsTheNativeEngineWhichTakesUpItsResult(t *testing.T) {
	t.Parallel()
	p, ns := cluster(t)
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "victim", Labels: map[string]string{"chaos": "fail"}}, Spec: podTemplate(nil).Spec}
	if _, err := p.client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if st := p.pod(t, ns, "victim").Status; st.Phase != v1.PodFailed || st.Reason != "Chaos" {
			return fmt.Sprintf("phase %s, reason %q", st.Phase, st.Reason)
		}
		return ""
	})
	if err := p.client.CoreV1().Pods(ns).Delete(t.Context(), "victim", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		pods, err := p.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(pods.Items) > 0 {
			return "the failed pod is not removed"
		}
		return ""
	})
}
