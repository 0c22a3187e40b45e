package experiment

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

const (
	// ownerIndex finds objects by the UID of the Experiment that controls them.
	ownerIndex = "fairway.experiment"
	// writtenFor is how long what was written is laid over the cache at most. A cache is seconds behind, not minutes; what
	// it does not show by then is gone.
	writtenFor = time.Minute
	// namesMax bounds the search for a free name.
	namesMax = 1000
)

// byOwner is the index function of ownerIndex.
func byOwner(o client.Object) []string {
	if c := metav1.GetControllerOf(o); c != nil && c.Kind == experimentKind.Kind && c.APIVersion == experimentKind.GroupVersion().String() {
		return []string{string(c.UID)}
	}
	return nil
}

// written remembers what the API server answered to the last writes until the cache has caught up, so that a decision is
// never made on a state older than the decision before.
type written struct {
	mu  sync.Mutex
	all map[writtenKey]writtenAs
}

type writtenKey struct {
	kind reflect.Type
	name types.NamespacedName
}

type writtenAs struct {
	object client.Object
	gone   bool // it was deleted
	at     time.Time
}

func keyOf(o client.Object) writtenKey {
	return writtenKey{reflect.TypeOf(o), client.ObjectKeyFromObject(o)}
}

func (w *written) keep(o client.Object, gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[writtenKey]writtenAs{}
	}
	w.all[keyOf(o)] = writtenAs{o.DeepCopyObject().(client.Object), gone, time.Now()}
}

// over is the newer of what the cache has and what was written; nil when it was deleted.
func (w *written) over(cached client.Object) client.Object {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := keyOf(cached)
	own, ok := w.all[key]
	if !ok {
		return cached
	}
	order, err := resourceversion.CompareResourceVersion(cached.GetResourceVersion(), own.object.GetResourceVersion())
	switch {
	case err != nil || own.object.GetUID() != cached.GetUID() || time.Since(own.at) > writtenFor, order >= 0 && !own.gone:
		delete(w.all, key)
		return cached
	case own.gone:
		return nil
	}
	return own.object
}

// made lists what was made of a kind for an owner and is not among the objects the cache has.
func (w *written) made(of reflect.Type, owner types.UID, cached map[types.NamespacedName]bool) []client.Object {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []client.Object
	for key, own := range w.all {
		switch c := metav1.GetControllerOf(own.object); {
		case time.Since(own.at) > writtenFor:
			delete(w.all, key)
		case key.kind == of && !own.gone && !cached[key.name] && c != nil && c.UID == owner:
			out = append(out, own.object)
		}
	}
	return out
}

// owned lists the objects of a kind that an Experiment controls, the oldest first.
func owned[T client.Object](ctx context.Context, c *Controller, ex *argo.Experiment, list client.ObjectList, items func() []T) ([]T, error) {
	if err := c.Client.List(ctx, list, client.InNamespace(ex.Namespace), client.MatchingFields{ownerIndex: string(ex.UID)}); err != nil {
		return nil, err
	}
	var out []T
	seen := map[types.NamespacedName]bool{}
	for _, o := range items() {
		seen[client.ObjectKeyFromObject(o)] = true
		if now := c.written.over(o); now != nil {
			out = append(out, now.(T))
		}
	}
	var zero T
	for _, o := range c.written.made(reflect.TypeOf(zero), ex.UID, seen) {
		out = append(out, o.(T))
	}
	slices.SortFunc(out, func(a, b T) int {
		return cmp.Or(a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out, nil
}

func pointers[T any](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}

// observe makes the Snapshot of an Experiment of what the cache holds and of what was written since.
func (c *Controller) observe(ctx context.Context, ex *argo.Experiment) (Snapshot, error) {
	s := Snapshot{Experiment: ex, ReplicaSets: map[string]*appsv1.ReplicaSet{}, Services: map[string]*corev1.Service{}, Runs: map[string]*argo.AnalysisRun{},
		Taken: map[string]bool{}, Refused: c.refused.of(ex.UID)}
	var sets appsv1.ReplicaSetList
	all, err := owned(ctx, c, ex, &sets, func() []*appsv1.ReplicaSet { return pointers(sets.Items) })
	if err != nil {
		return s, err
	}
	for _, rs := range all {
		put(s.ReplicaSets, ex, rs)
	}
	var services corev1.ServiceList
	svcs, err := owned(ctx, c, ex, &services, func() []*corev1.Service { return pointers(services.Items) })
	if err != nil {
		return s, err
	}
	for _, svc := range svcs {
		put(s.Services, ex, svc)
	}
	var runs argo.AnalysisRunList
	rs, err := owned(ctx, c, ex, &runs, func() []*argo.AnalysisRun { return pointers(runs.Items) })
	if err != nil {
		return s, err
	}
	for _, r := range rs {
		s.Runs[r.Name] = r
	}
	if err := c.names(ctx, &s); err != nil || ex.Status.Phase.Completed() {
		return s, err // the verdict is given: nothing that is missing is looked for any more
	}
	if err := c.runs(ctx, &s); err != nil {
		return s, err
	}
	s.Templates, err = c.templates(ctx, ex)
	return s, err
}

// runs adds the runs that the status names and the cache does not have: after a start the cache of the runs may be older than
// that of the Experiments.
func (c *Controller) runs(ctx context.Context, s *Snapshot) error {
	ex := s.Experiment
	for i := range ex.Status.AnalysisRuns {
		st := &ex.Status.AnalysisRuns[i]
		if st.AnalysisRun == "" || st.Phase.Completed() || s.Runs[st.AnalysisRun] != nil {
			continue
		}
		run := &argo.AnalysisRun{}
		err := c.Reader.Get(ctx, types.NamespacedName{Namespace: ex.Namespace, Name: st.AnalysisRun}, run)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return err
		case metav1.IsControlledBy(run, ex):
			s.Runs[run.Name] = run
		}
	}
	return nil
}

// find reads an object from the cache, or from the API server when the cache does not have it; there is false when neither has.
func (c *Controller) find(ctx context.Context, key types.NamespacedName, o client.Object) (there bool, err error) {
	err = c.Client.Get(ctx, key, o)
	if apierrors.IsNotFound(err) {
		err = c.Reader.Get(ctx, key, o)
	}
	return err == nil, client.IgnoreNotFound(err)
}

// put enters an object by the template it was made of; of several the oldest stands.
func put[T client.Object](into map[string]T, ex *argo.Experiment, o T) {
	a := o.GetAnnotations()
	if name := a[templateAnnotation]; name != "" && a[nameAnnotation] == ex.Name && o.GetDeletionTimestamp() == nil {
		if _, there := into[name]; !there {
			into[name] = o
		}
	}
}

// names finds which of the names that may be wanted others have.
func (c *Controller) names(ctx context.Context, s *Snapshot) error {
	ex := s.Experiment
	for i := range ex.Spec.Templates {
		t := &ex.Spec.Templates[i]
		rs := s.ReplicaSets[t.Name]
		if rs == nil {
			if err := c.taken(ctx, s, "ReplicaSet/", ex.Name+"-"+t.Name, "-", func() client.Object { return &appsv1.ReplicaSet{} }); err != nil {
				return err
			}
		}
		if t.Service != nil && s.Services[t.Name] == nil {
			name := t.Service.Name
			if name == "" && rs != nil {
				name = rs.Name
			}
			if name != "" {
				if err := c.taken(ctx, s, "Service/", name, "", func() client.Object { return &corev1.Service{} }); err != nil {
					return err
				}
			}
		}
	}
	for i := range ex.Spec.Analyses {
		if err := c.taken(ctx, s, "AnalysisRun/", ex.Name+"-"+ex.Spec.Analyses[i].Name, ".", func() client.Object { return &argo.AnalysisRun{} }); err != nil {
			return err
		}
	}
	return nil
}

// taken notes a name that another's object has, and those with numbers behind it after the separator, if there is one.
func (c *Controller) taken(ctx context.Context, s *Snapshot, prefix, base, separator string, object func() client.Object) error {
	name := base
	for n := 1; n < namesMax; n++ {
		o := object()
		err := c.Client.Get(ctx, types.NamespacedName{Namespace: s.Experiment.Namespace, Name: name}, o)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if !metav1.IsControlledBy(o, s.Experiment) {
			s.Taken[prefix+name] = true
		}
		if separator == "" {
			return nil
		}
		name = fmt.Sprintf("%s%s%d", base, separator, n)
	}
	return nil
}

// templates reads the AnalysisTemplates that analyses refer to, and those that they refer to. One that was applied together with
// the Experiment need not be in the cache yet.
func (c *Controller) templates(ctx context.Context, ex *argo.Experiment) (analysis.Templates, error) {
	t := analysis.Templates{Namespaced: map[string]*argo.AnalysisTemplate{}, Cluster: map[string]*argo.ClusterAnalysisTemplate{}}
	var open []argo.AnalysisTemplateRef
	for i := range ex.Spec.Analyses {
		open = append(open, ref(&ex.Spec.Analyses[i])...)
	}
	for len(open) > 0 {
		r := open[0]
		open = open[1:]
		if ptr.Deref(r.ClusterScope, false) {
			if _, seen := t.Cluster[r.TemplateName]; seen {
				continue
			}
			got := &argo.ClusterAnalysisTemplate{}
			if there, err := c.find(ctx, types.NamespacedName{Name: r.TemplateName}, got); err != nil {
				return t, err
			} else if !there {
				got = nil
			}
			if t.Cluster[r.TemplateName] = got; got != nil {
				open = append(open, got.Spec.Templates...)
			}
			continue
		}
		if _, seen := t.Namespaced[r.TemplateName]; seen {
			continue
		}
		got := &argo.AnalysisTemplate{}
		if there, err := c.find(ctx, types.NamespacedName{Namespace: ex.Namespace, Name: r.TemplateName}, got); err != nil {
			return t, err
		} else if !there {
			got = nil
		}
		if t.Namespaced[r.TemplateName] = got; got != nil {
			open = append(open, got.Spec.Templates...)
		}
	}
	return t, nil
}
