package cli

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// peerVersion is the version of Argo Rollouts whose verbs and kinds these are.
const peerVersion = "v1.10.1"

// addPluginFlags adds those of kubectl, which it hands to its plugins.
func (o *operator) addPluginFlags(fs *pflag.FlagSet) {
	o.flags.data.name = "default"
	fs.StringVar(&o.flags.kubeconfig, "kubeconfig", "", "the kubeconfig of the cluster (default: $KUBECONFIG, your own file, or the embedded cluster)")
	names := clientcmd.RecommendedConfigOverrideFlags("")
	names.ClusterOverrideFlags.APIServer.ShortName = "s"
	clientcmd.BindOverrideFlags(&o.flags.overrides, fs, names)
	fs.VarP(&klogLevel{}, "kloglevel", "v", "how much the Kubernetes client library logs")
	fs.Var(&logLevel{"info"}, "loglevel", "kept for scripts: the verbs log nothing")
}

// klogLevel is the verbosity of klog.
type klogLevel struct{ n string }

// String implements pflag.Value.
func (l *klogLevel) String() string { return l.n }

// Type implements pflag.Value.
func (l *klogLevel) Type() string { return "int" }

// Set implements pflag.Value.
func (l *klogLevel) Set(v string) error {
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	klog.InitFlags(fs)
	if err := fs.Set("v", v); err != nil {
		return fmt.Errorf("%q is no number", v)
	}
	l.n = v
	return nil
}

// logLevel is one of the levels that the plugin of Argo Rollouts knows.
type logLevel struct{ level string }

// String implements pflag.Value.
func (l *logLevel) String() string { return l.level }

// Type implements pflag.Value.
func (l *logLevel) Type() string { return "string" }

// Set implements pflag.Value.
func (l *logLevel) Set(v string) error {
	known := []string{"trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"}
	if !slices.Contains(known, strings.ToLower(v)) {
		return fmt.Errorf("%q is not known; use one of %s", v, strings.Join(known, ", "))
	}
	l.level = v
	return nil
}

func (o *operator) versionCommand() *cobra.Command {
	var short bool
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of Argo Rollouts whose verbs these are, and of this program",
		Example: o.examples("version", "version --short"),
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintln(o.Out, pluginVersion())
			if v := versions(); !short {
				fmt.Fprintf(o.Out, "  GoVersion: %s\n  Compiler: %s\n  Platform: %s\n", v.Go, runtime.Compiler, v.Platform)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&short, "short", false, "the version alone")
	return c
}

// pluginVersion is a line in the plugin's form, which scripts take apart.
func pluginVersion() string {
	return fmt.Sprintf("%s: %s+fairway.%s", pluginName, peerVersion, strings.Trim(versions().Fairway, "()"))
}

func (o *operator) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print the script that completes commands in a shell",
		Long: `Print the script that completes commands in a shell. It completes this program; as a plugin of kubectl (1.26 or newer) it
also needs an executable kubectl_complete-argo-rollouts on the PATH, with these two lines:

  #!/bin/sh
  kubectl argo rollouts __complete "$@"`,
		Example:   "  source <(" + o.program + " completion bash)",
		ValidArgs: shells,
		Args:      names("the shell: "+strings.Join(shells, ", "), 1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return c.Root().GenBashCompletionV2(o.Out, true)
			case "zsh":
				return c.Root().GenZshCompletion(o.Out)
			case "fish":
				return c.Root().GenFishCompletion(o.Out, true)
			case "powershell":
				return c.Root().GenPowerShellCompletionWithDesc(o.Out)
			}
			return usage(fmt.Errorf("%q is no shell that is known; use %s", args[0], strings.Join(shells, ", ")))
		},
	}
}

func (o *operator) dashboardCommand() *cobra.Command {
	return o.refused("dashboard", "Not served: what to use instead",
		"there is no dashboard in this program; `"+o.noun()+" get rollout NAME -w` shows the same tree live, and the dashboard of Argo Rollouts' own "+
			"plugin works with the Rollouts that Fairway serves")
}

func (o *operator) notificationsCommand() *cobra.Command {
	return o.refused("notifications", "Not sent: what to use instead",
		"Fairway sends no notifications; a Rollout that subscribes to some gets one event that says so. `kubectl get events --watch` and the metrics "+
			"rollout_phase and rollout_events_total tell of the same, or let Argo Rollouts' own plugin try your templates")
}

// refused is a verb of the plugin that is not there. It takes whatever the plugin's takes, so that the reason is what is read.
func (o *operator) refused(verb, short, why string) *cobra.Command {
	return &cobra.Command{
		Use:                verb,
		Short:              short,
		Example:            o.examples("get rollout web -w"),
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			if slices.ContainsFunc(args, func(a string) bool { return a == "--help" || a == "-h" }) {
				return c.Help()
			}
			return usage(fmt.Errorf("%s: %s", c.CommandPath(), why))
		},
	}
}
