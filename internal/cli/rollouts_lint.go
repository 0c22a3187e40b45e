package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairway-dev/fairway/internal/ship/validate/lint"
)

func (o *operator) lintCommand() *cobra.Command {
	var files []string
	c := &cobra.Command{
		Use:   "lint -f FILE",
		Short: "Check Rollouts, analysis templates, runs and experiments in files, without a cluster",
		Long: `Check the objects of argoproj.io in files as admission and the controller check them, without a cluster: each by itself, and
against the Services, templates and routers' objects in the same files; what is not in the files is taken to exist. The exit
code is 1 when something is wrong; warnings alone are no failure.`,
		Example: o.examples("lint -f rollout.yaml", "lint -f rollout.yaml -f services.yaml") + "\n  helm template . | " + o.program + " lint -f -",
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			if len(files) == 0 {
				return usage(errors.New("lint: name a file with -f FILE"))
			}
			return o.lint(files)
		},
	}
	c.Flags().StringArrayVarP(&files, "filename", "f", nil, "a file, - for the standard input; may be given several times")
	return c
}

func (o *operator) lint(files []string) error {
	texts := make([][]byte, len(files))
	for i, file := range files {
		var err error
		if texts[i], err = o.read(file); err != nil {
			return err
		}
	}
	findings, err := lint.Lint(texts...)
	if err != nil {
		return usage(fmt.Errorf("%s: %w", strings.Join(files, ", "), err))
	}
	for _, f := range findings {
		fmt.Fprintln(o.Out, f)
	}
	switch n := len(lint.Problems(findings)); n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("1 problem in %s", strings.Join(files, ", "))
	default:
		return fmt.Errorf("%d problems in %s", n, strings.Join(files, ", "))
	}
}
