package scenario

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// whole is a scenario that uses every part.
const whole = `apiVersion: fairway.dev/v1alpha1
kind: Scenario
metadata: {name: friday-peak}
spec:
  start: 2026-11-27T06:00:00
  timeZone: Europe/Berlin
  duration: 18h
  seeds: 5
  cluster:
    pools:
    - {name: web, type: m5.xlarge, zones: [a, b, c], size: 3}
    - {name: spot, type: m5.xlarge, zones: [a, b, c], capacityType: spot, size: 4, interruptions: 0.01/h}
    - {name: big, cpu: 4, memory: 16Gi, price: 0.2, taints: [{key: gpu, effect: NoSchedule}], join: {p50: 25s, p99: 90s}}
    manifests: [./k8s]
    replicas: {shop/web: 12}
    images: {"*/ml:*": {size: 4Gi}}
    patch:
    - {object: Deployment/shop/web, patch: {spec: {replicas: 3}}}
  load:
  - name: shoppers
    to: shop/frontend
    daily: {low: 60, high: 420, peakAt: "20:30"}
    mix: {index: 1, setCurrency: 2, browse: 10, checkout: 1}
    noise: 5%
    growth: 3%/week
    weekly: {sat: .7, sun: .6}
    arrivals: {bursty: {scv: 4}}
    spikes: [{at: "19:00", for: 10m, factor: 1.8}]
  - {name: users, to: shop/frontend, users: {count: 10, think: 1s..10s}}
  services:
  - match: shop/frontend
    timeout: 2s
    retries: {max: 1, budget: 20%, on: [5xx]}
    routes:
      browse:   {cpu: 6ms, latency: {p50: 18ms, p99: 90ms}, calls: [productcatalogservice, "currencyservice*2", [cartservice, recommendationservice], "adservice?"]}
      checkout: {cpu: 9ms, latency: {p50: 40ms, p99: 200ms}, calls: [{to: checkoutservice, count: 0.5, optional: true}]}
      "*":      {cpu: 4ms, latency: {p50: 12ms, p99: 60ms}, calls: []}
  - {match: shop/adservice, runtime: jvm, ready: {p50: 14s, p99: 30s}, balance: {connection: {perClient: 2, maxAge: 30m}}}
  - {match: shop/redis-cart, cpu: 0.2ms, threads: 1, memory: {base: 100Mi, leak: 20Mi/h}}
  - {match: {selector: app=web, namespace: shop}, image: "*:v2.4", errors: 1.5%, cpuFactor: 1.3}
  steps:
  - {name: release, at: "09:00", setImage: {workload: shop/frontend, image: "example/frontend:v2.4"}}
  - {name: go on, when: 'rollout("shop/frontend").phase == "Paused"', plus: 10m, restart: shop/frontend}
  - {name: spot wave, at: "18:30", spotReclaim: {pool: spot, share: 40%, notice: 2m, over: 5m}}
  - {name: zone loss, at: "20:30", for: 30m, zoneOutage: {zone: a}}
  - {name: later, after: {step: zone loss, plus: 5m}, note: look}
  - {every: 1h, killPods: {workload: shop/frontend}}
  - {cron: "0 9 * * mon-fri", loadFactor: 1.1}
  - {rate: 2/d, between: ["10:00", "16:00"], nodeCrash: {pool: web, mode: hang}}
  - {at: +2h, registry: down, for: 10m}
  - at: day 1 22:00
    apply:
      apiVersion: v1
      kind: ConfigMap
      metadata: {name: a, namespace: shop, creationTimestamp: 2020-01-01}
      data: {x: "1"}
  expect:
  - {slo: {service: shop/frontend, availability: 99.9%, p95: 300ms, burn: {fast: 14.4}}}
  - {cost: {max: 45}}
  - {pending: {p95: 60s, max: 5m}}
  - {recovery: {after: zone loss, within: 5m}}
  - {noWorse: [availability]}
  - {name: no eviction below a PDB, cel: 'evictions.all(e, e.budgetKept)'}
  prices: {types: {m5.xlarge: {onDemand: 0.2}}}
`

func TestAWholeScenarioIsReadWithoutComplaint(t *testing.T) {
	t.Parallel()
	s, diags := Parse([]byte(whole), "scenario.yaml")
	for _, d := range diags {
		t.Error(d)
	}
	browse := s.Spec.Services[0].Routes["browse"]
	if len(browse.Calls) != 4 || len(browse.Calls[2]) != 2 || !browse.Calls[3][0].Optional || browse.Calls[1][0].Times() != 2 {
		t.Errorf("calls %+v", browse.Calls)
	}
	if calls := s.Spec.Services[0].Routes["*"].Calls; calls == nil || len(calls) != 0 {
		t.Errorf("an empty list of calls became %v, which means that they are inferred", calls)
	}
	if got := s.Spec.Services[1].Balance; got.PerClient != 2 || got.Kind != v1alpha1.BalanceConnection {
		t.Errorf("balance %+v", got)
	}
	if at := s.Spec.Steps[3].Source; at.Line != 45 || at.Column != 5 {
		t.Errorf("the zone loss is at %v", at)
	}
	if got := string(s.Spec.Steps[9].Apply[0].Object); !strings.Contains(got, `"creationTimestamp":"2020-01-01"`) || !strings.Contains(got, `"x":"1"`) {
		t.Errorf("the object became %s", got)
	}
}

func TestAScenarioSurvivesItsJSONFormUnchanged(t *testing.T) {
	t.Parallel()
	s, _ := Parse([]byte(whole), "scenario.yaml")
	Default(&s)
	first, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var again v1alpha1.Scenario
	if err := json.Unmarshal(first, &again); err != nil {
		t.Fatal(err)
	}
	second, err := json.Marshal(again)
	if err != nil {
		t.Fatal(err)
	}
	if string(first) != string(second) {
		t.Errorf("first  %s\nsecond %s", first, second)
	}
	// Quantities remember how they were written only after being printed once, so compare the second and third form.
	var third v1alpha1.Scenario
	if err := json.Unmarshal(second, &third); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again, third) {
		t.Error("the scenario read back differs")
	}
}

// in puts a fragment into the spec of an otherwise good scenario; its first line is line 4.
func in(fragment string) []byte {
	return []byte("apiVersion: fairway.dev/v1alpha1\nkind: Scenario\nspec:\n" + fragment)
}

func TestWhatIsWrongIsNamedAtItsPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ fragment, line, says string }{
		{"  durration: 18h", "4:3", `unknown field "durration"; did you mean duration?`},
		{"  duration: 18", "4:13", `"18" has no unit; write for example 18s`},
		{"  duration: 91d", "4:13", "out of range; write 1m to 90d"},
		{"  duration: 1h\n  duration: 2h", "5:3", `"duration" is given twice, first in line 4`},
		{"  timeZone: Europe/Berlim", "4:13", "did you mean Europe/Berlin?"},
		{"  start: tomorrow", "4:10", `start "tomorrow" is not a time`},
		{"  seeds: 0", "4:10", "is not a number of seeds"},
		{"  fidelity: requests", "4:13", "fidelity: requests is not built yet"},
		{"  dependencies: []", "4:3", "dependencies is not built yet"},
		{"  cluster: {snapshot: x.tgz}", "4:13", "snapshot is not built yet"},
		{"  cluster: {manifests: [{helm: ./chart}]}", "4:26", "helm is not built yet; until then render the chart"},
		{"  cluster: {pools: [{name: web, type: m5.large, min: 3, max: 9}]}", "4:62", "a pool that scales between min 3 and max 9 is not built yet"},
		{"  cluster: {pools: [{name: web}]}", "4:21", "says neither a type nor both cpu and memory"},
		{"  load: [{to: shop/web, rate: 10/fortnight}]", "4:31", `"10/fortnight" is not a rate`},
		{"  load: [{to: shop/web, rate: 1e9}]", "4:31", "no scenario means"},
		{"  load: [{to: shop/web, rate: -1}]", "4:31", "negative"},
		{"  load: [{to: shop/web}]", "4:10", "does not say how much; write one of rate"},
		{"  load: [{to: shop/web, rate: 1, users: {count: 3}}]", "4:41", "gives rate and users at once"},
		{"  load: [{to: shop/web, k6: {file: x.js}}]", "4:25", "k6 is not built yet"},
		{"  load: [{to: web, rate: 1}]", "4:15", `to: "web" is not a target`},
		{"  load: [{to: shop/web, rate: 1, spikes: [{at: '25:00', for: 1m, factor: 2}]}]", "4:48", `"25:00" is not a time`},
		{"  load: [{to: shop/web, rate: 1, noise: 5x}]", "4:41", `"5x" is not a share`},
		{"  services: [{match: shop/web, cpu: 6}]", "4:37", `"6" has no unit`},
		{"  services: [{match: shop/web, crash: {rate: 1/h}}]", "4:32", "crash is not built yet"},
		{"  services: [{match: shop/web, balance: p2c}]", "4:41", "kind: p2c is not built yet"},
		{"  services: [{match: shop/web, latency: {p50: 9ms, p99: 1ms}}]", "4:57", "p99 1ms is below p50 9ms"},
		{"  services: [{match: shop/web, runtime: jmv}]", "4:41", `"jmv" is not known; did you mean jvm?`},
		{"  services: [{match: shop/web, calls: ['a b']}]", "4:40", "is not a call"},
		{"  services: [{match: shop/web, memory: {base: 5apples}}]", "4:47", "is not a quantity"},
		{"  steps: [{at: '09:00', promote: web}]", "4:34", `promote: "web" is not a workload`},
		{"  steps: [{at: '09:00', abort: {workload: shop/web, full: true}}]", "4:53", `unknown field "full"`},
		{"  steps: [{at: '09:00', for: 5m, abort: shop/web}]", "4:30", "abort cannot be undone"},
		{"  steps: [{at: '09:00', zap: shop/web}]", "4:25", `unknown field "zap"`},
		{"  steps: [{note: hi}]", "4:11", "does not say when"},
		{"  steps: [{at: '09:00', every: 1h, note: hi}]", "4:32", "gives at and every at once"},
		{"  steps: [{at: '09:00'}]", "4:11", "does not say what to do; write one of apply"},
		{"  start: 2026-01-05T06:00:00\n  steps: [{at: '05:00', note: hi}]", "5:16", `before the run starts at 2026-01-05 06:00 UTC; write "day 2 05:00"`},
		{"  duration: 1h\n  steps: [{at: '+2h', note: hi}]", "5:16", "after the run ends"},
		{"  steps: [{when: 'podz.size() > 0', note: hi}]", "4:18", "undeclared reference to 'podz'"},
		{"  steps: [{cron: '99 * * * *', note: hi}]", "4:18", "is not a schedule"},
		{"  steps: [{rate: 5, note: hi}]", "4:18", "write the unit"},
		{"  steps: [{at: '+1h', for: 5m, restart: shop/web}]", "4:28", "restart cannot be undone"},
		{"  steps: [{at: '+1h', plus: 5m, restart: shop/web}]", "4:29", "plus goes with when only"},
		{"  steps: [{name: a, after: {step: b}, note: x}, {name: b, after: {step: a}, note: y}]", "4:35", "wait for each other: a → b → a"},
		{"  steps: [{name: a, after: {step: zz}, note: x}]", "4:35", `there is no step "zz"`},
		{"  cluster: {pools: [{name: web, type: m5.large}]}\n  steps: [{at: '+1h', nodeCrash: {pool: wep}}]", "5:41", `there is no pool "wep"; did you mean web?`},
		{"  cluster: {pools: [{name: web, type: m5.large, zones: [a, b]}]}\n  steps: [{at: '+1h', zoneOutage: {zone: c}}]", "5:42", `there is no zone "c"; known are a, b`},
		{"  expect: [{rollout: {}}]", "4:22", "workload is missing"},
		{"  expect: [{rollout: {workload: shop/web, verdict: Promoted}}]", "4:52", `"Promoted" is not known`},
		{"  expect: [{rollout: {workload: shop/web, maxWeight: 300%}}]", "4:54", "maxWeight: 300% is more than the whole"},
		{"  expect: [{slo: {service: shop/web}}]", "4:18", "slo bounds nothing"},
		{"  expect: [{recovery: {after: zone loss, within: 5m}}]", "4:31", `there is no step "zone loss"`},
		{"  expect: [{cel: 'evictions.all(e, e.budgetkept)'}]", "4:18", "undefined field 'budgetkept'"},
		{"  expect: [{name: x}]", "4:12", "expects nothing"},
		{"  virtual: {podWrites: some}", "4:24", `"some" is not known; known are full, lean, observable`},
		{"  duration:", "4:12", "duration has no value"},
		{"  duration: 1h\n\t- x", "4:", "this is not YAML"},
		{"  source: {file: x}", "4:3", `unknown field "source"`},
		{"  load: [{to: shop/web, rate: 1, source: {file: x}}]", "4:34", `unknown field "source"`},
	} {
		_, diags := Parse(in(c.fragment), "s.yaml")
		found := false
		var all []string
		for _, d := range diags {
			all = append(all, d.String())
			found = found || strings.HasPrefix(d.String(), "s.yaml:"+c.line) && strings.Contains(d.String(), c.says)
		}
		if !found {
			t.Errorf("%s\n  want s.yaml:%s … %s\n  got %s", c.fragment, c.line, c.says, strings.Join(all, "\n      "))
		}
	}
}

func TestAllMistakesAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, diags := Parse(in("  durration: 1h\n  sample: 5\n  seeds: x\n  load: [{too: a/b}]"), "s.yaml")
	if len(diags) < 5 {
		t.Errorf("only %v", diags)
	}
	for i := 1; i < len(diags); i++ {
		if diags[i].Line < diags[i-1].Line {
			t.Errorf("not in the order of the text: %v", diags)
		}
	}
}

// Mistakes that different stages find: reading, meaning, files; none of them said of what another has made of it.
func TestMistakesOfEveryStageAreReportedAtOnceAndOnlyOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"scenario.yaml": head + `spec:
  duration: 2 hours
  cluster: {pools: [{name: web, type: m5.large, zons: [a, b]}], manifests: [nothere]}
  load:
  - {to: shop/web, csv: {file: r.csv}}
  - {to: shop/web, rate: 5/fortnight, name: x}
  steps:
  - {at: "39:00", zoneOutage: {zone: b}}
  - {at: "09:00", loadFactor: {load: y, factor: 2}}
  expect:
  - {cost: {max: -3}}
`,
		"r.csv": "time,rps\n0,1\n60,x\n",
	})
	_, diags := Load(dir)
	want := []string{"r.csv:3: ", "scenario.yaml:4:13", "scenario.yaml:5:", "scenario.yaml:5:", "scenario.yaml:8:", "scenario.yaml:10:", "scenario.yaml:13:"}
	if len(diags) != len(want) {
		t.Errorf("%d diagnostics, want %d", len(diags), len(want))
	}
	for i, d := range diags {
		if t.Log(d); i < len(want) && !strings.Contains(d.String(), want[i]) {
			t.Errorf("want %s…", want[i])
		}
	}
}

func TestAliasesCannotBlowAScenarioUp(t *testing.T) {
	t.Parallel()
	text := "apiVersion: fairway.dev/v1alpha1\nkind: Scenario\nspec:\n  cluster:\n    drop:\n"
	text += "    - &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'j'; c++ {
		p := string(c - 1)
		text += "    - &" + string(c) + " [*" + p + ", *" + p + ", *" + p + ", *" + p + ", *" + p + ", *" + p + ", *" + p + ", *" + p + "]\n"
	}
	if _, diags := Parse([]byte(text), "s.yaml"); !HasErrors(diags) {
		t.Error("a scenario of a billion values was accepted")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add(string(in("  load: [{to: a/b, daily: {shape: [1,2]}}]")))
	f.Add(string(in("  steps: [{at: '09:00', apply: [a.yaml, {kind: X}]}]")))
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		s, diags := Parse([]byte(text), "f.yaml")
		for _, d := range diags {
			if d.Message == "" || d.Line < 0 {
				t.Errorf("an empty message: %+v", d)
			}
		}
		if HasErrors(diags) {
			return
		}
		Default(&s)
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var again v1alpha1.Scenario
		if err := json.Unmarshal(data, &again); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
	})
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const head = "apiVersion: fairway.dev/v1alpha1\nkind: Scenario\n"

func TestIncludesMergeByNameAndLaterWins(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"scenario.yaml": head + "spec:\n  include: [parts/base.yaml]\n  duration: 2h\n  load: [{name: a, to: shop/web, rate: 9}, {name: c, to: shop/web, rate: 3}]\n",
		"parts/base.yaml": head + "spec:\n  duration: 1h\n  sample: 30s\n  cluster: {manifests: [k8s], replicas: {shop/web: 1}}\n" +
			"  load: [{name: a, to: shop/web, rate: 1}, {name: b, to: shop/web, csv: {file: b.csv}}]\n  steps: [{at: +1h, apply: cm.yaml}]\n",
		"parts/b.csv":       "time,rps\n0,1\n60,2\n120,3\n",
		"parts/k8s/ns.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n",
		"parts/cm.yaml":     "\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: shop}\n",
	})
	l, diags := Load(dir)
	if HasErrors(diags) {
		t.Fatal(diags)
	}
	spec := l.Scenario.Spec
	if len(spec.Load) != 3 || *spec.Load[0].Rate != 9 || spec.Load[1].Name != "b" || spec.Load[2].Name != "c" {
		t.Errorf("loads %+v", spec.Load)
	}
	if spec.Duration.Hours() != 2 || spec.Sample.Seconds() != 30 {
		t.Errorf("duration %s, sample %s", spec.Duration, spec.Sample)
	}
	if spec.Cluster.Manifests[0].Path != "parts/k8s" || spec.Load[1].CSV.Table == nil {
		t.Errorf("paths of an included file are not relative to it: %+v", spec.Cluster.Manifests)
	}
	if apply := spec.Steps[0].Apply; len(apply) != 1 || apply[0].File != "parts/cm.yaml" || apply[0].Line != 2 || apply[0].Object == nil {
		t.Errorf("applied %+v", apply)
	}
	if len(l.Inputs) != 3 {
		t.Errorf("inputs %v", l.Inputs)
	}
}

func TestTheSameScenarioElsewhereHasTheSameDigest(t *testing.T) {
	t.Parallel()
	text := head + "spec:\n  load: [{to: shop/web, rate: 9}]\n"
	digest := func(dir, text string) string {
		write(t, dir, map[string]string{"scenario.yaml": text})
		l, diags := Load(filepath.Join(dir, "scenario.yaml"))
		if HasErrors(diags) {
			t.Fatal(diags)
		}
		d, err := Digest(&l.Scenario)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	a := digest(t.TempDir(), text)
	if b := digest(filepath.Join(t.TempDir(), "x"), "# moved down a line\n"+text); a != b {
		t.Error("place and comments change the digest")
	}
	if b := digest(t.TempDir(), strings.Replace(text, "9", "8", 1)); a == b {
		t.Error("another rate has the same digest")
	}
}

func TestARecordedCurveOutsideTheRunIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"scenario.yaml": head + "spec:\n  start: 2026-01-05T00:00:00\n  load: [{to: shop/web, csv: {file: r.csv}}]\n",
		"r.csv":         "time,rps\n2026-03-01T00:00:00Z,1\n2026-03-01T01:00:00Z,2\n",
	})
	if _, diags := Load(dir); !HasErrors(diags) || !strings.Contains(diags[0].Hint, "set start to 2026-03-01T00:00:00") {
		t.Errorf("diagnostics %v", diags)
	}
}

func TestARingOfIncludesIsReported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"scenario.yaml": head + "spec: {include: [b.yaml]}\n", "b.yaml": head + "spec: {include: [scenario.yaml]}\n",
	})
	if _, diags := Load(dir); !HasErrors(diags) || !strings.Contains(diags[0].Message, "includes itself") {
		t.Errorf("diagnostics %v", diags)
	}
}
