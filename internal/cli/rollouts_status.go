package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

// waiting is whether and how long to wait for a Rollout.
type waiting struct {
	watch   bool
	timeout time.Duration // 0 = until the end
}

func (w *waiting) add(f *pflag.FlagSet) {
	f.BoolVarP(&w.watch, "watch", "w", true, "of a Rollout: wait for the end of the update")
	f.DurationVarP(&w.timeout, "timeout", "t", 0, "of a Rollout: how long to wait, for example 60s or 5m; 0 = until the end")
}

func (o *operator) statusCommand() *cobra.Command {
	var wait waiting
	c := &cobra.Command{
		Use:   "status ROLLOUT",
		Short: "Wait until a Rollout is Healthy; fail when it is Degraded, or not in time",
		Long: `Print the phase of a Rollout whenever it changes, until it is Healthy (exit code 0) or Degraded (exit code 1). When the
timeout is over first, the exit code is 1 too. With --watch=false print it once; then only Degraded is a failure.`,
		Example:           o.examples("status web", "status web --timeout 5m", "status web --watch=false"),
		Args:              names("the Rollout's name", 1, 1),
		ValidArgsFunction: o.complete(aRollout),
		RunE:              func(c *cobra.Command, args []string) error { return o.status(c.Context(), args[0], wait) },
	}
	wait.add(c.Flags())
	return c
}

func (o *operator) status(ctx context.Context, arg string, wait waiting) error {
	name, err := aRollout.name(arg)
	if err != nil {
		return err
	}
	if wait.watch {
		return o.awaitStatus(ctx, name, wait.timeout)
	}
	return o.each(ctx, aRollout, []string{name}, o.printStatus)
}

func (o *operator) printStatus(ctx context.Context, api client.WithWatch, key client.ObjectKey) error {
	ro := &rollouts.Rollout{}
	if err := api.Get(ctx, key, ro); err != nil {
		return err
	}
	phase, message := rollout.Phase(ro)
	if phase == argo.RolloutPhaseHealthy || phase == argo.RolloutPhaseDegraded {
		fmt.Fprintln(o.Out, phase)
	} else {
		fmt.Fprintf(o.Out, "%s - %s\n", phase, message)
	}
	if phase == argo.RolloutPhaseDegraded {
		return degraded(message)
	}
	return nil
}

func degraded(message string) error {
	return fmt.Errorf("it is in a degraded state with message: %s", message)
}

// awaitStatus prints each new state until the last.
func (o *operator) awaitStatus(ctx context.Context, name string, timeout time.Duration) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	n, namespace, err := o.follow(ctx, aRollout, &rollouts.Rollout{})
	key := client.ObjectKey{Namespace: namespace, Name: name}
	if errors.Is(err, context.DeadlineExceeded) {
		return timedOut(key, timeout, "unknown")
	}
	if err != nil {
		return err
	}
	defer n.stop()
	last := ""
	for {
		ro := &rollouts.Rollout{}
		if err := n.Get(ctx, key, ro); err != nil {
			return o.explain(err, aRollout, key)
		}
		phase, message := rollout.Phase(ro)
		state := string(phase)
		if message != "" {
			state += " - " + message
		}
		if state != last {
			fmt.Fprintln(o.Out, state)
			last = state
		}
		switch phase {
		case argo.RolloutPhaseHealthy:
			return nil
		case argo.RolloutPhaseDegraded:
			return o.explain(degraded(message), aRollout, key)
		}
		switch err := n.wait(ctx, nil, 0); {
		case errors.Is(err, context.DeadlineExceeded):
			return timedOut(key, timeout, last)
		case errors.Is(err, context.Canceled):
			return exitError{code: ExitFailed, err: fmt.Errorf("rollout %s: interrupted; it is %s", key, last)}
		case err != nil:
			return err
		}
	}
}

func timedOut(key client.ObjectKey, timeout time.Duration, last string) error {
	return fmt.Errorf("rollout %s: status watch exceeded timeout of %v; it is %s", key, timeout, last)
}
