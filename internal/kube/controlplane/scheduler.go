package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"time"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	schedulerapp "k8s.io/kubernetes/cmd/kube-scheduler/app/config"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	"k8s.io/kubernetes/pkg/scheduler/profile"
)

func (p *ControlPlane) startScheduler(ctx context.Context) error {
	cfg, err := p.schedulerConfig(ctx)
	if err != nil {
		return fmt.Errorf("kube-scheduler: %w", err)
	}
	rc := p.ConfigAs(user.KubeScheduler)
	rc.UserAgent = "kube-scheduler"
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return fmt.Errorf("kube-scheduler: %w", err)
	}
	dyn, err := dynamic.NewForConfig(rc)
	if err != nil {
		return fmt.Errorf("kube-scheduler: %w", err)
	}
	factory := schedulerFactory{p.shared}
	dynFactory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(dyn, 0, corev1.NamespaceAll, nil)
	broadcaster := events.NewEventBroadcasterAdapterWithContext(ctx, client)
	s, err := scheduler.New(newFrameworkContext{ctx}, client, factory, dynFactory, recorders(broadcaster),
		scheduler.WithComponentConfigVersion(cfg.TypeMeta.APIVersion),
		scheduler.WithKubeConfig(rc),
		scheduler.WithProfiles(cfg.Profiles...),
		scheduler.WithPercentageOfNodesToScore(cfg.PercentageOfNodesToScore),
		scheduler.WithPodMaxBackoffSeconds(cfg.PodMaxBackoffSeconds),
		scheduler.WithPodInitialBackoffSeconds(cfg.PodInitialBackoffSeconds),
		scheduler.WithExtenders(cfg.Extenders...),
		scheduler.WithParallelism(cfg.Parallelism),
	)
	if err != nil {
		return fmt.Errorf("kube-scheduler: %w", err)
	}
	broadcaster.StartRecordingToSink(ctx.Done())
	if p.sharing != nil {
		select {
		case <-p.sharing:
		case err := <-p.died:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	factory.Start(ctx.Done())
	dynFactory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	dynFactory.WaitForCacheSync(ctx.Done())
	if err := s.WaitForHandlersSync(ctx); err != nil {
		return fmt.Errorf("kube-scheduler: %w", err)
	}
	err = rememberSpread(s.Profiles, factory)
	if p.opts.Profile == Rehearsal {
		err = errors.Join(err, slowRecorders(s))
	}
	if err != nil {
		return fmt.Errorf("kube-scheduler: %w", err)
	}
	p.ctrlParts.Go(func() {
		defer broadcaster.Shutdown()
		s.Run(ctx)
	})
	return nil
}

func recorders(b interface {
	NewRecorder(name string) events.EventRecorderLogger
}) profile.RecorderFactory {
	return func(name string) events.EventRecorderLogger { return b.NewRecorder(name) }
}

// schedulerConfig reads the user's KubeSchedulerConfiguration, or upstream's default, through upstream's own options, so
// that defaults and validation are theirs.
func (p *ControlPlane) schedulerConfig(ctx context.Context) (*config.KubeSchedulerConfiguration, error) {
	o := options.NewOptions()
	args := []string{"--kubeconfig=" + p.identity.path("kubeconfig"), "--leader-elect=false", "--secure-port=0"}
	if p.opts.Scheduler != nil {
		file := filepath.Join(p.dir, "scheduler.yaml")
		if err := os.WriteFile(file, p.opts.Scheduler, 0o600); err != nil {
			return nil, err
		}
		args = append(args, "--config="+file)
	}
	if g := featureGates(p.features()); g != "" {
		args = append(args, "--feature-gates="+g)
	}
	if err := parse("kube-scheduler", o.Flags.FlagSets, append(args, p.opts.SchedulerArgs...)); err != nil {
		return nil, err
	}
	def, err := latest.Default()
	if err != nil {
		return nil, err
	}
	o.ComponentConfig = def
	if errs := o.Validate(); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	// Not o.Config, which also makes clients and asks the API server for its groups, by the kubeconfig's address.
	var c schedulerapp.Config
	if err := o.ApplyTo(klog.FromContext(ctx), &c); err != nil {
		return nil, err
	}
	return &c.ComponentConfig, nil
}

// newFrameworkContext ends at once a goroutine that upstream starts and forgets for every scheduler profile: NewFramework
// makes a default metrics recorder and then replaces it, leaving the first to wake once a second for ever.
type newFrameworkContext struct{ context.Context }

var alreadyDone = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (c newFrameworkContext) Done() <-chan struct{} {
	var pc [1]uintptr
	runtime.Callers(2, pc[:])
	f, _ := runtime.CallersFrames(pc[:]).Next()
	if strings.HasSuffix(f.Function, "framework/runtime.NewFramework") {
		return alreadyDone
	}
	return c.Context.Done()
}

// slowRecorders sets the flush interval of the scheduler's metrics recorders, which otherwise walk their empty buffers
// every second.
func slowRecorders(s *scheduler.Scheduler) error {
	owners := []any{s.SchedulingQueue}
	for _, f := range s.Profiles {
		owners = append(owners, f)
	}
	for _, o := range owners {
		f := reflect.Indirect(reflect.ValueOf(o)).FieldByName("metricsRecorder")
		if !f.IsValid() || f.Kind() != reflect.Pointer || f.IsNil() {
			return fmt.Errorf("%T has no metricsRecorder; has upstream changed?", o)
		}
		i := f.Elem().FieldByName("interval")
		if !i.IsValid() {
			return fmt.Errorf("%s has no interval; has upstream changed?", f.Type())
		}
		*(*time.Duration)(unsafe.Pointer(i.UnsafeAddr())) = 10000 * time.Hour
	}
	return nil
}
