package rehearse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/fairway-dev/fairway/internal/rehearse/overlay"
)

// ProgramName is the program that plays runs; it stands beside fairway.
const ProgramName = "fairway-rehearse"

// FindProgram looks for fairway-rehearse beside this program and in the PATH.
func FindProgram() (string, error) {
	if self, err := os.Executable(); err == nil {
		if self, err = filepath.EvalSymlinks(self); err == nil {
			if p := filepath.Join(filepath.Dir(self), ProgramName); isFile(p) {
				return p, nil
			}
		}
	}
	if p, err := exec.LookPath(ProgramName); err == nil {
		return filepath.Abs(p)
	}
	return "", errors.New("the program fairway-rehearse is neither beside fairway nor in the PATH; `fairway rehearse build -o FILE` makes it from the source with a Go toolchain")
}

func isFile(p string) bool {
	i, err := os.Stat(p)
	return err == nil && i.Mode().IsRegular()
}

// Build compiles fairway-rehearse from the module in dir: linked with the virtual clock, and with the overlay of the runtime
// where the toolchain's source has the expected shape. Without it runs mean the same, are slower, and do not promise the
// order of events; notes then says why.
func Build(ctx context.Context, dir, output string, schedLog bool, notes io.Writer) error {
	work, err := overlayDir(schedLog)
	if err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-checklinkname=0 -w"}
	file, err := overlay.Write(work, schedLog)
	if err != nil {
		fmt.Fprintf(notes, "building without the overlay of the Go runtime: %v\n", err)
		args = append(args, "-tags=faketime")
	} else {
		tags := "-tags=faketime,overlay"
		if schedLog {
			tags += ",schedlog"
		}
		args = append(args, tags, "-overlay="+file)
	}
	if output, err = filepath.Abs(output); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", output, "./cmd/"+ProgramName)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, notes, notes
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building %s: %w", ProgramName, err)
	}
	return nil
}

// overlayDir is a place that stays the same, so that the build cache is found again.
func overlayDir(schedLog bool) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	name := "overlay-" + runtime.Version()
	if schedLog {
		name += "-schedlog"
	}
	return filepath.Join(cache, "fairway", name), nil
}
