package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

// creatable are the kinds that `create` makes, and how they are called in what is printed.
var creatable = map[string]string{"Rollout": "rollout", "Experiment": "experiment", "AnalysisTemplate": "analysistemplate",
	"ClusterAnalysisTemplate": "clusteranalysistemplate", "AnalysisRun": "analysisrun"}

// instanceLabel says which of several controllers an object is for.
const instanceLabel = argo.LabelKeyControllerInstanceID

func (o *operator) createCommand() *cobra.Command {
	var files []string
	g := &getting{operator: o, watch: true}
	var watch bool
	c := &cobra.Command{
		Use:     "create -f FILE",
		Short:   "Create Rollouts, experiments, analysis templates and runs from files",
		Long:    "Create the objects of argoproj.io that are in files; - is the standard input. Fields that their kinds do not have are refused.",
		Example: o.examples("create -f rollout.yaml", "create -f experiment.yaml -w", "create analysisrun --from success-rate -a service=web"),
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return usage(errors.New("create: name a file with -f FILE"))
			}
			made, err := o.create(c.Context(), files)
			if err != nil || !watch {
				return err
			}
			if len(made) != 1 {
				return usage(fmt.Errorf("--watch: %d objects were created; one can be watched", len(made)))
			}
			switch o.flags.namespace = made[0].GetNamespace(); made[0].GetKind() {
			case "Rollout":
				return g.get(c.Context(), aRollout, made[0].GetName(), rolloutText)
			case "Experiment":
				return g.get(c.Context(), anExperiment, made[0].GetName(), experimentText)
			}
			return usage(fmt.Errorf("--watch: %s %s was created; a Rollout or an Experiment can be watched", made[0].GetKind(), made[0].GetName()))
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&files, "filename", "f", nil, "a file; may be given several times")
	f.BoolVarP(&watch, "watch", "w", false, "then show what was created, live")
	f.BoolVar(&g.noColor, "no-color", false, "no colours")
	c.AddCommand(o.createRun())
	return c
}

// create what is in files, in their order.
func (o *operator) create(ctx context.Context, files []string) ([]*unstructured.Unstructured, error) {
	var objs []*unstructured.Unstructured
	for _, file := range files {
		more, err := o.objectsIn(file)
		if err != nil {
			return nil, err
		}
		objs = append(objs, more...)
	}
	for _, obj := range objs {
		if obj.GroupVersionKind().Group != rollouts.GroupVersion.Group || creatable[obj.GetKind()] == "" {
			return nil, usage(fmt.Errorf("%s %s: only kinds of %s can be created here; use kubectl apply", obj.GetKind(), obj.GetName(), rollouts.GroupVersion.Group))
		}
	}
	c, namespace, err := o.connect()
	if err != nil {
		return nil, err
	}
	for _, obj := range objs {
		if obj.GetNamespace() == "" && obj.GetKind() != "ClusterAnalysisTemplate" {
			obj.SetNamespace(namespace)
		}
		ctx, cancel := context.WithTimeout(ctx, askWithin)
		err := client.WithFieldValidation(c, metav1.FieldValidationStrict).Create(ctx, obj)
		cancel()
		if err != nil {
			return nil, o.explain(err, rolloutKind{kind: creatable[obj.GetKind()], plural: creatable[obj.GetKind()] + "s"}, client.ObjectKeyFromObject(obj))
		}
		fmt.Fprintf(o.Out, "%s.%s/%s created\n", creatable[obj.GetKind()], rollouts.GroupVersion.Group, obj.GetName())
	}
	return objs, nil
}

// read a file; - is the standard input.
func (o *operator) read(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(o.In)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, usage(err)
	}
	return b, nil
}

// objectsIn reads the documents of a file of YAML or JSON.
func (o *operator) objectsIn(file string) ([]*unstructured.Unstructured, error) {
	b, err := o.read(file)
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(b)))
	for {
		doc, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, usage(fmt.Errorf("%s: %w", file, err))
		}
		obj := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(doc, &obj.Object); err != nil {
			return nil, usage(fmt.Errorf("%s: %w", file, err))
		}
		if obj.Object != nil {
			out = append(out, obj)
		}
	}
}

// runRequest is an AnalysisRun that somebody asks for.
type runRequest struct {
	name, generateName, instance string
	arguments                    []string
	from, fromFile               string
	global                       bool
}

func (o *operator) createRun() *cobra.Command {
	var r runRequest
	c := &cobra.Command{
		Use:     "analysisrun",
		Aliases: []string{"ar"},
		Short:   "Create an analysis run from a template, in the cluster or in a file",
		Example: o.examples("create analysisrun --from success-rate -a service=web", "create analysisrun --from-file template.yaml",
			"create analysisrun --global --from success-rate"),
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), askWithin)
			defer cancel()
			return o.makeRun(ctx, r)
		},
	}
	f := c.Flags()
	f.StringVar(&r.from, "from", "", "the template's name in the cluster")
	f.StringVar(&r.fromFile, "from-file", "", "a file with the template")
	f.BoolVar(&r.global, "global", false, "it is a ClusterAnalysisTemplate")
	f.StringArrayVarP(&r.arguments, "argument", "a", nil, "NAME=VALUE; may be given several times")
	f.StringVar(&r.name, "name", "", "the run's name (default: the template's, with a suffix)")
	f.StringVar(&r.generateName, "generate-name", "", "what the run's name begins with")
	f.StringVar(&r.instance, "instance-id", "", "the controller that is to carry it out, where there are several")
	return c
}

func (o *operator) makeRun(ctx context.Context, r runRequest) error {
	if (r.from == "") == (r.fromFile == "") {
		return usage(errors.New("give one of --from NAME and --from-file FILE"))
	}
	args, err := arguments(r.arguments)
	if err != nil {
		return err
	}
	c, namespace, err := o.connect()
	if err != nil {
		return err
	}
	templates := analysis.Templates{Namespaced: map[string]*argo.AnalysisTemplate{}, Cluster: map[string]*argo.ClusterAnalysisTemplate{}}
	if r.fromFile != "" {
		if r.from, err = o.templateIn(r.fromFile, r.global, &templates); err != nil {
			return err
		}
	}
	if err := readTemplates(ctx, c, namespace, r.from, r.global, &templates); err != nil {
		return o.explain(err, rolloutKind{kind: "analysistemplate", plural: "analysistemplates"}, client.ObjectKey{Namespace: namespace, Name: r.from})
	}
	spec, err := analysis.Spec([]argo.AnalysisTemplateRef{{TemplateName: r.from, ClusterScope: &r.global}}, templates, args, nil, nil)
	if err != nil {
		return fmt.Errorf("analysistemplate %s: %w; give arguments with -a NAME=VALUE", r.from, err)
	}
	run := &argo.AnalysisRun{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: r.name}, Spec: spec}
	if r.name == "" {
		if run.GenerateName = r.generateName; run.GenerateName == "" {
			run.GenerateName = r.from + "-"
		}
	}
	if r.instance != "" {
		run.Labels = map[string]string{instanceLabel: r.instance}
	}
	if err := c.Create(ctx, run); err != nil {
		return o.explain(err, anAnalysisRun, client.ObjectKeyFromObject(run))
	}
	fmt.Fprintf(o.Out, "analysisrun.%s/%s created\n", rollouts.GroupVersion.Group, run.Name)
	return nil
}

func arguments(pairs []string) ([]argo.Argument, error) {
	var out []argo.Argument
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usage(fmt.Errorf("--argument %q: write NAME=VALUE", pair))
		}
		out = append(out, argo.Argument{Name: name, Value: &value})
	}
	return out, nil
}

// templateIn reads a template of a file and returns its name.
func (o *operator) templateIn(file string, global bool, into *analysis.Templates) (string, error) {
	b, err := o.read(file)
	if err != nil {
		return "", err
	}
	kind := "AnalysisTemplate"
	t := &argo.AnalysisTemplate{}
	if global {
		kind = "ClusterAnalysisTemplate"
	}
	if err := yaml.UnmarshalStrict(b, t); err != nil { // both kinds have the same fields
		return "", usage(fmt.Errorf("%s: %w", file, err))
	}
	if t.Kind != kind || t.Name == "" {
		return "", usage(fmt.Errorf("%s: it holds %q, named %q; a %s with a name is wanted (--global is for ClusterAnalysisTemplates)", file, t.Kind, t.Name, kind))
	}
	if global {
		into.Cluster[t.Name] = &argo.ClusterAnalysisTemplate{ObjectMeta: t.ObjectMeta, Spec: t.Spec}
	} else {
		into.Namespaced[t.Name] = t
	}
	return t.Name, nil
}

// readTemplates adds a template, unless it is there, and those that it refers to.
func readTemplates(ctx context.Context, r client.Reader, namespace, name string, global bool, into *analysis.Templates) error {
	var spec argo.AnalysisTemplateSpec
	switch {
	case global && into.Cluster[name] == nil:
		t := &argo.ClusterAnalysisTemplate{}
		if err := r.Get(ctx, client.ObjectKey{Name: name}, t); err != nil {
			return err
		}
		into.Cluster[name] = t
		spec = t.Spec
	case global:
		spec = into.Cluster[name].Spec
	case into.Namespaced[name] == nil:
		t := &argo.AnalysisTemplate{}
		if err := r.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, t); err != nil {
			return err
		}
		into.Namespaced[name] = t
		spec = t.Spec
	default:
		spec = into.Namespaced[name].Spec
	}
	for _, ref := range spec.Templates {
		have := into.Namespaced[ref.TemplateName] != nil
		if ref.IsClusterScope() {
			have = into.Cluster[ref.TemplateName] != nil
		}
		if have {
			continue
		}
		if err := readTemplates(ctx, r, namespace, ref.TemplateName, ref.IsClusterScope(), into); err != nil && !apierrors.IsNotFound(err) {
			return err // what is not found is told of by analysis.Spec
		}
	}
	return nil
}
