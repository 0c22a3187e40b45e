package expect

import (
	"strings"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

func TestARolloutIsJudgedByHowItsNewestUpdateEnds(t *testing.T) {
	t.Parallel()
	bad := record.Update{Workload: "Rollout/shop/web", Image: "registry.example/web:2", Revision: "b", Began: start.Add(10 * time.Minute), Ended: start.Add(16 * time.Minute),
		Outcome: record.UpdateAborted, Step: "2 of 3: analysis smoke", Message: "too many errors", WeightMax: .25, WeightMaxAt: start.Add(12 * time.Minute)}
	good := record.Update{Workload: "Rollout/shop/web", Image: "registry.example/web:3", Revision: "c", Began: start.Add(40 * time.Minute), Ended: start.Add(70 * time.Minute), Outcome: record.UpdateHealthy, WeightMax: 1}
	waits := record.Update{Workload: "Rollout/shop/web", Image: "registry.example/web:4", Revision: "d", Began: start.Add(90 * time.Minute), Message: "it waits to be promoted"}
	for _, c := range []struct {
		name, expect string
		updates      []record.Update
		held, noData bool
		value, shows string
		firstAt      time.Duration
	}{
		{"the newest one counts", `{"rollout": {"workload": "shop/web"}}`, []record.Update{bad, good}, true, false, "Healthy after 30 min", "", 0},
		{"an image chooses", `{"rollout": {"workload": "shop/web", "image": "*/web:2", "verdict": "Aborted"}}`, []record.Update{bad, good}, true, false, "Aborted after 6 min", "", 0},
		{"an image without its registry", `{"rollout": {"workload": "shop/web", "image": "web:2", "verdict": "Aborted"}}`, []record.Update{bad, good}, true, false, "Aborted after 6 min", "", 0},
		{"it ended otherwise", `{"rollout": {"workload": "shop/web", "image": "web:2"}}`, []record.Update{bad, good}, false, false, "Aborted after 6 min", "Aborted, step 2 of 3: analysis smoke: too many errors", 16 * time.Minute},
		{"too late", `{"rollout": {"workload": "shop/web", "within": "20m"}}`, []record.Update{good}, false, false, "Healthy after 30 min", "", 60 * time.Minute},
		{"in time", `{"rollout": {"workload": "Rollout/shop/web", "within": "30m"}}`, []record.Update{good}, true, false, "Healthy after 30 min", "", 0},
		{"under way at the end", `{"rollout": {"workload": "shop/web"}}`, []record.Update{waits}, false, false, "under way after 30 min", "under way: it waits to be promoted", 120 * time.Minute},
		{"under way and late", `{"rollout": {"workload": "shop/web", "within": "10m"}}`, []record.Update{waits}, false, false, "under way after 30 min", "", 100 * time.Minute},
		{"no update is no data", `{"rollout": {"workload": "shop/api"}}`, []record.Update{good}, false, true, "no data: no update of shop/api began in the measured time", "", 0},
	} {
		run := shaped{}.run(1)
		run.Updates = c.updates
		r := first(t, c.expect, nil, run)
		if r.Held != c.held || r.NoData != c.noData || r.Value != c.value {
			t.Errorf("%s: held %t, no data %t, %q", c.name, r.Held, r.NoData, r.Value)
		}
		if !c.held && !c.noData && !r.FirstAt.Equal(start.Add(c.firstAt)) {
			t.Errorf("%s: first at %s", c.name, r.FirstAt)
		}
		var texts []string
		for _, e := range r.Evidence {
			texts = append(texts, e.What)
		}
		if all := strings.Join(texts, "\n"); !strings.Contains(all, c.shows) {
			t.Errorf("%s: evidence %q lacks %q", c.name, all, c.shows)
		}
	}
}

func TestAFaultyRevisionIsHeldToItsShareOfTheTraffic(t *testing.T) {
	t.Parallel()
	run := shaped{}.run(1)
	run.Timeline = []record.Entry{
		{ID: 1, Time: start.Add(9 * time.Minute), Kind: record.KindStep, Object: "release", What: "release: set image", Severity: record.Notable, Data: map[string]string{"step": "release", "action": "setImage", "target": "Rollout/shop/web"}},
		{ID: 2, Time: start.Add(9*time.Minute + time.Second), Kind: record.KindRollout, Object: "Rollout/shop/web", What: "shop/web rolls out", Severity: record.Notable, Data: map[string]string{"state": "begins", "workload": "Rollout/shop/web"}},
	}
	run.Updates = []record.Update{
		{Workload: "Rollout/shop/web", Image: "web:2", Revision: "b", Began: start.Add(9 * time.Minute), Ended: start.Add(20 * time.Minute), Outcome: record.UpdateAborted, WeightMax: .3, WeightMaxAt: start.Add(15 * time.Minute)},
		{Workload: "Rollout/shop/web", Image: "web:3", Revision: "c", Began: start.Add(40 * time.Minute), Ended: start.Add(50 * time.Minute), Outcome: record.UpdateHealthy, WeightMax: 1},
	}
	list := Eval(Given{Expectations: []v1alpha1.Expectation{parse(t, `{"rollout": {"workload": "shop/web", "maxWeight": 0.2}}`)}}, observed([]record.Run{run}), nil)
	var weight Result
	for _, r := range list {
		if r.Metric == record.MetricNewWeight {
			weight = r
		}
	}
	if weight.Held || weight.Value != "30 %" || !weight.FirstAt.Equal(start.Add(15*time.Minute)) {
		t.Errorf("%+v", weight)
	}
	if len(weight.Why) != 2 || weight.Why[0] != 2 || weight.Why[1] != 1 {
		t.Errorf("why %v; want the update and the step", weight.Why)
	}
	held := first(t, `{"rollout": {"workload": "shop/web", "maxWeight": 0.3}}`, nil, run)
	if !held.Held {
		t.Errorf("%+v", held)
	}
}
