// Command fairway-rehearse plays one scenario with one seed in virtual time. `fairway rehearse` starts it: the document
// comes on standard input, read whole before anything begins, and the record of the run goes to descriptor 3. Closing
// descriptor 4 ends the run with what is known.
//
// Whatever would keep a thread busy or in a system call while idle stops the virtual clock; the little of it that is needed
// is here.
package main

import (
	"context"
	"fmt"
	"os"
	"syscall"

	_ "github.com/fairway-dev/fairway/internal/kube/quietqueue"
	"github.com/fairway-dev/fairway/internal/platform"
	"github.com/fairway-dev/fairway/internal/rehearse/virtualclock"
)

// Descriptors the parent opens.
const (
	streamDescriptor  = 3
	controlDescriptor = 4
	logDescriptor     = 5 // only in builds that record scheduling decisions
)

// exitIncomplete says that no usable answer came about; the stream tells why.
const exitIncomplete = 2

func main() {
	// A blocking descriptor: a full pipe then holds the clock instead of letting it run on.
	if err := syscall.SetNonblock(streamDescriptor, false); err != nil {
		fmt.Fprintln(os.Stderr, "fairway-rehearse: started by hand; use `fairway rehearse`")
		os.Exit(exitIncomplete)
	}
	stream := os.NewFile(streamDescriptor, "stream")
	ctx, cancel := context.WithCancel(context.Background())
	watchControl(cancel)
	err := platform.Rehearse(ctx, os.Stdin, stream, virtualclock.Overlay)
	if virtualclock.SchedLog {
		_ = virtualclock.WriteSchedLog(os.NewFile(logDescriptor, "log")) // a parent that asked for none opened none
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fairway-rehearse:", err)
		os.Exit(exitIncomplete)
	}
}

// watchControl cancels when the parent closes its end. The descriptor is polled and never blocks a thread.
func watchControl(cancel context.CancelFunc) {
	if err := syscall.SetNonblock(controlDescriptor, true); err != nil {
		return // no control pipe: the run ends by itself
	}
	control := os.NewFile(controlDescriptor, "control")
	go func() {
		var b [1]byte
		_, _ = control.Read(b[:]) // whatever it says, the parent has let go
		cancel()
	}()
}
