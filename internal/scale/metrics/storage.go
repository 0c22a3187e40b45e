package metrics

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	api "k8s.io/metrics/pkg/apis/metrics"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Objects reads pods and nodes from the shared cache.
type Objects = client.Reader

// store answers reads: names and labels from the cache, use from the sources.
type store struct {
	objects Objects
	sources []Source
}

func (s *store) pod(now time.Time, key types.NamespacedName) (PodUsage, bool) {
	for _, src := range s.sources {
		if u, ok := src.Snapshot(now).Pod(key); ok {
			return u, true
		}
	}
	return PodUsage{}, false
}

func (s *store) node(now time.Time, name string) (Usage, bool) {
	for _, src := range s.sources {
		if u, ok := src.Snapshot(now).Node(name); ok {
			return u, true
		}
	}
	return Usage{}, false
}

func amounts(u Usage) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(int64(u.CPU), resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(int64(u.Memory), resource.BinarySI),
	}
}

// selectors reads what a list asks for. Fields are metadata.name, metadata.namespace and, for pods, spec.nodeName.
func selectors(o *internalversion.ListOptions) (labels.Selector, fields.Selector) {
	l, f := labels.Everything(), fields.Everything()
	if o != nil && o.LabelSelector != nil {
		l = o.LabelSelector
	}
	if o != nil && o.FieldSelector != nil {
		f = o.FieldSelector
	}
	return l, f
}

var podsResource = api.Resource("pods")

// pods is the resource pods of metrics.k8s.io.
type pods struct{ *store }

var (
	_ rest.KindProvider         = pods{}
	_ rest.Storage              = pods{}
	_ rest.Getter               = pods{}
	_ rest.Lister               = pods{}
	_ rest.Scoper               = pods{}
	_ rest.TableConvertor       = pods{}
	_ rest.SingularNameProvider = pods{}
)

func (pods) New() runtime.Object     { return &api.PodMetrics{} }
func (pods) NewList() runtime.Object { return &api.PodMetricsList{} }
func (pods) Destroy()                {}
func (pods) Kind() string            { return "PodMetrics" }
func (pods) NamespaceScoped() bool   { return true }
func (pods) GetSingularName() string { return "pod" }

// Get implements rest.Getter.
func (p pods) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	key := types.NamespacedName{Namespace: apirequest.NamespaceValue(ctx), Name: name}
	var pod corev1.Pod
	if err := p.objects.Get(ctx, key, &pod); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, apierrors.NewNotFound(podsResource, key.String())
		}
		return nil, apierrors.NewInternalError(fmt.Errorf("looking for pod %s: %w", key, err))
	}
	m := p.metrics(time.Now(), &pod)
	if m == nil {
		return nil, apierrors.NewNotFound(podsResource, key.String())
	}
	return m, nil
}

// List implements rest.Lister.
func (p pods) List(ctx context.Context, o *internalversion.ListOptions) (runtime.Object, error) {
	l, f := selectors(o)
	var found corev1.PodList
	if err := p.objects.List(ctx, &found, client.InNamespace(apirequest.NamespaceValue(ctx)), client.MatchingLabelsSelector{Selector: l}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("listing pods: %w", err))
	}
	now := time.Now()
	out := &api.PodMetricsList{}
	for i := range found.Items {
		pod := &found.Items[i]
		if !f.Empty() && !f.Matches(fields.Set{"metadata.name": pod.Name, "metadata.namespace": pod.Namespace, "spec.nodeName": pod.Spec.NodeName}) {
			continue
		}
		if m := p.metrics(now, pod); m != nil {
			out.Items = append(out.Items, *m)
		}
	}
	slices.SortFunc(out.Items, func(a, b api.PodMetrics) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return out, nil
}

func (p pods) metrics(now time.Time, pod *corev1.Pod) *api.PodMetrics {
	u, ok := p.pod(now, types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
	if !ok {
		return nil
	}
	freshness.Observe(now.Sub(u.At).Seconds())
	m := &api.PodMetrics{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, Labels: pod.Labels, CreationTimestamp: metav1.NewTime(now)},
		Timestamp:  metav1.NewTime(u.At), Window: metav1.Duration{Duration: u.Window},
	}
	for name, c := range u.Containers {
		m.Containers = append(m.Containers, api.ContainerMetrics{Name: name, Usage: amounts(c)})
	}
	slices.SortFunc(m.Containers, func(a, b api.ContainerMetrics) int { return strings.Compare(a.Name, b.Name) })
	return m
}

// ConvertToTable implements rest.TableConvertor.
func (p pods) ConvertToTable(_ context.Context, obj, _ runtime.Object) (*metav1.Table, error) {
	t := newTable()
	switch o := obj.(type) {
	case *api.PodMetrics:
		addPodRow(t, o)
	case *api.PodMetricsList:
		t.ResourceVersion = o.ResourceVersion
		for i := range o.Items {
			addPodRow(t, &o.Items[i])
		}
	}
	return t, nil
}

func addPodRow(t *metav1.Table, m *api.PodMetrics) {
	sum := corev1.ResourceList{}
	for _, c := range m.Containers {
		for k, v := range c.Usage {
			q := sum[k]
			q.Add(v)
			sum[k] = q
		}
	}
	addRow(t, m.DeepCopy(), m.Name, sum, m.Window)
}

var nodesResource = api.Resource("nodes")

// nodes is the resource nodes of metrics.k8s.io.
type nodes struct{ *store }

var (
	_ rest.KindProvider         = nodes{}
	_ rest.Storage              = nodes{}
	_ rest.Getter               = nodes{}
	_ rest.Lister               = nodes{}
	_ rest.Scoper               = nodes{}
	_ rest.TableConvertor       = nodes{}
	_ rest.SingularNameProvider = nodes{}
)

func (nodes) New() runtime.Object     { return &api.NodeMetrics{} }
func (nodes) NewList() runtime.Object { return &api.NodeMetricsList{} }
func (nodes) Destroy()                {}
func (nodes) Kind() string            { return "NodeMetrics" }
func (nodes) NamespaceScoped() bool   { return false }
func (nodes) GetSingularName() string { return "node" }

// Get implements rest.Getter.
func (n nodes) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	var node corev1.Node
	if err := n.objects.Get(ctx, types.NamespacedName{Name: name}, &node); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, apierrors.NewNotFound(nodesResource, name)
		}
		return nil, apierrors.NewInternalError(fmt.Errorf("looking for node %s: %w", name, err))
	}
	m := n.metrics(time.Now(), &node)
	if m == nil {
		return nil, apierrors.NewNotFound(nodesResource, name)
	}
	return m, nil
}

// List implements rest.Lister.
func (n nodes) List(ctx context.Context, o *internalversion.ListOptions) (runtime.Object, error) {
	l, f := selectors(o)
	var found corev1.NodeList
	if err := n.objects.List(ctx, &found, client.MatchingLabelsSelector{Selector: l}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("listing nodes: %w", err))
	}
	now := time.Now()
	out := &api.NodeMetricsList{}
	for i := range found.Items {
		node := &found.Items[i]
		if !f.Empty() && !f.Matches(fields.Set{"metadata.name": node.Name}) {
			continue
		}
		if m := n.metrics(now, node); m != nil {
			out.Items = append(out.Items, *m)
		}
	}
	slices.SortFunc(out.Items, func(a, b api.NodeMetrics) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (n nodes) metrics(now time.Time, node *corev1.Node) *api.NodeMetrics {
	u, ok := n.node(now, node.Name)
	if !ok {
		return nil
	}
	freshness.Observe(now.Sub(u.At).Seconds())
	return &api.NodeMetrics{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, Labels: node.Labels, CreationTimestamp: metav1.NewTime(now)},
		Timestamp:  metav1.NewTime(u.At), Window: metav1.Duration{Duration: u.Window}, Usage: amounts(u),
	}
}

// ConvertToTable implements rest.TableConvertor.
func (n nodes) ConvertToTable(_ context.Context, obj, _ runtime.Object) (*metav1.Table, error) {
	t := newTable()
	switch o := obj.(type) {
	case *api.NodeMetrics:
		addRow(t, o.DeepCopy(), o.Name, o.Usage, o.Window)
	case *api.NodeMetricsList:
		t.ResourceVersion = o.ResourceVersion
		for i := range o.Items {
			addRow(t, o.Items[i].DeepCopy(), o.Items[i].Name, o.Items[i].Usage, o.Items[i].Window)
		}
	}
	return t, nil
}

// newTable has the columns kubectl get shows.
func newTable() *metav1.Table {
	return &metav1.Table{ColumnDefinitions: []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name", Description: "Name of the object"},
		{Name: "CPU", Type: "string", Format: "quantity", Description: "Mean use of CPU over the window"},
		{Name: "Memory", Type: "string", Format: "quantity", Description: "Working set"},
		{Name: "Window", Type: "string", Format: "duration", Description: "Interval measured"},
	}}
}

func addRow(t *metav1.Table, obj runtime.Object, name string, u corev1.ResourceList, window metav1.Duration) {
	t.Rows = append(t.Rows, metav1.TableRow{
		Cells:  []any{name, u.Cpu().String(), u.Memory().String(), window.Duration.String()},
		Object: runtime.RawExtension{Object: obj},
	})
}
