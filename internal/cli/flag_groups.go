package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagGroup is the annotation of a flag that stands under a title of its own in the help.
const flagGroup = "fairway-group"

// group adds flags to a command under a title. Those without one come first.
func group(c *cobra.Command, title string, add func(*pflag.FlagSet)) {
	fs := pflag.NewFlagSet(title, pflag.ContinueOnError)
	fs.SortFlags = c.Flags().SortFlags
	add(fs)
	fs.VisitAll(func(f *pflag.Flag) {
		_ = fs.SetAnnotation(f.Name, flagGroup, []string{title}) // it is there
	})
	c.Flags().AddFlagSet(fs)
	base := c.UsageFunc()
	c.SetUsageFunc(func(c *cobra.Command) error {
		// Without the group the usage is as it would be; the group follows. Errors of writing to a terminal help nobody.
		var hidden []*pflag.Flag
		fs.VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				f.Hidden = true
				hidden = append(hidden, f)
			}
		})
		err := base(c)
		for _, f := range hidden {
			f.Hidden = false
		}
		c.Printf("\n%s:\n%s\n", title, strings.TrimRight(fs.FlagUsages(), "\n"))
		return err
	})
}
