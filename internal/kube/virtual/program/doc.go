// Package program says what a container does that has no container: how long it runs, how it ends, when it is healthy,
// what it uses and what listens on its ports.
//
// In come a pod, one of its containers and the [Rules]: Programs, flags, the image table. Out comes a [Choice] with the
// rule that made it in words. The order is: a fault in force, the pod's annotations, a service model of a scenario, the
// first matching Program, the image table, the reading of the command, a default. Everything is a pure function of its
// input: random draws depend on the seed and the container's identity alone.
package program
