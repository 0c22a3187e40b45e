package platform

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairway-dev/fairway/internal/gateway"
	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/evidence"
	"github.com/fairway-dev/fairway/internal/gateway/flowpath"
	"github.com/fairway-dev/fairway/internal/gateway/match"
	"github.com/fairway-dev/fairway/internal/gateway/proxy"
	"github.com/fairway-dev/fairway/internal/kube/route"
	"github.com/fairway-dev/fairway/internal/rehearse/model"
	"github.com/fairway-dev/fairway/internal/rehearse/play"
)

// gatewayNames are groups whose objects need the gateway.
var gatewayNames = []string{"gateway.networking.k8s.io/", "gateway.networking.x-k8s.io/", `"kind":"BackendPolicy"`}

// routedDocument tells whether a run needs the gateway: it has its objects, or loads that come through it.
func routedDocument(doc *play.Document) bool {
	for i := range doc.Scenario.Spec.Load {
		if _, routed := model.Through(doc.Scenario.Spec.Load[i].To); routed {
			return true
		}
	}
	return slices.ContainsFunc(gatewayNames, doc.Names)
}

// foreignNamed tells whether a run has, or steps make, kinds of other routers.
func foreignNamed(doc *play.Document) bool {
	return slices.ContainsFunc(gateway.ForeignKinds, func(k schema.GroupVersionKind) bool { return doc.Names(k.Group) })
}

// flowGateway is the data path of a rehearsal: what the gateway has decided, carried out on rates. It outlives the controllers.
type flowGateway struct {
	rerouted, counted func()

	mu       sync.Mutex
	table    *flowpath.Table
	version  uint64
	evidence *evidence.Store
}

func newFlowGateway(o play.HouseOptions) *flowGateway {
	return &flowGateway{rerouted: o.Rerouted, counted: o.Counted, table: flowpath.New(o.Document.Seed)}
}

// change the table; f reports whether it did.
func (g *flowGateway) change(f func(*flowpath.Table) bool) {
	g.mu.Lock()
	changed := f(g.table)
	if changed {
		g.version++
	}
	g.mu.Unlock()
	if changed {
		g.rerouted()
	}
}

// Publish implements gateway.Sink. Nothing is bound.
func (g *flowGateway) Publish(c *config.Config, index *match.Index) []*proxy.SocketError {
	g.change(func(t *flowpath.Table) bool { t.Publish(c, index); return true })
	return nil
}

// SetEndpoints implements gateway.Sink.
func (g *flowGateway) SetEndpoints(key config.BackendKey, endpoints []config.Endpoint) {
	g.change(func(t *flowpath.Table) bool { return t.SetEndpoints(key, endpoints, time.Now()) })
}

// SetWeights implements gateway.Sink.
func (g *flowGateway) SetWeights(key config.RuleKey, weights []int32) (err error) {
	g.change(func(t *flowpath.Table) bool { err = t.SetWeights(key, weights); return err == nil })
	return err
}

// Weights implements gateway.Sink.
func (g *flowGateway) Weights(key config.RuleKey) ([]int32, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.table.Weights(key)
}

// Drain implements gateway.Sink: no request is under way between two instants of the model.
func (g *flowGateway) Drain(context.Context) error { return nil }

// begin a life of the controllers: they have evidence of their own, and know nothing of weights that others had set.
func (g *flowGateway) begin(s *evidence.Store) {
	s.Due = g.counted
	g.change(func(t *flowpath.Table) bool {
		g.evidence = s
		t.Unset()
		return true
	})
}

// Version implements play.Router.
func (g *flowGateway) Version() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.version
}

// Way implements play.Router.
func (g *flowGateway) Way(q route.Request, now time.Time) route.Way {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.table.Way(q, now)
}

// Observe implements play.Router.
func (g *flowGateway) Observe(outcomes []route.Outcome, now time.Time) (time.Time, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.table.Observe(outcomes, now)
}

// Count implements play.Router.
func (g *flowGateway) Count(a route.Account, now time.Time) {
	g.mu.Lock()
	store := g.evidence
	g.mu.Unlock()
	if store == nil {
		return
	}
	k := evidence.Key{Namespace: a.Namespace, Revision: a.Revision, Route: a.Route}
	if one := store.Series(k); one != nil && !one.AddMany(a.Requests, a.Errors, a.Latency, now) {
		if one = store.Series(k); one != nil { // it was forgotten, and is there anew
			one.AddMany(a.Requests, a.Errors, a.Latency, now)
		}
	}
}
