package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// rolloutKind is a kind of argoproj.io that verbs are about.
type rolloutKind struct {
	kind, plural string
	names        []string // how people call it, lower case
	list         func() client.ObjectList
}

var (
	aRollout = rolloutKind{"rollout", "rollouts", []string{"rollout", "rollouts", "ro"},
		func() client.ObjectList { return &rollouts.RolloutList{} }}
	anExperiment = rolloutKind{"experiment", "experiments", []string{"experiment", "experiments", "exp"},
		func() client.ObjectList { return &argo.ExperimentList{} }}
	anAnalysisRun = rolloutKind{"analysisrun", "analysisruns", []string{"analysisrun", "analysisruns", "ar"},
		func() client.ObjectList { return &argo.AnalysisRunList{} }}
)

// is whether a word names the kind, with or without its group.
func (k rolloutKind) is(word string) bool {
	return slices.Contains(k.names, strings.TrimSuffix(strings.ToLower(word), "."+rollouts.GroupVersion.Group))
}

// name takes KIND/NAME of this kind, or NAME alone.
func (k rolloutKind) name(arg string) (string, error) {
	kind, name, ok := strings.Cut(arg, "/")
	switch {
	case !ok && arg != "":
		return arg, nil
	case name == "" || strings.Contains(name, "/"):
		return "", usage(fmt.Errorf("%q is no name; write %s/NAME or NAME", arg, k.kind))
	case !k.is(kind):
		return "", usage(fmt.Errorf("%q is not %s; write %s/NAME or NAME", arg, k.kind, k.kind))
	}
	return name, nil
}

// config says which cluster and namespace are meant.
func (o *operator) config() (*rest.Config, string, error) {
	cfg, namespace, err := o.flags.load()
	if err == nil && o.plugin {
		cfg.UserAgent = pluginName
	}
	return cfg, namespace, err
}

// connect returns a client and the namespace.
func (o *operator) connect() (client.WithWatch, string, error) {
	cfg, namespace, err := o.config()
	if err != nil {
		return nil, "", err
	}
	c, err := client.NewWithWatch(cfg, client.Options{Scheme: scheme()})
	if err != nil {
		return nil, "", fmt.Errorf("connecting to %s: %w", cfg.Host, err)
	}
	return c, namespace, nil
}

// each does the same to several objects of a kind, one after the other, and stops at the first that fails.
func (o *operator) each(ctx context.Context, k rolloutKind, args []string, do func(context.Context, client.WithWatch, client.ObjectKey) error) error {
	var keys []string
	for _, arg := range args {
		name, err := k.name(arg)
		if err != nil {
			return err
		}
		keys = append(keys, name)
	}
	c, namespace, err := o.connect()
	if err != nil {
		return err
	}
	for _, name := range keys {
		ctx, cancel := context.WithTimeout(ctx, askWithin)
		key := client.ObjectKey{Namespace: namespace, Name: name}
		err := o.explain(do(ctx, c, key), k, key)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// installKinds is what to do where the kinds of Rollouts are missing.
const installKinds = "install the definitions of argoproj.io: they come with `fairway up`, with the chart, and with Argo Rollouts"

// explain adds to an error of the API server what was meant and what to do.
func (o *operator) explain(err error, k rolloutKind, key client.ObjectKey) error {
	what := k.kind + " " + key.Namespace + "/" + key.Name
	if key.Name == "" {
		what = k.plural
	}
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case errors.As(err, new(exitError)):
		return err
	case meta.IsNoMatchError(err):
		return fmt.Errorf("%s: this cluster has no such kind; %s", what, installKinds)
	case apierrors.IsNotFound(err):
		list := o.noun() + " list " + k.plural
		if k.plural != aRollout.plural && k.plural != anExperiment.plural {
			list = "kubectl get " + k.plural
		}
		return fmt.Errorf("%s: not found; `%s -A` shows those there are", what, list)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: the API server did not answer within %v", what, askWithin)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// noun is how the verbs with their noun are called.
func (o *operator) noun() string {
	if o.plugin {
		return o.program
	}
	return "fairway rollouts"
}

// complete offers the names of a kind to the shell.
func (o *operator) complete(k rolloutKind) cobra.CompletionFunc {
	return func(c *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(c.Context(), askWithin)
		defer cancel()
		api, namespace, err := o.connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		list := k.list()
		if err := api.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var out []cobra.Completion
		for _, item := range items {
			if obj, ok := item.(client.Object); ok && strings.HasPrefix(obj.GetName(), begun) {
				out = append(out, obj.GetName())
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}
