package balance

import (
	"math"
	"sync/atomic"
)

// maxSequence is the longest sequence of a Split. Weights that need a longer one are rounded to ten-thousandths.
const maxSequence = 10_000

// Split deals the requests of a rule out to its shares by their weights. Over any run of consecutive requests each share's
// count is less than 2 away from its exact part, whatever the number of shares: a sequence is worked out beforehand by
// Tijdeman's rule for the chairman assignment problem (Discrete Mathematics 32, 1980), and one counter walks along it.
type Split struct {
	at    atomic.Uint64
	order atomic.Pointer[[]uint16]
}

// NewSplit returns a split whose first request takes the place start of the sequence.
func NewSplit(start uint64, weights []int32) *Split {
	s := &Split{}
	s.at.Store(start)
	s.Set(weights)
	return s
}

// Set changes the weights. It is in force for the next request, which takes the place after that of the last one.
// Weights below 0 count as 0.
func (s *Split) Set(weights []int32) {
	order := sequence(weights)
	s.order.Store(&order)
}

// Next returns the share of the next request, or -1 when no share has any weight.
func (s *Split) Next() int {
	order := *s.order.Load()
	if len(order) == 0 {
		return -1
	}
	if len(order) == 1 {
		return int(order[0])
	}
	return int(order[(s.at.Add(1)-1)%uint64(len(order))])
}

// Fractions are the parts of all requests that each share gets, as the sequence has them. They add up to 1, or are all 0.
func (s *Split) Fractions(shares int) []float64 {
	order := *s.order.Load()
	part := make([]float64, shares)
	for _, i := range order {
		part[i] += 1 / float64(len(order))
	}
	return part
}

// sequence is the order of shares that is gone through again and again. Of the shares that are due (their exact part after
// this place is at least 1/(2n−2) above what they have), the one is next that is the first to fall a whole 1 − 1/(2n−2)
// behind.
func sequence(weights []int32) []uint16 {
	w, index := reduced(weights)
	switch len(w) {
	case 0:
		return nil
	case 1:
		return []uint16{index[0]}
	}
	var total int64
	for _, v := range w {
		total += v
	}
	order := make([]uint16, 0, total)
	count := make([]int64, len(w))
	k := int64(2*len(w) - 2)
	for t := int64(1); t <= total; t++ {
		best, behind := -1, int64(0) // behind: how far from its deadline, as a numerator over w[best]
		for i, v := range w {
			due := v*t - count[i]*total
			if due*k < total {
				continue
			}
			if d := total*(k-1) - k*due; best < 0 || d*w[best] < behind*v {
				best, behind = i, d
			}
		}
		count[best]++
		order = append(order, index[best])
	}
	return order
}

// reduced are the weights above 0 in their lowest terms, rounded if they still are too long, and whose they are.
func reduced(weights []int32) (w []int64, index []uint16) {
	var divisor, total int64
	for i, v := range weights {
		if v > 0 && i <= math.MaxUint16 {
			w, index = append(w, int64(v)), append(index, uint16(i))
			divisor = gcd(divisor, int64(v))
		}
	}
	for i := range w {
		w[i] /= divisor
		total += w[i]
	}
	if total <= maxSequence {
		return w, index
	}
	for i, v := range w {
		w[i] = max(1, (v*maxSequence+total/2)/total) // who has a weight gets requests
	}
	return w, index
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Portion picks a part of all requests, exactly over time: of n in a row, n×numerator/denominator, rounded up or down.
type Portion struct{ at atomic.Uint64 }

// Take reports whether this request belongs to the part.
func (p *Portion) Take(numerator, denominator int32) bool {
	switch {
	case numerator <= 0 || denominator <= 0:
		return false
	case numerator >= denominator:
		return true
	}
	n, num, den := p.at.Add(1)-1, uint64(numerator), uint64(denominator)
	n %= den
	return (n+1)*num/den > n*num/den
}
