package flow

import (
	"math"
	"time"
)

const (
	noiseSlot     = 60.0 // seconds; the noise is constant in a slot of virtual time
	idleCPU       = 0.01 // cores of a pod that asks for nothing
	maxNoiseSigma = 3
)

// noiseKeep is e^(−slot/τ) with τ 60 s.
var noiseKeep = math.Exp(-1)

// CPUSeconds is the CPU time a pod has used since it was added, at an instant between the present and the next Advance. It
// never falls.
func (s *System) CPUSeconds(id PodID, at time.Time) float64 {
	s.solve()
	p := &s.pods[id]
	s.sync(p, &s.services[p.spec.Service], max(s.now, s.seconds(at)))
	return p.cpu
}

// CPUCores is the CPU a pod uses at present, without noise.
func (s *System) CPUCores(id PodID) float64 {
	s.solve()
	p := &s.pods[id]
	sv := &s.services[p.spec.Service]
	use := s.background(sv, p, s.now, s.now+1)
	if p.group >= 0 && !sv.constant {
		use += sv.groups[p.group].now.cores
	}
	return use
}

// Requests is the mean number of requests on the pod's station (using or waiting for CPU or a worker) at an instant.
func (s *System) Requests(id PodID, at time.Time) float64 {
	s.solve()
	p := &s.pods[id]
	sv := &s.services[p.spec.Service]
	return s.inside(sv, p, max(s.now, s.seconds(at)))
}

func (s *System) inside(sv *service, p *pod, t float64) float64 {
	if p.group < 0 || sv.constant {
		return p.x
	}
	g := &sv.groups[p.group]
	if h := t - sv.anchor; !g.now.steady && h > 0 {
		return g.st.at(h, g.x0, g.v0, s.workers(&g.st)).x
	}
	return g.x0
}

// work is the CPU time of requests a pod of the group spent since it was grouped.
func (s *System) work(sv *service, g *group, t float64) float64 {
	h := t - sv.anchor
	if h <= 0 {
		return g.work
	}
	if g.now.steady {
		return g.work + g.now.cores*h
	}
	return g.work + g.st.at(h, g.x0, g.v0, s.workers(&g.st)).cores*h
}

// background is the CPU time used beside requests between two instants.
func (s *System) background(sv *service, p *pod, from, to float64) float64 {
	if !p.spec.Running || to <= from {
		return 0
	}
	if sv.constant {
		c := sv.usage.CPUCores
		if c <= 0 {
			if c = sv.usage.CPURequestShare * float64(p.spec.CPURequestMilli) / 1000; p.spec.CPURequestMilli <= 0 {
				c = idleCPU
			}
		}
		if l := p.spec.CPULimitCores; l > 0 {
			c = min(c, l)
		}
		return c * (to - from)
	}
	sum := sv.ground(p) * (to - from)
	if c, end := sv.starting(p); end > from {
		begin := max(from, p.started)
		sum += c * max(0, min(to, end)-begin)
	}
	return sum * p.granted
}

// sync brings a pod's counter up to t.
func (s *System) sync(p *pod, sv *service, t float64) {
	if t <= p.synced {
		return
	}
	used := s.background(sv, p, p.synced, t)
	if p.group >= 0 && !sv.constant {
		w := s.work(sv, &sv.groups[p.group], t)
		used += max(0, w-p.work)
		p.work = w
	}
	if sv.model.Noise > 0 && !sv.constant && used > 0 {
		used *= s.noise(p, sv.model.Noise, p.synced, t)
	}
	if l := p.spec.CPULimitCores; l > 0 {
		used = min(used, l*(t-p.synced))
	}
	p.cpu += used
	p.synced = t
}

// noise is the mean factor between two instants: an AR(1) of slots, each drawn for itself, so that no draw depends on who
// reads. On a node without room to spare it only lowers.
func (s *System) noise(p *pod, sigma, from, to float64) float64 {
	base := max(0, math.Floor(p.started/noiseSlot))
	first, last := int64(math.Floor(from/noiseSlot)), int64(math.Floor(to/noiseSlot))
	sum := 0.0
	for k := first; k <= last; k++ {
		begin, end := max(from, float64(k)*noiseSlot), min(to, float64(k+1)*noiseSlot)
		if end <= begin {
			continue
		}
		for p.slot < k {
			if p.slot == math.MinInt64 {
				// Earlier slots than eight time constants have no weight left.
				p.slot = max(int64(base), k-8) - 1
				p.noise = 0
			}
			p.slot++
			d := drawsAt(p.noisy, p.slot)
			p.noise = noiseKeep*p.noise + math.Sqrt(1-noiseKeep*noiseKeep)*d.normal()
		}
		v := max(-maxNoiseSigma, min(maxNoiseSigma, p.noise)) * sigma
		if p.spec.Node > 0 && s.nodes[p.spec.Node-1].tight {
			v = min(0, v)
		}
		sum += max(0, 1+v) * (end - begin)
	}
	return sum / (to - from)
}

// MemoryBytes is a pod's working set at an instant between the present and the next Advance.
func (s *System) MemoryBytes(id PodID, at time.Time) float64 {
	s.solve()
	p := &s.pods[id]
	return s.memory(p, max(s.now, s.seconds(at)))
}

func (s *System) memory(p *pod, t float64) float64 {
	if !p.spec.Running {
		return 0
	}
	sv := &s.services[p.spec.Service]
	if sv.constant {
		if sv.usage.MemoryBytes > 0 {
			return sv.usage.MemoryBytes
		}
		if p.spec.MemoryRequestBytes <= 0 {
			return memoryDefault
		}
		return sv.usage.MemoryRequestShare * p.spec.MemoryRequestBytes
	}
	m := sv.model.Memory
	x := 0.0
	if m.PerRequestBytes > 0 {
		x = s.inside(sv, p, t)
		if m.KeepsPeak {
			x = max(x, p.peak)
			if p.group >= 0 {
				x = max(x, sv.groups[p.group].peak)
			}
		}
	}
	return s.memoryBase(sv, p) + x*m.PerRequestBytes + p.clients*m.PerConnectionBytes + m.grown(t-p.started)
}

// grown is what age alone adds to a working set.
func (m *Memory) grown(age float64) float64 {
	age = max(0, age)
	sum := m.LeakBytesPerSec * age
	if m.CacheMaxBytes > 0 && m.CacheFill > 0 {
		sum += m.CacheMaxBytes * (1 - math.Exp(-age/m.CacheFill.Seconds()))
	}
	return sum
}

// cacheFull is after how many times its constant a cache counts as full: all but a millionth.
const cacheFull = 14

// reaches is the age at which age alone has added more bytes than at an age before; infinite when it never does.
func (m *Memory) reaches(age, more float64) float64 {
	from, hi := m.grown(age), math.Inf(1)
	if m.LeakBytesPerSec > 0 {
		hi = age + more/m.LeakBytesPerSec
	}
	if m.CacheMaxBytes <= 0 || m.CacheFill <= 0 {
		return hi
	}
	if full := cacheFull * m.CacheFill.Seconds(); full < hi {
		hi = max(age, full)
	}
	if m.grown(hi)-from < more {
		if m.LeakBytesPerSec <= 0 {
			return math.Inf(1)
		}
		return hi + (more-(m.grown(hi)-from))/m.LeakBytesPerSec
	}
	lo := age
	for hi-lo > 1e-6 {
		if mid := (lo + hi) / 2; m.grown(mid)-from < more {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}

func (s *System) memoryBase(sv *service, p *pod) float64 {
	switch {
	case sv.model.Memory.BaseBytes > 0:
		return sv.model.Memory.BaseBytes
	case p.spec.MemoryRequestBytes > 0:
		return memoryShare * p.spec.MemoryRequestBytes
	}
	return memoryDefault
}

// NextMemoryCrossing is the pod whose working set is next above its limit, and when; false when none will be under the
// present state. A pod that is above already is returned with the present time until the caller restarts it, or says by
// SnoozeMemory when to come back to it.
func (s *System) NextMemoryCrossing() (PodID, time.Time, bool) {
	s.solve()
	best, first := PodID(-1), math.Inf(1)
	for i := range s.services {
		sv := &s.services[i]
		m := sv.model.Memory
		if sv.constant || m.PerRequestBytes <= 0 && m.LeakBytesPerSec <= 0 && m.BaseBytes <= 0 && m.PerConnectionBytes <= 0 && m.CacheMaxBytes <= 0 {
			continue
		}
		for _, id := range sv.pods {
			p := &s.pods[id]
			if t := s.crossing(sv, p); t < first {
				best, first = id, t
			}
		}
	}
	if best < 0 {
		return 0, time.Time{}, false
	}
	return best, s.at(first), true
}

func (s *System) crossing(sv *service, p *pod) float64 {
	limit := p.spec.MemoryLimitBytes
	if limit <= 0 || !p.spec.Running {
		return math.Inf(1)
	}
	now := s.memory(p, s.now)
	if now > limit {
		return max(s.now, p.asked)
	}
	age := max(0, s.now-p.started)
	t := s.now + sv.model.Memory.reaches(age, limit-now) - age
	if sv.model.Memory.PerRequestBytes > 0 && p.group >= 0 && !sv.groups[p.group].now.steady {
		// Inside a transient the number moves one way: find the crossing between now and its next solution.
		lo, hi := s.now, min(t, sv.moving)
		if hi > lo && s.memory(p, hi) > limit {
			for hi-lo > 1e-3 {
				if mid := (lo + hi) / 2; s.memory(p, mid) > limit {
					hi = mid
				} else {
					lo = mid
				}
			}
			t = min(t, hi)
		}
	}
	return max(t, p.asked)
}

// SnoozeMemory leaves a pod out of NextMemoryCrossing until then, or until it restarts: the caller has seen that it is above
// its limit, and whoever is to end it may be slow, or have rounded otherwise.
func (s *System) SnoozeMemory(id PodID, until time.Time) { s.pods[id].asked = s.seconds(until) }
