package program

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	yamlv3 "go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// programsMax bounds the Programs of one file.
const programsMax = 10000

// Source says where rules come from, for what is allowed there.
type Source struct {
	Rehearsal bool // processes of this machine (local:) are refused
}

// AddFlag adds the rule of one `--program GLOB=WHAT` flag. Flags come before all Programs, in their order. The errors
// name what is wrong, the allowed values and the nearest.
func (r *Rules) AddFlag(text string, from Source) error {
	glob, what, ok := strings.Cut(text, "=")
	if !ok || glob == "" {
		return fmt.Errorf("--program %q: write GLOB=WHAT, for example --program '*/my-app=local:8080'", text)
	}
	if err := checkRun(what, from); err != nil {
		return fmt.Errorf("--program %q: %w", text, err)
	}
	n := 1
	for i := range r.programs {
		n = max(n, r.programs[i].flag+1)
	}
	p := &v1alpha1.Program{ObjectMeta: metav1.ObjectMeta{Name: "--program " + text},
		Spec: v1alpha1.ProgramSpec{Match: v1alpha1.ProgramMatch{Images: []string{glob}}, Run: what}}
	added, _ := (&Rules{}).With([]*v1alpha1.Program{p})
	added.programs[0].flag = n
	r.programs = append(slices.Clone(r.programs), added.programs[0])
	r.sort()
	return nil
}

var runForms = []string{"sleep", "shell", "builtin:NAME", "local:PORT", "exec:ARGV"}

// checkRun checks the text of a run.
func checkRun(run string, from Source) error {
	what, arg, has := strings.Cut(run, ":")
	switch {
	case (run == "sleep" || run == "shell") && !has:
		return nil
	case what == "builtin" && has:
		if names := Builtins(); !slices.Contains(names, arg) {
			return fmt.Errorf("builtin %q is not known; did you mean %q? Known are: %s", arg, nearest(arg, names), strings.Join(names, ", "))
		}
		return nil
	case what == "local" && has:
		if _, ok := parsePort(arg); !ok {
			return fmt.Errorf("local:%s: the port must be a number from 1 to 65535", arg)
		}
		if from.Rehearsal {
			return fmt.Errorf("%s: a process of this machine cannot take part in a rehearsal, whose time is not the machine's; describe it by a model instead", run)
		}
		return nil
	case what == "exec" && has:
		return fmt.Errorf("%s: running processes for pods is not built yet; start it yourself and use local:PORT", run)
	}
	return fmt.Errorf("%q is not known; did you mean %q? Write one of: %s", run, nearest(run, runForms), strings.Join(runForms, ", "))
}

// ReadPrograms reads the Programs of a YAML file with any number of documents. Errors name the file and the line, and
// for an unknown field the nearest one there is.
func ReadPrograms(file string, data []byte, from Source) ([]*v1alpha1.Program, error) {
	var out []*v1alpha1.Program
	decoder := yamlv3.NewDecoder(bytes.NewReader(data))
	for {
		var node yamlv3.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: not valid YAML: %w", file, err)
		}
		if len(node.Content) == 0 || node.Content[0].Tag == "!!null" {
			continue
		}
		p, line, err := readProgram(node.Content[0], from)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, line, err)
		}
		if slices.ContainsFunc(out, func(o *v1alpha1.Program) bool { return o.Name == p.Name }) {
			return nil, fmt.Errorf("%s:%d: Program %q is there twice; names must differ", file, line, p.Name)
		}
		if out = append(out, p); len(out) > programsMax {
			return nil, fmt.Errorf("%s: more than %d Programs in one file", file, programsMax)
		}
	}
}

// readProgram reads one document; the line is that of the fault, or of the document.
func readProgram(node *yamlv3.Node, from Source) (*v1alpha1.Program, int, error) {
	var head struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
	}
	if err := node.Decode(&head); err != nil {
		return nil, node.Line, fmt.Errorf("not an object: %w", err)
	}
	if want := v1alpha1.GroupVersion.String(); head.Kind != "Program" || head.APIVersion != want {
		return nil, node.Line, fmt.Errorf("apiVersion %q, kind %q: this file holds apiVersion %s, kind Program", head.APIVersion, head.Kind, want)
	}
	if line, err := checkFields(node, programFields()); err != nil {
		return nil, line, err
	}
	text, err := yamlv3.Marshal(node)
	if err != nil {
		return nil, node.Line, err
	}
	p := &v1alpha1.Program{}
	if err := yaml.UnmarshalStrict(text, p); err != nil {
		return nil, faultyLine(node, p), err
	}
	if p.Name == "" {
		return nil, node.Line, errors.New("metadata.name is missing")
	}
	if line, err := checkProgram(node, p, from); err != nil {
		return nil, line, fmt.Errorf("the Program %q: %w", p.Name, err)
	}
	return p, node.Line, nil
}

// checkProgram checks what the types cannot.
func checkProgram(node *yamlv3.Node, p *v1alpha1.Program, from Source) (int, error) {
	at := func(path ...string) int { return lineOf(node, path...) }
	if p.Spec.Run != "" {
		if err := checkRun(p.Spec.Run, from); err != nil {
			return at("spec", "run"), fmt.Errorf("spec.run: %w", err)
		}
	}
	if p.Spec.Match.PodSelector != nil {
		if _, err := metav1.LabelSelectorAsSelector(p.Spec.Match.PodSelector); err != nil {
			return at("spec", "match", "podSelector"), fmt.Errorf("spec.match.podSelector: %w", err)
		}
	}
	if c := p.Spec.ExitCode; c != nil && (*c < 0 || *c > 255) {
		return at("spec", "exitCode"), fmt.Errorf("spec.exitCode is %d; exit codes are 0 to 255", *c)
	}
	for _, o := range p.Spec.Outcomes {
		if o.ExitCode < 0 || o.ExitCode > 255 || o.Weight != nil && *o.Weight < 0 {
			return at("spec", "outcomes"), errors.New("spec.outcomes: exit codes are 0 to 255 and weights 0 or more")
		}
	}
	for _, l := range p.Spec.Ports {
		if l.Port < 1 || l.Port > 65535 {
			return at("spec", "ports"), fmt.Errorf("spec.ports: %d is not a port; ports are 1 to 65535", l.Port)
		}
	}
	return 0, nil
}
