package vnet

import "net/netip"

// The addresses of a cluster without containers. Members of an in-process fleet take parts of the same ranges.
var (
	// Nodes is the range of node addresses.
	Nodes = netip.MustParsePrefix("10.112.0.0/12")
	// Pods is the range of pod addresses.
	Pods = netip.MustParsePrefix("10.128.0.0/9")
	// Services is the range of cluster IPs.
	Services = netip.MustParsePrefix("10.96.0.0/12")
	// Process is the address of this process: the API server's advertised address and whatever else it listens on.
	Process = netip.MustParseAddr("10.112.0.1")
	// APIServer is the cluster IP of Service default/kubernetes, on port 443.
	APIServer = netip.MustParseAddr("10.96.0.1")
	// DNS is the cluster IP of the cluster's name server.
	DNS = netip.MustParseAddr("10.96.0.10")
)

// KubeletPort is the port of the kubelet endpoint on every node address.
const KubeletPort = 10250

// Own reports whether the address belongs to the ranges above. Such an address never leaves the process.
func Own(a netip.Addr) bool {
	a = a.Unmap()
	return Nodes.Contains(a) || Pods.Contains(a) || Services.Contains(a)
}

// Loopback returns the address of this machine on which the given one of ours has its real sockets: the same with 127
// as its first octet.
func Loopback(a netip.Addr) netip.Addr {
	b := a.Unmap().As4()
	b[0] = 127
	return netip.AddrFrom4(b)
}
