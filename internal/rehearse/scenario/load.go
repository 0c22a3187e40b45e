package scenario

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/load"
	"github.com/fairway-dev/fairway/internal/rehearse/manifest"
)

const (
	includeDepthMax = 8
	fileSizeMax     = 64 << 20 // of any file a scenario names
	// FileName is what a directory given instead of a file must hold.
	FileName = "scenario.yaml"
)

// Loaded is a scenario ready to be played: merged, checked, with defaults and the content of its files.
type Loaded struct {
	Scenario v1alpha1.Scenario
	// Dir is the directory of the scenario file. Every path and every Source in Scenario is relative to it, so that
	// nothing in a report depends on where the scenario lies.
	Dir string
	// Inputs are the files read, by name.
	Inputs []Input
	// Warnings are what is doubtful about it, but does not keep it from being played.
	Warnings []Diagnostic

	places places
	broken broken
	// unread is set when objects that names could refer to could not be read.
	unread bool
}

// Input is a file that was read.
type Input struct {
	Name   string `json:"name"` // relative to the scenario
	SHA256 string `json:"sha256"`
}

// Path makes a path of the scenario one that can be opened.
func (l *Loaded) Path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(l.Dir, name)
}

// Load reads a scenario file, or the file scenario.yaml of a directory, with everything it includes and names. With an
// error among the diagnostics the scenario must not be played.
func Load(path string) (*Loaded, []Diagnostic) {
	l, diags, readable := Read(path)
	if readable {
		diags = append(diags, l.Complete()...)
	}
	return l, diagnostics(diags).sorted()
}

// New is a scenario made by a program, such as one from command-line flags. Paths are relative to dir.
func New(s v1alpha1.Scenario, dir string) *Loaded {
	return &Loaded{Scenario: s, Dir: dir, places: places{}, broken: broken{}}
}

// Read reads a scenario file, or the file scenario.yaml of a directory, with everything it includes, for Complete to go on
// with when it is readable: when errors are in it, but it is a scenario.
func Read(path string) (l *Loaded, diags []Diagnostic, readable bool) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, FileName)
	}
	l = New(v1alpha1.Scenario{}, filepath.Dir(path))
	r := &reader{loaded: l, open: map[string]bool{}}
	scenario := r.file(filepath.Base(path), v1alpha1.Source{File: filepath.Base(path)}, 0)
	if scenario != nil {
		l.Scenario = *scenario
	}
	return l, l.shown(r.diags), scenario != nil
}

// Complete does what is left after reading, and after what a program has laid over the scenario: files, checks, defaults.
// The errors are all that can be found, those of what Read could not make out excepted.
func (l *Loaded) Complete() []Diagnostic {
	v := &validator{scenario: &l.Scenario, places: l.places, broken: l.broken}
	v.all()
	r := &reader{loaded: l, diags: v.diags}
	r.files()
	if whole := !HasErrors(r.diags) && !l.broken.list("spec"); whole {
		Default(&l.Scenario)
		r.curves()
	}
	sort.Slice(l.Inputs, func(i, j int) bool { return l.Inputs[i].Name < l.Inputs[j].Name })
	return l.shown(r.diags)
}

// Place says where a field of an element, or with no element of the scenario, comes from when no file has written it, such
// as a flag.
func (l *Loaded) Place(element v1alpha1.Source, field, from string) {
	l.places[placeKey{element, field}] = v1alpha1.Source{File: from}
}

// Relative makes a path given on the command line one of the scenario.
func (l *Loaded) Relative(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		if base, err := filepath.Abs(l.Dir); err == nil {
			if relative, err := filepath.Rel(base, abs); err == nil {
				return relative
			}
		}
	}
	return path
}

// AddInput remembers a file that was read for the scenario.
func (l *Loaded) AddInput(name string, data []byte) {
	sum := sha256.Sum256(data)
	l.Inputs = append(l.Inputs, Input{filepath.ToSlash(name), hex.EncodeToString(sum[:])})
}

// Problems are errors of manifests, with files named the way the user did.
func (l *Loaded) Problems(list []manifest.Problem) []Diagnostic {
	var all diagnostics
	for _, p := range list {
		all.add(Error, v1alpha1.Source{File: p.File, Line: p.Line}, p.Hint, "%s", p.Message)
	}
	return l.shown(all)
}

// Doubt is a warning about an object of the manifests.
func (l *Loaded) Doubt(o manifest.Object, message string) Diagnostic {
	var one diagnostics
	one.add(Warning, v1alpha1.Source{File: o.File, Line: o.Line}, "", "%s %s", o.Object.GetKind()+" "+o.Object.GetName(), message)
	return l.shown(one)[0]
}

// IsFlag tells that a Source is a flag of the command line.
func IsFlag(file string) bool { return strings.HasPrefix(file, "--") }

// pathHint says what the paths of a place are relative to.
func pathHint(at v1alpha1.Source) string {
	if IsFlag(at.File) {
		return "check the path"
	}
	return "paths are relative to the scenario file"
}

// shown sorts, and names files the way the user did.
func (l *Loaded) shown(all diagnostics) []Diagnostic {
	out := all.sorted()
	for i := range out {
		if out[i].File != "" && !IsFlag(out[i].File) {
			out[i].File = l.Path(out[i].File)
		}
	}
	return out
}

// Digest is the SHA-256 of the scenario as it is played. It does not depend on where its files lie or where in them
// things are written.
func Digest(s *v1alpha1.Scenario) (string, error) {
	plain := s.DeepCopy()
	forget(reflect.ValueOf(plain).Elem())
	data, err := json.Marshal(plain)
	if err != nil {
		return "", fmt.Errorf("writing the scenario as JSON: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// forget clears every Source.
func forget(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			forget(v.Elem())
		}
	case reflect.Struct:
		if v.Type() == sourceType {
			v.SetZero()
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				forget(v.Field(i))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			forget(v.Index(i))
		}
	}
}

// reader follows the names of files.
type reader struct {
	loaded *Loaded
	diags  diagnostics
	open   map[string]bool // files being read, against rings of includes
}

func (r *reader) fail(at v1alpha1.Source, hint, format string, args ...any) {
	r.diags.add(Error, at, hint, format, args...)
}

// read reads a file named at a place, and remembers its digest.
func (r *reader) read(name string, at v1alpha1.Source) ([]byte, bool) {
	path := r.loaded.Path(name)
	info, err := os.Stat(path)
	if err == nil && info.Size() > fileSizeMax {
		r.fail(at, "split it up", "%s has %d bytes; at most %d are read", name, info.Size(), fileSizeMax)
		return nil, false
	}
	data, err := os.ReadFile(path)
	if err != nil {
		r.fail(at, pathHint(at), "%s cannot be read: %s", name, reason(err))
		return nil, false
	}
	r.loaded.AddInput(name, data)
	return data, true
}

// reason is the cause of a file's error without its path, which is said beside it.
func reason(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}

// file reads a scenario file and what it includes; nil when it cannot be read at all.
func (r *reader) file(name string, at v1alpha1.Source, depth int) *v1alpha1.Scenario {
	if r.open[name] || depth > includeDepthMax {
		r.fail(at, "remove one of the includes", "%s includes itself, or is included more than %d deep", name, includeDepthMax)
		return nil
	}
	data, ok := r.read(name, at)
	if !ok {
		return nil
	}
	r.open[name] = true
	defer delete(r.open, name)
	part, diags, readable := parse(data, name)
	r.diags = append(r.diags, diags...)
	if !readable {
		return nil
	}
	maps.Copy(r.loaded.places, part.places)
	maps.Copy(r.loaded.broken, part.broken)
	relocate(&part.Scenario.Spec, filepath.Dir(name))
	whole := v1alpha1.Scenario{}
	for i, include := range part.Scenario.Spec.Include {
		below := r.file(include, part.places.of(v1alpha1.Source{}, fmt.Sprintf("spec.include[%d]", i)), depth+1)
		if below == nil {
			return nil
		}
		merge(reflect.ValueOf(&whole).Elem(), reflect.ValueOf(below).Elem())
	}
	part.Scenario.Spec.Include = nil
	merge(reflect.ValueOf(&whole).Elem(), reflect.ValueOf(&part.Scenario).Elem())
	return &whole
}

// relocate makes the paths of an included file relative to the scenario.
func relocate(spec *v1alpha1.ScenarioSpec, dir string) {
	move := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	for i := range spec.Include {
		move(&spec.Include[i])
	}
	for i := range spec.Cluster.Manifests {
		move(&spec.Cluster.Manifests[i].Path)
	}
	for i := range spec.Load {
		if c := spec.Load[i].CSV; c != nil {
			move(&c.File)
		}
	}
	for i := range spec.Steps {
		for j := range spec.Steps[i].Apply {
			if item := &spec.Steps[i].Apply[j]; item.Object == nil {
				move(&item.File)
			}
		}
	}
	for i := range spec.Virtual.Programs {
		move(&spec.Virtual.Programs[i])
	}
	move(&spec.Controllers.Kubernetes.SchedulerConfig)
	if spec.Prices != nil {
		move(&spec.Prices.File)
		move(&spec.Prices.SpotCurve)
	}
	if spec.Baseline != "" && spec.Baseline != "auto" && spec.Baseline != "none" {
		move(&spec.Baseline)
	}
}

// files reads what the scenario names: curves, prices, objects to apply.
func (r *reader) files() {
	spec := &r.loaded.Scenario.Spec
	for i := range spec.Load {
		r.curve(&spec.Load[i])
	}
	r.prices(spec)
	for i := range spec.Steps {
		r.apply(&spec.Steps[i])
	}
	for i := range spec.Cluster.Manifests {
		m := &spec.Cluster.Manifests[i]
		if r.loaded.broken.at(m.Source, "") {
			r.loaded.unread = true
			continue
		}
		if _, err := os.Stat(r.loaded.Path(m.Path)); err != nil {
			r.fail(m.Source, pathHint(m.Source), "%s cannot be read: %s", m.Path, reason(err))
			r.loaded.unread = true
		}
	}
	for i, name := range spec.Virtual.Programs {
		r.read(name, r.loaded.places.of(v1alpha1.Source{}, fmt.Sprintf("spec.virtual.programs[%d]", i)))
	}
	if name := spec.Baseline; name != "" && name != "auto" && name != "none" {
		r.read(name, r.loaded.places.of(v1alpha1.Source{}, "spec.baseline"))
	}
	if name := spec.Controllers.Kubernetes.SchedulerConfig; name != "" {
		r.read(name, r.loaded.places.of(v1alpha1.Source{}, "spec.controllers.kubernetes.schedulerConfig"))
	}
}

func (r *reader) curve(l *v1alpha1.Load) {
	c := l.CSV
	if c == nil || c.Table != nil || c.File == "" {
		return
	}
	data, ok := r.read(c.File, r.loaded.places.of(l.Source, "csv.file"))
	if !ok {
		return
	}
	table, bad := load.ParseCSV(data, c)
	for _, e := range bad {
		r.fail(v1alpha1.Source{File: c.File, Line: e.Line}, e.Hint, "%s", e.Message)
	}
	c.Table = table
}

func (r *reader) prices(spec *v1alpha1.ScenarioSpec) {
	p := spec.Prices
	if p == nil {
		return
	}
	if p.File != "" {
		at := r.loaded.places.of(v1alpha1.Source{}, "spec.prices")
		if data, ok := r.read(p.File, at); ok && strings.HasSuffix(strings.ToLower(p.File), ".csv") {
			p.OpenCost = string(data)
		} else if ok {
			given, diags := ParsePrices(data, p.File)
			r.diags = append(r.diags, diags...)
			relocatePrices(&given, filepath.Dir(p.File))
			merge(reflect.ValueOf(&given).Elem(), reflect.ValueOf(p).Elem())
			*p = given
		}
	}
	if p.SpotCurve != "" {
		if data, ok := r.read(p.SpotCurve, r.loaded.places.of(v1alpha1.Source{}, "spec.prices.spotCurve")); ok {
			p.SpotCurveData = string(data)
		}
	}
}

func relocatePrices(p *v1alpha1.Prices, dir string) {
	if p.SpotCurve != "" && !filepath.IsAbs(p.SpotCurve) {
		p.SpotCurve = filepath.Join(dir, p.SpotCurve)
	}
}

// apply replaces the files of a step by their objects.
func (r *reader) apply(s *v1alpha1.Step) {
	var items v1alpha1.Apply
	for i, item := range s.Apply {
		if item.Object != nil {
			items = append(items, item)
			continue
		}
		at := r.loaded.places.of(s.Source, fmt.Sprintf("apply[%d]", i))
		objects, problems := manifest.Read(r.loaded.Dir, item.File)
		for _, p := range problems {
			place, message, hint := v1alpha1.Source{File: p.File, Line: p.Line}, p.Message, p.Hint
			if p.Line == 0 {
				place, message, hint = at, p.File+" "+p.Message, pathHint(at)
			}
			r.fail(place, hint, "%s", message)
			r.loaded.unread = true
		}
		for _, o := range objects {
			if why := manifest.Unserved(o.Object); why != "" {
				r.diags.add(Warning, v1alpha1.Source{File: o.File, Line: o.Line}, "", "%s %s is left out: %s", o.Object.GetKind(), o.Object.GetName(), why)
				continue
			}
			data, err := o.Object.MarshalJSON()
			if err != nil {
				r.fail(at, "", "%s: %v", item.File, err)
				continue
			}
			items = append(items, v1alpha1.ApplyItem{File: o.File, Line: o.Line, Object: data})
		}
	}
	s.Apply = items
}

// curves holds the loads against the run: what is out of bounds, and what ends too soon.
func (r *reader) curves() {
	spec := &r.loaded.Scenario.Spec
	start, err := StartTime(spec)
	if err != nil {
		return // reported by the validator
	}
	end := start.Add(spec.Duration.Duration)
	for i := range spec.Load {
		l := &spec.Load[i]
		if c := l.CSV; c != nil && c.Table != nil {
			r.covers(l, start, end)
		}
		if _, err := load.New(l, load.Options{Start: start, End: end, Seed: 1}); err != nil {
			r.fail(l.Source, "", "%v", err)
		}
	}
	if len(spec.Load) == 0 {
		r.diags.add(Warning, v1alpha1.Source{}, "write spec.load, or give --load", "no load is given: only what the manifests themselves cause is rehearsed")
	}
}

// coverSlack is how much of a run may lie outside a recorded curve unremarked: its last row stands for a step after it.
const coverSlack = 5 * time.Minute

func (r *reader) covers(l *v1alpha1.Load, start, end time.Time) {
	t := l.CSV.Table
	at := func(seconds float64) time.Time {
		d := time.Duration(seconds * float64(time.Second))
		if t.Absolute {
			return time.Unix(0, int64(d)).In(start.Location())
		}
		return start.Add(d)
	}
	first, last := at(t.Times[0]), at(t.Times[len(t.Times)-1])
	place := r.loaded.places.of(l.Source, "csv")
	switch {
	case last.Before(start) || first.After(end):
		r.fail(place, "set start to "+first.Format("2006-01-02T15:04:05")+", or write seconds instead of times",
			"%s covers %s to %s, and the run %s to %s", l.CSV.File, stamp(first), stamp(last), stamp(start), stamp(end))
	case last.Add(coverSlack).Before(end):
		r.diags.add(Warning, place, "shorten duration or lengthen the file", "%s ends at %s, before the run; its last value is held", l.CSV.File, stamp(last))
	case first.After(start.Add(coverSlack)):
		r.diags.add(Warning, place, "start later or lengthen the file", "%s begins at %s, after the run; its first value is held until then", l.CSV.File, stamp(first))
	}
}

func stamp(t time.Time) string { return t.Format("2006-01-02 15:04") }
