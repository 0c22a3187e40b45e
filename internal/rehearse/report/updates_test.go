package report

import (
	"strings"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/record/recordtest"
)

func TestUpdatesAreShownInEveryForm(t *testing.T) {
	t.Parallel()
	s := shop(1, false)
	run := recordtest.Day(recordtest.Options{Seed: 1})
	began := run.Start.PlayFrom.Add(2 * time.Hour)
	run.Updates = []record.Update{
		{Workload: "Rollout/shop/frontend", Image: "example/frontend:2", Revision: "b", Began: began, Ended: began.Add(6 * time.Minute), Outcome: record.UpdateAborted, Step: "3 of 7: analysis smoke",
			Message: "too many errors", WeightMax: .1, WeightMaxAt: began.Add(time.Minute)},
		{Workload: "Rollout/shop/frontend", Image: "example/frontend:3", Revision: "c", Began: began.Add(time.Hour), Step: "2 of 7: pause until promoted", Message: "a pause step", WeightMax: .1},
	}
	run.Workloads[0].Strategy, run.Workloads[0].Step, run.Workloads[0].Phase, run.Workloads[0].Weight = "canary", "2 of 7: pause until promoted", "Paused", .1
	run.Workloads[0].Service = "shop/frontend"
	column := record.Column{ID: 1 << 20, Metric: record.MetricNewWeight, Labels: map[string]string{"workload": "Rollout/shop/frontend"}}
	run.Columns = append(run.Columns, column)
	for i := range run.Samples {
		v := 1.0
		switch i {
		case len(run.Samples) / 2:
			v = 0
		case len(run.Samples) - 1:
			v = .1
		}
		run.Samples[i].Values = append(run.Samples[i].Values, record.ColumnValue{ID: column.ID, Value: v})
	}
	s.Runs = []record.Run{run}
	r := Build(s)
	page, err := HTML(r)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"page": string(page), "markdown": Markdown(r)} {
		for _, want := range []string{"example/frontend:2", "Aborted: too many errors", "3 of 7: analysis smoke", "under way: a pause step"} {
			if !strings.Contains(text, want) {
				t.Errorf("the %s lacks %q", name, want)
			}
		}
	}
	if !strings.Contains(string(page), "canary, step 2 of 7: pause until promoted, Paused, 10 % of the traffic") {
		t.Error("the service's card lacks where its Rollout stands")
	}
	if !strings.Contains(string(page), `id="p-updates"`) || !strings.Contains(string(page), "shop/frontend: 2 updates, 1 aborted, 10 % of the traffic at the end") {
		t.Error("the page does not plot the traffic of the newest revision")
	}
	data, err := JSON(r)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(data)
	if err != nil || len(back.Updates) != 2 || back.Updates[0].Outcome != record.UpdateAborted {
		t.Errorf("read back: %v, %+v", err, back)
	}
}
