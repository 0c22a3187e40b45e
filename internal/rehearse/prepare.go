package rehearse

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
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

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, d := range p {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

// ChangeStep is the name of the step that applies the change under test.
const ChangeStep = "change"

// Scenario reads or makes the scenario of a request.
func Scenario(q Request) (*scenario.Loaded, error) {
	var s v1alpha1.Scenario
	dir := "."
	if q.Path != "" {
		loaded, diags := scenario.Load(q.Path)
		if scenario.HasErrors(diags) {
			return nil, Problems(diags)
		}
		if q.plain() {
			return loaded, nil
		}
		s, dir = loaded.Scenario, loaded.Dir
	} else {
		s.Metadata.Name = "rehearsal"
	}
	if err := q.over(&s, dir); err != nil {
		return nil, err
	}
	loaded, diags := scenario.Complete(s, dir)
	if scenario.HasErrors(diags) {
		return nil, Problems(diags)
	}
	return loaded, nil
}

// plain tells that no flag changes the scenario.
func (q *Request) plain() bool {
	return len(q.Manifests) == 0 && q.LoadCSV == "" && q.Hours == 0 && q.Start == "" && q.Seed == 0 && q.Seeds == 0 && q.Change == "" && len(q.Expect) == 0
}

// over lays the flags over a scenario whose paths are relative to dir.
func (q *Request) over(s *v1alpha1.Scenario, dir string) error {
	spec := &s.Spec
	relative := func(p string) string {
		if abs, err := filepath.Abs(p); err == nil {
			if base, err := filepath.Abs(dir); err == nil {
				if r, err := filepath.Rel(base, abs); err == nil {
					return r
				}
			}
		}
		return p
	}
	for _, m := range q.Manifests {
		spec.Cluster.Manifests = append(spec.Cluster.Manifests, v1alpha1.Manifest{Path: relative(m)})
	}
	if q.LoadCSV != "" {
		if err := q.shortLoad(spec, relative, dir); err != nil {
			return err
		}
	}
	if q.Hours > 0 {
		spec.Duration = v1alpha1.Duration{}
		if err := spec.Duration.UnmarshalText(fmt.Appendf(nil, "%gh", q.Hours)); err != nil {
			return fmt.Errorf("--hours: %w", err)
		}
	}
	if q.Start != "" {
		spec.Start = q.Start
	}
	switch {
	case q.Seed != 0:
		spec.Seeds = v1alpha1.Seeds{q.Seed}
	case q.Seeds != 0:
		if err := spec.Seeds.UnmarshalText(fmt.Append(nil, q.Seeds)); err != nil {
			return fmt.Errorf("--seeds: %w", err)
		}
	}
	if q.Change != "" {
		at := q.At
		if at == "" {
			at = "+1h"
		}
		spec.Steps = append(spec.Steps, v1alpha1.Step{Name: ChangeStep, At: at, Action: v1alpha1.Action{Apply: v1alpha1.Apply{{File: relative(q.Change)}}}})
	}
	for i, e := range q.Expect {
		spec.Expect = append(spec.Expect, v1alpha1.Expectation{Name: fmt.Sprintf("--expect %d", i+1), CEL: e})
	}
	return nil
}

// shortLoad reads --load: columns time,rps or time,target,rps.
func (q *Request) shortLoad(spec *v1alpha1.ScenarioSpec, relative func(string) string, dir string) error {
	data, err := os.ReadFile(q.LoadCSV)
	if err != nil {
		return fmt.Errorf("--load: %w", err)
	}
	loads, rows := load.ParseShort(data, relative(q.LoadCSV))
	if len(rows) > 0 {
		errs := make([]error, len(rows))
		for i, r := range rows {
			errs[i] = fmt.Errorf("%s: %w", q.LoadCSV, r)
		}
		return errors.Join(errs...)
	}
	for i := range loads {
		if loads[i].To == "" {
			if loads[i].To, err = q.entrance(dir, spec); err != nil {
				return err
			}
		}
	}
	spec.Load = append(spec.Load, loads...)
	return nil
}

// entrance is the one Service of the manifests that is reachable from outside.
func (q *Request) entrance(dir string, spec *v1alpha1.ScenarioSpec) (string, error) {
	objects, err := read(dir, spec.Cluster.Manifests)
	if err != nil {
		return "", err
	}
	to, err := scenario.Entrance(objects)
	if err != nil {
		return "", fmt.Errorf("--load does not say where the requests go, and the manifests leave it open: %w", err)
	}
	return to, nil
}

func read(dir string, list []v1alpha1.Manifest) ([]manifest.Object, error) {
	var objects []manifest.Object
	var errs []error
	for _, m := range list {
		o, problems := manifest.Read(dir, m.Path)
		objects = append(objects, o...)
		for _, p := range problems {
			errs = append(errs, p)
		}
	}
	return objects, errors.Join(errs...)
}

// Document is what a run gets, and what reports say of it.
type Document struct {
	play.Document
	objects []manifest.Object
}

// Prepare reads the manifests of a scenario and holds the scenario against them. Warnings are to be said on top of the
// report.
func Prepare(l *scenario.Loaded, lenient bool) (*Document, []string, error) {
	objects, err := read(l.Dir, l.Scenario.Spec.Cluster.Manifests)
	if err != nil {
		return nil, nil, err
	}
	kept := objects[:0]
	for _, o := range objects {
		dropped := false
		for _, pattern := range l.Scenario.Spec.Cluster.Drop {
			dropped = dropped || scenario.Dropped(pattern, o.Object)
		}
		if !dropped {
			kept = append(kept, o)
		}
	}
	objects = kept
	if unknown := scenario.UnknownKinds(objects); len(unknown) > 0 && !lenient {
		return nil, nil, errors.Join(unknown...)
	}
	manifest.InstallOrder(objects)
	diags := l.Check(objects)
	if scenario.HasErrors(diags) {
		return nil, nil, Problems(diags)
	}
	var warnings []string
	for _, d := range diags {
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
		if d.Scheduler, err = os.ReadFile(l.Path(file)); err != nil {
			return nil, nil, fmt.Errorf("controllers.kubernetes.schedulerConfig: %w", err)
		}
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
		if _, ok, _ := unstructured.NestedMap(o.Object.Object, "spec", "template", "spec"); !ok {
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
	pool := v1alpha1.Pool{Name: scenario.PoolDefault, Type: "m5.xlarge", Size: &n, Zones: []string{"a", "b", "c"}}
	return pool, record.Assumed{What: "the cluster's nodes", Value: fmt.Sprintf("%d m5.xlarge in three zones", n), Because: fmt.Sprintf("the manifests request %.1f cores and %.1f GiB, and a third more is kept free", cpu, memory/(1<<30)),
		ReplaceBy: "spec.cluster.pools"}
}
