package platform

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
)

// podServing keeps what answers for pods in step with them: their real sockets, and the servers of their containers.
type podServing struct {
	sockets *vnet.Sockets
	book    *program.Book
}

func (h podServing) OnAdd(obj any, _ bool) { h.OnUpdate(nil, obj) }

func (h podServing) OnUpdate(_, obj any) {
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	h.book.Follow(p)
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		h.sockets.Shut(p.UID)
		return
	}
	h.sockets.Open(p)
}

func (h podServing) OnDelete(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if p, ok := obj.(*corev1.Pod); ok {
		h.sockets.Shut(p.UID)
		h.book.Forget(p)
	}
}

// serviceSockets opens and shuts the real sockets of Services as they come and go.
type serviceSockets struct{ sockets *vnet.Sockets }

func (h serviceSockets) OnAdd(obj any, _ bool) { h.OnUpdate(nil, obj) }

func (h serviceSockets) OnUpdate(_, obj any) {
	if s, ok := obj.(*corev1.Service); ok {
		h.sockets.OpenService(s)
	}
}

func (h serviceSockets) OnDelete(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if s, ok := obj.(*corev1.Service); ok {
		h.sockets.Shut(s.UID)
	}
}
