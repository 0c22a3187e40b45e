package play

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-dev/fairway/internal/kube/controlplane"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// eventKinds says which Kubernetes Events are worth a timeline entry of their own, and which kind. Others of type Warning
// become KindEvent; the rest is seen in the objects themselves.
var eventKinds = map[string]string{
	"FailedScheduling": record.KindPodPending, "FailedCreate": record.KindRefused, "Preempted": record.KindEviction,
	"TaintManagerEviction": record.KindEviction, "Evicted": record.KindEviction, "BackOff": record.KindCrash,
	"ErrImagePull": record.KindImage, "ImagePullBackOff": record.KindImage,
	"FailedGetResourceMetric": record.KindEvent, "FailedComputeMetricsReplicas": record.KindEvent,
}

// kubeEvent takes the Events of Kubernetes' own components.
func (r *run) kubeEvent(e controlplane.Event) {
	if e.Reason == "SuccessfulRescale" {
		r.mu.Lock()
		r.rescales[e.Regarding.Namespace+"/"+e.Regarding.Name] = e.Message
		r.mu.Unlock()
		return
	}
	if repeated[e.Reason] || saidByObject(e.Regarding.Kind, e.Reason) {
		return
	}
	if e.Reason == "TaintManagerEviction" && strings.HasPrefix(e.Message, "Cancelling") {
		return // no eviction: the pod was gone before
	}
	object := e.Regarding.Kind + "/" + path(e.Regarding.Namespace, e.Regarding.Name)
	r.event(object, e.Regarding.Namespace, e.Regarding.Name, e.Regarding.Kind, e.Type, e.Reason, e.Message, e.Reporter)
}

// nodeEvent takes the events of the engine that plays the kubelets.
func (r *run) kubeletEvent(e virtual.Event) {
	object := e.Kind + "/" + path(e.Namespace, e.Name)
	reason := e.Reason
	switch {
	case repeated[reason]:
		return
	case reason == "Failed" && (e.Message == "Error: ErrImagePull" || e.Message == "Error: ImagePullBackOff"):
		return // said with its cause by the event before it
	case reason == "Failed" && strings.Contains(e.Message, "image"):
		reason = "ErrImagePull"
	case reason == "BackOff" && strings.Contains(e.Message, "pulling image"):
		return // said by the pull that failed before it
	}
	r.event(object, e.Namespace, e.Name, e.Kind, e.Type, reason, e.Message, "kubelet")
}

func (r *run) event(object, ns, name, kind, typ, reason, message, reporter string) {
	k, known := eventKinds[reason]
	if !known {
		if typ != "Warning" {
			return
		}
		k = record.KindEvent
	}
	e := record.Entry{Time: time.Now(), Kind: k, Object: object, What: reason + " " + short(object), Why: message, Severity: record.Warning, Actor: reporter, Count: 1,
		Data: map[string]string{"reason": reason}}
	switch kind {
	case "Pod":
		e.Owner = r.ownerOf(ns, name)
		e.Data["workload"] = e.Owner
	case "ReplicaSet", "Job", analysisRunKind, experimentKind:
		e.Owner = r.cluster.topmost(kind, ns, name)
		if reason == "BackoffLimitExceeded" && strings.HasPrefix(e.Owner, analysisRunKind+"/") {
			return // the analysis says that its job failed
		}
		e.Data["workload"] = e.Owner
	}
	inWords(&e, reason)
	r.entry(e)
}

// repeated are the reasons of events that say what the timeline says already: of the step, the node or the pod.
var repeated = map[string]bool{"NodeNotReady": true, "NodeCrash": true, "ZoneOutage": true}

// inWords says what an event means where its reason alone does not.
func inWords(e *record.Entry, reason string) {
	of := short(e.Object)
	if e.Owner != "" {
		of = short(e.Owner)
	}
	switch reason {
	case "FailedScheduling":
		e.What = "a pod of " + of + " finds no node: " + schedulerReason(e.Why)
	case "FailedCreate":
		e.What = "a pod of " + of + " is refused"
		if strings.Contains(e.Why, "Operation cannot be fulfilled on resourcequotas") {
			e.What, e.Severity = "a pod of "+of+" is created again, because another had the quota first", record.Info
		}
	case "ErrImagePull":
		e.What = "an image of " + of + " cannot be pulled"
	case "BackOff":
		e.What = "a container of " + of + " ends again and again"
	case "FailedToUpdateEndpointSlices", "FailedToUpdateEndpoint":
		e.Severity = record.Info // tried again at once
	}
}

// schedulerReason is what the scheduler says without how many nodes it says it of.
func schedulerReason(message string) string {
	text, _, _ := strings.Cut(message, " preemption: ")
	if _, rest, ok := strings.Cut(text, " nodes are available: "); ok {
		text = rest
	}
	return strings.TrimSuffix(strings.TrimSpace(text), ".")
}

// waiting tells of the pods that had no node when measuring began: the scheduler's word on them came before.
func (r *run) waiting() {
	r.mu.Lock()
	var pods []*corev1.Pod
	for _, p := range r.cluster.living() {
		if p.obj.Spec.NodeName == "" {
			pods = append(pods, p.obj)
		}
	}
	r.mu.Unlock()
	for _, p := range pods {
		if why := conditionMessage(p, corev1.PodScheduled); why != "" {
			r.event(podObject(p), p.Namespace, p.Name, "Pod", corev1.EventTypeWarning, "FailedScheduling", why, "default-scheduler")
		}
	}
}
