package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/rolloutview/change"
)

// steer is a verb that sends a patch which does not depend on what the object is like.
func (o *operator) steer(k rolloutKind, patch change.Patch, done string) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		return o.each(c.Context(), k, args, func(ctx context.Context, api client.WithWatch, key client.ObjectKey) error {
			obj := k.object(key)
			if err := patch.Apply(ctx, api, obj); err != nil {
				return err
			}
			fmt.Fprintf(o.Out, "%s '%s' %s\n", k.said(), key.Name, done)
			return nil
		})
	}
}

// object of the kind with nothing but its name.
func (k rolloutKind) object(key client.ObjectKey) client.Object {
	named := metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}
	switch k.kind {
	case anExperiment.kind:
		return &argo.Experiment{ObjectMeta: named}
	case anAnalysisRun.kind:
		return &argo.AnalysisRun{ObjectMeta: named}
	}
	return &rollouts.Rollout{ObjectMeta: named}
}

// said is how the kind is called in what is printed, for scripts that look for it.
func (k rolloutKind) said() string {
	if k.kind == anAnalysisRun.kind {
		return "analysisRun"
	}
	return k.kind
}

func (o *operator) abortCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "abort ROLLOUT…",
		Short: "Abort an update: all traffic and pods go back to the stable version",
		Long: `Abort an update: its steps end, and all traffic and pods go back to the stable version.

spec.template keeps the new version: "retry" tries it again. To be done with it, put the old version back into the spec
("undo", or your repository).`,
		Example:           o.examples("abort web", "abort rollout/web rollout/api -n shop"),
		Args:              names("the Rollout's name", 1, 0),
		RunE:              o.steer(aRollout, change.Abort(), "aborted"),
		ValidArgsFunction: o.complete(aRollout),
	}
}

func (o *operator) pauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "pause ROLLOUT…",
		Short:             "Hold a Rollout where it is, until it is promoted",
		Example:           o.examples("pause web"),
		Args:              names("the Rollout's name", 1, 0),
		RunE:              o.steer(aRollout, change.Pause(), "paused"),
		ValidArgsFunction: o.complete(aRollout),
	}
}

func (o *operator) retryCommand() *cobra.Command {
	return o.choice(&cobra.Command{
		Use:     "retry KIND NAME",
		Short:   "Retry an aborted update, or an experiment that failed",
		Example: o.examples("retry rollout web", "retry rollout/web", "retry experiment web-6c5-2-1"),
	}, true,
		o.chosen(aRollout, "Retry an aborted update, from its first step and with fresh analysis", "retry", change.Retry(), "retried"),
		o.chosen(anExperiment, "Retry an experiment", "retry", change.RetryExperiment(), "retried"))
}

func (o *operator) terminateCommand() *cobra.Command {
	return o.choice(&cobra.Command{
		Use:     "terminate KIND NAME",
		Short:   "End an analysis run or an experiment before its time",
		Example: o.examples("terminate analysisrun web-6c5-2-1", "terminate experiment/web-6c5-2-1"),
	}, false,
		o.chosen(anAnalysisRun, "End an analysis run: what it has measured so far decides", "terminate", change.Terminate(), "terminated"),
		o.chosen(anExperiment, "End an experiment", "terminate", change.Terminate(), "terminated"))
}

// chosen is a verb for one of several kinds.
func (o *operator) chosen(k rolloutKind, short, verb string, patch change.Patch, done string) *cobra.Command {
	return &cobra.Command{
		Use:               k.kind + " NAME…",
		Aliases:           k.names[1:],
		Short:             short,
		Example:           o.examples(verb + " " + k.kind + " web"),
		Args:              names("the name", 1, 0),
		RunE:              o.steer(k, patch, done),
		ValidArgsFunction: o.complete(k),
	}
}

// choice is a verb above those for each kind. It also takes KIND/NAME and, with rollouts among the kinds, a Rollout's name alone.
func (o *operator) choice(c *cobra.Command, plain bool, kinds ...*cobra.Command) *cobra.Command {
	c.AddCommand(kinds...)
	c.Args = names("a kind and a name", 1, 0)
	c.RunE = func(c *cobra.Command, args []string) error {
		word, _, ok := strings.Cut(args[0], "/")
		word = strings.TrimSuffix(strings.ToLower(word), "."+rollouts.GroupVersion.Group)
		for _, kind := range kinds {
			if ok && (kind.Name() == word || kind.HasAlias(word)) || !ok && plain && len(args) == 1 && kind.Name() == aRollout.kind {
				kind.SetContext(c.Context())
				return kind.RunE(kind, args)
			}
		}
		var known []string
		for _, kind := range kinds {
			known = append(known, kind.Name()+"/NAME")
		}
		return usage(fmt.Errorf("%s: %q is not %s", c.CommandPath(), strings.Join(args, " "), strings.Join(known, " or ")))
	}
	return c
}

func (o *operator) restartCommand() *cobra.Command {
	var in time.Duration
	c := &cobra.Command{
		Use:   "restart ROLLOUT",
		Short: "Replace a Rollout's pods by new ones of the same version",
		Long: `Replace all pods that are older than now by new ones of the same version, a few at a time: never more than maxUnavailable
at once, and only as PodDisruptionBudgets allow.`,
		Example:           o.examples("restart web", "restart web --in 10m"),
		Args:              names("the Rollout's name", 1, 1),
		ValidArgsFunction: o.complete(aRollout),
		RunE: func(c *cobra.Command, args []string) error {
			return o.steer(aRollout, change.Restart(time.Now().Add(in)), "restarts in "+in.String())(c, args)
		},
	}
	c.Flags().DurationVarP(&in, "in", "i", 0, "how long from now, for example 30s, 5m or 1h")
	return c
}

func (o *operator) promoteCommand() *cobra.Command {
	var how change.Promotion
	c := &cobra.Command{
		Use:   "promote ROLLOUT",
		Short: "Go on from a pause, or past the step that runs; with --full to the end",
		Long: `Let an update go on: past the pause it is in, past the analysis or experiment it runs, or from a manual pause. A blue-green
update is switched over. --full skips everything that is left: steps, pauses and analysis.`,
		Example:           o.examples("promote web", "promote rollout/web --full"),
		Args:              names("the Rollout's name", 1, 1),
		ValidArgsFunction: o.complete(aRollout),
		RunE: func(c *cobra.Command, args []string) error {
			return o.each(c.Context(), aRollout, args, func(ctx context.Context, api client.WithWatch, key client.ObjectKey) error {
				return o.promote(ctx, api, key, how)
			})
		},
	}
	f := c.Flags()
	f.BoolVar(&how.Full, "full", false, "to the end, past all steps, pauses and analysis")
	f.BoolVarP(&how.SkipStep, "skip-current-step", "c", false, "past the current step")
	f.BoolVarP(&how.SkipAll, "skip-all-steps", "a", false, "past all steps")
	_ = f.MarkDeprecated("skip-current-step", "promote without the flag does the same")
	_ = f.MarkDeprecated("skip-all-steps", "use --full")
	return c
}

func (o *operator) promote(ctx context.Context, api client.WithWatch, key client.ObjectKey, how change.Promotion) error {
	ro := &rollouts.Rollout{}
	if err := api.Get(ctx, key, ro); err != nil {
		return err
	}
	patch, err := change.Promote(ro, how)
	if err != nil {
		return err
	}
	if err := patch.Apply(ctx, api, ro); err != nil {
		return err
	}
	switch {
	case patch.Empty() && how.Full:
		fmt.Fprintf(o.Out, "rollout '%s' fully promoted already\n", key.Name)
	case patch.Empty():
		fmt.Fprintf(o.Out, "rollout '%s' waits for nobody: nothing to promote\n", key.Name)
	case how.Full:
		fmt.Fprintf(o.Out, "rollout '%s' fully promoted\n", key.Name)
	default:
		fmt.Fprintf(o.Out, "rollout '%s' promoted\n", key.Name)
	}
	return nil
}
