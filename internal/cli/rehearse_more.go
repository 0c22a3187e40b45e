package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/fairway-dev/fairway/internal/rehearse"
	"github.com/fairway-dev/fairway/internal/rehearse/report"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario"
)

func parseBytes(s string) (int64, error) {
	q, err := resource.ParseQuantity(s)
	if err != nil || q.Sign() <= 0 {
		return 0, errors.New("write a size such as 3Gi")
	}
	return q.Value(), nil
}

func rehearseBuildCommand(s Streams) *cobra.Command {
	var output, source string
	var schedLog bool
	c := &cobra.Command{
		Use:   "build",
		Short: "Build the program that plays runs in virtual time",
		Long: `Build fairway-rehearse from Fairway's source with the Go toolchain: linked with a virtual clock, and with a few files of
the Go runtime changed in a copy (nothing of the toolchain itself is touched).`,
		Example: "  fairway rehearse build -o bin/fairway-rehearse",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return rehearse.Build(c.Context(), source, output, schedLog, s.Err)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", rehearse.ProgramName, "file to write")
	c.Flags().StringVar(&source, "source", ".", "Fairway's source")
	c.Flags().BoolVar(&schedLog, "schedlog", false, "record every scheduling decision, to find the first that differs between two runs")
	return c
}

func rehearseValidateCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:     "validate SCENARIO | DIR",
		Short:   "Check a scenario and the manifests it names without running it",
		Example: "  fairway rehearse validate examples/shop",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			loaded, err := rehearse.Scenario(rehearse.Request{Path: args[0]})
			if err != nil {
				return exitError{exitNoAnswer, err}
			}
			_, warnings, err := rehearse.Prepare(loaded, false)
			if err != nil {
				return exitError{exitNoAnswer, err}
			}
			for _, w := range warnings {
				fmt.Fprintln(s.Out, w)
			}
			fmt.Fprintf(s.Out, "%s is a valid scenario\n", args[0])
			return nil
		},
	}
}

func rehearseSchemaCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON schema of scenario files",
		Example: "  fairway rehearse schema > scenario.schema.json",
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			b, err := scenario.JSONSchema()
			if err != nil {
				return err
			}
			_, err = s.Out.Write(append(b, '\n'))
			return err
		},
	}
}

func rehearseCompareCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:     "compare A.json B.json",
		Short:   "Set two reports side by side: what differs, how surely, and what diverged first",
		Example: "  fairway rehearse compare before.json after.json",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			a, err := readReport(args[0])
			if err != nil {
				return exitError{exitNoAnswer, err}
			}
			b, err := readReport(args[1])
			if err != nil {
				return exitError{exitNoAnswer, err}
			}
			cmp, err := report.Compare(a, b, nil)
			if err != nil {
				return exitError{exitNoAnswer, err}
			}
			width, _ := terminalOf(s)
			fmt.Fprint(s.Out, cmp.Terminal(width))
			return nil
		},
	}
}

func rehearseReportCommand(s Streams) *cobra.Command {
	var f rehearseFlags
	c := &cobra.Command{
		Use:     "report REPORT.json",
		Short:   "Render a report again, without running anything",
		Example: "  fairway rehearse report out.json --html out.html",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := readReport(args[0])
			if err != nil {
				return exitError{exitNoAnswer, err}
			}
			r.Asked = report.Asked{JSON: args[0], HTML: f.html}
			return f.write(r, s)
		},
	}
	c.Flags().StringVar(&f.html, "html", "", "write it as one HTML file")
	c.Flags().StringVar(&f.md, "md", "", "write it as Markdown")
	c.Flags().StringVar(&f.junit, "junit", "", "write the expectations as JUnit XML")
	c.Flags().StringVar(&f.sarif, "sarif", "", "write the failed expectations as SARIF 2.1.0")
	c.Flags().IntVar(&f.explain, "explain", 0, "print the chain of causes of this timeline entry")
	c.Flags().BoolVar(&f.timeline, "timeline", false, "print what happened, entry by entry, after the verdict")
	return c
}

func readReport(file string) (*report.Report, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r, err := report.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}
