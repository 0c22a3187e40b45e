package traffic

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// verdict on one route: nil when nobody tells.
type verdict struct {
	verified *bool
	why      string
}

func yes() verdict          { v := true; return verdict{verified: &v} }
func no(why string) verdict { v := false; return verdict{&v, why} }

// combine is false when one verdict is, with all that is said against; true when somebody tells and nobody denies.
func combine(all []verdict) (verified *bool, message string) {
	var why []string
	for _, v := range all {
		switch {
		case v.verified == nil:
		case !*v.verified:
			why = append(why, v.why)
			verified = v.verified
		case verified == nil:
			verified = v.verified
		}
	}
	return verified, strings.Join(why, "; ")
}

// verify tells whether a route is known to be followed as the intent has it: by the weights that a data path says it has
// loaded, else by the route's status. written is false when the route is yet to be changed.
func verify(in Intent, ref Ref, route *unstructured.Unstructured, stable int32, written bool) verdict {
	loaded, served := in.Loaded[ref]
	parents, _ := items(route.Object, "status", "parents")
	if !served && len(parents) == 0 {
		return verdict{}
	}
	if !written {
		return no(fmt.Sprintf("%s is not written yet", ref))
	}
	if served {
		return loadedVerdict(in, ref, loaded, stable)
	}
	for _, parent := range parents {
		if why := notAccepted(parent, route.GetGeneration()); why != "" {
			return no(fmt.Sprintf("%s is not accepted by %s: %s", ref, or(text(parent, "parentRef", "name"), "its parent"), why))
		}
	}
	return yes()
}

// notAccepted says why a parent does not follow the route's current generation, "" when it does. Controllers that leave the
// observed generation out are taken at their word.
func notAccepted(parent map[string]any, generation int64) string {
	conditions, _ := items(parent, "conditions")
	for _, c := range conditions {
		if text(c, "type") != "Accepted" {
			continue
		}
		observed, told := number(c["observedGeneration"])
		switch {
		case told && observed != 0 && int64(observed) < generation:
			return fmt.Sprintf("generation %d is not observed yet", generation)
		case text(c, "status") != "True":
			return fmt.Sprintf("%s: %s", text(c, "reason"), text(c, "message"))
		}
		return ""
	}
	return "it has no condition Accepted yet"
}

func loadedVerdict(in Intent, ref Ref, loaded Weights, stable int32) verdict {
	type want struct {
		service    string
		have, want int32
	}
	wants := []want{{in.CanaryService, loaded.Canary, in.Weight}, {in.StableService, loaded.Stable, stable}}
	for _, d := range in.Additional {
		wants = append(wants, want{d.ServiceName, loaded.Additional[d.ServiceName], d.Weight})
	}
	for _, w := range wants {
		if w.have != w.want {
			return no(fmt.Sprintf("%s: the gateway still sends %s a weight of %d instead of %d", ref, w.service, w.have, w.want))
		}
	}
	return yes()
}

// Loaded asks a data path for the weights it follows of each route among the objects, for Intent.Loaded. Routes that it does
// not serve are left out; without a data path there are none.
func Loaded(d DataPath, in Intent, objects Objects) map[Ref]Weights {
	if d == nil {
		return nil
	}
	var out map[Ref]Weights
	for ref := range objects {
		if ref.Group != gatewayGroup {
			continue
		}
		if w, ok := d.LoadedWeights(ref, in.CanaryService, in.StableService); ok {
			if out == nil {
				out = map[Ref]Weights{}
			}
			out[ref] = w
		}
	}
	return out
}
