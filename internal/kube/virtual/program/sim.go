package program

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// Annotations of KWOK that say a fixed use.
const (
	kwokCPU    = "kwok.x-k8s.io/usage-cpu"
	kwokMemory = "kwok.x-k8s.io/usage-memory"
)

// Problem is an annotation that could not be understood. Its text is that of a Warning event InvalidSimulation.
type Problem struct {
	Key     string // the annotation
	Message string // what is wrong and which form is allowed
}

// ReasonInvalidSimulation is the reason of the event about a [Problem].
const ReasonInvalidSimulation = "InvalidSimulation"

// setting applies one value to a choice, or says which forms it takes.
type setting struct {
	form  string // the allowed form, for messages
	apply func(c *Choice, value string) bool
}

// settings are the sim- annotations by key without prefix.
var settings = map[string]setting{
	v1alpha1.SimStartup:  {`"3s", or "p50=3s,p99=10s"`, nil}, // drawn per pod: see apply
	v1alpha1.SimExit:     {`"137", "1@30s" or "0:90%,1:10%"`, nil},
	v1alpha1.SimLatency:  {`"p50=20ms,p99=200ms", or "20ms"`, setLatency},
	v1alpha1.SimErrors:   {`"1%"`, setErrors},
	v1alpha1.SimCapacity: {`"50rps"`, setCapacity},
	v1alpha1.SimDuration: {`"90s"`, setDuration},
	v1alpha1.SimCrash:    {`"every=10m"`, setCrash},
	v1alpha1.SimCPU:      {`"6ms" a request, or "250m" constant`, setCPU},
	v1alpha1.SimMemory:   {`"300Mi", or "base=200Mi,perRequest=100Ki,leak=10Mi/h"`, setMemory},
	v1alpha1.SimStop:     {`"5s", "5s,refuse", or "ignore"`, setStop},
	v1alpha1.SimPull:     {`"20s", or "error"`, setPull},
	v1alpha1.SimReady:    {`"false@10m", "false" or "true"`, setReady},
	v1alpha1.SimResize:   {`"delay=5s", or "error"`, setResize},
	v1alpha1.SimProgram:  {`the name of a Program with allowAnnotation`, func(*Choice, string) bool { return true }},
	kwokCPU:              {`"100m"`, setFixedCPU},
	kwokMemory:           {`"300Mi"`, setFixedMemory},
}

// annotationOrder is the order of application: what ends a container comes after what bounds its life.
var annotationOrder = []string{kwokCPU, kwokMemory, v1alpha1.SimStartup, v1alpha1.SimLatency, v1alpha1.SimErrors, v1alpha1.SimCapacity,
	v1alpha1.SimCPU, v1alpha1.SimMemory, v1alpha1.SimDuration, v1alpha1.SimCrash, v1alpha1.SimExit, v1alpha1.SimStop,
	v1alpha1.SimPull, v1alpha1.SimReady, v1alpha1.SimResize}

// relevant returns the values for one container by key without suffix: a value for the container beats one for the pod.
// Unknown keys, and keys for containers the pod does not have, are problems.
func relevant(annotations map[string]string, container string, containers []string) (map[string]string, []Problem) {
	out := map[string]string{}
	var problems []Problem
	for _, key := range slices.Sorted(maps.Keys(annotations)) { // a key sorts before the same with a suffix
		if key == kwokCPU || key == kwokMemory {
			out[key] = annotations[key]
			continue
		}
		if !strings.HasPrefix(key, v1alpha1.SimPrefix) {
			continue
		}
		base, suffix, limited := strings.Cut(key[len(v1alpha1.SimPrefix):], ".")
		base = v1alpha1.SimPrefix + base
		switch _, known := settings[base]; {
		case !known:
			problems = append(problems, Problem{key, fmt.Sprintf("annotation %s is not known; did you mean %s? Known are: %s",
				key, nearest(base, simKeys()), strings.Join(simKeys(), ", "))})
		case limited && !slices.Contains(containers, suffix):
			problems = append(problems, Problem{key, fmt.Sprintf("annotation %s names container %q, which the pod does not have; its containers are: %s",
				key, suffix, strings.Join(containers, ", "))})
		case !limited || suffix == container:
			out[base] = annotations[key]
		}
	}
	return out, problems
}

// simKeys lists the sim- keys, sorted.
func simKeys() []string {
	var out []string
	for key := range settings {
		if strings.HasPrefix(key, v1alpha1.SimPrefix) {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// annotate applies values by key to the choice and returns the keys that took effect.
func annotate(c *Choice, q *Question, values map[string]string) []string {
	var used []string
	for _, key := range annotationOrder {
		value, ok := values[key]
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		applied := false
		switch key {
		case v1alpha1.SimStartup:
			applied = setStartup(c, q, value)
		case v1alpha1.SimExit:
			applied = setExit(c, q, value)
		default:
			applied = settings[key].apply(c, value)
		}
		if !applied {
			c.Problems = append(c.Problems, Problem{key, fmt.Sprintf("annotation %s: %q is not understood; write %s", key, value, settings[key].form)})
			continue
		}
		used = append(used, strings.TrimPrefix(key, v1alpha1.Prefix)+"="+value)
	}
	return used
}

// nearest returns the candidate with the smallest edit distance.
func nearest(text string, candidates []string) string {
	return slices.MinFunc(candidates, func(a, b string) int {
		return cmp.Or(cmp.Compare(distance(text, a), distance(text, b)), cmp.Compare(a, b))
	})
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := diagonal
			if a[i] != b[j] {
				next = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

func (c *Choice) model() *v1alpha1.ServiceModel {
	if c.Model == nil {
		c.Model = &v1alpha1.ServiceModel{}
	}
	return c.Model
}

func duration(text string) (time.Duration, bool) {
	d, err := v1alpha1.ParseDuration(text)
	return d.Duration, err == nil && d.Duration >= 0
}

// quantiles reads "20ms" or "p50=20ms,p99=200ms".
func quantiles(text string) (v1alpha1.Quantiles, bool) {
	if d, ok := duration(text); ok {
		return v1alpha1.Constant(d), true
	}
	var out v1alpha1.Quantiles
	for _, part := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		d, ok := duration(value)
		switch {
		case !ok:
			return out, false
		case name == "p50":
			out.P50 = v1alpha1.DurationOf(d)
		case name == "p99":
			out.P99 = v1alpha1.DurationOf(d)
		default:
			return out, false
		}
	}
	return out, out.P50.Duration > 0 && (out.P99.Duration == 0 || out.P99.Duration >= out.P50.Duration)
}

func setStartup(c *Choice, q *Question, value string) bool {
	d, ok := quantiles(value)
	if ok {
		c.Ready, c.Healthy = readyAt(d, q), true
		c.model().Ready = &d
	}
	return ok
}

// readyAt draws the time to readiness; p50 alone implies p99 = 3·p50.
func readyAt(d v1alpha1.Quantiles, q *Question) time.Duration {
	if d.P99.Duration == 0 {
		d.P99.Duration = 3 * d.P50.Duration
	}
	return d.At(normal(draw(q, "ready")))
}

func setLatency(c *Choice, value string) bool {
	d, ok := quantiles(value)
	if ok {
		c.model().Latency = &d
	}
	return ok
}

func setErrors(c *Choice, value string) bool {
	var s v1alpha1.Share
	if s.UnmarshalText([]byte(value)) != nil || s > 1 {
		return false
	}
	c.model().Errors = &s
	return true
}

// setCapacity turns requests a second into the CPU time a request that saturates one core there.
func setCapacity(c *Choice, value string) bool {
	text, ok := strings.CutSuffix(value, "rps")
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if !ok || err != nil || !(n > 0 && n <= v1alpha1.RateMax) {
		return false
	}
	d := v1alpha1.DurationOf(time.Duration(float64(time.Second) / n))
	c.model().CPU = &d
	return true
}

func setDuration(c *Choice, value string) bool {
	d, ok := duration(value)
	if ok {
		c.Ends, c.RunsFor = true, d
	}
	return ok
}

func setCrash(c *Choice, value string) bool {
	text, ok := strings.CutPrefix(value, "every=")
	d, valid := duration(text)
	if !ok || !valid || d == 0 {
		return false
	}
	if !c.Ends || d < c.RunsFor {
		c.Ends, c.RunsFor, c.ExitCode = true, d, 1
	}
	return true
}

func exitCode(text string) (int32, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 8)
	return int32(n), err == nil
}

// setExit reads a code, a code with its time, or codes with their shares.
func setExit(c *Choice, q *Question, value string) bool {
	if text, at, ok := strings.Cut(value, "@"); ok {
		code, valid := exitCode(text)
		d, timed := duration(at)
		if valid && timed {
			c.Ends, c.RunsFor, c.ExitCode = true, d, code
		}
		return valid && timed
	}
	if !strings.Contains(value, ":") {
		code, ok := exitCode(value)
		if ok {
			c.endWith(code)
		}
		return ok
	}
	var total, rest float64
	var codes []int32
	var shares []float64
	for _, part := range strings.Split(value, ",") {
		text, share, _ := strings.Cut(part, ":")
		code, ok := exitCode(text)
		var s v1alpha1.Share
		if !ok || s.UnmarshalText([]byte(share)) != nil {
			return false
		}
		codes, shares, total = append(codes, code), append(shares, float64(s)), total+float64(s)
	}
	if total <= 0 {
		return false
	}
	rest = draw(q, "exit") * total
	for i, s := range shares {
		if rest -= s; rest < 0 || i == len(shares)-1 {
			c.endWith(codes[i])
			break
		}
	}
	return true
}

// endWith sets the exit code of the end; a container that would run for ever ends at once.
func (c *Choice) endWith(code int32) {
	if !c.Ends {
		c.RunsFor = 0
	}
	c.Ends, c.ExitCode = true, code
}

// setCPU reads CPU time a request, which ends in a unit of time below a minute, or a constant use.
func setCPU(c *Choice, value string) bool {
	if strings.HasSuffix(value, "s") {
		d, ok := duration(value)
		if ok {
			at := v1alpha1.DurationOf(d)
			c.model().CPU = &at
		}
		return ok
	}
	return setFixedCPU(c, value)
}

func setFixedCPU(c *Choice, value string) bool {
	n, err := resource.ParseQuantity(value)
	if err != nil || n.Sign() < 0 {
		return false
	}
	c.Usage.CPUMilli = n.MilliValue()
	return true
}

func setFixedMemory(c *Choice, value string) bool {
	n, err := resource.ParseQuantity(value)
	if err != nil || n.Sign() < 0 {
		return false
	}
	c.Usage.MemoryBytes, c.Usage.LeakBytesPerHour = n.Value(), 0
	return true
}

func setMemory(c *Choice, value string) bool {
	if !strings.Contains(value, "=") {
		return setFixedMemory(c, value)
	}
	m := v1alpha1.MemoryModel{}
	for _, part := range strings.Split(value, ",") {
		name, text, _ := strings.Cut(strings.TrimSpace(part), "=")
		if name == "leak" {
			m.Leak = &v1alpha1.QuantityRate{}
			if m.Leak.UnmarshalText([]byte(text)) != nil {
				return false
			}
			continue
		}
		n, err := resource.ParseQuantity(text)
		if err != nil || n.Sign() < 0 {
			return false
		}
		switch name {
		case "base":
			m.Base = &n
		case "perRequest":
			m.PerRequest = &n
		case "perConnection":
			m.PerConnection = &n
		default:
			return false
		}
	}
	c.useMemory(&m)
	c.model().Memory = &m
	return true
}

func setStop(c *Choice, value string) bool {
	if value == "ignore" {
		c.IgnoreTerm = true
		return true
	}
	text, refuse := strings.CutSuffix(value, ",refuse")
	d, ok := duration(text)
	if ok {
		c.Stop, c.IgnoreTerm, c.Refuses = atLeastSaid(d), false, refuse
	}
	return ok
}

// atLeastSaid keeps a stop of no time apart from one that nobody gave.
func atLeastSaid(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

func setPull(c *Choice, value string) bool {
	if value == "error" {
		c.Pull.Error = "the pull fails because of annotation " + v1alpha1.SimPull
		return true
	}
	d, ok := duration(value)
	if ok {
		c.Pull.Takes = d
	}
	return ok
}

func setReady(c *Choice, value string) bool {
	word, at, timed := strings.Cut(value, "@")
	d, ok := time.Duration(0), true
	if timed {
		d, ok = duration(at)
	}
	switch {
	case !ok:
		return false
	case word == "true" && !timed:
		c.Healthy, c.UnhealthyAfter = true, 0
	case word == "false" && d > 0:
		c.UnhealthyAfter = d
	case word == "false":
		c.Healthy = false
	default:
		return false
	}
	return true
}

func setResize(c *Choice, value string) bool {
	if value == "error" {
		c.Resize = Resize{Error: true}
		return true
	}
	text, named := strings.CutPrefix(value, "delay=")
	d, ok := duration(text)
	if named && ok {
		c.Resize = Resize{Delay: d, Said: true}
	}
	return named && ok
}
