// Package gateway is the capability that serves traffic: it reads routes, Gateways and what they refer to from the shared
// cache (observe.go), has them compiled (package compile), puts the result in force in the data path (package proxy), and
// says on the objects what became of them (report.go). Endpoints and weights go to the data path on ways of their own, which
// do not wait for a compilation (endpoints.go, weights.go). What requests came to is counted by revision (watch.go).
package gateway
