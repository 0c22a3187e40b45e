package house

import (
	"context"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Writes is a client that keeps what is written through it, by namespace; Events apart.
type Writes struct {
	client.Client
	mu sync.Mutex
	by map[string][]string
}

// In are the writes to a namespace so far, in their order: the verb, the subresource if any, and the Go type.
func (w *Writes) In(ns string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.by[ns])
}

func (w *Writes) note(verb string, obj client.Object) {
	if _, ok := obj.(*corev1.Event); ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.by == nil {
		w.by = map[string][]string{}
	}
	w.by[obj.GetNamespace()] = append(w.by[obj.GetNamespace()], fmt.Sprintf("%s %T", verb, obj))
}

// Create implements client.Client.
func (w *Writes) Create(ctx context.Context, obj client.Object, o ...client.CreateOption) error {
	w.note("create", obj)
	return w.Client.Create(ctx, obj, o...)
}

// Patch implements client.Client.
func (w *Writes) Patch(ctx context.Context, obj client.Object, p client.Patch, o ...client.PatchOption) error {
	w.note("patch", obj)
	return w.Client.Patch(ctx, obj, p, o...)
}

// Delete implements client.Client.
func (w *Writes) Delete(ctx context.Context, obj client.Object, o ...client.DeleteOption) error {
	w.note("delete", obj)
	return w.Client.Delete(ctx, obj, o...)
}

// SubResource implements client.Client.
func (w *Writes) SubResource(name string) client.SubResourceClient {
	return subresource{w.Client.SubResource(name), w, name}
}

type subresource struct {
	client.SubResourceClient
	w    *Writes
	name string
}

// Patch implements client.SubResourceWriter.
func (s subresource) Patch(ctx context.Context, obj client.Object, p client.Patch, o ...client.SubResourcePatchOption) error {
	s.w.note("patch "+s.name, obj)
	return s.SubResourceClient.Patch(ctx, obj, p, o...)
}

// Create implements client.SubResourceWriter.
func (s subresource) Create(ctx context.Context, obj, sub client.Object, o ...client.SubResourceCreateOption) error {
	s.w.note("create "+s.name, obj)
	return s.SubResourceClient.Create(ctx, obj, sub, o...)
}
