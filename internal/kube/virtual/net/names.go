package vnet

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// ClusterDomain is the domain of Service names.
	ClusterDomain = "cluster.local"
	// aliasesMax bounds a chain of ExternalName Services (resolvers stop at 8 to 16 CNAMEs).
	aliasesMax = 8
	// nameMax is the longest name DNS can carry.
	nameMax = 253
)

// Answer is what a name resolves to: addresses of the cluster, or a name that only the world outside can resolve.
type Answer struct {
	Addresses []netip.Addr
	Outside   string
}

// Lookup answers a host name as the caller's resolver would: literal addresses, /etc/hosts (localhost, the pod's own
// name, hostAliases), then the cluster's DNS along the search list, then the names of nodes for callers outside pods.
// A name of the cluster that does not exist gives a *net.DNSError with IsNotFound; any other goes Outside.
func (t *Tables) Lookup(host string, from From) (Answer, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return Answer{Addresses: []netip.Addr{a.WithZone("").Unmap()}}, nil
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "" || len(name) > nameMax {
		return Answer{}, notFound(host)
	}
	if found := hosts(name, from.Pod); found != nil {
		return Answer{Addresses: found}, nil
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	search, inCluster := searchList(from.Pod)
	if inCluster {
		for _, candidate := range expand(host, name, search) {
			if answer, ok := t.clusterName(candidate, 0); ok {
				return answer, nil
			}
		}
		if within(name, ClusterDomain) {
			return Answer{}, notFound(host)
		}
	}
	if n := t.nodeNames[name]; n != nil && from.Pod == nil {
		if found := nodeAddresses(n); len(found) > 0 {
			return Answer{Addresses: found}, nil
		}
		return Answer{}, notFound(host)
	}
	return Answer{Outside: name}, nil
}

func notFound(host string) error {
	return &net.DNSError{Err: "no such host", Name: host, Server: netip.AddrPortFrom(DNS, 53).String(), IsNotFound: true}
}

// hosts answers what kubelet writes into /etc/hosts.
func hosts(name string, pod *corev1.Pod) []netip.Addr {
	if name == "localhost" || within(name, "localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	if pod == nil {
		return nil
	}
	var out []netip.Addr
	for _, alias := range pod.Spec.HostAliases {
		if a, err := netip.ParseAddr(alias.IP); err == nil && slices.ContainsFunc(alias.Hostnames, func(h string) bool {
			return strings.EqualFold(h, name)
		}) {
			out = append(out, a)
		}
	}
	own := pod.Spec.Hostname
	if own == "" {
		own = pod.Name
	}
	if a, err := netip.ParseAddr(pod.Status.PodIP); err == nil && len(out) == 0 && name == strings.ToLower(own) {
		out = append(out, a)
	}
	return out
}

// resolvConf is what decides how a name is expanded.
type resolvConf struct {
	search []string
	ndots  int
}

// searchList returns the pod's search list and whether it asks the cluster's DNS at all. The process itself knows names
// from "svc" on: it is in no namespace.
func searchList(pod *corev1.Pod) (resolvConf, bool) {
	if pod == nil {
		return resolvConf{search: []string{ClusterDomain}, ndots: 5}, true
	}
	conf := resolvConf{ndots: 1}
	inCluster := false
	switch policy := pod.Spec.DNSPolicy; {
	case policy == corev1.DNSNone:
	case policy == corev1.DNSDefault, policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork:
	default:
		inCluster = true
		conf.ndots = 5
		conf.search = []string{pod.Namespace + ".svc." + ClusterDomain, "svc." + ClusterDomain, ClusterDomain}
	}
	own := pod.Spec.DNSConfig
	if own == nil {
		return conf, inCluster
	}
	inCluster = inCluster || slices.Contains(own.Nameservers, DNS.String())
	for _, s := range own.Searches {
		conf.search = append(conf.search, strings.ToLower(strings.TrimSuffix(s, ".")))
	}
	for _, o := range own.Options {
		if o.Name == "ndots" && o.Value != nil {
			conf.ndots = ndots(*o.Value)
		}
	}
	return conf, inCluster
}

// ndots reads the option of resolv.conf(5), which is capped at 15.
func ndots(text string) int {
	n := 0
	for _, c := range text {
		if c < '0' || c > '9' {
			return 1
		}
		n = min(n*10+int(c-'0'), 15)
	}
	return n
}

// expand lists the names to ask for, in the resolver's order.
func expand(host, name string, conf resolvConf) []string {
	if strings.HasSuffix(host, ".") {
		return []string{name}
	}
	var out []string
	for _, s := range conf.search {
		out = append(out, name+"."+s)
	}
	if strings.Count(name, ".") >= conf.ndots {
		return slices.Insert(out, 0, name)
	}
	return append(out, name)
}

// clusterName answers a full name of the cluster's zone, by the DNS specification of Kubernetes.
func (t *Tables) clusterName(name string, aliases int) (Answer, bool) {
	rest, ok := strings.CutSuffix(name, "."+ClusterDomain)
	if !ok {
		return Answer{}, false
	}
	labels := strings.Split(rest, ".")
	switch n := len(labels); {
	case n == 3 && labels[2] == "svc":
		return t.serviceName(labels[0], labels[1], "", aliases)
	case n == 4 && labels[3] == "svc":
		return t.serviceName(labels[1], labels[2], labels[0], aliases)
	case n == 3 && labels[2] == "pod": // any address in dashes, as CoreDNS' "pods insecure"
		if a, err := netip.ParseAddr(strings.ReplaceAll(labels[0], "-", ".")); err == nil {
			return Answer{Addresses: []netip.Addr{a}}, true
		}
	}
	return Answer{}, false
}

func (t *Tables) serviceName(name, namespace, host string, aliases int) (Answer, bool) {
	s := t.services[types.NamespacedName{Namespace: namespace, Name: name}]
	if s == nil || s.object == nil {
		return Answer{}, false
	}
	spec := &s.object.Spec
	switch {
	case spec.Type == corev1.ServiceTypeExternalName:
		if host != "" || aliases == aliasesMax {
			return Answer{}, false
		}
		target := strings.ToLower(strings.TrimSuffix(spec.ExternalName, "."))
		if within(target, ClusterDomain) {
			return t.clusterName(target, aliases+1)
		}
		if a, err := netip.ParseAddr(target); err == nil {
			return Answer{Addresses: []netip.Addr{a.Unmap()}}, true
		}
		return Answer{Outside: target}, true
	case spec.ClusterIP == corev1.ClusterIPNone || host != "":
		found := s.records(host)
		return Answer{Addresses: found}, len(found) > 0
	}
	a, err := netip.ParseAddr(spec.ClusterIP)
	return Answer{Addresses: []netip.Addr{a}}, err == nil
}

// records returns the addresses of the ready endpoints, all or those with the host name (or address in dashes), sorted.
func (s *service) records(host string) []netip.Addr {
	var out []netip.Addr
	for _, slice := range s.slices {
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if !yes(e.Conditions.Ready, true) {
				continue
			}
			for _, text := range e.Addresses {
				named := host == "" || e.Hostname != nil && strings.EqualFold(*e.Hostname, host) ||
					e.Hostname == nil && strings.ReplaceAll(text, ".", "-") == host
				if a, err := netip.ParseAddr(text); err == nil && named {
					out = append(out, a)
				}
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// within reports whether the name is the domain or below it.
func within(name, domain string) bool {
	return name == domain || strings.HasSuffix(name, "."+domain)
}
