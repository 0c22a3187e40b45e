package compile

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gw "sigs.k8s.io/gateway-api/apis/v1"
	gwx "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// compilation is one run of Compile.
type compilation struct {
	in   *Input
	last *state // never nil
	next *state
	out  Output

	services   map[config.Name]*corev1.Service
	secrets    map[config.Name]*corev1.Secret
	configMaps map[config.Name]*corev1.ConfigMap
	namespaces map[string]*corev1.Namespace
	xbackends  map[config.Name]*gwx.XBackend
	grants     grants

	listeners []*listener // of all Gateways and ListenerSets, and of the entrance
	parents   map[parentKey]*parent
	sets      map[parentKey][]*parent        // ListenerSets of a Gateway
	ingresses []*networkingv1.Ingress        // that are served, by age
	entrances []*listener                    // of Ingresses and foreign objects
	taken     map[netip.AddrPort][]*listener // by the sockets they have

	targets   map[targetKey]*target
	dresses   map[targetKey]*policies // what policies say of a backend
	splits    map[config.Name]*split
	subsets   map[config.Name]*destination // DestinationRules by the Service they are for
	secretsN  nameSet
	mapsN     nameSet
	servicesN nameSet
	live      []*compiled // what is served, each once
	judged    []*judged
	ancestors map[targetKey]nameSet // Gateways that serve a backend with policies
}

// nameSet collects names once.
type nameSet map[config.Name]struct{}

func (s nameSet) add(n config.Name) { s[n] = struct{}{} }

func (s nameSet) sorted() []config.Name {
	names := make([]config.Name, 0, len(s))
	for n := range s {
		names = append(names, n)
	}
	slices.SortFunc(names, compareNames)
	return names
}

func compareNames(a, b config.Name) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

func nameOf(o metav1.Object) config.Name {
	return config.Name{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// older orders objects as the Gateway API settles ties: the oldest first, then by namespace and name.
func older[T metav1.Object](a, b T) int {
	x, y := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	return cmp.Or(x.Time.Compare(y.Time), strings.Compare(a.GetNamespace(), b.GetNamespace()), strings.Compare(a.GetName(), b.GetName()))
}

// byAge is a sorted copy.
func byAge[T metav1.Object](list []T) []T {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, older[T])
	return sorted
}

func byName[T metav1.Object](list []T) map[config.Name]T {
	m := make(map[config.Name]T, len(list))
	for _, o := range list {
		m[nameOf(o)] = o
	}
	return m
}

func newCompilation(in *Input) *compilation {
	c := &compilation{in: in, last: emptyState(nil), out: Output{Statuses: newStatuses(len(in.HTTPRoutes))},
		services: byName(in.Services), secrets: byName(in.Secrets), configMaps: byName(in.ConfigMaps),
		xbackends: byName(in.XBackends), namespaces: map[string]*corev1.Namespace{},
		parents: map[parentKey]*parent{}, sets: map[parentKey][]*parent{}, taken: map[netip.AddrPort][]*listener{}, targets: map[targetKey]*target{}, dresses: map[targetKey]*policies{}, ancestors: map[targetKey]nameSet{},
		splits: map[config.Name]*split{}, subsets: map[config.Name]*destination{},
		secretsN: nameSet{}, mapsN: nameSet{}, servicesN: nameSet{}}
	if in.Previous != nil && in.Previous.state != nil {
		c.last = in.Previous.state
	}
	c.next = emptyState(c.last)
	if in.Controller == "" {
		in.Controller = Controller
	}
	if in.IngressClass == "" {
		in.IngressClass = "fairway"
	}
	for _, n := range in.Namespaces {
		c.namespaces[n.Name] = n
	}
	c.grants = newGrants(in.ReferenceGrants)
	return c
}

// warn tells a Warning event about an object.
func (c *compilation) warn(kind string, object config.Name, reason, message string) {
	c.out.Events = append(c.out.Events, Event{Kind: kind, Object: object, Warning: true, Reason: reason, Message: message})
}

// or is the value that is pointed at, or the other.
func or[T any](p *T, other T) T {
	if p == nil {
		return other
	}
	return *p
}

func namespaceOr(p *gw.Namespace, other string) string {
	if p == nil || *p == "" {
		return other
	}
	return string(*p)
}
