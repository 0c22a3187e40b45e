// Package kubetest gives a package's tests one real cluster: the embedded control plane with a memory store and virtual
// nodes, started at the first use, and a namespace for each test. There are no fake clients.
//
//	func TestMain(m *testing.M) { kubetest.Main(m) }
//
//	func TestX(t *testing.T) {
//		c := kubetest.Start(t)
//		ns := c.Namespace(t)
//		…
//		kubetest.Eventually(t, c, &appsv1.Deployment{…}, func(d *appsv1.Deployment) string { … })
//	}
//
// KUBETEST_KUBECONFIG points the same tests at an existing cluster.
package kubetest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/internal/kube/controlplane"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
)

// KubeconfigVariable names the environment variable that points the tests at an existing cluster.
const KubeconfigVariable = "KUBETEST_KUBECONFIG"

const (
	startWithin = 2 * time.Minute
	stopWithin  = 10 * time.Second
	// Virtual pods start and stop this fast, so that tests wait little and still see the states in between.
	podStart = 100 * time.Millisecond
	podStop  = 50 * time.Millisecond
	// nodeCount is what spreading and node loss need.
	nodeCount = 3
)

// Cluster is what tests run against.
type Cluster struct {
	Config *rest.Config // cluster-admin
	Client kubernetes.Interface
	// Objects reads and writes objects of the kinds in Scheme.
	Objects client.WithWatch
	Scheme  *runtime.Scheme
	// Real is true when the tests run against an existing cluster, where nodes and pods are not virtual.
	Real bool
	// Plane is the embedded control plane; nil when Real.
	Plane *controlplane.ControlPlane
	// Engine plays the nodes; nil when Real.
	Engine *virtual.Engine

	stop func()
}

var (
	mu      sync.Mutex
	running *Cluster
	failed  error
)

// Main runs the tests of a package and stops the cluster afterwards. Use it as the whole of TestMain. A package without
// it works too: the process's end then stops the cluster.
func Main(m *testing.M) {
	code := m.Run()
	mu.Lock()
	if running != nil && running.stop != nil {
		running.stop()
	}
	mu.Unlock()
	os.Exit(code)
}

// Start returns the package's cluster, started at the first call. add lists functions that add kinds to its scheme; only
// those of the first call count.
func Start(t testing.TB, add ...func(*runtime.Scheme) error) *Cluster {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if running == nil && failed == nil {
		running, failed = start(add)
	}
	if failed != nil {
		t.Fatalf("starting the cluster for the tests: %v", failed)
	}
	return running
}

func start(add []func(*runtime.Scheme) error) (*Cluster, error) {
	c := &Cluster{Scheme: runtime.NewScheme()}
	for _, f := range append([]func(*runtime.Scheme) error{clientgoscheme.AddToScheme}, add...) {
		if err := f(c.Scheme); err != nil {
			return nil, err
		}
	}
	var err error
	if file := os.Getenv(KubeconfigVariable); file != "" {
		c.Real = true
		c.Config, err = clientcmd.BuildConfigFromFlags("", file)
	} else {
		err = c.embed()
	}
	if err != nil {
		return nil, err
	}
	if c.Client, err = kubernetes.NewForConfig(c.Config); err != nil {
		return nil, err
	}
	custom := rest.CopyConfig(c.Config)
	custom.ContentType, custom.AcceptContentTypes = "", "" // by kind: custom kinds have no protobuf
	c.Objects, err = client.NewWithWatch(custom, client.Options{Scheme: c.Scheme})
	return c, err
}

// embed starts the control plane and three virtual nodes.
func (c *Cluster) embed() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), startWithin, fmt.Errorf("not ready after %v", startWithin))
	defer cancel()
	plane, err := controlplane.Start(ctx, controlplane.Options{})
	if err != nil {
		return err
	}
	c.Plane, c.Config = plane, plane.Config()
	nodes, err := kubernetes.NewForConfig(plane.ConfigAs("kubetest-nodes", "system:masters"))
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(nodes, 0)
	c.Engine, err = virtual.New(virtual.Options{Client: nodes, Informers: factory, PodStart: podStart, PodStop: podStop,
		NodeGroups: []virtual.NodeGroup{{Name: "node", Size: nodeCount, Zones: []string{"zone-a", "zone-b", "zone-c"}}}})
	if err != nil {
		return err
	}
	life, end := context.WithCancel(context.Background())
	factory.Start(life.Done())
	engine := make(chan struct{})
	go func() {
		defer close(engine)
		_ = c.Engine.Run(life) // ends with life; a test that waits for a pod tells of anything else
	}()
	c.stop = func() {
		end()
		<-engine
		factory.Shutdown()
		stop, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		if err := plane.Stop(stop); err != nil {
			fmt.Fprintln(os.Stderr, "kubetest:", err)
		}
	}
	return nil
}
