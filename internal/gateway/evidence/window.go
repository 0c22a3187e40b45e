package evidence

import (
	"cmp"
	"time"

	"github.com/fairway-dev/fairway/internal/kube/sketch"
)

// Window is what happened in a length of time.
type Window struct {
	Length time.Duration
	// Requests that ended, and those of them that failed: 5xx, or no answer.
	Requests, Errors float64
	latency          sketch.Sketch
}

// Rate is in requests a second.
func (w *Window) Rate() float64 {
	if w.Length <= 0 {
		return 0
	}
	return w.Requests / w.Length.Seconds()
}

// SuccessRate is the share of requests that did not fail; ok is false when there were none.
func (w *Window) SuccessRate() (share float64, ok bool) {
	if w.Requests <= 0 {
		return 0, false
	}
	return 1 - w.Errors/w.Requests, true
}

// Latency is that which a share p (0…1) of the requests does not exceed, in seconds, at most 3.2 % off; ok is false when
// there were none.
func (w *Window) Latency(p float64) (seconds float64, ok bool) {
	return w.latency.Quantile(p), w.latency.Count() > 0
}

// Slower is the number of requests that took longer than that.
func (w *Window) Slower(seconds float64) float64 {
	return w.latency.Count() * (1 - w.latency.Share(seconds))
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Route, b.Route))
}
