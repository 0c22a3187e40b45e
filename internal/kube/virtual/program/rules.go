package program

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// Rules decide what containers do. Set the fields before use; [Rules.With] makes a changed copy.
type Rules struct {
	Defaults Defaults
	// RealSignals keeps the kernel's rule that PID 1 without a handler ignores SIGTERM (sleep, a shell without a trap).
	RealSignals bool
	// FailUnmodelled makes commands without a model fail with 127 instead of running (`--unmodelled fail`).
	FailUnmodelled bool
	// Images says which image references exist.
	Images Images
	// Service returns the scenario's service model for a container, or nil.
	Service func(*Question) *v1alpha1.ServiceModel
	// Faults returns values in force by annotation key (v1alpha1.SimExit, …), set by a scenario or `fairway sim set`.
	Faults func(*Question) map[string]string

	programs []compiled
}

// compiled is a Program with its selector ready to use.
type compiled struct {
	*v1alpha1.Program
	flag     int // position among --program flags, from 1; 0 = an object
	selector labels.Selector
}

// With returns rules with these Programs instead of those from objects and files; those from flags stay. A Program
// whose selector is not valid matches nothing and is returned with the reason.
func (r *Rules) With(programs []*v1alpha1.Program) (*Rules, map[string]error) {
	out := *r
	out.programs = nil
	for _, p := range r.programs {
		if p.flag > 0 {
			out.programs = append(out.programs, p)
		}
	}
	var bad map[string]error
	for _, p := range programs {
		c := compiled{Program: p, selector: labels.Everything()}
		if p.Spec.Match.PodSelector != nil {
			var err error
			if c.selector, err = metav1.LabelSelectorAsSelector(p.Spec.Match.PodSelector); err != nil {
				if bad == nil {
					bad = map[string]error{}
				}
				bad[p.Name] = err
				continue
			}
		}
		out.programs = append(out.programs, c)
	}
	out.sort()
	return &out, bad
}

// sort puts flags first, in their order, then Programs by falling priority and name.
func (r *Rules) sort() {
	slices.SortStableFunc(r.programs, func(a, b compiled) int {
		switch {
		case a.flag > 0 && b.flag > 0:
			return cmp.Compare(a.flag, b.flag)
		case a.flag > 0:
			return -1
		case b.flag > 0:
			return 1
		}
		return cmp.Or(cmp.Compare(b.Spec.Priority, a.Spec.Priority), strings.Compare(a.Name, b.Name))
	})
}

// Model is the service model that a Program gives a container, without what annotations and the scenario lay over it; nil when
// none does.
func (r *Rules) Model(q *Question) *v1alpha1.ServiceModel {
	values, _ := relevant(q.Pod.Annotations, q.Container.Name, containerNames(q.Pod))
	p, _ := r.chosen(q, values)
	if p == nil {
		return nil
	}
	return p.Spec.Model
}

// chosen returns the Program of a container, or nil: the one that its annotations name, else the first that matches. fine is
// false when they name one that they may not.
func (r *Rules) chosen(q *Question, annotations map[string]string) (p *v1alpha1.Program, fine bool) {
	if name := annotations[v1alpha1.SimProgram]; name != "" {
		if p = r.named(name); p != nil {
			return p, true
		}
		return r.find(q), false
	}
	return r.find(q), true
}

// find returns the first Program that matches, or nil.
func (r *Rules) find(q *Question) *v1alpha1.Program {
	for i := range r.programs {
		if r.programs[i].matches(q) {
			return r.programs[i].Program
		}
	}
	return nil
}

// named returns the Program of the name if annotations may choose it.
func (r *Rules) named(name string) *v1alpha1.Program {
	for i := range r.programs {
		if p := &r.programs[i]; p.flag == 0 && p.Name == name && p.Spec.AllowAnnotation {
			return p.Program
		}
	}
	return nil
}

func (p *compiled) matches(q *Question) bool {
	m := &p.Spec.Match
	anyOf := func(globs []string, match func(string) bool) bool {
		return len(globs) == 0 || slices.ContainsFunc(globs, match)
	}
	return anyOf(m.Images, func(g string) bool { return matchesImage(g, q.Container.Image) }) &&
		anyOf(m.Containers, func(g string) bool { return Glob(g, q.Container.Name) }) &&
		anyOf(m.Namespaces, func(g string) bool { return Glob(g, q.Pod.Namespace) }) &&
		p.selector.Matches(labels.Set(q.Pod.Labels)) &&
		anyOf(m.Command, func(g string) bool { return Glob(g, command(q.Container)) })
}

// command returns the argument vector joined by spaces, as Programs match it.
func command(c *corev1.Container) string {
	return strings.Join(lookup(c.Image).argv(c.Command, c.Args), " ")
}

// overlay sets the fields of to that are given in from, routes one by one.
func overlay(to, from *v1alpha1.ServiceModel) {
	routes := to.Routes
	overlayFields(reflect.ValueOf(to).Elem(), reflect.ValueOf(from.DeepCopy()).Elem())
	for name, route := range routes {
		if to.Routes == nil {
			to.Routes = map[string]v1alpha1.RouteModel{}
		}
		if newer, both := to.Routes[name]; both {
			overlayFields(reflect.ValueOf(&route).Elem(), reflect.ValueOf(newer))
		}
		to.Routes[name] = route
	}
}

func overlayFields(to, from reflect.Value) {
	for i := range from.NumField() {
		switch f := from.Field(i); {
		case from.Type().Field(i).Anonymous:
			overlayFields(to.Field(i), f)
		case !f.IsZero():
			to.Field(i).Set(f)
		}
	}
}
