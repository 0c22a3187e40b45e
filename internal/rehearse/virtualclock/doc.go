// Package virtualclock makes a program run in virtual time: linked with -tags faketime, the Go runtime's clock stands while
// any goroutine runs and jumps to the next timer when all wait. The package sets where the clock starts, lets every
// source of randomness follow one seed, and keeps the one thread quiet that would hold the clock: the signal loop.
//
// It takes both from the environment, since it must act before any other package's init reads them: FAIRWAY_VIRTUAL_START
// (RFC 3339) and FAIRWAY_SEED (a whole number). Without -tags faketime it does nothing, and Virtual is false.
package virtualclock

// Names of the environment variables that a virtual-time program is started with.
const (
	StartVariable = "FAIRWAY_VIRTUAL_START"
	SeedVariable  = "FAIRWAY_SEED"
)
