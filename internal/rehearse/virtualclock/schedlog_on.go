//go:build faketime && overlay && schedlog

package virtualclock

import (
	"bufio"
	"fmt"
	"io"
	"runtime"
	_ "unsafe" // go:linkname

	"github.com/fairway-dev/fairway/internal/rehearse/schedlog"
)

// SchedLog tells whether this build records the scheduler's decisions.
const SchedLog = true

//go:linkname decisions runtime.schedLog
var decisions [1 << 22][5]uint64

//go:linkname decided runtime.schedLogN
var decided int

// WriteSchedLog writes what the scheduler decided so far, a line a decision (package schedlog).
func WriteSchedLog(out io.Writer) error {
	w := bufio.NewWriterSize(out, 1<<20)
	names := map[uint64]string{}
	n := decided // this goroutine goes on deciding
	for i := range n {
		d := &decisions[i]
		name, ok := names[d[1]]
		if !ok {
			name = "?"
			if f := runtime.FuncForPC(uintptr(d[1])); f != nil {
				name = f.Name()
			}
			names[d[1]] = name
		}
		fmt.Fprintln(w, d[0], name, d[2], d[3], d[4])
	}
	if n == len(decisions) {
		fmt.Fprintln(w, schedlog.Truncated)
	}
	return w.Flush()
}
