package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/fairway-dev/fairway/internal/kube/kubeversion"
)

// Versions is what this program is made of.
type Versions struct {
	Fairway    string `json:"fairway"`
	Kubernetes string `json:"kubernetes"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
}

func versions() Versions {
	v := Versions{Fairway: "unknown", Kubernetes: kubeversion.String(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		v.Fairway = info.Main.Version
	}
	return v
}

func versionCommand(s Streams) *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of Fairway and of the Kubernetes inside",
		Example: "  fairway version\n  fairway version -o json",
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			v := versions()
			return output.print(s.Out, v, func(w *table) {
				w.row("Fairway", v.Fairway)
				w.row("Kubernetes", v.Kubernetes)
				w.row("Go", v.Go)
				w.row("Platform", v.Platform)
			})
		},
	}
	output.add(c.Flags())
	return c
}

// versionLine is what --version prints.
func versionLine() string {
	v := versions()
	return fmt.Sprintf("fairway %s, Kubernetes %s, %s, %s", v.Fairway, v.Kubernetes, v.Go, v.Platform)
}

// kubernetesLine is the line that "up" begins with.
func kubernetesLine() string {
	v := versions()
	return fmt.Sprintf("Kubernetes %s, Fairway %s", v.Kubernetes, v.Fairway)
}
