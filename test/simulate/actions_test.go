package simulate

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// apart is the time between two actions of TestEveryActionLeavesItsMark: long enough for a node to be lost and found.
const apart = 10 * time.Minute

// mark is an action and what it must leave behind before the next one comes.
type mark struct {
	action string // as a step says it
	hold   string // for
	// left tells from the entries of the timeline between this action and the next, and the whole run, what is missing;
	// "" when nothing is.
	left func(p *played, now []record.Entry, from time.Time) string
}

// some wants an entry of a kind about an object whose text says something.
func some(kind, object, says string) func(*played, []record.Entry, time.Time) string {
	return func(_ *played, now []record.Entry, _ time.Time) string {
		for _, e := range now {
			if e.Kind == kind && strings.Contains(e.Object+" "+e.Owner, object) && strings.Contains(e.What+" "+e.Why+" "+fmt.Sprint(e.Data), says) {
				return ""
			}
		}
		return fmt.Sprintf("no entry %s of %s that says %q", kind, object, says)
	}
}

func all(checks ...func(*played, []record.Entry, time.Time) string) func(*played, []record.Entry, time.Time) string {
	return func(p *played, now []record.Entry, from time.Time) string {
		for _, c := range checks {
			if missing := c(p, now, from); missing != "" {
				return missing
			}
		}
		return ""
	}
}

// rate compares the mean of a series while the action is in force with the minutes before.
func rate(metric string, labels map[string]string, holds func(before, during float64) bool) func(*played, []record.Entry, time.Time) string {
	return func(p *played, _ []record.Entry, from time.Time) string {
		t := p.run.Table()
		values := t.Like(metric, labels)
		mean := func(a, b time.Time) float64 {
			sum, n := 0.0, 0
			for i, at := range t.Times {
				if at.After(a) && !at.After(b) && i < len(values) && values[i] == values[i] {
					sum, n = sum+values[i], n+1
				}
			}
			return sum / float64(max(n, 1))
		}
		before, during := mean(from.Add(-3*time.Minute), from), mean(from.Add(time.Minute), from.Add(5*time.Minute))
		if !holds(before, during) {
			return fmt.Sprintf("%s of %v is %.4g before and %.4g meanwhile", metric, labels, before, during)
		}
		return ""
	}
}

var shop = map[string]string{"load": "shoppers"}

// marks are all actions in the order they are played on one cluster.
var marks = []mark{
	{"apply: {apiVersion: apps/v1, kind: Deployment, metadata: {name: late, namespace: shop}, spec: {replicas: 2, selector: {matchLabels: {app: late}}, template: {metadata: {labels: {app: late}}, spec: {containers: [{name: main, image: registry.example/late:v1}]}}}}", "5m",
		all(some(record.KindPodReady, "late", ""), some(record.KindPodGone, "late", ""))},
	{"scale: {workload: shop/web, replicas: 9}", "5m", rate(record.MetricDesired, map[string]string{"workload": "Deployment/shop/web"}, func(a, b float64) bool { return a == 6 && b == 9 })},
	{"patch: {object: Deployment/shop/web, patch: {spec: {replicas: 3}}}", "5m", rate(record.MetricDesired, map[string]string{"workload": "Deployment/shop/web"}, func(a, b float64) bool { return a == 6 && b == 3 })},
	{"setImage: {workload: shop/web, image: registry.example/web:v2}", "", some(record.KindRollout, "shop/web", "")},
	{"undo: {workload: shop/web}", "", some(record.KindRollout, "shop/web", "")},
	{"restart: {workload: shop/web}", "", all(some(record.KindPodGone, "shop/web", ""), some(record.KindPodReady, "shop/web", ""))},
	{"delete: Deployment/shop/extra", "4m", all(some(record.KindPodGone, "extra", ""), some(record.KindPodReady, "extra", ""))},
	{"set: {match: shop/web, errors: 50%}", "6m", rate(record.MetricErrors, shop, func(a, b float64) bool { return a < .05 && b > .4 })},
	{"killPods: {workload: shop/web, count: 2}", "", some(record.KindPodGone, "shop/web", "")},
	{"killPods: {workload: shop/web, count: 1, mode: exit}", "", some(record.KindCrash, "shop/web", "")},
	{"killPods: {workload: shop/web, count: 1, mode: oom}", "", some(record.KindOOM, "shop/web", "")},
	{"nodeCrash: {pool: web, mode: stop, back: 1m}", "", all(some(record.KindNodeUnready, "web-", ""), some(record.KindNodeGone, "web-", ""), some(record.KindNodeAdded, "web-", ""))},
	{"nodeCrash: {pool: web, mode: reboot, back: 2m}", "", all(some(record.KindNodeUnready, "web-", ""), some(record.KindNodeReady, "web-", ""))},
	{"nodeNotReady: {pool: web, count: 1, message: disk on fire}", "4m", all(some(record.KindNodeUnready, "web-", ""), some(record.KindNodeReady, "web-", ""))},
	{"drain: {pool: web, count: 1}", "8m", func(p *played, _ []record.Entry, from time.Time) string {
		if !slices.ContainsFunc(p.run.Evictions, func(e record.Eviction) bool {
			return e.By == "drain" && e.Time.After(from) && e.Time.Before(from.Add(apart))
		}) {
			return "no eviction by a drain"
		}
		return ""
	}},
	{"cordon: {pool: spot}", "8m", func(p *played, _ []record.Entry, from time.Time) string {
		for _, s := range p.run.Steps {
			if s.Name == "cordoned" && s.At.After(from) && s.At.Before(from.Add(apart)) {
				return ""
			}
		}
		return "the step that waits for unschedulable nodes did not come"
	}},
	{"zoneOutage: {zone: b}", "6m", all(some(record.KindNodeGone, "web-", ""), some(record.KindNodeAdded, "web-", ""))},
	{"spotReclaim: {pool: spot, count: 1, notice: 1m, rebalance: 2m}", "", all(some(record.KindEvent, "spot-", "rebalance"), some(record.KindNodeGone, "spot-", ""))},
	{"noCapacity: {pool: web}", "8m", nil},
	{"nodeCrash: {pool: web, mode: stop, back: 30s}", "", func(_ *played, now []record.Entry, from time.Time) string {
		// The step before refuses launches until two minutes before this one; this is its control.
		return some(record.KindNodeAdded, "web-", "")(nil, now, from)
	}},
	{"registry: down", "6m", some(record.KindImage, "", "")},
	{"quota: {namespace: shop, name: limits, hard: {pods: 3}}", "7m", nil},
	{"loadFactor: 3", "6m", rate(record.MetricRequests, shop, func(a, b float64) bool { return b > 2.5*a && b < 3.5*a })},
	{"note: all is well", "", some(record.KindNote, "", "all is well")},
	{"assert: nodes.size() > 100", "", func(p *played, _ []record.Entry, from time.Time) string {
		for _, s := range p.run.Steps {
			if s.Action == "assert" && s.State == record.StepFailed {
				return ""
			}
		}
		return "an assertion that is not true did not fail"
	}},
}

// besides are steps that act while another is in force, to show what that one does.
const besides = `
  - {name: cordoned, when: 'nodes.exists(n, n.unschedulable && n.pool == "spot")', required: false, note: spot nodes take no more pods}
  - {name: lost in want, after: {step: noCapacity 18, plus: 1m}, nodeCrash: {pool: web, mode: stop, back: 10s}}
  - {name: new image, after: {step: registry 20, plus: 30s}, for: 7m, setImage: {workload: shop/extra, image: registry.example/extra:v7}}
  - {name: refill, after: {step: quota 21, plus: 1m}, killPods: {workload: shop/web, count: 3}}
`

func actionsCase() *Case {
	var steps strings.Builder
	for i, m := range marks {
		hold := ""
		if m.hold != "" {
			hold = "for: " + m.hold + ", "
		}
		name, _, _ := strings.Cut(m.action, ":")
		fmt.Fprintf(&steps, "  - {name: %s %d, at: +%s, required: false, %s%s}\n", name, i, time.Duration(i+1)*apart, hold, m.action)
	}
	workload := func(name string, replicas int) string {
		return fmt.Sprintf(`---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: shop}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      containers: [{name: main, image: "registry.example/%[1]s:v1", resources: {requests: {cpu: 200m, memory: 64Mi}}}]
`, name, replicas)
	}
	return &Case{Seed: 3, Scenario: []byte(fmt.Sprintf(`apiVersion: fairway.dev/v1alpha1
kind: Scenario
metadata: {name: actions}
spec:
  duration: %s
  settle: 10m
  seeds: [3]
  cluster:
    pools:
    - {name: web, type: m5.large, zones: [a, b], size: 4, join: 20s}
    - {name: spot, type: m5.large, zones: [a], size: 2, capacityType: spot, join: 20s}
    manifests: [manifests.yaml]
  load: [{name: shoppers, to: shop/web, rate: 30}]
  services: [{match: shop/web, cpu: 2ms, ready: 5s}]
  steps:
%s%s`, time.Duration(len(marks)+1)*apart+PeaceAtEnd, steps.String(), besides)), Manifests: []byte(`apiVersion: v1
kind: ResourceQuota
metadata: {name: limits, namespace: shop}
spec: {hard: {pods: "40"}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: shop}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
` + workload("web", 6) + workload("extra", 2))}
}

// TestEveryActionLeavesItsMark plays each action a scenario can say, one after the other, and looks for what it does.
func TestEveryActionLeavesItsMark(t *testing.T) {
	t.Parallel()
	p, err := runCase(t, actionsCase(), t.TempDir(), "")
	if err != nil {
		t.Fatalf("%v\n%s", err, p.describe())
	}
	between := func(from, to time.Time) (now []record.Entry) {
		for _, e := range p.run.Timeline {
			if !e.Time.Before(from) && e.Time.Before(to) {
				now = append(now, e)
			}
		}
		return now
	}
	for i, m := range marks {
		from := p.run.Start.PlayFrom.Add(time.Duration(i+1) * apart)
		now := between(from, from.Add(apart))
		if m.left == nil {
			continue
		}
		if missing := m.left(p, now, from); missing != "" {
			t.Errorf("%s: %s; the timeline meanwhile:", m.action, missing)
			for _, e := range now {
				t.Logf("  %s %s %s: %s (%s)", e.Time.Format(time.TimeOnly), e.Kind, e.Object, e.What, e.Why)
			}
		}
	}
	at := func(prefix string) time.Time {
		for _, s := range p.run.Steps {
			if strings.HasPrefix(s.Name, prefix) {
				if s.State == record.StepFailed {
					t.Errorf("step %s: %s", s.Name, s.Message)
				}
				return s.At
			}
		}
		return time.Time{}
	}
	from := at("noCapacity")
	if now := between(from.Add(time.Minute), from.Add(8*time.Minute)); some(record.KindNodeAdded, "web-", "")(p, now, from) == "" {
		t.Error("noCapacity: an instance was launched while there was none to have")
	}
	if now := between(from.Add(8*time.Minute), from.Add(apart)); some(record.KindNodeAdded, "web-", "")(p, now, from) != "" {
		t.Error("noCapacity: no instance was launched when there were some again")
	}
	from = at("quota")
	if now := between(from, from.Add(7*time.Minute)); some(record.KindRefused, "", "")(p, now, from) != "" {
		t.Error("quota: no pod was refused")
	}
	for _, s := range p.run.Steps {
		if s.State == record.StepFailed && s.Action != "assert" {
			t.Errorf("step %s failed: %s", s.Name, s.Message)
		}
	}
}

func TestEveryActionIsAmongThoseWithAMark(t *testing.T) {
	t.Parallel()
	actions := reflect.TypeFor[v1alpha1.Action]()
	for i := range actions.NumField() {
		name, _, _ := strings.Cut(actions.Field(i).Tag.Get("json"), ",")
		if !onRollouts[name] && !slices.ContainsFunc(marks, func(m mark) bool { return strings.HasPrefix(m.action, name+":") }) {
			t.Errorf("nothing shows what %s does", name)
		}
	}
}
