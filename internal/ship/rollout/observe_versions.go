package rollout

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// gatewayGroup is that of the Gateway API, whose routes came to v1 at different times.
const gatewayGroup = "gateway.networking.k8s.io"

// olderVersions are those of the Gateway API's routes before v1, the newest first: a cluster with the definitions of an earlier
// release serves these.
var olderVersions = map[string][]string{"HTTPRoute": {"v1beta1"}, "GRPCRoute": {"v1alpha2"}, "TCPRoute": {"v1alpha2"}, "TLSRoute": {"v1alpha3", "v1alpha2"}}

// servedVersions are those that the API server was found to serve instead of v1. The zero value knows of none.
type servedVersions struct {
	mu sync.Mutex
	by map[string]string // by kind
}

// versions are those that were asked for, and where none was, those that were found.
func (s *servedVersions) versions(asked traffic.Versions) traffic.Versions {
	s.mu.Lock()
	defer s.mu.Unlock()
	for kind, v := range s.by {
		if field := versionOf(&asked, kind); field != nil && *field == "" {
			*field = v
		}
	}
	return asked
}

func (s *servedVersions) found(kind, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[string]string{}
	}
	s.by[kind] = version
}

// versionOf is the field of a kind of route; nil for another kind.
func versionOf(v *traffic.Versions, kind string) *string {
	switch kind {
	case "HTTPRoute":
		return &v.HTTPRoute
	case "GRPCRoute":
		return &v.GRPCRoute
	case "TCPRoute":
		return &v.TCPRoute
	case "TLSRoute":
		return &v.TLSRoute
	}
	return nil
}

// older is whether a route is served in an older version, nobody having asked for a certain one; it is read in that from now on.
func (l *look) older(kind schema.GroupVersionKind) bool {
	field := versionOf(&l.current, kind.Kind)
	if kind.Group != gatewayGroup || field == nil || *field != "" {
		return false
	}
	for _, v := range olderVersions[kind.Kind] {
		if _, err := l.stores.need(l.ctx, kind.GroupKind().WithVersion(v)); err == nil {
			l.served.found(kind.Kind, v)
			*field = v
			return true
		}
	}
	return false
}
