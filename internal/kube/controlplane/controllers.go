package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	_ "unsafe" // go:linkname

	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/controller-manager/pkg/clientbuilder"
	"k8s.io/controller-manager/pkg/healthz"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kcmconfig "k8s.io/kubernetes/cmd/kube-controller-manager/app/config"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

func (p *ControlPlane) startControllers(ctx context.Context) error {
	if p.opts.Profile == Rehearsal {
		return p.startRehearsalControllers(ctx)
	}
	id := p.identity
	o, err := options.NewKubeControllerManagerOptions()
	if err != nil {
		return fmt.Errorf("kube-controller-manager: %w", err)
	}
	args := []string{"--kubeconfig=" + id.path("kubeconfig"), "--leader-elect=false", "--secure-port=0", "--kube-api-qps=-1",
		"--service-account-private-key-file=" + id.path("sa.key"), "--root-ca-file=" + id.path("ca.crt"),
		"--cluster-signing-cert-file=" + id.path("ca.crt"), "--cluster-signing-key-file=" + id.path("ca.key"), "--controller-shutdown-timeout=2s"}
	if g := featureGates(p.features()); g != "" {
		args = append(args, "--feature-gates="+g)
	}
	args = append(args, p.opts.ControllerManagerArgs...)
	sets := o.Flags(app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases())
	if err := parse("kube-controller-manager", sets.FlagSets, args); err != nil {
		return err
	}
	if p.opts.NodesPlayed {
		o.Generic.Controllers = append(o.Generic.Controllers, "-"+nodeLifecycleController)
	}
	if err := o.ComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("kube-controller-manager: setting feature gates: %w", err)
	}
	c, err := o.Config(ctx, app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases())
	if err != nil {
		return fmt.Errorf("kube-controller-manager: %w", err)
	}
	p.nodeTiming = c.ComponentConfig.NodeLifecycleController
	content := c.Kubeconfig.ContentConfig
	c.Kubeconfig = inProcessConfig(p.wire.asControllers())
	c.Kubeconfig.ContentConfig = content
	if c.Client, err = kubernetes.NewForConfig(rest.AddUserAgent(c.Kubeconfig, controllerManager)); err != nil {
		return fmt.Errorf("kube-controller-manager: %w", err)
	}
	clients := clientbuilder.SimpleControllerClientBuilder{ClientConfig: c.Kubeconfig}
	all, err := app.CreateControllerContext(ctx, c.Complete(), clients, clients)
	if err != nil {
		return fmt.Errorf("kube-controller-manager: %w", err)
	}
	p.shared, p.sharing = all.InformerFactory, make(chan struct{})
	p.ctrlParts.Go(func() {
		if err := p.runControllers(ctx, c, all, clients); err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			p.die(fmt.Errorf("kube-controller-manager: %w", err))
		}
	})
	return nil
}

// runControllers is what upstream's controller manager does without leader election and without a server of its own. It is
// written out because upstream's Run keeps its informers to itself: here the scheduler, the virtual nodes and the
// capabilities share them, so that each event is decoded once and each object held once. Nobody may start them before the
// controllers are built: some register their handlers before they can take an event.
func (p *ControlPlane) runControllers(ctx context.Context, c *kcmconfig.Config, all app.ControllerContext, root clientbuilder.ControllerClientBuilder) error {
	c.EventBroadcaster.StartStructuredLogging(0)
	c.EventBroadcaster.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: c.Client.CoreV1().Events("")})
	defer c.EventBroadcaster.Shutdown()
	descriptors := app.NewControllerDescriptors()
	descriptors[names.ServiceAccountTokenController] = tokenController(root)
	controllers, err := app.BuildControllers(ctx, all, descriptors, nil, healthz.NewMutableHealthzHandler())
	if err != nil {
		return err
	}
	all.InformerFactory.Start(ctx.Done())
	close(p.sharing)
	defer all.InformerFactory.Shutdown()
	all.ObjectOrMetadataInformerFactory.Start(ctx.Done())
	close(all.InformersStarted)
	if !app.RunControllers(ctx, all, controllers, app.ControllerStartJitter, c.ControllerShutdownTimeout) {
		return errors.New("some controllers did not end in time")
	}
	return nil
}

//go:linkname tokenController k8s.io/kubernetes/cmd/kube-controller-manager/app.newServiceAccountTokenControllerDescriptor
func tokenController(root clientbuilder.ControllerClientBuilder) *app.ControllerDescriptor

const controllerManager = "kube-controller-manager"

// asControllers is the wire for all controllers: each acts as its own ServiceAccount of kube-system, with just the rights
// upstream's bootstrap policy gives it, as with --use-service-account-credentials on a real cluster. Which one is asking
// is the last part of the user agent, which upstream sets per controller.
func (w *wire) asControllers() http.RoundTripper {
	manager := &user.DefaultInfo{Name: user.KubeControllerManager, Groups: []string{user.AllAuthenticated}}
	accounts := map[string]user.Info{}
	for _, r := range bootstrappolicy.ControllerRoles() {
		name := strings.TrimPrefix(r.Name, "system:controller:")
		accounts[name] = &user.DefaultInfo{Name: serviceaccount.MakeUsername("kube-system", name),
			Groups: append(serviceaccount.MakeGroupNames("kube-system"), user.AllAuthenticated)}
	}
	return &client{wire: w, user: func(r *http.Request) user.Info {
		agent := r.UserAgent()
		if u, ok := accounts[agent[strings.LastIndexByte(agent, '/')+1:]]; ok {
			return u
		}
		return manager
	}}
}
