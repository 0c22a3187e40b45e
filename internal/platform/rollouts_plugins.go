package platform

import (
	"context"
	"errors"
	"fmt"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/plugin"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

// pluginHost runs the programs that the config map argo-rollouts-config names. Until it names one, nothing runs.
func (h *House) pluginHost() (*plugin.Host, error) {
	api, err := kubernetes.NewForConfig(h.Manager.GetConfig())
	if err != nil {
		return nil, err
	}
	host := plugin.NewHost(plugin.Options{Log: h.Log, Refuse: h.Rollouts.RefusePlugins, Secret: func(ctx context.Context, name string) (map[string][]byte, error) {
		s, err := api.CoreV1().Secrets(h.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return s.Data, nil
	}})
	if h.Rollouts.RefusePlugins != "" {
		return host, nil
	}
	only := cache.NewFilteredListWatchFromClient(api.CoreV1().RESTClient(), "configmaps", h.Namespace, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", plugin.ConfigMapName).String()
	})
	informer := cache.NewSharedIndexInformer(only, &corev1.ConfigMap{}, 0, nil)
	configure := func(data map[string]string) {
		c, err := plugin.ParseConfig(data)
		if err != nil {
			h.Log.Warn("some plugins are left out", "error", err)
		}
		host.Configure(c)
	}
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { configure(o.(*corev1.ConfigMap).Data) },
		UpdateFunc: func(_, o any) { configure(o.(*corev1.ConfigMap).Data) },
		DeleteFunc: func(any) { configure(nil) },
	})
	if err != nil {
		return nil, err
	}
	return host, h.Manager.Add(manager.RunnableFunc(func(ctx context.Context) error {
		informer.RunWithContext(ctx)
		return host.Close()
	}))
}

// plugins lets Rollouts ask the programs of a host.
type plugins struct{ host *plugin.Host }

// Ask implements rollout.Plugins.
func (p plugins) Ask(ctx context.Context, ro *rollouts.Rollout, c rollout.Call) rollout.CallResult {
	as := &argo.Rollout{TypeMeta: metav1.TypeMeta{APIVersion: rollouts.GroupVersion.String(), Kind: "Rollout"}, ObjectMeta: *ro.ObjectMeta.DeepCopy(),
		Spec: *ro.Spec.DeepCopy(), Status: *ro.Status.RolloutStatus.DeepCopy()}
	var out rollout.CallResult
	var err error
	switch c.Kind {
	case rollout.StepPlugin:
		out.Status, err = p.step(ctx, as, c)
	case rollout.RouterPlugin:
		out.Verified, err = p.route(ctx, as, c)
	default:
		err = fmt.Errorf("there are no plugins of kind %q", c.Kind)
	}
	if err != nil {
		out.Err = err.Error()
	}
	out.At = time.Now()
	return out
}

func (p plugins) step(ctx context.Context, ro *argo.Rollout, c rollout.Call) (*argo.StepPluginStatus, error) {
	canary := ro.Spec.Strategy.Canary
	if canary == nil || int(c.Index) >= len(canary.Steps) || canary.Steps[c.Index].Plugin == nil {
		return nil, errors.New("the step has no plugin")
	}
	return p.host.Steps().Do(ctx, plugin.StepCall{Rollout: ro, Index: c.Index, Step: *canary.Steps[c.Index].Plugin,
		Operation: argo.StepPluginOperation(c.Method), Status: c.Status})
}

// route gives a router the whole intent: managed routes, hashes, weights; and asks whether it follows.
func (p plugins) route(ctx context.Context, ro *argo.Rollout, c rollout.Call) (*bool, error) {
	if c.Intent == nil {
		return nil, errors.New("nothing is asked of the router")
	}
	var methods []plugin.Method
	if c.Intent.Remove {
		methods = append(methods, plugin.RemoveManagedRoutes)
	}
	if !c.Intent.HoldHash {
		methods = append(methods, plugin.UpdateHash)
	}
	if len(c.Intent.Headers) > 0 {
		methods = append(methods, plugin.SetHeaderRoute)
	}
	if len(c.Intent.Mirrors) > 0 {
		methods = append(methods, plugin.SetMirrorRoute)
	}
	methods = append(methods, plugin.SetWeight, plugin.VerifyWeight)
	var verified *bool
	for _, method := range methods {
		v, err := p.host.Routers().Do(ctx, c.Plugin, method, ro, *c.Intent)
		if err != nil {
			return nil, err
		}
		verified = v
	}
	return verified, nil
}
