package controlplane

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/controller/podautoscaler"
	hpametrics "k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
)

// HPA is upstream's HorizontalPodAutoscaler controller in a Rehearsal plane: its own code at its own period, fed by a
// metrics client in process, with the target's scale read from the shared informers and its pods found by an index.
type HPA struct {
	controller *podautoscaler.HorizontalController
	p          *ControlPlane
	workers    int
	loop       *hpaLoop // nil when the metrics client cannot tell whether it changed
}

// Evaluations are how many the controller made, how many were left out because they would have given the same, and how many
// of those that were made all the same, as a check, proved that wrong.
func (h *HPA) Evaluations() (made, elided, wrong int64) {
	if h.loop == nil {
		return 0, 0, 0
	}
	return h.loop.Made, h.loop.Elided, h.loop.Wrong
}

// HPAOptions of the autoscaler. Zero durations mean upstream's defaults.
type HPAOptions struct {
	Metrics                hpametrics.MetricsClient
	SyncPeriod             time.Duration // 15s
	DownscaleStabilisation time.Duration // 5m
	Tolerance              float64       // 0.1
	CPUInitialization      time.Duration // 5m
	InitialReadinessDelay  time.Duration // 30s
}

// NewHPA prepares the controller; Start runs it until the plane stops. Call it before StartInformers.
func (p *ControlPlane) NewHPA(ctx context.Context, o HPAOptions) (*HPA, error) {
	if p.opts.Profile != Rehearsal {
		return nil, fmt.Errorf("a full control plane has its own HPA controller")
	}
	for d, def := range map[*time.Duration]time.Duration{&o.SyncPeriod: 15 * time.Second, &o.DownscaleStabilisation: 5 * time.Minute,
		&o.CPUInitialization: 5 * time.Minute, &o.InitialReadinessDelay: 30 * time.Second} {
		if *d == 0 {
			*d = def
		}
	}
	if o.Tolerance == 0 {
		o.Tolerance = 0.1
	}
	b := &parts{p: p, f: p.shared, mapper: p.mapper}
	client := b.client("horizontal-pod-autoscaler")
	scales, err := newScales(b, client)
	if err != nil {
		return nil, err
	}
	pods := newIndexedPods(p.shared.Core().V1().Pods())
	c := podautoscaler.NewHorizontalController(ctx, client.CoreV1(), scales, client.AutoscalingV2(), staticMapper(p.mapper), o.Metrics,
		p.shared.Autoscaling().V2().HorizontalPodAutoscalers(), pods, o.SyncPeriod, o.DownscaleStabilisation, o.Tolerance, o.CPUInitialization, o.InitialReadinessDelay)
	h := &HPA{controller: c, p: p, workers: 5}
	if f, ok := o.Metrics.(Fingerprinter); ok {
		if err := checkShape(c); err != nil {
			return nil, err
		}
		changes, err := watchPodChanges(pods)
		if err != nil {
			return nil, err
		}
		informer := p.shared.Autoscaling().V2().HorizontalPodAutoscalers()
		h.loop = &hpaLoop{h: h, period: o.SyncPeriod, hpas: informer.Lister(), pods: pods.Lister(), changes: changes, scales: scales, metrics: f, known: map[string]*hpaState{}, added: make(chan string, 64)}
		_, err = informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(o any) {
			if key, err := cache.MetaNamespaceKeyFunc(o); err == nil {
				select {
				case h.loop.added <- key:
				case <-ctx.Done():
				}
			}
		}})
		if err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Start runs the controller until the plane stops.
func (h *HPA) Start(ctx context.Context) {
	if h.loop != nil {
		h.p.ctrlParts.Go(func() { h.loop.run(ctx) })
		return
	}
	h.p.ctrlParts.Go(func() { h.controller.Run(ctx, h.workers) })
}

// StartInformers starts the informers asked for since the plane's start and waits for their first lists.
func (p *ControlPlane) StartInformers(ctx context.Context) {
	p.shared.Start(ctx.Done())
	p.shared.WaitForCacheSync(ctx.Done())
}

// staticMapper knows the built-in kinds that can be scaled and asks discovery for the rest.
func staticMapper(discovery meta.RESTMapper) meta.RESTMapper {
	m := meta.NewDefaultRESTMapper([]schema.GroupVersion{appsv1.SchemeGroupVersion, corev1.SchemeGroupVersion})
	for _, k := range []string{"Deployment", "ReplicaSet", "StatefulSet"} {
		m.Add(appsv1.SchemeGroupVersion.WithKind(k), meta.RESTScopeNamespace)
	}
	return meta.FirstHitRESTMapper{MultiRESTMapper: meta.MultiRESTMapper{m, discovery}}
}

// scales answers reads of Deployments' and StatefulSets' scale from the shared informers, everything else and all writes
// through the scale subresource.
type scales struct {
	scale.ScalesGetter
	deployments  appslisters.DeploymentLister
	statefulSets appslisters.StatefulSetLister
}

func newScales(b *parts, client kubernetes.Interface) (*scales, error) {
	real, err := scale.NewForConfig(b.config("horizontal-pod-autoscaler"), b.mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(client.Discovery()))
	if err != nil {
		return nil, err
	}
	apps := b.f.Apps().V1()
	return &scales{ScalesGetter: real, deployments: apps.Deployments().Lister(), statefulSets: apps.StatefulSets().Lister()}, nil
}

func (s *scales) Scales(ns string) scale.ScaleInterface {
	return namespacedScales{ScaleInterface: s.ScalesGetter.Scales(ns), s: s, ns: ns}
}

type namespacedScales struct {
	scale.ScaleInterface
	s  *scales
	ns string
}

func (n namespacedScales) Get(ctx context.Context, r schema.GroupResource, name string, o metav1.GetOptions) (*autoscalingv1.Scale, error) {
	if r.Group == appsv1.GroupName {
		switch r.Resource {
		case "deployments":
			if d, err := n.s.deployments.Deployments(n.ns).Get(name); err == nil && d.Spec.Replicas != nil {
				return scaleOf(&d.ObjectMeta, *d.Spec.Replicas, d.Status.Replicas, d.Spec.Selector)
			}
		case "statefulsets":
			if d, err := n.s.statefulSets.StatefulSets(n.ns).Get(name); err == nil && d.Spec.Replicas != nil {
				return scaleOf(&d.ObjectMeta, *d.Spec.Replicas, d.Status.Replicas, d.Spec.Selector)
			}
		}
	}
	return n.ScaleInterface.Get(ctx, r, name, o)
}

func scaleOf(m *metav1.ObjectMeta, spec, status int32, sel *metav1.LabelSelector) (*autoscalingv1.Scale, error) {
	selector, err := metav1.LabelSelectorAsSelector(sel)
	if err != nil {
		return nil, err
	}
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, CreationTimestamp: m.CreationTimestamp},
		Spec:       autoscalingv1.ScaleSpec{Replicas: spec},
		Status:     autoscalingv1.ScaleStatus{Replicas: status, Selector: selector.String()},
	}, nil
}
