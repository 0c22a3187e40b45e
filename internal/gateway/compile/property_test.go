package compile

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	gw "sigs.k8s.io/gateway-api/apis/v1"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// dump of a Config without what depends on its history: Index and Version.
func dump(c *config.Config) string {
	var b strings.Builder
	share := func(list []config.Share) {
		for _, s := range list {
			fmt.Fprintf(&b, " %s*%d %q", s.Service, s.Weight, s.Why)
			if s.Backend != nil {
				fmt.Fprintf(&b, " %v %v %v", s.Backend.Key, s.Backend.Speech, s.Backend.Policy)
			}
		}
	}
	for _, s := range c.Sockets {
		fmt.Fprintf(&b, "%s %d\n", s.Address, s.Protocol)
		for _, l := range s.Listeners {
			fmt.Fprintf(&b, " %s %s %s %q\n", l.Gateway, l.Owner, l.Section, l.Hostname)
			for _, h := range l.Hosts {
				fmt.Fprintf(&b, "  %q\n", h.Hostname)
				for _, m := range h.Matches {
					fmt.Fprintf(&b, "   %v %s %v %v broken=%q", m.Path, m.Method, m.Headers, m.Rule.Key, m.Rule.Broken)
					share(m.Rule.Backends)
					b.WriteString("\n")
				}
			}
		}
	}
	return b.String()
}

// sound checks that what a Config holds and what its routes point at is the same, at the place it says.
func sound(t *rapid.T, c *config.Config) {
	for i, r := range c.Rules {
		if r.Index != i || r.Key.Name.Name == "" {
			t.Fatalf("rule %d: %+v", i, r)
		}
	}
	for i, b := range c.Backends {
		if b.Index != i || b.Key.Name.Name == "" {
			t.Fatalf("backend %d: %+v", i, b)
		}
	}
	for _, s := range c.Sockets {
		for _, l := range s.Listeners {
			for _, h := range l.Hosts {
				for _, m := range h.Matches {
					if c.Rules[m.Rule.Index] != m.Rule {
						t.Fatalf("rule %v is not at its place", m.Rule.Key)
					}
					for _, s := range m.Rule.Backends {
						if s.Backend != nil && c.Backends[s.Backend.Index] != s.Backend {
							t.Fatalf("backend %v is not at its place", s.Backend.Key)
						}
					}
				}
			}
		}
	}
}

// world of a few objects that are edited at random.
type world struct {
	in   Input
	next int
}

func (w *world) touch(o metav1.Object) {
	w.next++
	o.SetResourceVersion(fmt.Sprint("v", w.next))
	o.SetGeneration(o.GetGeneration() + 1)
}

func (w *world) edit(t *rapid.T) {
	switch rapid.IntRange(0, 7).Draw(t, "edit") {
	case 0: // a new route
		w.next++
		r := &gw.HTTPRoute{}
		r.Name, r.Namespace = fmt.Sprint("r", rapid.IntRange(0, 5).Draw(t, "name")), "shop"
		for _, o := range w.in.HTTPRoutes {
			if o.Name == r.Name {
				return
			}
		}
		r.UID, r.Generation, r.ResourceVersion = types.UID(fmt.Sprint("u", w.next)), 1, fmt.Sprint("v", w.next)
		r.CreationTimestamp = metav1.NewTime(now)
		w.fill(t, r)
		w.in.HTTPRoutes = append(w.in.HTTPRoutes, r)
	case 1, 2: // a changed one
		if len(w.in.HTTPRoutes) > 0 {
			i := rapid.IntRange(0, len(w.in.HTTPRoutes)-1).Draw(t, "route")
			r := w.in.HTTPRoutes[i].DeepCopy()
			w.touch(r)
			w.fill(t, r)
			w.in.HTTPRoutes[i] = r
		}
	case 3: // a deleted one
		if len(w.in.HTTPRoutes) > 0 {
			i := rapid.IntRange(0, len(w.in.HTTPRoutes)-1).Draw(t, "route")
			w.in.HTTPRoutes = append(append([]*gw.HTTPRoute{}, w.in.HTTPRoutes[:i]...), w.in.HTTPRoutes[i+1:]...)
		}
	case 4: // a Service comes, goes or changes
		i := rapid.IntRange(0, len(w.in.Services)-1).Draw(t, "service")
		s := w.in.Services[i].DeepCopy()
		w.touch(s)
		s.Name = rapid.SampledFrom([]string{s.Name, "web", "canary", "none"}).Draw(t, "name")
		for _, o := range w.in.Services {
			if o.Name == s.Name && o.Namespace == s.Namespace && o != w.in.Services[i] {
				return
			}
		}
		w.in.Services = append([]*corev1.Service{}, w.in.Services...)
		w.in.Services[i] = s
	case 5: // a policy comes or goes
		if len(w.in.BackendPolicies) > 0 {
			w.in.BackendPolicies = nil
			return
		}
		p := &fairway.BackendPolicy{Spec: fairway.BackendPolicySpec{TargetRefs: []fairway.PolicyTarget{{Name: "web"}}, LoadBalancing: &fairway.LoadBalancing{Algorithm: "Random"}}}
		p.Name, p.Namespace = "p", "shop"
		w.touch(p)
		w.in.BackendPolicies = append(w.in.BackendPolicies, p)
	case 6: // a grant comes or goes
		if len(w.in.ReferenceGrants) > 0 {
			w.in.ReferenceGrants = nil
			return
		}
		g := &gw.ReferenceGrant{Spec: gw.ReferenceGrantSpec{From: []gw.ReferenceGrantFrom{{Group: gw.GroupName, Kind: "HTTPRoute", Namespace: "shop"}}, To: []gw.ReferenceGrantTo{{Kind: "Service"}}}}
		g.Name, g.Namespace = "g", "infra"
		w.touch(g)
		w.in.ReferenceGrants = append(w.in.ReferenceGrants, g)
	case 7: // a listener changes
		g := w.in.Gateways[0].DeepCopy()
		w.touch(g)
		h := gw.Hostname(rapid.SampledFrom([]string{"a.com", "*.a.com", "b.com"}).Draw(t, "hostname"))
		g.Spec.Listeners[0].Hostname = &h
		if rapid.Bool().Draw(t, "all hosts") {
			g.Spec.Listeners[0].Hostname = nil
		}
		w.in.Gateways = []*gw.Gateway{g}
	}
}

func (w *world) fill(t *rapid.T, r *gw.HTTPRoute) {
	r.Spec.ParentRefs = []gw.ParentReference{{Name: "gate"}}
	if rapid.IntRange(0, 5).Draw(t, "detached") == 0 {
		r.Spec.ParentRefs[0].Name = "none"
	}
	r.Spec.Hostnames = rapid.SliceOfNDistinct(rapid.SampledFrom([]gw.Hostname{"a.com", "x.a.com", "*.a.com", "b.com"}), 0, 2, rapid.ID[gw.Hostname]).Draw(t, "hostnames")
	r.Spec.Rules = nil
	for range rapid.IntRange(1, 3).Draw(t, "rules") {
		path := rapid.SampledFrom([]string{"/", "/a", "/a/b"}).Draw(t, "path")
		rule := gw.HTTPRouteRule{Matches: []gw.HTTPRouteMatch{{Path: &gw.HTTPPathMatch{Value: &path}}}}
		for range rapid.IntRange(0, 2).Draw(t, "backends") {
			port, ref := int32(80), gw.HTTPBackendRef{}
			ref.Name, ref.Port = gw.ObjectName(rapid.SampledFrom([]string{"web", "canary", "far"}).Draw(t, "backend")), &port
			if ref.Name == "far" {
				ns := gw.Namespace("infra")
				ref.Namespace = &ns
			}
			rule.BackendRefs = append(rule.BackendRefs, ref)
		}
		r.Spec.Rules = append(r.Spec.Rules, rule)
	}
}

// TestWhatIsTakenFromTheLastOutputIsWhatWouldBeMadeAnew over a sequence of edits, whatever order the objects come in.
func TestWhatIsTakenFromTheLastOutputIsWhatWouldBeMadeAnew(t *testing.T) {
	t.Parallel()
	start := load(t, plainGateway)
	rapid.Check(t, func(t *rapid.T) {
		w := &world{in: start}
		var last *Output
		in := w.in
		for range rapid.IntRange(1, 12).Draw(t, "edits") {
			w.edit(t)
			in = w.in
			in.Previous = last
			step := Compile(in)
			in.Previous = nil
			random := rand.New(rand.NewPCG(1, 2))
			in.HTTPRoutes = append([]*gw.HTTPRoute{}, in.HTTPRoutes...)
			random.Shuffle(len(in.HTTPRoutes), func(i, j int) { in.HTTPRoutes[i], in.HTTPRoutes[j] = in.HTTPRoutes[j], in.HTTPRoutes[i] })
			fresh := Compile(in)
			if a, b := dump(step.Config), dump(fresh.Config); a != b {
				t.Fatalf("step by step:\n%s\nat once:\n%s", a, b)
			}
			for name, s := range step.Statuses.HTTPRoutes {
				if len(s.Parents) == 0 {
					delete(step.Statuses.HTTPRoutes, name) // told once to a route that had a parent before
				}
			}
			if !reflect.DeepEqual(step.Statuses, fresh.Statuses) || !reflect.DeepEqual(step.Needs, fresh.Needs) || !reflect.DeepEqual(step.Events, fresh.Events) {
				t.Fatalf("statuses step by step:\n%+v\nat once:\n%+v", step, fresh)
			}
			sound(t, step.Config)
			sound(t, fresh.Config)
			in.Previous = &step
			if same := Compile(in); same.Config != step.Config {
				t.Fatal("the same objects came to another Config")
			}
			last = &step
		}
	})
}
