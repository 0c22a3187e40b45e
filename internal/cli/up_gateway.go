package cli

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fairway-dev/fairway/internal/gateway"
	"github.com/fairway-dev/fairway/internal/platform"
)

// gatewayUpFlags say how `up` serves traffic.
type gatewayUpFlags struct {
	pool           string
	offset         int
	drain          time.Duration
	foreign        bool
	foreignClasses []string
}

// leastPool is the smallest pool of addresses: with fewer there is no room for a Gateway beside the entrance of Ingresses.
const leastPool = 29

func (f *gatewayUpFlags) add(c *cobra.Command) {
	group(c, "Flags for the gateway", func(fs *pflag.FlagSet) {
		fs.StringVar(&f.pool, "gateway-address-pool", gateway.DefaultPool.String(), "the addresses that Gateways get, within 127.0.0.0/8")
		fs.IntVar(&f.offset, "gateway-port-offset", 0, "is added to each port that is listened on: 8000 serves port 80 on 8080")
		fs.DurationVar(&f.drain, "gateway-drain", platform.DefaultDrain, "how long requests have to end when Fairway does")
		fs.BoolVar(&f.foreign, "serve-foreign", true, "serve the objects of other routers too: Istio, SMI, and Ingresses of --foreign-ingress-classes")
		fs.StringSliceVar(&f.foreignClasses, "foreign-ingress-classes", []string{"nginx"}, "classes of Ingresses that are served although they belong to another controller")
	})
}

func (f *gatewayUpFlags) take() (platform.GatewayOptions, error) {
	o := platform.GatewayOptions{PortOffset: f.offset, Drain: f.drain, NoForeign: !f.foreign, ForeignClasses: f.foreignClasses}
	pool, err := netip.ParsePrefix(f.pool)
	switch {
	case err != nil:
		return o, usage(fmt.Errorf("--gateway-address-pool: %w; write %s", err, gateway.DefaultPool))
	case !pool.Addr().Is4() || !pool.Addr().IsLoopback() || pool.Bits() < 8 || pool.Bits() > leastPool:
		return o, usage(fmt.Errorf("--gateway-address-pool %s is not a part of 127.0.0.0/8 from /8 to /%d, such as %s", pool, leastPool, gateway.DefaultPool))
	case f.offset < 0 || f.offset > 64000:
		return o, usage(fmt.Errorf("--gateway-port-offset %d is not between 0 and 64000", f.offset))
	case f.drain < 0:
		return o, usage(fmt.Errorf("--gateway-drain %v is negative", f.drain))
	}
	o.Pool = pool.Masked()
	return o, nil
}
