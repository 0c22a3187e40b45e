package scenario

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/robfig/cron/v3"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/celenv"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/spelling"
)

// poissonRateMax bounds a step's own rate: above one in ten seconds a unit was forgotten.
const poissonRateMax = 0.1

func (v *validator) steps(steps []v1alpha1.Step) {
	byName := map[string]int{}
	for i := range steps {
		s := &steps[i]
		if s.Name == "" {
			continue
		}
		if _, twice := byName[s.Name]; twice {
			v.fail(s.Source, "name", "give every step its own name", "step %q is given twice", s.Name)
		}
		byName[s.Name] = i
	}
	for i := range steps {
		v.trigger(&steps[i])
		v.modifiers(&steps[i])
		v.action(&steps[i])
	}
	if !v.partial && !v.broken.list("spec.steps") {
		v.afterReferences(steps, byName)
	}
}

// triggers names the triggers a step gives.
func triggers(s *v1alpha1.Step) []string {
	var given []string
	for _, one := range []struct {
		name string
		set  bool
	}{
		{"at", s.At != ""}, {"after", s.After != nil}, {"every", s.Every.Duration != 0}, {"cron", s.Cron != ""},
		{"when", s.When != ""}, {"rate", s.Rate != nil},
	} {
		if one.set {
			given = append(given, one.name)
		}
	}
	return given
}

func (v *validator) trigger(s *v1alpha1.Step) {
	at := s.Source
	switch given := triggers(s); len(given) {
	case 0:
		v.fail(at, "", `write one of at, after, every, cron, when, rate; for example at: "09:00"`, "the step does not say when")
	case 1:
	default:
		v.fail(at, given[1], "keep one of them", "the step gives %s at once", strings.Join(given, " and "))
	}
	if s.At != "" {
		v.moment(at, "at", s.At)
	}
	if s.After != nil && s.After.Plus.Duration < 0 {
		v.fail(at, "after", "write for example 2h", "after: %s is negative", s.After.Plus)
	}
	if s.Every.Duration < 0 {
		v.fail(at, "every", "write for example 1d", "every: %s is negative", s.Every)
	}
	if s.Cron != "" {
		if _, err := cron.ParseStandard(s.Cron); err != nil || strings.Contains(s.Cron, "=") {
			v.fail(at, "cron", `write minute hour day month weekday, for example "30 9 * * mon-fri"; the time zone is the scenario's`, "cron: %q is not a schedule", s.Cron)
		}
	}
	if s.When != "" {
		v.condition(at, "when", s.When, celenv.Live())
	}
	if s.Rate != nil {
		v.poisson(s)
	}
}

func (v *validator) poisson(s *v1alpha1.Step) {
	if *s.Rate <= 0 || *s.Rate > poissonRateMax {
		v.fail(s.Source, "rate", "write the unit, for example 0.5/d or 2/h", "rate: a step %g times a second is out of range", float64(*s.Rate))
	}
	if s.Between == nil {
		return
	}
	if len(s.Between) != 2 {
		v.fail(s.Source, "between", `write ["10:00", "16:00"]`, "between: %d times are given", len(s.Between))
		return
	}
	from, ok := v.timeOfDay(s.Source, "between[0]", s.Between[0])
	to, ok2 := v.timeOfDay(s.Source, "between[1]", s.Between[1])
	if ok && ok2 && to <= from {
		v.fail(s.Source, "between", "write the earlier time first", "between: %s is not before %s", s.Between[0], s.Between[1])
	}
}

// modifiers checks that each is used with a trigger it means something for.
func (v *validator) modifiers(s *v1alpha1.Step) {
	only := func(field string, set bool, allowed ...string) {
		if !set {
			return
		}
		for _, name := range triggers(s) {
			for _, a := range allowed {
				if a == name {
					return
				}
			}
		}
		v.fail(s.Source, field, "remove it, or use "+strings.Join(allowed, " or "), "%s goes with %s only", field, strings.Join(allowed, " or "))
	}
	only("plus", s.Plus.Duration != 0, "when")
	only("by", s.By.Duration != 0, "when")
	only("again", s.Again, "when")
	only("between", s.Between != nil, "rate")
	only("times", s.Times != 0, "every", "cron", "rate", "when")
	for _, d := range []struct {
		name  string
		value v1alpha1.Duration
	}{{"plus", s.Plus}, {"by", s.By}, {"for", s.For}, {"jitter", s.Jitter}} {
		if d.value.Duration < 0 {
			v.fail(s.Source, d.name, "write for example 10m", "%s: %s is negative", d.name, d.value)
		}
	}
	if s.Times < 0 {
		v.fail(s.Source, "times", "write 1 or more", "times: %d is negative", s.Times)
	}
	if s.Until != "" {
		v.condition(s.Source, "until", s.Until, celenv.Live())
	}
	if name := ActionName(&s.Action); (s.For.Duration != 0 || s.Until != "") && name != "" && !Undoable(name) {
		field := "for"
		if s.For.Duration == 0 {
			field = "until"
		}
		v.fail(s.Source, field, "remove it", "%s cannot be undone, so %s says nothing", name, field)
	}
}

// condition compiles CEL and reports its faults at their places. Within a text of several lines only the line of the
// text is known.
func (v *validator) condition(at v1alpha1.Source, path, text string, env *celenv.Env) {
	_, err := env.Compile(text)
	if err == nil {
		return
	}
	var failure *celenv.CompileError
	if !errors.As(err, &failure) {
		v.fail(at, path, "", "%s: %v", path, err)
		return
	}
	for _, issue := range failure.Issues {
		v.fail(at, path, "", "%s: %s (at character %d of the condition)", path, issue.Message, issue.Column)
	}
}

// afterReferences checks that the steps waited for exist and do not wait for each other in a ring.
func (v *validator) afterReferences(steps []v1alpha1.Step, byName map[string]int) {
	for i := range steps {
		s := &steps[i]
		if s.After == nil || s.After.Step == "" {
			continue
		}
		if _, ok := byName[s.After.Step]; !ok {
			v.fail(s.Source, "after.step", spelling.Suggest(s.After.Step, sortedKeys(byName)), "after: there is no step %q", s.After.Step)
			continue
		}
		ring, at := []string{}, i
		for range steps {
			ring = append(ring, steps[at].Name)
			next := steps[at].After
			if next == nil || next.Step == "" {
				break
			}
			to, ok := byName[next.Step]
			if !ok {
				break
			}
			if at = to; at == i {
				v.fail(s.Source, "after.step", "give one of them another trigger", "after: the steps wait for each other: %s → %s", strings.Join(ring, " → "), s.Name)
				break
			}
		}
	}
}

// actionFields are the fields of an action, one of which a step sets.
func actionFields() []field { return shapeOf(reflect.TypeFor[v1alpha1.Action]()).fields }

// ActionName is the field an action sets, such as "setImage"; empty when it sets none.
func ActionName(a *v1alpha1.Action) string {
	for _, name := range actionNames(a) {
		return name
	}
	return ""
}

func actionNames(a *v1alpha1.Action) []string {
	var names []string
	v := reflect.ValueOf(a).Elem()
	for _, f := range actionFields() {
		if !v.FieldByIndex(f.index).IsZero() {
			names = append(names, f.name)
		}
	}
	return names
}

// lasting are the actions that can be undone, and so take for and until.
var lasting = map[string]bool{
	"apply": true, "delete": true, "patch": true, "scale": true, "setImage": true, "set": true, "quota": true, "loadFactor": true, "pause": true,
	"nodeNotReady": true, "drain": true, "cordon": true, "zoneOutage": true, "noCapacity": true, "registry": true,
}

// Undoable tells whether an action takes for and until.
func Undoable(action string) bool { return lasting[action] }

func (v *validator) action(s *v1alpha1.Step) {
	names := actionNames(&s.Action)
	switch len(names) {
	case 0:
		var all []string
		for _, f := range actionFields() {
			all = append(all, f.name)
		}
		v.fail(s.Source, "", "write one of "+strings.Join(all, ", "), "the step does not say what to do")
		return
	case 1:
	default:
		v.fail(s.Source, names[1], "make them two steps", "the step does %s at once", strings.Join(names, " and "))
	}
	v.objectActions(s)
	v.podActions(s)
	v.nodeActions(s)
	v.otherActions(s)
}

func (v *validator) objectActions(s *v1alpha1.Step) {
	at := s.Source
	if s.Patch != nil {
		v.patch(at, "patch", s.Patch)
	}
	if a := s.Scale; a != nil {
		v.workload(at, "scale.workload", a.Workload)
		if a.Replicas < 0 {
			v.fail(at, "scale.replicas", "write 0 or more", "replicas: %d is negative", a.Replicas)
		}
	}
	if a := s.SetImage; a != nil {
		v.workload(at, "setImage.workload", a.Workload)
		if a.Image == "" || strings.ContainsAny(a.Image, " \t") {
			v.fail(at, "setImage.image", "write for example example/frontend:v2.4", "image: %q is not an image", a.Image)
		}
	}
	if s.Restart != nil {
		v.workload(at, "restart", s.Restart.Workload)
	}
	if s.Undo != nil {
		v.workload(at, "undo", s.Undo.Workload)
		if s.Undo.ToRevision < 0 {
			v.fail(at, "undo.toRevision", "write 0 for the one before", "toRevision: %d is negative", s.Undo.ToRevision)
		}
	}
	v.rolloutActions(s)
	if s.Set != nil {
		v.service(s.Set, "")
	}
}

func (v *validator) patch(at v1alpha1.Source, path string, p *v1alpha1.ObjectPatch) {
	if p.Source != (v1alpha1.Source{}) {
		at, path = p.Source, ""
	}
	list := strings.HasPrefix(strings.TrimSpace(string(p.Patch)), "[")
	switch {
	case len(p.Patch) == 0:
	case p.Type == v1alpha1.PatchJSON && !list:
		v.fail(at, path, "write a list of {op, path, value}", "patch: a patch of type json is a list of operations")
	case (p.Type == v1alpha1.PatchMerge || p.Type == v1alpha1.PatchStrategic) && list:
		v.fail(at, path, "write type: json", "patch: a list of operations is of type json")
	}
}

func (v *validator) podActions(s *v1alpha1.Step) {
	k := s.KillPods
	if k == nil {
		return
	}
	at := s.Source
	switch {
	case k.Workload != "" && k.Selector != "":
		v.fail(at, "killPods.selector", "keep one of them", "killPods: a workload and a selector are given")
	case k.Workload != "":
		v.workload(at, "killPods.workload", k.Workload)
	case k.Selector != "":
		v.selector(at, "killPods.selector", k.Selector)
	default:
		v.fail(at, "killPods", "write workload: shop/frontend, or selector: app=web", "killPods does not say which pods")
	}
	v.amount(at, "killPods", k.Count, k.Share)
	if k.Grace != nil && k.Grace.Duration < 0 {
		v.fail(at, "killPods.grace", "write 0s or more", "grace: %s is negative", k.Grace)
	}
}

func (v *validator) amount(at v1alpha1.Source, path string, count *int32, share *v1alpha1.Share) {
	if count != nil && share != nil {
		v.fail(at, path+".share", "keep one of them", "%s: count and share are given", path)
	}
	if count != nil && *count < 1 {
		v.fail(at, path+".count", "write 1 or more", "count: %d is too few", *count)
	}
	v.share(at, path+".share", share)
}

func (v *validator) nodes(at v1alpha1.Source, path string, t *v1alpha1.NodeTarget) {
	given := 0
	for _, text := range []string{t.Node, t.Pool, t.Selector} {
		if text != "" {
			given++
		}
	}
	if given != 1 {
		v.fail(at, path, "write one of node: web-1, pool: web, selector: topology.kubernetes.io/zone=a", "%s names %s", path,
			map[bool]string{true: "no nodes", false: "nodes in more than one way"}[given == 0])
	}
	if t.Selector != "" {
		v.selector(at, path+".selector", t.Selector)
	}
	v.poolName(at, path+".pool", t.Pool)
	v.amount(at, path, t.Count, t.Share)
	if t.Node != "" && (t.Count != nil || t.Share != nil) {
		v.fail(at, path, "remove it", "%s: a node by name takes no count or share", path)
	}
}

// poolName checks that a pool named by a step exists. Without pools in the scenario one is made, whose name is "default".
func (v *validator) poolName(at v1alpha1.Source, path, name string) {
	if name == "" || v.partial || v.broken.list("spec.cluster.pools") {
		return
	}
	names := poolNames(v.scenario)
	for _, n := range names {
		if n == name {
			return
		}
	}
	v.fail(at, path, spelling.Suggest(name, names), "there is no pool %q", name)
}

func poolNames(s *v1alpha1.Scenario) []string {
	if len(s.Spec.Cluster.Pools) == 0 {
		return []string{PoolDefault}
	}
	var names []string
	for _, p := range s.Spec.Cluster.Pools {
		names = append(names, p.Name)
	}
	return names
}

func (v *validator) zone(at v1alpha1.Source, path, name string) {
	if name == "" || v.partial || v.broken.list("spec.cluster.pools") {
		return
	}
	seen := map[string]bool{}
	for _, p := range v.scenario.Spec.Cluster.Pools {
		for _, z := range zonesOf(&p) {
			seen[z] = true
		}
	}
	if len(v.scenario.Spec.Cluster.Pools) == 0 {
		for _, z := range MadeZones {
			seen[z] = true
		}
	}
	if !seen[name] {
		v.fail(at, path, spelling.Suggest(name, sortedKeys(seen)), "there is no zone %q", name)
	}
}

func (v *validator) nodeActions(s *v1alpha1.Step) {
	at := s.Source
	if a := s.NodeCrash; a != nil {
		v.nodes(at, "nodeCrash", &a.NodeTarget)
		if a.Back != nil && a.Back.Duration < 0 {
			v.fail(at, "nodeCrash.back", "write for example 3m", "back: %s is negative", a.Back)
		}
	}
	if a := s.NodeNotReady; a != nil {
		v.nodes(at, "nodeNotReady", &a.NodeTarget)
		v.gap(at, "nodeNotReady.gap", a.Gap)
	}
	if a := s.Drain; a != nil {
		v.nodes(at, "drain", &a.NodeTarget)
		v.gap(at, "drain.gap", a.Gap)
		if a.Timeout != nil && a.Timeout.Duration <= 0 {
			v.fail(at, "drain.timeout", "write for example 1h", "timeout: %s is not a length of time", a.Timeout)
		}
	}
	if a := s.Cordon; a != nil {
		v.nodes(at, "cordon", &a.NodeTarget)
		v.gap(at, "cordon.gap", a.Gap)
	}
	if a := s.ZoneOutage; a != nil {
		v.zone(at, "zoneOutage.zone", a.Zone)
	}
	if a := s.SpotReclaim; a != nil {
		v.poolName(at, "spotReclaim.pool", a.Pool)
		v.amount(at, "spotReclaim", a.Count, a.Share)
		v.gap(at, "spotReclaim.over", a.Over)
		v.gap(at, "spotReclaim.rebalance", a.Rebalance)
		if a.Notice != nil {
			v.gap(at, "spotReclaim.notice", *a.Notice)
		}
		v.spotPool(at, a.Pool)
	}
	if a := s.NoCapacity; a != nil {
		if (a.Pool == "") == (a.Type == "" && a.Zone == "") {
			v.fail(at, "noCapacity", "write pool: web, or type and zone", "noCapacity needs a pool, or a type or zone, not both")
		}
		v.poolName(at, "noCapacity.pool", a.Pool)
		v.zone(at, "noCapacity.zone", a.Zone)
	}
}

func (v *validator) spotPool(at v1alpha1.Source, name string) {
	for _, p := range v.scenario.Spec.Cluster.Pools {
		if p.Name == name && p.CapacityType != "spot" {
			v.fail(at, "spotReclaim.pool", "write capacityType: spot in the pool, or use nodeCrash", "pool %s is not spot, so nothing is reclaimed", name)
		}
	}
}

func (v *validator) gap(at v1alpha1.Source, path string, d v1alpha1.Duration) {
	if d.Duration < 0 {
		v.fail(at, path, "write 0s or more", "%s: %s is negative", lastName(path), d)
	}
}

func (v *validator) otherActions(s *v1alpha1.Step) {
	at := s.Source
	if a := s.Registry; a != nil && a.Factor != nil && !(*a.Factor >= 1 && *a.Factor <= 1e6) {
		v.fail(at, "registry.factor", "write 1 or more", "factor: %g is out of range", *a.Factor)
	}
	if a := s.Quota; a != nil && len(a.Hard) == 0 {
		v.fail(at, "quota.hard", "write for example hard: {pods: 10}", "quota changes nothing")
	}
	if a := s.LoadFactor; a != nil {
		if !(a.Factor >= 0 && a.Factor <= 1e6) {
			v.fail(at, "loadFactor.factor", "write 0 or more", "factor: %g is out of range", a.Factor)
		}
		v.loadName(at, "loadFactor.load", a.Load)
	}
	if s.Assert != "" {
		v.condition(at, "assert", s.Assert, celenv.Live())
	}
}

func (v *validator) loadName(at v1alpha1.Source, path, name string) {
	if name == "" || v.partial || v.broken.list("spec.load") {
		return
	}
	var names []string
	for i := range v.scenario.Spec.Load {
		l := &v.scenario.Spec.Load[i]
		if LoadName(l) == name {
			return
		}
		names = append(names, LoadName(l))
	}
	v.fail(at, path, spelling.Suggest(name, names), "there is no load %q", name)
}

// stepName is the name given to a step that has none: its action and its number.
func stepName(s *v1alpha1.Step, index int) string {
	return fmt.Sprintf("%s %d", ActionName(&s.Action), index+1)
}
