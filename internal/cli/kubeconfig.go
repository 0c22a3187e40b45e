package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// contextName is the name of cluster, user and context of the embedded cluster in a kubeconfig; clusters other than
// "default" carry their name.
func contextName(cluster string) string {
	if cluster == "" || cluster == "default" {
		return "fairway"
	}
	return "fairway-" + cluster
}

func kubeconfigCommand(s Streams) *cobra.Command {
	var data dataDir
	var merge, use bool
	c := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the embedded cluster's kubeconfig, or merge it into yours",
		Long: `Print the kubeconfig of an embedded cluster started with "fairway up".

With --merge it is added to your own file ($KUBECONFIG's first, or ~/.kube/config) under the context "fairway"
("fairway-NAME" with --name). Your current context stays unless --use is given.`,
		Example: `  fairway kubeconfig > fairway.kubeconfig
  fairway kubeconfig --merge
  kubectl --context fairway get nodes`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if use && !merge {
				return usage(errors.New("--use changes your kubeconfig and needs --merge"))
			}
			dir, err := data.path()
			if err != nil {
				return err
			}
			b, err := os.ReadFile(kubeconfigOf(dir))
			if errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("there is no cluster in %s; start one with `fairway up`", dir)
			}
			if err != nil {
				return fmt.Errorf("reading the cluster's kubeconfig: %w", err)
			}
			if !merge {
				_, err = s.Out.Write(b)
				return err
			}
			file, err := mergeKubeconfig(b, contextName(data.name), use)
			if err != nil {
				return err
			}
			fmt.Fprintf(s.Out, "Merged into %s as context %q.\n", file, contextName(data.name))
			return nil
		},
	}
	data.add(c.Flags())
	c.Flags().BoolVar(&merge, "merge", false, "add it to your own kubeconfig under the context fairway")
	c.Flags().BoolVar(&use, "use", false, "with --merge: make it your current context")
	return c
}

// mergeKubeconfig puts the cluster into the user's own file and returns the file's path.
func mergeKubeconfig(ours []byte, name string, use bool) (string, error) {
	from, err := clientcmd.Load(ours)
	if err != nil {
		return "", fmt.Errorf("reading the cluster's kubeconfig: %w", err)
	}
	cluster, user := from.Clusters["fairway"], from.AuthInfos["fairway"]
	if cluster == nil || user == nil {
		return "", errors.New("the cluster's kubeconfig has no context fairway; start the cluster again")
	}
	paths := clientcmd.NewDefaultPathOptions()
	into, err := paths.GetStartingConfig()
	if err != nil {
		return "", fmt.Errorf("reading your kubeconfig: %w", err)
	}
	into.Clusters[name], into.AuthInfos[name] = cluster, user
	into.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	if use {
		into.CurrentContext = name
	}
	if err := clientcmd.ModifyConfig(paths, *into, false); err != nil {
		return "", fmt.Errorf("writing your kubeconfig: %w", err)
	}
	if paths.IsExplicitFile() {
		return paths.GetExplicitFile(), nil
	}
	return paths.GetDefaultFilename(), nil
}
