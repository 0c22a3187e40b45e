package rollout

import "fmt"

// check what the spec says and what it refers to.
func (l *look) check() {
	ro := l.s.Rollout
	for _, name := range ServiceNames(ro) {
		if l.s.Services[name] == nil {
			l.s.Problems = append(l.s.Problems, Problem{Field: "spec.strategy", Message: fmt.Sprintf("service %q not found; create it, or correct its name", name)})
		}
	}
	for _, ref := range templateRefs(ro) {
		if ref.IsClusterScope() && l.s.ClusterTemplates[ref.TemplateName] == nil {
			l.s.Problems = append(l.s.Problems, Problem{Field: "spec.strategy", Message: fmt.Sprintf("ClusterAnalysisTemplate %q not found; create it, or correct its name", ref.TemplateName)})
		} else if !ref.IsClusterScope() && l.s.Templates[ref.TemplateName] == nil {
			l.s.Problems = append(l.s.Problems, Problem{Field: "spec.strategy", Message: fmt.Sprintf("AnalysisTemplate %q not found; create it, or correct its name", ref.TemplateName)})
		}
	}
}
