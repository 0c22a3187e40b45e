package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/controlplane"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
	"github.com/fairway-dev/fairway/internal/kube/virtual/stage"
	"github.com/fairway-dev/fairway/internal/platform"
	"github.com/fairway-dev/fairway/internal/scale/metrics"
)

const (
	// startWithin bounds a start on a busy machine; what takes longer will not come.
	startWithin = 2 * time.Minute
	// stopWithin bounds an orderly stop.
	stopWithin = 5 * time.Second
	// leastResolution of metrics is what their timestamps can tell apart.
	leastResolution = time.Second
)

// upFlags are the flags of `fairway up`.
type upFlags struct {
	data    dataDir
	memory  bool
	reset   bool
	listen  string
	port    int
	kubeArg []string
	verbose int

	nodes        []string
	podStart     podStart
	podStop      time.Duration
	program      []string
	programs     []string
	unmodelled   string
	fidelity     string
	podWrites    string
	podEvents    string
	heartbeat    string
	timeGrain    time.Duration
	podSockets   string
	egress       string
	nodeListen   bool
	images       string
	seed         int64
	provisioners []string
	stages       []string
	stageMode    string
	resolution   time.Duration
	capabilities []string
	ship         rolloutFlags
	gateway      gatewayUpFlags
}

func upCommand(s Streams) *cobra.Command {
	var f upFlags
	c := &cobra.Command{
		Use:   "up",
		Short: "Run a Kubernetes cluster on this machine, with virtual nodes and every capability of Fairway",
		Long: `Run the upstream Kubernetes control plane in this process, with nodes and pods that need no containers, and every
capability of Fairway. Nothing is installed and no right is needed. kubectl, helm and controllers work against it.

The cluster's state is kept in its data directory and survives a restart; Ctrl-C stops it, a second Ctrl-C at once.`,
		Example: `  fairway up
  fairway up --nodes 5 --memory
  fairway up --nodes name=web,count=5,type=m5.large,zones=a|b|c --nodes name=batch,count=20,capacity=spot
  fairway up --program '*/my-operator=local:9443'       # the pod's ports lead to a process of yours
  fairway up --kubernetes-arg apiserver=v=4 --name second`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c.Context(), c.Flags(), s) },
	}
	f.add(c.Flags())
	f.gateway.add(c)
	f.ship.add(c)
	return c
}

func (f *upFlags) add(fs *pflag.FlagSet) {
	f.data.add(fs)
	fs.BoolVar(&f.memory, "memory", false, "keep the cluster in memory; it is gone when the program ends")
	fs.BoolVar(&f.reset, "reset", false, "empty the data directory and start afresh")
	fs.StringVar(&f.listen, "listen", "127.0.0.1", "the address on which the API server listens")
	fs.IntVar(&f.port, "port", 0, "the API server's port (default: that of the last start, else a free one)")
	fs.StringArrayVar(&f.kubeArg, "kubernetes-arg", nil, "COMPONENT=FLAG=VALUE for apiserver, controller-manager or scheduler; repeatable")
	fs.CountVarP(&f.verbose, "verbose", "v", "log to the terminal; twice for more")

	fs.StringArrayVar(&f.nodes, "nodes", []string{"3"}, nodeSyntax+"; repeatable")
	f.podStart = podStart(virtual.DefaultPodStart)
	fs.Var(&f.podStart, "pod-start", "time from bound to Running, or modelled: what sandbox, image pulls and containers take, as in a rehearsal")
	fs.DurationVar(&f.podStop, "pod-stop", virtual.DefaultPodStop, "time from SIGTERM to gone")
	fs.StringArrayVar(&f.program, "program", nil, "IMAGE-GLOB=WHAT: sleep, builtin:NAME or local:PORT (a process of yours); repeatable")
	fs.StringArrayVar(&f.programs, "programs", nil, "a file of Program objects; repeatable")
	fs.StringVar(&f.unmodelled, "unmodelled", "run", "run or fail: a command that exists but has no model")
	fs.StringVar(&f.fidelity, "fidelity", "quick", "quick, or kubelet: keep the rules of PID 1 for signals")
	fs.StringVar(&f.podWrites, "pod-writes", string(virtual.WritesObservable), "full, observable or lean: how many states of a pod are written")
	fs.StringVar(&f.podEvents, "pod-events", string(virtual.EventsAll), "all, warnings or none: which kubelet events are written")
	fs.StringVar(&f.heartbeat, "node-heartbeat", string(virtual.HeartbeatAuto), "auto, lease or quiet: how nodes prove that they live")
	fs.DurationVar(&f.timeGrain, "time-grain", 0, "round wake-ups of virtual pods up to this grid")
	fs.StringVar(&f.podSockets, "pod-sockets", string(vnet.SocketsAuto), "auto, all or none: real listeners on 127.x.y.z for the ports of pods")
	fs.StringVar(&f.egress, "egress", "allow", "allow or deny: may programs reach addresses outside the cluster")
	fs.BoolVar(&f.nodeListen, "node-listen", false, "serve the kubelet endpoints of nodes on 127.x.y.z:10250 as well, for other programs (shown as ExternalIP)")
	fs.StringVar(&f.images, "images", "any", "any, known, or a file of globs: which image references exist; known = the built-in table and Programs")
	fs.StringSliceVar(&f.provisioners, "virtual-provisioners", []string{"*"}, "globs over the provisioners of StorageClasses whose volumes are virtual")
	fs.StringArrayVar(&f.stages, "stages", nil, "a file of KWOK Stage objects; repeatable")
	fs.StringVar(&f.stageMode, "stage-mode", string(stage.Auto), "auto, replace or overlay: whether stages own their objects or only pre-empt the engine")
	fs.DurationVar(&f.resolution, "metric-resolution", metrics.DefaultResolution, "the time between two readings of nodes and pods for kubectl top and autoscalers, at least 1s")
	for name := range notBuilt {
		fs.String(name, "", "")
		_ = fs.MarkHidden(name) // it exists: the line above made it
		fs.Lookup(name).NoOptDefVal = "true"
	}
	fs.Int64Var(&f.seed, "seed", 0, "seed of every random draw of the virtual nodes")
	fs.StringSliceVar(&f.capabilities, "capabilities", nil, "switch capabilities on or off: -metrics,…")
}

// notBuilt are flags that virtual nodes will have, with what to do until then. They are refused by name, never ignored.
var notBuilt = map[string]string{
	"allow-exec":      "containers that are real processes; start yours by hand and lead to it with --program GLOB=local:PORT",
	"allow-host-exec": "commands of KWOK's Exec on this machine",
	"keep-volumes":    "files of volumes that outlive a restart; the volumes' objects are kept",
	"manage-nodes":    "taking up nodes by a selector; annotate them with kwok.x-k8s.io/node instead",
	"network-policy":  "enforcing NetworkPolicies; they are stored, and every connection is allowed",
}

// refuseNotBuilt reports a flag that is not built yet.
func refuseNotBuilt(fs *pflag.FlagSet) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(notBuilt)) {
		if fs.Changed(name) {
			errs = append(errs, usage(fmt.Errorf("--%s is not built yet (%s)", name, notBuilt[name])))
		}
	}
	return errors.Join(errs...)
}

func (f *upFlags) run(ctx context.Context, fs *pflag.FlagSet, s Streams) error {
	if err := refuseNotBuilt(fs); err != nil {
		return err
	}
	dir, err := f.data.path()
	if err != nil {
		return err
	}
	o, err := f.options(fs, dir)
	if err != nil {
		return err
	}
	if f.reset {
		if err := reset(dir); err != nil {
			return err
		}
	}
	log, file := openLog(dir, f.verbose, s.Err)
	defer file.Close()
	o.Log, o.ControlPlane.Log = log, log
	slog.SetDefault(log) // the terminal is for the user
	start, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("not ready after %v", startWithin))
	defer cancel()
	running, stopped := context.WithCancel(ctx)
	defer stopped()
	var at atomic.Int32 // a phase
	if collectByOurselves() {
		paceCollections(running, func(live uint64) int { return phase(at.Load()).growth(live) })
	}
	began := time.Now()
	cluster, err := platform.Up(start, o)
	if err != nil {
		if ctx.Err() != nil {
			return nil // interrupted while starting: an orderly stop
		}
		return err
	}
	f.greet(s, cluster, time.Since(began))
	at.Store(int32(settling))
	debug.FreeOSMemory() // a start leaves as much garbage as it leaves data
	var memory sync.WaitGroup
	memory.Go(func() { giveBackMemory(running, func() { at.Store(int32(rested)) }) })
	select {
	case <-ctx.Done():
		err = nil
	case err = <-cluster.Died():
		err = fmt.Errorf("a part of the cluster ended by itself, so all of it stops: %w", err)
	}
	stopped()
	memory.Wait()
	stop, cancelStop := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancelStop()
	return errors.Join(err, cluster.Stop(stop))
}

// greet says what a user needs next.
func (f *upFlags) greet(s Streams, c *platform.Cluster, took time.Duration) {
	kept := "kept in " + c.Plane.Dir()
	if f.memory {
		kept = "in memory"
	}
	names := make([]string, len(c.On))
	for i := range c.On {
		names[i] = c.On[i].Name
	}
	fmt.Fprintf(s.Out, "%s is up after %.1f s, %s.\n", kubernetesLine(), took.Seconds(), kept)
	fmt.Fprintf(s.Out, "On: API server https://%s, scheduler, controllers, virtual nodes, %s.\n\n", c.Plane.Address(), strings.Join(names, ", "))
	fmt.Fprintf(s.Out, "  export KUBECONFIG=%s\n  kubectl get nodes\n\nCtrl-C stops it.\n", c.Kubeconfig())
	if f.verbose > 0 {
		for _, st := range c.Stages {
			fmt.Fprintf(s.Err, "start: %-20s %v\n", st.What, st.Took.Round(time.Millisecond))
		}
	}
}

// options turns the flags into what the platform starts with.
func (f *upFlags) options(fs *pflag.FlagSet, dir string) (platform.UpOptions, error) {
	var o platform.UpOptions
	var err error
	if o.Virtual, err = f.virtualOptions(fs); err != nil {
		return o, err
	}
	if o.Rules, o.Programs, err = f.rules(); err != nil {
		return o, usage(err)
	}
	o.ControlPlane = controlplane.Options{DataDir: dir, Memory: f.memory, Listen: net.JoinHostPort(f.listen, strconv.Itoa(f.port))}
	if err := f.kubernetesArgs(&o.ControlPlane); err != nil {
		return o, usage(err)
	}
	if o.Rollouts, err = f.ship.take(); err != nil {
		return o, err
	}
	if o.Gateway, err = f.gateway.take(); err != nil {
		return o, err
	}
	o.MetricsAddress, o.HealthAddress = at(f.listen, f.ship.metricsPort, ""), at(f.listen, f.ship.healthPort, "")
	o.NodeListen, o.MetricResolution = f.nodeListen, f.resolution
	o.Sockets, o.Egress = vnet.PodSockets(f.podSockets), f.egress == "allow"
	for _, a := range f.capabilities {
		o.Capabilities = append(o.Capabilities, a)
	}
	return o, errors.Join(
		oneOf("--pod-sockets", f.podSockets, "auto", "all", "none"),
		oneOf("--egress", f.egress, "allow", "deny"),
		oneOf("--unmodelled", f.unmodelled, "run", "fail"),
		oneOf("--fidelity", f.fidelity, "quick", "kubelet"),
		oneOf("--pod-writes", f.podWrites, "full", "observable", "lean"),
		oneOf("--pod-events", f.podEvents, "all", "warnings", "none"),
		oneOf("--node-heartbeat", f.heartbeat, "auto", "lease", "quiet"),
		f.check(),
	)
}

func (f *upFlags) check() error {
	switch {
	case f.port < 0 || f.port > 65535:
		return usage(fmt.Errorf("--port %d is not a port; ports are 1 to 65535, 0 is a free one", f.port))
	case f.podStop < 0 || f.timeGrain < 0:
		return usage(errors.New("--pod-stop and --time-grain must not be negative"))
	case f.resolution < leastResolution:
		return usage(fmt.Errorf("--metric-resolution %v is too short: the metrics API gives its times in whole seconds, so use %v or more", f.resolution, leastResolution))
	}
	if err := platform.Switches(f.capabilities).Check(); err != nil {
		return usage(err)
	}
	return nil
}

func (f *upFlags) virtualOptions(fs *pflag.FlagSet) (virtual.Options, error) {
	groups, err := nodeGroups(f.nodes)
	if err != nil {
		return virtual.Options{}, err
	}
	v := virtual.Options{
		NodeGroups: groups, PodStart: time.Duration(f.podStart), PodStop: f.podStop, Seed: f.seed, TimeGrain: f.timeGrain,
		Provisioners: f.provisioners, DefaultClass: true,
		PodWrites: virtual.WritePolicy(f.podWrites), PodEvents: virtual.EventPolicy(f.podEvents), Heartbeat: virtual.Heartbeat(f.heartbeat),
	}
	if v.StageMode, err = stage.ParseMode(f.stageMode); err != nil {
		return v, usage(fmt.Errorf("--stage-mode: %w", err))
	}
	for _, file := range f.stages {
		b, err := os.ReadFile(file)
		if err != nil {
			return v, usage(fmt.Errorf("--stages: %w", err))
		}
		list, _, err := stage.Read(file, b)
		if err != nil {
			return v, usage(err)
		}
		v.Stages = append(v.Stages, list...)
	}
	if fs.Changed("pod-start") && f.podStart == 0 {
		v.AtOnce = true
	}
	if fs.Changed("pod-stop") && f.podStop == 0 {
		v.PodStop = -1
	}
	return v, nil
}

// rules reads --program and --programs.
func (f *upFlags) rules() (*program.Rules, []*fairway.Program, error) {
	r := &program.Rules{Defaults: program.DefaultsUp(), RealSignals: f.fidelity == "kubelet", FailUnmodelled: f.unmodelled == "fail"}
	images, err := f.imageReferences()
	errs := []error{err}
	r.Images = images
	for _, text := range f.program {
		errs = append(errs, r.AddFlag(text, program.Source{}))
	}
	var all []*fairway.Program
	for _, file := range f.programs {
		b, err := os.ReadFile(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("--programs: %w", err))
			continue
		}
		list, err := program.ReadPrograms(file, b, program.Source{})
		errs = append(errs, err)
		all = append(all, list...)
	}
	return r, all, errors.Join(errs...)
}

// imageReferences reads --images.
func (f *upFlags) imageReferences() (program.Images, error) {
	switch f.images {
	case "any":
		return program.Images{}, nil
	case "known":
		return program.Images{Known: true}, nil
	}
	b, err := os.ReadFile(f.images)
	if err != nil {
		return program.Images{}, fmt.Errorf("--images %q is neither any nor known, and not a file that can be read: %w", f.images, err)
	}
	return program.ReadImages(f.images, b)
}

var components = []string{"apiserver", "controller-manager", "scheduler"}

// kubernetesArgs splits COMPONENT=FLAG=VALUE.
func (f *upFlags) kubernetesArgs(o *controlplane.Options) error {
	for _, a := range f.kubeArg {
		component, flag, ok := strings.Cut(a, "=")
		component = strings.TrimPrefix(component, "kube-")
		if !ok || flag == "" || !slices.Contains(components, component) {
			return fmt.Errorf("--kubernetes-arg %q: write COMPONENT=FLAG=VALUE, with one of %s", a, strings.Join(components, ", "))
		}
		flag = "--" + strings.TrimLeft(flag, "-")
		switch component {
		case "apiserver":
			o.APIServerArgs = append(o.APIServerArgs, flag)
		case "controller-manager":
			o.ControllerManagerArgs = append(o.ControllerManagerArgs, flag)
		case "scheduler":
			o.SchedulerArgs = append(o.SchedulerArgs, flag)
		}
	}
	return nil
}

func oneOf(flag, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return usage(fmt.Errorf("%s %q is not known; use %s", flag, value, strings.Join(allowed, ", ")))
}
