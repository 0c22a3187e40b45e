package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

var (
	rollouts = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "rollouts"}
	gateways = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}
)

// world is a cluster that runs.
type world struct {
	options
	*plan
	client  dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	started []*exec.Cmd
}

// play makes the releases for real.
func play(ctx context.Context, o options, p *plan, rehearsed []outcome) ([]outcome, error) {
	w := &world{options: o, plan: p}
	defer w.stop()
	if err := w.start(ctx); err != nil {
		return nil, err
	}
	for _, path := range p.manifests {
		if err := w.apply(ctx, path); err != nil {
			return nil, err
		}
	}
	if err := w.until(ctx, func(s *standing) bool { return s.healthy() }); err != nil {
		return nil, fmt.Errorf("waiting until the Rollout is healthy: %w", err)
	}
	if err := w.load(ctx); err != nil {
		return nil, err
	}
	if err := pause(ctx, before); err != nil {
		return nil, err
	}
	all := make([]outcome, len(p.releases))
	for i, r := range p.releases { // once as the scenario has it
		all[i] = newOutcome()
		if i > 0 {
			if err := pause(ctx, between); err != nil {
				return nil, err
			}
		}
		if err := w.release(ctx, r, &all[i], true); err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
	}
	for i, r := range p.releases { // then again what is aborted, for when that is
		for range p.times(&rehearsed[i], o.repeat) - 1 {
			if err := pause(ctx, between); err != nil {
				return nil, err
			}
			if err := w.back(ctx); err != nil {
				return nil, err
			}
			if err := w.release(ctx, r, &all[i], false); err != nil {
				return nil, fmt.Errorf("%s, again: %w", r.name, err)
			}
		}
	}
	return all, nil
}

// back goes to the revision that is stable: from there a release that was aborted can be made anew.
func (w *world) back(ctx context.Context) error {
	if err := w.setImage(ctx, w.stable); err != nil {
		return err
	}
	return w.until(ctx, func(s *standing) bool { return s.image == w.stable && s.healthy() })
}

// start brings a cluster up, whose pods start as those of a rehearsal do.
func (w *world) start(ctx context.Context) error {
	data := filepath.Join(w.work, "data")
	args := []string{"up", "--data", data, "--seed", strconv.Itoa(realSeed), "--pod-start", "modelled", "--gateway-address-pool", w.pool}
	for _, n := range w.nodes {
		args = append(args, "--nodes", n)
	}
	for _, f := range w.programs {
		args = append(args, "--programs", f)
	}
	if err := w.run(ctx, "up.log", args...); err != nil {
		return err
	}
	return repeat(ctx, func() error {
		cfg, err := clientcmd.BuildConfigFromFlags("", filepath.Join(data, "kubeconfig"))
		if err != nil {
			return err
		}
		cfg.QPS = -1
		if w.client, err = dynamic.NewForConfig(cfg); err != nil {
			return err
		}
		d, err := discovery.NewDiscoveryClientForConfig(cfg)
		if err != nil {
			return err
		}
		w.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))
		_, err = w.client.Resource(rollouts).List(ctx, metav1.ListOptions{Limit: 1})
		return err
	})
}

// run starts fairway with arguments; it ends with the command.
func (w *world) run(ctx context.Context, log string, args ...string) error {
	c := exec.CommandContext(ctx, filepath.Join(w.bin, "fairway"), args...)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGINT) }
	c.WaitDelay = 20 * time.Second
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	file, err := os.Create(filepath.Join(w.work, log))
	if err != nil {
		return err
	}
	defer file.Close()
	c.Stdout, c.Stderr = file, file
	if err := c.Start(); err != nil {
		return err
	}
	w.started = append(w.started, c)
	return nil
}

// stop ends what was started, the last first.
func (w *world) stop() {
	for _, c := range slices.Backward(w.started) {
		_ = c.Process.Signal(syscall.SIGINT)
		_ = c.Wait() // that it was told to end is no error
	}
}

// apply the objects of a file, or of the files of a directory.
func (w *world) apply(ctx context.Context, path string) error {
	files := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if files, err = filepath.Glob(filepath.Join(path, "*.yaml")); err != nil {
			return err
		}
	}
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		decoder := yaml.NewYAMLOrJSONDecoder(file, 4096)
		for {
			var o unstructured.Unstructured
			if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if len(o.Object) == 0 {
				continue
			}
			if err := repeat(ctx, func() error { return w.put(ctx, &o) }); err != nil {
				return fmt.Errorf("%s: %s %s: %w", name, o.GetKind(), o.GetName(), err)
			}
		}
	}
	return nil
}

func (w *world) put(ctx context.Context, o *unstructured.Unstructured) error {
	kind := o.GroupVersionKind()
	m, err := w.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		w.mapper.Reset()
		return err
	}
	var to dynamic.ResourceInterface = w.client.Resource(m.Resource)
	if o.GetNamespace() != "" {
		to = w.client.Resource(m.Resource).Namespace(o.GetNamespace())
	}
	if kind == rollouts.GroupVersion().WithKind("Rollout") && o.GetName() == w.rollout {
		list, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		if len(list) > 0 {
			if first, ok := list[0].(map[string]any); ok {
				w.stable, _ = first["image"].(string)
			}
		}
	}
	_, err = to.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "agree", Force: true})
	return err
}

// load sends requests to the first Gateway of the namespace, for as long as the run takes.
func (w *world) load(ctx context.Context) error {
	address := ""
	if err := repeat(ctx, func() error {
		list, err := w.client.Resource(gateways).Namespace(w.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range list.Items {
			found, _, _ := unstructured.NestedSlice(list.Items[i].Object, "status", "addresses")
			for _, a := range found {
				if m, ok := a.(map[string]any); ok {
					address, _ = m["value"].(string)
				}
			}
		}
		if address == "" {
			return errors.New("no Gateway has an address")
		}
		return nil
	}); err != nil {
		return err
	}
	return w.run(ctx, "load.log", "load", "http://"+address+":"+w.port+"/", "-H", "Host: "+w.host, "--rate", strconv.FormatFloat(w.rate, 'g', -1, 64), "--for", "24h", "--poisson", "--json")
}

// release sets an image, and notes how the update ends and, of one that is made for the first time, when its weights change.
func (w *world) release(ctx context.Context, r release, o *outcome, first bool) error {
	before := ""
	if err := w.until(ctx, func(s *standing) bool { before = s.current; return s.fresh }); err != nil {
		return err
	}
	if err := w.setImage(ctx, r.image); err != nil {
		return err
	}
	began, seen, verdict, weighed := time.Now(), map[string]bool{}, "", time.Duration(0)
	err := w.until(ctx, func(s *standing) bool {
		if !s.fresh || s.image != r.image || s.current == before {
			return false
		}
		after := time.Since(began)
		if s.weight > 0 && !s.aborted {
			if weighed == 0 {
				weighed = after
			}
			if first {
				o.saw(weightName(float64(s.weight)/100), after, seen)
			}
		}
		switch {
		case s.aborted:
			verdict = aborted
			o.saw(untilAbort, after-weighed, seen)
		case s.healthy():
			verdict = healthy
			o.saw(healthy, after, seen)
			w.stable = r.image
		}
		return verdict != ""
	})
	if err != nil {
		return err
	}
	o.runs++
	o.verdicts[verdict]++
	fmt.Printf("  %s: %s after %.1f s\n", r.name, verdict, time.Since(began).Seconds())
	return nil
}

func (w *world) setImage(ctx context.Context, image string) error {
	patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":%q}]`, image)
	_, err := w.client.Resource(rollouts).Namespace(w.namespace).Patch(ctx, w.rollout, types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// standing is where a Rollout is.
type standing struct {
	image, phase, current, stable string
	weight                        int64 // of the canary, in percent
	aborted, fresh                bool
}

func (s *standing) healthy() bool { return s.fresh && s.phase == "Healthy" && s.current == s.stable }

func standingOf(o *unstructured.Unstructured) *standing {
	text := func(path ...string) string { v, _, _ := unstructured.NestedString(o.Object, path...); return v }
	s := &standing{phase: text("status", "phase"), current: text("status", "currentPodHash"), stable: text("status", "stableRS")}
	s.weight, _, _ = unstructured.NestedInt64(o.Object, "status", "canary", "weights", "canary", "weight")
	s.aborted, _, _ = unstructured.NestedBool(o.Object, "status", "abort")
	s.fresh = text("status", "observedGeneration") == strconv.FormatInt(o.GetGeneration(), 10)
	list, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	if len(list) > 0 {
		if first, ok := list[0].(map[string]any); ok {
			s.image, _ = first["image"].(string)
		}
	}
	return s
}

// until watches the Rollout until it stands as wanted.
func (w *world) until(ctx context.Context, done func(*standing) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, longest, fmt.Errorf("not within %v", longest))
	defer cancel()
	for {
		watch, err := w.client.Resource(rollouts).Namespace(w.namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + w.rollout})
		if err != nil {
			return err
		}
		for e := range watch.ResultChan() {
			if o, ok := e.Object.(*unstructured.Unstructured); ok && done(standingOf(o)) {
				watch.Stop()
				return nil
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// repeat until it succeeds.
func repeat(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("not within a minute: %w", err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return errors.New(strings.TrimSpace("interrupted " + context.Cause(ctx).Error()))
	}
}
