package platform

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	kwok "sigs.k8s.io/kwok/pkg/apis/v1alpha1"

	"github.com/fairway-dev/fairway/internal/kube/virtual/stage"
)

// kindsEvery is how often the kinds of stages that the API server does not serve yet are looked for again: their
// definitions may be installed at any time.
const kindsEvery = 5 * time.Second

// otherStages are those of kinds that the engine does not play: pods and nodes it moves itself.
func otherStages(all []*kwok.Stage) []*kwok.Stage {
	var out []*kwok.Stage
	for _, s := range all {
		ref := s.Spec.ResourceRef
		if ref.APIGroup == "v1" && (ref.Kind == stage.Pod.Kind || ref.Kind == stage.Node.Kind) {
			continue
		}
		out = append(out, s)
	}
	return out
}

// stages moves the objects of all other kinds through their KWOK stages until life ends.
func (c *Cluster) stages(life context.Context, all []*kwok.Stage, seed int64, mapper meta.RESTMapper) error {
	others := otherStages(all)
	if len(others) == 0 {
		return nil
	}
	set, problems := stage.Compile(others, nodeAddresses{c}, seed)
	for _, p := range problems {
		c.log.Warn("stage left out", "stage", p.Stage, "reason", p.Reason, "message", p.Message)
	}
	client := func(user string) dynamic.Interface {
		cfg := c.Plane.ConfigAs(engineUserUp, "system:masters")
		if user != "" {
			cfg = c.Plane.ConfigAs(user)
		}
		cfg = rest.CopyConfig(cfg)
		cfg.ContentType, cfg.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
		return dynamic.NewForConfigOrDie(cfg) // the configuration is ours; it fails only when it is wrong
	}
	runner, err := stage.NewRunner(stage.RunnerOptions{Set: set, Client: client, Log: c.log, OnEvent: c.stageEvent})
	if err != nil {
		return err
	}
	c.parts.Go(func() { runner.Run(life) })
	c.parts.Go(func() { c.observeKinds(life, runner, set.Kinds(), client(""), mapper) })
	return nil
}

// observeKinds has the runner watch each kind as soon as the API server serves it.
func (c *Cluster) observeKinds(life context.Context, runner *stage.Runner, kinds []schema.GroupVersionKind, client dynamic.Interface, mapper meta.RESTMapper) {
	factory := dynamicinformer.NewDynamicSharedInformerFactory(client, 0)
	t := time.NewTicker(kindsEvery)
	defer t.Stop()
	for {
		var missing []schema.GroupVersionKind
		for _, kind := range kinds {
			m, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
			if err != nil {
				missing = append(missing, kind)
				continue
			}
			if _, err := runner.Observe(kind, m.Resource, factory.ForResource(m.Resource).Informer()); err != nil {
				c.log.Warn("the stages of a kind do nothing", "kind", kind.String(), "error", err)
			}
		}
		factory.Start(life.Done())
		if kinds = missing; len(kinds) == 0 {
			<-life.Done()
			factory.Shutdown()
			return
		}
		select {
		case <-life.Done():
			factory.Shutdown()
			return
		case <-t.C:
		}
	}
}

func (c *Cluster) stageEvent(gvk schema.GroupVersionKind, o metav1.Object, e stage.Event) {
	ref := &corev1.ObjectReference{APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Namespace: o.GetNamespace(), Name: o.GetName(),
		UID: o.GetUID(), ResourceVersion: o.GetResourceVersion()}
	c.recorder.Event(ref, e.Type, e.Reason, e.Message)
}

// nodeAddresses answers the templates' questions about addresses from the network's tables.
type nodeAddresses struct{ c *Cluster }

// NodeIPs implements stage.Addresses.
func (a nodeAddresses) NodeIPs(node string) []string {
	obj, _, _ := a.c.nodeStore.GetByKey(node)
	n, ok := obj.(*corev1.Node)
	if !ok {
		return []string{}
	}
	var out []string
	for _, at := range n.Status.Addresses {
		if at.Type == corev1.NodeInternalIP {
			out = append(out, at.Address)
		}
	}
	return out
}

// PodIPs implements stage.Addresses: pods have theirs from the engine, so that others can only be told.
func (a nodeAddresses) PodIPs(_ string, _ bool, _, name, namespace string) ([]string, error) {
	if ip, _, _ := a.c.Engine.PodNet(namespace, name); ip != "" {
		return []string{ip}, nil
	}
	return []string{}, nil
}
