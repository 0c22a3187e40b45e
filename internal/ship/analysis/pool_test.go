package analysis

import (
	"context"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// newPool is a pool of the test that records whom it wakes.
func newPool(t *testing.T, places int) (p *pool, woken chan types.NamespacedName) {
	t.Helper()
	woken = make(chan types.NamespacedName, 100)
	p = &pool{max: places, wake: func(n types.NamespacedName) { woken <- n }}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { _ = p.Start(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
	return p, woken
}

func TestThePoolMeasuresOnceWakesTheRunAndForgetsWhatIsSettled(t *testing.T) {
	t.Parallel()
	p, woken := newPool(t, 2)
	owner := types.NamespacedName{Namespace: "shop", Name: "run"}
	key := workKey{"uid", "m", 1, Measure}
	count := 0
	for range 3 {
		p.begin(key, owner, func(context.Context) Result { count++; return Result{Metric: "m", Number: 1} })
	}
	if got := <-woken; got != owner || count != 1 {
		t.Errorf("%v was woken after %d measurements", got, count)
	}
	if got := p.results("uid"); len(got) != 1 || got[0].Metric != "m" {
		t.Errorf("results %v", got)
	}
	p.settle("uid", map[workKey]bool{key: true})
	if len(p.results("uid")) != 1 {
		t.Error("what is wanted was forgotten")
	}
	p.settle("uid", nil)
	if len(p.results("uid")) != 0 || len(p.work) != 0 {
		t.Error("what is settled was kept")
	}
}

func TestThePoolEndsWhatIsNoLongerWantedAndBoundsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	p, woken := newPool(t, 1)
	owner := types.NamespacedName{Name: "run"}
	begun, ended := make(chan struct{}), make(chan struct{})
	p.begin(workKey{"a", "m", 1, Measure}, owner, func(ctx context.Context) Result {
		close(begun)
		<-ctx.Done()
		close(ended)
		return Result{Metric: "m"}
	})
	<-begun
	p.begin(workKey{"b", "never", 1, Measure}, owner, func(context.Context) Result { t.Error("ran though it was dropped"); return Result{} })
	p.begin(workKey{"b", "n", 1, Measure}, types.NamespacedName{Name: "other"}, func(context.Context) Result { return Result{Metric: "n"} })
	p.settle("b", map[workKey]bool{{"b", "n", 1, Measure}: true})
	select {
	case who := <-woken:
		t.Errorf("%v was woken while the only place was taken", who)
	default:
	}
	p.drop(owner)
	<-ended
	if who := <-woken; who.Name != "other" {
		t.Errorf("%v was woken", who)
	}
	if len(p.results("a")) != 0 {
		t.Error("a result nobody wants was kept")
	}
}

func TestThePoolRefusesMoreThanCanWait(t *testing.T) {
	t.Parallel()
	p := &pool{max: 1} // not started: nothing begins
	for i := range waitingMax {
		if !p.begin(workKey{"a", "m", i, Measure}, types.NamespacedName{}, nil) {
			t.Fatalf("refused after %d", i)
		}
	}
	if p.begin(workKey{"a", "m", -1, Measure}, types.NamespacedName{}, nil) {
		t.Error("took one more")
	}
}
