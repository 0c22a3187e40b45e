// Package cli is Fairway's command line: one file a command, flags in, calls below, text or JSON out. It handles no
// signals and never ends the process; [Run] returns the exit code.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Streams are where a command reads and writes.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// Exit codes every command keeps to.
const (
	ExitOK     = 0 // done, or an orderly stop
	ExitFailed = 1 // could not be done, or a part died
	ExitUsage  = 2 // wrong flag, argument or file
)

// commands lists every command in the order of the help text. A new command is a file with a function like these.
func commands() []func(Streams) *cobra.Command {
	list := []func(Streams) *cobra.Command{
		upCommand,
		rehearseCommand,
		kubeconfigCommand,
		controllerCommand,
		metricsCommand,
		rolloutsCommand,
		gatewayCommand,
		whyCommand,
		loadCommand,
		statusCommand,
		versionCommand,
	}
	return append(list, nounless()...)
}

// Run executes a command line and returns the exit code.
func Run(ctx context.Context, args []string, s Streams) int {
	var printVersion bool
	root := &cobra.Command{
		Use:   "fairway",
		Short: "Ship, scale, guard and heal what runs on Kubernetes; rehearse changes first",
		Long: `Ship, scale, guard and heal what runs on Kubernetes; rehearse changes first.

Exit codes: 0 done, or an orderly stop; 1 it could not be done, or a part died; 2 a wrong flag, argument or file.
"fairway rehearse --help" says what they mean there.`,
		Example: `  fairway up                                    # a cluster on this machine; Ctrl-C stops it
  fairway why pod/web -n shop                   # what blocks it, and what to do
  fairway promote rollout/web                   # let an update go on
  fairway rehearse scenario.yaml --html r.html  # try a change first
  source <(fairway completion bash)`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if !printVersion {
				return nil
			}
			fmt.Fprintln(s.Out, versionLine())
			return exitError{code: ExitOK}
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w; `%s --help` lists the flags", err, c.CommandPath()))
	})
	// Kubernetes' libraries register a --version of theirs with every program, which gives way to one that is there.
	root.PersistentFlags().BoolVar(&printVersion, "version", false, "print the versions in one line")
	for _, make := range commands() {
		root.AddCommand(make(s))
	}
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	var coded exitError
	if !errors.As(err, &coded) {
		coded = exitError{code: ExitFailed, err: err}
	}
	if coded.err != nil {
		fmt.Fprintln(s.Err, "fairway: "+coded.err.Error())
	}
	return coded.code
}

// exitError is an error that decides the exit code.
type exitError struct {
	code int
	err  error // nil: everything has been said
}

func (e exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }

// usage marks an error as the caller's: a wrong flag, argument or file.
func usage(err error) error { return exitError{code: ExitUsage, err: err} }

// knownCommand refuses a word that no command has.
func knownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	help := "`fairway --help` lists the commands"
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		help = "did you mean " + strings.Join(near, " or ") + "? " + help
	}
	return usage(fmt.Errorf("unknown command %q; %s", args[0], help))
}

func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(fmt.Errorf("unknown argument %q for %q; `%s --help` shows how to call it", args[0], c.CommandPath(), c.CommandPath()))
	}
	return nil
}
