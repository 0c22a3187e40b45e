package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// clusterStatus is what `fairway status` prints.
type clusterStatus struct {
	Directory  string `json:"directory"`
	Running    bool   `json:"running"`
	PID        int    `json:"pid,omitempty"`
	Kubeconfig string `json:"kubeconfig,omitempty"`
	Server     string `json:"server,omitempty"`
	Kubernetes string `json:"kubernetes,omitempty"`
	Nodes      int    `json:"nodes"`
	NodesReady int    `json:"nodesReady"`
	Pods       int    `json:"pods"`
	PodsReady  int    `json:"podsReady"`
	DataBytes  int64  `json:"dataBytes"`
	FreeBytes  int64  `json:"freeBytes"`
}

func statusCommand(s Streams) *cobra.Command {
	o := &operator{Streams: s, program: "fairway"}
	data := &o.flags.data
	var output outputFlag
	var wait waiting
	c := &cobra.Command{
		Use:   "status [rollout/NAME]",
		Short: "Say whether the embedded cluster runs, what is in it and how much room it takes; or wait for a Rollout",
		Long: `Say whether the embedded cluster runs, what is in it and how much room it takes.

With a Rollout's name it is "fairway rollouts status": wait until that Rollout is Healthy, and fail when it is Degraded.`,
		Example: "  fairway status\n  fairway status --name second -o json\n  fairway status rollout/web --timeout 5m",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 1 && strings.HasPrefix(args[0], aRollout.kind) {
				return nil
			}
			return noArguments(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				return o.status(c.Context(), args[0], wait)
			}
			dir, err := data.path()
			if err != nil {
				return err
			}
			st, err := readStatus(c.Context(), dir)
			if err != nil {
				return err
			}
			return output.print(s.Out, st, func(t *table) { printStatus(t, st) })
		},
	}
	o.addFlags(c.Flags())
	wait.add(c.Flags())
	output.add(c.Flags())
	return c
}

func readStatus(ctx context.Context, dir string) (*clusterStatus, error) {
	st := &clusterStatus{Directory: dir}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no cluster in %s; start one with `fairway up`", dir)
	}
	var err error
	if st.DataBytes, err = size(dir); err != nil {
		return nil, fmt.Errorf("measuring %s: %w", dir, err)
	}
	var disk syscall.Statfs_t
	if syscall.Statfs(dir, &disk) == nil {
		st.FreeBytes = int64(disk.Bavail) * int64(disk.Bsize)
	}
	if st.PID, st.Running = lockOwner(dir); !st.Running {
		return st, nil
	}
	return st, st.ask(ctx, kubeconfigOf(dir))
}

// lockOwner returns the process that holds a data directory.
func lockOwner(dir string) (pid int, locked bool) {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return 0, false
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return 0, false
	}
	b, _ := os.ReadFile(f.Name())
	pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	return pid, true
}

func (st *clusterStatus) ask(ctx context.Context, file string) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		return fmt.Errorf("reading the cluster's kubeconfig: %w", err)
	}
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	st.Kubeconfig, st.Server = file, cfg.Host
	v, err := c.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("process %d holds the data directory, but the API server does not answer (is it starting?): %w", st.PID, err)
	}
	st.Kubernetes = v.GitVersion
	nodes, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	pods, err := c.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	st.Nodes, st.Pods = len(nodes.Items), len(pods.Items)
	for i := range nodes.Items {
		for _, cond := range nodes.Items[i].Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue {
				st.NodesReady++
			}
		}
	}
	for i := range pods.Items {
		for _, cond := range pods.Items[i].Status.Conditions {
			if cond.Type == corev1.PodReady && cond.Status == corev1.ConditionTrue {
				st.PodsReady++
			}
		}
	}
	return nil
}

func printStatus(t *table, st *clusterStatus) {
	t.row("Directory", st.Directory)
	if !st.Running {
		t.row("Running", "no; `fairway up` starts it")
	} else {
		t.row("Running", fmt.Sprintf("yes, process %d", st.PID))
		t.row("Kubeconfig", st.Kubeconfig)
		t.row("Server", st.Server+", Kubernetes "+st.Kubernetes)
		t.row("Nodes", fmt.Sprintf("%d, %d ready", st.Nodes, st.NodesReady))
		t.row("Pods", fmt.Sprintf("%d, %d ready", st.Pods, st.PodsReady))
	}
	t.row("Data", fmt.Sprintf("%.1f MiB, %.1f GiB free", float64(st.DataBytes)/(1<<20), float64(st.FreeBytes)/(1<<30)))
}

// size sums the files below a directory. Files that vanish meanwhile do not count.
func size(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total, err
}
