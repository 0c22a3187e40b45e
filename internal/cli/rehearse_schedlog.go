package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/fairway-dev/fairway/internal/rehearse/schedlog"
)

// awakeMax start functions are listed of one log: the rest run too seldom to matter.
const awakeMax = 40

func rehearseSchedLogCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "schedlog LOG [OTHER]",
		Short: "Show what keeps a run awake, or the first scheduling decision in which two runs differ",
		Long: `Read logs that "fairway rehearse --schedlog FILE" wrote with a program of "make rehearse-debug". One log: how often each kind
of goroutine ran, and how often in a virtual hour. Two logs: the first decision that differs, and what came before it; exit
code 1 when there is one.`,
		Example: `  fairway rehearse examples/shop --program-file bin/fairway-rehearse-debug --schedlog a.log
  fairway rehearse schedlog a.log b.log`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			var logs []*os.File
			for _, name := range args {
				f, err := os.Open(name)
				if err != nil {
					return exitError{exitNoAnswer, err}
				}
				defer f.Close()
				if i, err := f.Stat(); err == nil && i.Size() == 0 {
					return exitError{exitNoAnswer, fmt.Errorf("%s is empty: the run was not played by a program that records its decisions; make rehearse-debug builds one, --program-file names it", name)}
				}
				logs = append(logs, f)
			}
			if len(logs) == 1 {
				awake, err := schedlog.Count(logs[0])
				if err != nil {
					return exitError{exitNoAnswer, fmt.Errorf("%s: %w", args[0], err)}
				}
				for i, a := range awake {
					if i == awakeMax {
						break
					}
					fmt.Fprintf(s.Out, "%10d  %12.1f/h  %s\n", a.Runs, a.PerHour, a.Function)
				}
				return nil
			}
			d, err := schedlog.Compare(logs[0], logs[1])
			switch {
			case err != nil:
				return exitError{exitNoAnswer, err}
			case d == nil:
				fmt.Fprintln(s.Out, "the two runs took the same decisions")
				return nil
			}
			fmt.Fprint(s.Out, d.String())
			return exitError{exitNotHeld, errors.New("the runs differ from decision " + fmt.Sprint(d.Decision) + " on")}
		},
	}
}
