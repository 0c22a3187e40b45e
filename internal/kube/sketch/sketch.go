// Package sketch counts durations so that quantiles can be asked for: of requests that were measured, and of those that a
// model made.
package sketch

import "math"

// A Sketch counts durations in buckets of equal relative width, as HdrHistogram does: each power of two is cut in 32.
// A quantile is at most 1.6 % off. Sketches of equal layout merge by addition.
type Sketch struct {
	weights [buckets]float64
	low     int // buckets outside low…high are zero
	high    int
	total   float64
	sum     float64
}

const (
	cuts       = 5             // log2 of buckets a power of two
	minExp     = -17           // 7.6 µs
	maxExp     = 17            // 36 h
	firstBits  = 1023 + minExp // biased exponent of the smallest bucket
	buckets    = (maxExp - minExp) << cuts
	smallest   = 1.0 / (1 << -minExp)
	lastBucket = buckets - 1
)

func bucketOf(seconds float64) int {
	if !(seconds > smallest) {
		return 0
	}
	i := int(math.Float64bits(seconds)>>(52-cuts)) - firstBits<<cuts
	return min(i, lastBucket)
}

func bucketLow(i int) float64 {
	return math.Float64frombits(uint64(i+firstBits<<cuts) << (52 - cuts))
}

// Add counts weight requests of the given duration.
func (s *Sketch) Add(seconds, weight float64) {
	if !(weight > 0) {
		return
	}
	i := bucketOf(seconds)
	if s.total == 0 {
		s.low, s.high = i, i
	} else {
		s.low, s.high = min(s.low, i), max(s.high, i)
	}
	s.weights[i] += weight
	s.total += weight
	s.sum += seconds * weight
}

// Merge adds all that o counted.
func (s *Sketch) Merge(o *Sketch) {
	if o.total == 0 {
		return
	}
	if s.total == 0 {
		s.low, s.high = o.low, o.high
	} else {
		s.low, s.high = min(s.low, o.low), max(s.high, o.high)
	}
	for i := o.low; i <= o.high; i++ {
		s.weights[i] += o.weights[i]
	}
	s.total += o.total
	s.sum += o.sum
}

// Reset forgets everything.
func (s *Sketch) Reset() {
	if s.total > 0 {
		clear(s.weights[s.low : s.high+1])
	}
	s.low, s.high, s.total, s.sum = 0, 0, 0, 0
}

// Count is the number of requests counted.
func (s *Sketch) Count() float64 { return s.total }

// Mean is the mean duration in seconds, 0 when nothing was counted.
func (s *Sketch) Mean() float64 {
	if s.total == 0 {
		return 0
	}
	return s.sum / s.total
}

// Quantile returns the duration in seconds that a share p (0…1) of the requests does not exceed; 0 when nothing was
// counted. Inside a bucket it is linear.
func (s *Sketch) Quantile(p float64) float64 {
	if s.total == 0 {
		return 0
	}
	rest := p * s.total
	for i := s.low; i <= s.high; i++ {
		w := s.weights[i]
		if rest <= w && w > 0 {
			lo := bucketLow(i)
			return lo + (bucketLow(i+1)-lo)*rest/w
		}
		rest -= w
	}
	return bucketLow(s.high + 1)
}

// Share returns the share of requests that took at most the given seconds; 1 when nothing was counted.
func (s *Sketch) Share(seconds float64) float64 {
	if s.total == 0 {
		return 1
	}
	b := bucketOf(seconds)
	sum := 0.0
	for i := s.low; i <= s.high && i < b; i++ {
		sum += s.weights[i]
	}
	if b >= s.low && b <= s.high {
		lo := bucketLow(b)
		sum += s.weights[b] * min(1, (seconds-lo)/(bucketLow(b+1)-lo))
	}
	return min(1, sum/s.total)
}

// AddAll counts each of several durations with the same weight.
func (s *Sketch) AddAll(seconds []float64, weight float64) {
	low, high, sum := s.low, s.high, 0.0
	if s.total == 0 {
		low, high = lastBucket, 0
	}
	for _, t := range seconds {
		i := bucketOf(t)
		s.weights[i] += weight
		sum += t
		if i < low {
			low = i
		}
		if i > high {
			high = i
		}
	}
	s.low, s.high = low, high
	s.total += weight * float64(len(seconds))
	s.sum += sum * weight
}

// Scale multiplies the number of requests of each duration by a factor above 0.
func (s *Sketch) Scale(factor float64) {
	for i := s.low; i <= s.high; i++ {
		s.weights[i] *= factor
	}
	s.total *= factor
	s.sum *= factor
}
