package balance

import (
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"pgregory.net/rapid"
)

func TestWhatIsTriedAgain(t *testing.T) {
	t.Parallel()
	policy := &config.Retry{Attempts: 2, Codes: []int{503}, Connect: true, Timeout: true}
	get := Try{Idempotent: true, Replayable: true, Left: -1}
	post := Try{Replayable: true, Left: -1}
	with := func(t Try, change func(*Try)) Try { change(&t); return t }
	for name, c := range map[string]struct {
		policy *config.Retry
		try    Try
		want   bool
	}{
		"a code that is named":                         {policy, with(get, func(t *Try) { t.Status = 503 }), true},
		"one of a POST, as it is named":                {policy, with(post, func(t *Try) { t.Status = 503 }), true},
		"a code that is not named":                     {policy, with(get, func(t *Try) { t.Status = 500 }), false},
		"a broken connection":                          {policy, get, true},
		"a broken connection of a POST":                {policy, post, false},
		"a POST that was not sent":                     {policy, with(post, func(t *Try) { t.Unsent = true }), true},
		"a timeout":                                    {policy, with(get, func(t *Try) { t.Timeout = true }), true},
		"a timeout of a POST":                          {policy, with(post, func(t *Try) { t.Timeout = true }), false},
		"a timeout nobody wants retried":               {&config.Retry{Attempts: 2, Connect: true}, with(get, func(t *Try) { t.Timeout = true }), false},
		"the last try":                                 {policy, with(get, func(t *Try) { t.Number = 2 }), false},
		"a body that has gone":                         {policy, with(get, func(t *Try) { t.Replayable = false }), false},
		"no time left":                                 {policy, with(get, func(t *Try) { t.Left = 10 * time.Millisecond }), false},
		"time left":                                    {policy, with(get, func(t *Try) { t.Left = time.Second }), true},
		"without a policy, nothing was sent":           {nil, with(post, func(t *Try) { t.Unsent = true }), true},
		"without a policy, nothing was sent, again":    {nil, with(post, func(t *Try) { t.Unsent, t.Number = true, 1 }), false},
		"without a policy, a broken connection":        {nil, get, false},
		"without a policy, a code that is often named": {nil, with(get, func(t *Try) { t.Status = 503 }), false},
	} {
		if got, _ := Retry(c.policy, c.try); got != c.want {
			t.Errorf("%s: tried again = %v, want %v", name, got, c.want)
		}
	}
}

func TestTheWaitBeforeARetryIsWithinItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		policy := &config.Retry{Attempts: 50, Connect: true, Backoff: time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "backoff"))}
		try := Try{Number: rapid.IntRange(0, 49).Draw(t, "number"), Idempotent: true, Replayable: true, Draw: rapid.Uint64().Draw(t, "draw"), Left: -1}
		_, wait := Retry(policy, try)
		least := policy.Backoff
		if least == 0 {
			least = 25 * time.Millisecond
		}
		if wait < least || wait > max(least, time.Second) {
			t.Fatalf("waits %v, backoff %v", wait, least)
		}
		if try.Number == 0 && wait != least && least < time.Second {
			t.Fatalf("the first retry waits %v, want the backoff %v", wait, least)
		}
	})
}

func TestRetriesStayWithinTheBudget(t *testing.T) {
	t.Parallel()
	policy := config.Defaults()
	policy.BudgetRate, policy.BudgetPercent = 1, 20 // at least 10 in the interval of 10 s
	var b Budget
	taken := 0
	for range 100 {
		if b.Take(&policy, 0) {
			taken++
		}
	}
	if taken != 10 || b.Exhausted() != 90 {
		t.Errorf("%d retries without any requests, want the rate of 10; %d refused", taken, b.Exhausted())
	}
	for range 1000 {
		b.Request(&policy, second)
	}
	for range 1000 {
		if b.Take(&policy, 2*second) {
			taken++
		}
	}
	if taken != 200 {
		t.Errorf("%d retries of 1000 requests, want 200", taken)
	}
	if !b.Take(&policy, 13*second) {
		t.Error("no retry an interval later")
	}
}
