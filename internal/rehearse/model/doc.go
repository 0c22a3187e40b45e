// Package model turns a scenario and the objects of a cluster into the input of package flow: which workloads serve
// requests, who calls whom, what a request costs, how pods share load. What nobody said is assumed, and every assumption
// is returned with its reason and the field that replaces it.
//
// Build is the way in. It is pure: objects in, a Topology out, in an order that depends on names alone.
package model
