package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
	"github.com/fairway-dev/fairway/internal/ship/rolloutview"
)

// getting is how `get` shows things.
type getting struct {
	*operator
	watch   bool
	noColor bool
	timeout int // seconds; 0 = none
}

// A live view is drawn anew at most every redrawAfter, and at least every ageAfter, for ages go on.
const (
	redrawAfter = 200 * time.Millisecond
	ageAfter    = time.Second
)

func (o *operator) getCommand() *cobra.Command {
	g := &getting{operator: o}
	kind := func(k rolloutKind, short string, text textOf) *cobra.Command {
		return &cobra.Command{
			Use:               k.kind + " NAME",
			Aliases:           k.names[1:],
			Short:             short,
			Example:           o.examples("get "+k.kind+" web", "get "+k.kind+" web -w"),
			Args:              names("the name", 1, 1),
			ValidArgsFunction: o.complete(k),
			RunE:              func(c *cobra.Command, args []string) error { return g.get(c.Context(), k, args[0], text) },
		}
	}
	c := o.choice(&cobra.Command{
		Use:   "get KIND NAME",
		Short: "Show a Rollout or an experiment: its state, and the tree of what belongs to it",
		Long: `Show a Rollout or an experiment: its state, and the tree of what belongs to it.

Glyphs: ⟳ Rollout, # revision, ⧉ ReplicaSet, □ pod, Σ experiment, α analysis run, ⊞ job.
Colours are for terminals only; NO_COLOR and --no-color switch them off.`,
		Example: o.examples("get rollout web", "get rollout web -w", "get experiment web-6c5-2-1"),
	}, true,
		kind(aRollout, "Show a Rollout", rolloutText),
		kind(anExperiment, "Show an experiment", experimentText))
	f := c.PersistentFlags()
	f.BoolVarP(&g.watch, "watch", "w", false, "show it live, until interrupted")
	f.BoolVar(&g.noColor, "no-color", false, "no colours")
	f.IntVar(&g.timeout, "timeout-seconds", 0, "with --watch: stop after so many seconds")
	return c
}

// textOf shows an object at a moment.
type textOf func(ctx context.Context, r client.Reader, key client.ObjectKey, now time.Time, colour bool) (string, error)

func (g *getting) get(ctx context.Context, k rolloutKind, arg string, text textOf) error {
	name, err := k.name(arg)
	if err != nil {
		return err
	}
	if g.timeout < 0 {
		return usage(fmt.Errorf("--timeout-seconds %d: give a number of seconds, or 0 for no end", g.timeout))
	}
	colour := !g.noColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(g.Out)
	if g.watch {
		return g.live(ctx, k, name, text, colour)
	}
	return g.each(ctx, k, []string{name}, func(ctx context.Context, api client.WithWatch, key client.ObjectKey) error {
		s, err := text(ctx, api, key, time.Now(), colour)
		if err == nil {
			fmt.Fprint(g.Out, s)
		}
		return err
	})
}

// live shows an object whenever something changes. On a terminal the view stays in its place; elsewhere each state follows the one before.
func (g *getting) live(ctx context.Context, k rolloutKind, name string, text textOf, colour bool) error {
	if g.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(g.timeout)*time.Second)
		defer cancel()
	}
	news, namespace, err := g.follow(ctx, k, k.object(client.ObjectKey{}), &appsv1.ReplicaSet{}, &corev1.Pod{}, &argo.AnalysisRun{}, &argo.Experiment{})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s %s: nothing could be read within --timeout-seconds %d; give it more", k.kind, name, g.timeout)
	case err != nil:
		return ended(err)
	}
	defer news.stop()
	key := client.ObjectKey{Namespace: namespace, Name: name}
	ages := time.NewTicker(ageAfter)
	defer ages.Stop()
	terminal := isTerminal(g.Out)
	last := ""
	for {
		state, err := text(ctx, news, key, time.Time{}, false) // without ages
		if err != nil {
			return g.explain(err, k, key)
		}
		if terminal || state != last {
			shown, err := text(ctx, news, key, time.Now(), colour)
			if err != nil {
				return g.explain(err, k, key)
			}
			g.draw(shown, terminal, last == "")
			last = state
		}
		if err := news.wait(ctx, ages.C, redrawAfter); err != nil {
			return ended(err)
		}
	}
}

// ended turns the end of watching into success: somebody interrupted it, or its time was over.
func ended(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// Codes of terminals.
const (
	clearScreen = "\x1b[H\x1b[2J"
	newLine     = "\n"
)

func (g *getting) draw(text string, terminal, first bool) {
	switch {
	case terminal:
		fmt.Fprint(g.Out, clearScreen+text)
	case first:
		fmt.Fprint(g.Out, text)
	default:
		fmt.Fprint(g.Out, newLine+text)
	}
}

func rolloutText(ctx context.Context, r client.Reader, key client.ObjectKey, now time.Time, colour bool) (string, error) {
	ro := &rollouts.Rollout{}
	if err := r.Get(ctx, key, ro); err != nil {
		return "", err
	}
	around, err := around(ctx, r, key.Namespace)
	if err != nil {
		return "", err
	}
	return rolloutview.Of(ro, around).Text(now, colour), nil
}

func experimentText(ctx context.Context, r client.Reader, key client.ObjectKey, now time.Time, colour bool) (string, error) {
	e := &argo.Experiment{}
	if err := r.Get(ctx, key, e); err != nil {
		return "", err
	}
	around, err := around(ctx, r, key.Namespace)
	if err != nil {
		return "", err
	}
	return rolloutview.OfExperiment(e, around).Text(now, colour), nil
}

// around reads what may belong to Rollouts and Experiments of a namespace: their ReplicaSets and pods bear a hash.
func around(ctx context.Context, r client.Reader, namespace string) (rolloutview.Around, error) {
	var sets appsv1.ReplicaSetList
	var pods corev1.PodList
	var runs argo.AnalysisRunList
	var experiments argo.ExperimentList
	in, hashed := client.InNamespace(namespace), client.HasLabels{rollout.HashLabel}
	if err := errors.Join(r.List(ctx, &sets, in, hashed), r.List(ctx, &pods, in, hashed), r.List(ctx, &runs, in), r.List(ctx, &experiments, in)); err != nil {
		return rolloutview.Around{}, err
	}
	return rolloutview.Around{ReplicaSets: sets.Items, Pods: pods.Items, Runs: runs.Items, Experiments: experiments.Items}, nil
}
