package balance

import (
	"slices"
	"sync"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

const (
	// defaultBackoff is waited before the first retry of a rule that says nothing; no wait is longer than maxBackoff.
	defaultBackoff = 25 * time.Millisecond
	maxBackoff     = time.Second
)

// Try is how a try ended, and what is known of the request.
type Try struct {
	// Number of retries that were made before this try.
	Number int
	// Status the backend answered; 0 = it did not.
	Status int
	// Unsent: nothing of the request has reached the backend, as with a refused connection, or an idle one that was closed.
	Unsent bool
	// Timeout: it took longer than a try may.
	Timeout bool
	// Idempotent is the method; Replayable: the body can be sent again.
	Idempotent, Replayable bool
	// Left of the request's time; negative = no limit.
	Left time.Duration
	// Draw is a random number.
	Draw uint64
}

// Retry says whether a request is tried again, and how long to wait before. It does not ask the Budget.
//
// Without a policy there is one retry, if nothing reached the backend. With one, requests of methods that are not idempotent
// are retried only if nothing was sent or their code is named. The wait is the backoff × 2ⁿ, and of what is above the backoff a random part.
func Retry(policy *config.Retry, t Try) (again bool, wait time.Duration) {
	if policy == nil {
		return t.Unsent && t.Number == 0 && t.Replayable && t.Left != 0, 0
	}
	if t.Number >= policy.Attempts || !t.Replayable {
		return false, 0
	}
	switch {
	case t.Status != 0:
		again = slices.Contains(policy.Codes, t.Status)
	case t.Unsent:
		again = true
	case t.Timeout:
		again = policy.Timeout && t.Idempotent
	default:
		again = policy.Connect && t.Idempotent
	}
	if !again {
		return false, 0
	}
	least := policy.Backoff
	if least <= 0 {
		least = defaultBackoff
	}
	most := max(least, min(least<<min(t.Number, 20), maxBackoff))
	wait = least + time.Duration(float64(most-least)*float64(t.Draw>>11)/(1<<53))
	if t.Left >= 0 && wait >= t.Left {
		return false, 0
	}
	return true, wait
}

// slots is how many parts an interval of a Budget has.
const slots = 10

// Budget bounds the retries of a backend: within each interval, to a percentage of its requests, or to a rate if that is more.
// The zero value is ready to use.
type Budget struct {
	mu                sync.Mutex
	requests, retries [slots]uint32
	at                int64 // number of the slot that is counted in
	exhausted         uint64
}

// Request counts a request that is not a retry.
func (b *Budget) Request(policy *config.Policy, now int64) {
	b.mu.Lock()
	b.requests[b.slot(policy, now)]++
	b.mu.Unlock()
}

// Take takes one retry; false = there is none left.
func (b *Budget) Take(policy *config.Policy, now int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.slot(policy, now)
	var requests, retries float64
	for i := range slots {
		requests += float64(b.requests[i])
		retries += float64(b.retries[i])
	}
	most := requests * float64(policy.BudgetPercent) / 100
	if policy.BudgetRateInterval > 0 {
		most = max(most, float64(policy.BudgetRate)*float64(policy.BudgetInterval)/float64(policy.BudgetRateInterval))
	}
	if retries+1 > most {
		b.exhausted++
		return false
	}
	b.retries[at]++
	return true
}

// Exhausted is how many retries were not made.
func (b *Budget) Exhausted() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.exhausted
}

// slot is the one to count in; those that the time has gone over are empty again.
func (b *Budget) slot(policy *config.Policy, now int64) int {
	length := max(int64(policy.BudgetInterval)/slots, 1)
	at := now / length
	if at > b.at {
		for n := max(b.at+1, at-slots+1); n <= at; n++ {
			b.requests[n%slots], b.retries[n%slots] = 0, 0
		}
		b.at = at
	}
	return int(b.at % slots)
}
