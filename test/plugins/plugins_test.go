// Package plugins tries external plugins of every kind in a whole cluster: the config map names programs, and Rollouts and
// analysis runs use them. It is apart from other tests because one process can hold one cluster.
package plugins

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
	"github.com/fairway-dev/fairway/internal/platform"
	"github.com/fairway-dev/fairway/internal/ship/plugin"
)

// patience is far longer than anything takes, so that a busy machine fails no test.
const patience = 60 * time.Second

const objects = `
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: asked}
spec: {metrics: [{name: asked, successCondition: result == "42", provider: {plugin: {test/metric: 42}}}]}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app, image: "a:1"}]}}
  strategy:
    canary:
      stableService: web
      canaryService: web-canary
      trafficRouting: {managedRoutes: [{name: by-header}], plugins: {test/traffic: {some: thing}}}
      steps:
      - setWeight: 30
      - setHeaderRoute: {name: by-header, match: [{headerName: x, headerValue: {exact: "y"}}]}
      - plugin: {name: test/step, config: {a: 1}}
      - analysis: {templates: [{templateName: asked}]}
      - pause: {duration: 1}
`

// cluster is where the plugins run.
type cluster struct {
	*testing.T
	client  kubernetes.Interface
	objects dynamic.Interface
	notes   string // file of what the plugins noted
}

func (c *cluster) of(kind string) dynamic.ResourceInterface {
	return c.objects.Resource(rollouts.GroupVersion.WithResource(kind)).Namespace("default")
}

func (c *cluster) eventually(missing func() string) {
	c.Helper()
	var last string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if last = missing(); last == "" {
			return
		}
	}
	c.Fatalf("after %v: %s\nThe plugins have noted:\n%s", patience, last, strings.Join(c.noted(), "\n"))
}

func (c *cluster) noted() []string {
	b, err := os.ReadFile(c.notes)
	if err != nil && !os.IsNotExist(err) {
		c.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// configure names the plugins in the config map.
func (c *cluster) configure(steps string) {
	c.Helper()
	self, err := os.Executable()
	if err != nil {
		c.Fatal(err)
	}
	item := func(name string) string {
		return fmt.Sprintf("- {name: %s, location: file://%s, args: [%s]}\n", name, self, c.notes)
	}
	data := map[string]string{string(plugin.MetricProvider): item("test/metric"), string(plugin.TrafficRouter): item("test/traffic")}
	if steps != "" {
		data[string(plugin.Step)] = item(steps)
	}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: plugin.ConfigMapName}, Data: data}
	maps := c.client.CoreV1().ConfigMaps(platform.Namespace)
	_, err = maps.Create(c.Context(), cm, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = maps.Update(c.Context(), cm, metav1.UpdateOptions{})
	}
	if err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) patch(body string, sub ...string) {
	c.Helper()
	if _, err := c.of("rollouts").Patch(c.Context(), "web", types.MergePatchType, []byte(body), metav1.PatchOptions{}, sub...); err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) image(tag string) {
	c.Helper()
	c.patch(`{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"a:` + tag + `"}]}}}}`)
}

// await a phase of the Rollout at its present generation, and more.
func (c *cluster) await(phase string, more func(status map[string]any) string) map[string]any {
	c.Helper()
	var status map[string]any
	c.eventually(func() string {
		got, err := c.of("rollouts").Get(c.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		status, _, _ = unstructured.NestedMap(got.Object, "status")
		if status["phase"] != phase || status["observedGeneration"] != fmt.Sprint(got.GetGeneration()) {
			return fmt.Sprintf("the Rollout is %v (%v) at %v, want %s", status["phase"], status["message"], status["currentStepIndex"], phase)
		}
		if more != nil {
			return more(status)
		}
		return ""
	})
	return status
}

func TestPluginsOfEveryKindCarryAnUpdateOut(t *testing.T) {
	up, err := platform.Up(t.Context(), platform.UpOptions{Capabilities: platform.Switches{"-metrics"},
		Virtual: virtual.Options{PodStart: 50 * time.Millisecond, PodStop: 50 * time.Millisecond, NodeGroups: []virtual.NodeGroup{{Name: "node", Size: 1}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Stop(context.Background())
	cfg := up.Plane.Config()
	cfg.ContentType, cfg.AcceptContentTypes = "", ""
	c := &cluster{T: t, client: kubernetes.NewForConfigOrDie(cfg), objects: dynamic.NewForConfigOrDie(cfg), notes: filepath.Join(t.TempDir(), "notes")}
	c.configure("test/step")
	for _, name := range []string{"web", "web-canary"} {
		_, err := c.client.CoreV1().Services("default").Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	for text := range strings.SplitSeq(objects, "---") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
			t.Fatal(err)
		}
		if _, err := c.of(strings.ToLower(o.GetKind())+"s").Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	c.await("Healthy", nil)
	t.Run("an update goes through all of them", func(t *testing.T) { c.T = t; c.through() })
	t.Run("an abort undoes the step and takes the traffic back", func(t *testing.T) { c.T = t; c.aborted() })
	t.Run("a plugin that is not configured holds the update and says so", func(t *testing.T) { c.T = t; c.unknown() })
}

func (c *cluster) through() {
	c.image("2")
	status := c.await("Healthy", func(s map[string]any) string {
		if s["stableRS"] != s["currentPodHash"] {
			return "the update has not come to its end"
		}
		return ""
	})
	if steps, _, _ := unstructured.NestedSlice(status, "canary", "stepPluginStatuses"); len(steps) != 1 || steps[0].(map[string]any)["phase"] != "Successful" || steps[0].(map[string]any)["message"] != "done" {
		c.Errorf("the step's status is %v", steps)
	}
	runs, err := c.of("analysisruns").List(c.Context(), metav1.ListOptions{})
	if err != nil || len(runs.Items) != 1 {
		c.Fatalf("%d analysis runs, %v", len(runs.Items), err)
	}
	results, _, _ := unstructured.NestedSlice(runs.Items[0].Object, "status", "metricResults")
	if len(results) != 1 || results[0].(map[string]any)["phase"] != "Successful" || !strings.Contains(fmt.Sprint(results[0]), "value:42") {
		c.Errorf("the metric's result is %v", results)
	}
	c.inOrder("traffic init", "weight web 30", "verify web 30", "header web by-header", `step run web {"a":1}`,
		"metric run asked", "remove web", "weight web 0")
}

// inOrder waits until the plugins have noted these lines, one after another, between others.
func (c *cluster) inOrder(want ...string) {
	c.Helper()
	c.eventually(func() string {
		rest := c.noted()
		for _, w := range want {
			i := slices.Index(rest, w)
			if i < 0 {
				return fmt.Sprintf("%q is not noted where it should be", w)
			}
			rest = rest[i+1:]
		}
		return ""
	})
}

func (c *cluster) aborted() {
	c.patch(`{"spec":{"strategy":{"canary":{"steps":[{"setWeight":30},{"plugin":{"name":"test/step","config":{"for":"ever"}}}]}}}}`)
	c.image("3")
	c.eventually(func() string {
		if !slices.Contains(c.noted(), `step run web {"for":"ever"}`) {
			return "the step that never ends has not begun"
		}
		return ""
	})
	status := c.await("Progressing", nil)
	if weight, _, _ := unstructured.NestedInt64(status, "canary", "weights", "canary", "weight"); weight != 30 {
		c.Errorf("the weight in the status is %d", weight)
	}
	c.patch(`{"status":{"abort":true}}`, "status")
	c.await("Degraded", nil)
	c.eventually(func() string {
		if noted := c.noted(); !slices.Contains(noted, `step abort web {"seen":1}`) || noted[len(noted)-1] == "weight web 30" {
			return "the step is not undone, or the traffic not taken back"
		}
		return ""
	})
	c.inOrder(`step run web {"for":"ever"}`, "weight web 0")
	c.image("2")
	c.await("Healthy", nil)
}

func (c *cluster) unknown() {
	c.configure("")
	before := len(c.noted())
	c.image("4")
	c.eventually(func() string {
		all, err := c.client.CoreV1().Events("default").List(c.Context(), metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		for i := range all.Items {
			if e := &all.Items[i]; e.InvolvedObject.Name == "web" && strings.Contains(e.Message, "test/step") && e.Type == corev1.EventTypeWarning {
				return ""
			}
		}
		return "no event says that the plugin test/step is not configured"
	})
	for _, line := range c.noted()[before:] {
		if strings.HasPrefix(line, "step") {
			c.Errorf("a plugin that is not configured any more is asked: %s", line)
		}
	}
	c.configure("test/step")
	c.patch(`{"status":{"promoteFull":true}}`, "status")
	c.await("Healthy", func(s map[string]any) string {
		if s["stableRS"] != s["currentPodHash"] {
			return "the promotion has not come to its end"
		}
		return ""
	})
}
