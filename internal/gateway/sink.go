package gateway

import (
	"context"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
	"github.com/fairway-dev/fairway/internal/gateway/proxy"
)

// Sink is where the capability puts what it has decided: the data path, or what stands for it where no sockets are (a
// rehearsal, which carries it out on rates). Its methods may be called at the same time, and are called again by each life of
// the capability.
type Sink interface {
	// Publish puts a Config in force, whole; it returns the sockets that could not be bound.
	Publish(c *config.Config, index *match.Index) []*proxy.SocketError
	// SetEndpoints of a backend; they may come before the Config that has it.
	SetEndpoints(key config.BackendKey, endpoints []config.Endpoint)
	// SetWeights of a rule, in the order of its Backends, for the next request and until nil, which goes back to the Config's.
	SetWeights(key config.RuleKey, weights []int32) error
	// Weights in force of a rule; false when it is not served.
	Weights(key config.RuleKey) ([]int32, bool)
	// Drain lets requests end, as long as ctx does not.
	Drain(ctx context.Context) error
}
