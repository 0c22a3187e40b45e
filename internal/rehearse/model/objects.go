package model

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// workload is what makes pods.
type workload struct {
	kind, namespace, name string
	template              corev1.PodTemplateSpec
	replicas              int
	batch                 bool // Job, CronJob
	daemon                bool
	referred              bool // the template of a Rollout that runs the pods in its stead
}

// key is Kind/namespace/name.
func (w *workload) key() string { return w.kind + "/" + w.namespace + "/" + w.name }

// index is the cluster, sorted by namespace and name.
type index struct {
	workloads  []*workload
	services   []*corev1.Service
	configMaps map[string]*corev1.ConfigMap // namespace/name
	hpas       map[string]*autoscalingv2.HorizontalPodAutoscaler
	ingresses  []*networkingv1.Ingress
	routes     []*unstructured.Unstructured
}

// kinds are those whose objects the model reads: Kubernetes' own and those of Rollouts.
var kinds = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(scheme.AddToScheme(s))
	utilruntime.Must(rollouts.AddToScheme(s))
	return s
})

// typed converts unstructured objects of known kinds; others stay as they are.
func typed(o runtime.Object) runtime.Object {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return o
	}
	t, err := kinds().New(u.GroupVersionKind())
	if err != nil {
		return o
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, t); err != nil {
		return o
	}
	return t
}

func newIndex(objects []runtime.Object) *index {
	x := &index{configMaps: map[string]*corev1.ConfigMap{}, hpas: map[string]*autoscalingv2.HorizontalPodAutoscaler{}}
	add := func(kind string, m metav1.ObjectMeta, t corev1.PodTemplateSpec, replicas *int32) *workload {
		w := &workload{kind: kind, namespace: namespaceOf(m), name: m.Name, template: t, replicas: 1}
		if replicas != nil {
			w.replicas = int(*replicas)
		}
		x.workloads = append(x.workloads, w)
		return w
	}
	var ro []*rollouts.Rollout
	for _, o := range objects {
		switch o := typed(o).(type) {
		case *appsv1.Deployment:
			add("Deployment", o.ObjectMeta, o.Spec.Template, o.Spec.Replicas)
		case *rollouts.Rollout:
			ro = append(ro, o)
		case *appsv1.StatefulSet:
			add("StatefulSet", o.ObjectMeta, o.Spec.Template, o.Spec.Replicas)
		case *appsv1.ReplicaSet:
			if metav1.GetControllerOf(o) == nil {
				add("ReplicaSet", o.ObjectMeta, o.Spec.Template, o.Spec.Replicas)
			}
		case *appsv1.DaemonSet:
			add("DaemonSet", o.ObjectMeta, o.Spec.Template, nil).daemon = true
		case *batchv1.Job:
			if metav1.GetControllerOf(o) == nil {
				add("Job", o.ObjectMeta, o.Spec.Template, o.Spec.Parallelism).batch = true
			}
		case *batchv1.CronJob:
			add("CronJob", o.ObjectMeta, o.Spec.JobTemplate.Spec.Template, nil).batch = true
		case *corev1.Pod:
			if metav1.GetControllerOf(o) == nil {
				add("Pod", o.ObjectMeta, corev1.PodTemplateSpec{ObjectMeta: o.ObjectMeta, Spec: o.Spec}, nil)
			}
		case *corev1.Service:
			x.services = append(x.services, o)
		case *corev1.ConfigMap:
			x.configMaps[namespaceOf(o.ObjectMeta)+"/"+o.Name] = o
		case *autoscalingv2.HorizontalPodAutoscaler:
			x.hpas[o.Spec.ScaleTargetRef.Kind+"/"+namespaceOf(o.ObjectMeta)+"/"+o.Spec.ScaleTargetRef.Name] = o
		case *networkingv1.Ingress:
			x.ingresses = append(x.ingresses, o)
		case *unstructured.Unstructured:
			if k := o.GetKind(); strings.HasSuffix(k, "Route") && strings.HasPrefix(o.GetAPIVersion(), "gateway.networking.k8s.io/") {
				x.routes = append(x.routes, o)
			}
		}
	}
	for _, o := range ro { // once the Deployments that they may refer to are known
		add("Rollout", o.ObjectMeta, x.templateOf(o), o.Spec.Replicas)
	}
	slices.SortFunc(x.workloads, func(a, b *workload) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name), cmp.Compare(a.kind, b.kind))
	})
	slices.SortFunc(x.services, func(a, b *corev1.Service) int {
		return cmp.Or(cmp.Compare(namespaceOf(a.ObjectMeta), namespaceOf(b.ObjectMeta)), cmp.Compare(a.Name, b.Name))
	})
	return x
}

// templateOf is a Rollout's pod template: its own, or that of the workload it refers to.
func (x *index) templateOf(o *rollouts.Rollout) corev1.PodTemplateSpec {
	if ref := o.Spec.WorkloadRef; ref != nil {
		for _, w := range x.workloads {
			if w.kind == ref.Kind && w.namespace == namespaceOf(o.ObjectMeta) && w.name == ref.Name {
				w.referred = true
				return w.template
			}
		}
	}
	return o.Spec.Template
}

func namespaceOf(m metav1.ObjectMeta) string { return cmp.Or(m.Namespace, metav1.NamespaceDefault) }

// behind lists the workloads a Service selects.
func (x *index) behind(s *corev1.Service) []*workload {
	if len(s.Spec.Selector) == 0 {
		return nil
	}
	sel := labels.SelectorFromSet(s.Spec.Selector)
	var out []*workload
	for _, w := range x.workloads {
		if w.namespace == namespaceOf(s.ObjectMeta) && !w.batch && sel.Matches(labels.Set(w.template.Labels)) {
			out = append(out, w)
		}
	}
	return out
}

// External lists the Services (namespace/name) that are reachable from outside the cluster: by Ingress, Gateway route,
// load balancer or node port. Of several that select the same pods only the first one is listed, those inside first.
func External(objects []runtime.Object) []string {
	x := newIndex(objects)
	open := map[string]bool{}
	for _, s := range x.services {
		if s.Spec.Type == corev1.ServiceTypeLoadBalancer || s.Spec.Type == corev1.ServiceTypeNodePort {
			open[namespaceOf(s.ObjectMeta)+"/"+s.Name] = true
		}
	}
	for _, i := range x.ingresses {
		ns := namespaceOf(i.ObjectMeta)
		if b := i.Spec.DefaultBackend; b != nil && b.Service != nil {
			open[ns+"/"+b.Service.Name] = true
		}
		for _, r := range i.Spec.Rules {
			if r.HTTP == nil {
				continue
			}
			for _, p := range r.HTTP.Paths {
				if p.Backend.Service != nil {
					open[ns+"/"+p.Backend.Service.Name] = true
				}
			}
		}
	}
	for _, r := range x.routes {
		for _, s := range backends(r) {
			open[s] = true
		}
	}
	seen := map[string]bool{}
	var out []string
	for _, s := range x.services {
		name := namespaceOf(s.ObjectMeta) + "/" + s.Name
		if !open[name] {
			continue
		}
		id := name
		if w := x.behind(s); len(w) > 0 {
			id = w[0].key()
		}
		if !seen[id] {
			seen[id] = true
			out = append(out, name)
		}
	}
	return out
}

// backends lists the Services a Gateway API route sends to.
func backends(r *unstructured.Unstructured) []string {
	rules, _, _ := unstructured.NestedSlice(r.Object, "spec", "rules")
	var out []string
	for _, rule := range rules {
		m, ok := rule.(map[string]any)
		if !ok {
			continue
		}
		refs, _, _ := unstructured.NestedSlice(m, "backendRefs")
		for _, ref := range refs {
			b, ok := ref.(map[string]any)
			if !ok {
				continue
			}
			kind, _, _ := unstructured.NestedString(b, "kind")
			name, _, _ := unstructured.NestedString(b, "name")
			ns, _, _ := unstructured.NestedString(b, "namespace")
			if name != "" && (kind == "" || kind == "Service") {
				out = append(out, cmp.Or(ns, r.GetNamespace(), metav1.NamespaceDefault)+"/"+name)
			}
		}
	}
	return out
}

// glob matches with * and ?; * crosses slashes.
func glob(pattern, text string) bool {
	// path.Match stops at slashes, so they are replaced by a byte no name has.
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x01"), strings.ReplaceAll(text, "/", "\x01"))
	return err == nil && ok
}

// globImage matches an image reference with and without its registry.
func globImage(pattern, image string) bool {
	image, _, _ = strings.Cut(image, "@")
	if glob(pattern, image) {
		return true
	}
	for {
		_, rest, ok := strings.Cut(image, "/")
		if !ok {
			return false
		}
		if image = rest; glob(pattern, image) {
			return true
		}
	}
}
