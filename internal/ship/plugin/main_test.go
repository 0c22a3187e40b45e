package plugin

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	metricrpc "github.com/argoproj/argo-rollouts/metricproviders/plugin/rpc"
	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	steprpc "github.com/argoproj/argo-rollouts/rollout/steps/plugin/rpc"
	trafficrpc "github.com/argoproj/argo-rollouts/rollout/trafficrouting/plugin/rpc"
	"github.com/argoproj/argo-rollouts/utils/plugin/types"
	goplugin "github.com/hashicorp/go-plugin"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The test binary is its own plugin: run with the peer's cookie it serves the kind that the cookie names.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "mute") {
		time.Sleep(time.Hour) // never says that it listens
	}
	kind := map[string]Kind{"metricprovider": MetricProvider, "trafficrouter": TrafficRouter, "step": Step}[os.Getenv("ARGO_ROLLOUTS_RPC_PLUGIN")]
	switch kind {
	case "":
		os.Exit(m.Run())
	case MetricProvider:
		serve(kind, &metricrpc.RpcMetricProviderPlugin{Impl: metricSample{}})
	case TrafficRouter:
		serve(kind, &trafficrpc.RpcTrafficRouterPlugin{Impl: &trafficSample{}})
	case Step:
		serve(kind, &steprpc.RpcStepPlugin{Impl: &stepSample{}})
	}
}

func serve(kind Kind, p goplugin.Plugin) {
	goplugin.Serve(&goplugin.ServeConfig{HandshakeConfig: handshake(kind), Plugins: goplugin.PluginSet{wire[kind].service: p}})
}

func initSample() types.RpcError {
	fmt.Fprintln(os.Stderr, "sample plugin is starting")
	for _, arg := range os.Args[1:] {
		if arg == "refuse" {
			return types.RpcError{ErrorString: "refused by argument"}
		}
		if arg == "die" {
			os.Exit(3)
		}
	}
	return types.RpcError{}
}

// metricSample measures the metric's name; "about" tells about the process, "exit" ends it, "hang" never answers.
type metricSample struct{}

func (metricSample) InitPlugin() types.RpcError { return initSample() }
func (metricSample) Type() string               { return "sample" }

func (metricSample) Run(run *argo.AnalysisRun, m argo.Metric) argo.Measurement {
	now := metav1.Now()
	out := argo.Measurement{Phase: argo.AnalysisPhaseSuccessful, Value: run.Name + "/" + m.Name, StartedAt: &now, FinishedAt: &now}
	switch m.Name {
	case "about":
		dir, _ := os.Getwd()
		b, _ := json.Marshal(about{Pid: os.Getpid(), Dir: dir, Env: os.Environ(), Args: os.Args[1:]})
		out.Value = string(b)
	case "exit":
		os.Exit(1)
	case "hang":
		select {}
	case "slow":
		resume := metav1.NewTime(now.Add(time.Second))
		out.Phase, out.FinishedAt, out.ResumeAt = argo.AnalysisPhaseRunning, nil, &resume
	case "fault":
		out.Phase, out.Message = argo.AnalysisPhaseError, "no such metric"
	}
	return out
}

type about struct {
	Pid       int
	Dir       string
	Env, Args []string
}

func (s metricSample) Resume(run *argo.AnalysisRun, m argo.Metric, begun argo.Measurement) argo.Measurement {
	now := metav1.Now()
	begun.Phase, begun.FinishedAt, begun.Value = argo.AnalysisPhaseSuccessful, &now, "resumed"
	return begun
}

func (metricSample) Terminate(run *argo.AnalysisRun, m argo.Metric, begun argo.Measurement) argo.Measurement {
	begun.Phase = argo.AnalysisPhaseFailed
	return begun
}

func (metricSample) GarbageCollect(run *argo.AnalysisRun, m argo.Metric, limit int) types.RpcError {
	return types.RpcError{ErrorString: fmt.Sprintf("kept %d of %s", limit, m.Name)}
}

func (metricSample) GetMetadata(m argo.Metric) map[string]string {
	return map[string]string{"query": string(m.Provider.Plugin["test/metric"])}
}

// trafficSample remembers what it was told, and verifies only the weight it was told last.
type trafficSample struct {
	weight int32
	told   string
}

func (*trafficSample) InitPlugin() types.RpcError { return initSample() }
func (*trafficSample) Type() string               { return "sample" }

func (s *trafficSample) UpdateHash(ro *argo.Rollout, canary, stable string, more []argo.WeightDestination) types.RpcError {
	s.told += fmt.Sprintf("hash %s %s %d;", canary, stable, len(more))
	return types.RpcError{}
}

func (s *trafficSample) SetWeight(ro *argo.Rollout, weight int32, more []argo.WeightDestination) types.RpcError {
	s.weight = weight
	s.told += fmt.Sprintf("weight %s %d %d;", ro.Name, weight, len(more))
	return types.RpcError{}
}

func (s *trafficSample) SetHeaderRoute(ro *argo.Rollout, r *argo.SetHeaderRoute) types.RpcError {
	if r.Match == nil {
		return types.RpcError{ErrorString: "told: " + s.told}
	}
	s.told += "header " + r.Name + ";"
	return types.RpcError{}
}

func (s *trafficSample) SetMirrorRoute(ro *argo.Rollout, r *argo.SetMirrorRoute) types.RpcError {
	s.told += "mirror " + r.Name + ";"
	return types.RpcError{}
}

func (s *trafficSample) VerifyWeight(ro *argo.Rollout, weight int32, more []argo.WeightDestination) (types.RpcVerified, types.RpcError) {
	if len(more) > 0 {
		return types.NotImplemented, types.RpcError{}
	}
	if weight == s.weight {
		return types.Verified, types.RpcError{}
	}
	return types.NotVerified, types.RpcError{}
}

func (s *trafficSample) RemoveManagedRoutes(ro *argo.Rollout) types.RpcError {
	s.told += "remove;"
	return types.RpcError{}
}

// stepSample runs until it has counted to its configuration.
type stepSample struct{}

func (*stepSample) InitPlugin() types.RpcError { return initSample() }
func (*stepSample) Type() string               { return "sample" }

func (*stepSample) Run(ro *argo.Rollout, c *types.RpcStepContext) (types.RpcStepResult, types.RpcError) {
	var goal, count int
	if err := json.Unmarshal(c.Config, &goal); err != nil {
		return types.RpcStepResult{}, types.RpcError{ErrorString: "config: " + err.Error()}
	}
	if c.Status != nil {
		if err := json.Unmarshal(c.Status, &count); err != nil {
			return types.RpcStepResult{}, types.RpcError{ErrorString: "status: " + err.Error()}
		}
	}
	count++
	out := types.RpcStepResult{Phase: types.PhaseRunning, RequeueAfter: 42 * time.Second, Message: fmt.Sprint("at ", count), Status: json.RawMessage(fmt.Sprint(count))}
	switch {
	case goal < 0:
		out.Phase = "Odd"
	case count >= goal:
		out.Phase = types.PhaseSuccessful
	}
	return out, types.RpcError{}
}

func (*stepSample) Terminate(ro *argo.Rollout, c *types.RpcStepContext) (types.RpcStepResult, types.RpcError) {
	return types.RpcStepResult{Phase: types.PhaseRunning, Message: "cannot"}, types.RpcError{}
}

func (*stepSample) Abort(ro *argo.Rollout, c *types.RpcStepContext) (types.RpcStepResult, types.RpcError) {
	return types.RpcStepResult{Message: "undid " + string(c.Status)}, types.RpcError{}
}
