//go:build !(faketime && overlay && schedlog)

package virtualclock

import "io"

// SchedLog tells whether this build records the scheduler's decisions.
const SchedLog = false

// WriteSchedLog does nothing in this build.
func WriteSchedLog(io.Writer) error { return nil }
