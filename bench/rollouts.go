package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// peerModule is what Fairway's rollouts are held against.
const peerModule = "github.com/argoproj/argo-rollouts@v1.10.1"

var rolloutsResource = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "rollouts"}

// rolloutsParts are the parts that "rollouts" stands for.
var rolloutsParts = []string{"updates", "idle", "reaction", "takeover"}

// updates compares the rollouts of `fairway up` with Argo Rollouts on the same cluster without them.
func updates(ctx context.Context, o options) error {
	peer, err := buildPeer(ctx, o)
	if err != nil {
		return err
	}
	n := o.rollouts
	fmt.Printf("updates: %d Rollouts of one replica, all patched at once\n", n)
	ours, err := updateAll(ctx, o, "fairway", "", n)
	if err != nil {
		return err
	}
	theirs, err := updateAll(ctx, o, "Argo Rollouts", peer, n)
	if err != nil {
		return err
	}
	row("time to all Healthy, Argo Rollouts ÷ fairway", "×", theirs.seconds/ours.seconds)
	row("writes an update, fairway ÷ Argo Rollouts", "×", ours.writes/theirs.writes)
	return nil
}

// buildPeer compiles the peer's controller outside this module: its go.mod has replace lines.
func buildPeer(ctx context.Context, o options) (string, error) {
	if o.peer != "" {
		return filepath.Abs(o.peer)
	}
	file := filepath.Join(o.work, "rollouts-controller")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	out, err := exec.CommandContext(ctx, "go", "mod", "download", "-json", peerModule).Output()
	if err != nil {
		return "", fmt.Errorf("downloading %s: %w", peerModule, err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return "", err
	}
	dir := filepath.Join(o.work, "peer")
	if err := os.CopyFS(dir, os.DirFS(module.Dir)); err != nil {
		return "", err
	}
	fmt.Println("building", peerModule, "(the first time takes minutes)")
	c := exec.CommandContext(ctx, "go", "build", "-o", file, "./cmd/rollouts-controller")
	c.Dir, c.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", peerModule, err, out)
	}
	return file, nil
}

// field is a cluster with a controller of Rollouts.
type field struct {
	*cluster
	client *kubernetes.Clientset
	any    dynamic.Interface
	seen   cache.Store // of Rollouts, watched: polling would cost the cluster more than what is measured
	unsee  context.CancelFunc
	// versions of the Rollout, as another watch tells them.
	versions <-chan news
	dir      string
}

func (f *field) stop() {
	f.unsee()
	f.cluster.stop()
}

// beside are the arguments of a controller of Rollouts that runs beside the cluster, by its program: Fairway's or the peer's.
func beside(o options, program, kubeconfig string) []string {
	if program == ourProgram(o) {
		return []string{"controller", "--kubeconfig", kubeconfig, "--capabilities=-metrics", "--leader-elect=false", "--metrics-address=127.0.0.1:0", "--health-address=127.0.0.1:0"}
	}
	return []string{"--kubeconfig", kubeconfig, "--qps", "1000", "--burst", "1000"}
}

func ourProgram(o options) string { return filepath.Join(o.bin, "fairway") }

// openField starts a cluster. program, if not "", is a controller that carries out Rollouts beside it, in their stead.
func openField(ctx context.Context, o options, program string, nodes int) (*field, error) {
	dir, err := os.MkdirTemp(o.work, "rollouts-")
	if err != nil {
		return nil, err
	}
	args := []string{"--nodes", strconv.Itoa(nodes), "--pod-writes", "lean", "--pod-events", "none"}
	if program != "" {
		args = append(args, "--capabilities=-rollouts")
	}
	c, err := fairway(o, dir, args...)
	if err != nil {
		return nil, err
	}
	watching, unsee := context.WithCancel(ctx)
	f := &field{cluster: c, dir: dir, unsee: unsee}
	if f.client, _, err = c.ready(ctx); err != nil {
		f.stop()
		return nil, err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err == nil {
		cfg.QPS = -1
		f.any, err = dynamic.NewForConfig(cfg)
	}
	if err == nil && program != "" {
		if err = f.installKinds(ctx); err == nil {
			// where it keeps its lease
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "argo-rollouts"}}
			_, err = f.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
		}
		if err == nil {
			err = c.start(dir, program, beside(o, program, c.kubeconfig)...)
		}
	}
	if err == nil {
		err = until(ctx, func() (bool, error) {
			_, err := f.any.Resource(rolloutsResource).List(ctx, metav1.ListOptions{Limit: 1})
			return err == nil, nil
		})
	}
	if err != nil {
		f.stop()
		return nil, err
	}
	informer := dynamicinformer.NewFilteredDynamicInformer(f.any, rolloutsResource, "default", 0, cache.Indexers{}, nil).Informer()
	f.seen = informer.GetStore()
	go informer.Run(watching.Done())
	return f, nil
}

// installKinds applies the definitions that Fairway would install.
func (f *field) installKinds(ctx context.Context) error {
	files, err := filepath.Glob("config/crd/argoproj.io_*.yaml")
	if err != nil || len(files) == 0 {
		return fmt.Errorf("config/crd/argoproj.io_*.yaml are not found; run this in the project's directory")
	}
	crds := f.any.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &u.Object); err != nil {
			return err
		}
		if _, err := crds.Create(ctx, u, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

func simpleRollout(name string, replicas int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"replicas": replicas, "selector": map[string]any{"matchLabels": map[string]any{"app": name}},
			"strategy": map[string]any{"canary": map[string]any{}},
			"template": map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": name}},
				"spec": map[string]any{"containers": []any{map[string]any{"name": "c", "image": "img:v1"}}}}}}}
}

// each runs do for 0 … n-1 on 16 goroutines.
func each(n int, do func(i int) error) error {
	const clients = 16
	errs := make([]error, clients)
	var g sync.WaitGroup
	for k := range clients {
		g.Go(func() {
			for i := k; i < n && errs[k] == nil; i += clients {
				errs[k] = do(i)
			}
		})
	}
	g.Wait()
	return errors.Join(errs...)
}

// settled waits until every Rollout has taken up its latest spec and is Healthy.
func (f *field) settled(ctx context.Context, n int, image string) error {
	return until(ctx, func() (bool, error) {
		if err := f.alive(); err != nil {
			return false, err
		}
		time.Sleep(50 * time.Millisecond)
		list := f.seen.List()
		if len(list) < n {
			return false, nil
		}
		for i := range list {
			o := list[i].(*unstructured.Unstructured).Object
			generation, _, _ := unstructured.NestedInt64(o, "metadata", "generation")
			observed, _, _ := unstructured.NestedString(o, "status", "observedGeneration")
			phase, _, _ := unstructured.NestedString(o, "status", "phase")
			containers, _, _ := unstructured.NestedSlice(o, "spec", "template", "spec", "containers")
			if phase != "Healthy" || observed != strconv.FormatInt(generation, 10) || containers[0].(map[string]any)["image"] != image {
				return false, nil
			}
		}
		return true, nil
	})
}

// controllerWrites counts what controllers of Rollouts write, Events apart: everything of argoproj.io, and ReplicaSets
// themselves (their status is the ReplicaSet controller's).
func (f *field) controllerWrites(ctx context.Context) (float64, error) {
	text, err := f.client.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	total := 0.0
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line, ok := strings.CutPrefix(lines.Text(), "apiserver_request_total{")
		if !ok {
			continue
		}
		labels, value, _ := strings.Cut(line, "} ")
		is := func(label, v string) bool { return strings.Contains(labels, label+`="`+v+`"`) }
		write := is("verb", "POST") || is("verb", "PUT") || is("verb", "PATCH") || is("verb", "APPLY") || is("verb", "DELETE")
		if write && (is("group", "argoproj.io") || is("resource", "replicasets") && is("subresource", "")) {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, err
			}
			total += v
		}
	}
	return total, lines.Err()
}

type updated struct{ seconds, writes float64 }

// updateAll creates n Rollouts, patches the template of each, and waits for all to be Healthy again.
func updateAll(ctx context.Context, o options, name, peer string, n int) (updated, error) {
	f, err := openField(ctx, o, peer, n/100+2)
	if err != nil {
		return updated{}, err
	}
	defer f.stop()
	all := f.any.Resource(rolloutsResource).Namespace("default")
	empty := f.memory()
	before, err := f.controllerWrites(ctx)
	if err != nil {
		return updated{}, err
	}
	began := time.Now()
	err = each(n, func(i int) error {
		_, err := all.Create(ctx, simpleRollout(fmt.Sprintf("web-%d", i), 1), metav1.CreateOptions{})
		return err
	})
	if err == nil {
		err = f.settled(ctx, n, "img:v1")
	}
	if err != nil {
		return updated{}, err
	}
	row(name+": created, to all Healthy", "s", time.Since(began).Seconds())
	time.Sleep(5 * time.Second) // what follows settles
	made, err := f.controllerWrites(ctx)
	if err != nil {
		return updated{}, err
	}
	row(name+": writes a creation, its own one apart", "", (made-before)/float64(n)-1)
	cpu := f.cpu()
	began = time.Now()
	patch := []byte(`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"img:v2"}]`)
	err = each(n, func(i int) error {
		_, err := all.Patch(ctx, fmt.Sprintf("web-%d", i), types.JSONPatchType, patch, metav1.PatchOptions{})
		return err
	})
	if err == nil {
		err = f.settled(ctx, n, "img:v2")
	}
	if err != nil {
		return updated{}, err
	}
	result := updated{seconds: time.Since(began).Seconds()}
	used := f.cpu() - cpu
	held := f.memory()
	time.Sleep(5 * time.Second)
	after, err := f.controllerWrites(ctx)
	result.writes = (after-made)/float64(n) - 1
	row(name+": patched, to all Healthy", "s", result.seconds)
	row(name+": writes an update, the patch apart", "", result.writes)
	row(name+": CPU of cluster and controller", "s", used)
	row(name+": resident before there were any", "MB", empty)
	row(name+": resident after the update", "MB", held)
	return result, err
}
