package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// clusterFlags say which cluster a command talks to: --kubeconfig, else $KUBECONFIG or your own file, else the pod's own
// cluster, else the embedded cluster of --name.
type clusterFlags struct {
	kubeconfig string
	context    string
	namespace  string
	data       dataDir
	// overrides are what else of the kubeconfig a command line may set; only the kubectl plugin has flags for it.
	overrides clientcmd.ConfigOverrides
}

func (f *clusterFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "the kubeconfig of the cluster (default: $KUBECONFIG, your own file, or the embedded cluster)")
	fs.StringVar(&f.context, "context", "", "the context of the kubeconfig (default: the current one)")
	f.data.add(fs)
}

func (f *clusterFlags) addNamespace(fs *pflag.FlagSet) {
	fs.StringVarP(&f.namespace, "namespace", "n", "", "the namespace (default: that of the context)")
}

// load returns the connection and the namespace.
func (f *clusterFlags) load() (*rest.Config, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	overrides := f.overrides
	if f.context != "" {
		overrides.CurrentContext = f.context
	}
	if f.namespace != "" {
		overrides.Context.Namespace = f.namespace
	}
	if f.kubeconfig == "" && overrides.CurrentContext == "" && overrides.ClusterInfo.Server == "" && !anyExists(rules.Precedence) && os.Getenv("KUBERNETES_SERVICE_HOST") == "" {
		dir, err := f.data.path()
		if err != nil {
			return nil, "", err
		}
		rules.ExplicitPath = kubeconfigOf(dir)
		if _, err := os.Stat(rules.ExplicitPath); errors.Is(err, os.ErrNotExist) {
			return nil, "", usage(errors.New("no cluster is named: give --kubeconfig FILE, set KUBECONFIG, or start one with `fairway up`"))
		}
	}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &overrides)
	cfg, err := loader.ClientConfig()
	if err != nil {
		return nil, "", usage(fmt.Errorf("reading the kubeconfig: %w", err))
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, "", usage(fmt.Errorf("reading the kubeconfig: %w", err))
	}
	cfg.UserAgent = "fairway"
	return cfg, namespace, nil
}

// reader reads objects straight from the API server.
func (f *clusterFlags) reader() (client.Client, string, error) {
	cfg, namespace, err := f.load()
	if err != nil {
		return nil, "", err
	}
	c, err := client.New(cfg, client.Options{Scheme: scheme()})
	if err != nil {
		return nil, "", fmt.Errorf("connecting to %s: %w", cfg.Host, err)
	}
	return c, namespace, nil
}

// scheme has the kinds that commands read: Kubernetes' own, and those of Rollouts.
func scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(rollouts.AddToScheme(s))
	return s
}

func anyExists(files []string) bool {
	for _, f := range files {
		if _, err := os.Stat(f); err == nil {
			return true
		}
	}
	return false
}
