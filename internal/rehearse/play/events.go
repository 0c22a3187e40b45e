package play

import (
	"strings"
	"time"

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
	case reason == "Failed" && (e.Message == "Error: ErrImagePull" || e.Message == "Error: ImagePullBackOff"):
		return // said with its cause by the event before it
	case reason == "Failed" && strings.Contains(e.Message, "image"):
		reason = "ErrImagePull"
	case reason == "BackOff" && strings.Contains(e.Message, "pulling image"):
		reason = "ImagePullBackOff"
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
	case "ReplicaSet", "Job":
		e.Owner = r.cluster.topmost(kind, ns, name)
		e.Data["workload"] = e.Owner
	}
	if k == record.KindRefused && e.Owner != "" {
		e.What = "a pod of " + short(e.Owner) + " is refused"
	}
	r.entry(e)
}
