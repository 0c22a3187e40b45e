package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"sort"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/spf13/pflag"
	apiextensionsoptions "k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/egressselector"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

func inProcessConfig(rt http.RoundTripper) *rest.Config {
	return &rest.Config{
		Host:          "http://in-process",
		Transport:     rt,
		QPS:           -1,
		ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf", AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json"},
		UserAgent:     "fairway",
	}
}

func (p *ControlPlane) apiServerArgs() []string {
	id := p.identity
	args := []string{
		"--etcd-servers=" + p.storeEndpoint(), "--cert-dir=" + id.dir, "--tls-cert-file=" + id.path("serving.crt"), "--tls-private-key-file=" + id.path("serving.key"),
		"--client-ca-file=" + id.path("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--service-account-key-file=" + id.path("sa.key"), "--service-account-signing-key-file=" + id.path("sa.key"),
		"--requestheader-client-ca-file=" + id.path("ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + id.path("front-proxy-client.crt"), "--proxy-client-key-file=" + id.path("front-proxy-client.key"),
		"--kubelet-client-certificate=" + id.path("kubelet-client.crt"), "--kubelet-client-key=" + id.path("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP,Hostname",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range=" + ServiceCIDR, "--advertise-address=" + AdvertisedAddress, "--allow-privileged=true",
	}
	if p.durable() {
		args = append(args, "--encryption-provider-config="+id.path("encryption.yaml"))
	}
	if p.opts.Profile == Rehearsal {
		args = append(args, rehearsalAPIServerArgs()...)
	}
	if g := featureGates(p.features()); g != "" {
		args = append(args, "--feature-gates="+g)
	}
	return append(args, p.opts.APIServerArgs...)
}

// features are the gates of all parts of this process.
func (p *ControlPlane) features() map[string]bool {
	g := map[string]bool{}
	if p.opts.Profile == Rehearsal {
		for k, v := range rehearsalFeatures {
			g[k] = v
		}
	}
	for k, v := range p.opts.Features {
		g[k] = v
	}
	return g
}

func featureGates(g map[string]bool) string {
	s := make([]string, 0, len(g))
	for k, v := range g {
		s = append(s, fmt.Sprintf("%s=%t", k, v))
	}
	sort.Strings(s)
	return strings.Join(s, ",")
}

func (p *ControlPlane) startAPIServer(ctx context.Context, listener net.Listener) error {
	o := options.NewServerRunOptions()
	if err := parse("kube-apiserver", o.Flags().FlagSets, p.apiServerArgs()); err != nil {
		return err
	}
	o.SecureServing.Listener = listener
	if err := o.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("kube-apiserver: setting feature gates: %w", err)
	}
	done, err := o.Complete(ctx)
	if err != nil {
		return fmt.Errorf("kube-apiserver: completing options: %w", err)
	}
	if errs := done.Validate(); len(errs) > 0 {
		return fmt.Errorf("kube-apiserver: %w", utilerrors.NewAggregate(errs))
	}
	if done.InformerName == nil {
		// A second API server of this process goes without named informer metrics.
		if n, err := cache.NewInformerName("kube-apiserver"); err == nil {
			done.InformerName = n
		}
	}
	cfg, err := app.NewConfig(done)
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	if p.opts.Profile == Rehearsal {
		withoutKindCaches(cfg, done)
	}
	if err := p.wireUp(cfg); err != nil {
		return err
	}
	complete, err := cfg.Complete()
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	chain, err := app.CreateServerChain(complete)
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	if p.opts.Profile == Rehearsal {
		withoutOpenAPI(chain)
	}
	p.wire.serve(chain.GenericAPIServer.Handler)
	if p.opts.Profile == Full {
		// The informers of authorization and admission fill while the OpenAPI documents are built.
		cfg.KubeAPIs.ControlPlane.VersionedInformers.Start(ctx.Done())
		if err := p.begin(ctx); err != nil {
			return err
		}
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	// The documents of defined kinds come after the start, in a rehearsal never.
	kinds := kindsServer(chain)
	p.documents, kinds.OpenAPIV3VersionedService = kinds.OpenAPIV3VersionedService, nil
	if p.opts.Profile == Rehearsal {
		kinds.OpenAPIVersionedService = nil
	}
	p.parts.Go(func() {
		if err := prepared.Run(ctx); err != nil && ctx.Err() == nil {
			p.die(fmt.Errorf("kube-apiserver: %w", err))
		}
	})
	return nil
}

// withoutKindCaches leaves the watch caches of defined kinds out.
func withoutKindCaches(cfg *app.Config, o options.CompletedOptions) {
	etcd, generic := *o.Etcd, cfg.ApiExtensions.GenericConfig
	etcd.EnableWatchCache = false
	cfg.ApiExtensions.ExtraConfig.CRDRESTOptionsGetter = apiextensionsoptions.NewCRDRESTOptionsGetter(etcd, generic.ResourceTransformers, generic.StorageObjectCountTracker)
}

// wireUp replaces the network under the API server: its own clients use the wire, and whatever it reaches (pods,
// Services, webhooks, aggregated APIs, kubelets) is dialled in process.
func (p *ControlPlane) wireUp(cfg *app.Config) error {
	generic := cfg.KubeAPIs.ControlPlane.Generic
	server := &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
	if err := replaceTransport(generic.LoopbackClientConfig, p.wire.as(server)); err != nil {
		return fmt.Errorf("kube-apiserver: replacing the loopback transport: %w", err)
	}
	for _, g := range []*genericapiserver.Config{generic, &cfg.ApiExtensions.GenericConfig.Config, &cfg.Aggregator.GenericConfig.Config} {
		g.Authentication.Authenticator = union.New(authenticator.Request(inProcess), g.Authentication.Authenticator)
		if p.opts.Profile == Rehearsal {
			g.DisabledPostStartHooks.Insert(rehearsalHooksOff...)
		} else {
			g.DisabledPostStartHooks.Insert(bootstrapHooks...)
		}
	}
	if p.opts.Dialer != nil {
		t := cfg.KubeAPIs.ControlPlane.ProxyTransport
		t.DialContext, t.Proxy = p.opts.Dialer, nil
		cfg.KubeAPIs.KubeletClientConfig.Lookup = func(egressselector.NetworkContext) (utilnet.DialFunc, error) {
			return p.opts.Dialer, nil
		}
	}
	return nil
}

// parse reads one component's flags from fresh flag sets, so that nothing global is touched.
func parse(component string, sets map[string]*pflag.FlagSet, args []string) error {
	fs := pflag.NewFlagSet(component, pflag.ContinueOnError)
	for _, s := range sets {
		fs.AddFlagSet(s)
	}
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("%s: %w", component, err)
	}
	return nil
}

// replaceTransport puts rt under the transport that client-go has cached for cfg's TLS settings. The API server hands its
// loopback configuration to clients before anybody else can see it, so the connection below them is exchanged in place.
func replaceTransport(cfg *rest.Config, rt http.RoundTripper) error {
	t, err := rest.TransportFor(cfg)
	if err != nil {
		return err
	}
	for {
		v := reflect.ValueOf(t)
		if v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct && v.Elem().Type().Name() == "trackedTransport" {
			f := v.Elem().FieldByName("rt")
			if !f.IsValid() || f.Kind() != reflect.Interface || f.Elem().Type() != reflect.TypeFor[*http.Transport]() {
				return errors.New("client-go's cached transport has an unexpected shape")
			}
			instead := &http.Transport{Protocols: new(http.Protocols)} // nothing to negotiate: no request meets the network
			instead.RegisterProtocol("https", rt)
			exchange(unsafe.Pointer(f.UnsafeAddr()), unsafe.Pointer(instead))
			return nil
		}
		w, ok := t.(utilnet.RoundTripperWrapper)
		if !ok {
			return fmt.Errorf("found %T instead of client-go's cached transport", t)
		}
		t = w.WrappedRoundTripper()
	}
}

// exchange replaces the pointer in an interface value by another of the same type, in one store: a goroutine of the API server
// may be reading it (mutating admission policies look for schemas from the first moment on), and sees the one or the other.
//
//go:norace
func exchange(iface, pointer unsafe.Pointer) {
	atomic.StorePointer((*unsafe.Pointer)(unsafe.Add(iface, unsafe.Sizeof(uintptr(0)))), pointer)
}
