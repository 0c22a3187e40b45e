package flow

// Claim is what one pod asks of a node's CPU.
type Claim struct {
	// Weight of the pod's control group; see Weight.
	Weight float64
	// Demand in cores.
	Demand float64
	// Limit in cores; 0 means none.
	Limit float64
}

// Weight is the CPU weight of a pod with the given request: requestMilli·1024/1000, at least 2 (kubelet's cpu.shares).
func Weight(requestMilli int64) float64 {
	return max(2, float64(requestMilli)*1024/1000)
}

func (c Claim) cap() float64 {
	if c.Limit > 0 && c.Limit < c.Demand {
		return c.Limit
	}
	return max(0, c.Demand)
}

// Share divides capacity (cores) among claims as the kernel's fair scheduler does: in proportion to weight, nobody more
// than its demand or limit, what is left goes to the others. Grants are written to dst, which is grown if needed and
// returned; the second result is the level, the cores granted per weight to those who want more (0 when nobody does).
func Share(dst []float64, capacity float64, claims []Claim) ([]float64, float64) {
	dst = dst[:0]
	rest, weights := max(0, capacity), 0.0
	for _, c := range claims {
		dst = append(dst, -1)
		weights += max(c.Weight, 2)
	}
	for {
		if weights <= 0 {
			return dst, 0
		}
		level, met := rest/weights, false
		for i, c := range claims {
			w := max(c.Weight, 2)
			if dst[i] < 0 && c.cap() <= level*w {
				dst[i], met = c.cap(), true
			}
		}
		rest, weights = max(0, capacity), 0
		for i, c := range claims {
			if dst[i] >= 0 {
				rest -= dst[i]
			} else {
				weights += max(c.Weight, 2)
			}
		}
		rest = max(0, rest)
		if !met {
			level = rest / weights
			for i, c := range claims {
				if dst[i] < 0 {
					dst[i] = level * max(c.Weight, 2)
				}
			}
			return dst, level
		}
	}
}
