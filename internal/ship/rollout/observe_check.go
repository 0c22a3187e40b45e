package rollout

import (
	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/validate"
	podtemplate "github.com/fairway-dev/fairway/internal/ship/validate/template"
)

// check what the spec says, once a generation, and then what it refers to.
func (l *look) check() {
	ro := l.s.Rollout
	if !l.memo.checked {
		l.memo.checked = true
		l.memo.problems = problemsOf(validate.Rollout(ro), podtemplate.Rollout(ro))
	}
	if len(l.memo.problems) > 0 {
		l.s.Problems = append(l.s.Problems, l.memo.problems...)
		return
	}
	l.s.Problems = append(l.s.Problems, problemsOf(validate.References(ro, validate.Found{
		Services: l.s.Services, Objects: l.s.Objects, Versions: l.current, WorkloadMissing: ro.Spec.WorkloadRef != nil && l.s.Workload == nil,
		Templates: analysis.Templates{Namespaced: l.s.Templates, Cluster: l.s.ClusterTemplates},
	}))...)
}

func problemsOf(lists ...[]validate.Problem) []Problem {
	var out []Problem
	for _, list := range lists {
		for _, p := range list {
			out = append(out, Problem(p))
		}
	}
	return out
}
