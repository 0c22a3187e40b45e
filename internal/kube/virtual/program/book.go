package program

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
	"github.com/fairway-dev/fairway/internal/kube/virtual/serve"
)

// ReasonUnmodelled is the reason of the event that tells what was guessed.
const ReasonUnmodelled = "Unmodelled"

// reportsMax bounds what is remembered of the reports made; beyond it a template may be reported again.
const reportsMax = 10000

// Book holds the rules in force and answers the engine ([virtual.Behaviour]) and the dialer by them. Make it with
// [NewBook]; all methods may be called concurrently.
type Book struct {
	rules atomic.Pointer[Rules]
	// Serve is what a modelled server does with a connection, usually (*vnet.Universal).Serve of package vnet. Set it before use.
	Serve func(net.Conn)
	// With is Serve with the answers of a handler, and with TLS of its own if that is not nil, usually (*vnet.Universal).With.
	// nil = Serve.
	With func(http.Handler, *tls.Config) func(net.Conn)
	// Read returns an entry of a Secret or a ConfigMap of a namespace, for servers that read files of their volumes. nil = there
	// are none.
	Read func(namespace string, from Entry) ([]byte, error)
	// Servers answer for containers by the models of their programs; nil = every HTTP request is answered ok at once.
	Servers *serve.Servers
	// Log takes what a server writes about a request, a line for standard error. Set it before use; nil = dropped.
	Log func(pod *corev1.Pod, container string, restart int32, line string)
	// Lost reports whether a pod cannot be reached although it runs (its node is silent). nil = never.
	Lost func(*corev1.Pod) bool
	// Report is told once a template and container what was guessed (Unmodelled, type Normal) and which annotations
	// were not understood (InvalidSimulation, type Warning). nil = nobody. It must not call the engine.
	Report func(pod *corev1.Pod, eventType, reason, message string)

	mu       sync.Mutex
	reported map[string]bool
}

// NewBook returns a book with the rules.
func NewBook(r *Rules) *Book {
	b := &Book{}
	b.rules.Store(r)
	return b
}

// Set replaces the rules; they count from the next start of a container and the next connection.
func (b *Book) Set(r *Rules) { b.rules.Store(r) }

// Rules returns the rules in force.
func (b *Book) Rules() *Rules { return b.rules.Load() }

// Explain answers a question and reports nothing.
func (b *Book) Explain(q Question) Choice { return Choose(q, b.Rules()) }

// Choose implements virtual.Behaviour.
func (b *Book) Choose(v virtual.Choice) virtual.Model {
	q := Question{Pod: v.Pod, Container: v.Container, Init: v.Init, Restart: v.Restart, Identity: v.Identity, Seed: v.Seed}
	c := Choose(q, b.Rules())
	b.report(&q, &c)
	m := c.forEngine()
	m.Fails, m.Steady = b.probes(&q, &c)
	if m.Message == "" && c.Ends && c.ExitCode != 0 && v.Container.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
		m.Message = lastOutput(c.Logs)
	}
	return m
}

// Bounds of what a kubelet takes from the log for a termination message.
const (
	messageLines = 80
	messageBytes = 2048
)

// lastOutput is the end of what a container wrote, as a kubelet falls back to it.
func lastOutput(logs []Line) string {
	logs = logs[max(len(logs)-messageLines, 0):]
	lines := make([]string, len(logs))
	for i, l := range logs {
		lines[i] = l.Text
	}
	text := strings.Join(lines, "\n")
	return strings.ToValidUTF8(text[max(len(text)-messageBytes, 0):], "")
}

// forEngine is the choice in the engine's terms.
func (c *Choice) forEngine() virtual.Model {
	resizeError := ""
	if c.Resize.Error {
		resizeError = "the resize fails because of annotation " + v1alpha1.SimResize
	}
	delay := c.Resize.Delay
	if c.Resize.Said && delay == 0 {
		delay = 1 // at once; the engine takes 0 for its default
	}
	return virtual.Model{
		Why:            c.Why,
		Ready:          c.Ready,
		UnhealthyAfter: c.UnhealthyAfter,
		Exits:          c.Ends,
		RunsFor:        c.RunsFor,
		ExitCode:       c.ExitCode,
		Message:        c.Message,
		Stop:           c.Stop,
		IgnoreTerm:     c.IgnoreTerm,
		TermCode:       c.TermCode,
		StartError:     c.StartError,
		ResizeDelay:    delay,
		ResizeError:    resizeError,
		Usage: virtual.IdleUsage{CPUMilli: c.Usage.CPUMilli, MemoryBytes: c.Usage.MemoryBytes,
			LeakBytesPerHour: c.Usage.LeakBytesPerHour},
	}
}

func (b *Book) report(q *Question, c *Choice) {
	if b.Report == nil {
		return
	}
	template := q.Pod.Namespace + "/" + q.Pod.Name
	if owner := metav1.GetControllerOfNoCopy(q.Pod); owner != nil {
		template = string(owner.UID)
	}
	template += "/" + q.Container.Name
	if c.Unmodelled != "" && b.first(template+"/"+ReasonUnmodelled) {
		b.Report(q.Pod, corev1.EventTypeNormal, ReasonUnmodelled, fmt.Sprintf("container %s: %s", q.Container.Name, c.Unmodelled))
	}
	for _, p := range c.Problems {
		if b.first(template + "/" + p.Key + "/" + p.Message) {
			b.Report(q.Pod, corev1.EventTypeWarning, ReasonInvalidSimulation, p.Message)
		}
	}
}

// first reports whether the key was not seen before.
func (b *Book) first(key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reported[key] {
		return false
	}
	if b.reported == nil || len(b.reported) >= reportsMax {
		b.reported = map[string]bool{}
	}
	b.reported[key] = true
	return true
}
