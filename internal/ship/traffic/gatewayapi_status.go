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
func verify(in Intent, ref Ref, rule string, route *unstructured.Unstructured, stable int32, written bool) verdict {
	var rules []string
	if rule != "" {
		rules = append(rules, rule)
	}
	if v := followed(in, ref, rules, stable, written); v.verified != nil {
		return v
	}
	parents, _ := items(route.Object, "status", "parents")
	if len(parents) == 0 {
		return verdict{}
	}
	if !written {
		return no(fmt.Sprintf("%s is not written yet", ref))
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
