package play

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// measure plays the scenario.
func (r *run) measure(ctx context.Context) error {
	return r.advanceTo(ctx, r.end, true)
}

// instants are when something of the model is due next.
type instants struct{ rate, scrape, sample time.Time }

// advanceTo moves the run to an instant: loads, scrapes, what clients learn, model-caused changes, steps and samples, each at
// its time.
func (r *run) advanceTo(ctx context.Context, until time.Time, measured bool) error {
	now := time.Now()
	due := instants{rate: now, scrape: now.Truncate(r.spec.scrape).Add(r.spec.scrape), sample: now}
	if measured {
		due.sample = now.Add(r.spec.sample)
		r.began(now)
	}
	for {
		now := time.Now()
		next, err := r.turn(now, &due, measured)
		if err != nil {
			return err
		}
		next = earliest(until, next)
		if measured {
			step, err := r.steps.turn(ctx, now)
			if err != nil {
				return err
			}
			next = earliest(next, step)
		}
		look, err := r.checker.turn(ctx, now)
		if err != nil {
			return err
		}
		next = earliest(next, look)
		if !now.Before(until) {
			return nil
		}
		if err := r.sleep(ctx, next); err != nil {
			return err
		}
	}
}

// turn brings the model up to now, and returns when it changes next by itself.
func (r *run) turn(now time.Time, due *instants, measured bool) (next time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != "" {
		return next, errors.New(r.failed)
	}
	if full := r.memoryFull(); full != nil {
		return next, full
	}
	r.demand.advance(now)
	r.demand.ripen(now)
	if !now.Before(due.rate) || r.demand.stale {
		if due.rate, err = r.demand.setRates(now); err != nil {
			return next, err
		}
	}
	if !now.Before(due.scrape) {
		r.demand.scrape(now)
		due.scrape = due.scrape.Add(r.spec.scrape)
	}
	rerouted, err := r.demand.reroute(now)
	if err != nil {
		return next, err
	}
	r.memory(now)
	if !now.Before(due.sample) {
		r.sampler.take(now, measured)
		r.progress(now, measured)
		due.sample = due.sample.Add(r.spec.sample)
	}
	next = earliest(due.scrape, due.rate, due.sample, r.demand.system.Next(), rerouted)
	if len(r.demand.lags) > 0 {
		next = earliest(next, r.demand.lags[0].at)
	}
	return next, nil
}

// sleep waits until t, or until something asks for attention.
func (r *run) sleep(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w at %s", errStopped, time.Now().UTC().Format(time.DateTime))
	case <-timer.C:
	case <-r.wake:
	}
	return nil
}

func (r *run) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func earliest(t time.Time, others ...time.Time) time.Time {
	for _, o := range others {
		if !o.IsZero() && o.Before(t) {
			t = o
		}
	}
	return t
}

func (r *run) progress(now time.Time, measured bool) {
	p := &record.Progress{Time: now.UTC(), Settling: !measured, Nodes: len(r.cluster.nodes), Pods: len(r.cluster.pods), P95Seconds: r.sampler.p95, LastHeadline: r.out.latest(now)}
	if measured {
		p.FinishedShare = now.Sub(r.start).Seconds() / r.end.Sub(r.start).Seconds()
	}
	r.out.event(record.Event{Progress: p})
}

// memoryAgain is when a container above its limit is looked at again that was not killed: its node may be silent.
const memoryAgain = 5 * time.Second

// memory kills containers whose working set is above their limit, as the kernel would.
func (r *run) memory(now time.Time) {
	for range len(r.demand.scraped) {
		id, at, ok := r.demand.system.NextMemoryCrossing()
		if !ok || at.After(now) {
			return
		}
		r.demand.system.SnoozeMemory(id, now.Add(memoryAgain))
		if p := r.demand.podOf(id); p != nil {
			go r.house.Engine.Recheck(p.rec.Namespace, p.rec.Name) // takes the engine's lock, which asks for usage under ours
		}
	}
}
