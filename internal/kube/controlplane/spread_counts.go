package controlplane

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/helper"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/podtopologyspread"
	"k8s.io/kubernetes/pkg/scheduler/profile"
)

// spreadCounts is upstream's PodTopologySpread, which remembers per workload and node which pods its default constraints
// count. Upstream compares the labels of every pod of every node for each pod it places; here a node is looked at again
// only after it changed. What is remembered is handed to upstream as the node's pods, so that it counts, weighs and scores
// as ever. Pods with constraints of their own, and those placed as a group (for which the scheduler tries changes that
// leave a node's generation as it is), see the nodes themselves.
type spreadCounts struct {
	*podtopologyspread.PodTopologySpread
	listers struct {
		services     corelisters.ServiceLister
		controllers  corelisters.ReplicationControllerLister
		replicaSets  appslisters.ReplicaSetLister
		statefulSets appslisters.StatefulSetLister
	}
	views   map[string]*spreadView // by namespace and selector
	current *spreadView            // of the pod that is being placed; nil = the nodes themselves
	listing bool                   // PreScore is reading the nodes
}

// spreadViewsMax bounds the remembered workloads; beyond it all are forgotten. One takes about 100 bytes a node.
const spreadViewsMax = 2000

// spreadView is what one workload sees of the nodes.
type spreadView struct {
	selector  labels.Selector
	namespace string
	nodes     []*spreadNode
	list      []fwk.NodeInfo // those of nodes with pods that count
	byName    map[string]*spreadNode
}

// spreadNode is a node with only those pods that the view's selector matches.
type spreadNode struct {
	fwk.NodeInfo
	view       *spreadView
	generation int64
	pods       []fwk.PodInfo
}

// GetPods returns the matching pods that are not being deleted.
func (n *spreadNode) GetPods() []fwk.PodInfo {
	if g := n.NodeInfo.GetGeneration(); g != n.generation {
		n.pods = n.pods[:0]
		for _, p := range n.NodeInfo.GetPods() {
			pod := p.GetPod()
			if pod.Namespace == n.view.namespace && pod.DeletionTimestamp == nil && n.view.selector.Matches(labels.Set(pod.Labels)) {
				n.pods = append(n.pods, p)
			}
		}
		n.generation = g
	}
	return n.pods
}

func (v *spreadView) node(info fwk.NodeInfo) *spreadNode {
	name := info.Node().Name
	n := v.byName[name]
	if n == nil || n.NodeInfo != info {
		n = &spreadNode{NodeInfo: info, view: v, generation: -1}
		v.byName[name] = n
	}
	return n
}

// see returns the nodes on which something counts; one at least, if there are any.
func (v *spreadView) see(all []fwk.NodeInfo) []fwk.NodeInfo {
	if len(v.nodes) != len(all) {
		v.nodes = make([]*spreadNode, len(all))
		if len(v.byName) > len(all) {
			v.byName = make(map[string]*spreadNode, len(all)) // nodes have gone
		}
	}
	v.list = v.list[:0]
	for i, info := range all {
		if v.nodes[i] == nil || v.nodes[i].NodeInfo != info {
			v.nodes[i] = v.node(info)
		}
		if n := v.nodes[i]; len(n.GetPods()) > 0 {
			v.list = append(v.list, n)
		}
	}
	if len(v.list) == 0 && len(all) > 0 {
		v.list = append(v.list, v.nodes[0])
	}
	return v.list
}

// PreScore finds the pod's view for upstream's PreScore and Score.
func (s *spreadCounts) PreScore(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, nodes []fwk.NodeInfo) *fwk.Status {
	s.current, s.listing = s.view(pod), true
	defer func() { s.listing = false }()
	return s.PodTopologySpread.PreScore(ctx, state, pod, nodes)
}

// Score runs for several nodes at once, each node on one goroutine.
func (s *spreadCounts) Score(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, node fwk.NodeInfo) (int64, *fwk.Status) {
	if s.current != nil {
		if n := s.current.byName[node.Node().Name]; n != nil && n.NodeInfo == node {
			node = n
		}
	}
	return s.PodTopologySpread.Score(ctx, state, pod, node)
}

func (s *spreadCounts) view(pod *corev1.Pod) *spreadView {
	if len(pod.Spec.TopologySpreadConstraints) > 0 || pod.Spec.SchedulingGroup != nil {
		return nil
	}
	l := &s.listers
	selector := helper.DefaultSelector(pod, l.services, l.controllers, l.replicaSets, l.statefulSets)
	if selector.Empty() {
		return nil
	}
	key := pod.Namespace + "/" + selector.String()
	v := s.views[key]
	if v == nil {
		if len(s.views) >= spreadViewsMax {
			clear(s.views)
		}
		v = &spreadView{selector: selector, namespace: pod.Namespace, byName: map[string]*spreadNode{}}
		s.views[key] = v
	}
	return v
}

// spreadLister is the scheduler's snapshot as the plugin sees it.
type spreadLister struct {
	fwk.SharedLister
	counts *spreadCounts
}

func (l spreadLister) NodeInfos() fwk.NodeInfoLister {
	return spreadNodes{l.SharedLister.NodeInfos(), l.counts}
}

type spreadNodes struct {
	fwk.NodeInfoLister
	counts *spreadCounts
}

func (l spreadNodes) List() ([]fwk.NodeInfo, error) {
	all, err := l.NodeInfoLister.List()
	if err != nil || !l.counts.listing || l.counts.current == nil {
		return all, err
	}
	return l.counts.current.see(all), nil
}

// rememberSpread puts spreadCounts in the place of upstream's plugin in every profile.
func rememberSpread(profiles profile.Map, factory informers.SharedInformerFactory) error {
	for name, f := range profiles {
		if err := rememberSpreadOf(f, factory); err != nil {
			return fmt.Errorf("profile %s: %w; has upstream changed?", name, err)
		}
	}
	return nil
}

func rememberSpreadOf(f fwk.Handle, factory informers.SharedInformerFactory) error {
	plugins := reflect.Indirect(reflect.ValueOf(f))
	pre, score := pluginSlot[fwk.PreScorePlugin](plugins, "preScorePlugins"), pluginSlot[fwk.ScorePlugin](plugins, "scorePlugins")
	if pre == nil && score == nil {
		return nil // the profile does without
	}
	if pre == nil || score == nil || any(*pre) != any(*score) {
		return errors.New("PodTopologySpread takes part in only one of PreScore and Score")
	}
	upstream, ok := (*pre).(*podtopologyspread.PodTopologySpread)
	if !ok {
		return fmt.Errorf("PodTopologySpread is a %T", *pre)
	}
	lister := reflect.ValueOf(upstream).Elem().FieldByName("sharedLister")
	if !lister.IsValid() || lister.Type() != reflect.TypeFor[fwk.SharedLister]() {
		return errors.New("PodTopologySpread has no sharedLister")
	}
	s := &spreadCounts{PodTopologySpread: upstream, views: map[string]*spreadView{}}
	core, apps := factory.Core().V1(), factory.Apps().V1()
	s.listers.services, s.listers.controllers = core.Services().Lister(), core.ReplicationControllers().Lister()
	s.listers.replicaSets, s.listers.statefulSets = apps.ReplicaSets().Lister(), apps.StatefulSets().Lister()
	at := (*fwk.SharedLister)(unsafe.Pointer(lister.UnsafeAddr()))
	*at = spreadLister{*at, s}
	*pre, *score = s, s
	return nil
}

// pluginSlot is where a framework keeps PodTopologySpread among its plugins of one kind; nil if it has none. Frameworks
// wrap each plugin once more, to count its calls.
func pluginSlot[P interface {
	comparable
	fwk.Plugin
}](framework reflect.Value, field string) *P {
	list := framework.FieldByName(field)
	if !list.IsValid() || list.Type() != reflect.TypeFor[[]P]() {
		return nil
	}
	plugins := *(*[]P)(unsafe.Pointer(list.UnsafeAddr()))
	for i := range plugins {
		if plugins[i].Name() != names.PodTopologySpread {
			continue
		}
		if w := reflect.Indirect(reflect.ValueOf(plugins[i])); w.Kind() == reflect.Struct && w.NumField() > 0 && w.Type().Field(0).Type == reflect.TypeFor[P]() {
			return w.Field(0).Addr().Interface().(*P)
		}
		return &plugins[i]
	}
	return nil
}
