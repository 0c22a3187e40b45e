package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/fairway-dev/fairway/internal/kube/controlplane/store"
)

type stopper interface{ Stop() }

func (p *ControlPlane) durable() bool { return p.opts.DataDir != "" && !p.opts.Memory }

// storeEndpoint names the store to the API server's storage factory. It is never dialled, and holds nothing of this
// machine: it reaches the API server's configuration.
func (p *ControlPlane) storeEndpoint() string {
	if p.durable() {
		return "http://store.disk:2379"
	}
	return "http://store.memory:2379"
}

func (p *ControlPlane) openStore(ctx context.Context) error {
	client, err := p.makeStore(ctx)
	if err != nil {
		return err
	}
	release := store.Use(p.storeEndpoint(), client)
	p.cleanup = append(p.cleanup, func() error { release(); return nil })
	return p.define(ctx, client())
}

// definitionsKey is where the API server has the definitions of kinds, each under its name.
const definitionsKey = "/registry/apiextensions.k8s.io/customresourcedefinitions/"

// define puts the definitions that the store lacks into it.
func (p *ControlPlane) define(ctx context.Context, c *kubernetes.Client) error {
	defer c.Close()
	p.began = map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(p.opts.Definitions)) {
		done, err := c.OptimisticPut(ctx, definitionsKey+name, p.opts.Definitions[name], 0, kubernetes.PutOptions{})
		if err != nil {
			return fmt.Errorf("putting the definition of %s into the store: %w", name, err)
		}
		p.began[name] = done.Succeeded
	}
	return nil
}

// makeStore makes the store, or opens it, and returns what makes clients of it.
func (p *ControlPlane) makeStore(ctx context.Context) (func() *kubernetes.Client, error) {
	if p.durable() {
		d, err := store.OpenDisk(ctx, filepath.Join(p.dir, "store"), store.DiskOptions{Logger: p.storeLog()})
		if err != nil {
			return nil, err
		}
		p.store = d
		watch, end := context.WithCancel(context.WithoutCancel(ctx))
		var watching sync.WaitGroup
		watching.Go(func() {
			select {
			case err := <-d.Died():
				p.die(storeDied(p.dir, err))
			case <-watch.Done():
			}
		})
		p.cleanup = append(p.cleanup, func() error { end(); watching.Wait(); return nil })
		return d.Client, nil
	}
	m := store.NewMemory(store.MemoryOptions{})
	p.store = m
	return m.Client, nil
}

// storeLog is where the store's log goes: with the rest of upstream's.
func (p *ControlPlane) storeLog() *slog.Logger {
	if p.opts.Log != nil {
		return p.opts.Log
	}
	return slog.New(slog.DiscardHandler)
}

// storeDied says what ended the store and what to do about it. What it has acknowledged is in its log on the disk.
func storeDied(dir string, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the disk of %s is full; free some space and start again, nothing acknowledged is lost: %w", dir, err)
	}
	return fmt.Errorf("the store in %s: %w", dir, err)
}
