package gateway

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gw "sigs.k8s.io/gateway-api/apis/v1"
	gwx "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/fairway-dev/fairway/internal/gateway/compile"
	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// parent is an entry of a status that several controllers write: each has its own.
type parent interface {
	gw.RouteParentStatus | gw.PolicyAncestorStatus | gwx.BackendAncestorStatus
}

// writesOf merges the entries that this controller speaks of with those of others, and adds the objects that change.
func writesOf[T interface {
	client.Object
	comparable
	DeepCopy() T
}, S any, P parent](writes []client.Object, store cache.Indexer, statuses map[config.Name]S, now metav1.Time, entries func(T) *[]P, of func(S) []P, parts func(*P) (gw.GatewayController, gw.ParentReference, *[]metav1.Condition)) []client.Object {
	var none T
	for name, status := range statuses {
		o := find[T](store, name.String())
		if o == none {
			continue
		}
		was := *entries(o)
		merged := mergeParents(was, of(status), now, parts)
		if len(merged) == 0 && len(was) == 0 || equality.Semantic.DeepEqual(was, merged) {
			continue
		}
		next := o.DeepCopy()
		*entries(next) = merged
		writes = append(writes, next)
	}
	return writes
}

func mergeParents[P parent](was, set []P, now metav1.Time, parts func(*P) (gw.GatewayController, gw.ParentReference, *[]metav1.Condition)) []P {
	merged := make([]P, 0, len(set))
	for _, p := range was {
		if by, _, _ := parts(&p); by != compile.Controller {
			merged = append(merged, p)
		}
	}
	for _, p := range set {
		_, ref, conditions := parts(&p)
		var old []metav1.Condition
		for i := range was {
			if by, other, theirs := parts(&was[i]); by == compile.Controller && equality.Semantic.DeepEqual(ref, other) {
				old = *theirs
			}
		}
		*conditions = dated(*conditions, old, now)
		merged = append(merged, p)
	}
	return merged
}

func partsOfRoute(p *gw.RouteParentStatus) (gw.GatewayController, gw.ParentReference, *[]metav1.Condition) {
	return p.ControllerName, p.ParentRef, &p.Conditions
}

func partsOfPolicy(p *gw.PolicyAncestorStatus) (gw.GatewayController, gw.ParentReference, *[]metav1.Condition) {
	return p.ControllerName, p.AncestorRef, &p.Conditions
}

func partsOfBackend(p *gwx.BackendAncestorStatus) (gw.GatewayController, gw.ParentReference, *[]metav1.Condition) {
	return p.ControllerName, p.AncestorRef, &p.Conditions
}

func parentsOf(s gw.RouteStatus) []gw.RouteParentStatus       { return s.Parents }
func ancestorsOf(s gw.PolicyStatus) []gw.PolicyAncestorStatus { return s.Ancestors }
func usersOf(s gwx.BackendStatus) []gwx.BackendAncestorStatus { return s.Ancestors }

// datedListeners gives the conditions of listeners the time since which their status is what it is.
func datedListeners[L gw.ListenerStatus | gw.ListenerEntryStatus](set, was []L, now metav1.Time, parts func(*L) (gw.SectionName, *[]metav1.Condition)) []L {
	out := slices.Clone(set)
	for i := range out {
		name, conditions := parts(&out[i])
		var old []metav1.Condition
		for j := range was {
			if other, theirs := parts(&was[j]); other == name {
				old = *theirs
			}
		}
		*conditions = dated(*conditions, old, now)
	}
	return out
}

func partsOfListener(l *gw.ListenerStatus) (gw.SectionName, *[]metav1.Condition) {
	return l.Name, &l.Conditions
}

func partsOfEntry(l *gw.ListenerEntryStatus) (gw.SectionName, *[]metav1.Condition) {
	return l.Name, &l.Conditions
}

// dated gives conditions the time since which their status is what it is.
func dated(conditions, old []metav1.Condition, now metav1.Time) []metav1.Condition {
	out := slices.Clone(conditions)
	for i := range out {
		out[i].LastTransitionTime = now
		if at := slices.IndexFunc(old, func(o metav1.Condition) bool { return o.Type == out[i].Type && o.Status == out[i].Status }); at >= 0 {
			out[i].LastTransitionTime = old[at].LastTransitionTime
		}
	}
	return out
}

// mergeConditions sets those of this controller among those of others.
func mergeConditions(into *[]metav1.Condition, set []metav1.Condition, now metav1.Time) {
	for _, one := range dated(set, *into, now) {
		if at := slices.IndexFunc(*into, func(o metav1.Condition) bool { return o.Type == one.Type }); at >= 0 {
			(*into)[at] = one
		} else {
			*into = append(*into, one)
		}
	}
}
