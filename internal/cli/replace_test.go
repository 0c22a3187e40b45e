package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestAReportReplacesAFileThroughALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, link := filepath.Join(dir, "report.json"), filepath.Join(dir, "latest.json")
	if err := errors.Join(os.WriteFile(file, []byte("an old and longer one"), 0o600), os.Symlink(file, link), replaceFile(link, []byte("new"))); err != nil {
		t.Fatal(err)
	}
	if i, err := os.Lstat(link); err != nil || i.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is one no longer: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "new" {
		t.Errorf("the file holds %q (%v), want the new report", b, err)
	}
}

func TestAReportIsWrittenToWhatIsNoFile(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skipf("no named pipes here: %v", err)
	}
	written := make(chan error, 1)
	go func() { written <- replaceFile(pipe, []byte("a report")) }()
	f, err := os.Open(pipe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err = errors.Join(err, <-written); err != nil || string(b) != "a report" {
		t.Errorf("read %q (%v), want the report", b, err)
	}
	if i, err := os.Stat(pipe); err != nil || i.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("the pipe is one no longer: %v", err)
	}
}
