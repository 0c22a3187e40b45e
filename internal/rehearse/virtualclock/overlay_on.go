//go:build faketime && overlay

package virtualclock

import _ "unsafe" // go:linkname

// Overlay tells whether the runtime was built with the overlay that fixes the order of events.
const Overlay = true

//go:linkname reseed runtime.reseed
func reseed(seed uint64)
