package sketch

// Sparse counts as a Sketch does, in as many buckets as there is something in. It suits many short windows of one series.
// The zero value is ready to use.
type Sparse struct {
	low    int
	counts []float32
}

// Add counts weight requests of the given duration.
func (s *Sparse) Add(seconds float64, weight float32) {
	i := bucketOf(seconds)
	switch {
	case len(s.counts) == 0:
		s.low = i
		s.counts = append(s.counts, 0)
	case i < s.low:
		s.counts = append(s.counts, make([]float32, s.low-i)...)
		copy(s.counts[s.low-i:], s.counts)
		clear(s.counts[:s.low-i])
		s.low = i
	case i >= s.low+len(s.counts):
		s.counts = append(s.counts, make([]float32, i-s.low-len(s.counts)+1)...)
	}
	s.counts[i-s.low] += weight
}

// AddTo adds all that was counted to a Sketch; its mean is then that of the middles of the buckets.
func (s *Sparse) AddTo(to *Sketch) {
	for k, weight := range s.counts {
		i := s.low + k
		to.Add((bucketLow(i)+bucketLow(i+1))/2, float64(weight))
	}
}

// AddSketch counts all that a Sketch did.
func (s *Sparse) AddSketch(from *Sketch) {
	if from.total == 0 {
		return
	}
	for i := from.low; i <= from.high; i++ {
		if from.weights[i] > 0 {
			s.Add((bucketLow(i)+bucketLow(i+1))/2, float32(from.weights[i]))
		}
	}
}

// Reset forgets everything, and keeps the memory if it is not more than of so many buckets.
func (s *Sparse) Reset(buckets int) {
	s.low, s.counts = 0, s.counts[:0]
	if cap(s.counts) > buckets {
		s.counts = nil
	}
}
