package controlplane

import (
	"context"
	"sync"
	"time"
	_ "unsafe" // go:linkname

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/controller/nodelifecycle"
	nodeconfig "k8s.io/kubernetes/pkg/controller/nodelifecycle/config"
)

// lifecycle runs upstream's node-lifecycle controller in one of two modes.
//
// Quiet, while no fault touches nodes: only its queue of node changes is worked, which taints and untaints nodes by their
// conditions. Nobody sends heartbeats, nothing looks for them, nothing ticks (upstream's own Run wakes ten times a second).
// Watchful: upstream's Run with its usual timing. The engine that plays the nodes renews their leases meanwhile.
//
// The controller cannot be started twice, so each change of mode makes a new one; its event handlers leave the shared
// informers with it.
type lifecycle struct {
	b        *parts
	mu       sync.Mutex
	watchful bool
	current  *nodelifecycle.Controller
	detach   func()
	changed  chan struct{}
	timing   nodeconfig.NodeLifecycleControllerConfiguration
	watches  int // watchful controllers made so far
}

// upstreamNodeTiming is upstream's default configuration of the node-lifecycle controller.
var upstreamNodeTiming = nodeconfig.NodeLifecycleControllerConfiguration{
	NodeMonitorPeriod:         metav1.Duration{Duration: 5 * time.Second},
	NodeStartupGracePeriod:    metav1.Duration{Duration: 60 * time.Second},
	NodeMonitorGracePeriod:    metav1.Duration{Duration: 50 * time.Second},
	NodeEvictionRate:          0.1,
	SecondaryNodeEvictionRate: 0.01,
	LargeClusterSizeThreshold: 50,
	UnhealthyZoneThreshold:    0.55,
}

//go:linkname workNodeQueue k8s.io/kubernetes/pkg/controller/nodelifecycle.(*Controller).doNodeProcessingPassWorker
func workNodeQueue(nc *nodelifecycle.Controller, ctx context.Context)

func newLifecycle(b *parts) *lifecycle {
	return &lifecycle{b: b, changed: make(chan struct{}, 1), timing: upstreamNodeTiming}
}

// WatchNodes switches the node-lifecycle controller between quiet and watchful, on a Rehearsal plane or one with
// Options.NodesPlayed; others watch always.
func (p *ControlPlane) WatchNodes(ctx context.Context, watchful bool) error {
	if p.life == nil {
		return nil // upstream's controller manager watches always
	}
	return p.life.set(ctx, watchful)
}

// Watchful reports the mode.
func (p *ControlPlane) Watchful() bool {
	if p.life == nil {
		return true
	}
	p.life.mu.Lock()
	defer p.life.mu.Unlock()
	return p.life.watchful
}

func (l *lifecycle) set(ctx context.Context, watchful bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != nil && l.watchful == watchful {
		return nil
	}
	if l.detach != nil {
		l.detach()
	}
	core, t := l.b.f.Core().V1(), &l.timing
	var handlers handlerLog
	pods := podInformer{core.Pods(), &loggedInformer{SharedIndexInformer: core.Pods().Informer(), log: &handlers, deaf: !watchful}}
	nodes := nodeInformer{core.Nodes(), &loggedInformer{SharedIndexInformer: core.Nodes().Informer(), log: &handlers}}
	nc, err := nodelifecycle.NewNodeLifecycleController(ctx, l.b.f.Coordination().V1().Leases(), pods, nodes, l.b.f.Apps().V1().DaemonSets(), l.client(watchful),
		t.NodeMonitorPeriod.Duration, t.NodeStartupGracePeriod.Duration, t.NodeMonitorGracePeriod.Duration,
		t.NodeEvictionRate, t.SecondaryNodeEvictionRate, t.LargeClusterSizeThreshold, t.UnhealthyZoneThreshold)
	if err != nil {
		handlers.remove()
		return err
	}
	l.current, l.watchful, l.detach = nc, watchful, handlers.remove
	select {
	case l.changed <- struct{}{}:
	default: // run has not yet seen the change before this one
	}
	return nil
}

// client is the controller's connection. The caller holds mu.
func (l *lifecycle) client(watchful bool) kubernetes.Interface {
	if watchful {
		l.watches++
	}
	if l.watches > 1 {
		return l.b.registeredOnce("node-controller")
	}
	return l.b.client("node-controller")
}

// run keeps the current controller going until ctx ends.
func (l *lifecycle) run(ctx context.Context) {
	for {
		select {
		case <-l.changed:
		default:
		}
		l.mu.Lock()
		nc, watchful := l.current, l.watchful
		l.mu.Unlock()
		life, end := context.WithCancel(ctx)
		var running sync.WaitGroup
		running.Go(func() {
			if watchful {
				nc.Run(life)
				return
			}
			wait.UntilWithContext(life, func(ctx context.Context) { workNodeQueue(nc, ctx) }, time.Hour)
		})
		select {
		case <-ctx.Done():
		case <-l.changed:
		}
		end()
		if watchful {
			running.Wait()
		} // a quiet worker waits in its queue, which only upstream's Run shuts down; without handlers nothing reaches it
		if ctx.Err() != nil {
			return
		}
	}
}

// handlerLog remembers what was registered with shared informers, so that it can be taken back.
type handlerLog struct{ undo []func() }

func (h *handlerLog) remove() {
	for _, u := range h.undo {
		u()
	}
	h.undo = nil
}

// loggedInformer is a shared informer whose registrations are logged. A deaf one registers nothing.
type loggedInformer struct {
	cache.SharedIndexInformer
	log  *handlerLog
	deaf bool
}

func (i *loggedInformer) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	if i.deaf {
		return nil, nil
	}
	r, err := i.SharedIndexInformer.AddEventHandler(h)
	if err == nil {
		i.log.undo = append(i.log.undo, func() { _ = i.SharedIndexInformer.RemoveEventHandler(r) })
	}
	return r, err
}

type podInformer struct {
	coreinformers.PodInformer
	informer cache.SharedIndexInformer
}

func (i podInformer) Informer() cache.SharedIndexInformer { return i.informer }

type nodeInformer struct {
	coreinformers.NodeInformer
	informer cache.SharedIndexInformer
}

func (i nodeInformer) Informer() cache.SharedIndexInformer { return i.informer }
