package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/apis/v1alpha1"
	"sigs.k8s.io/kwok/pkg/utils/gotpl"
	"sigs.k8s.io/kwok/pkg/utils/lifecycle"
)

// Kinds that the native engine plays too.
var (
	Pod  = schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	Node = schema.GroupVersionKind{Version: "v1", Kind: "Node"}
)

// AnnotationNode marks nodes that KWOK drives; any value counts.
const AnnotationNode = "kwok.x-k8s.io/node"

// Mode says who moves the objects of a kind.
type Mode string

// The modes. Auto is replace where the stages can move a fresh object forward and the node is KWOK's (or its group has
// engine: stages), else overlay.
const (
	Auto    Mode = "auto"
	Replace Mode = "replace" // the stages own the object
	Overlay Mode = "overlay" // the native engine does, and a stage that matches goes before it
	None    Mode = "none"    // there are no stages of the kind
)

// ParseMode reads the value of --stage-mode.
func ParseMode(text string) (Mode, error) {
	switch m := Mode(text); m {
	case Auto, Replace, Overlay:
		return m, nil
	}
	return "", fmt.Errorf("--stage-mode %q is not known; use auto, replace or overlay", text)
}

// Addresses answers the template functions about addresses. The engine allocates as it does for its own pods.
type Addresses interface {
	// NodeIPs returns the addresses of a node, the first being its main one.
	NodeIPs(node string) []string
	// PodIPs returns the addresses of a pod, allocating them if it has none.
	PodIPs(node string, hostNetwork bool, uid, name, namespace string) ([]string, error)
}

// Problem says why a stage is left out.
type Problem struct {
	Stage   string
	Reason  string // CamelCase, of the condition Available
	Message string
}

// Set is compiled stages. All methods may be called concurrently.
type Set struct {
	seed  int64
	kinds map[schema.GroupVersionKind]*kind
}

// kind is the stages of one kind of object. KWOK's stages compile themselves at first use, hence the lock.
type kind struct {
	mu       sync.Mutex
	stages   lifecycle.Lifecycle
	renderer gotpl.Renderer
	moves    bool // a fresh object matches one
	stock    bool // they are KWOK's default ones
}

// compiling is held while stages are compiled: the expression library of KWOK keeps what it learns of types in a map of the
// process.
var compiling sync.Mutex

// Compile prepares stages. One that cannot be used (no selector, an expression or template that does not compile, a name
// given twice) is left out with the reason; the others work.
func Compile(stages []*v1alpha1.Stage, addresses Addresses, seed int64) (*Set, []Problem) {
	compiling.Lock()
	defer compiling.Unlock()
	s := &Set{seed: seed, kinds: map[schema.GroupVersionKind]*kind{}}
	var problems []Problem
	sorted := slices.Clone(stages)
	slices.SortStableFunc(sorted, func(a, b *v1alpha1.Stage) int { return strings.Compare(a.Name, b.Name) })
	used := map[schema.GroupVersionKind][]*v1alpha1.Stage{}
	for i, st := range sorted {
		if i > 0 && sorted[i-1].Name == st.Name {
			problems = append(problems, Problem{st.Name, "Duplicate", fmt.Sprintf("stage %s is given twice; names must differ", st.Name)})
			continue
		}
		gvk, compiled, problem := s.compile(st, addresses)
		if problem != nil {
			problems = append(problems, *problem)
			continue
		}
		k := s.kinds[gvk]
		if k == nil {
			k = &kind{renderer: newRenderer(addresses)}
			s.kinds[gvk] = k
		}
		k.stages = append(k.stages, compiled)
		used[gvk] = append(used[gvk], st)
	}
	for gvk, k := range s.kinds {
		possible, err := k.stages.ListAllPossible(context.Background(), event(fresh(gvk)))
		k.moves = err == nil && len(possible) > 0
		k.stock = isStock(gvk, used[gvk])
	}
	return s, problems
}

// compile checks one stage by trying it on a fresh object.
func (s *Set) compile(st *v1alpha1.Stage, addresses Addresses) (schema.GroupVersionKind, *lifecycle.Stage, *Problem) {
	fail := func(reason, format string, args ...any) *Problem {
		return &Problem{st.Name, reason, fmt.Sprintf("stage %s: ", st.Name) + fmt.Sprintf(format, args...)}
	}
	ref := st.Spec.ResourceRef
	if ref.APIGroup == "" {
		ref.APIGroup = "v1"
	}
	gv, err := schema.ParseGroupVersion(ref.APIGroup)
	if err != nil || ref.Kind == "" {
		return schema.GroupVersionKind{}, nil, fail("InvalidResourceRef", "spec.resourceRef %s %s is not a kind; write apiGroup: v1, kind: Pod", ref.APIGroup, ref.Kind)
	}
	gvk := gv.WithKind(ref.Kind)
	internal, err := internalversion.ConvertToInternalStage(st.DeepCopy())
	if err != nil {
		return gvk, nil, fail("InvalidSpec", "%v", err)
	}
	compiled := lifecycle.NewStage(internal)
	if compiled == nil {
		return gvk, nil, fail("NoSelector", "spec.selector is missing: it would match nothing")
	}
	object := fresh(gvk)
	_, err = lifecycle.Lifecycle{compiled}.ListAllPossible(context.Background(), event(object))
	if err == nil {
		_, _, err = compiled.Weight(context.Background(), event(object))
	}
	if err != nil {
		return gvk, nil, fail("InvalidExpression", "%v", err)
	}
	renderer := newRenderer(addresses)
	for _, step := range internal.Spec.Steps {
		for _, template := range templates(&step) {
			if _, err := renderer.ToText(template, object); err != nil && strings.HasPrefix(err.Error(), "build template") {
				return gvk, nil, fail("InvalidTemplate", "%v", err)
			}
		}
	}
	return gvk, compiled, nil
}

func templates(step *internalversion.StageStep) []string {
	var out []string
	if step.Patch != nil {
		out = append(out, step.Patch.Template)
	}
	if step.Apply != nil {
		out = append(out, step.Apply.Template)
	}
	return out
}

// fresh is an object of the kind as it is before anything has happened to it.
func fresh(gvk schema.GroupVersionKind) metav1.Object {
	meta := metav1.ObjectMeta{Name: "fresh", Namespace: "default", UID: "fresh"}
	switch gvk {
	case Pod:
		return &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{NodeName: "node", Containers: []corev1.Container{{Name: "app", Image: "app"}}},
			Status: corev1.PodStatus{Phase: corev1.PodPending}}
	case Node:
		meta.Namespace = ""
		meta.Annotations = map[string]string{AnnotationNode: "fake"}
		return &corev1.Node{ObjectMeta: meta}
	}
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(gvk)
	u.SetName(meta.Name)
	u.SetNamespace(meta.Namespace)
	return u
}

func event(object metav1.Object) *lifecycle.Event {
	return &lifecycle.Event{Labels: object.GetLabels(), Annotations: object.GetAnnotations(), Data: object}
}

// Kinds returns the kinds that have stages, sorted.
func (s *Set) Kinds() []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	for gvk := range s.kinds {
		out = append(out, gvk)
	}
	slices.SortFunc(out, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// Mode says who moves objects of the kind. owned tells that the node is KWOK's or its group has engine: stages. Stages
// byte-equal to KWOK's default ones are None: the native engine shows the same result with more fields, faster.
func (s *Set) Mode(gvk schema.GroupVersionKind, owned bool, asked Mode) Mode {
	k := s.kinds[gvk]
	switch {
	case k == nil || k.stock && asked == Auto:
		return None
	case asked == Replace || asked == Overlay:
		return asked
	case k.moves && (owned || gvk != Pod && gvk != Node):
		return Replace
	}
	return Overlay
}

// Move is the next stage of an object.
type Move struct {
	Stage     string
	After     time.Duration // from now
	Immediate bool          // look for the next stage at once, without waiting for the object to come back

	stage *lifecycle.Stage
	kind  *kind
}

// errKind tells that an object was not given in the type its kind is compiled for.
var errKind = errors.New("give pods as *v1.Pod, nodes as *v1.Node, everything else as *unstructured.Unstructured")

// Next returns the stage that the object moves through next; ok is false when none matches. identity names the object
// stably between runs and n counts its moves: together with the seed they decide every draw.
func (s *Set) Next(ctx context.Context, object metav1.Object, gvk schema.GroupVersionKind, identity string, n int, now time.Time) (m Move, ok bool, err error) {
	k := s.kinds[gvk]
	if k == nil {
		return Move{}, false, nil
	}
	if fmt.Sprintf("%T", object) != fmt.Sprintf("%T", fresh(gvk)) {
		return Move{}, false, fmt.Errorf("stages of %s for a %T: %w", gvk.Kind, object, errKind)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	e := event(object)
	possible, err := k.stages.ListAllPossible(ctx, e)
	if err != nil || len(possible) == 0 {
		return Move{}, false, wrap(gvk, object, err)
	}
	chosen := possible[0]
	if len(possible) > 1 {
		if chosen, err = s.weighted(ctx, possible, e, identity, n); err != nil {
			return Move{}, false, wrap(gvk, object, err)
		}
	}
	m = Move{Stage: chosen.Name(), Immediate: chosen.ImmediateNextStage(), stage: chosen, kind: k}
	span, timed, err := chosen.DelayRangePossible(ctx, e, now)
	if err != nil {
		return Move{}, false, wrap(gvk, object, err)
	}
	if timed && len(span) > 0 {
		m.After = span[0]
		if len(span) > 1 {
			m.After += time.Duration(draw(s.seed, identity, "delay "+m.Stage, n) * float64(span[1]-span[0]))
		}
		m.After = max(m.After, 0)
	}
	return m, true, nil
}

// weighted draws one of several stages by their weights; without weights each is as likely.
func (s *Set) weighted(ctx context.Context, possible []*lifecycle.Stage, e *lifecycle.Event, identity string, n int) (*lifecycle.Stage, error) {
	weights := make([]float64, len(possible))
	total := 0.0
	for i, st := range possible {
		w, ok, err := st.Weight(ctx, e)
		if err != nil {
			return nil, err
		}
		if ok && w > 0 {
			weights[i] = float64(w)
			total += weights[i]
		}
	}
	if total == 0 {
		for i := range weights {
			weights[i] = 1
		}
		total = float64(len(weights))
	}
	rest := draw(s.seed, identity, "stage", n) * total
	for i, w := range weights {
		if rest -= w; rest < 0 {
			return possible[i], nil
		}
	}
	return possible[len(possible)-1], nil
}

func wrap(gvk schema.GroupVersionKind, object metav1.Object, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("stages of %s %s/%s: %w", gvk.Kind, object.GetNamespace(), object.GetName(), err)
}
