package serve

import (
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// cost of one request, drawn from the model.
type cost struct {
	cpu   float64 // seconds of CPU time
	wait  time.Duration
	error bool
}

// draw takes the cost of a request for a path, age after the start of the container.
func draw(m *v1alpha1.ServiceModel, path string, age time.Duration, random *rand.Rand) cost {
	r := route(m, path)
	var c cost
	if r.CPU != nil {
		mean := r.CPU.Seconds()
		if m.CPUFactor != nil {
			mean *= *m.CPUFactor
		}
		own := mean
		if scv := CPUScvOf(&r); scv > 0 { // log-normal with that mean and squared coefficient of variation
			sigma := math.Sqrt(math.Log(1 + scv))
			own *= math.Exp(sigma*random.NormFloat64() - sigma*sigma/2)
		}
		c.cpu = own * warm(m.Warmup, age)
	}
	cpu := time.Duration(0)
	if r.CPU != nil {
		cpu = r.CPU.Duration
	}
	if latency := LatencyOf(&r, cpu); latency.P50.Duration > 0 && (r.Latency != nil || r.CPU != nil) {
		total := float64(latency.At(random.NormFloat64()))
		if m.LatencyFactor != nil {
			total *= *m.LatencyFactor
		}
		// The latency holds the CPU time; what is drawn of it beyond is waiting.
		c.wait = time.Duration(max(0, total-float64(cpu)))
	}
	c.error = r.Errors != nil && random.Float64() < float64(*r.Errors)
	return c
}

// warm is by how much a request is dearer so soon after the start.
func warm(w *v1alpha1.Warmup, age time.Duration) float64 {
	if w == nil || w.Factor == nil || w.HalfLife == nil || w.HalfLife.Duration <= 0 {
		return 1
	}
	return 1 + (*w.Factor-1)*math.Exp2(-age.Seconds()/w.HalfLife.Seconds())
}

// route is what a request for the path costs: the fields of the model, and over them those of the route whose name is the
// longest prefix of the path in whole segments, else of "*".
func route(m *v1alpha1.ServiceModel, path string) v1alpha1.RouteModel {
	out := m.RouteModel
	best, found := "", false
	for name := range m.Routes {
		fits := name == "*" || path == name || strings.HasPrefix(path, strings.TrimSuffix(name, "/")+"/")
		if fits && (!found || len(name) > len(best) || best == "*") && !(found && name == "*") {
			best, found = name, true
		}
	}
	if !found {
		return out
	}
	r := m.Routes[best]
	if r.CPU != nil {
		out.CPU = r.CPU
	}
	if r.CPUScv != nil {
		out.CPUScv = r.CPUScv
	}
	if r.Latency != nil {
		out.Latency = r.Latency
	}
	if r.Errors != nil {
		out.Errors = r.Errors
	}
	return out
}
