// Package overlay writes changed copies of a few files of the Go runtime and of the standard library's lowest layers, and
// the file that makes `go build -overlay` use them. With them a program linked with -tags faketime advances its virtual
// clock about three times faster, sees nothing of the machine it runs on, and repeats itself to the last scheduling
// decision for a seed. Nothing in GOROOT changes.
//
// Each edit must match its place in the toolchain's source exactly once. If one does not, nothing is written: the program
// can still be built without the overlay, with the same meaning, slower, and without a promised order of events.
package overlay

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// edit replaces one place of a file.
type edit struct {
	file string // below GOROOT/src
	why  string
	old  string
	new  string
	all  bool // every occurrence, at least one
	tail string
}

// edits that hold under the virtual clock only (runtime.faketime != 0), save for those that say otherwise.
var edits = []edit{
	{file: "runtime/proc.go", why: "nothing may depend on how long a system call takes: no P is taken away and nothing preempted because real time passed",
		old: "func retake(now int64) uint32 {\n", new: "func retake(now int64) uint32 {\n\tif faketime != 0 {\n\t\treturn 0\n\t}\n"},
	{file: "runtime/proc.go", why: "a thread that is about to go idle is waited for (1,000 looks, some 100 ms, at most; on a busy machine it may be off its core for tens of them) before another is made: making one allocates, and which comes first is a race in real time",
		old: "\tnmp := mget()\n\tif nmp == nil {\n",
		new: "\tnmp := mget()\n\tfor i := 0; i < 1000 && nmp == nil && faketime != 0 && !lockheld; i++ {\n\t\tunlock(&sched.lock)\n\t\tusleep(50)\n\t\tlock(&sched.lock)\n\t\tnmp = mget()\n\t}\n\tif nmp == nil {\n"},
	{file: "runtime/mgcscavenge.go", why: "the scavenger is woken by real time, and gives back what the kernel's pages allow; the memory limit is kept without it, by allocations",
		old: "func (s *scavengerState) wake() {\n", new: "func (s *scavengerState) wake() {\n\tif faketime != 0 {\n\t\treturn\n\t}\n"},
	{file: "runtime/rand.go", why: "map order, math/rand and jitter repeat; package virtualclock mixes in the seed before main",
		old: "\tglobalRand.state.Init(*seed)\n\tclear(seed[:])\n",
		new: "\tif faketime != 0 {\n\t\tfor i := range seed {\n\t\t\tseed[i] = byte(i*11 + 3)\n\t\t}\n\t}\n\tglobalRand.state.Init(*seed)\n\tclear(seed[:])\n"},
	{file: "runtime/rand.go", why: "one state for all threads: which thread runs a goroutine is a race",
		old: "\tmp := getg().m\n\tc := &mp.chacha8\n", new: "\tmp := getg().m\n\tc := &mp.chacha8\n\tif faketime != 0 {\n\t\tc = &m0.chacha8\n\t}\n"},
	{file: "runtime/rand.go", why: "a new thread must not draw from the common state",
		old: "\tmp.cheaprand = rand()\n", new: "\tif faketime == 0 || mp == &m0 {\n\t\tmp.cheaprand = rand()\n\t}\n"},
	{file: "runtime/rand.go", why: "the growth of type-assertion caches follows this state and allocates: one for all threads",
		old: "func cheaprand() uint32 {\n\tmp := getg().m\n", new: "func cheaprand() uint32 {\n\tmp := getg().m\n\tif faketime != 0 {\n\t\tmp = &m0\n\t}\n",
		tail: `
// selectRandn orders the cases of a select under the virtual clock, from a state of its own (SplitMix64): cheaprand also
// serves the scheduler, whose use of it depends on real time.
var selectRandState uint64

func selectRandn(n uint32) uint32 {
	if faketime == 0 {
		return cheaprandn(n)
	}
	selectRandState += 0x9e3779b97f4a7c15
	z := selectRandState
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return uint32((uint64(uint32(z>>32)) * uint64(n)) >> 32)
}

// reseed makes the common random states follow a scenario's seed.
func reseed(seed uint64) {
	var key [32]byte
	for i := range key {
		key[i] = byte(seed>>(8*(i%8))) ^ byte(i*11+3)
	}
	m0.chacha8.Init(key)
	m0.cheaprand = seed*0x9e3779b97f4a7c15 + 1
	selectRandState = seed
}

// raceRandn is for uses whose number depends on real time: contended locks, samples of lock waits, the unwinder's cache.
//
//go:nosplit
func raceRandn(n uint32) uint32 {
	if faketime == 0 {
		return cheaprandn(n)
	}
	return uint32((uint64(uint32(cputicks()*0x9e3779b9)) * uint64(n)) >> 32)
}
`},
	{file: "runtime/select.go", why: "select repeats", old: "j := cheaprandn(uint32(norder + 1))\n", new: "j := selectRandn(uint32(norder + 1))\n"},
	{file: "runtime/lock_spinbit.go", why: "contended locks draw elsewhere", old: "cheaprandn(", new: "raceRandn(", all: true},
	{file: "runtime/mprof.go", why: "samples of lock waits draw elsewhere", old: "\tif cheaprandn(gTrackingPeriod) == 0 {\n", new: "\tif raceRandn(gTrackingPeriod) == 0 {\n"},
	{file: "runtime/symtab.go", why: "the unwinder's caches are kept per thread", old: "cheaprandn(uint32(len(cache.entries[ck])))", new: "raceRandn(uint32(len(cache.entries[ck])))"},
}

// machineEdits hide the machine. What a program reads of it ends up on the heap: a process id, a path or a counter of /proc
// with one digit more moves every address after it, and with them the order of maps keyed by pointers. Runs are equal on
// any machine of an architecture only if nothing of it is seen.
var machineEdits = []edit{
	{file: "runtime/os_linux.go", why: "neither the number of processors nor the size of huge pages is seen",
		old: "\tphysHugePageSize = getHugePageSize()\n", new: "\tphysHugePageSize = getHugePageSize()\n\tif faketime != 0 {\n\t\tnumCPUStartup, physHugePageSize = 1, 2<<20\n\t}\n"},
	{file: "os/exec.go", why: "the process id is not seen", old: "func Getpid() int { return syscall.Getpid() }\n", new: "func Getpid() int { return 1 }\n"},
	{file: "os/sys_linux.go", why: "the host's name is not seen", old: "func hostname() (name string, err error) {\n", new: "func hostname() (name string, err error) {\n\tif true {\n\t\treturn \"rehearsal\", nil\n\t}\n"},
	{file: "os/executable_procfs.go", why: "the path of the program is not seen; this one opens it as well", old: "path, err := Readlink(procfn)\n", new: "path, err := procfn, error(nil)\n"},
	{file: "syscall/netlink_linux.go", why: "the machine's network is not seen", old: "func NetlinkRIB(proto, family int) ([]byte, error) {\n", new: "func NetlinkRIB(proto, family int) ([]byte, error) {\n\tif true {\n\t\treturn nil, EAFNOSUPPORT\n\t}\n"},
	{file: "syscall/syscall_linux.go", why: "no library finds /proc and reads its counters, nor the hierarchy of control groups; and nobody is reached: an answer would come at a real time, and virtual time would not wait for it",
		old: "func Syscall(trap, a1, a2, a3 uintptr) (r1, r2 uintptr, err Errno) {\n", new: "func Syscall(trap, a1, a2, a3 uintptr) (r1, r2 uintptr, err Errno) {\n\tswitch trap {\n\tcase SYS_STATFS:\n\t\treturn ^uintptr(0), 0, ENOENT\n\tcase SYS_CONNECT:\n\t\treturn ^uintptr(0), 0, ENETUNREACH\n\t}\n"},
}

// schedLogEdits record every scheduling decision, to find the first that differs between two runs.
var schedLogEdits = []edit{
	{file: "runtime/proc.go", why: "record who runs next and the states that decide it",
		old:  "\tcasgstatus(gp, _Grunnable, _Grunning)\n\tgp.waitsince = 0\n\tgp.preempt = false\n",
		new:  "\tif schedLogN < len(schedLog) {\n\t\tschedLog[schedLogN] = [5]uint64{gp.goid, uint64(gp.startpc), uint64(faketime), m0.cheaprand, schedRandCalls}\n\t\tschedLogN++\n\t}\n\tcasgstatus(gp, _Grunnable, _Grunning)\n\tgp.waitsince = 0\n\tgp.preempt = false\n",
		tail: "\nvar schedLog [1 << 22][5]uint64\nvar schedLogN int\nvar schedRandCalls uint64\n"},
	{file: "runtime/rand.go", why: "count draws", old: "\tc := &mp.chacha8\n\tif faketime != 0 {\n", new: "\tc := &mp.chacha8\n\tschedRandCalls++\n\tif faketime != 0 {\n"},
}

// Write makes the overlay for the toolchain that `go` in the current environment runs, below dir, and returns the path of
// overlay.json. With schedLog the runtime also records its scheduling decisions. Each overlay has a directory of its own,
// named after what is in it: builds at one time never change each other's.
func Write(dir string, schedLog bool) (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("asking the go command for GOROOT: %w", err)
	}
	src := filepath.Join(strings.TrimSpace(string(out)), "src")
	files, err := changed(os.DirFS(src), schedLog)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	names := slices.Sorted(maps.Keys(files))
	sum := sha256.New()
	for _, name := range names {
		fmt.Fprintf(sum, "%s\x00%s\x00", name, files[name])
	}
	dir = filepath.Join(dir, hex.EncodeToString(sum.Sum(nil))[:16])
	replace := map[string]string{}
	for _, name := range names {
		file, text := filepath.Join(dir, name), files[name]
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return "", err
		}
		replace[filepath.Join(src, name)] = file
		if old, err := os.ReadFile(file); err == nil && string(old) == text {
			continue // an unchanged file keeps its time, and the build its cache
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	b, err := json.MarshalIndent(map[string]any{"Replace": replace}, "", "  ")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, b, 0o644)
}

// apply makes the edit in text.
func (e edit) apply(text string) (string, error) {
	n := strings.Count(text, e.old)
	switch {
	case e.all && n == 0, !e.all && n != 1:
		return "", fmt.Errorf("%s: %q stands %d times, not once (%s)", e.file, e.old, n, e.why)
	}
	return strings.ReplaceAll(text, e.old, e.new) + e.tail, nil
}

var errShape = errors.New("this Go toolchain's source has another shape than the overlay was written for")

// jumpFirst moves the part of checkdead that advances the virtual clock before its walk over all goroutines. The walk
// finds deadlocks; done at every jump it makes a jump cost as much as there are goroutines.
func jumpFirst(text string) (string, error) {
	walk := strings.Index(text, "\tgrunning := 0\n\tforEachG(func(gp *g) {")
	jump := strings.Index(text, "\t// Maybe jump time forward for playground.")
	rest := strings.Index(text, "\t// There are no goroutines running, so we can look at the P's.")
	if walk < 0 || jump < walk || rest < jump {
		return "", errors.New("runtime/proc.go: checkdead does not walk goroutines, jump and look at Ps in this order")
	}
	return text[:walk] + text[jump:rest] + text[walk:jump] + text[rest:], nil
}
