// Package controlplane runs the upstream Kubernetes control plane (API server, controller manager, scheduler and their
// store) inside this process, unmodified and in the version of go.mod; one plugin of the scheduler is given a memory (see
// spreadCounts). In: a data directory or none, and options that
// upstream's own flags validate. Out: rest.Configs whose requests go straight into the API server's handler, and a
// kubeconfig for other programs.
//
// Feature gates and some registries (configz, informer names, metrics) belong to the process: all planes of a process
// share gates, several API servers work, but a second controller manager in one process does not, even after the first
// has stopped. A test that restarts a plane therefore starts a process.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/kube-openapi/pkg/handler3"
	nodeconfig "k8s.io/kubernetes/pkg/controller/nodelifecycle/config"

	_ "github.com/fairway-dev/fairway/internal/kube/kubeversion" // sets upstream's version before anything reads it
)

// Profile says which of upstream's periodic work runs.
type Profile int

const (
	// Full is a normal cluster: every controller and admission plugin that is on by default.
	Full Profile = iota
	// Rehearsal leaves out what ticks without changing anything a scenario can see; see Omitted.
	Rehearsal
)

// DialFunc connects to an address of the cluster: a pod, a Service, a node or a name.
type DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// Well-known addresses of the embedded cluster. The API server refuses loopback addresses in endpoints, so this process
// has an address of the node range that only the in-process dialer knows.
const (
	ServiceCIDR       = "10.96.0.0/12"
	APIServiceIP      = "10.96.0.1"
	DNSServiceIP      = "10.96.0.10"
	AdvertisedAddress = "10.112.0.1"
)

// Options of a control plane. The zero value is a Full plane in memory on a free port.
type Options struct {
	DataDir   string   // kubeconfig, keys, lock and store; "" = memory store in a temporary directory that Stop removes
	Memory    bool     // the store in memory although DataDir is given
	Scratch   string   // without DataDir: an existing directory for keys instead of a temporary one; Stop leaves it
	Listen    string   // host:port; "" = 127.0.0.1:0, a free port, kept in DataDir so that the kubeconfig stays valid
	Profile   Profile  // Full or Rehearsal
	Dialer    DialFunc // reaches pods, Services and nodes; nil = the machine's network
	Scheduler []byte   // KubeSchedulerConfiguration; nil = upstream's default profile

	APIServerArgs         []string // --flag=value, upstream's own, last wins
	ControllerManagerArgs []string
	SchedulerArgs         []string
	Features              map[string]bool // Kubernetes feature gates

	// Definitions of kinds, by name, as the API server stores them: the store begins with those that it lacks.
	Definitions map[string][]byte
	// NodesPlayed leaves the node-lifecycle controller to OverseeNodes (Full): an engine plays the nodes, and its wish
	// decides whether heartbeats are looked for.
	NodesPlayed bool
	// Controllers narrows a Rehearsal plane to the controllers its objects need; nil = all that Rehearsal knows.
	Controllers []string
	// Beside runs while the controllers and the scheduler start, once the API server takes writes; Start waits for it, and
	// its error ends the start.
	Beside func(context.Context, *ControlPlane) error
	// Requests sees every request of a client in this process except watches, before it is served. It must be quick
	// and must not use a client of this plane.
	Requests func(Request)
	// Events takes Kubernetes Events instead of the store (Rehearsal).
	Events func(Event)
	// Log receives upstream's logs; nil drops all but errors that stop the plane.
	Log *slog.Logger
}

// ControlPlane is a running control plane.
type ControlPlane struct {
	opts          Options
	dir           string
	wire          *wire
	identity      *identity
	store         stopper
	address       string                   // host:port other programs reach
	began         map[string]bool          // definitions that this start put into the store
	documents     *handler3.OpenAPIService // of defined kinds
	shared        informers.SharedInformerFactory
	sharing       chan struct{} // closed when shared may be started by others; nil = it may
	mapper        meta.ResettableRESTMapper
	life          *lifecycle
	bootstrapping chan error // what came of begin

	ctrlLife   context.Context // bounds the controllers and the scheduler
	nodeTiming nodeconfig.NodeLifecycleControllerConfiguration

	cancel     context.CancelFunc // API server
	cancelCtrl context.CancelFunc // controllers and scheduler
	parts      sync.WaitGroup
	ctrlParts  sync.WaitGroup
	died       chan error
	stopOnce   sync.Once
	stopErr    error
	cleanup    []func() error
}

// Start returns when the API server, the controllers and the scheduler are ready. On error everything started is
// stopped again. Cancelling ctx after Start has returned does nothing; call Stop.
func Start(ctx context.Context, o Options) (*ControlPlane, error) {
	p := &ControlPlane{opts: o, died: make(chan error, 8)}
	routeLogs(o.Log)
	routeExit(p.die)
	if err := p.startApart(ctx); err != nil {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return nil, errors.Join(err, p.Stop(stopCtx))
	}
	return p, nil
}

// startApart starts on a goroutine of its own, which ends early when a component asks the process to exit.
func (p *ControlPlane) startApart(ctx context.Context) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = errors.New("the start broke off")
		err = p.start(ctx)
	}()
	<-done
	select {
	case died := <-p.died:
		return died
	default:
		return err
	}
}

func (p *ControlPlane) start(ctx context.Context) error {
	if err := p.openDir(); err != nil {
		return err
	}
	listener, err := p.listen()
	if err != nil {
		return err
	}
	p.address = listener.Addr().String()
	if p.identity, err = loadIdentity(filepath.Join(p.dir, "pki"), p.address, p.opts.Profile); err != nil {
		return err
	}
	if err := p.openStore(ctx); err != nil {
		return err
	}
	// The plane outlives ctx, which bounds the start alone.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	ctrlLife, cancelCtrl := context.WithCancel(life)
	p.cancelCtrl, p.ctrlLife = cancelCtrl, ctrlLife
	p.wire = &wire{life: life, profile: p.opts.Profile, watch: p.opts.Requests, events: p.opts.Events}
	if err := p.startAPIServer(life, listener); err != nil {
		return err
	}
	if err := p.awaitBootstrapped(ctx); err != nil {
		return err
	}
	beside := make(chan error, 1)
	go func() {
		if p.opts.Beside == nil {
			beside <- nil
			return
		}
		beside <- p.opts.Beside(ctx, p)
	}()
	if p.opts.Profile == Full { // upstream's controller manager looks once, and then a second later
		err = p.awaitPath(ctx, "/healthz")
	}
	if err == nil {
		err = p.startControllers(ctrlLife)
	}
	if err == nil {
		err = p.startScheduler(ctrlLife)
	}
	if err == nil {
		err = p.awaitReady(ctx)
	}
	err = errors.Join(err, <-beside)
	if p.opts.Beside != nil && p.mapper != nil {
		p.mapper.Reset() // the kinds defined beside the start are not among those it has found
	}
	if err == nil && p.opts.Profile == Full {
		err = p.describe(life)
	}
	return err
}

// describe has the documents of defined kinds written until ctx ends.
func (p *ControlPlane) describe(ctx context.Context) error {
	c, err := apiextensions.NewForConfig(p.Config())
	if err != nil {
		return err
	}
	p.parts.Go(func() {
		if err := describeKinds(ctx, c, p.documents); err != nil {
			p.die(err)
		}
	})
	return nil
}

// Died reports why a part of the plane stopped by itself. A plane is never half alive: the owner must Stop it.
func (p *ControlPlane) Died() <-chan error { return p.died }

func (p *ControlPlane) die(err error) {
	select {
	case p.died <- err:
	default: // an earlier cause is already waiting
	}
}

// Stop ends the controllers, then the API server, then the store, and waits for each. It may be called again.
func (p *ControlPlane) Stop(ctx context.Context) error {
	p.stopOnce.Do(func() { p.stopErr = p.stop(ctx) })
	return p.stopErr
}

func (p *ControlPlane) stop(ctx context.Context) error {
	var errs []error
	await := func(what string, g *sync.WaitGroup) {
		done := make(chan struct{})
		go func() { g.Wait(); close(done) }()
		select {
		case <-done:
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("stopping the control plane: %s did not stop in time", what))
		}
	}
	if p.cancelCtrl != nil {
		p.cancelCtrl()
		await("a controller or the scheduler", &p.ctrlParts)
	}
	if p.cancel != nil {
		p.cancel()
		p.wire.stop()
		await("the API server", &p.parts)
	}
	if p.store != nil {
		var closing sync.WaitGroup
		closing.Go(p.store.Stop)
		await("the store", &closing) // one that died of a full disk never ends
	}
	for i := len(p.cleanup) - 1; i >= 0; i-- {
		errs = append(errs, p.cleanup[i]())
	}
	return errors.Join(errs...)
}

// Config is the plane as cluster-admin: in-memory transport, protobuf, no client-side limit of requests.
func (p *ControlPlane) Config() *rest.Config {
	return p.ConfigAs("fairway-admin", user.SystemPrivilegedGroup)
}

// ConfigAs is the same transport as another user. Groups are completed as authentication would: system:authenticated,
// and a ServiceAccount's own.
func (p *ControlPlane) ConfigAs(name string, groups ...string) *rest.Config {
	if ns, _, err := serviceaccount.SplitUsername(name); err == nil {
		groups = append(groups, serviceaccount.MakeGroupNames(ns)...)
	}
	u := &user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)}
	return inProcessConfig(p.wire.as(u))
}

// Began tells whether this start put one of Options.Definitions into the store, which did not have it.
func (p *ControlPlane) Began(definition string) bool { return p.began[definition] }

// Informers is the factory that the controllers and the scheduler share. Who asks it for an informer of another kind starts
// it by the factory's Start.
func (p *ControlPlane) Informers() informers.SharedInformerFactory { return p.shared }

// Dir is the data directory in use.
func (p *ControlPlane) Dir() string { return p.dir }

// Address is host:port of the listener for other programs.
func (p *ControlPlane) Address() string { return p.address }

// Requests counts the requests of clients in this process so far.
func (p *ControlPlane) Requests() int64 { return p.wire.count.Load() }

// awaitReady waits for everything a first `kubectl apply` needs.
func (p *ControlPlane) awaitReady(ctx context.Context) error {
	c, err := kubernetes.NewForConfig(p.Config())
	if err != nil {
		return err
	}
	if err := p.awaitPath(ctx, "/readyz"); err != nil {
		return err
	}
	if err := p.poll(ctx, "the default ServiceAccount", func() (bool, error) {
		_, err := c.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	}); err != nil {
		return err
	}
	return p.AwaitServices(ctx)
}

// AwaitServices waits until a Service can be created. Whoever creates Services beside the start must call it first: the API
// server looks through Services and addresses once when it starts, from two watches of which one may lag, and a Service made
// meanwhile can make it give up on itself after a minute; and the allocator learns its range a moment after that.
func (p *ControlPlane) AwaitServices(ctx context.Context) error {
	if err := p.awaitPath(ctx, "/readyz/poststarthook/start-service-ip-repair-controllers"); err != nil {
		return err
	}
	c, err := kubernetes.NewForConfig(p.Config())
	if err != nil {
		return err
	}
	probe := &corev1.Service{ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	var last error
	err = p.poll(ctx, "addresses for Services", func() (bool, error) {
		_, last = c.CoreV1().Services(metav1.NamespaceDefault).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return last == nil, nil
	})
	if err != nil && last != nil {
		return fmt.Errorf("%w (%w)", err, last)
	}
	return err
}

// pollEvery is how often a start-up condition is looked at: a look costs some 50 µs in process.
const pollEvery = 4 * time.Millisecond

func (p *ControlPlane) poll(ctx context.Context, what string, ok func() (bool, error)) error {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		done, err := ok()
		if done || err != nil {
			return err
		}
		select {
		case err := <-p.died:
			return err
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-t.C:
		}
	}
}

func (p *ControlPlane) openDir() error {
	if p.opts.DataDir != "" {
		p.dir = p.opts.DataDir
		if err := refuseForeign(p.dir); err != nil {
			return err
		}
		release, err := lockDir(p.dir)
		if err != nil {
			return err
		}
		p.cleanup = append(p.cleanup, release)
		if p.opts.Memory {
			return nil
		}
		return checkFormat(p.dir)
	}
	if p.opts.Scratch != "" {
		p.dir = p.opts.Scratch
		return nil
	}
	dir, err := os.MkdirTemp("", "fairway-")
	if err != nil {
		return fmt.Errorf("making a temporary directory for the control plane: %w", err)
	}
	p.dir = dir
	p.cleanup = append(p.cleanup, func() error { return os.RemoveAll(dir) })
	return nil
}
