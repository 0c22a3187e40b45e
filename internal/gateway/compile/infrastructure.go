package compile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	gw "sigs.k8s.io/gateway-api/apis/v1"
)

// Labels of the Services that are made for Gateways, beside those of spec.infrastructure. The class is named as GEP-1762 has it.
const (
	ManagedByLabel = "app.kubernetes.io/managed-by"
	ManagedBy      = "fairway"
	classLabel     = "gateway.networking.k8s.io/gateway-class-name"
)

// infrastructure makes, for each Gateway that is accepted, the Service by which pods reach it: named NAME-CLASS (GEP-1762), with the
// labels and annotations of spec.infrastructure, a port for each that is listened on, and no selector.
func (c *compilation) infrastructure() {
	for _, g := range c.in.Gateways {
		p := c.parents[parentKey{kindGateway, nameOf(g)}]
		if p == nil || p.refused.bad {
			continue
		}
		var ports []int32
		of := slices.Clone(p.listeners)
		for _, s := range c.sets[p.key] {
			of = append(of, s.listeners...)
		}
		for _, l := range of {
			if l.serves() && !l.accepted.bad && !slices.Contains(ports, int32(l.spec.Port)) {
				ports = append(ports, int32(l.spec.Port))
			}
		}
		if len(ports) == 0 {
			continue // a Service has one at least
		}
		slices.Sort(ports)
		c.out.Services = append(c.out.Services, gatewayService(g, ports))
	}
	slices.SortFunc(c.out.Services, func(a, b *corev1.Service) int { return compareNames(nameOf(a), nameOf(b)) })
}

func gatewayService(g *gw.Gateway, ports []int32) *corev1.Service {
	yes := true
	s := &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: metav1.ObjectMeta{
		Namespace: g.Namespace, Name: serviceName(g.Name + "-" + string(g.Spec.GatewayClassName)), Labels: map[string]string{},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: gw.GroupVersion.String(), Kind: kindGateway, Name: g.Name, UID: g.UID, Controller: &yes}},
	}}
	if infra := g.Spec.Infrastructure; infra != nil {
		for k, v := range infra.Labels {
			s.Labels[string(k)] = string(v)
		}
		for k, v := range infra.Annotations {
			if s.Annotations == nil {
				s.Annotations = map[string]string{}
			}
			s.Annotations[string(k)] = string(v)
		}
	}
	s.Labels[gw.GatewayNameLabelKey] = short(g.Name, validation.LabelValueMaxLength)
	s.Labels[classLabel] = short(string(g.Spec.GatewayClassName), validation.LabelValueMaxLength)
	s.Labels[ManagedByLabel] = ManagedBy
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprintf("port-%d", p), Protocol: corev1.ProtocolTCP, Port: p})
	}
	return s
}

// serviceName turns the name of a Gateway, which may have dots and begin with a digit, into one for a Service. Names that have
// to be changed end with a hash, so that no two become the same.
func serviceName(name string) string {
	out := strings.ReplaceAll(name, ".", "-")
	if out[0] >= '0' && out[0] <= '9' {
		out = "gateway-" + out
	}
	if out != name {
		out += "-" + hashOf(name)
	}
	return short(out, validation.DNS1123LabelMaxLength)
}

// short cuts a name that is too long, and tells it from others with the same beginning by a hash.
func short(name string, most int) string {
	if len(name) <= most {
		return name
	}
	hash := hashOf(name)
	return strings.TrimRight(name[:most-len(hash)-1], "-.") + "-" + hash
}

func hashOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:4])
}
