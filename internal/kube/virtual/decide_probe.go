package virtual

import (
	"fmt"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/events"
)

// Probes are analytic: a container's health is a known function of time, so the engine computes the tick at which a
// probe's result changes next and sets one timer, instead of probing.

// health is the container's health at t, as the probe sees it, and the span [since, until) in which it does not change;
// until zero = for ever.
func (c *Container) health(t time.Time, probe ProbeSet) (healthy bool, since, until time.Time) {
	if c.Model.Fails&probe != 0 {
		return false, c.Started, time.Time{}
	}
	up := c.Started.Add(c.Model.Ready)
	healthy, since, until = true, up, time.Time{}
	if t.Before(up) {
		healthy, since, until = false, c.Started, up
	} else if c.Model.UnhealthyAfter > 0 && c.Model.Steady&probe == 0 {
		down := c.Started.Add(c.Model.UnhealthyAfter)
		if down.Before(up) {
			down = up
		}
		if t.Before(down) {
			until = down
		} else {
			healthy, since = false, down
		}
	}
	switch {
	case c.Unready && !t.Before(c.UnreadyFrom):
		return false, maxTime(c.UnreadyFrom, c.Started), time.Time{}
	case !c.Unready && since.Before(c.UnreadyFrom):
		since = c.UnreadyFrom
	}
	return healthy, since, until
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// ticks are the instants at which a probe runs.
type ticks struct {
	first  time.Time // a tick; the others are whole periods later
	from   time.Time // ticks before it are skipped (initialDelaySeconds)
	period time.Duration
}

// at returns the nth tick (from 0) not before t.
func (k ticks) at(t time.Time, n int32) time.Time {
	t = maxTime(t, k.from)
	var passed time.Duration
	if d := t.Sub(k.first); d > 0 {
		passed = (d + k.period - 1) / k.period * k.period
	}
	return k.first.Add(passed + time.Duration(n)*k.period)
}

// nextProbeChange returns when the result of a probe changes from its present value, looking from t on. Successes and
// failures count from the start of the span of health they fall in; a span too short for its threshold changes nothing.
func nextProbeChange(c *Container, p *v1.Probe, probe ProbeSet, k ticks, result bool, t time.Time) Flip {
	const maxSpans = 4 // starting, healthy, unhealthy, and one for a fault
	for range maxSpans {
		healthy, since, until := c.health(t, probe)
		if healthy != result {
			threshold := p.FailureThreshold
			if healthy {
				threshold = p.SuccessThreshold
			}
			if at := k.at(since, max(threshold, 1)-1); until.IsZero() || at.Before(until) {
				return Flip{At: at, Fail: !healthy}
			}
		}
		if until.IsZero() {
			return Flip{}
		}
		t = until
	}
	return Flip{}
}

func period(p *v1.Probe) time.Duration {
	if p.PeriodSeconds <= 0 {
		return 10 * time.Second
	}
	return time.Duration(p.PeriodSeconds) * time.Second
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

// startProbes sets the first changes of a container that has just started.
func (d *decider) startProbes(c *Container, t time.Time) {
	spec := c.spec(d.pod)
	c.StartupDone, c.Ready = false, false
	c.Startup, c.Readiness, c.Liveness = Flip{}, Flip{}, Flip{}
	if spec.StartupProbe == nil {
		d.startupPassed(c, t)
		return
	}
	k := d.ticks(c, spec.StartupProbe, d.s.Admitted)
	c.Startup = nextProbeChange(c, spec.StartupProbe, StartupProbe, k, false, t)
	// The failure threshold also counts from the first tick: whichever comes first decides.
	fail := k.at(t, max(spec.StartupProbe.FailureThreshold, 1)-1)
	if c.Startup.At.IsZero() || fail.Before(c.Startup.At) {
		c.Startup = Flip{At: fail, Fail: true}
	}
}

func (d *decider) ticks(c *Container, p *v1.Probe, first time.Time) ticks {
	return ticks{first: first, from: c.Started.Add(seconds(p.InitialDelaySeconds)), period: period(p)}
}

// startupPassed lets readiness and liveness begin.
func (d *decider) startupPassed(c *Container, t time.Time) {
	spec := c.spec(d.pod)
	c.StartupDone, c.Startup = true, Flip{}
	c.ReadyFrom = t
	if p := spec.ReadinessProbe; p == nil {
		c.Ready = true
	} else {
		c.Readiness = nextProbeChange(c, p, ReadinessProbe, d.ticks(c, p, t), false, t)
		d.passAtOnce(c, t)
	}
	d.armLiveness(c, t)
}

// armLiveness finds the tick at which liveness fails for good. Its result starts as success.
func (d *decider) armLiveness(c *Container, t time.Time) {
	p := c.spec(d.pod).LivenessProbe
	if p == nil {
		return
	}
	k := d.ticks(c, p, d.s.Admitted)
	k.from = maxTime(k.from, c.ReadyFrom)
	c.Liveness = nextProbeChange(c, p, LivenessProbe, k, true, t)
}

// passAtOnce takes a readiness success that is due already, so that a container that is healthy when it starts is
// reported running and ready together.
func (d *decider) passAtOnce(c *Container, t time.Time) {
	if !c.Readiness.At.IsZero() && !c.Readiness.At.After(t) {
		d.probes(c, t)
	}
}

// probes carries out changes of probe results due at t.
func (d *decider) probes(c *Container, t time.Time) {
	spec := c.spec(d.pod)
	due := func(f Flip) bool { return !f.At.IsZero() && !f.At.After(t) }
	if due(c.Startup) && !c.Killing {
		if c.Startup.Fail {
			d.probeKill(c, spec.StartupProbe, StartupProbe, t, "startup", "Startup")
			return
		}
		d.startupPassed(c, t)
	}
	if due(c.Readiness) {
		c.Ready = !c.Readiness.Fail
		if !c.Ready {
			d.event(t, c, true, events.ContainerUnhealthy, "Readiness probe failed: "+probeFailure(spec.ReadinessProbe, d.s.IP, c.Model.Fails&ReadinessProbe != 0))
		}
		c.Readiness = nextProbeChange(c, spec.ReadinessProbe, ReadinessProbe, d.ticks(c, spec.ReadinessProbe, c.ReadyFrom), c.Ready, t)
	}
	if due(c.Liveness) && !c.Killing {
		d.probeKill(c, spec.LivenessProbe, LivenessProbe, t, "liveness", "Liveness")
	}
}

// probeKill restarts a container whose probe failed for good.
func (d *decider) probeKill(c *Container, p *v1.Probe, probe ProbeSet, t time.Time, kind, title string) {
	name := c.spec(d.pod).Name
	d.event(t, c, true, events.ContainerUnhealthy, title+" probe failed: "+probeFailure(p, d.s.IP, c.Model.Fails&probe != 0))
	c.Startup, c.Liveness = Flip{}, Flip{}
	if d.pod.Spec.RestartPolicy == v1.RestartPolicyNever && c.Kind != KindSidecar {
		c.ForceRestart = false
	} else {
		c.ForceRestart = true
	}
	grace := podGrace(d.pod)
	if p.TerminationGracePeriodSeconds != nil {
		grace = *p.TerminationGracePeriodSeconds
	}
	d.terminate(c, t, t.Add(time.Duration(grace)*time.Second), "Container "+name+" failed "+kind+" probe, will be restarted")
}

// rearm recomputes the probe changes of a running container whose health was altered by a fault at t.
func (d *decider) rearm(c *Container, t time.Time) {
	spec := c.spec(d.pod)
	if c.Run != RunRunning {
		return
	}
	if !c.StartupDone {
		if spec.StartupProbe != nil && !c.Killing {
			d.startProbes(c, t)
		}
		return
	}
	if p := spec.ReadinessProbe; p != nil {
		c.Readiness = nextProbeChange(c, p, ReadinessProbe, d.ticks(c, p, c.ReadyFrom), c.Ready, t)
	}
	if !c.Killing {
		c.Liveness = Flip{}
		d.armLiveness(c, t)
	}
}

// probeFailure words a failed probe as the prober does: closed for a port on which nothing listens, else for a server
// that is not well.
func probeFailure(p *v1.Probe, ip string, closed bool) string {
	switch {
	case p == nil:
		return ""
	case p.HTTPGet != nil && closed:
		scheme := strings.ToLower(string(p.HTTPGet.Scheme))
		if scheme == "" {
			scheme = "http"
		}
		at := ip + ":" + p.HTTPGet.Port.String()
		return "Get \"" + scheme + "://" + at + p.HTTPGet.Path + "\": dial tcp " + at + ": connect: connection refused"
	case p.HTTPGet != nil:
		return "HTTP probe failed with statuscode: 503"
	case p.TCPSocket != nil:
		return "dial tcp " + ip + ":" + p.TCPSocket.Port.String() + ": connect: connection refused"
	case p.GRPC != nil && closed:
		return fmt.Sprintf("error: failed to connect to service \"%s:%d\": connection refused", ip, p.GRPC.Port)
	case p.GRPC != nil:
		return "service unhealthy (responded with \"NOT_SERVING\")"
	case p.Exec != nil:
		return "command failed: " + strings.Join(p.Exec.Command, " ")
	default:
		return ""
	}
}
