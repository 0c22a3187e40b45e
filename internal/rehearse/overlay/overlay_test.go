package overlay

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

func editedFiles() []string {
	var files []string
	for _, e := range slices.Concat(edits, machineEdits, schedLogEdits) {
		files = append(files, e.file)
	}
	slices.Sort(files)
	return slices.Compact(files)
}

func librarySource(t *testing.T) fstest.MapFS {
	t.Helper()
	src := fstest.MapFS{}
	for _, f := range editedFiles() {
		b, err := os.ReadFile(filepath.Join(goroot(t), "src", f))
		if err != nil {
			t.Skipf("no source of the Go standard library here: %v", err)
		}
		src[f] = &fstest.MapFile{Data: b}
	}
	return src
}

func TestEveryEditFitsThisToolchain(t *testing.T) {
	for _, log := range []bool{false, true} {
		files, err := changed(librarySource(t), log)
		if err != nil {
			t.Fatal(err)
		}
		if len(files) != len(editedFiles()) {
			t.Errorf("changed %d files, want %d", len(files), len(editedFiles()))
		}
		jump, walk := strings.Index(files[clockFile], "jump time forward"), strings.Index(files[clockFile], "grunning := 0")
		if jump > walk {
			t.Error("checkdead still walks all goroutines before it jumps")
		}
	}
}

func TestAnUnexpectedRuntimeIsRefusedWhole(t *testing.T) {
	for _, name := range editedFiles() {
		src := librarySource(t)
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
