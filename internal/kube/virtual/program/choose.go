package program

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/virtual/serve"
)

// never is a time that no cluster reaches.
const never = 100 * 365 * 24 * time.Hour

// Choose says what an instance of a container does, by the rules.
func Choose(q Question, rules *Rules) Choice {
	c := Choice{Healthy: true}
	values, problems := relevant(q.Pod.Annotations, q.Container.Name, containerNames(q.Pod))
	c.Problems = problems
	program, fine := rules.chosen(&q, values)
	if !fine {
		c.Problems = append(c.Problems, Problem{v1alpha1.SimProgram, fmt.Sprintf(
			"annotation %s: there is no Program %q with allowAnnotation: true", v1alpha1.SimProgram, values[v1alpha1.SimProgram])})
	}
	run := ""
	if program != nil {
		run = program.Spec.Run
	}
	why := c.base(&q, rules, run)
	c.fill(&q, rules.Defaults)
	if program != nil {
		c.program(&q, &program.Spec)
		why = fmt.Sprintf("Program %s, then %s", program.Name, why)
		if run != "" {
			why = fmt.Sprintf("Program %s: %s", program.Name, run)
		}
		if run != "" || program.Spec.Duration != nil || program.Spec.Outcomes != nil {
			c.Unmodelled = ""
		}
	}
	if rules.Service != nil {
		if m := rules.Service(&q); m != nil {
			c.apply(&q, m)
			why = "service model of the scenario, then " + why
		}
	}
	if used := annotate(&c, &q, values); used != nil {
		why = "annotations " + strings.Join(used, " ") + ", then " + why
	}
	if rules.Faults != nil {
		if used := annotate(&c, &q, rules.Faults(&q)); used != nil {
			why = "fault " + strings.Join(used, " ") + ", then " + why
		}
	}
	if !c.Healthy {
		c.Ready = never
	}
	c.Why = why
	return c
}

// base sets what the Program's run, the image table, the command or the default says, and returns which.
func (c *Choice) base(q *Question, rules *Rules, run string) string {
	row := lookup(q.Container.Image)
	env := environment(q)
	argv := expand(row.argv(q.Container.Command, q.Container.Args), env)
	what, arg, _ := strings.Cut(run, ":")
	switch what {
	case "sleep":
		return "run: sleep"
	case "local":
		port, _ := parsePort(arg)
		c.Local, c.Listens = port, true
		return "run: " + run
	case "builtin":
		c.Listens = arg != "pause"
		for _, r := range table {
			if r.builtin == arg {
				c.Ports = r.ports
				break
			}
		}
		if arg == echoBuiltin {
			c.echoes(env)
		}
		return "run: " + run
	}
	if c.StartError = startError(row, argv, q.Container); c.StartError != "" {
		return fmt.Sprintf("command %q does not exist in image %s", argv[0], q.Container.Image)
	}
	if what != "shell" && row != nil && row.kind != runsShell && (len(q.Container.Command) == 0 || row.isOwn(argv[0])) {
		if why, ok := c.fromTable(row, argv, env); ok {
			return why
		}
	}
	script := Read(argv, Setting{Stdin: q.Container.Stdin, Env: env, MessageFile: messageFile(q.Container)})
	if script.Known {
		c.fromScript(&script, rules.RealSignals)
		return "command " + brief(argv)
	}
	return c.guess(q, rules, argv, &script)
}

// echoes makes it the server that answers with what it was asked; its ports are those that its environment names.
func (c *Choice) echoes(env map[string]string) {
	c.Echo, c.Ports = true, serve.EchoPorts(env)
}

// guess is what an image and a command without a model do.
func (c *Choice) guess(q *Question, rules *Rules, argv []string, script *Script) string {
	subject := "image " + q.Container.Image
	if len(argv) > 0 {
		subject += ", command " + brief(argv)
	}
	if rules.FailUnmodelled {
		c.Ends, c.ExitCode = true, 127
		c.Message = subject + " has no model and --unmodelled is fail; give it one with --program or a Program"
		c.Unmodelled = subject + " has no model: it fails"
		return "default: fail what has no model"
	}
	if !expectedToEnd(q) {
		c.Listens = true
		c.Unmodelled = subject + " has no model: it is taken to run, be ready and listen on its declared and probed ports"
		return "default: run and listen"
	}
	c.Ends, c.RunsFor = true, rules.Defaults.Completion
	if script.Shell && !script.Sleeps {
		c.RunsFor = 0
	}
	c.Unmodelled = fmt.Sprintf("%s has no model: it is taken to end with exit code 0 after %v", subject, c.RunsFor)
	return "default: run to completion"
}

// expectedToEnd reports whether the container's place says that it ends: an init container, or one that is not always
// restarted.
func expectedToEnd(q *Question) bool {
	if q.Init {
		return true
	}
	if policy := q.Container.RestartPolicy; policy != nil {
		return *policy != corev1.ContainerRestartPolicyAlways
	}
	return q.Pod.Spec.RestartPolicy != corev1.RestartPolicyAlways && q.Pod.Spec.RestartPolicy != ""
}

// fromTable is what a known image does when its own command runs.
func (c *Choice) fromTable(row *image, argv []string, env map[string]string) (string, bool) {
	why := "image table: " + row.builtin
	switch row.kind {
	case serves, acceptOnly:
		c.Listens, c.Ports = true, row.ports
		if row.builtin == echoBuiltin {
			c.echoes(env)
		}
	case waits:
		c.OnlyPorts = true
	case isAgnhost:
		return c.agnhost(argv, env)
	case isStress:
		c.stress(argv)
	case isPerl:
		digits, ok := piDigits(argv)
		if !ok {
			return "", false
		}
		c.Ends, c.RunsFor = true, piTakes
		c.Logs = []Line{{At: piTakes, Text: digits}}
	case isKubectl:
		if len(argv) > 1 && slices.Contains([]string{"proxy", "port-forward"}, argv[1]) || slices.Contains(argv, "-w") || slices.Contains(argv, "--watch") {
			return why, true
		}
		c.Ends = true
		c.Unmodelled = "kubectl in a pod has no model: it is taken to end with exit code 0"
	}
	return why, true
}

// fromScript is what a command that was read does.
func (c *Choice) fromScript(s *Script, realSignals bool) {
	c.Ends, c.RunsFor, c.ExitCode, c.Logs, c.Message = s.Ends, s.After, s.Code, s.Output, s.Message
	c.OnlyPorts = !s.Loops
	if realSignals {
		c.IgnoreTerm = s.Deaf
	}
	if s.Traps {
		c.TermCode = s.OnTerm
	}
}

// messageFile is where the container leaves its termination message.
func messageFile(c *corev1.Container) string {
	if c.TerminationMessagePath == "" {
		return corev1.TerminationMessagePathDefault
	}
	return c.TerminationMessagePath
}

// fill sets the defaults for what was not said.
func (c *Choice) fill(q *Question, d Defaults) {
	if d.Ready.P50.Duration > 0 && !c.Ends {
		c.Ready = readyAt(d.Ready, q)
	}
	c.Stop = d.Stop
	if c.Usage.CPUMilli == 0 {
		c.Usage.CPUMilli = d.CPUMilli
	}
	if c.Usage.MemoryBytes == 0 && d.Memory != nil {
		c.Usage.MemoryBytes = d.Memory(q.Container)
	}
}

// program applies the fields of a Program beside run.
func (c *Choice) program(q *Question, spec *v1alpha1.ProgramSpec) {
	if spec.Model != nil {
		c.apply(q, spec.Model)
	}
	if spec.Run != "" && spec.Run != "shell" {
		c.StartError = ""
	}
	if spec.Duration != nil {
		c.Ends, c.RunsFor = true, spec.Duration.Duration
	}
	if spec.ExitCode != nil {
		c.ExitCode = *spec.ExitCode
	}
	if len(spec.Outcomes) > 0 {
		c.outcome(q, spec.Outcomes)
	}
	if t := spec.OnTerm; t != nil {
		c.IgnoreTerm, c.TermCode, c.Refuses = t.Ignore, t.ExitCode, t.Refuse
		if t.After != nil {
			c.Stop = atLeastSaid(t.After.Duration)
		}
	}
	for _, p := range spec.Ports {
		if p.Protocol != "udp" {
			c.Ports = append(slices.Clone(c.Ports), uint16(p.Port))
		}
	}
	if h := spec.Health; h != nil {
		c.OnlyPorts, c.HealthPath = false, ""
		if h.HealthyAfter != nil {
			c.Ready = h.HealthyAfter.Duration
		}
		if h.UnhealthyAfter != nil {
			c.UnhealthyAfter = h.UnhealthyAfter.Duration
		}
		if h.Flap != nil && c.UnhealthyAfter == 0 {
			c.UnhealthyAfter = max(h.Flap.Every.Duration-h.Flap.For.Duration, 1)
		}
	}
	for _, l := range spec.Logs {
		c.Logs = append(slices.Clone(c.Logs), Line{At: l.At.Duration, Text: l.Line, Stderr: l.Stream == "stderr"})
	}
	slices.SortStableFunc(c.Logs, func(a, b Line) int { return cmp.Compare(a.At, b.At) })
	if spec.Image != nil {
		c.pull(spec.Image)
	}
}

// pull takes up what a Program says of the image.
func (c *Choice) pull(i *v1alpha1.ProgramImage) {
	c.Pull = Pull{Error: i.PullError, SharedWith: i.LayersSharedWith}
	if i.Size != nil {
		c.Pull.SizeBytes = i.Size.Value()
	}
	if i.Slow == nil || *i.Slow <= 0 {
		return
	}
	if c.Pull.SizeBytes == 0 {
		c.Pull.SizeBytes = int64(slowPull.Seconds() * pullBytesPerSecond)
	}
	c.Pull.SizeBytes = int64(float64(c.Pull.SizeBytes) * *i.Slow)
}

// outcome draws one way to end.
func (c *Choice) outcome(q *Question, outcomes []v1alpha1.Outcome) {
	weight := func(o *v1alpha1.Outcome) float64 {
		if o.Weight == nil {
			return 1
		}
		return max(*o.Weight, 0)
	}
	total := 0.0
	for i := range outcomes {
		total += weight(&outcomes[i])
	}
	rest := draw(q, "outcome") * total
	for i := range outcomes {
		o := &outcomes[i]
		if rest -= weight(o); rest >= 0 && i < len(outcomes)-1 {
			continue
		}
		c.Ends, c.ExitCode, c.Message = true, o.ExitCode, o.Message
		if o.After != nil {
			c.RunsFor = o.After.Duration
		}
		return
	}
}

// apply lays a service model over the choice: start, stop, crashes and constant use; the rest is kept for the load.
func (c *Choice) apply(q *Question, m *v1alpha1.ServiceModel) {
	if c.Model == nil {
		c.Model = m.DeepCopy()
	} else {
		overlay(c.Model, m)
	}
	if m.Ready != nil {
		c.Ready = readyAt(*m.Ready, q)
	}
	if m.Stop != nil {
		c.Stop = atLeastSaid(m.Stop.Duration)
	}
	if m.Memory != nil {
		c.useMemory(m.Memory)
	}
	if m.Idle != nil && m.Idle.CPU != nil {
		c.Usage.CPUMilli = m.Idle.CPU.MilliValue()
	}
	if m.Idle != nil && m.Idle.Memory != nil {
		c.Usage.MemoryBytes = m.Idle.Memory.Value()
	}
	if m.Crash != nil {
		c.crash(q, m.Crash)
	}
}

func (c *Choice) useMemory(m *v1alpha1.MemoryModel) {
	if m.Base != nil {
		c.Usage.MemoryBytes = m.Base.Value()
	}
	if m.Leak != nil {
		c.Usage.LeakBytesPerHour = m.Leak.PerSecond() * 3600
	}
}

// crash makes the container exit with 1: at its start by share, after a time, or at a drawn instant of a rate.
func (c *Choice) crash(q *Question, m *v1alpha1.Crash) {
	at, crashes := time.Duration(0), false
	sooner := func(d time.Duration) {
		if !crashes || d < at {
			at, crashes = d, true
		}
	}
	if m.After != nil {
		sooner(m.After.Duration)
	}
	if m.Rate != nil && *m.Rate > 0 {
		seconds := -math.Log(draw(q, "crash")) / float64(*m.Rate)
		if seconds < never.Seconds() {
			sooner(time.Duration(seconds * float64(time.Second)))
		}
	}
	if m.OnStart != nil && draw(q, "crash on start") < float64(*m.OnStart) {
		sooner(0)
	}
	if crashes && (!c.Ends || at < c.RunsFor) {
		c.Ends, c.RunsFor, c.ExitCode = true, at, 1
	}
}

// environment returns the variables of the container that are known without looking anything up.
func environment(q *Question) map[string]string {
	env := map[string]string{"HOSTNAME": hostname(q.Pod)}
	mapping := expansion.MappingFuncFor(env)
	for _, e := range q.Container.Env {
		if e.ValueFrom == nil {
			env[e.Name] = expansion.Expand(e.Value, mapping)
			continue
		}
		delete(env, e.Name)
		if e.ValueFrom.FieldRef == nil {
			continue
		}
		switch e.ValueFrom.FieldRef.FieldPath {
		case "metadata.name":
			env[e.Name] = q.Pod.Name
		case "metadata.namespace":
			env[e.Name] = q.Pod.Namespace
		case "spec.nodeName":
			env[e.Name] = q.Pod.Spec.NodeName
		}
	}
	return env
}

func expand(argv []string, env map[string]string) []string {
	out := make([]string, len(argv))
	mapping := expansion.MappingFuncFor(env)
	for i, a := range argv {
		out[i] = expansion.Expand(a, mapping)
	}
	return out
}

func containerNames(p *corev1.Pod) []string {
	var out []string
	for _, set := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range set {
			out = append(out, set[i].Name)
		}
	}
	for i := range p.Spec.EphemeralContainers {
		out = append(out, p.Spec.EphemeralContainers[i].Name)
	}
	return out
}

// brief shortens a command for messages.
func brief(argv []string) string {
	const most = 80
	text := strings.Join(strings.Fields(strings.Join(argv, " ")), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
