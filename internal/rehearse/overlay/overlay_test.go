package overlay

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// goroot asks the go command, which is what the overlay is built with.
func goroot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skipf("no go command here: %v", err)
	}
	return strings.TrimSpace(string(out))
}

func runtimeSource(t *testing.T) fstest.MapFS {
	t.Helper()
	src := fstest.MapFS{}
	for _, f := range []string{"proc.go", "rand.go", "select.go", "lock_spinbit.go", "mprof.go", "symtab.go"} {
		b, err := os.ReadFile(filepath.Join(goroot(t), "src", "runtime", f))
		if err != nil {
			t.Skipf("no source of the Go runtime here: %v", err)
		}
		src[f] = &fstest.MapFile{Data: b}
	}
	return src
}

func TestEveryEditFitsThisToolchain(t *testing.T) {
	for _, log := range []bool{false, true} {
		files, err := changed(runtimeSource(t), log)
		if err != nil {
			t.Fatal(err)
		}
		if len(files) != 6 {
			t.Errorf("changed %d files, want 6", len(files))
		}
		jump, walk := strings.Index(files["proc.go"], "jump time forward"), strings.Index(files["proc.go"], "grunning := 0")
		if jump > walk {
			t.Error("checkdead still walks all goroutines before it jumps")
		}
	}
}

func TestAnUnexpectedRuntimeIsRefusedWhole(t *testing.T) {
	for _, name := range []string{"proc.go", "rand.go", "select.go", "lock_spinbit.go", "mprof.go", "symtab.go"} {
		src := runtimeSource(t)
		src[name] = &fstest.MapFile{Data: []byte("package runtime\n")}
		if files, err := changed(src, false); !errors.Is(err, errShape) || files != nil {
			t.Errorf("with another %s: files %d, error %v; want none and errShape", name, len(files), err)
		}
	}
}

func TestAPlaceThatStandsTwiceIsRefused(t *testing.T) {
	e := edit{file: "x.go", old: "a\n", new: "b\n"}
	if _, err := e.apply("a\na\n"); err == nil {
		t.Error("an edit that fits in two places was made")
	}
}
