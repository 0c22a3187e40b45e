//go:build faketime

package virtualclock

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	mathrand "math/rand/v2"
	"os"
	"strconv"
	"time"
	_ "unsafe" // go:linkname
)

// Virtual tells whether this program runs in virtual time.
const Virtual = true

//go:linkname setTestingReader crypto/internal/rand.SetTestingReader
func setTestingReader(io.Reader)

// A goroutine in the signal loop keeps a thread in a system call, and the runtime never finds itself idle.
//
//go:linkname watchSignalLoop os/signal.watchSignalLoop
var watchSignalLoop func()

//go:linkname now runtime.faketime
var now int64

func init() {
	watchSignalLoop = func() {}
	seed, err := strconv.ParseUint(os.Getenv(SeedVariable), 10, 64)
	if err != nil && os.Getenv(SeedVariable) != "" {
		panic("virtualclock: " + SeedVariable + ": " + err.Error())
	}
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	random := mathrand.NewChaCha8(key)
	setTestingReader(random)
	rand.Reader = random
	reseed(seed)
	if s := os.Getenv(StartVariable); s != "" {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			panic("virtualclock: " + StartVariable + ": " + err.Error())
		}
		now = t.UnixNano()
	}
}
