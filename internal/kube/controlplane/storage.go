package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"syscall"

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
	if p.durable() {
		d, err := store.OpenDisk(ctx, filepath.Join(p.dir, "store"), store.DiskOptions{Logger: p.storeLog()})
		if err != nil {
			return err
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
		release := store.Use(p.storeEndpoint(), d.Client)
		p.cleanup = append(p.cleanup, func() error { release(); return nil })
		return nil
	}
	m := store.NewMemory(store.MemoryOptions{})
	p.store = m
	release := store.Use(p.storeEndpoint(), m.Client)
	p.cleanup = append(p.cleanup, func() error { release(); return nil })
	return nil
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
