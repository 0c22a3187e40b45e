package kubetest

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// Patience is how long Eventually and Gone wait: far longer than anything takes, so that a busy machine fails no test.
const Patience = 60 * time.Second

// Eventually waits until the object is as wanted and returns it. missing looks at each state and says what is missing, or
// "" when nothing is. It is driven by a watch: every change is looked at, and nothing polls. obj needs a name and, if its
// kind has one, a namespace; it need not exist yet.
func Eventually[T client.Object](t testing.TB, c *Cluster, obj T, missing func(T) string) T {
	t.Helper()
	last := "it does not exist"
	got, ok := c.follow(t, obj, func(o client.Object, there bool) bool {
		if !there {
			last = "it does not exist"
			return false
		}
		last = missing(o.(T))
		return last == ""
	})
	if !ok {
		t.Fatalf("%s after %v: %s", describe(c.Scheme, obj), Patience, last)
	}
	return got.(T)
}

// Gone waits until the object does not exist.
func Gone(t testing.TB, c *Cluster, obj client.Object) {
	t.Helper()
	if _, ok := c.follow(t, obj, func(_ client.Object, there bool) bool { return !there }); !ok {
		t.Fatalf("%s still exists after %v", describe(c.Scheme, obj), Patience)
	}
}

// follow shows done every state of the object from now on until it returns true.
func (c *Cluster) follow(t testing.TB, obj client.Object, done func(o client.Object, there bool) bool) (client.Object, bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	for ctx.Err() == nil {
		list, err := c.newList(obj)
		if err != nil {
			t.Fatal(err)
		}
		opts := &client.ListOptions{Namespace: obj.GetNamespace(), FieldSelector: fields.OneTermEqualSelector("metadata.name", obj.GetName())}
		if err := c.Objects.List(ctx, list, opts); err != nil {
			t.Fatalf("reading %s: %v", describe(c.Scheme, obj), err)
		}
		there := false
		_ = meta.EachListItem(list, func(o runtime.Object) error {
			there, obj = true, o.(client.Object)
			return nil
		})
		if done(obj, there) {
			return obj, true
		}
		w, err := c.Objects.Watch(ctx, list, opts, resume(list.GetResourceVersion()))
		if apierrors.IsResourceExpired(err) || apierrors.IsTooManyRequests(err) {
			continue
		}
		if err != nil {
			t.Fatalf("watching %s: %v", describe(c.Scheme, obj), err)
		}
		got, ok := drain(w, done)
		w.Stop()
		if ok {
			return got, true
		}
	}
	return obj, false
}

// drain reads a watch until done says so or the watch ends.
func drain(w watch.Interface, done func(client.Object, bool) bool) (client.Object, bool) {
	for ev := range w.ResultChan() {
		o, ok := ev.Object.(client.Object)
		if !ok || ev.Type == watch.Error {
			return nil, false
		}
		if ev.Type != watch.Bookmark && done(o, ev.Type != watch.Deleted) {
			return o, true
		}
	}
	return nil, false
}

// resume makes a watch go on where a list ended.
type resume string

// ApplyToList implements client.ListOption.
func (r resume) ApplyToList(o *client.ListOptions) {
	raw := o.AsListOptions()
	raw.ResourceVersion = string(r)
	o.Raw = raw
}

func (c *Cluster) newList(obj client.Object) (client.ObjectList, error) {
	kind, err := apiutil.GVKForObject(obj, c.Scheme)
	if err != nil {
		return nil, err
	}
	kind.Kind += "List"
	if _, ok := obj.(*unstructured.Unstructured); ok { // of a kind that only the API server knows
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind)
		return list, nil
	}
	o, err := c.Scheme.New(kind)
	if err != nil {
		return nil, err
	}
	list, ok := o.(client.ObjectList)
	if !ok {
		return nil, fmt.Errorf("%s is not a list", kind)
	}
	return list, nil
}

func describe(s *runtime.Scheme, obj client.Object) string {
	kind := reflect.TypeOf(obj).Elem().Name()
	if k, err := apiutil.GVKForObject(obj, s); err == nil {
		kind = k.Kind
	}
	if obj.GetNamespace() == "" {
		return kind + " " + obj.GetName()
	}
	return kind + " " + obj.GetNamespace() + "/" + obj.GetName()
}
