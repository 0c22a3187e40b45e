package cli

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairway-dev/fairway/internal/platform"
	"github.com/fairway-dev/fairway/internal/ship/traffic/elb"
)

// rolloutFlags are those of Argo Rollouts' controller, so that its manifests need no more than another image.
type rolloutFlags struct {
	options       platform.RolloutOptions
	resyncSeconds int64
	traefikGroup  string
	bindings      string // group and version
	metricsPort   int
	healthPort    int
}

// verifyFormerly is the name that --aws-verify-target-group had in Argo Rollouts v1.0, which its controller still takes.
const verifyFormerly = "alb-verify-weight"

// add the flags to `up` or `controller`.
func (f *rolloutFlags) add(c *cobra.Command) {
	group(c, "Flags for Rollouts, by the names of Argo Rollouts' controller", func(fs *pflag.FlagSet) {
		v := &f.options.Versions
		fs.StringVar(&f.options.InstanceID, "instance-id", "", "carry out only Rollouts, analysis runs and experiments whose label argo-rollouts.argoproj.io/controller-instance-id has this value (default: those without the label)")
		fs.Int64Var(&f.resyncSeconds, "rollout-resync", 900, "seconds after which a Rollout is looked at although nothing has changed")
		fs.IntVar(&f.options.Workers, "rollout-threads", 10, "how many Rollouts are looked at at once")
		fs.StringVar(&v.Istio, "istio-api-version", "", "the version of networking.istio.io (default v1alpha3)")
		fs.StringVar(&v.Ambassador, "ambassador-api-version", "", "group and version of Ambassador's Mappings (default getambassador.io/v2)")
		fs.StringVar(&v.SMI, "traffic-split-api-version", "", "the version of split.smi-spec.io (default v1alpha1)")
		fs.StringVar(&f.traefikGroup, "traefik-api-group", "", "the group of Traefik's kinds (default traefik.io)")
		fs.StringVar(&v.Traefik, "traefik-api-version", "", "the version of Traefik's kinds (default traefik.io/v1alpha1)")
		fs.BoolVar(&f.options.VerifyTargetGroups, "aws-verify-target-group", false, "hold an update until AWS's load balancers have its weights and pods (needs rights in AWS)")
		fs.BoolVar(&f.options.VerifyTargetGroups, verifyFormerly, false, "deprecated: use --aws-verify-target-group")
		_ = fs.MarkHidden(verifyFormerly) // it is there
		fs.StringVar(&f.options.TargetGroupTag, "alb-tag-key-resource-id", elb.ResourceTag, "the tag by which a target group of AWS names its Ingress and Service")
		fs.StringVar(&f.bindings, "aws-target-group-binding-api-version", elb.BindingKind.GroupVersion().String(), "group and version of TargetGroupBindings")
		fs.IntVar(&f.metricsPort, "metricsPort", 0, metricsPortUsage[c.Name()])
		fs.IntVar(&f.healthPort, "healthzPort", 0, healthPortUsage[c.Name()])
		fs.BoolVar(&f.options.Strict, "strict", false, "refuse invalid Rollouts, templates, analysis runs and experiments when they are written (default: warn of them)")
	})
	c.PreRun = func(c *cobra.Command, _ []string) { // cobra would warn on standard output
		if c.Flags().Changed(verifyFormerly) {
			fmt.Fprintf(c.ErrOrStderr(), "Flag --%s has been deprecated: use --aws-verify-target-group\n", verifyFormerly)
		}
	}
}

// What the ports of a command are for.
var (
	metricsPortUsage = map[string]string{
		"controller": "the port of Prometheus metrics on all addresses, in place of --metrics-address",
		"up":         "serve Prometheus metrics on this port of the --listen address as well (default: only in the cluster)"}
	healthPortUsage = map[string]string{
		"controller": "the port of /healthz and /readyz on all addresses, in place of --health-address",
		"up":         "serve /healthz and /readyz on this port of the --listen address as well (default: only in the cluster)"}
)

// take checks what was given and puts it together.
func (f *rolloutFlags) take() (platform.RolloutOptions, error) {
	if f.resyncSeconds < 1 || f.options.Workers < 1 {
		return f.options, usage(errors.New("--rollout-resync and --rollout-threads must be 1 or more"))
	}
	for _, p := range []struct {
		flag string
		port int
	}{{"--metricsPort", f.metricsPort}, {"--healthzPort", f.healthPort}} {
		if p.port < 0 || p.port > 65535 {
			return f.options, usage(fmt.Errorf("%s %d is not a port; ports are 1 to 65535", p.flag, p.port))
		}
	}
	var err error
	if f.options.TargetGroupBindings, err = schema.ParseGroupVersion(f.bindings); err != nil || f.options.TargetGroupBindings.Group == "" {
		return f.options, usage(fmt.Errorf("--aws-target-group-binding-api-version %q is not a group and a version; the default is %s", f.bindings, elb.BindingKind.GroupVersion()))
	}
	f.options.Resync = time.Duration(f.resyncSeconds) * time.Second
	if f.traefikGroup != "" {
		version := "v1alpha1"
		if v := f.options.Versions.Traefik; v != "" {
			version = v[strings.LastIndexByte(v, '/')+1:]
		}
		f.options.Versions.Traefik = f.traefikGroup + "/" + version
	}
	return f.options, nil
}

// at is the address of a port that was given on a host, else otherwise.
func at(host string, port int, otherwise string) string {
	if port == 0 {
		return otherwise
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}
