package traffic

import (
	"fmt"
	"slices"
	"strings"
)

// question is what a data path is asked about one object: which weights it follows between these two.
type question struct {
	ref            Ref
	canary, stable string
}

// asker is a Router whose objects a data path may serve, whatever they were made for.
type asker interface {
	questions(Intent, Objects) []question
}

// questions are those about the routes that are named or selected.
func (r gatewayAPI) questions(in Intent, objects Objects) (out []question) {
	for _, k := range r.kinds {
		for _, route := range r.found(k, objects) {
			out = append(out, question{Ref{GroupVersionKind: k.GroupVersionKind, Namespace: r.namespace, Name: route.Name}, in.CanaryService, in.StableService})
		}
	}
	return out
}

// questions are those about the user's Ingresses: the canary's has no rules of its own.
func (r nginx) questions(in Intent, _ Objects) (out []question) {
	stables, _ := r.stables()
	for _, name := range stables {
		out = append(out, question{ingressRef(r.namespace, name), in.CanaryService, in.StableService})
	}
	return out
}

// questions are those about VirtualServices, whose destinations are Services or subsets of one.
func (r istio) questions(in Intent, objects Objects) (out []question) {
	canary, stable := in.CanaryService, in.StableService
	if rule := objects[r.ruleRefOrNone()]; rule != nil {
		host := or(text(rule.Object, "spec", "host"), canary)
		host, _, _ = strings.Cut(host, ".")
		canary, stable = host+"/"+r.config.DestinationRule.CanarySubsetName, host+"/"+r.config.DestinationRule.StableSubsetName
	}
	services, _ := r.services()
	for _, s := range services {
		out = append(out, question{r.serviceRef(s), canary, stable})
	}
	return out
}

func (r istio) ruleRefOrNone() Ref {
	if r.config.DestinationRule == nil {
		return Ref{}
	}
	return r.ruleRef()
}

func (r smi) questions(in Intent, _ Objects) []question {
	return []question{{r.ref(in), in.CanaryService, in.StableService}}
}

// Loaded asks a data path for the weights it follows of each route among the objects, for Intent.Loaded. Routes that it does
// not serve are left out; without a data path there are none.
func Loaded(d DataPath, in Intent, routers []Router, objects Objects) map[Ref][]RuleWeights {
	if d == nil {
		return nil
	}
	out := map[Ref][]RuleWeights{}
	for _, r := range routers {
		a, ok := r.(asker)
		if !ok {
			continue
		}
		for _, q := range a.questions(in, objects) {
			if q.canary == "" || q.stable == "" {
				continue
			}
			if w, ok := d.LoadedWeights(q.ref, q.canary, q.stable); ok {
				out[q.ref] = w
			}
		}
	}
	return out
}

// followed tells whether a data path follows the weights of an intent in the rules of these names, or in all; verified is nil
// when it does not serve them. written is false when the object is yet to be changed.
func followed(in Intent, ref Ref, rules []string, stable int32, written bool) verdict {
	loaded := in.Loaded[ref]
	if len(rules) > 0 {
		loaded = slices.DeleteFunc(slices.Clone(loaded), func(w RuleWeights) bool { return !slices.Contains(rules, w.Rule) })
	}
	switch {
	case len(loaded) == 0:
		return verdict{}
	case !written:
		return no(fmt.Sprintf("%s is not written yet", ref))
	}
	for _, w := range loaded {
		if why := differs(in, w, stable); why != "" {
			return no(fmt.Sprintf("%s: %s", ref, why))
		}
	}
	return yes()
}

// differs says which Service of a rule has another part of the requests than it should; "" when none has. Parts are compared,
// not numbers: objects may give weights in another measure. What a user's own destination takes may come on top of those, or,
// as with Istio, be paid for by the stable.
func differs(in Intent, loaded RuleWeights, stable int32) string {
	type part struct {
		service    string
		have, want int64
	}
	parts := []part{{in.StableService, int64(loaded.Stable), int64(stable)}, {or(in.CanaryService, "the canary"), int64(loaded.Canary), int64(in.Weight)}}
	for _, d := range in.Additional {
		parts = append(parts, part{d.ServiceName, int64(loaded.Additional[d.ServiceName]), int64(d.Weight)})
	}
	var have, want int64
	for _, p := range parts {
		have, want = have+p.have, want+p.want
	}
	all := int64(loaded.Canary) + int64(loaded.Stable)
	for _, w := range loaded.Additional {
		all += int64(w)
	}
	wrong := func(of int64, parts []part) int {
		return slices.IndexFunc(parts, func(p part) bool { return of == 0 || p.have*want != p.want*of })
	}
	if wrong(have, parts) < 0 || wrong(all, parts[1:]) < 0 {
		return ""
	}
	p := parts[1:][max(wrong(have, parts[1:]), 0)]
	return fmt.Sprintf("the gateway still sends %s %d of %d requests instead of %d of %d", p.service, p.have, have, p.want, want)
}
