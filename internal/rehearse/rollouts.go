package rehearse

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fairway-dev/fairway/internal/rehearse/manifest"
	"github.com/fairway-dev/fairway/internal/rehearse/model"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario"
)

// rolloutDoubts are what of a Rollout or an analysis goes otherwise in a rehearsal, each at its place. An object that cannot
// be read is an error.
func rolloutDoubts(l *scenario.Loaded, o manifest.Object) (diags []scenario.Diagnostic, readable bool) {
	if !model.IsRollouts(o.Object) {
		return nil, true
	}
	if why := model.Misread(o.Object); why != "" {
		return l.Problems([]manifest.Problem{{File: o.File, Line: o.Line, Message: o.Object.GetKind() + " " + o.Object.GetName() + " cannot be read: " + why,
			Hint: "compare it with the reference of argoproj.io/v1alpha1"}}), false
	}
	if bad := model.MisreadCheck(o.Object); bad != "" {
		diags = append(diags, l.Problems([]manifest.Problem{{File: o.File, Line: o.Line, Message: o.Object.GetKind() + " " + o.Object.GetName() + ": " + bad}})...)
	}
	for _, u := range model.Unplayed(o.Object) {
		if u.Fails {
			diags = append(diags, l.Doubt(o, u.What+": "+u.Why))
		}
	}
	return diags, true
}

// appliedDoubts are those of what steps apply.
func appliedDoubts(l *scenario.Loaded) []scenario.Diagnostic {
	var diags []scenario.Diagnostic
	for i := range l.Scenario.Spec.Steps {
		for _, a := range l.Scenario.Spec.Steps[i].Apply {
			u := &unstructured.Unstructured{}
			if a.Object == nil || u.UnmarshalJSON(a.Object) != nil {
				continue // said where it was read
			}
			more, _ := rolloutDoubts(l, manifest.Object{Object: u, File: a.File, Line: a.Line})
			diags = append(diags, more...)
		}
	}
	return diags
}
