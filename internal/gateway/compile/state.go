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
	good     map[routeKey]*compiled // the last valid version of routes
	backends map[config.BackendKey]*config.Backend
	targets  map[targetKey]*target
	places   map[config.RuleKey]int // Index of rules
	hosts    map[hostKey]*assembled
	parented map[routeKey]bool // routes that had a parent of ours
	config   *config.Config
}

// servedPair is the certificate that a listener serves.
type servedPair struct {
	secret      config.Name
	certificate *tls.Certificate
}

func emptyState() *state {
	return &state{classes: map[string]bool{}, pairs: map[config.Name]keyPair{}, served: map[string]servedPair{},
		routes: map[routeKey]*compiled{}, good: map[routeKey]*compiled{}, backends: map[config.BackendKey]*config.Backend{},
		targets: map[targetKey]*target{}, places: map[config.RuleKey]int{}, hosts: map[hostKey]*assembled{}, parented: map[routeKey]bool{},
		config: &config.Config{}}
}

// versionOf an object: differs when any of it does.
func versionOf(o metav1.Object) string {
	return string(o.GetUID()) + "/" + o.GetResourceVersion() + "/" + strconv.FormatInt(o.GetGeneration(), 10)
}
