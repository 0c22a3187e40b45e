//go:build !faketime

package virtualclock

// Virtual tells whether this program runs in virtual time.
const Virtual = false

// Overlay tells whether the runtime was built with the overlay that fixes the order of events.
const Overlay = false
