// Package house is what the tests of controllers of argoproj.io share: a cluster with their kinds in it, a manager that
// starts within a test's process, and a client that counts what is written. Only tests import it.
package house

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/go-logr/logr"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/config/crd"
	"github.com/fairway-dev/fairway/internal/kube/kubetest"
)

// SmallVariable names the environment variable that makes Cluster install the small form of the definitions.
const SmallVariable = "FAIRWAY_TEST_SMALL"

const servedPoll = 20 * time.Millisecond // a kind is served a moment after its definition is there, and no watch tells

var (
	once      sync.Once
	installed error
)

// Cluster is the package's cluster with the kinds of argoproj.io installed, and no controller of theirs.
func Cluster(t testing.TB) *kubetest.Cluster {
	t.Helper()
	c := kubetest.Start(t, rollouts.AddToScheme, apiextensionsv1.AddToScheme)
	once.Do(func() {
		ctrllog.SetLogger(logr.Discard())
		installed = install(c)
	})
	if installed != nil {
		t.Fatalf("installing the kinds: %v", installed)
	}
	return c
}

func install(c *kubetest.Cluster) error {
	ctx, cancel := context.WithTimeout(context.Background(), kubetest.Patience)
	defer cancel()
	for _, plural := range []string{"rollouts", "analysistemplates", "clusteranalysistemplates", "analysisruns", "experiments"} {
		b, err := crd.Definition(plural+"."+rollouts.GroupVersion.Group, os.Getenv(SmallVariable) != "")
		if err != nil {
			return err
		}
		def := &apiextensionsv1.CustomResourceDefinition{}
		if err := json.Unmarshal(b, def); err != nil {
			return err
		}
		if err := c.Objects.Create(ctx, def); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	for _, list := range []client.ObjectList{&rollouts.RolloutList{}, &argo.AnalysisTemplateList{}, &argo.ClusterAnalysisTemplateList{},
		&argo.AnalysisRunList{}, &argo.ExperimentList{}} {
		if err := served(ctx, c, list); err != nil {
			return err
		}
	}
	return nil
}

// served waits until objects of a kind can be listed.
func served(ctx context.Context, c *kubetest.Cluster, list client.ObjectList) error {
	for c.Objects.List(ctx, list) != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(servedPoll):
		}
	}
	return nil
}

// Options of a manager.
type Options struct {
	Cache cache.Options
	// Between, if not nil, makes the client that stands between the controllers and the API server.
	Between func(client.Client) client.Client
	// Wrap, if not nil, changes how the manager's clients reach the API server.
	Wrap func(*rest.Config)
}

// Manager is a manager that is not started yet, whose client writes through the Writes it returns. Several of them may run in
// one process.
func Manager(t testing.TB, c *kubetest.Cluster, o Options) (manager.Manager, *Writes) {
	t.Helper()
	cfg := rest.CopyConfig(c.Config)
	cfg.ContentType, cfg.AcceptContentTypes = "", "" // by kind: custom kinds have no protobuf
	if o.Wrap != nil {
		o.Wrap(cfg)
	}
	again := true
	w := &Writes{}
	m, err := manager.New(cfg, manager.Options{Scheme: c.Scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Cache: o.Cache,
		Controller: config.Controller{SkipNameValidation: &again},
		NewClient: func(cfg *rest.Config, opts client.Options) (client.Client, error) {
			inner, err := client.New(cfg, opts)
			if err == nil && o.Between != nil {
				inner = o.Between(inner)
			}
			w.Client = inner
			return w, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	return m, w
}

// Read an object of YAML into a namespace.
func Read[T client.Object](t testing.TB, obj T, ns, text string) T {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), obj); err != nil {
		t.Fatal(err)
	}
	obj.SetNamespace(ns)
	return obj
}

// Create objects.
func Create(t testing.TB, c *kubetest.Cluster, objs ...client.Object) {
	t.Helper()
	for _, o := range objs {
		if err := c.Objects.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}
