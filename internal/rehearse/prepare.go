package rehearse

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
	"github.com/fairway-dev/fairway/internal/rehearse/cost"
	"github.com/fairway-dev/fairway/internal/rehearse/load"
	"github.com/fairway-dev/fairway/internal/rehearse/manifest"
	"github.com/fairway-dev/fairway/internal/rehearse/play"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/report"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario"
)

// Request is a scenario as asked for on the command line: a file, flags, or a file with flags over it.
type Request struct {
	Path      string
	Manifests []string
	LoadCSV   string
	Hours     float64
	Start     string
	Seed      int64
	Seeds     int
	Change    string
	At        string
	Expect    []string
}

// Problems is everything wrong with a scenario, at once.
type Problems []scenario.Diagnostic

// problemsShown bounds the text of Problems to what fits a screen; the rest is counted.
const problemsShown = 40

func (p Problems) Error() string {
	lines := make([]string, 0, problemsShown+1)
	for i, d := range p {
		if i == problemsShown {
			lines = append(lines, fmt.Sprintf("… and %d more", len(p)-i))
			break
		}
		lines = append(lines, d.String())
	}
	return strings.Join(lines, "\n")
}

// ChangeStep is the name of the step that applies the change under test.
const ChangeStep = "change"

// Scenario reads or makes the scenario of a request. When it cannot be played, the error is of type Problems and holds
// everything that is wrong with it and its manifests, as far as can be told without starting a cluster.
func Scenario(q Request) (*scenario.Loaded, error) {
	loaded := scenario.New(v1alpha1.Scenario{Metadata: v1alpha1.ScenarioMeta{Name: "rehearsal"}}, ".")
	var diags []scenario.Diagnostic
	if q.Path != "" {
		var readable bool
		if loaded, diags, readable = scenario.Read(q.Path); !readable {
			return nil, problems(diags)
		}
	}
	diags = append(diags, q.over(loaded)...)
	diags = append(diags, loaded.Complete()...)
	if scenario.HasErrors(diags) {
		_, more := objectsOf(loaded, false)
		return nil, problems(append(diags, more...))
	}
	loaded.Warnings = diags
	return loaded, nil
}

// problems are the errors among diagnostics: what is only doubtful waits until they are mended.
func problems(diags []scenario.Diagnostic) Problems {
	errs := slices.DeleteFunc(scenario.Sorted(diags), func(d scenario.Diagnostic) bool { return d.Severity != scenario.Error })
	return Problems(errs)
}

// over lays the flags over a scenario.
func (q *Request) over(l *scenario.Loaded) []scenario.Diagnostic {
	spec := &l.Scenario.Spec
	none := v1alpha1.Source{}
	for _, m := range q.Manifests {
		spec.Cluster.Manifests = append(spec.Cluster.Manifests, v1alpha1.Manifest{Path: l.Relative(m), Source: v1alpha1.Source{File: "--manifests"}})
	}
	var diags []scenario.Diagnostic
	wrong := func(flag string, err error) {
		diags = append(diags, scenario.Diagnostic{File: flag, Severity: scenario.Error, Message: err.Error()})
	}
	if q.Hours != 0 {
		l.Place(none, "spec.duration", "--hours")
		if err := spec.Duration.UnmarshalText(fmt.Appendf(nil, "%gh", q.Hours)); err != nil {
			wrong("--hours", err)
		}
	}
	if q.Start != "" {
		spec.Start = q.Start
		l.Place(none, "spec.start", "--start")
	}
	switch {
	case q.Seed != 0:
		spec.Seeds = v1alpha1.Seeds{q.Seed}
		l.Place(none, "spec.seeds", "--seed")
	case q.Seeds != 0:
		l.Place(none, "spec.seeds", "--seeds")
		if err := spec.Seeds.UnmarshalText(fmt.Append(nil, q.Seeds)); err != nil {
			wrong("--seeds", err)
		}
	}
	if q.Change != "" {
		at := q.At
		if at == "" {
			at = "+1h"
		}
		change := v1alpha1.Source{File: "--filename"}
		l.Place(change, "at", "--at")
		spec.Steps = append(spec.Steps, v1alpha1.Step{Name: ChangeStep, At: at, Source: change, Action: v1alpha1.Action{Apply: v1alpha1.Apply{{File: l.Relative(q.Change)}}}})
	}
	for i, e := range q.Expect {
		name := fmt.Sprintf("--expect %d", i+1)
		spec.Expect = append(spec.Expect, v1alpha1.Expectation{Name: name, CEL: e, Source: v1alpha1.Source{File: name}})
	}
	if q.LoadCSV != "" {
		diags = append(diags, q.shortLoad(l)...)
	}
	return diags
}

// shortLoad reads --load: columns time,rps or time,target,rps.
func (q *Request) shortLoad(l *scenario.Loaded) []scenario.Diagnostic {
	data, err := os.ReadFile(q.LoadCSV)
	if err != nil {
		return []scenario.Diagnostic{{File: "--load", Severity: scenario.Error, Message: fmt.Sprintf("%s cannot be read: %s", q.LoadCSV, reason(err)), Hint: "check the path"}}
	}
	name := l.Relative(q.LoadCSV)
	l.AddInput(name, data)
	loads, bad := load.ParseShort(data, name)
	var diags []scenario.Diagnostic
	for _, b := range bad {
		diags = append(diags, scenario.Diagnostic{File: l.Path(name), Line: b.Line, Severity: scenario.Error, Message: b.Message, Hint: b.Hint})
	}
	for i := range loads {
		if loads[i].To != "" || len(diags) > 0 {
			continue
		}
		objects, more := objectsOf(l, true)
		if len(more) > 0 {
			return diags // said when the manifests are read for themselves
		}
		to, err := scenario.Entrance(objects)
		if err != nil {
			return append(diags, scenario.Diagnostic{File: l.Path(name), Line: 1, Severity: scenario.Error, Message: "it is not said where the requests go, and the manifests leave it open: " + err.Error()})
		}
		loads[i].To = to
	}
	l.Scenario.Spec.Load = append(l.Scenario.Spec.Load, loads...)
	return diags
}

// reason is the cause of a file's error without its path, which is said beside it.
func reason(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}

// objectsOf reads the manifests of a scenario, without those that it drops, in the order of installation, and holds the
// scenario against them. Diagnostics may be warnings alone; with errors the objects are those that could be read.
func objectsOf(l *scenario.Loaded, lenient bool) ([]manifest.Object, []scenario.Diagnostic) {
	var objects []manifest.Object
	var diags []scenario.Diagnostic
	for _, m := range l.Scenario.Spec.Cluster.Manifests {
		if _, err := os.Stat(l.Path(m.Path)); err != nil {
			continue // said by Complete, at the place that names it
		}
		list, problems := manifest.Read(l.Dir, m.Path)
		diags = append(diags, l.Problems(problems)...)
		for _, o := range list {
			if dropped(l, o.Object) {
				continue
			}
			if why := manifest.Unserved(o.Object); why != "" {
				diags = append(diags, l.Doubt(o, "is left out: "+why))
				continue
			}
			if why := manifest.WithoutConversion(o.Object); why != "" {
				diags = append(diags, l.Doubt(o, why))
			}
			more, readable := rolloutDoubts(l, o)
			if diags = append(diags, more...); readable {
				objects = append(objects, o)
			}
		}
	}
	diags = append(diags, appliedDoubts(l)...)
	if !lenient {
		diags = append(diags, l.Problems(scenario.UnknownKinds(objects))...)
	}
	manifest.InstallOrder(objects)
	if !scenario.HasErrors(diags) {
		diags = append(diags, l.Check(objects)...)
	}
	return objects, diags
}

func dropped(l *scenario.Loaded, o *unstructured.Unstructured) bool {
	for _, pattern := range l.Scenario.Spec.Cluster.Drop {
		if scenario.Dropped(pattern, o) {
			return true
		}
	}
	return false
}

// Document is what a run gets, and what reports say of it.
type Document struct {
	play.Document
	objects []manifest.Object
}

// Prepare reads the manifests of a scenario and holds the scenario against them. Warnings are to be said on top of the
// report.
func Prepare(l *scenario.Loaded, lenient bool) (*Document, []string, error) {
	objects, diags := objectsOf(l, lenient)
	if scenario.HasErrors(diags) {
		return nil, nil, problems(diags)
	}
	var warnings []string
	for _, d := range scenario.Sorted(append(slices.Clone(l.Warnings), diags...)) {
		warnings = append(warnings, d.String())
	}
	d := &Document{Document: play.Document{Scenario: l.Scenario, Lenient: lenient}, objects: objects}
	if err := d.programs(l); err != nil {
		return nil, nil, err
	}
	for _, o := range objects {
		if isProgram(o.Object) {
			continue // read above: what containers do is no object of the rehearsed cluster
		}
		b, err := o.Object.MarshalJSON()
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", o, err)
		}
		d.Objects = append(d.Objects, play.Object{Object: json.RawMessage(strings.TrimSpace(string(b))), File: o.File, Line: o.Line})
	}
	if file := l.Scenario.Spec.Controllers.Kubernetes.SchedulerConfig; file != "" {
		data, err := os.ReadFile(l.Path(file))
		if err != nil {
			return nil, nil, fmt.Errorf("controllers.kubernetes.schedulerConfig: %w", err)
		}
		d.Scheduler = data
	}
	if len(d.Scenario.Spec.Cluster.Pools) == 0 {
		pool, note := fittingPool(objects)
		d.Scenario.Spec.Cluster.Pools = []v1alpha1.Pool{pool}
		scenario.Default(&d.Scenario)
		d.Assumed = append(d.Assumed, note)
	}
	if len(l.Scenario.Spec.Load) == 0 && len(l.Scenario.Spec.Steps) == 0 {
		warnings = append(warnings, "neither load nor steps are given: the cluster only stands there")
	}
	return d, warnings, nil
}

func isProgram(o *unstructured.Unstructured) bool {
	return o.GetKind() == "Program" && o.GroupVersionKind().Group == v1alpha1.Group
}

// programs reads the Programs of virtual.programs and of the manifests; those of manifests win over equal names.
func (d *Document) programs(l *scenario.Loaded) error {
	from := program.Source{Rehearsal: true}
	byName := map[string]*v1alpha1.Program{}
	for _, file := range l.Scenario.Spec.Virtual.Programs {
		data, err := os.ReadFile(l.Path(file))
		if err != nil {
			return fmt.Errorf("virtual.programs: %w", err)
		}
		list, err := program.ReadPrograms(l.Path(file), data, from)
		if err != nil {
			return fmt.Errorf("virtual.programs: %w", err)
		}
		for _, p := range list {
			byName[p.Name] = p
		}
	}
	for _, o := range d.objects {
		if !isProgram(o.Object) {
			continue
		}
		data, err := o.Object.MarshalJSON()
		if err != nil {
			return fmt.Errorf("%s: %w", o, err)
		}
		list, err := program.ReadPrograms(fmt.Sprintf("%s:%d", o.File, o.Line), data, from)
		if err != nil {
			return err
		}
		for _, p := range list {
			byName[p.Name] = p
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		d.Programs = append(d.Programs, byName[name])
	}
	return nil
}

// Pods is how many pods the manifests ask for, with room for autoscalers: the size a run is prepared for.
func (d *Document) Pods() int {
	n := 0
	most := map[string]int{}
	for _, o := range d.objects {
		if o.Object.GetKind() == "HorizontalPodAutoscaler" {
			name, _, _ := unstructured.NestedString(o.Object.Object, "spec", "scaleTargetRef", "name")
			top, _, _ := unstructured.NestedInt64(o.Object.Object, "spec", "maxReplicas")
			most[o.Object.GetNamespace()+"/"+name] = int(top)
		}
	}
	for _, o := range d.objects {
		_, own, _ := unstructured.NestedMap(o.Object.Object, "spec", "template", "spec")
		if _, lent, _ := unstructured.NestedMap(o.Object.Object, "spec", "workloadRef"); !own && !lent {
			continue
		}
		replicas, ok, _ := unstructured.NestedInt64(o.Object.Object, "spec", "replicas")
		if !ok {
			replicas = 1
		}
		n += max(int(replicas), most[o.Object.GetNamespace()+"/"+o.Object.GetName()])
	}
	return n
}

// Baseline is what the run is compared with, as the scenario's baseline says: auto is the same run without the change under
// test, if there is one. nil means that there is nothing to compare with.
func (d *Document) Baseline(l *scenario.Loaded) (*play.Document, error) {
	switch name := l.Scenario.Spec.Baseline; name {
	case "none":
		return nil, nil
	case "", "auto":
		if without, ok := d.withoutChange(); ok {
			return without, nil
		}
		return nil, nil
	default:
		other, err := Scenario(Request{Path: l.Path(name)})
		if err != nil {
			return nil, fmt.Errorf("baseline: %w", err)
		}
		doc, _, err := Prepare(other, d.Lenient)
		if err != nil {
			return nil, fmt.Errorf("baseline %s: %w", name, err)
		}
		return &doc.Document, nil
	}
}

func (d *Document) withoutChange() (*play.Document, bool) {
	out := d.Document
	out.Scenario = *d.Scenario.DeepCopy()
	steps := out.Scenario.Spec.Steps[:0]
	for _, s := range out.Scenario.Spec.Steps {
		if s.Name != ChangeStep || len(s.Apply) == 0 {
			steps = append(steps, s)
		}
	}
	if len(steps) == len(d.Scenario.Spec.Steps) {
		return nil, false
	}
	out.Scenario.Spec.Steps = steps
	return &out, true
}

// Report builds the report of a rehearsal.
func Report(l *scenario.Loaded, runs, baseline []record.Run, warnings []string, execution bool) (*report.Report, error) {
	prices, err := cost.FromSpec(l.Scenario.Spec.Prices)
	if err != nil {
		return nil, err
	}
	digest, err := scenario.Digest(&l.Scenario)
	if err != nil {
		return nil, err
	}
	s := report.Scenario{Name: l.Scenario.Metadata.Name, Title: l.Scenario.Spec.Report.Title, SHA256: digest, TimeZone: l.Scenario.Spec.TimeZone, Fidelity: l.Scenario.Spec.Fidelity}
	for _, i := range l.Inputs {
		s.Inputs = append(s.Inputs, report.Input{Name: i.Name, SHA256: i.SHA256})
	}
	if len(baseline) > 0 {
		s.Change = ChangeStep
	}
	options := l.Scenario.Spec.Report
	if options.Currency != "" {
		prices.Currency = options.Currency
	}
	r := report.Build(report.Source{Scenario: s, Runs: runs, Baseline: baseline, Expectations: l.Scenario.Spec.Expect, Prices: prices, Warnings: warnings, WithExecution: execution})
	if options.Series != nil {
		r.KeepSeries(int(*options.Series))
	}
	r.Hide(options.Hide)
	return r, nil
}

// spare is how much larger than the requests a pool is made that nobody described.
const spare = 1.3

// fittingPool is one pool that fits the requests of the manifests.
func fittingPool(objects []manifest.Object) (v1alpha1.Pool, record.Assumed) {
	var cpu, memory float64
	pods := 0
	for _, o := range objects {
		var d appsv1.Deployment // StatefulSets and DaemonSets have the same shape where it matters
		if runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object.Object, &d) != nil || len(d.Spec.Template.Spec.Containers) == 0 {
			continue
		}
		n := 1.0
		if d.Spec.Replicas != nil {
			n = float64(*d.Spec.Replicas)
		}
		pods += int(n)
		for _, c := range d.Spec.Template.Spec.Containers {
			cpu += n * c.Resources.Requests.Cpu().AsApproximateFloat64()
			memory += n * c.Resources.Requests.Memory().AsApproximateFloat64()
		}
	}
	const nodeCPU, nodeMemory, nodePods = 3.6, 13 << 30, 50.0 // what pods can use of an m5.xlarge
	n := int32(max(spare*cpu/nodeCPU, spare*memory/nodeMemory, spare*float64(pods)/nodePods)) + 1
	n = max(n, 3)
	pool := v1alpha1.Pool{Name: scenario.PoolDefault, Type: "m5.xlarge", Size: &n, Zones: scenario.MadeZones}
	return pool, record.Assumed{What: "the cluster's nodes", Value: fmt.Sprintf("%d m5.xlarge in three zones", n), Because: fmt.Sprintf("the manifests request %.1f cores and %.1f GiB, and a third more is kept free", cpu, memory/(1<<30)),
		ReplaceBy: "spec.cluster.pools"}
}
