package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/google/uuid"
	"k8s.io/client-go/kubernetes"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/kube/controlplane"
	"github.com/fairway-dev/fairway/internal/kube/kubeversion"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
	"github.com/fairway-dev/fairway/internal/rehearse/play"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// Rehearse plays one run: the document from in, the record to out. overlay says whether the runtime fixes the order of
// events.
func Rehearse(ctx context.Context, in io.Reader, out io.Writer, overlay bool) error {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	uuid.SetRand(nil) // the process's own source, which follows the seed
	data, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("reading the document: %w", err)
	}
	var doc play.Document
	if err := json.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("reading the document: %w", err)
	}
	data = nil
	build := "fall-back"
	if overlay {
		build = "overlay"
	}
	stream := record.NewWriter(out)
	defer func() {
		// A panic on this goroutine still leaves a record that says so; one elsewhere leaves what was written.
		if e := recover(); e != nil {
			stream.Write(record.Event{End: &record.End{Incomplete: fmt.Sprintf("panic: %v\n%s", e, debug.Stack())}})
			panic(e)
		}
	}()
	return play.Run(ctx, &doc, out, bootRehearsal, versions(), build)
}

func versions() map[string]string {
	v := map[string]string{"kubernetes": kubeversion.String(), "go": runtime.Version(), "fairway": "development"}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		v["fairway"] = info.Main.Version
	}
	return v
}

// bootRehearsal builds the house of a run. The engine plays the nodes as the cluster's infrastructure, with its rights. The
// capabilities that the scenario has objects for take part; without any there is neither a manager nor a kind of theirs.
func bootRehearsal(ctx context.Context, o play.HouseOptions) (*play.House, error) {
	o.Plane.Scratch = "." // a directory of this run alone; absolute paths would differ between runs
	on := rehearsed(o.Document)
	var err error
	if o.Plane.Definitions, err = storedDefinitions(on); err != nil {
		return nil, err
	}
	if len(on) > 0 {
		o.Plane.Beside = func(ctx context.Context, p *controlplane.ControlPlane) error {
			return installCRDs(ctx, p.Config(), installation{on: on, small: true, log: slog.New(slog.DiscardHandler), began: p.Began})
		}
	}
	plane, err := controlplane.Start(ctx, o.Plane)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(plane.ConfigAs(engineUser, "system:masters"))
	if err != nil {
		return nil, err
	}
	engine := o.Engine
	engine.Client, engine.Informers = client, plane.Informers()
	engine.Watchful = func(on bool) {
		if err := plane.WatchNodes(ctx, on); err != nil {
			slog.Error("switching the watch over nodes", "on", on, "error", err)
		}
	}
	e, err := virtual.New(engine)
	if err != nil {
		return nil, err
	}
	house := &play.House{Plane: plane, Engine: e, Run: e.Run}
	var routes *flowGateway
	if has(on, "gateway") {
		routes = newFlowGateway(o)
		house.Router = routes
	}
	if len(on) > 0 {
		house.Run, err = besides(ctx, plane, on, o, routes, e.Run)
	}
	return house, err
}

// rehearsed are the capabilities that a scenario needs: those whose kinds its objects or steps name.
func rehearsed(doc *play.Document) []Capability {
	named := func(group string) bool {
		for _, o := range doc.Objects {
			if bytes.Contains(o.Object, []byte(group)) {
				return true
			}
		}
		for i := range doc.Scenario.Spec.Steps {
			for _, a := range doc.Scenario.Spec.Steps[i].Apply {
				if bytes.Contains(a.Object, []byte(group)) {
					return true
				}
			}
		}
		return false
	}
	var on []Capability
	if routedDocument(doc) {
		on = append(on, gatewayCapability())
	}
	if named(rollouts.GroupVersion.String()) {
		on = append(on, rolloutsCapability(RolloutOptions{}))
	}
	return on
}

// besides sets the capabilities up and returns what runs them beside the engine. They act with all rights: whether those
// they declare are enough shows on other clusters.
func besides(ctx context.Context, plane *controlplane.ControlPlane, on []Capability, o play.HouseOptions, routes *flowGateway, engine func(context.Context) error) (func(context.Context) error, error) {
	log := slog.New(slog.DiscardHandler)
	shared := sharedInformers{plane.Informers(), ctx.Done()}.newInformer
	controllers, err := o.Lives.Run(func(wrap func(http.RoundTripper) http.RoundTripper) (func(context.Context) error, error) {
		cfg := plane.ConfigAs(userName(Namespace), "system:masters")
		cfg.ContentType, cfg.AcceptContentTypes = "", "" // the manager chooses by kind: custom kinds have no protobuf
		if wrap != nil {
			cfg.Wrap(wrap)
		}
		m, err := newManager(managerOptions{config: cfg, on: on, informers: shared, namespace: Namespace, log: log})
		shared = nil // which keep the indexes and handlers of the first life; later ones have informers of their own
		if err != nil {
			return nil, err
		}
		h := &House{Manager: m, Dial: o.Dial, Log: log, Namespace: Namespace, Rollouts: RolloutOptions{RefusePlugins: "no programs run in a rehearsal; use a step of another kind"},
			Gateway: GatewayOptions{NoForeignKinds: !foreignNamed(o.Document)}}
		if routes != nil {
			h.Sink = routes
		}
		if err := h.setUp(ctx, on); err != nil {
			return nil, err
		}
		if routes != nil {
			routes.begin(h.gateway.Evidence)
		}
		return m.Start, nil
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		var parts sync.WaitGroup
		for _, run := range []func(context.Context) error{engine, controllers} {
			parts.Go(func() { cancel(run(ctx)) })
		}
		parts.Wait()
		return context.Cause(ctx)
	}, nil
}

// engineUser is who writes what kubelets would.
const engineUser = "fairway:virtual-nodes"
