package controlplane

import (
	"context"
	"time"

	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/controller/podgc"
)

// orphanage runs upstream's pod garbage collector when it can have work: for a while after a node went. Otherwise it would
// walk over all pods every twenty seconds to find that each has its node.
type orphanage struct {
	b    *parts
	gone chan struct{}
}

// orphanWatch is how long the collector runs after the last node went: its 40 s of quarantine and several of its rounds.
const orphanWatch = 10 * time.Minute

// terminatedPodsKept is upstream's default; no rehearsal comes near it.
const terminatedPodsKept = 12500

func newOrphanage(b *parts) (*orphanage, error) {
	o := &orphanage{b: b, gone: make(chan struct{}, 1)}
	_, err := b.f.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: func(any) {
		select {
		case o.gone <- struct{}{}:
		default: // a round is already asked for
		}
	}})
	return o, err
}

func (o *orphanage) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.gone:
		}
		o.collect(ctx)
	}
}

// collect runs a collector until no node has gone for a while.
func (o *orphanage) collect(ctx context.Context) {
	life, end := context.WithCancel(ctx)
	defer end()
	done := make(chan struct{})
	go func() {
		defer close(done)
		core := o.b.f.Core().V1()
		podgc.NewPodGC(life, o.b.client("pod-garbage-collector"), core.Pods(), core.Nodes(), terminatedPodsKept).Run(life)
	}()
	quiet := time.NewTimer(orphanWatch)
	defer quiet.Stop()
	for {
		select {
		case <-o.gone:
			quiet.Reset(orphanWatch)
			continue
		case <-quiet.C:
		case <-ctx.Done():
		}
		end()
		<-done
		return
	}
}
