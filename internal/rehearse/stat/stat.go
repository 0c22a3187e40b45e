// Package stat holds the statistics a report needs: quantiles, Student's t, the sign test and Holm's correction. Sums run
// in the given order, so equal input gives equal bytes. Formulas: Abramowitz and Stegun 26.5 and 26.7; the continued
// fraction of the incomplete beta function follows Lentz's method; Holm 1979.
package stat

import (
	"cmp"
	"math"
	"slices"
)

// Mean of the values; NaN without any.
func Mean(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// Deviation is the sample standard deviation (n−1); NaN below two values.
func Deviation(values []float64) float64 {
	if len(values) < 2 {
		return math.NaN()
	}
	mean, sum := Mean(values), 0.0
	for _, v := range values {
		sum += (v - mean) * (v - mean)
	}
	return math.Sqrt(sum / float64(len(values)-1))
}

// Quantile interpolates linearly between order statistics (type 7 of Hyndman and Fan); NaN without values.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Clone(values)
	slices.Sort(s)
	at := q * float64(len(s)-1)
	low := int(math.Floor(at))
	if low >= len(s)-1 {
		return s[len(s)-1]
	}
	return s[low] + (at-float64(low))*(s[low+1]-s[low])
}

// TwoSided is the probability that |T| is at least |t| for Student's t with df degrees of freedom.
func TwoSided(t, df float64) float64 {
	if math.IsNaN(t) {
		return math.NaN()
	}
	if math.IsInf(t, 0) {
		return 0
	}
	return incompleteBeta(df/(df+t*t), df/2, 0.5)
}

// Critical is the t whose two-sided probability is alpha: 12.706 for one degree of freedom and 0.05.
func Critical(alpha, df float64) float64 {
	low, high := 0.0, 1.0
	for TwoSided(high, df) > alpha {
		high *= 2
		if high > 1e12 {
			return math.Inf(1)
		}
	}
	const bisections = 100 // far below the last bit
	for range bisections {
		mid := (low + high) / 2
		if TwoSided(mid, df) > alpha {
			low = mid
		} else {
			high = mid
		}
	}
	return (low + high) / 2
}

// SignTest is the two-sided probability of a split of the non-zero differences at least this uneven by fair coin; 1 when
// all are zero.
func SignTest(differences []float64) float64 {
	up, down := 0, 0
	for _, d := range differences {
		switch {
		case d > 0:
			up++
		case d < 0:
			down++
		}
	}
	n, k := up+down, min(up, down)
	tail := 0.0
	for i := 0; i <= k; i++ {
		tail += math.Exp(logChoose(n, i) - float64(n)*math.Ln2)
	}
	return min(1, 2*tail)
}

func logChoose(n, k int) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return a - b - c
}

// Holm adjusts p-values for testing them all at once (step-down Bonferroni); NaN stays NaN and counts for nothing.
func Holm(p []float64) []float64 {
	order := make([]int, 0, len(p))
	adjusted := make([]float64, len(p))
	for i, v := range p {
		adjusted[i] = v
		if !math.IsNaN(v) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p[a], p[b]) })
	running := 0.0
	for rank, i := range order {
		running = max(running, min(1, p[i]*float64(len(order)-rank)))
		adjusted[i] = running
	}
	return adjusted
}

// incompleteBeta is the regularised incomplete beta function I_x(a, b).
func incompleteBeta(x, a, b float64) float64 {
	switch {
	case x <= 0:
		return 0
	case x >= 1:
		return 1
	}
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	front := math.Exp(lab - la - lb + a*math.Log(x) + b*math.Log1p(-x))
	if x < (a+1)/(a+b+2) {
		return front * betaFraction(x, a, b) / a
	}
	return 1 - front*betaFraction(1-x, b, a)/b
}

func betaFraction(x, a, b float64) float64 {
	const (
		tiny  = 1e-300
		terms = 500 // converges in O(√max(a,b)) terms
	)
	guard := func(v float64) float64 {
		if math.Abs(v) < tiny {
			return tiny
		}
		return v
	}
	c, d := 1.0, 1/guard(1-(a+b)*x/(a+1))
	h := d
	for m := 1.0; m <= terms; m++ {
		even := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		d = 1 / guard(1+even*d)
		c = guard(1 + even/c)
		h *= d * c
		odd := -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		d = 1 / guard(1+odd*d)
		c = guard(1 + odd/c)
		step := d * c
		h *= step
		if math.Abs(step-1) < 1e-15 {
			break
		}
	}
	return h
}
