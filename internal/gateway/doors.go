package gateway

import (
	"net"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// door is an address of the network in this process that leads to a socket of the data path.
type door struct {
	to      netip.AddrPort
	release func()
}

// openDoors lets whoever dials within this process (the API server, analyses, probes, pods, and the sockets of Services) reach the
// sockets of a Config by their addresses, whatever port they have on this machine, and by the cluster addresses of the Gateways'
// Services.
func (c *Controller) openDoors(served *config.Config) {
	if c.options.Reach == nil {
		return
	}
	wanted := make(map[netip.AddrPort]netip.AddrPort, len(served.Sockets))
	for i := range served.Sockets {
		wanted[served.Sockets[i].Address] = served.Sockets[i].Address
	}
	addresses := map[types.UID][]gw.GatewayStatusAddress{}
	for _, g := range all[*gw.Gateway](c.stores.gateways) {
		addresses[g.UID] = c.last.Statuses.Gateways[nameOf(g)].Addresses
	}
	for _, s := range all[*corev1.Service](c.stores.services) {
		at, err := netip.ParseAddr(s.Spec.ClusterIP)
		if err != nil || !ours(s) {
			continue
		}
		for _, a := range addresses[metav1.GetControllerOfNoCopy(s).UID] {
			ip, err := netip.ParseAddr(a.Value)
			for _, p := range s.Spec.Ports {
				to := netip.AddrPortFrom(ip, uint16(p.Port))
				if _, there := wanted[to]; there && err == nil {
					wanted[netip.AddrPortFrom(at, uint16(p.Port))] = to
				}
			}
		}
	}
	for at, d := range c.doors {
		if wanted[at] != d.to {
			d.release()
			delete(c.doors, at)
		}
	}
	for at, to := range wanted {
		if _, open := c.doors[at]; open {
			continue
		}
		release, err := c.options.Reach(at, func(conn net.Conn) {
			if err := c.data.Serve(to, conn); err != nil {
				c.log.Debug(err.Error())
			}
		})
		if err != nil {
			c.log.Warn("an address within this process", "address", at, "error", err)
			continue
		}
		c.doors[at] = door{to, release}
	}
}

// closeDoors lets nobody in any more.
func (c *Controller) closeDoors() {
	for at, d := range c.doors {
		d.release()
		delete(c.doors, at)
	}
}
