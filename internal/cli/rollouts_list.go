package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/rolloutview"
)

// listing is how `list` shows things.
type listing struct {
	*operator
	all, watch, times bool
	name              string
}

func (o *operator) listCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "list KIND",
		Short:   "List Rollouts or experiments",
		Example: o.examples("list rollouts", "list rollouts -A -w", "list experiments"),
		Args:    names("what to list: rollouts or experiments", 1, 0),
		RunE: func(c *cobra.Command, args []string) error {
			return usage(fmt.Errorf("%s: %q cannot be listed; rollouts and experiments can", c.CommandPath(), args[0]))
		},
	}
	c.AddCommand(o.listRollouts(), o.listExperiments())
	return c
}

func (o *operator) listRollouts() *cobra.Command {
	l := &listing{operator: o}
	c := &cobra.Command{
		Use:     "rollouts",
		Aliases: []string{"rollout", "ro"},
		Short:   "List Rollouts",
		Example: o.examples("list rollouts", "list rollouts -A", "list rollouts -w --timestamps"),
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			table := rolloutview.List{Namespaces: l.all, Times: l.times}
			return l.list(c.Context(), aRollout, &rollouts.Rollout{}, func(ctx context.Context, r client.Reader, namespace string) ([]line, error) {
				return rolloutLines(ctx, r, namespace, l.name)
			}, func(lines []line, header bool) string {
				items := make([]rollouts.Rollout, len(lines))
				for i := range lines {
					items[i] = *lines[i].obj.(*rollouts.Rollout)
				}
				return table.Rollouts(items, time.Now(), header)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&l.name, "name", "", "only the Rollout of this name")
	f.BoolVar(&l.times, "timestamps", false, "with a column for the time of each line")
	l.addFlags(c)
	return c
}

func (o *operator) listExperiments() *cobra.Command {
	l := &listing{operator: o}
	c := &cobra.Command{
		Use:     "experiments",
		Aliases: []string{"experiment", "exp"},
		Short:   "List experiments",
		Example: o.examples("list experiments", "list experiments -A"),
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			table := rolloutview.List{Namespaces: l.all}
			return l.list(c.Context(), anExperiment, &argo.Experiment{}, experimentLines, func(lines []line, header bool) string {
				items := make([]argo.Experiment, len(lines))
				for i := range lines {
					items[i] = *lines[i].obj.(*argo.Experiment)
				}
				return table.Experiments(items, time.Now(), header)
			})
		},
	}
	l.addFlags(c)
	return c
}

func (l *listing) addFlags(c *cobra.Command) {
	c.Flags().BoolVarP(&l.all, "all-namespaces", "A", false, "of all namespaces")
	c.Flags().BoolVarP(&l.watch, "watch", "w", false, "go on with a line for each change, until interrupted")
}

// line of a list: an object, and what of it is shown but for ages.
type line struct {
	obj   client.Object
	shown string
}

// lines are those of a namespace, or of all with "".
type lines func(ctx context.Context, r client.Reader, namespace string) ([]line, error)

func rolloutLines(ctx context.Context, r client.Reader, namespace, name string) ([]line, error) {
	var list rollouts.RolloutList
	if err := r.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	var out []line
	for i := range list.Items {
		if ro := &list.Items[i]; name == "" || ro.Name == name {
			out = append(out, line{ro, fmt.Sprint(rolloutview.Columns(ro))})
		}
	}
	return out, nil
}

func experimentLines(ctx context.Context, r client.Reader, namespace string) ([]line, error) {
	var list argo.ExperimentList
	if err := r.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	var out []line
	for i := range list.Items {
		out = append(out, line{&list.Items[i], string(list.Items[i].Status.Phase)})
	}
	return out, nil
}

func (l *listing) list(ctx context.Context, k rolloutKind, kind client.Object, read lines, write func([]line, bool) string) error {
	if l.watch {
		return l.live(ctx, k, kind, read, write)
	}
	c, namespace, err := l.connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	if l.all {
		namespace = ""
	}
	have, err := read(ctx, c, namespace)
	if err != nil {
		return l.explain(err, k, client.ObjectKey{Namespace: namespace})
	}
	if len(have) == 0 {
		fmt.Fprintln(l.Err, "No resources found.")
		return nil
	}
	fmt.Fprint(l.Out, write(have, true))
	return nil
}

// live prints what there is, then a line for everything that looks different.
func (l *listing) live(ctx context.Context, k rolloutKind, kind client.Object, read lines, write func([]line, bool) string) error {
	cfg, namespace, err := l.config()
	if err != nil {
		return err
	}
	if l.all {
		namespace = ""
	}
	n, err := followIn(ctx, cfg, namespace, func(err error) error { return l.explain(err, k, client.ObjectKey{Namespace: namespace}) }, kind)
	if err != nil {
		return ended(err)
	}
	defer n.stop()
	shown := map[client.ObjectKey]string{}
	for first := true; ; first = false {
		have, err := read(ctx, n, namespace)
		if err != nil {
			return l.explain(err, k, client.ObjectKey{Namespace: namespace})
		}
		slices.SortFunc(have, func(a, b line) int {
			return cmp.Or(cmp.Compare(a.obj.GetNamespace(), b.obj.GetNamespace()), cmp.Compare(a.obj.GetName(), b.obj.GetName()))
		})
		changed := slices.DeleteFunc(have, func(o line) bool { return shown[client.ObjectKeyFromObject(o.obj)] == o.shown })
		for _, o := range changed {
			shown[client.ObjectKeyFromObject(o.obj)] = o.shown
		}
		if first || len(changed) > 0 {
			fmt.Fprint(l.Out, write(changed, first))
		}
		if err := n.wait(ctx, nil, redrawAfter); err != nil {
			return ended(err)
		}
	}
}
