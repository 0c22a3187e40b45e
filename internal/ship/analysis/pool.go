package analysis

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// underWayMax bounds measurements under way at once: each holds a connection and up to 8 MiB of an answer.
	underWayMax = 64
	// waitingMax bounds measurements that wait for a place, far more than a cluster's runs have metrics.
	waitingMax = 10000
)

// pool makes measurements on goroutines of its own, so that no metric blocks a worker of the controller. What it holds is
// lost with the process, and is then measured again.
type pool struct {
	// wake is called when a run has a result.
	wake func(types.NamespacedName)
	max  int

	mu       sync.Mutex
	ctx      context.Context                 // of the owner; nil before it runs
	work     map[types.UID]map[workKey]*work // by run
	waiting  []*work
	underWay int
	group    sync.WaitGroup
}

// workKey names a measurement of a run.
type workKey struct {
	run    types.UID
	metric string
	number int
	do     Do
}

type work struct {
	key     workKey
	owner   types.NamespacedName
	measure func(context.Context) Result
	cancel  context.CancelFunc // nil while it waits
	result  *Result            // nil until it is done
}

// Start lets the pool work until ctx ends, and ends when all its goroutines have.
func (p *pool) Start(ctx context.Context) error {
	p.mu.Lock()
	p.ctx = ctx
	p.launch()
	p.mu.Unlock()
	<-ctx.Done()
	p.group.Wait()
	return nil
}

// begin makes a measurement unless it is under way or done already. It is false when too many wait.
func (p *pool) begin(key workKey, owner types.NamespacedName, measure func(context.Context) Result) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.work[key.run][key] != nil {
		return true
	}
	if len(p.waiting) >= waitingMax {
		return false
	}
	if p.work == nil {
		p.work = map[types.UID]map[workKey]*work{}
	}
	if p.work[key.run] == nil {
		p.work[key.run] = map[workKey]*work{}
	}
	w := &work{key: key, owner: owner, measure: measure}
	p.work[key.run][key] = w
	p.waiting = append(p.waiting, w)
	p.launch()
	return true
}

// launch starts as many of those that wait as there are places. The lock is held.
func (p *pool) launch() {
	for p.ctx != nil && p.ctx.Err() == nil && p.underWay < p.max && len(p.waiting) > 0 {
		w := p.waiting[0]
		p.waiting = p.waiting[1:]
		var ctx context.Context
		ctx, w.cancel = context.WithCancel(p.ctx)
		p.underWay++
		p.group.Go(func() { p.run(ctx, w) })
	}
}

func (p *pool) run(ctx context.Context, w *work) {
	result := w.measure(ctx)
	p.mu.Lock()
	w.cancel()
	p.underWay--
	wanted := p.work[w.key.run][w.key] == w && p.ctx.Err() == nil
	if wanted {
		w.result = &result
	}
	p.launch()
	p.mu.Unlock()
	if wanted {
		p.wake(w.owner)
	}
}

// results of a run that have not been settled yet, in the order of names and numbers.
func (p *pool) results(run types.UID) []Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Result
	for _, w := range p.work[run] {
		if w.result != nil {
			out = append(out, *w.result)
		}
	}
	slices.SortFunc(out, func(a, b Result) int {
		return cmp.Or(cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.Number, b.Number))
	})
	return out
}

// settle forgets and ends all work of a run but what is still wanted.
func (p *pool) settle(run types.UID, wanted map[workKey]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, w := range p.work[run] {
		if wanted[key] {
			continue
		}
		delete(p.work[run], key)
		if w.cancel != nil {
			w.cancel()
		} else {
			p.waiting = slices.DeleteFunc(p.waiting, func(x *work) bool { return x == w })
		}
	}
	if len(p.work[run]) == 0 {
		delete(p.work, run)
	}
}

// drop forgets and ends all work of runs by a name.
func (p *pool) drop(owner types.NamespacedName) {
	p.mu.Lock()
	var gone []types.UID
	for run, all := range p.work {
		for _, w := range all {
			if w.owner == owner {
				gone = append(gone, run)
				break
			}
		}
	}
	p.mu.Unlock()
	for _, run := range gone {
		p.settle(run, nil)
	}
}
