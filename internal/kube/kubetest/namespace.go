package kubetest

import (
	"context"
	"fmt"
	"hash/fnv"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

const (
	namespaceNameMax = 50 // leaves room for the hash in the 63 of a label
	accountWithin    = 20 * time.Second
	eventsShown      = 20
)

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// Namespace makes a namespace for the test, with its default ServiceAccount, and has it deleted at the test's end. If the
// test fails, the conditions of its objects and the last events are logged.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	name := namespaceName(t.Name())
	ctx := t.Context()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubetest": "true"}}}
	_, err := c.Client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
	for n := 2; apierrors.IsAlreadyExists(err); n++ { // go test -count, or an earlier run against a real cluster
		ns.Name = fmt.Sprintf("%s-%d", name, n)
		_, err = c.Client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatalf("making the test's namespace: %v", err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(ctx)
		if t.Failed() {
			c.dump(ctx, t, ns.Name)
		}
		if err := c.Client.CoreV1().Namespaces().Delete(ctx, ns.Name, metav1.DeleteOptions{}); err != nil {
			t.Logf("deleting the test's namespace: %v", err)
		}
	})
	c.awaitAccount(t, ns.Name)
	return ns.Name
}

func namespaceName(test string) string {
	h := fnv.New32a()
	h.Write([]byte(test))
	clean := strings.Trim(notInName.ReplaceAllString(strings.ToLower(test), "-"), "-")
	return strings.Trim(clean[:min(len(clean), namespaceNameMax)], "-") + fmt.Sprintf("-%08x", h.Sum32())
}

// awaitAccount waits for what pods cannot be created without.
func (c *Cluster) awaitAccount(t testing.TB, namespace string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), accountWithin)
	defer cancel()
	accounts := c.Client.CoreV1().ServiceAccounts(namespace)
	w, err := accounts.Watch(ctx, metav1.SingleObject(metav1.ObjectMeta{Name: "default"}))
	if err != nil {
		t.Fatalf("waiting for the default ServiceAccount: %v", err)
	}
	defer w.Stop()
	if _, err := accounts.Get(ctx, "default", metav1.GetOptions{}); err == nil {
		return
	}
	for range w.ResultChan() {
		return
	}
	t.Fatalf("namespace %s has no default ServiceAccount after %v", namespace, accountWithin)
}

// dump logs what an operator would look at.
func (c *Cluster) dump(ctx context.Context, t testing.TB, namespace string) {
	t.Helper()
	cfg := rest.CopyConfig(c.Config)
	cfg.ContentType, cfg.AcceptContentTypes = "", ""
	d, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Logf("state of %s: %v", namespace, err)
		return
	}
	lists, err := c.Client.Discovery().ServerPreferredNamespacedResources()
	if err != nil {
		t.Logf("state of %s, as far as discovery goes: %v", namespace, err)
	}
	for _, list := range lists {
		for _, r := range list.APIResources {
			if r.Kind == "Event" || !slices.Contains(r.Verbs, "list") || strings.Contains(r.Name, "/") {
				continue
			}
			gv := strings.Split("/"+list.GroupVersion, "/")
			gvr := schema.GroupVersionResource{Group: gv[len(gv)-2], Version: gv[len(gv)-1], Resource: r.Name}
			objs, err := d.Resource(gvr).Namespace(namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				continue
			}
			for i := range objs.Items {
				if text := conditions(&objs.Items[i]); text != "" {
					t.Logf("%s %s: %s", r.Kind, objs.Items[i].GetName(), text)
				}
			}
		}
	}
	c.dumpEvents(ctx, t, namespace)
}

// conditions is the status of an object in a line.
func conditions(o *unstructured.Unstructured) string {
	var out []string
	if phase, _, _ := unstructured.NestedString(o.Object, "status", "phase"); phase != "" {
		if message, _, _ := unstructured.NestedString(o.Object, "status", "message"); message != "" {
			phase += " " + message
		}
		out = append(out, phase)
	}
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, e := range list {
		m, ok := e.(map[string]any)
		if !ok {
			continue
		}
		text := fmt.Sprintf("%v=%v", m["type"], m["status"])
		for _, k := range []string{"reason", "message"} {
			if s, ok := m[k].(string); ok && s != "" {
				text += " " + s
			}
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func (c *Cluster) dumpEvents(ctx context.Context, t testing.TB, namespace string) {
	t.Helper()
	list, err := c.Client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Logf("events of %s: %v", namespace, err)
		return
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	for _, e := range list.Items[max(0, len(list.Items)-eventsShown):] {
		t.Logf("event %s %s/%s: %s %s", e.Type, e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
	}
}
