package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/fairway-dev/fairway/internal/platform"
)

// rolloutFlags are those of Argo Rollouts' controller, so that its manifests need no more than another image.
type rolloutFlags struct {
	options       platform.RolloutOptions
	resyncSeconds int64
	traefikGroup  string
	metricsPort   int
	healthPort    int
}

func (f *rolloutFlags) add(fs *pflag.FlagSet) {
	v := &f.options.Versions
	fs.StringVar(&f.options.InstanceID, "instance-id", "", "carry out only Rollouts, analysis runs and experiments whose label argo-rollouts.argoproj.io/controller-instance-id has this value (default: those without the label)")
	fs.Int64Var(&f.resyncSeconds, "rollout-resync", 900, "seconds after which a Rollout is looked at although nothing has changed")
	fs.IntVar(&f.options.Workers, "rollout-threads", 10, "how many Rollouts are looked at at once")
	fs.StringVar(&v.Istio, "istio-api-version", "", "the version of networking.istio.io (default v1alpha3)")
	fs.StringVar(&v.Ambassador, "ambassador-api-version", "", "group and version of Ambassador's Mappings (default getambassador.io/v2)")
	fs.StringVar(&v.SMI, "traffic-split-api-version", "", "the version of split.smi-spec.io (default v1alpha1)")
	fs.StringVar(&f.traefikGroup, "traefik-api-group", "", "the group of Traefik's kinds (default traefik.io)")
	fs.StringVar(&v.Traefik, "traefik-api-version", "", "the version of Traefik's kinds (default traefik.io/v1alpha1)")
	fs.IntVar(&f.metricsPort, "metricsPort", 0, "the port of Prometheus metrics on all addresses, in place of --metrics-address")
	fs.IntVar(&f.healthPort, "healthzPort", 0, "the port of /healthz and /readyz on all addresses, in place of --health-address")
}

// take puts what was given into the controller's options.
func (f *rolloutFlags) take(o *platform.ControllerOptions) error {
	if f.resyncSeconds < 1 || f.options.Workers < 1 {
		return usage(fmt.Errorf("--rollout-resync and --rollout-threads must be 1 or more"))
	}
	f.options.Resync = time.Duration(f.resyncSeconds) * time.Second
	if f.traefikGroup != "" {
		version := "v1alpha1"
		if v := f.options.Versions.Traefik; v != "" {
			version = v[strings.LastIndexByte(v, '/')+1:]
		}
		f.options.Versions.Traefik = f.traefikGroup + "/" + version
	}
	if f.metricsPort != 0 {
		o.MetricsAddress = fmt.Sprintf(":%d", f.metricsPort)
	}
	if f.healthPort != 0 {
		o.HealthAddress = fmt.Sprintf(":%d", f.healthPort)
	}
	o.Rollouts = f.options
	return nil
}
