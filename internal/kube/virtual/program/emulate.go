package program

import (
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Subcommands of agnhost (the test image of Kubernetes) by what they do here.
var (
	agnhostServers = []string{"netexec", "serve-hostname", "test-webserver", "porter", "nettest", "guestbook",
		"grpc-health-checking", "webhook", "crd-conversion-webhook", "port-forward-tester", "no-snat-test", "tcp-reset", "liveness"}
	agnhostWaits = []string{"pause", "inclusterclient"}
	agnhostEnds  = []string{"entrypoint-tester", "mounttest", "test-service-account-issuer-discovery", "etc-hosts", "dns-suffix", "connect"}
)

// agnhostPauseTerm is the exit code of agnhost pause at SIGTERM.
const agnhostPauseTerm = 2

// livenessHealthy is how long agnhost liveness answers 200 before it answers 500.
const livenessHealthy = 10 * time.Second

func (c *Choice) agnhost(argv []string, env map[string]string) (string, bool) {
	if len(argv) < 2 {
		return "image table: agnhost", true
	}
	sub, args := argv[1], argv[2:]
	why := "image table: agnhost " + sub
	switch {
	case slices.Contains(agnhostServers, sub):
		c.Listens, c.Ports = true, agnhostPorts(sub, args)
		c.Answers = answers(sub, args, c.Ports, env)
		for _, port := range slices.Sorted(maps.Keys(c.Answers)) {
			if !slices.Contains(c.Ports, port) {
				c.Ports = append(c.Ports, port)
			}
		}
		c.OnlyPorts = true
		switch sub {
		case "liveness":
			c.UnhealthyAfter, c.HealthPath = livenessHealthy, "/healthz"
		case "grpc-health-checking":
			if d, err := strconv.Atoi(flagValue(args, "delay-unhealthy-sec")); err == nil && d >= 0 {
				c.UnhealthyAfter = max(time.Duration(d)*time.Second, 1)
			}
		case "port-forward-tester":
			c.OnlyPorts = false // its port is in its environment
		}
	case slices.Contains(agnhostWaits, sub):
		c.OnlyPorts = true
		if sub == "pause" {
			c.Logs, c.TermCode = []Line{{Text: "Paused"}}, agnhostPauseTerm
		}
	case sub == "logs-generator":
		c.generateLogs(args)
	case slices.Contains(agnhostEnds, sub):
		c.Ends = true
		if sub == "entrypoint-tester" {
			c.Logs = []Line{{Text: "[" + strings.Join(argv, " ") + "]"}}
		} else {
			c.Unmodelled = why + " needs files, DNS or a connection, which have no model yet: it is taken to end with exit code 0"
		}
	default:
		c.Unmodelled = fmt.Sprintf("agnhost has no subcommand %q here; nearest is %q: it is taken to run", sub,
			nearest(sub, slices.Concat(agnhostServers, agnhostWaits, agnhostEnds, []string{"logs-generator"})))
	}
	return why, true
}

// agnhostPorts returns the HTTP port of a server subcommand.
func agnhostPorts(sub string, args []string) []uint16 {
	if sub == "grpc-health-checking" {
		out := []uint16{5000, 8080}
		for i, name := range []string{"port", "http-port"} {
			if port, ok := parsePort(flagValue(args, name)); ok {
				out[i] = port
			}
		}
		return out
	}
	for _, name := range []string{"http-port", "port"} {
		if port, ok := parsePort(flagValue(args, name)); ok {
			return []uint16{port}
		}
	}
	switch sub {
	case "porter":
		return nil // those of its environment
	case "serve-hostname":
		return []uint16{9376}
	case "test-webserver":
		return []uint16{80}
	case "guestbook":
		return []uint16{80}
	case "webhook", "crd-conversion-webhook":
		return []uint16{443}
	}
	return []uint16{8080}
}

// What the lines of logs-generator are made of: agnhost draws, here they take turns.
var (
	generatedMethods    = []string{"GET", "POST", "PUT"}
	generatedNamespaces = []string{"kube-system", "default", "ns"}
)

// generateLogs writes --log-lines-total lines evenly over --run-duration, as agnhost logs-generator does.
func (c *Choice) generateLogs(args []string) {
	total, err := strconv.Atoi(flagValue(args, "log-lines-total"))
	over, ok := duration(flagValue(args, "run-duration"))
	if err != nil || total < 1 || !ok {
		c.Ends, c.ExitCode = true, 1
		c.Logs = []Line{{Text: "logs-generator needs --log-lines-total and --run-duration", Stderr: true}}
		return
	}
	c.Ends, c.RunsFor = true, over
	for i := range min(total, linesMax) {
		at := over * time.Duration(i) / time.Duration(total)
		c.Logs = append(c.Logs, Line{At: at, Text: fmt.Sprintf("%d %s /api/v1/namespaces/%s/pods/%04x %d", i,
			generatedMethods[i/len(generatedNamespaces)%len(generatedMethods)], generatedNamespaces[i%len(generatedNamespaces)],
			uint16(i*40503), 200+i*7%300)})
	}
}

// stress uses what its arguments ask for: a core a CPU worker, the bytes of each memory worker (default 256 MiB).
func (c *Choice) stress(argv []string) {
	count := func(names ...string) int64 {
		for _, name := range names {
			if n, err := strconv.ParseInt(flagValue(argv, name), 10, 32); err == nil && n >= 0 {
				return n
			}
		}
		return 0
	}
	vms := count("vm", "m")
	c.Usage.CPUMilli = 1000 * (count("cpu", "c") + count("io", "i"))
	if vms > 0 {
		size := int64(256 << 20)
		if text := flagValue(argv, "vm-bytes"); text != "" {
			if n, ok := stressBytes(text); ok {
				size = n
			}
		}
		c.Usage.MemoryBytes = vms * size
		if flagValue(argv, "vm-hang") == "" {
			c.Usage.CPUMilli += 1000 * vms
		}
	}
	text := flagValue(argv, "timeout")
	if text == "" {
		text = flagValue(argv, "t")
	}
	if d, ok := sleepTime(text); ok && text != "" && d > 0 {
		c.Ends, c.RunsFor = true, d
	}
}

// stressBytes reads 250M, 1G or a plain number; its letters are powers of 1024.
func stressBytes(text string) (int64, bool) {
	text = strings.TrimSuffix(strings.ToUpper(text), "B")
	if n := len(text); n > 0 && strings.IndexByte("KMGT", text[n-1]) >= 0 {
		text = strings.ReplaceAll(text, "K", "k")
		text = strings.Replace(text, "k", "K", 1) + "i"
	}
	q, err := resource.ParseQuantity(text)
	return q.Value(), err == nil && q.Sign() > 0
}

// flagValue returns the value of --name VALUE, --name=VALUE or -name VALUE; "" without it.
func flagValue(args []string, name string) string {
	for i, a := range args {
		if !strings.HasPrefix(a, "-") {
			continue
		}
		key, value, inline := strings.Cut(strings.TrimLeft(a, "-"), "=")
		switch {
		case key != name:
		case inline:
			return value
		case i+1 < len(args):
			return args[i+1]
		}
	}
	return ""
}

func parsePort(text string) (uint16, bool) {
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err == nil && n > 0
}

const (
	// piTakes is about what perl needs for the 2,000 digits of the example in Kubernetes' documentation.
	piTakes = 5 * time.Second
	// piDigitsMax bounds the digits that are computed.
	piDigitsMax = 10000
)

var piCall = regexp.MustCompile(`bpi\((\d+)\)`)

// piDigits returns what `perl -Mbignum=bpi -wle 'print bpi(N)'` prints: π with N significant digits.
func piDigits(argv []string) (string, bool) {
	text := strings.Join(argv, " ")
	m := piCall.FindStringSubmatch(text)
	if m == nil || !strings.Contains(text, "bignum=bpi") {
		return "", false
	}
	n, err := strconv.Atoi(m[1])
	if err != nil || n < 1 || n > piDigitsMax {
		return "", false
	}
	return pi(n), true
}

// pi computes n significant digits by Machin's formula π = 16·arctan(1/5) − 4·arctan(1/239), rounding the last.
func pi(n int) string {
	const guard = 10
	unity := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n+guard)), nil)
	arctan := func(x int64) *big.Int {
		sum, term := new(big.Int), new(big.Int).Div(unity, big.NewInt(x))
		square, part := big.NewInt(x*x), new(big.Int)
		for k := int64(1); term.Sign() != 0; k += 2 {
			part.Div(term, big.NewInt(k))
			if k%4 == 1 {
				sum.Add(sum, part)
			} else {
				sum.Sub(sum, part)
			}
			term.Div(term, square)
		}
		return sum
	}
	p := new(big.Int).Mul(big.NewInt(16), arctan(5))
	p.Sub(p, new(big.Int).Mul(big.NewInt(4), arctan(239)))
	half := new(big.Int).Exp(big.NewInt(10), big.NewInt(guard+1), nil)
	p.Add(p, new(big.Int).Rsh(half, 1)).Div(p, half)
	text := p.String()
	if len(text) < 2 {
		return text
	}
	return text[:1] + "." + text[1:]
}
