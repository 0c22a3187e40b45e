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
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
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

// rolloutsPart compares the rollouts of `fairway up` with Argo Rollouts on the same cluster without them.
func rolloutsPart(ctx context.Context, o options) error {
	peer, err := buildPeer(ctx, o)
	if err != nil {
		return err
	}
	n := o.rollouts
	fmt.Printf("rollouts: %d of one replica, all patched at once\n", n)
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
	if o.full {
		if err := idleRollouts(ctx, o, 10000); err != nil {
			return err
		}
	}
	if err := reaction(ctx, o); err != nil {
		return err
	}
	return takeOver(ctx, o, peer)
}

// buildPeer compiles the peer's controller outside this module: its go.mod has replace lines.
func buildPeer(ctx context.Context, o options) (string, error) {
	if o.peer != "" {
		return filepath.Abs(o.peer)
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
	file := filepath.Join(o.work, "rollouts-controller")
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
	dir    string
}

func (f *field) stop() {
	f.unsee()
	f.cluster.stop()
}

// openField starts a cluster; with the peer, its controller beside it.
func openField(ctx context.Context, o options, peer string, nodes int) (*field, error) {
	dir, err := os.MkdirTemp(o.work, "rollouts-")
	if err != nil {
		return nil, err
	}
	args := []string{"--nodes", strconv.Itoa(nodes), "--pod-writes", "lean", "--pod-events", "none"}
	if peer != "" {
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
	if err == nil && peer != "" {
		if err = f.installKinds(ctx); err == nil {
			// where it keeps its lease
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "argo-rollouts"}}
			_, err = f.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
		}
		if err == nil {
			err = c.start(dir, peer, "--kubeconfig", c.kubeconfig, "--qps", "1000", "--burst", "1000")
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
	row(name+": resident, and before there were any", "MB", empty, held)
	return result, err
}

// idleRollouts counts the writes of many Rollouts that nobody changes.
func idleRollouts(ctx context.Context, o options, n int) error {
	f, err := openField(ctx, o, "", 1)
	if err != nil {
		return err
	}
	defer f.stop()
	all := f.any.Resource(rolloutsResource).Namespace("default")
	err = each(n, func(i int) error {
		_, err := all.Create(ctx, simpleRollout(fmt.Sprintf("web-%d", i), 0), metav1.CreateOptions{})
		return err
	})
	if err == nil {
		err = f.settled(ctx, n, "img:v1")
	}
	if err != nil {
		return err
	}
	time.Sleep(20 * time.Second)
	before, err := f.controllerWrites(ctx)
	if err != nil {
		return err
	}
	cpu := f.cpu()
	const watched = 60
	time.Sleep(watched * time.Second)
	after, err := f.controllerWrites(ctx)
	row(fmt.Sprintf("%d idle Rollouts: writes", n), "a minute", after-before)
	row(fmt.Sprintf("%d idle Rollouts: one core", n), "%", (f.cpu()-cpu)/watched*100)
	row(fmt.Sprintf("%d idle Rollouts: resident", n), "MB", f.memory())
	return err
}

// reaction measures the time from sending a promotion or an abort to the new weight in the routing object, as a watcher of
// that object sees it.
func reaction(ctx context.Context, o options) error {
	f, err := openField(ctx, o, "", 2)
	if err != nil {
		return err
	}
	defer f.stop()
	if err := f.routedApp(ctx); err != nil {
		return err
	}
	all := f.any.Resource(rolloutsResource).Namespace("default")
	if err := f.settled(ctx, 1, "img:v1"); err != nil {
		return err
	}
	w, err := f.client.NetworkingV1().Ingresses("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=web-web-canary"})
	if err != nil {
		return err
	}
	defer w.Stop()
	weights := weightsOf(w)
	update := []byte(`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"img:v2"}]`)
	if _, err := all.Patch(ctx, "web", types.JSONPatchType, update, metav1.PatchOptions{}); err != nil {
		return err
	}
	if err := await(ctx, weights, "1"); err != nil {
		return err
	}
	var promoted, aborted []float64
	for weight := 2; weight <= routedSteps; weight++ {
		if err := f.paused(ctx); err != nil {
			return err
		}
		began := time.Now()
		if _, err := all.Patch(ctx, "web", types.MergePatchType, []byte(`{"status":{"pauseConditions":null}}`), metav1.PatchOptions{}, "status"); err != nil {
			return err
		}
		if err := await(ctx, weights, strconv.Itoa(weight)); err != nil {
			return err
		}
		promoted = append(promoted, time.Since(began).Seconds()*1000)
	}
	const aborts = 50
	for range aborts {
		if err := f.paused(ctx); err != nil {
			return err
		}
		began := time.Now()
		if _, err := all.Patch(ctx, "web", types.MergePatchType, []byte(`{"status":{"abort":true}}`), metav1.PatchOptions{}, "status"); err != nil {
			return err
		}
		if err := await(ctx, weights, "0"); err != nil {
			return err
		}
		aborted = append(aborted, time.Since(began).Seconds()*1000)
		if _, err := all.Patch(ctx, "web", types.MergePatchType, []byte(`{"status":{"abort":false}}`), metav1.PatchOptions{}, "status"); err != nil {
			return err
		}
		if err := await(ctx, weights, "1"); err != nil {
			return err
		}
	}
	rowQuantiles("promote patch to the weight's write, as a watcher sees it", promoted)
	rowQuantiles("abort patch to weight 0", aborted)
	return nil
}

func rowQuantiles(what string, ms []float64) {
	slices.Sort(ms)
	row(fmt.Sprintf("%s, p50 of %d", what, len(ms)), "ms", ms[len(ms)/2])
	row(what+", p99", "ms", ms[min(len(ms)-1, len(ms)*99/100)])
}

// routedSteps is how many weights the routed Rollout goes through, one after each promotion.
const routedSteps = 99

// routedApp makes a Rollout of one replica behind an Ingress, with a pause after every weight.
func (f *field) routedApp(ctx context.Context) error {
	for _, name := range []string{"stable", "canary"} {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}}}
		if _, err := f.client.CoreV1().Services("default").Create(ctx, s, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	prefix := networkingv1.PathTypePrefix
	class := "nginx"
	in := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: networkingv1.IngressSpec{IngressClassName: &class, Rules: []networkingv1.IngressRule{{Host: "web.example.com",
		IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &prefix,
			Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "stable", Port: networkingv1.ServiceBackendPort{Number: 80}}}}}}}}}}}
	if _, err := f.client.NetworkingV1().Ingresses("default").Create(ctx, in, metav1.CreateOptions{}); err != nil {
		return err
	}
	r := simpleRollout("web", 1)
	steps := []any{map[string]any{"setCanaryScale": map[string]any{"replicas": int64(1)}}}
	for weight := range int64(routedSteps) {
		steps = append(steps, map[string]any{"setWeight": weight + 1}, map[string]any{"pause": map[string]any{}})
	}
	r.Object["spec"].(map[string]any)["strategy"] = map[string]any{"canary": map[string]any{"canaryService": "canary", "stableService": "stable", "steps": steps,
		"abortScaleDownDelaySeconds": int64(600), "trafficRouting": map[string]any{"nginx": map[string]any{"stableIngress": "web"}}}}
	_, err := f.any.Resource(rolloutsResource).Namespace("default").Create(ctx, r, metav1.CreateOptions{})
	return err
}

// weightsOf sends the weight of each version of the canary Ingress.
func weightsOf(w watch.Interface) <-chan string {
	out := make(chan string, 1000)
	go func() {
		defer close(out)
		for e := range w.ResultChan() {
			if in, ok := e.Object.(*networkingv1.Ingress); ok {
				out <- in.Annotations["nginx.ingress.kubernetes.io/canary-weight"]
			}
		}
	}()
	return out
}

func await(ctx context.Context, weights <-chan string, want string) error {
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for {
		select {
		case got, ok := <-weights:
			if !ok {
				return errors.New("the watch has ended")
			}
			if got == want {
				return nil
			}
		case <-late.C:
			return fmt.Errorf("the weight does not become %s within a minute", want)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// paused waits until the Rollout rests in a pause.
func (f *field) paused(ctx context.Context) error {
	return until(ctx, func() (bool, error) {
		r, err := f.any.Resource(rolloutsResource).Namespace("default").Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		pauses, _, _ := unstructured.NestedSlice(r.Object, "status", "pauseConditions")
		return len(pauses) > 0, nil
	})
}

// takeOver lets the peer begin an update, Fairway go on with it, and the peer end it, and counts the pods that are lost.
func takeOver(ctx context.Context, o options, peer string) error {
	f, err := openField(ctx, o, peer, 3)
	if err != nil {
		return err
	}
	defer f.stop()
	fmt.Println("take-over: Argo Rollouts begins an update, fairway goes on with it, Argo Rollouts ends it")
	r := simpleRollout("web", 5)
	pause := map[string]any{"pause": map[string]any{}}
	r.Object["spec"].(map[string]any)["strategy"] = map[string]any{"canary": map[string]any{"steps": []any{
		map[string]any{"setWeight": int64(20)}, pause, map[string]any{"setWeight": int64(60)}, pause}}}
	all := f.any.Resource(rolloutsResource).Namespace("default")
	if _, err := all.Create(ctx, r, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := f.settled(ctx, 1, "img:v1"); err != nil {
		return err
	}
	update := []byte(`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"img:v2"}]`)
	if _, err := all.Patch(ctx, "web", types.JSONPatchType, update, metav1.PatchOptions{}); err != nil {
		return err
	}
	if err := f.paused(ctx); err != nil {
		return err
	}
	promote := func() error {
		_, err := all.Patch(ctx, "web", types.MergePatchType, []byte(`{"status":{"pauseConditions":null}}`), metav1.PatchOptions{}, "status")
		return err
	}
	controllers := []struct {
		name, program string
		args          []string
		then          func() error // what must come of a promotion
	}{
		{"fairway", filepath.Join(o.bin, "fairway"), []string{"controller", "--kubeconfig", f.kubeconfig, "--capabilities=-metrics"}, func() error { return f.canaryPods(ctx, 3) }},
		{"Argo Rollouts", peer, []string{"--kubeconfig", f.kubeconfig}, func() error { return f.settled(ctx, 1, "img:v2") }},
	}
	for _, c := range controllers {
		f.stopLast()
		before, err := f.pods(ctx)
		if err != nil {
			return err
		}
		if err := f.start(f.dir, c.program, c.args...); err != nil {
			return err
		}
		const watched = 70 * time.Second // longer than what a successor waits for
		time.Sleep(watched)
		after, err := f.pods(ctx)
		if err != nil {
			return err
		}
		row(fmt.Sprintf("%s takes over in mid-step: pods replaced or restarted of %d", c.name, len(before)), "", float64(lost(before, after)))
		began := time.Now()
		if err := promote(); err != nil {
			return err
		}
		if err := c.then(); err != nil {
			return fmt.Errorf("%s does not go on after a promotion: %w", c.name, err)
		}
		row(c.name+" goes on after a promotion", "s", time.Since(began).Seconds())
	}
	return nil
}

// stopLast ends the process that was started last.
func (f *field) stopLast() {
	last := &cluster{processes: f.processes[len(f.processes)-1:]}
	last.stop()
	f.processes = f.processes[:len(f.processes)-1]
}

// pods of the default namespace: restarts by UID.
func (f *field) pods(ctx context.Context) (map[types.UID]int32, error) {
	list, err := f.client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := map[types.UID]int32{}
	for i := range list.Items {
		p := &list.Items[i]
		if p.DeletionTimestamp == nil {
			out[p.UID] = 0
			for _, s := range p.Status.ContainerStatuses {
				out[p.UID] += s.RestartCount
			}
		}
	}
	return out, nil
}

func lost(before, after map[types.UID]int32) (n int) {
	for uid, restarts := range before {
		if now, ok := after[uid]; !ok || now != restarts {
			n++
		}
	}
	return n + max(0, len(after)-len(before))
}

// canaryPods waits for a number of available pods of the new revision, and the pause after it.
func (f *field) canaryPods(ctx context.Context, n int64) error {
	return until(ctx, func() (bool, error) {
		r, err := f.any.Resource(rolloutsResource).Namespace("default").Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		pods, _, _ := unstructured.NestedInt64(r.Object, "status", "updatedReplicas")
		pauses, _, _ := unstructured.NestedSlice(r.Object, "status", "pauseConditions")
		return pods == n && len(pauses) > 0, nil
	})
}
