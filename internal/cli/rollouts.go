package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// pluginName is the name under which this program is the kubectl plugin of Argo Rollouts: `kubectl argo rollouts …`.
const pluginName = "kubectl-argo-rollouts"

// IsPlugin tells whether a program called so, os.Args[0], is to answer as the kubectl plugin of Argo Rollouts.
func IsPlugin(program string) bool {
	return strings.TrimSuffix(filepath.Base(program), ".exe") == pluginName
}

// RunPlugin executes a command line of the kubectl plugin of Argo Rollouts and returns the exit code, which is 1 for every
// failure, as the plugin's is.
func RunPlugin(ctx context.Context, args []string, s Streams) int {
	o := &operator{Streams: s, program: "kubectl argo rollouts", plugin: true}
	root := o.root(pluginName)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	var version bool // Kubernetes' libraries register a flag of theirs, which gives way to one that is there
	root.PersistentFlags().BoolVar(&version, "version", false, "print the version")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if !version {
			return nil
		}
		fmt.Fprintln(s.Out, pluginVersion())
		return exitError{code: ExitOK}
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	coded, ok := errors.AsType[exitError](err)
	if err == nil || ok && coded.code == ExitOK {
		return ExitOK
	}
	fmt.Fprintln(s.Err, "Error: "+err.Error())
	return ExitFailed
}

// operator is what the verbs for Rollouts share.
type operator struct {
	Streams
	flags   clusterFlags
	program string // how it is called, for examples
	plugin  bool   // it answers as the kubectl plugin
}

// rolloutVerbs lists the verbs in the order of the help text.
func rolloutVerbs() []func(*operator) *cobra.Command {
	return []func(*operator) *cobra.Command{
		(*operator).getCommand,
		(*operator).listCommand,
		(*operator).statusCommand,
		(*operator).promoteCommand,
		(*operator).abortCommand,
		(*operator).retryCommand,
		(*operator).pauseCommand,
		(*operator).restartCommand,
		(*operator).undoCommand,
		(*operator).setCommand,
		(*operator).terminateCommand,
		(*operator).createCommand,
		(*operator).lintCommand,
		(*operator).versionCommand,
		(*operator).completionCommand,
		(*operator).dashboardCommand,
		(*operator).notificationsCommand,
	}
}

// nounless are the verbs that can also be said without the noun: fairway promote rollout/web.
func nounless() []func(Streams) *cobra.Command {
	var out []func(Streams) *cobra.Command
	for _, verb := range []func(*operator) *cobra.Command{
		(*operator).getCommand, (*operator).promoteCommand, (*operator).abortCommand, (*operator).retryCommand,
		(*operator).pauseCommand, (*operator).restartCommand, (*operator).undoCommand, (*operator).setCommand, (*operator).terminateCommand, (*operator).listCommand,
	} {
		out = append(out, func(s Streams) *cobra.Command {
			o := &operator{Streams: s, program: "fairway"}
			c := verb(o)
			o.addFlags(c.PersistentFlags())
			return c
		})
	}
	return out
}

func rolloutsCommand(s Streams) *cobra.Command {
	o := &operator{Streams: s, program: "fairway rollouts"}
	c := o.root("rollouts")
	c.Aliases = []string{"rollout", "ro"}
	return c
}

// root is the command above the verbs.
func (o *operator) root(use string) *cobra.Command {
	c := &cobra.Command{
		Use:   use,
		Short: "Look at Rollouts and steer them: the verbs of `kubectl argo rollouts`",
		Long: `Look at Rollouts and steer them. The verbs, their arguments and what they print are those of "kubectl argo rollouts",
and they work with any cluster that has Rollouts, whichever controller serves them. A program of the name
kubectl-argo-rollouts that is this one (a link will do) answers "kubectl argo rollouts" itself.`,
		Example: o.examples(
			"get rollout web -w              # the tree of pods, live",
			"promote web                     # past the pause it is in",
			"abort web                       # back to the stable version",
			"retry rollout web               # try the new version again",
			"undo web --to-revision 3        # an older version",
			"status web --timeout 5m         # wait for it; exit code 1 when it fails"),
		Args: knownVerb,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	o.addFlags(c.PersistentFlags())
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w; `%s --help` lists the flags", err, c.CommandPath()))
	})
	for _, verb := range rolloutVerbs() {
		c.AddCommand(verb(o))
	}
	return c
}

func (o *operator) addFlags(fs *pflag.FlagSet) {
	if o.plugin {
		o.addPluginFlags(fs)
		return
	}
	o.flags.add(fs)
	o.flags.addNamespace(fs)
}

// examples of this program's verbs, one a line.
func (o *operator) examples(lines ...string) string {
	for i := range lines {
		lines[i] = "  " + o.program + " " + lines[i]
	}
	return strings.Join(lines, "\n")
}

func knownVerb(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	help := fmt.Sprintf("`%s --help` lists the verbs", c.CommandPath())
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		help = "did you mean " + strings.Join(near, " or ") + "? " + help
	}
	return usage(fmt.Errorf("unknown verb %q; %s", args[0], help))
}

// names refuses fewer arguments than least or more than most; most 0 means no limit.
func names(what string, least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || most > 0 && len(args) > most {
			return usage(fmt.Errorf("%s: write %s; `%s --help` shows how", c.CommandPath(), what, c.CommandPath()))
		}
		return nil
	}
}
