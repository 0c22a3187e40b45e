package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/wire"
)

const (
	probeAgent = "fairway-probe"
	// probeBodyMax of an answer is read; its status has said all.
	probeBodyMax = 4 << 10
)

// check probes an endpoint in the protocol of its backend, over a connection of its own, within ctx.
func (p *prober) check(ctx context.Context, e *endpoint) error {
	switch {
	case p.b.config.Load().Speech == config.SpeakBytes:
		nc, err := e.dialProbe(ctx, nil)
		if err == nil {
			_ = nc.Close()
		}
		return err
	case p.policy.GRPC:
		return p.checkGRPC(ctx, e)
	}
	return p.checkHTTP(ctx, e)
}

func (e *endpoint) dialProbe(ctx context.Context, protocols []string) (net.Conn, error) {
	nc, f := e.dial(ctx, 0, 0, protocols)
	if f.reason == "" {
		return nc, nil
	}
	return nil, f.err
}

// checkHTTP gets the path.
func (p *prober) checkHTTP(ctx context.Context, e *endpoint) error {
	protocols, offered := &http.Protocols{}, alpnHTTP1
	switch p.b.config.Load().Speech {
	case config.SpeakH2C:
		protocols.SetUnencryptedHTTP2(e.b.tls == nil)
		protocols.SetHTTP2(e.b.tls != nil)
		offered = alpnHTTP2
	case config.SpeakAuto:
		protocols.SetHTTP1(true)
		protocols.SetHTTP2(true)
		offered = alpnAny
	default:
		protocols.SetHTTP1(true)
	}
	u, err := url.ParseRequestURI(p.policy.Path)
	if err != nil {
		return fmt.Errorf("GET %s: %w", p.policy.Path, err)
	}
	u.Scheme, u.Host = "http", e.address
	if e.b.tls != nil {
		u.Scheme = "https"
	}
	nc, err := e.dialProbe(ctx, offered)
	if err != nil {
		return err
	}
	defer nc.Close()
	dial := func(context.Context, string, string) (net.Conn, error) { return nc, nil }
	// A transport for one request: what it keeps ends with its connection.
	t := &http.Transport{DialContext: dial, DialTLSContext: dial, Protocols: protocols, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: wire.HeadMax}
	r := (&http.Request{Method: http.MethodGet, URL: u, Host: e.address, Header: http.Header{"User-Agent": {probeAgent}}}).WithContext(ctx)
	answer, err := t.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("GET %s: %w", p.policy.Path, err)
	}
	_, _ = io.CopyN(io.Discard, answer.Body, probeBodyMax)
	_ = answer.Body.Close()
	if answer.StatusCode < p.policy.Lowest || answer.StatusCode > p.policy.Highest {
		return fmt.Errorf("GET %s: status %d", p.policy.Path, answer.StatusCode)
	}
	return nil
}

// checkGRPC asks the health service (grpc.health.v1). Other states than SERVING, and servers without the service, are bad.
func (p *prober) checkGRPC(ctx context.Context, e *endpoint) error {
	// TLS, if any, is within the connection that is dialed, with the authorities of the backend.
	client, err := grpc.NewClient("passthrough:///"+e.address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(), grpc.WithUserAgent(probeAgent),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return e.dialProbe(ctx, alpnHTTP2) }))
	if err != nil {
		return err
	}
	defer client.Close()
	answer, err := health.NewHealthClient(client).Check(ctx, &health.HealthCheckRequest{Service: p.policy.Service})
	switch {
	case err != nil:
		return err
	case answer.Status != health.HealthCheckResponse_SERVING:
		return fmt.Errorf("gRPC health of %q: %s", p.policy.Service, answer.Status)
	}
	return nil
}
