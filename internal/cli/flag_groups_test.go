package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

func TestFlagsOfRolloutsStandTogetherInTheHelp(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"up", "controller"} {
		var out, errs bytes.Buffer
		if code := Run(context.Background(), []string{command, "--help"}, Streams{Out: &out, Err: &errs}); code != ExitOK {
			t.Fatalf("%s --help: exit code %d: %s", command, code, errs.String())
		}
		others, ours, found := strings.Cut(out.String(), "Flags for Rollouts")
		if !found || strings.Contains(others, "--instance-id") || !strings.Contains(ours, "--instance-id") || !strings.Contains(ours, "--strict") {
			t.Errorf("%s --help does not keep the flags of Rollouts together:\n%s", command, out.String())
		}
		if !strings.Contains(others, "--capabilities") || strings.Contains(ours, "--capabilities") {
			t.Errorf("%s --help puts other flags among them:\n%s", command, out.String())
		}
	}
}

func TestWrongFlagsOfRolloutsAreRefused(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--metricsPort=70000", "--healthzPort=-1", "--rollout-threads=0", "--rollout-resync=0"} {
		for _, command := range []string{"up", "controller"} {
			args := []string{command, flag}
			if command == "up" {
				args = append(args, "--memory", "--data", t.TempDir())
			}
			var errs bytes.Buffer
			name, _, _ := strings.Cut(flag, "=")
			if code := Run(context.Background(), args, Streams{Out: &errs, Err: &errs}); code != ExitUsage || !strings.Contains(errs.String(), name) {
				t.Errorf("%v: exit code %d, want %d with %s named: %s", args, code, ExitUsage, name, errs.String())
			}
		}
	}
}
