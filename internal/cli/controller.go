package cli

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/fairway-dev/fairway/internal/platform"
	"github.com/fairway-dev/fairway/internal/scale/metrics"
)

func controllerCommand(s Streams) *cobra.Command {
	var f clusterFlags
	var ship rolloutFlags
	o := platform.ControllerOptions{LeaderElection: true, Namespace: platform.Namespace, MetricsAddress: ":8080", HealthAddress: ":8081", ListenAddress: ":6444", WebhookAddress: ":9443"}
	var capabilities []string
	var verbose int
	var namespaced bool
	c := &cobra.Command{
		Use:   "controller",
		Short: "Run Fairway's capabilities on an existing cluster",
		Long: `Run the capabilities of Fairway on an existing cluster, usually in a pod from the Helm chart. Of several replicas one
leads and writes; all serve the metrics APIs.`,
		Example: `  fairway controller --kubeconfig ~/.kube/config --leader-elect=false
  fairway controller --take-over-metrics=resource`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, t := range o.TakeOver {
				if err := oneOf("--take-over-metrics", t, "resource"); err != nil {
					return err
				}
			}
			for _, t := range o.Kubelets.Addresses {
				if err := oneOf("--kubelet-preferred-address-types", t, metrics.AddressTypes()...); err != nil {
					return err
				}
			}
			if o.QPS < 0 || o.Burst < 1 {
				return usage(fmt.Errorf("--qps %v, --burst %d: the rate must be 0 (no bound) or more, the burst 1 or more", o.QPS, o.Burst))
			}
			if o.Kubelets.Resolution < metrics.LeastResolution {
				return usage(fmt.Errorf("--metric-resolution %v is too short: kubelets renew their readings every %v", o.Kubelets.Resolution, metrics.LeastResolution))
			}
			o.Capabilities = capabilities
			if err := o.Capabilities.Check(); err != nil {
				return usage(err)
			}
			var err error
			if o.Rollouts, err = ship.take(); err != nil {
				return err
			}
			o.MetricsAddress, o.HealthAddress = at("", ship.metricsPort, o.MetricsAddress), at("", ship.healthPort, o.HealthAddress)
			cfg, namespace, err := f.load()
			if err != nil {
				return err
			}
			o.Config = cfg
			if namespaced {
				o.Only = namespace
			}
			level := slog.LevelInfo
			if verbose > 0 {
				level = slog.LevelDebug
			}
			o.Log = slog.New(folding(slog.NewJSONHandler(s.Err, &slog.HandlerOptions{Level: level})))
			err = platform.Controller(c.Context(), o)
			if errors.Is(err, c.Context().Err()) {
				return nil
			}
			return err
		},
	}
	fs := c.Flags()
	f.add(fs)
	ship.add(c)
	fs.BoolVar(&namespaced, "namespaced", false, "see and change one namespace only, that of --namespace: Roles are enough then, and what belongs to the whole cluster is left out")
	fs.StringVarP(&f.namespace, "namespace", "n", "", "the namespace of --namespaced (default: that of the context, or of the pod)")
	fs.Float32Var(&o.QPS, "qps", 0, "at most so many requests a second to the API server (default: no bound; the API server paces by priority and fairness)")
	fs.IntVar(&o.Burst, "burst", 80, "with --qps, how many requests may come at once")
	fs.StringVar(&o.WebhookAddress, "webhook-address", o.WebhookAddress, "where the admission webhooks are served (host:port); empty = nowhere, and they are taken away")
	fs.StringVar(&ship.options.WebhookOwner, "webhook-owner", platform.WebhookOwner, "the ClusterRole with which the admission webhooks go when it is deleted; the chart names its own")
	fs.StringSliceVar(&capabilities, "capabilities", nil, "switch capabilities on or off: -metrics,…")
	fs.BoolVar(&o.LeaderElection, "leader-elect", o.LeaderElection, "let one of several replicas lead")
	fs.StringVar(&o.Namespace, "system-namespace", o.Namespace, "the namespace of Fairway's own objects")
	fs.StringVar(&o.MetricsAddress, "metrics-address", o.MetricsAddress, "where Prometheus metrics are served; empty = nowhere")
	fs.StringVar(&o.HealthAddress, "health-address", o.HealthAddress, "where /healthz and /readyz are served; empty = nowhere")
	fs.StringVar(&o.ListenAddress, "listen", o.ListenAddress, "the address (host:port) on which the metrics APIs are served")
	fs.BoolVar(&o.ReplaceDefinitions, "replace-definitions", false, "put our definitions of the kinds in the place of those that somebody else installed, unless objects would lose fields")
	fs.StringSliceVar(&o.TakeOver, "take-over-metrics", nil, "take these metrics APIs over from another server: resource")
	fs.StringVar(&o.Kubelets.CAFile, "kubelet-certificate-authority", "", "PEM file of the authority that signs kubelets' certificates (default: the cluster's)")
	fs.BoolVar(&o.Kubelets.Insecure, "kubelet-insecure-tls", false, "do not verify kubelets' certificates")
	fs.StringSliceVar(&o.Kubelets.Addresses, "kubelet-preferred-address-types", metrics.AddressTypes(), "the types of a node's addresses by which its kubelet is reached, in this order")
	fs.DurationVar(&o.Kubelets.Resolution, "metric-resolution", metrics.DefaultResolution, "the time between two readings of a kubelet, at least 10s")
	fs.CountVarP(&verbose, "verbose", "v", "log more")
	return c
}
