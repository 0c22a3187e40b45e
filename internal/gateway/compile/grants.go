package compile

import (
	"strconv"

	gw "sigs.k8s.io/gateway-api/apis/v1"
)

// grants are ReferenceGrants by the namespace they stand in.
type grants map[string][]*gw.ReferenceGrant

func newGrants(list []*gw.ReferenceGrant) grants {
	g := grants{}
	for _, grant := range byAge(list) {
		g[grant.Namespace] = append(g[grant.Namespace], grant)
	}
	return g
}

// reference from an object of one kind to one of another.
type reference struct {
	fromGroup, fromKind, fromNamespace string
	toGroup, toKind, toNamespace       string
	toName                             string
}

// allow tells whether a reference is allowed: within a namespace always, into another by a ReferenceGrant there.
func (g grants) allow(r reference) bool {
	if r.fromNamespace == r.toNamespace {
		return true
	}
	for _, grant := range g[r.toNamespace] {
		if grantsFrom(grant, r) && grantsTo(grant, r) {
			return true
		}
	}
	return false
}

func grantsFrom(grant *gw.ReferenceGrant, r reference) bool {
	for _, f := range grant.Spec.From {
		if string(f.Group) == r.fromGroup && string(f.Kind) == r.fromKind && string(f.Namespace) == r.fromNamespace {
			return true
		}
	}
	return false
}

func grantsTo(grant *gw.ReferenceGrant, r reference) bool {
	for _, t := range grant.Spec.To {
		group := string(t.Group)
		if group == "core" {
			group = ""
		}
		if group == r.toGroup && string(t.Kind) == r.toKind && (t.Name == nil || *t.Name == "" || string(*t.Name) == r.toName) {
			return true
		}
	}
	return false
}

// version of the grants of a namespace: differs when any of them does.
func (g grants) version(namespace string) string {
	v := ""
	for _, grant := range g[namespace] {
		v += string(grant.UID) + "/" + grant.ResourceVersion + "/" + strconv.FormatInt(grant.Generation, 10) + ";"
	}
	return v
}

// refusal says how to allow a reference.
func (r reference) refusal() string {
	return "no ReferenceGrant in namespace " + r.toNamespace + " allows " + r.fromKind + " of namespace " + r.fromNamespace + " to refer to " +
		r.toKind + " " + r.toName + "; create one there"
}
