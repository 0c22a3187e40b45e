package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"

	"github.com/google/uuid"
	"k8s.io/client-go/kubernetes"

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

// bootRehearsal builds the house of a run. The engine plays the nodes as the cluster's infrastructure, with its rights.
func bootRehearsal(ctx context.Context, o play.HouseOptions) (*play.House, error) {
	o.Plane.Scratch = "." // a directory of this run alone; absolute paths would differ between runs
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
	return &play.House{Plane: plane, Engine: e, Run: e.Run}, nil
}

// engineUser is who writes what kubelets would.
const engineUser = "fairway:virtual-nodes"
