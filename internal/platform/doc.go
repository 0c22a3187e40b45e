// Package platform puts Fairway together. In: a cluster (an existing one, or the embedded control plane with virtual
// nodes) and the list of capabilities that are on. Out: one running house: one controller-runtime manager, one cache of
// watched objects, one place for metrics and health, and an orderly end.
//
// [Up] starts the embedded cluster and everything on it; [Controller] runs the same capabilities against any cluster.
// capabilities.go is the list of what there is.
package platform
