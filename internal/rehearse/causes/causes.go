// Package causes links every entry of a run's timeline to the earlier entries that brought it about, so that a report can
// say "errors ← web has too few replicas ← node web-2 is gone ← step zone loss" instead of listing coincidences.
//
// Rules stand in a table (rules.go), most specific first; the first that finds an earlier entry wins. A rule looks back no
// further than the acting controller's period and 30 s, or over a condition while it lasts. Where no rule finds anything
// the entry has no cause and counts as unknown: it is never guessed. Everything here is pure.
//
// Rules read an entry's Object, Owner and these keys of Data: step, service, workload, node, zone, pool, target (what a
// step acts on, comma-separated), action (of a step), state (begins, ends; of updates and analyses also how they
// go on and fail), from, to, reason, metric, budget.
package causes

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// Index is the part of a timeline that has already been linked.
type Index struct {
	byKind    map[string][]record.Entry // in order of time
	serviceOf map[string]string         // workload → service
	workloads map[string]string         // service → workload
	callees   map[string][]string
	zoneOf    map[string]string // node → zone
	poolOf    map[string]string
	until     map[int]time.Time // entry that begins a condition → when that was over
	end       time.Time
}

// NewIndex prepares an index with the run's topology and no entries.
func NewIndex(run *record.Run) *Index {
	x := &Index{byKind: map[string][]record.Entry{}, serviceOf: map[string]string{}, workloads: map[string]string{}, callees: map[string][]string{},
		zoneOf: map[string]string{}, poolOf: map[string]string{}, until: map[int]time.Time{}, end: run.Start.PlayTo}
	for _, w := range run.Workloads {
		if w.Service != "" {
			x.serviceOf[w.Object], x.workloads[w.Service] = w.Service, w.Object
		}
	}
	for _, c := range run.Calls {
		x.callees[c.From] = append(x.callees[c.From], c.To)
	}
	for _, l := range run.Loads {
		if !l.Service && l.To != "" {
			x.callees[l.Name] = append(x.callees[l.Name], l.To)
		}
	}
	for _, n := range run.Nodes {
		x.zoneOf[n.Name], x.poolOf[n.Name] = n.Zone, n.Pool
	}
	return x
}

// Add puts an entry into the index.
func (x *Index) Add(e record.Entry) { x.byKind[e.Kind] = append(x.byKind[e.Kind], e) }

// Link returns the IDs of the entries that caused e, most direct first; nil when no rule applies. Causes the recorder
// knew (owner references, a decision's own evidence) are kept and no rule is asked.
func Link(x *Index, e record.Entry) []int {
	if len(e.Causes) > 0 {
		return e.Causes
	}
	linked := x.first(rulesFor[e.Kind], e)
	if also := x.first(besideFor[e.Kind], e); len(linked) > 0 && len(also) > 0 && also[0] != linked[0] {
		linked = append(linked, also[0])
	}
	return linked
}

// first is what the first rule that finds anything finds.
func (x *Index) first(rules []rule, e record.Entry) []int {
	for _, r := range rules {
		if r.when != nil && !r.when(e) {
			continue
		}
		if found, ok := x.find(r, e); ok {
			return []int{found.ID}
		}
	}
	return nil
}

// scanLimit bounds how many earlier entries of a kind one rule looks at. In a timeline of 100,000 entries linking stays
// linear; what lies further back than 2,000 entries of one kind is outside every rule's window in practice.
const scanLimit = 2000

// find returns the latest earlier entry that satisfies a rule; of those in a callee relation, the deepest, and for an
// expectation of equally deep ones the one that lasted longest.
func (x *Index) find(r rule, e record.Entry) (record.Entry, bool) {
	list := x.byKind[r.cause]
	best, bestDepth, ok := record.Entry{}, 0, false
	superseded := map[string]bool{}
	for i := len(list) - 1; i >= max(0, len(list)-scanLimit); i-- {
		c := list[i]
		if c.Time.After(e.Time) || c.ID == e.ID {
			continue
		}
		last := c.Time
		if c.Until.After(last) {
			last = c.Until
		}
		if over := x.until[c.ID]; over.After(last) {
			last = over
		}
		if r.window > 0 && e.Time.Sub(last) > r.window {
			if e.Time.Sub(c.Time) > longestCondition {
				break
			}
			continue
		}
		depth, related := r.relation(x, e, c)
		if !related {
			continue
		}
		if r.cause == record.KindLoad {
			if superseded[c.Object] {
				continue // a later change of the same load is what holds now
			}
			superseded[c.Object] = true
		}
		if r.only != nil && !r.only(c) {
			continue
		}
		switch {
		case !ok || depth > bestDepth:
			best, bestDepth, ok = c, depth, true
		case depth == bestDepth && e.Kind == record.KindExpectation && x.lasts(c) > x.lasts(best):
			best = c // of several that began, the one that went on
		}
		if depth == 0 {
			return best, true
		}
	}
	return best, ok
}

// lasts is how long a condition held, as far as the index knows its end.
func (x *Index) lasts(begin record.Entry) time.Duration {
	for _, c := range x.byKind[begin.Kind] {
		if c.Object == begin.Object && c.Data["state"] == "ends" && c.Time.After(begin.Time) {
			return c.Time.Sub(begin.Time)
		}
	}
	return longestCondition
}

// Annotate folds and links a run's timeline and returns the new one, with IDs counted from 1 in order of time. It gives
// the same result when applied again.
func Annotate(run *record.Run) []record.Entry {
	list := Fold(run.Timeline)
	x := NewIndex(run)
	x.Conditions(list)
	for i := range list {
		list[i] = nameQuota(list[i])
		if linked := Link(x, list[i]); len(linked) > 0 {
			list[i].Causes = linked
		}
		x.Add(list[i])
	}
	return list
}

// Conditions tells an index which conditions of a timeline lasted how long, so that they are causes for all of that time.
func (x *Index) Conditions(timeline []record.Entry) {
	open := map[string]int{}
	for _, e := range timeline {
		key := e.Kind + "\x00" + e.Object
		switch e.Data["state"] {
		case "begins":
			if e.Kind == record.KindSaturation || e.Kind == record.KindErrors || e.Kind == record.KindThrottle {
				open[key], x.until[e.ID] = e.ID, x.end
			}
		case "ends":
			if id, ok := open[key]; ok {
				x.until[id] = e.Time
				delete(open, key)
			}
		}
	}
}

// Chain follows the most direct causes from an entry to its root: symptom first. timeline is sorted by ID from 1.
func Chain(timeline []record.Entry, id int) []int {
	chain := []int{}
	for id >= 1 && id <= len(timeline) && !slices.Contains(chain, id) {
		chain = append(chain, id)
		next := timeline[id-1].Causes
		if len(next) == 0 {
			break
		}
		id = next[0]
	}
	return chain
}

// Explain writes a chain as "symptom ← … ← root".
func Explain(timeline []record.Entry, id int) string {
	var parts []string
	for _, i := range Chain(timeline, id) {
		parts = append(parts, timeline[i-1].What)
	}
	return strings.Join(parts, " ← ")
}

// Unknown counts the entries that ought to have a cause and those of them that have none.
func Unknown(timeline []record.Entry) (expected, unknown int) {
	for _, e := range timeline {
		if !Expected(e) {
			continue
		}
		expected++
		if len(e.Causes) == 0 {
			unknown++
		}
	}
	return expected, unknown
}

// Expected tells whether something must have caused an entry. Steps, loads, notes and what the control plane says of
// itself are roots: the scenario's will, or the day's.
func Expected(e record.Entry) bool {
	switch e.Kind {
	case record.KindStep, record.KindLoad, record.KindNote, record.KindControlPlane:
		return false
	}
	return true
}

// foldWithin is how close in time equal entries are one.
const foldWithin = time.Minute

// Fold joins entries of equal kind, owner, severity and state whose times lie within 60 s of the first, counting them,
// sorts by time and renumbers from 1; causes follow. Entries without an owner fold by object. Roots never fold. What is
// tried again and again (retries) is one entry for as long as it goes on.
func Fold(timeline []record.Entry) []record.Entry {
	sorted := slices.Clone(timeline)
	slices.SortStableFunc(sorted, func(a, b record.Entry) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(order(a), order(b))) })
	var out []record.Entry
	open := map[string]int{} // key → position in out
	moved := make(map[int]int, len(sorted))
	for _, e := range sorted {
		key := foldKey(e)
		if at, ok := open[key]; ok && key != "" && goesOn(out[at], e) {
			out[at] = join(out[at], e)
			moved[e.ID] = at + 1
			continue
		}
		old := e.ID
		e.ID = len(out) + 1
		e.Causes = slices.Clone(e.Causes)
		moved[old] = e.ID
		open[key] = len(out)
		out = append(out, e)
	}
	for i := range out {
		out[i].Causes = remap(out[i].Causes, moved, out[i].ID)
	}
	return out
}

// order puts what happened at one instant from cause to effect: what was done to the cluster, then nodes, then pods, then
// the words of controllers.
func order(e record.Entry) int {
	switch e.Kind {
	case record.KindStep, record.KindLoad, record.KindNote:
		return 0
	case record.KindNodeAdded, record.KindNodeGone, record.KindNodeReady, record.KindNodeUnready:
		return 1
	case record.KindEvent:
		return 3
	}
	return 2
}

// goesOn tells whether b, of the same key as a, still belongs to a.
func goesOn(a, b record.Entry) bool {
	pause, retried := retries[a.Kind]
	if !retried {
		return b.Time.Sub(a.Time) <= foldWithin
	}
	last := a.Time
	if a.Until.After(last) {
		last = a.Until
	}
	return b.Time.Sub(last) <= pause
}

func foldKey(e record.Entry) string {
	if !Expected(e) {
		return ""
	}
	subject := e.Owner
	if subject == "" {
		subject = e.Object
	}
	quota, _ := refusal(e)
	if e.Kind == record.KindRollout {
		subject += "\x00" + e.What // an update's steps and weights follow one another: none stands for the others
	}
	return strings.Join([]string{e.Kind, subject, string(e.Severity), e.Data["state"], e.Data["reason"], e.Data["revision"], quota}, "\x00")
}

// join adds b to a. Causes are united, a's first; What stays a's, the count tells the rest.
func join(a, b record.Entry) record.Entry {
	a.Count = max(1, a.Count) + max(1, b.Count)
	if a.Object != b.Object && a.Owner != "" {
		a.Object = a.Owner // several objects: the entry is about their owner
	}
	if b.Until.After(a.Until) {
		a.Until = b.Until
	}
	if _, retried := retries[a.Kind]; retried && b.Time.After(a.Until) {
		a.Until = b.Time
	}
	for _, id := range b.Causes {
		if !slices.Contains(a.Causes, id) {
			a.Causes = append(a.Causes, id)
		}
	}
	if a.Kind == record.KindScale && b.Data["to"] != "" {
		data := map[string]string{}
		for k, v := range a.Data {
			data[k] = v
		}
		data["to"] = b.Data["to"]
		a.Data = data
	}
	return a
}

func remap(ids []int, moved map[int]int, self int) []int {
	var out []int
	for _, id := range ids {
		if to, ok := moved[id]; ok && to != self && to < self && !slices.Contains(out, to) {
			out = append(out, to)
		}
	}
	return out
}
