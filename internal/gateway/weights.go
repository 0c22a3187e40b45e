package gateway

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// Route names a route whose weights are set, by what it is in the cluster.
type Route struct {
	Kind string
	config.Name
}

// Weights of a route's two Services, and of further ones. A subset of a Service (Istio's) goes by SERVICE/SUBSET.
type Weights struct {
	Canary, Stable int32
	Additional     map[string]int32 // by Service name
}

// RuleWeights are those of one rule, by its name, or its place as a number.
type RuleWeights struct {
	Rule string
	Weights
}

// serviceOf a share, as weights are set by it.
func serviceOf(s *config.Share) string {
	if s.Backend != nil && s.Backend.Key.Kind == config.SubsetBackend {
		return s.Service + "/" + s.Backend.Key.Subset
	}
	return s.Service
}

// weights are those that were set before the route's object said so. They hold until an event of the object comes that is at
// or past the write, or the write has failed.
type weights struct {
	data Sink
	log  *slog.Logger
	tell func(r Route, reason, message string)

	mu     sync.Mutex
	config *config.Config // in force
	held   map[config.RuleKey]*held
	// steered are the rules, by route, of those that somebody has asked for: a look through all takes half a millisecond at
	// 10,000, and a change of weights is not to wait for it.
	steered map[Route][]*config.Rule
}

// of a route, in the order of the Config.
func (w *weights) of(r Route) []*config.Rule {
	rules, known := w.steered[r]
	if known || w.config == nil {
		return rules
	}
	if w.steered == nil {
		w.steered = map[Route][]*config.Rule{}
	}
	w.steered[r] = rulesOf(w.config, map[Route][]*config.Rule{r: nil})[r]
	return w.steered[r]
}

// rulesOf fills in the rules of the routes that it is given.
func rulesOf(c *config.Config, routes map[Route][]*config.Rule) map[Route][]*config.Rule {
	for _, rule := range c.Rules {
		if rule == nil {
			continue
		}
		r := Route{Kind: rule.Key.Kind, Name: rule.Key.Name}
		if of, asked := routes[r]; asked {
			routes[r] = append(of, rule)
		}
	}
	return routes
}

// held weights of one rule.
type held struct {
	route Route
	// version of the object from which on it says the same; "" = it is not written yet.
	version string
}

// rules of a route that divide requests between the two Services. Those that send to one of them alone (the paths that are not
// steered, the headers that lead to the canary) have no weights to set: with 0 they would fail all their requests.
func (w *weights) rules(r Route, canary, stable string) []*config.Rule {
	var out []*config.Rule
	for _, rule := range w.of(r) {
		both := [2]bool{}
		for i := range rule.Backends {
			service := serviceOf(&rule.Backends[i])
			both[0], both[1] = both[0] || service == canary, both[1] || service == stable
		}
		if both[0] && both[1] {
			out = append(out, rule)
		}
	}
	return out
}

// Set puts weights in force, for the next request, of the rule with that name; "" = of all that divide between the two. The
// returned function is to be called when the write of the object has ended: with its resourceVersion, or with the error for
// which it is given up.
func (w *weights) Set(r Route, called, canary, stable string, to Weights) (written func(version string, err error), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rules := w.rules(r, canary, stable)
	if called != "" {
		rules = slices.DeleteFunc(rules, func(rule *config.Rule) bool { return rule.Key.Rule != called })
	}
	if len(rules) == 0 {
		return nil, fmt.Errorf("the gateway serves no rule of %s %s that divides requests between %s and %s", r.Kind, r.Name, canary, stable)
	}
	for _, rule := range rules {
		set := make([]int32, len(rule.Backends))
		for i := range rule.Backends {
			b := &rule.Backends[i]
			service := serviceOf(b)
			additional, other := to.Additional[service]
			switch {
			case service == canary:
				set[i] = to.Canary
			case service == stable:
				set[i] = to.Stable
			case other:
				set[i] = additional
			default:
				set[i] = b.Weight
			}
		}
		if err := w.data.SetWeights(rule.Key, set); err != nil {
			return nil, err
		}
		w.held[rule.Key] = &held{route: r}
	}
	return func(version string, err error) { w.written(r, version, err) }, nil
}

func (w *weights) written(r Route, version string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, h := range w.held {
		switch {
		case h.route != r:
		case err != nil:
			w.release(key)
		default:
			h.version = version
		}
	}
	if err != nil {
		w.tell(r, "WeightsNotWritten", fmt.Sprintf("the weights of %s could not be written, so those of the object are in force again: %v", r.Kind, err))
	}
}

// published takes the Config that was put in force, and the versions of the routes it was made from. Weights that were held
// are let go of once their object has caught up.
func (w *weights) published(c *config.Config, versions func(Route) string) {
	w.mu.Lock()
	routes := make(map[Route][]*config.Rule, len(w.steered))
	for r := range w.steered {
		routes[r] = nil
	}
	w.mu.Unlock()
	if len(routes) > 0 {
		rulesOf(c, routes)
		maps.DeleteFunc(routes, func(_ Route, rules []*config.Rule) bool { return len(rules) == 0 }) // they are served no more
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.config, w.steered = c, routes
	for key, h := range w.held {
		if h.version != "" && !before(versions(h.route), h.version) {
			w.release(key)
		}
	}
}

func (w *weights) release(key config.RuleKey) {
	delete(w.held, key)
	if err := w.data.SetWeights(key, nil); err != nil {
		w.log.Debug("weights of a rule that is served no more", "error", err)
	}
}

// before compares resource versions of one object, which grow. One that is "" is of an object that is gone: nothing is
// before it.
func before(a, b string) bool {
	x, err := strconv.ParseUint(a, 10, 64)
	y, other := strconv.ParseUint(b, 10, 64)
	return err == nil && other == nil && x < y
}

// Loaded weights of the two Services, of each rule of a route that divides requests between them; false when there is none.
func (w *weights) Loaded(r Route, canary, stable string) (out []RuleWeights, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, rule := range w.rules(r, canary, stable) {
		now, ok := w.data.Weights(rule.Key)
		if !ok {
			continue
		}
		one := RuleWeights{Rule: rule.Key.Rule}
		for i := range rule.Backends {
			switch service := serviceOf(&rule.Backends[i]); service {
			case canary:
				one.Canary += now[i]
			case stable:
				one.Stable += now[i]
			default:
				if one.Additional == nil {
					one.Additional = map[string]int32{}
				}
				one.Additional[service] = now[i]
			}
		}
		out = append(out, one)
	}
	return out, len(out) > 0
}
