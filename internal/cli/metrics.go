package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/internal/scale/metrics"
)

func metricsCommand(s Streams) *cobra.Command {
	c := &cobra.Command{
		Use:   "metrics",
		Short: "Look after the metrics APIs that Fairway serves",
		Long: `Look after the metrics APIs that Fairway serves: what "kubectl top" shows and autoscalers read. They come with
"fairway up" and "fairway controller"; here is what there is to do about them by hand.`,
		Example: `  kubectl get apiservice v1beta1.metrics.k8s.io           # who serves it
  fairway metrics release --kubeconfig ~/.kube/config    # back to the server that had it before Fairway`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(releaseCommand(s))
	return c
}

func releaseCommand(s Streams) *cobra.Command {
	var f clusterFlags
	c := &cobra.Command{
		Use:   "release",
		Short: "Give the metrics APIs back to the server that had them before",
		Long: `Give the metrics APIs that "fairway controller --take-over-metrics" took over back to the server that had them, and
remove those that nobody had. Stop the controller, or switch its metrics off, first: it registers them again.`,
		Example: `  fairway metrics release --kubeconfig ~/.kube/config
  fairway metrics release --context staging`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, _, err := f.load()
			if err != nil {
				return err
			}
			scheme := runtime.NewScheme()
			if err := apiregistrationv1.AddToScheme(scheme); err != nil {
				return err
			}
			api, err := client.New(cfg, client.Options{Scheme: scheme})
			if err != nil {
				return fmt.Errorf("connecting to %s: %w", cfg.Host, err)
			}
			ctx, cancel := context.WithTimeout(c.Context(), askWithin)
			defer cancel()
			done, err := metrics.Release(ctx, api)
			for _, line := range done {
				fmt.Fprintln(s.Out, line)
			}
			if err == nil && len(done) == 0 {
				err = errors.New("no metrics API is registered in this cluster")
			}
			return err
		},
	}
	f.add(c.Flags())
	return c
}
