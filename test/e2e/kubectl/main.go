// Command kubectl is upstream's kubectl of the version that the cluster has, for the tests.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"

	_ "github.com/fairway-dev/fairway/internal/kube/kubeversion" // built as a dependency, it would not know its version
)

func main() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		os.Exit(1)
	}
}
