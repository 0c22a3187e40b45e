package compile

import (
	"crypto/tls"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// state is what one Compile leaves for the next.
type state struct {
	classes  map[string]bool
	pairs    map[config.Name]keyPair
	served   map[string]servedPair
	routes   map[routeKey]*compiled
	good     map[routeKey]*compiled // the last valid version of routes that are not, or are not served
	backends map[config.BackendKey]*config.Backend
	targets  map[targetKey]*target
	hosts    map[listenerKey]map[string]*assembled
	statuses Statuses
	config   *config.Config
}

// servedPair is the certificate that a listener serves.
type servedPair struct {
	secret      config.Name
	certificate *tls.Certificate
}

// emptyState with room for as much as there was last time.
func emptyState(last *state) *state {
	s := &state{classes: map[string]bool{}, pairs: map[config.Name]keyPair{}, served: map[string]servedPair{}, good: map[routeKey]*compiled{},
		hosts: map[listenerKey]map[string]*assembled{}, config: &config.Config{}}
	if last == nil {
		last = &state{}
	}
	s.routes = make(map[routeKey]*compiled, len(last.routes))
	s.backends = make(map[config.BackendKey]*config.Backend, len(last.backends))
	s.targets = make(map[targetKey]*target, len(last.targets))
	return s
}

// versionOf an object: differs when any of it does.
func versionOf(o metav1.Object) string {
	return string(o.GetUID()) + "/" + o.GetResourceVersion() + "/" + strconv.FormatInt(o.GetGeneration(), 10)
}
