package causes

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/record/recordtest"
)

var start = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// topology is a small shop: shoppers → web → cart → redis.
func topology() record.Run {
	return record.Run{
		Start:     record.Start{PlayFrom: start, PlayTo: start.Add(24 * time.Hour)},
		Workloads: []record.Workload{{Object: "Deployment/shop/web", Service: "shop/web"}, {Object: "Deployment/shop/cart", Service: "shop/cart"}, {Object: "StatefulSet/shop/redis", Service: "shop/redis"}},
		Calls:     []record.Call{{From: "shop/web", To: "shop/cart"}, {From: "shop/cart", To: "shop/redis"}},
		Loads:     []record.Load{{Name: "shoppers", To: "shop/web"}, {Name: "bots", To: "shop/redis"}},
		Nodes:     []record.Node{{Name: "n1", Zone: "a", Pool: "web"}, {Name: "n2", Zone: "b", Pool: "web"}},
	}
}

func at(seconds int, e record.Entry) record.Entry {
	e.Time = start.Add(time.Duration(seconds) * time.Second)
	return e
}

func data(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

func TestEachEffectIsLinkedToItsMostSpecificCause(t *testing.T) {
	t.Parallel()
	const web, cart = "Deployment/shop/web", "Deployment/shop/cart"
	load := func(s int, from, to string) record.Entry {
		return at(s, record.Entry{Kind: record.KindLoad, Object: "shoppers", Data: data("from", from, "to", to)})
	}
	scale := func(s int, w, from, to string) record.Entry {
		return at(s, record.Entry{Kind: record.KindScale, Object: w, Data: data("from", from, "to", to)})
	}
	saturated := func(s int, service string) record.Entry {
		return at(s, record.Entry{Kind: record.KindSaturation, Object: service, Severity: record.Warning, Data: data("state", "begins", "service", service)})
	}
	failing := func(s int, service string) record.Entry {
		return at(s, record.Entry{Kind: record.KindErrors, Object: service, Severity: record.Severe, Data: data("state", "begins", "service", service)})
	}
	rolls := func(s int, state string) record.Entry {
		return at(s, record.Entry{Kind: record.KindRollout, Object: web, Owner: web, Severity: record.Notable, Data: data("state", state, "workload", web)})
	}
	analysed := func(s int, state string) record.Entry {
		return at(s, record.Entry{Kind: record.KindAnalysis, Object: "AnalysisRun/shop/web-1", Owner: web, Severity: record.Notable, Data: data("state", state, "workload", web)})
	}
	for name, c := range map[string]struct {
		timeline []record.Entry
		want     int // ID of the last entry's cause; 0: unknown
	}{
		"an abort follows the analysis that failed, not the promotion before it": {[]record.Entry{
			at(0, record.Entry{Kind: record.KindStep, Object: "go on", Data: data("action", "promote", "target", web)}), rolls(1, "step"), analysed(20, "fails"), rolls(20, "aborts")}, 3},
		"an abort follows the step that asks for it": {[]record.Entry{rolls(0, "begins"), at(60, record.Entry{Kind: record.KindStep, Object: "enough", Data: data("action", "abort", "target", web)}), rolls(60, "aborts")}, 2},
		"an abort for want of progress follows the image that cannot be pulled": {[]record.Entry{rolls(0, "begins"), at(1, record.Entry{Kind: record.KindImage, Object: "Pod/shop/web-1", Owner: web, Severity: record.Warning}),
			at(120, record.Entry{Kind: record.KindRollout, Object: web, Owner: web, Why: `ReplicaSet "web-1" has timed out progressing.`, Data: data("state", "aborts")})}, 2},
		"an abort for want of progress follows the stall":        {[]record.Entry{rolls(0, "begins"), rolls(600, "stalls"), rolls(600, "aborts")}, 2},
		"an analysis that fails follows the errors it saw":       {[]record.Entry{rolls(0, "step"), analysed(10, "begins"), failing(60, "shop/web"), analysed(90, "fails")}, 3},
		"an analysis does not follow errors long over":           {[]record.Entry{failing(0, "shop/web"), at(60, record.Entry{Kind: record.KindErrors, Object: "shop/web", Data: data("state", "ends", "service", "shop/web")}), rolls(3000, "begins"), analysed(3010, "begins"), analysed(3060, "fails")}, 4},
		"a step follows the analysis that let it":                {[]record.Entry{rolls(0, "begins"), analysed(60, "ends"), rolls(60, "step")}, 2},
		"a step follows the promotion":                           {[]record.Entry{rolls(0, "begins"), at(60, record.Entry{Kind: record.KindStep, Object: "go on", Data: data("action", "promote", "target", web)}), rolls(60, "step")}, 2},
		"errors follow the step that brought more of a revision": {[]record.Entry{rolls(0, "begins"), rolls(1500, "step"), failing(1560, "shop/web")}, 2},
		"the end of a revision follows its abort":                {[]record.Entry{rolls(0, "begins"), rolls(60, "aborts"), rolls(90, "reverted")}, 2},
		"scale up follows a saturation that goes on":             {[]record.Entry{saturated(0, "shop/cart"), load(1500, "10", "20"), scale(1800, cart, "2", "4")}, 1},
		"scale up does not follow a saturation that is over":     {[]record.Entry{saturated(0, "shop/cart"), at(60, record.Entry{Kind: record.KindSaturation, Object: "shop/cart", Data: data("state", "ends")}), scale(1800, cart, "2", "4")}, 0},
		"scale down of what went too far":                        {[]record.Entry{scale(0, cart, "2", "6"), scale(900, cart, "6", "4")}, 1},
		"a throttle follows the scale down":                      {[]record.Entry{load(0, "20", "10"), scale(10, cart, "4", "2"), at(12, record.Entry{Kind: record.KindThrottle, Object: "Service/shop/cart", Data: data("state", "begins", "service", "shop/cart")})}, 2},
		"a node joins in place of a lost one": {[]record.Entry{at(0, record.Entry{Kind: record.KindStep, Object: "zone loss", Data: data("action", "zoneOutage", "zone", "a")}),
			at(19, record.Entry{Kind: record.KindNodeAdded, Object: "Node/n9", Data: data("node", "n9", "zone", "b", "pool", "web")})}, 1},
		"at one instant a step comes before what it does": {[]record.Entry{at(0, record.Entry{Kind: record.KindEvent, Object: "Node/n1"}), at(0, record.Entry{Kind: record.KindStep, Object: "lost", Data: data("action", "nodeCrash", "target", "Node/n1")})}, 1},
		"a pod comes once the quota has room": {[]record.Entry{at(0, record.Entry{Kind: record.KindRefused, Object: "ReplicaSet/shop/web-1", Owner: web}),
			at(900, record.Entry{Kind: record.KindPodCreated, Object: "Pod/shop/web-1", Owner: web})}, 1},
		"a pod gone follows the beginning of a rollout, not its stall": {[]record.Entry{at(0, record.Entry{Kind: record.KindRollout, Object: web, Severity: record.Notable, Data: data("state", "begins")}),
			at(600, record.Entry{Kind: record.KindRollout, Object: web, Severity: record.Warning, Data: data("state", "stalls")}),
			at(700, record.Entry{Kind: record.KindPodGone, Object: "Pod/shop/web-1", Owner: web})}, 1},
		"scale up follows the load that reaches the service": {[]record.Entry{load(0, "10", "20"), scale(40, cart, "2", "4")}, 1},
		"scale up does not follow a load that fell since":    {[]record.Entry{load(0, "10", "20"), load(10, "20", "5"), scale(40, cart, "2", "4")}, 0},
		"scale up prefers lost pods to a load":               {[]record.Entry{load(0, "10", "20"), at(20, record.Entry{Kind: record.KindPodUnready, Object: "Pod/shop/web-1", Owner: web}), scale(40, web, "2", "4")}, 2},
		"load of another service causes nothing": {[]record.Entry{at(0, record.Entry{Kind: record.KindLoad, Object: "bots", Data: data("from", "1", "to", "9")}),
			scale(40, web, "2", "4")}, 0},
		"scale down follows the load":                  {[]record.Entry{load(0, "10", "20"), load(60, "20", "9"), scale(500, web, "4", "2")}, 2},
		"pod follows its scale":                        {[]record.Entry{scale(0, web, "2", "3"), scale(1, cart, "2", "3"), at(3, record.Entry{Kind: record.KindPodCreated, Object: "Pod/shop/web-9", Owner: web})}, 1},
		"errors come from the deepest failing service": {[]record.Entry{failing(0, "shop/redis"), failing(5, "shop/cart"), failing(10, "shop/web")}, 1},
		"saturation comes from a saturated callee":     {[]record.Entry{load(0, "10", "20"), saturated(5, "shop/cart"), saturated(20, "shop/web")}, 2},
		"node goes down with its zone": {[]record.Entry{at(0, record.Entry{Kind: record.KindStep, Object: "zone loss", Data: data("action", "zoneOutage", "zone", "a")}),
			at(50, record.Entry{Kind: record.KindNodeUnready, Object: "Node/n1"})}, 1},
		"node of another zone does not": {[]record.Entry{at(0, record.Entry{Kind: record.KindStep, Object: "zone loss", Data: data("action", "zoneOutage", "zone", "a")}),
			at(50, record.Entry{Kind: record.KindNodeUnready, Object: "Node/n2"})}, 0},
		"node that fails minutes later does not": {[]record.Entry{at(0, record.Entry{Kind: record.KindStep, Object: "zone loss", Data: data("action", "zoneOutage", "zone", "a")}),
			at(600, record.Entry{Kind: record.KindNodeUnready, Object: "Node/n1"})}, 0},
		"stalled rollout blames the image": {[]record.Entry{at(0, record.Entry{Kind: record.KindRollout, Object: web, Data: data("state", "begins")}), at(20, record.Entry{Kind: record.KindImage, Object: "Pod/shop/web-1", Owner: web}),
			at(600, record.Entry{Kind: record.KindRollout, Object: web, Data: data("state", "stalls")})}, 2},
		"named step wins over everything": {[]record.Entry{at(0, record.Entry{Kind: record.KindStep, Object: "drain n1"}), at(1, record.Entry{Kind: record.KindNodeUnready, Object: "Node/n1"}),
			at(2, record.Entry{Kind: record.KindEviction, Object: "Pod/shop/web-1", Owner: web, Data: data("node", "n1", "step", "drain n1")})}, 1},
		"recorded cause is kept": {[]record.Entry{load(0, "1", "2"), load(1, "2", "3"), at(2, record.Entry{Kind: record.KindCrash, Object: "Pod/shop/web-1", Causes: []int{1}})}, 1},
		"nothing is guessed":     {[]record.Entry{scale(0, cart, "1", "2"), at(300, record.Entry{Kind: record.KindCrash, Object: "Pod/shop/web-1", Owner: web})}, 0},
	} {
		run := topology()
		for i := range c.timeline {
			c.timeline[i].ID = i + 1
			run.Timeline = append(run.Timeline, c.timeline[i])
		}
		linked := Annotate(&run)
		last := linked[len(linked)-1]
		got := 0
		if len(last.Causes) > 0 {
			got = last.Causes[0]
		}
		if got != c.want {
			t.Errorf("%s: cause is entry %d, want %d", name, got, c.want)
		}
	}
}

func TestChainRunsFromSymptomToRoot(t *testing.T) {
	t.Parallel()
	run := topology()
	for i, e := range []record.Entry{
		at(0, record.Entry{Kind: record.KindStep, Object: "zone loss", What: "zone loss", Data: data("action", "zoneOutage", "zone", "a")}),
		at(50, record.Entry{Kind: record.KindNodeUnready, Object: "Node/n1", What: "n1 is gone", Severity: record.Warning}),
		at(51, record.Entry{Kind: record.KindPodGone, Object: "Pod/shop/cart-1", Owner: "Deployment/shop/cart", What: "cart lost a pod", Data: data("node", "n1")}),
		at(60, record.Entry{Kind: record.KindSaturation, Object: "shop/cart", What: "cart is saturated", Severity: record.Warning, Data: data("state", "begins")}),
		at(70, record.Entry{Kind: record.KindErrors, Object: "shop/web", What: "web fails", Severity: record.Severe, Data: data("state", "begins")}),
	} {
		e.ID = i + 1
		run.Timeline = append(run.Timeline, e)
	}
	linked := Annotate(&run)
	if got, want := Explain(linked, 5), "web fails ← cart is saturated ← cart lost a pod ← n1 is gone ← zone loss"; got != want {
		t.Errorf("Explain = %q, want %q", got, want)
	}
}

func TestFoldingCountsEqualEntriesWithinAMinute(t *testing.T) {
	t.Parallel()
	var list []record.Entry
	for i := range 10 {
		list = append(list, at(i*10, record.Entry{ID: i + 1, Kind: record.KindPodCreated, Object: fmt.Sprintf("Pod/shop/web-%d", i), Owner: "Deployment/shop/web"}))
	}
	list = append(list, at(95, record.Entry{ID: 11, Kind: record.KindPodReady, Object: "Pod/shop/web-0", Owner: "Deployment/shop/web", Causes: []int{4}}))
	got := Fold(list)
	if len(got) != 3 || got[0].Count != 7 || got[1].Count != 3 || got[0].Object != "Deployment/shop/web" {
		t.Fatalf("folded to %+v", got)
	}
	if !slices.Equal(got[2].Causes, []int{1}) {
		t.Errorf("the cause of the folded entry became %v, want [1]", got[2].Causes)
	}
}

func TestStepsAndLoadsAreNeverFolded(t *testing.T) {
	t.Parallel()
	list := []record.Entry{at(0, record.Entry{ID: 1, Kind: record.KindStep, Object: "a"}), at(1, record.Entry{ID: 2, Kind: record.KindStep, Object: "a"})}
	if got := Fold(list); len(got) != 2 {
		t.Errorf("two steps became %d", len(got))
	}
}

func TestAnnotatingTwiceChangesNothingAndCausesComeBefore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		run := topology()
		kinds := []string{record.KindStep, record.KindLoad, record.KindScale, record.KindPodCreated, record.KindPodGone, record.KindNodeUnready, record.KindErrors, record.KindSaturation, record.KindEviction, record.KindRollout, record.KindExpectation, record.KindEvent}
		objects := []string{"Deployment/shop/web", "Deployment/shop/cart", "shop/web", "shop/redis", "Node/n1", "shoppers"}
		for i := range rapid.IntRange(0, 40).Draw(t, "n") {
			run.Timeline = append(run.Timeline, at(rapid.IntRange(0, 900).Draw(t, "t"), record.Entry{ID: i + 1, Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Object: rapid.SampledFrom(objects).Draw(t, "object"),
				Severity: rapid.SampledFrom([]record.Severity{record.Info, record.Warning}).Draw(t, "severity"), Data: data("state", rapid.SampledFrom([]string{"", "begins", "ends"}).Draw(t, "state"))}))
		}
		once := Annotate(&run)
		for i, e := range once {
			if e.ID != i+1 {
				t.Fatalf("entry %d has ID %d", i+1, e.ID)
			}
			for _, c := range e.Causes {
				if c >= e.ID || c < 1 {
					t.Fatalf("entry %d is caused by %d", e.ID, c)
				}
			}
			if chain := Chain(once, e.ID); len(chain) == 0 || chain[0] != e.ID {
				t.Fatalf("chain of %d is %v", e.ID, chain)
			}
		}
	})
}

func TestShareOfUnknownCausesIsSmallOverAShopsDay(t *testing.T) {
	t.Parallel()
	run := recordtest.Day(recordtest.Options{})
	expected, unknown := Unknown(Annotate(&run))
	if expected == 0 || float64(unknown) > 0.05*float64(expected) {
		for _, e := range Annotate(&run) {
			if Expected(e) && len(e.Causes) == 0 {
				t.Logf("%s %s %s", e.Time.Format("15:04:05"), e.Kind, e.What)
			}
		}
		t.Errorf("%d of %d entries have no cause; at most 5 %% may", unknown, expected)
	}
}

func BenchmarkAnnotate(b *testing.B) {
	run := recordtest.Day(recordtest.Options{Services: 20})
	for b.Loop() {
		Annotate(&run)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(run.Timeline)), "ns/entry")
}

func TestDerivedEntriesTellWhatARecorderOnlySampled(t *testing.T) {
	t.Parallel()
	run := recordtest.Day(recordtest.Options{})
	if d := Derive(&run); len(d) > 6 {
		t.Errorf("%d entries repeat what the timeline tells: %+v", len(d), d)
	}
	run.Timeline = slices.DeleteFunc(run.Timeline, func(e record.Entry) bool { return e.Kind == record.KindErrors || e.Kind == record.KindLoad })
	run.Timeline = append(run.Timeline, Derive(&run)...)
	linked := Annotate(&run)
	i := slices.IndexFunc(linked, func(e record.Entry) bool { return e.Kind == record.KindErrors && e.Object == "shop/frontend" })
	if i < 0 || !told(linked, record.KindLoad) {
		t.Fatal("neither failures nor load were read off the series")
	}
	chain := Chain(linked, linked[i].ID)
	if root := linked[chain[len(chain)-1]-1]; root.Object != "zone loss" {
		t.Errorf("the chain of %q ends at %q", linked[i].What, root.What)
	}
}

func TestAPodThatWaitsForANodeIsOneEntryAsLongAsItWaits(t *testing.T) {
	t.Parallel()
	pending := func(s, id int) record.Entry {
		return at(s, record.Entry{ID: id, Kind: record.KindPodPending, Object: "Pod/shop/web-1", Owner: "Deployment/shop/web", Severity: record.Warning, Count: 1})
	}
	got := Fold([]record.Entry{pending(0, 1), pending(300, 2), pending(2100, 3), pending(9000, 4)})
	if len(got) != 2 || got[0].Count != 3 || !got[0].Until.Equal(start.Add(2100*time.Second)) {
		t.Errorf("folded to %+v", got)
	}
}

func TestWhoIsCalledComesBeforeWhoCallsWhenBothFailAtOnce(t *testing.T) {
	t.Parallel()
	run := topology()
	for id, name := range []string{"shop/web", "shop/cart", "shop/redis"} {
		run.Columns = append(run.Columns, record.Column{ID: id, Metric: record.MetricErrors, Labels: map[string]string{"service": name}})
	}
	run.Start.SampleStep = time.Minute
	run.Start.PlayTo = start.Add(2 * time.Minute)
	for i, values := range [][]float64{{0, 0, 0}, {1, 0.996, 0.034}} {
		sample := record.Sample{Time: start.Add(time.Duration(i+1) * time.Minute)}
		for id, v := range values {
			sample.Values = append(sample.Values, record.ColumnValue{ID: id, Value: v})
		}
		run.Samples = append(run.Samples, sample)
	}
	var texts []string
	for _, e := range Derive(&run) {
		texts = append(texts, e.What)
	}
	want := []string{"shop/redis fails 3.4 % of its requests", "shop/cart fails 99.9 % of its requests", "shop/web fails 100 % of its requests"}
	if !slices.Equal(texts, want) {
		t.Errorf("%q, want %q", texts, want)
	}
}

func TestRefusalsOfAQuotaAreOneEntryAsLongAsTheyGoOn(t *testing.T) {
	t.Parallel()
	refused := func(second int, quota string) record.Entry {
		return at(second, record.Entry{Kind: record.KindRefused, Object: "ReplicaSet/shop/web-1", Owner: "Deployment/shop/web", What: "a pod of shop/web is refused",
			Why: `pods "web-1-x" is forbidden: exceeded quota: ` + quota + `, requested: requests.cpu=200m, used: requests.cpu=12900m, limited: requests.cpu=13`})
	}
	got := Fold([]record.Entry{refused(0, "shop"), refused(400, "shop"), refused(500, "other"), refused(1400, "shop"), refused(4000, "shop")})
	if len(got) != 3 || got[0].Count != 3 || !got[0].Until.Equal(at(1400, record.Entry{}).Time) {
		t.Fatalf("folded to %+v", got)
	}
	if again := Fold(got); len(again) != 3 || again[0].Count != 3 {
		t.Errorf("folding again gave %+v", again)
	}
}

func TestAQuotaThatRefusesPodsStandsBesideTheCauseOfSaturation(t *testing.T) {
	t.Parallel()
	run := topology()
	for i, e := range []record.Entry{
		at(0, record.Entry{Kind: record.KindRefused, Object: "ReplicaSet/shop/cart-1", Owner: "Deployment/shop/cart", Data: data("workload", "Deployment/shop/cart"),
			Why: "exceeded quota: shop, requested: requests.cpu=200m, used: requests.cpu=13, limited: requests.cpu=13"}),
		at(600, record.Entry{Kind: record.KindPodGone, Object: "Pod/shop/cart-1-a", Owner: "Deployment/shop/cart", What: "cart lost a pod"}),
		at(610, record.Entry{Kind: record.KindSaturation, Object: "shop/cart", What: "cart is saturated", Severity: record.Warning, Data: data("state", "begins")}),
	} {
		e.ID = i + 1
		run.Timeline = append(run.Timeline, e)
	}
	linked := Annotate(&run)
	if got := linked[2].Causes; !slices.Equal(got, []int{2, 1}) {
		t.Errorf("the saturation is caused by %v, want the lost pod and the quota", got)
	}
	if want := "quota shop refuses pods of shop/cart (requests.cpu=13 is used up)"; linked[0].What != want {
		t.Errorf("the refusal reads %q, want %q", linked[0].What, want)
	}
}
