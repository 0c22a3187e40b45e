package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/controlplane"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
	"github.com/fairway-dev/fairway/internal/kube/virtual/kubelet"
	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
	"github.com/fairway-dev/fairway/internal/kube/virtual/serve"
)

// UpOptions describe an embedded cluster. The zero value is one in memory, without nodes, with every capability that is
// on by default.
type UpOptions struct {
	ControlPlane controlplane.Options // Dialer, NodesPlayed and Beside are set by Up
	Virtual      virtual.Options      // Client, Informers and Behaviour are set by Up
	Rules        *program.Rules       // what containers do; nil = the image table and what commands say
	Programs     []*fairway.Program   // of --programs files
	Sockets      vnet.PodSockets      // which pods get real sockets; default none
	Egress       bool                 // programs may reach addresses outside the cluster
	NodeListen   bool                 // kubelet endpoints on 127.x.y.z:10250 for other programs
	// MetricResolution is the time between two readings of the nodes for the metrics API; 0 = metrics.DefaultResolution (15 s).
	MetricResolution time.Duration
	Capabilities     Switches
	Rollouts         RolloutOptions
	Gateway          GatewayOptions
	// MetricsAddress and HealthAddress are where other programs find /metrics, and /healthz and /readyz; "" = nowhere.
	MetricsAddress, HealthAddress string
	Log                           *slog.Logger // nil drops it
}

// Cluster is a running embedded cluster.
type Cluster struct {
	Plane   *controlplane.ControlPlane
	Engine  *virtual.Engine
	Network *vnet.Network
	Dialer  *vnet.Dialer
	On      []Capability
	// Stages says how long each part of the start took, in order.
	Stages []Stage

	house    *House
	log      *slog.Logger
	parts    sync.WaitGroup
	cancels  []context.CancelFunc // in the order of starting
	sockets  *vnet.Sockets
	servers  serve.Servers
	answers  *vnet.Universal
	hooks    *kubelet.Hooks
	kubelets *kubelet.Server

	recorder   record.EventRecorder
	shutEvents func()
	nodeStore  cache.Store

	died    chan error
	stop    sync.Once
	stopErr error
}

// Stage is one part of a start.
type Stage struct {
	What string
	Took time.Duration
}

// Up starts an embedded cluster: the control plane, the virtual nodes and their network, and the capabilities. It returns
// when all of them are ready. Cancelling ctx afterwards does nothing; call Stop.
func Up(ctx context.Context, o UpOptions) (*Cluster, error) {
	c := &Cluster{log: o.Log, died: make(chan error, 4)}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if err := c.start(ctx, o); err != nil {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return nil, errors.Join(err, c.Stop(stopCtx))
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, o UpOptions) error {
	on, err := o.Capabilities.choose(Capabilities(o.Rollouts), true)
	if err != nil {
		return err
	}
	c.On = on
	book, err := c.network(o)
	if err != nil {
		return err
	}
	done := c.stage("control plane, kinds, rights")
	o.ControlPlane.NodesPlayed = true
	if o.ControlPlane.Definitions, err = storedDefinitions(on); err != nil {
		return err
	}
	o.ControlPlane.Dialer = c.Dialer.DialContext(vnet.From{})
	o.ControlPlane.Beside = func(ctx context.Context, p *controlplane.ControlPlane) error {
		return prepare(ctx, p, installation{on: on, small: true, log: c.log, began: p.Began})
	}
	if c.Plane, err = controlplane.Start(ctx, o.ControlPlane); err != nil {
		return err
	}
	done()
	if err := c.release(); err != nil {
		return err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancels = append(c.cancels, cancel)
	c.parts.Go(func() {
		select {
		case err := <-c.Plane.Died():
			c.die(err)
		case <-life.Done():
		}
	})
	done = c.stage("nodes")
	factory, err := c.nodes(life, o, book)
	if err != nil {
		return err
	}
	done()
	done = c.stage("capabilities")
	if err := c.capabilities(ctx, o, on, factory, newProgramSink(book, o.Programs, c.log), life.Done()); err != nil {
		return err
	}
	done()
	return nil
}

// prepare makes the kinds, rights and objects that the capabilities and users find in a cluster.
func prepare(ctx context.Context, p *controlplane.ControlPlane, kinds installation) error {
	on := kinds.on
	admin, err := kubernetes.NewForConfig(p.Config())
	if err != nil {
		return err
	}
	return parallel(
		func() error { return installCRDs(ctx, p.Config(), kinds) },
		func() error { return forgetWebhooks(ctx, admin) },
		func() error {
			if err := errors.Join(grant(ctx, admin, Namespace, on), p.AwaitServices(ctx)); err != nil {
				return err
			}
			if has(on, "metrics") {
				if err := metricsEndpoint(ctx, admin, Namespace, vnet.Process); err != nil {
					return err
				}
			}
			if has(on, "rollouts") {
				return endpoint(ctx, admin, Namespace, WebhookService, vnet.Process, endpointPort{"https", webhookServicePort, webhookPort})
			}
			return nil
		},
		func() error {
			if err := p.AwaitServices(ctx); err != nil {
				return err
			}
			return furnish(ctx, admin)
		},
	)
}

// network prepares the in-process network: the API server needs its dialer before anything has an address.
func (c *Cluster) network(o UpOptions) (*program.Book, error) {
	identity, err := vnet.Identity("fairway", net.IP(vnet.Process.AsSlice()))
	if err != nil {
		return nil, err
	}
	rules := o.Rules
	if rules == nil {
		rules = &program.Rules{Defaults: program.DefaultsUp()}
	}
	c.answers = &vnet.Universal{TLS: identity}
	book := program.NewBook(rules)
	book.Serve, book.With = c.answers.Serve, c.answers.With
	if o.Virtual.Usage == nil { // requests are real: whoever models what pods use models how they answer, too
		book.Servers = &c.servers
	}
	c.Network = &vnet.Network{}
	c.Dialer = &vnet.Dialer{Network: c.Network, Tables: &vnet.Tables{}, Pods: book.Port, Seed: uint64(o.Virtual.Seed)}
	if o.Egress {
		c.Dialer.Outside = vnet.Egress()
	}
	mode := o.Sockets
	if mode == "" {
		mode = vnet.SocketsNone
	}
	c.sockets, err = vnet.NewSockets(mode, c.Dialer, c.log)
	return book, err
}

// release writes the kubeconfig where users look for it, and lets the cluster's own address lead to the API server.
func (c *Cluster) release() error {
	file := filepath.Join(c.Plane.Dir(), "kubeconfig")
	if err := os.WriteFile(file+".new", c.Plane.Kubeconfig(), 0o600); err != nil {
		return fmt.Errorf("writing the kubeconfig: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("writing the kubeconfig: %w", err)
	}
	address := c.Plane.Address()
	serve := func(conn net.Conn) {
		far, err := (&net.Dialer{}).Dial("tcp", address)
		if err != nil {
			conn.Close()
			return
		}
		vnet.Splice(context.Background(), conn, far)
	}
	for _, at := range []netip.AddrPort{netip.AddrPortFrom(vnet.APIServer, 443), netip.AddrPortFrom(vnet.Process, 6443)} {
		if _, err := c.Network.Handle(at, serve); err != nil {
			return err
		}
	}
	return nil
}

// nodes starts the engine that plays nodes and pods.
func (c *Cluster) nodes(life context.Context, o UpOptions, book *program.Book) (informers.SharedInformerFactory, error) {
	cfg := c.Plane.ConfigAs(engineUserUp, "system:masters")
	cfg.UserAgent = engineUserUp
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	c.record(client)
	book.Report = c.tell(o.Virtual.PodEvents)
	factory := c.Plane.Informers()
	v := o.Virtual
	v.Client, v.Informers, v.Behaviour = client, factory, book
	var gate *kubelet.Gate
	if o.NodeListen {
		v.NodeGroups = listening(v.NodeGroups)
		if gate, err = c.kubeletGate(client); err != nil {
			return nil, err
		}
	}
	if v.Usage == nil {
		v.Usage = program.ServedUsage{Servers: &c.servers}
	}
	if v.Images.Facts == nil {
		v.Images.Facts = book.ImageFacts
	}
	if v.Watchful == nil {
		v.Watchful = c.watchNodes(life)
	}
	c.hooks = kubelet.NewHooks(c.Dialer)
	v.OnHook = c.hooks.Send
	if c.Engine, err = virtual.New(v); err != nil {
		return nil, err
	}
	book.Lost = c.unreachable
	core := factory.Core().V1()
	book.Read = entries(core)
	c.nodeStore = core.Nodes().Informer().GetStore()
	_, err = c.Dialer.Tables.Observe(core.Pods().Informer(), core.Nodes().Informer(), core.Services().Informer(), factory.Discovery().V1().EndpointSlices().Informer())
	if err != nil {
		return nil, err
	}
	if book.Servers != nil {
		if _, err := core.Pods().Informer().AddEventHandler(podServing{c.sockets, book}); err != nil {
			return nil, err
		}
	}
	if o.Sockets != "" && o.Sockets != vnet.SocketsNone {
		if _, err := core.Services().Informer().AddEventHandler(serviceSockets{c.sockets}); err != nil {
			return nil, err
		}
	}
	c.kubelets, err = kubelet.Wire(kubelet.Parts{Engine: c.Engine, Pods: core.Pods().Informer(), Dialer: c.Dialer, Book: book, Seed: o.Virtual.Seed, TLS: c.answers.TLS, Gate: gate})
	if err != nil {
		return nil, err
	}
	if o.NodeListen {
		if _, err := core.Nodes().Informer().AddEventHandler(&nodeSockets{c: c, life: life, open: map[string]context.CancelFunc{}}); err != nil {
			return nil, err
		}
	}
	if err := c.observe(life); err != nil {
		return nil, err
	}
	if err := c.Plane.OverseeNodes(factory); err != nil {
		return nil, err
	}
	factory.Start(life.Done())
	c.parts.Go(func() {
		if err := c.Engine.Run(life); err != nil && life.Err() == nil {
			c.die(fmt.Errorf("virtual nodes: %w", err))
		}
	})
	return factory, nil
}

// unreachable reports whether a pod cannot be reached although the API server says that it runs: its node has crashed.
func (c *Cluster) unreachable(pod *corev1.Pod) bool { return c.Engine.NodeDark(pod.Spec.NodeName) }

// watchNodes passes the engine's wish on.
func (c *Cluster) watchNodes(life context.Context) func(bool) {
	return func(on bool) {
		if err := c.Plane.WatchNodes(life, on); err != nil && life.Err() == nil {
			c.die(fmt.Errorf("switching the node-lifecycle controller: %w", err))
		}
	}
}

// capabilities starts the manager and everything in it, as Fairway's own user.
func (c *Cluster) capabilities(ctx context.Context, o UpOptions, on []Capability, factory informers.SharedInformerFactory, programs programSink, stop <-chan struct{}) error {
	cfg := c.Plane.ConfigAs(userName(Namespace))
	cfg.ContentType, cfg.AcceptContentTypes = "", "" // the manager chooses by kind: custom kinds have no protobuf
	m, err := newManager(managerOptions{config: cfg, on: on, informers: sharedInformers{factory, stop}.newInformer, namespace: Namespace, metricsAddress: o.MetricsAddress, healthAddress: o.HealthAddress, log: c.log})
	if err != nil {
		return err
	}
	c.house = &House{Manager: m, Log: c.log, Nodes: c.Engine, Namespace: Namespace, MetricResolution: o.MetricResolution, programs: programs,
		Dial: c.Dialer.DialContext(vnet.From{}), Reach: c.Network.Handle, Rollouts: o.Rollouts, Gateway: o.Gateway, AdminDir: c.Plane.Dir(),
		Listen: func(port int) (net.Listener, error) {
			return c.Network.Listen(netip.AddrPortFrom(vnet.Process, uint16(port)))
		}}
	if err := c.house.setUp(ctx, on); err != nil {
		return err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancels = append(c.cancels, cancel)
	if err := c.stages(life, o.Virtual.Stages, o.Virtual.Seed, m.GetRESTMapper()); err != nil {
		return err
	}
	ready, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	c.parts.Go(func() {
		if err := m.Start(life); err != nil && life.Err() == nil {
			err = fmt.Errorf("controllers: %w", err)
			failed(err)
			c.die(err)
		}
	})
	select {
	case <-m.Elected():
	case <-ready.Done():
		return context.Cause(ready)
	}
	if !m.GetCache().WaitForCacheSync(ready) {
		return fmt.Errorf("the caches did not fill: %w", context.Cause(ready))
	}
	return nil
}

// Died reports why a part ended by itself. The cluster is never half alive: the owner must Stop it.
func (c *Cluster) Died() <-chan error { return c.died }

func (c *Cluster) die(err error) {
	select {
	case c.died <- err:
	default: // an earlier cause is already waiting
	}
}

// Kubeconfig is the path of the file other programs use.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.Plane.Dir(), "kubeconfig") }

// Stop ends the capabilities, the nodes and then the control plane, and waits for each. It may be called again.
func (c *Cluster) Stop(ctx context.Context) error {
	c.stop.Do(func() { c.stopErr = c.end(ctx) })
	return c.stopErr
}

func (c *Cluster) end(ctx context.Context) error {
	var errs []error
	for i := len(c.cancels) - 1; i >= 0; i-- {
		c.cancels[i]()
	}
	done := make(chan struct{})
	go func() { c.parts.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		errs = append(errs, errors.New("stopping: the controllers or the virtual nodes did not end in time"))
	}
	if c.shutEvents != nil {
		c.shutEvents()
	}
	if c.sockets != nil {
		c.sockets.Close()
		c.servers.Close()
	}
	if c.hooks != nil {
		c.hooks.Close()
	}
	if c.kubelets != nil {
		errs = append(errs, c.kubelets.Close())
	}
	if c.answers != nil {
		errs = append(errs, c.answers.Close())
	}
	if c.Plane != nil {
		errs = append(errs, c.Plane.Stop(ctx))
	}
	return errors.Join(errs...)
}

// stage measures a part of the start until the returned function is called.
func (c *Cluster) stage(what string) func() {
	began := time.Now()
	return func() { c.Stages = append(c.Stages, Stage{what, time.Since(began)}) }
}

// parallel runs all of them and joins their errors.
func parallel(run ...func() error) error {
	errs := make([]error, len(run))
	var g sync.WaitGroup
	for i := range run {
		g.Go(func() { errs[i] = run[i]() })
	}
	g.Wait()
	return errors.Join(errs...)
}
