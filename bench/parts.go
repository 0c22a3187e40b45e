package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// boot compares starts, from the process to a control plane that takes a first object, one after the other in turn.
func boot(ctx context.Context, o options) error {
	if err := build(ctx, o, plainCommands...); err != nil {
		return err
	}
	fmt.Println("start-up: from the process to /readyz and the default ServiceAccount, no nodes")
	kinds := []struct {
		name  string
		start func(dir string) (*cluster, error)
	}{
		{"fairway up, disk", func(dir string) (*cluster, error) { return fairway(o, dir, "--nodes", "0") }},
		{"fairway up --memory", func(dir string) (*cluster, error) { return fairway(o, dir, "--nodes", "0", "--memory") }},
		{"etcd + kube-apiserver + controllers + scheduler", func(dir string) (*cluster, error) { return plain(o, dir) }},
	}
	took, held, idle := make([][]float64, len(kinds)), make([][]float64, len(kinds)), make([][]float64, len(kinds))
	for range o.runs {
		for i, k := range kinds {
			if err := func() error {
				dir, err := os.MkdirTemp(o.work, "boot-")
				if err != nil {
					return err
				}
				c, err := k.start(dir)
				if err != nil {
					return err
				}
				defer c.stop()
				_, d, err := c.ready(ctx)
				if err != nil {
					return fmt.Errorf("%s: %w", k.name, err)
				}
				took[i] = append(took[i], d.Seconds())
				time.Sleep(3 * time.Second) // what follows a start settles
				const watched = 5
				before := c.cpu()
				time.Sleep(watched * time.Second)
				idle[i] = append(idle[i], (c.cpu()-before)/watched*100)
				held[i] = append(held[i], c.memory())
				return nil
			}(); err != nil {
				return err
			}
		}
	}
	for i, k := range kinds {
		row(k.name+": ready", "s", took[i]...)
		row(k.name+": resident, idle", "MB", held[i]...)
		row(k.name+": one core, idle", "%", idle[i]...)
	}
	row("ready, fairway on disk ÷ plain", "×", median(took[0])/median(took[2]))
	row("resident, fairway on disk ÷ plain", "×", median(held[0])/median(held[2]))
	return nil
}

// writes compares how fast objects are created through TLS by 16 clients.
func writes(ctx context.Context, o options) error {
	if err := build(ctx, o, plainCommands...); err != nil {
		return err
	}
	const objects, clients = 4000, 16
	fmt.Printf("API writes: %d ConfigMaps of 1 KiB created by %d clients\n", objects, clients)
	one := func(name string, start func(dir string) (*cluster, error)) (float64, error) {
		dir, err := os.MkdirTemp(o.work, "writes-")
		if err != nil {
			return 0, err
		}
		c, err := start(dir)
		if err != nil {
			return 0, err
		}
		defer c.stop()
		client, _, err := c.ready(ctx)
		if err != nil {
			return 0, err
		}
		cpu, began := c.cpu(), time.Now()
		if err := createConfigMaps(ctx, client, objects, clients); err != nil {
			return 0, err
		}
		rate := objects / time.Since(began).Seconds()
		row(name, "writes/s", rate)
		row(name+": CPU of the servers", "ms a write", (c.cpu()-cpu)/objects*1000)
		return rate, nil
	}
	ours, err := one("fairway up, disk", func(dir string) (*cluster, error) { return fairway(o, dir, "--nodes", "0") })
	if err != nil {
		return err
	}
	theirs, err := one("etcd + kube-apiserver", func(dir string) (*cluster, error) { return plain(o, dir) })
	if err != nil {
		return err
	}
	row("fairway ÷ plain", "×", ours/theirs)
	return nil
}

func createConfigMaps(ctx context.Context, client kubernetes.Interface, n, clients int) error {
	text := strings.Repeat("x", 1024)
	var wg sync.WaitGroup
	errs := make(chan error, clients)
	for k := range clients {
		wg.Go(func() {
			for i := k; i < n; i += clients {
				m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("m-%d", i)}, Data: map[string]string{"text": text}}
				if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, m, metav1.CreateOptions{}); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// mass measures the time from creating 100 Deployments to their last pod being available.
func mass(ctx context.Context, o options) error {
	nodes, replicas := 100, int32(10)
	if o.full {
		nodes, replicas = 1000, 100
	}
	fmt.Printf("mass start: 100 Deployments of %d pods on %d virtual nodes\n", replicas, nodes)
	for _, v := range []struct {
		name string
		args []string
	}{
		{"lean writes, no pod events", []string{"--pod-writes", "lean", "--pod-events", "none"}},
		{"defaults", nil},
	} {
		if err := massOnce(ctx, o, v.name, nodes, replicas, v.args); err != nil {
			return err
		}
	}
	return nil
}

func massOnce(ctx context.Context, o options, name string, nodes int, replicas int32, args []string) error {
	dir, err := os.MkdirTemp(o.work, "mass-")
	if err != nil {
		return err
	}
	c, err := fairway(o, dir, append([]string{"--nodes", fmt.Sprint(nodes)}, args...)...)
	if err != nil {
		return err
	}
	defer c.stop()
	client, _, err := c.ready(ctx)
	if err != nil {
		return err
	}
	if err := until(ctx, func() (bool, error) {
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		return err == nil && len(list.Items) == nodes, nil
	}); err != nil {
		return err
	}
	cpu, began := c.cpu(), time.Now()
	const apps = 100
	for i := range apps {
		if _, err := client.AppsV1().Deployments("default").Create(ctx, deployment(fmt.Sprintf("app-%d", i), replicas), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	if err := until(ctx, func() (bool, error) {
		time.Sleep(200 * time.Millisecond)
		list, err := client.AppsV1().Deployments("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for i := range list.Items {
			if list.Items[i].Status.AvailableReplicas != replicas {
				return false, nil
			}
		}
		return true, nil
	}); err != nil {
		return err
	}
	wall, used := time.Since(began).Seconds(), c.cpu()-cpu
	pods := float64(apps * replicas)
	row(name+": all available", "s", wall)
	row(name+": pods", "a second", pods/wall)
	row(name+": CPU", "s", used)
	row(name+": CPU of a pod", "ms", used/pods*1000)
	row(name+": resident", "MB", c.memory())
	time.Sleep(10 * time.Second)
	const watched = 20
	cpu = c.cpu()
	time.Sleep(watched * time.Second)
	row(name+": one core, idle", "%", (c.cpu()-cpu)/watched*100)
	return nil
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	l := map[string]string{"app": name}
	requests := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: l},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: l}, Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "c", Image: "img:v1", Resources: corev1.ResourceRequirements{Requests: requests}}}}}}}
}

// execution is what a rehearsal says of its own cost (`--with-execution`).
type execution struct {
	WallSeconds, CPUSeconds                        float64
	PlayedSeconds, PlayWallSeconds, PlayCPUSeconds float64
	PeakRSSBytes                                   float64
	Requests, HPAEvaluations, HPAElided            float64
	PodStarts, MaxPods, MinPods                    float64
}

// rehearse plays the three cases. Speed counts from the end of settling.
func rehearse(ctx context.Context, o options) error {
	cases := []string{"idle", "loaded"}
	if o.full {
		cases = append(cases, "large")
	}
	fmt.Println("rehearsals of 24 hours with load model, timeline and report")
	for _, name := range cases {
		file := filepath.Join(o.work, name+".json")
		cmd := exec.CommandContext(ctx, filepath.Join(o.bin, "fairway"), "rehearse", filepath.Join("bench", "rehearse", name+".yaml"), "--json", file, "--with-execution", "-q")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w\n%s", name, err, out.Bytes())
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var report struct{ Execution []execution }
		if err := json.Unmarshal(b, &report); err != nil {
			return err
		}
		if len(report.Execution) == 0 {
			return fmt.Errorf("%s: %s says nothing about its execution", name, file)
		}
		e := report.Execution[0]
		row(name+": speed", "× the clock", e.PlayedSeconds/e.PlayWallSeconds)
		row(name+": played part", "s", e.PlayWallSeconds)
		row(name+": whole process", "s", e.WallSeconds)
		row(name+": CPU of the played part", "s", e.PlayCPUSeconds)
		row(name+": peak resident", "MB", e.PeakRSSBytes/(1<<20))
		row(name+": API requests", "", e.Requests)
		row(name+": HPA evaluations made", "", e.HPAEvaluations)
		row(name+": HPA evaluations left out", "", e.HPAElided)
		row(name+": pod starts", "", e.PodStarts)
		row(name+": pods, least", "", e.MinPods)
		row(name+": pods, most", "", e.MaxPods)
	}
	return nil
}
