// Package route has the values in which a gateway and a model of requests speak of routes: what a request looks like, where
// it goes, how its tries ended, and what came of it. It knows neither of the two.
package route

import "github.com/fairway-dev/fairway/internal/kube/sketch"

// Request is a kind of requests that are routed alike.
type Request struct {
	// Route is Kind/namespace/name of the route that the requests are meant for, at whatever host name it has; "" = Host and
	// Port say where they go.
	Route string
	// Host that is asked for, and the Port of the gateway; 0 = the first that serves the host, by number.
	Host string
	Port uint16
	// Method ("" = GET) and Path ("" = /), with the query if there is one.
	Method, Path string
}

// Way is where requests go at present.
type Way struct {
	// Route that serves them, Kind/namespace/name; "" = none does.
	Route string
	// Status that the gateway answers all of them with by itself; 0 = they go to the Shares.
	Status int
	// Why the gateway answers them itself, and that is no redirect.
	Why string
	// Shares in the order of the route; their parts add up to 1.
	Shares []Share
	// Timeout of a request with all its tries, and of each try, in seconds; 0 = none.
	TimeoutSeconds, TryTimeoutSeconds float64
	Retry                             Retry
}

// Share of the requests of a Way.
type Share struct {
	// Backend tells it from all others: namespace/name of the Service and port, and what else makes it different.
	Backend string
	// Service is namespace/name.
	Service string
	// Part of the requests, 0…1.
	Part float64
	// Status that the gateway answers with by itself, as it has no backend or endpoint for them; 0 = they go to the Endpoints.
	Status int
	// Endpoints that requests go to now, by pod.
	Endpoints []Endpoint
	// Watched endpoints are ejected when they fail too often: whoever sends the requests tells the Outcomes.
	Watched bool
	// BudgetShare of the backend's requests may be retries, and BudgetPerSecond of them if that is more.
	BudgetShare, BudgetPerSecond float64
}

// Endpoint is a pod behind a backend.
type Endpoint struct {
	// Pod is namespace/name; UID that of the pod.
	Pod, UID string
	// Part of the requests of the backend, 0…1.
	Part float64
}

// Retry says what is tried again.
type Retry struct {
	// Attempts beyond the first; 0 = none.
	Attempts int
	// Errors are answers 500, Overload answers 503, Timeouts tries that took too long.
	Errors, Overload, Timeouts bool
	// BackoffSeconds before the first retry, doubled for each further one.
	BackoffSeconds float64
}

// Outcome is how the tries at an endpoint end at present.
type Outcome struct {
	Backend, UID string
	// PerSecond are the tries; Failures the share of them that ends with a 5xx or without an answer, GatewayFailures those of
	// them without an answer in time or with 502, 503 or 504.
	PerSecond, Failures, GatewayFailures float64
}

// Account is what came of requests to a revision.
type Account struct {
	// Namespace of the pods, Revision the hash of their template, Route as of a Way.
	Namespace, Revision, Route string
	// Requests that ended, and Errors of them.
	Requests, Errors float64
	// Latency of all of them, retries included. Not to be kept.
	Latency *sketch.Sketch
}
