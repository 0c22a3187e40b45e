// Package flow is the model of requests in rehearsal: offered rates go in, together with pods, nodes and models of
// services; out come requests served and failed, latencies, CPU and memory of each pod. It is pure: no Kubernetes type, no
// clock, no goroutine, no I/O; time only moves by System.Advance, and every random draw is hash(seed, purpose, key, n).
//
// A pod is a queueing station (M/M/m processor sharing with a real number of cores, or workers with a queue), overload is a
// fluid (pointwise stationary flow: Wang, Tipper, Banerjee, INFOCOM 1996) and calls couple the stations, retries included.
// The solution of a window starts from the one before, so that a retry storm outlives its trigger (metastable failures:
// Bronson et al., HotOS 2021). Measured accuracy against single simulated requests is told in accuracy.md.
package flow
