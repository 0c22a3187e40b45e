package load

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// connectTimeout is how long a connection may take to be made.
const connectTimeout = 5 * time.Second

func (o *Options) transport() *http.Transport {
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: connectTimeout}).DialContext
	}
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if o.ConnectTo != "" {
				address = o.ConnectTo
			}
			return dial(ctx, network, address)
		},
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: o.Insecure}, //nolint:gosec // only when asked for
		MaxIdleConns:        o.Connections,
		MaxIdleConnsPerHost: o.Connections,
		MaxConnsPerHost:     o.Connections,
		DisableCompression:  true,
		Protocols:           new(http.Protocols),
	}
	if o.HTTP2 {
		t.Protocols.SetHTTP2(true)
		t.Protocols.SetUnencryptedHTTP2(true)
	} else {
		t.Protocols.SetHTTP1(true)
	}
	return t
}
