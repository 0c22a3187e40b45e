package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	metricrpc "github.com/argoproj/argo-rollouts/metricproviders/plugin/rpc"
	steprpc "github.com/argoproj/argo-rollouts/rollout/steps/plugin/rpc"
	trafficrpc "github.com/argoproj/argo-rollouts/rollout/trafficrouting/plugin/rpc"
	"github.com/argoproj/argo-rollouts/utils/plugin/types"
	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
)

const (
	startMax   = 30 * time.Second // for a plugin to say that it listens
	callMax    = 2 * time.Minute  // for one call, with the start before it; what takes longer is ended, and started anew by the next
	quitMax    = 5 * time.Second  // for a plugin to end by itself when asked to
	restartMin = time.Second      // after a start that failed or a process that ended; doubled each time
	restartMax = 5 * time.Minute
	healthyMin = time.Minute // a process that ran this long did not fail at the start

	// A program that was just written cannot be run while any process forked meanwhile still holds the file open for writing,
	// which lasts until that process runs its own program.
	busyTries = 50
	busyWait  = 10 * time.Millisecond
)

// wire is what the peer's plugins of a kind expect: the value of the cookie ARGO_ROLLOUTS_RPC_PLUGIN, and the name of the
// service.
var wire = map[Kind]struct {
	cookie, service string
	plugin          goplugin.Plugin
}{
	MetricProvider: {"metricprovider", "RpcMetricProviderPlugin", &metricrpc.RpcMetricProviderPlugin{}},
	TrafficRouter:  {"trafficrouter", "RpcTrafficRouterPlugin", &trafficrpc.RpcTrafficRouterPlugin{}},
	Step:           {"step", "RpcStepPlugin", &steprpc.RpcStepPlugin{}},
}

func handshake(kind Kind) goplugin.HandshakeConfig {
	return goplugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "ARGO_ROLLOUTS_RPC_PLUGIN", MagicCookieValue: wire[kind].cookie}
}

// process is one plugin's process, started when first called.
type process struct {
	host *Host
	kind Kind
	item Item

	ctx    context.Context // ends with the process
	cancel context.CancelFunc

	mu       sync.Mutex
	program  string // path of the copy; "" = not fetched
	client   *goplugin.Client
	stop     context.CancelFunc // ends the process by force
	impl     any                // one of the peer's interfaces
	started  time.Time
	failures int // in a row
	retryAt  time.Time
	ended    bool

	ending atomic.Bool // it is being ended for good
}

// call calls the plugin, which is started if it does not run. When ctx or callMax ends first the process is ended, too: there
// is no other way to stop a call. That a process ends during a call is not an error here: the peer's wire types put it into
// what f gets.
func (p *process) call(ctx context.Context, f func(impl any)) error {
	ctx, cancel := context.WithTimeout(ctx, callMax)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	client, stop, impl, err := p.running(ctx)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(impl)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		kill(client, stop, 0)
		<-done
		return fmt.Errorf("plugin %s: a call was not answered in time and its process was ended: %w", p.item.Name, ctx.Err())
	}
	return nil
}

// running returns the running plugin. A process that is gone is started anew, but not at once if it failed before.
func (p *process) running(ctx context.Context) (*goplugin.Client, context.CancelFunc, any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, nil, nil, fmt.Errorf("plugin %s was removed from or changed in config map %s during the call; try again", p.item.Name, ConfigMapName)
	}
	if p.client != nil && !p.client.Exited() {
		return p.client, p.stop, p.impl, nil
	}
	now := time.Now()
	if p.client != nil { // it ran, and is gone
		if now.Sub(p.started) >= healthyMin {
			p.failures = 0
		}
		p.failed(now)
		p.client.Kill()
		p.client, p.impl = nil, nil
	}
	if wait := p.retryAt.Sub(now); wait > 0 && p.failures > 1 {
		return nil, nil, nil, fmt.Errorf("plugin %s failed %d times in a row; the next start is in %s",
			p.item.Name, p.failures, wait.Round(time.Millisecond))
	}
	if err := p.start(ctx); err != nil {
		p.failed(time.Now())
		return nil, nil, nil, err
	}
	p.started = time.Now()
	return p.client, p.stop, p.impl, nil
}

// failed notes a failure and when the next start may be. The first restart is at once.
func (p *process) failed(now time.Time) {
	p.failures++
	p.retryAt = now.Add(min(restartMin<<min(p.failures-1, 16), restartMax))
}

// start fetches the program if need be, and runs it.
func (p *process) start(ctx context.Context) error {
	if p.program == "" {
		program, err := p.host.fetch(ctx, p.kind, p.item)
		if err != nil {
			return err
		}
		p.program = program
	}
	work := p.program + ".d"
	if err := os.MkdirAll(work, 0o700); err != nil {
		return fmt.Errorf("plugin %s: making its working directory: %w", p.item.Name, err)
	}
	var err error
	for range busyTries {
		if err = p.run(work); !errors.Is(err, syscall.ETXTBSY) {
			break
		}
		time.Sleep(busyWait)
	}
	if err != nil {
		return fmt.Errorf("plugin %s: starting it: %w", p.item.Name, err)
	}
	return nil
}

// run runs the program once.
func (p *process) run(work string) error {
	w := wire[p.kind]
	ctx, stop := context.WithCancel(p.ctx)
	command := exec.CommandContext(ctx, p.program, p.item.Args...)
	command.Env = p.host.options.Env
	command.Dir = work
	log := p.host.log.With("plugin", p.item.Name)
	output := &lines{log: log, ending: &p.ending, level: slog.LevelInfo}
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: handshake(p.kind),
		Plugins:         goplugin.PluginSet{w.service: w.plugin},
		Cmd:             command,
		SkipHostEnv:     true, // command.Env is all there is
		StartTimeout:    startMax,
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, DisableTime: true,
			Output: &lines{log: log, ending: &p.ending, level: slog.LevelDebug}}),
		SyncStdout: output,
		SyncStderr: output,
	})
	impl, err := initialize(client, w.service)
	if err != nil {
		stop()
		client.Kill()
		return err
	}
	p.client, p.stop, p.impl = client, stop, impl
	return nil
}

// initialize connects to the plugin and lets it set itself up.
func initialize(client *goplugin.Client, service string) (any, error) {
	protocol, err := client.Client()
	if err != nil {
		return nil, err
	}
	impl, err := protocol.Dispense(service)
	if err != nil {
		return nil, err
	}
	plugin, ok := impl.(interface{ InitPlugin() types.RpcError })
	if !ok {
		return nil, errors.New("the service has no InitPlugin")
	}
	if e := plugin.InitPlugin(); e.HasError() {
		return nil, fmt.Errorf("unable to initialize plugin via rpc: %w", e)
	}
	return impl, nil
}

// end ends the process for good and waits for it. One that is still starting is ended by force.
func (p *process) end() {
	p.ending.Store(true)
	if !p.mu.TryLock() {
		p.cancel()
		p.mu.Lock()
	}
	p.ended = true
	client, stop := p.client, p.stop
	p.mu.Unlock()
	if client != nil {
		kill(client, stop, quitMax)
	}
	p.cancel()
}

// kill asks a process to end, and ends it by force when it has not after a while: one that is stopped or stuck does not answer.
func kill(client *goplugin.Client, stop context.CancelFunc, after time.Duration) {
	force := time.AfterFunc(after, stop)
	defer force.Stop()
	client.Kill()
	stop()
}

// lines hands what go-plugin logs, and what the plugin writes, to slog. hclog's lines begin with their level: "[INFO]  text".
type lines struct {
	log    *slog.Logger
	level  slog.Level // of lines without one
	ending *atomic.Bool
}

func (l *lines) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		text, at := strings.TrimSpace(string(line)), l.level
		if level, rest, ok := strings.Cut(text, "]"); ok {
			known := map[string]slog.Level{"[TRACE": slog.LevelDebug, "[DEBUG": slog.LevelDebug, "[INFO": slog.LevelInfo, "[WARN": slog.LevelWarn, "[ERROR": slog.LevelError}
			if k, ok := known[level]; ok {
				text, at = strings.TrimSpace(rest), k
			}
		}
		if l.ending.Load() {
			at = min(at, slog.LevelDebug) // that a process we end has ended is no news
		}
		if text != "" {
			l.log.Log(context.Background(), at, text)
		}
	}
	return len(b), nil
}
