package platform

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
)

// observePort is where an embedded cluster serves /metrics, /healthz and /readyz, behind the same Service as the metrics
// APIs.
const observePort = 8080

// observe serves Fairway's own metrics and health inside the cluster's network until ctx ends. Nothing runs while nobody
// asks.
func (c *Cluster) observe(ctx context.Context) error {
	if err := ctrlmetrics.Registry.Register(c.Engine); err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { ctrlmetrics.Registry.Unregister(c.Engine) })
	l, err := c.Network.Listen(netip.AddrPortFrom(vnet.Process, observePort))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(ctrlmetrics.Registry, promhttp.HandlerOpts{}))
	ok := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }
	mux.HandleFunc("GET /healthz", ok)
	mux.HandleFunc("GET /readyz", ok) // Up returns only when all is ready, and all of it ends together
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug)}
	context.AfterFunc(ctx, func() { server.Close() })
	c.parts.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			c.die(err)
		}
	})
	return nil
}
