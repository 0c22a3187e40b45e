package controlplane

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
	"k8s.io/kubernetes/pkg/scheduler/profile"
	"pgregory.net/rapid"
)

// spreadCase is a scheduler's cache and two frameworks over its snapshot: upstream's, and one that remembers.
type spreadCase struct {
	cache    cache.Cache
	snapshot *cache.Snapshot
	plain    framework.Framework
	ours     framework.Framework
	pods     []*corev1.Pod
	nodes    []*corev1.Node
	made     int
}

func newSpreadCase(t *rapid.T) *spreadCase {
	ctx := context.Background()
	metrics.Register()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://127.0.0.1:1"}) // never asked: nothing starts the informers
	if err != nil {
		t.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	services := factory.Core().V1().Services().Informer().GetIndexer()
	for _, app := range []string{"a", "b"} {
		if err := services.Add(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: app}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": app}}}); err != nil {
			t.Fatal(err)
		}
	}
	c := &spreadCase{cache: cache.New(ctx, nil, false, false), snapshot: cache.NewEmptySnapshot()}
	build := func() framework.Framework {
		cfg, err := latest.Default()
		if err != nil {
			t.Fatal(err)
		}
		p := cfg.Profiles[0]
		p.Plugins = &config.Plugins{
			QueueSort: config.PluginSet{Enabled: []config.Plugin{{Name: names.PrioritySort}}},
			Bind:      config.PluginSet{Enabled: []config.Plugin{{Name: names.DefaultBinder}}},
			PreFilter: config.PluginSet{Enabled: []config.Plugin{{Name: names.PodTopologySpread}}},
			Filter:    config.PluginSet{Enabled: []config.Plugin{{Name: names.PodTopologySpread}}},
			PreScore:  config.PluginSet{Enabled: []config.Plugin{{Name: names.PodTopologySpread}}},
			Score:     config.PluginSet{Enabled: []config.Plugin{{Name: names.PodTopologySpread, Weight: 2}}},
		}
		f, err := frameworkruntime.NewFramework(ctx, plugins.NewInTreeRegistry(), &p, frameworkruntime.WithSnapshotSharedLister(c.snapshot),
			frameworkruntime.WithInformerFactory(factory), frameworkruntime.WithClientSet(client))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	c.plain, c.ours = build(), build()
	if err := rememberSpread(profile.Map{"default-scheduler": c.ours}, factory); err != nil {
		t.Fatal(err)
	}
	return c
}

// change does one random thing to the cluster.
func (c *spreadCase) change(t *rapid.T) {
	logger := klog.Background()
	switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
	case what == 0 || len(c.nodes) == 0:
		c.made++
		zone := rapid.SampledFrom([]string{"", "x", "y", "z"}).Draw(t, "zone")
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("node-", c.made), Labels: map[string]string{corev1.LabelHostname: fmt.Sprint("node-", c.made)}}}
		if zone != "" {
			n.Labels[corev1.LabelTopologyZone] = zone
		}
		c.cache.AddNode(logger, n)
		c.nodes = append(c.nodes, n)
	case what == 1 && len(c.nodes) > 1 && !c.occupied(c.nodes[0].Name):
		if err := c.cache.RemoveNode(logger, c.nodes[0]); err != nil {
			t.Fatal(err)
		}
		c.nodes = c.nodes[1:]
	case what <= 3 && len(c.pods) > 0:
		i := rapid.IntRange(0, len(c.pods)-1).Draw(t, "gone")
		if err := c.cache.RemovePod(logger, c.pods[i]); err != nil {
			t.Fatal(err)
		}
		c.pods = append(c.pods[:i], c.pods[i+1:]...)
	case what == 4 && len(c.pods) > 0:
		i := rapid.IntRange(0, len(c.pods)-1).Draw(t, "changed")
		after := c.pods[i].DeepCopy()
		if rapid.Bool().Draw(t, "deleted") {
			after.DeletionTimestamp = &metav1.Time{}
		} else {
			after.Labels = map[string]string{"app": rapid.SampledFrom([]string{"a", "b"}).Draw(t, "app")}
		}
		if err := c.cache.UpdatePod(logger, c.pods[i], after); err != nil {
			t.Fatal(err)
		}
		c.pods[i] = after
	default:
		p := c.pod(t)
		p.Spec.NodeName = rapid.SampledFrom(c.nodes).Draw(t, "node").Name
		if err := c.cache.AddPod(logger, p); err != nil {
			t.Fatal(err)
		}
		c.pods = append(c.pods, p)
	}
}

func (c *spreadCase) occupied(node string) bool {
	for _, p := range c.pods {
		if p.Spec.NodeName == node {
			return true
		}
	}
	return false
}

func (c *spreadCase) pod(t *rapid.T) *corev1.Pod {
	c.made++
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("pod-", c.made), UID: types.UID(fmt.Sprint(c.made)),
		Namespace: rapid.SampledFrom([]string{"one", "two"}).Draw(t, "namespace"),
		Labels:    map[string]string{"app": rapid.SampledFrom([]string{"a", "b", "none"}).Draw(t, "app")}}}
	if rapid.IntRange(0, 4).Draw(t, "explicit") == 0 {
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone,
			WhenUnsatisfiable: rapid.SampledFrom([]corev1.UnsatisfiableConstraintAction{corev1.ScheduleAnyway, corev1.DoNotSchedule}).Draw(t, "action"),
			LabelSelector:     &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}}}
	}
	return p
}

// place is what a framework says of placing the pod on each node.
func (c *spreadCase) place(t *rapid.T, f framework.Framework, pod *corev1.Pod) string {
	ctx := context.Background()
	state := framework.NewCycleState()
	nodes, err := c.snapshot.NodeInfos().List()
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	if _, status, _ := f.RunPreFilterPlugins(ctx, state, pod); !status.IsSuccess() {
		return status.Message()
	}
	fit := make([]fwk.NodeInfo, 0, len(nodes))
	for _, n := range nodes {
		status := f.RunFilterPlugins(ctx, state, pod, n)
		said += fmt.Sprintln(n.Node().Name, status.Code())
		if status.IsSuccess() {
			fit = append(fit, n)
		}
	}
	if len(fit) == 0 {
		return said
	}
	if status := f.RunPreScorePlugins(ctx, state, pod, fit); !status.IsSuccess() && !status.IsSkip() {
		t.Fatal(status)
	}
	scores, status := f.RunScorePlugins(ctx, state, pod, fit)
	if !status.IsSuccess() {
		t.Fatal(status)
	}
	for _, s := range scores {
		said += fmt.Sprintln(s.Name, s.Scores)
	}
	return said
}

func TestRememberedSpreadPlacesAsUpstreamDoes(t *testing.T) {
	t.Parallel()
	differ := false // the cases must reach scores that say something
	rapid.Check(t, func(t *rapid.T) {
		c := newSpreadCase(t)
		for range rapid.IntRange(5, 60).Draw(t, "changes") {
			c.change(t)
			if rapid.IntRange(0, 2).Draw(t, "look") > 0 {
				continue
			}
			if err := c.cache.UpdateSnapshot(klog.Background(), c.snapshot); err != nil {
				t.Fatal(err)
			}
			pod := c.pod(t)
			want, got := c.place(t, c.plain, pod), c.place(t, c.ours, pod)
			if !reflect.DeepEqual(want, got) {
				t.Fatalf("%s %v:\n%s\nupstream says\n%s", pod.Namespace, pod.Labels, got, want)
			}
			differ = differ || len(c.pods) > 5
		}
	})
	if !differ {
		t.Error("no case had pods worth counting")
	}
}
