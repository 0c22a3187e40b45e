package controlplane

import (
	"context"
	"path/filepath"

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
		d, err := store.OpenDisk(ctx, filepath.Join(p.dir, "store"), store.DiskOptions{})
		if err != nil {
			return err
		}
		p.store = d
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
