package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairway-dev/fairway/internal/gateway/compile"
	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/evidence"
	"github.com/fairway-dev/fairway/internal/gateway/match"
	"github.com/fairway-dev/fairway/internal/gateway/proxy"
)

const (
	// A compilation waits until nothing has changed for quiet, but no longer than quietMost.
	quiet     = 5 * time.Millisecond
	quietMost = 50 * time.Millisecond
	// foreignEvery is how often definitions of foreign kinds are looked for until all are there, one small request a group;
	// bindEvery how often sockets that could not be bound are tried again; forgetEvery how often evidence of revisions without
	// requests is dropped.
	foreignEvery = 10 * time.Second
	bindEvery    = 30 * time.Second
	forgetEvery  = time.Minute
	// attempts bounds the compilations of one step: Secrets may have to be read first, then ConfigMaps, and listeners be told of
	// sockets that could not be bound.
	attempts = 4
)

// Options of the capability.
type Options struct {
	// Dial reaches pods; nil = the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Listen opens sockets; nil = the network.
	Listen func(network, address string) (net.Listener, error)
	// Pool of addresses for Gateways; the zero value is DefaultPool.
	Pool netip.Prefix
	// PortOffset is added to each port that is listened on; Gateways keep saying theirs.
	PortOffset int
	// IngressHTTPPort and IngressHTTPSPort of Ingresses and foreign objects.
	IngressHTTPPort, IngressHTTPSPort uint16
	// ForeignClasses of Ingresses that are served although they belong to another controller.
	ForeignClasses []string
	// Foreign objects of other routers are read.
	Foreign bool
	// Drain is how long requests have to end when the process does.
	Drain time.Duration
	// Revision tells the revision of a pod.
	Revision func(*corev1.Pod) string
	// Recorder of events; nil = none are told.
	Recorder record.EventRecorder
	// Reach lets whoever dials within this process reach an address; then Gateways have Services, too. nil = only sockets do.
	// It is not for use with a Sink.
	Reach func(at netip.AddrPort, serve func(net.Conn)) (release func(), err error)
	// Sink takes what is decided in place of a data path with sockets; nil = there is one. Dial, Listen, PortOffset and Seed are
	// the data path's.
	Sink Sink
	Seed uint64
	Log  *slog.Logger
}

// Controller is the capability. Make one by New, set it up once.
type Controller struct {
	options  Options
	log      *slog.Logger
	manager  manager.Manager
	data     *proxy.Gateway // nil with a Sink that was given
	sink     Sink
	Evidence *evidence.Store
	counters *counters

	stores    stores
	endpoints endpoints
	weights   weights
	poke      chan struct{}

	// Of the loop alone.
	last        *compile.Output
	published   *config.Config
	index       *match.Index
	unavailable map[netip.AddrPort]string
	told        map[string]bool // events
	applied     map[config.Name]*corev1.Service
	doors       map[netip.AddrPort]door

	mu   sync.RWMutex // of what others read
	view view
}

// view is what is in force.
type view struct {
	output *compile.Output
	index  *match.Index
}

// New returns a capability with its data path, which serves nothing yet.
func New(o Options) *Controller {
	if !o.Pool.IsValid() {
		o.Pool = DefaultPool
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	c := &Controller{options: o, log: o.Log.With("component", "gateway"), Evidence: evidence.New(), poke: make(chan struct{}, 1),
		unavailable: map[netip.AddrPort]string{}, told: map[string]bool{}, applied: map[config.Name]*corev1.Service{}, doors: map[netip.AddrPort]door{}}
	c.counters = newCounters(c.Evidence)
	if c.sink = o.Sink; c.sink == nil {
		c.data = proxy.New(proxy.Options{Dial: o.Dial, Listen: c.listen, Observe: c.counters, Log: c.log, Seed: o.Seed})
		c.sink = c.data
	}
	c.weights = weights{data: c.sink, held: map[config.RuleKey]*held{}, log: c.log, tell: c.tellRoute}
	c.stores.foreign = map[schema.GroupVersionKind]cache.Indexer{}
	c.endpoints = endpoints{set: c.sink.SetEndpoints, revision: o.Revision,
		pods: func() cache.Indexer { return c.stores.pods }, services: func() cache.Indexer { return c.stores.services }}
	return c
}

// listen opens a socket of the config on this machine.
func (c *Controller) listen(network, address string) (net.Listener, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	at = netip.AddrPortFrom(at.Addr(), at.Port()+uint16(c.options.PortOffset))
	if c.options.Listen != nil {
		return c.options.Listen(network, at.String())
	}
	return net.Listen(network, at.String())
}

// SetUp opens the caches and adds the loop to the manager.
func (c *Controller) SetUp(ctx context.Context, m manager.Manager) error {
	c.manager = m
	if err := c.open(ctx, m); err != nil {
		return err
	}
	return m.Add(manager.RunnableFunc(c.run))
}

// changed asks for a compilation.
func (c *Controller) changed() {
	select {
	case c.poke <- struct{}{}:
	default: // it is asked for already
	}
}

// run compiles whenever something has changed, until ctx ends; then it drains.
func (c *Controller) run(ctx context.Context) error {
	defer c.drain()
	if !c.manager.GetCache().WaitForCacheSync(ctx) {
		return nil
	}
	again, forget := time.NewTicker(bindEvery), time.NewTicker(forgetEvery)
	defer again.Stop()
	defer forget.Stop()
	var foreign <-chan time.Time // never, when none are read
	if c.options.Foreign && !c.openForeign(ctx) {
		look := time.NewTicker(foreignEvery)
		defer look.Stop()
		foreign = look.C
	}
	c.changed()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.poke:
			if !c.settle(ctx) {
				return nil
			}
			c.step(ctx)
		case <-foreign:
			if c.openForeign(ctx) {
				foreign = nil
			}
		case <-again.C:
			if len(c.unavailable) > 0 {
				clear(c.unavailable)
				c.changed()
			}
		case <-forget.C:
			c.Evidence.Forget(time.Now())
			c.counters.forget(time.Now())
		}
	}
}

// settle waits until nothing has changed for a moment.
func (c *Controller) settle(ctx context.Context) bool {
	deadline := time.NewTimer(quietMost)
	defer deadline.Stop()
	still := time.NewTimer(quiet)
	defer still.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-deadline.C:
			return true
		case <-still.C:
			return true
		case <-c.poke:
			still.Reset(quiet)
		}
	}
}

// step compiles, puts the result in force, and writes what it says of objects.
func (c *Controller) step(ctx context.Context) {
	for range attempts {
		in := c.input()
		in.Now = time.Now()
		in.Addresses, in.AddressProblems = assign(in.Gateways, c.options.Pool)
		if len(in.Ingresses)+len(in.Foreign) > 0 {
			in.IngressAddresses = []netip.Addr{Entrance(c.options.Pool)}
		}
		in.IngressHTTPPort, in.IngressHTTPSPort = c.options.IngressHTTPPort, c.options.IngressHTTPSPort
		out := compile.Compile(in)
		c.last = &out
		if c.openWhatIsNeeded(ctx, out.Needs) {
			c.manager.GetCache().WaitForCacheSync(ctx)
			continue
		}
		if out.Config != c.published && c.publish(&out) {
			continue
		}
		break
	}
	c.weights.published(c.last.Config, c.routeVersions())
	c.mu.Lock()
	c.view = view{c.last, c.index}
	c.mu.Unlock()
	c.counters.version(c.last.Config.Version, len(c.last.StaleRoutes))
	c.openDoors(c.last.Config)
	c.report(ctx, c.last)
	if c.options.Reach != nil {
		c.services(ctx, c.last.Services)
	}
}

// publish puts a Config in force. It reports whether sockets could not be bound that were not known to be so.
func (c *Controller) publish(out *compile.Output) bool {
	if c.index == nil {
		c.index = match.NewIndex(out.Config)
	} else {
		c.index = c.index.Next(out.Config)
	}
	c.published = out.Config
	c.endpoints.follow(out.Config.Backends)
	began := time.Now()
	problems := c.sink.Publish(out.Config, c.index)
	c.counters.applied(time.Since(began))
	found := false
	for _, p := range problems {
		if c.unavailable[p.Address] == "" {
			found = true
		}
		c.unavailable[p.Address] = p.Error()
	}
	return found
}

// drain lets requests end.
func (c *Controller) drain() {
	c.closeDoors()
	ctx, cancel := context.WithTimeout(context.Background(), c.options.Drain)
	defer cancel()
	if err := c.sink.Drain(ctx); err != nil {
		c.log.Warn(fmt.Sprintf("requests that had not ended after %v were cut off", c.options.Drain))
	}
}

// Collectors of the data path's metrics.
func (c *Controller) Collectors() []prometheus.Collector { return c.counters.collectors() }

// Served are the rules in force, for whoever explains or lists them.
func (c *Controller) Served() (*config.Config, *match.Index) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.view.output == nil {
		empty := &config.Config{}
		return empty, match.NewIndex(empty)
	}
	return c.view.output.Config, c.view.index
}

// Data is the data path; nil with a Sink that was given.
func (c *Controller) Data() *proxy.Gateway { return c.data }

// Stale routes are served in their last good version.
func (c *Controller) Stale() []config.Name {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.view.output == nil {
		return nil
	}
	return slices.Clone(c.view.output.StaleRoutes)
}

// SetWeights puts weights of a route's rule ("" = of all its rules that divide between the two Services) in force before they
// are written, for the next request. The returned function is to be called when the write of the object has ended: with its
// resourceVersion, or with the error for which it is given up.
func (c *Controller) SetWeights(r Route, rule, canary, stable string, w Weights) (written func(version string, err error), err error) {
	return c.weights.Set(r, rule, canary, stable, w)
}

// LoadedWeights are those that new requests follow, of each rule that divides between the two; false for a route without one.
func (c *Controller) LoadedWeights(r Route, canary, stable string) ([]RuleWeights, bool) {
	return c.weights.Loaded(r, canary, stable)
}
