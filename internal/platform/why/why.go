// Package why answers "why is this object not as wanted?" from what the API server says alone, so that it works from any
// machine with a kubeconfig. In: an object and what hangs together with it. Out: the one reason that blocks it, the
// evidence, and when something will happen next.
//
// A capability adds answers for its kinds by a value in [Explainers].
package why

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Answer is why an object is as it is.
type Answer struct {
	Object string `json:"object"` // kind/name
	// Blocked is false when nothing is wrong.
	Blocked bool `json:"blocked"`
	// Reason is the one thing to change or to wait for, in a sentence.
	Reason string `json:"reason"`
	// Code names the reason for programs: Kubernetes' own word where there is one.
	Code     string     `json:"code,omitempty"`
	Evidence []Evidence `json:"evidence,omitempty"`
	// Next is what will happen without anybody's doing, and when; empty when nothing will.
	Next string `json:"next,omitempty"`
	// NextAt is when, if that is known.
	NextAt *time.Time `json:"nextAt,omitempty"`
	// Try are commands that show more or put it right, the most useful first.
	Try []string `json:"try,omitempty"`
}

// Evidence is where a reason was read.
type Evidence struct {
	Source string `json:"source"` // what said so: a condition, a container's state, an event
	Detail string `json:"detail"`
}

// Explainer answers for one kind.
type Explainer struct {
	Kind       string   // as in the API
	Names      []string // how people call it, lower case
	Namespaced bool
	Explain    func(ctx context.Context, c client.Reader, key client.ObjectKey, now time.Time) (*Answer, error)
}

// Explainers lists the kinds there are answers for.
func Explainers() []Explainer {
	return []Explainer{
		{Kind: "Pod", Names: []string{"pod", "pods", "po"}, Namespaced: true, Explain: explainPod},
		{Kind: "Node", Names: []string{"node", "nodes", "no"}, Explain: explainNode},
		{Kind: "Deployment", Names: []string{"deployment", "deployments", "deploy"}, Namespaced: true, Explain: explainDeployment},
		{Kind: "ReplicaSet", Names: []string{"replicaset", "replicasets", "rs"}, Namespaced: true, Explain: explainReplicaSet},
		{Kind: "HorizontalPodAutoscaler", Names: []string{"horizontalpodautoscaler", "horizontalpodautoscalers", "hpa"}, Namespaced: true, Explain: explainHPA},
		{Kind: "Rollout", Names: []string{"rollout", "rollouts", "ro"}, Namespaced: true, Explain: explainRollout},
		{Kind: "AnalysisRun", Names: []string{"analysisrun", "analysisruns", "ar"}, Namespaced: true, Explain: explainRun},
		{Kind: "Experiment", Names: []string{"experiment", "experiments", "exp"}, Namespaced: true, Explain: explainExperiment},
	}
}

// Find returns the explainer for a kind as people write it.
func Find(kind string) (Explainer, error) {
	all := Explainers()
	for _, e := range all {
		if slices.Contains(e.Names, strings.ToLower(kind)) {
			return e, nil
		}
	}
	kinds := make([]string, len(all))
	for i := range all {
		kinds[i] = all[i].Names[0]
	}
	return Explainer{}, fmt.Errorf("there is no answer for kind %q yet; ask for one of %s", kind, strings.Join(kinds, ", "))
}

func (a *Answer) block(code, reason string, args ...any) *Answer {
	a.Blocked, a.Code, a.Reason = true, code, fmt.Sprintf(reason, args...)
	return a
}

func (a *Answer) saw(source, detail string, args ...any) *Answer {
	if len(args) > 0 {
		detail = fmt.Sprintf(detail, args...)
	}
	a.Evidence = append(a.Evidence, Evidence{source, detail})
	return a
}

func (a *Answer) then(next string, at time.Time) *Answer {
	a.Next = next
	if !at.IsZero() {
		a.NextAt = &at
	}
	return a
}

func (a *Answer) try(format string, args ...any) *Answer {
	a.Try = append(a.Try, fmt.Sprintf(format, args...))
	return a
}

// eventsShown bounds the events of one answer.
const eventsShown = 3

// events returns the newest events about an object, newest first.
func events(ctx context.Context, c client.Reader, o client.Object) ([]corev1.Event, error) {
	var list corev1.EventList
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = corev1.NamespaceDefault
	}
	if err := c.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{"involvedObject.name": o.GetName()}); err != nil {
		return nil, fmt.Errorf("reading events about %s: %w", o.GetName(), err)
	}
	mine := slices.DeleteFunc(list.Items, func(e corev1.Event) bool {
		return e.InvolvedObject.UID != "" && e.InvolvedObject.UID != o.GetUID() && string(e.InvolvedObject.UID) != o.GetName()
	})
	slices.SortStableFunc(mine, func(a, b corev1.Event) int { return eventTime(&b).Compare(eventTime(&a)) })
	return mine, nil
}

func eventTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}

// sawEvents adds the newest warnings.
func (a *Answer) sawEvents(list []corev1.Event, reasons ...string) *Answer {
	shown := 0
	for i := range list {
		e := &list[i]
		if shown < eventsShown && (slices.Contains(reasons, e.Reason) || len(reasons) == 0 && e.Type == corev1.EventTypeWarning) {
			a.saw("event "+e.Reason, "%s", e.Message)
			shown++
		}
	}
	return a
}
