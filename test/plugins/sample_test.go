package plugins

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	metricrpc "github.com/argoproj/argo-rollouts/metricproviders/plugin/rpc"
	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	steprpc "github.com/argoproj/argo-rollouts/rollout/steps/plugin/rpc"
	trafficrpc "github.com/argoproj/argo-rollouts/rollout/trafficrouting/plugin/rpc"
	"github.com/argoproj/argo-rollouts/utils/plugin/types"
	goplugin "github.com/hashicorp/go-plugin"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// cookie is the environment variable by which a plugin knows that it is one, and which.
const cookie = "ARGO_ROLLOUTS_RPC_PLUGIN"

// The test binary is its own plugins, as teams of Argo Rollouts write them: it notes what it is asked in the file of its argument.
func TestMain(m *testing.M) {
	serve := func(service string, p goplugin.Plugin) {
		goplugin.Serve(&goplugin.ServeConfig{Plugins: goplugin.PluginSet{service: p},
			HandshakeConfig: goplugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: cookie, MagicCookieValue: os.Getenv(cookie)}})
	}
	switch os.Getenv(cookie) {
	case "metricprovider":
		serve("RpcMetricProviderPlugin", &metricrpc.RpcMetricProviderPlugin{Impl: metric{}})
	case "trafficrouter":
		serve("RpcTrafficRouterPlugin", &trafficrpc.RpcTrafficRouterPlugin{Impl: &traffic{}})
	case "step":
		serve("RpcStepPlugin", &steprpc.RpcStepPlugin{Impl: step{}})
	default:
		os.Exit(m.Run())
	}
}

// note a line in the file that the plugin was given.
func note(format string, args ...any) types.RpcError {
	f, err := os.OpenFile(os.Args[1], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		defer f.Close()
		_, err = fmt.Fprintf(f, format+"\n", args...)
	}
	if err != nil {
		return types.RpcError{ErrorString: err.Error()}
	}
	return types.RpcError{}
}

// metric measures what its configuration says.
type metric struct{}

func (metric) InitPlugin() types.RpcError { return note("metric init") }
func (metric) Type() string               { return "sample" }

func (metric) Run(run *argo.AnalysisRun, m argo.Metric) argo.Measurement {
	note("metric run %s", m.Name)
	now := metav1.Now()
	return argo.Measurement{Phase: argo.AnalysisPhaseSuccessful, StartedAt: &now, FinishedAt: &now, Value: string(m.Provider.Plugin["test/metric"])}
}

func (metric) Resume(_ *argo.AnalysisRun, _ argo.Metric, m argo.Measurement) argo.Measurement {
	return m
}
func (metric) Terminate(_ *argo.AnalysisRun, _ argo.Metric, m argo.Measurement) argo.Measurement {
	return m
}
func (metric) GarbageCollect(*argo.AnalysisRun, argo.Metric, int) types.RpcError {
	return types.RpcError{}
}
func (metric) GetMetadata(argo.Metric) map[string]string { return map[string]string{"by": "sample"} }

// traffic keeps a weight.
type traffic struct{ weight int32 }

func (*traffic) InitPlugin() types.RpcError { return note("traffic init") }
func (*traffic) Type() string               { return "sample" }

func (*traffic) UpdateHash(ro *argo.Rollout, canary, stable string, _ []argo.WeightDestination) types.RpcError {
	return note("hash %s same=%v", ro.Name, canary == stable)
}

func (t *traffic) SetWeight(ro *argo.Rollout, weight int32, _ []argo.WeightDestination) types.RpcError {
	t.weight = weight
	return note("weight %s %d", ro.Name, weight)
}

func (*traffic) SetHeaderRoute(ro *argo.Rollout, r *argo.SetHeaderRoute) types.RpcError {
	return note("header %s %s", ro.Name, r.Name)
}

func (*traffic) SetMirrorRoute(ro *argo.Rollout, r *argo.SetMirrorRoute) types.RpcError {
	return note("mirror %s %s", ro.Name, r.Name)
}

func (t *traffic) VerifyWeight(ro *argo.Rollout, weight int32, _ []argo.WeightDestination) (types.RpcVerified, types.RpcError) {
	verified := types.NotVerified
	if t.weight == weight {
		verified = types.Verified
	}
	return verified, note("verify %s %d", ro.Name, weight)
}

func (*traffic) RemoveManagedRoutes(ro *argo.Rollout) types.RpcError {
	return note("remove %s", ro.Name)
}

// step is done at once, but never with the configuration {"for":"ever"}.
type step struct{}

func (step) InitPlugin() types.RpcError { return note("step init") }
func (step) Type() string               { return "sample" }

func (step) Run(ro *argo.Rollout, c *types.RpcStepContext) (types.RpcStepResult, types.RpcError) {
	out := types.RpcStepResult{Phase: types.PhaseSuccessful, Message: "done", Status: json.RawMessage(`{"seen":1}`)}
	if string(c.Config) == `{"for":"ever"}` {
		out.Phase, out.Message = types.PhaseRunning, "under way"
	}
	return out, note("step run %s %s", ro.Name, c.Config)
}

func (step) Terminate(ro *argo.Rollout, _ *types.RpcStepContext) (types.RpcStepResult, types.RpcError) {
	return types.RpcStepResult{Phase: types.PhaseSuccessful, Message: "terminated"}, note("step terminate %s", ro.Name)
}

func (step) Abort(ro *argo.Rollout, c *types.RpcStepContext) (types.RpcStepResult, types.RpcError) {
	return types.RpcStepResult{Phase: types.PhaseSuccessful, Message: "undone"}, note("step abort %s %s", ro.Name, c.Status)
}
