package platform

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
)

// engineUserUp is who plays the nodes of an embedded cluster.
const engineUserUp = "fairway-virtual-nodes"

// record starts the recorder by which the platform tells, as Events, what it noticed about objects.
func (c *Cluster) record(client kubernetes.Interface) {
	b := record.NewBroadcaster()
	b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	c.shutEvents = b.Shutdown
	c.recorder = b.NewRecorder(clientgoscheme.Scheme, corev1.EventSource{Component: engineUserUp})
}

// tell writes what was guessed of a pod's containers, as far as --pod-events lets it.
func (c *Cluster) tell(policy virtual.EventPolicy) func(pod *corev1.Pod, eventType, reason, message string) {
	return func(pod *corev1.Pod, eventType, reason, message string) {
		if policy == virtual.EventsNone || policy == virtual.EventsWarnings && eventType != corev1.EventTypeWarning {
			return
		}
		c.recorder.Event(pod, eventType, reason, message)
	}
}
