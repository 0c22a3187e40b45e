package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/spf13/cobra"
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
	for _, flag := range []string{"--metricsPort=70000", "--healthzPort=-1", "--rollout-threads=0", "--rollout-resync=0",
		"--aws-target-group-binding-api-version=v1", "--aws-target-group-binding-api-version=a/b/c"} {
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

func TestVerifyingTargetGroupsIsSwitchedOnByEitherOfItsNames(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"up", "controller"} {
		for name, args := range map[string][]string{"": nil, "--aws-verify-target-group": {"--aws-verify-target-group"}, "--alb-verify-weight": {"--alb-verify-weight",
			"--alb-tag-key-resource-id=of/us", "--aws-target-group-binding-api-version=eks.amazonaws.com/v1"}} {
			var f rolloutFlags
			var out, errs bytes.Buffer
			c := &cobra.Command{Use: command, RunE: func(*cobra.Command, []string) error { return nil }}
			c.SetOut(&out)
			c.SetErr(&errs)
			f.add(c)
			c.SetArgs(args)
			if err := c.Execute(); err != nil {
				t.Fatal(err)
			}
			o, err := f.take()
			if err != nil || o.VerifyTargetGroups != (name != "") {
				t.Errorf("%s %v: verifies %v, %v", command, args, o.VerifyTargetGroups, err)
			}
			former := name == "--alb-verify-weight"
			tag, bindings := "ingress.k8s.aws/resource", "elbv2.k8s.aws/v1beta1"
			if former {
				tag, bindings = "of/us", "eks.amazonaws.com/v1"
			}
			if o.TargetGroupTag != tag || o.TargetGroupBindings.String() != bindings {
				t.Errorf("%s %v: tag %q, bindings %q", command, args, o.TargetGroupTag, o.TargetGroupBindings)
			}
			if warned := strings.Contains(errs.String(), "--alb-verify-weight has been deprecated: use --aws-verify-target-group"); warned != former || out.Len() > 0 {
				t.Errorf("%s %v says %q, and on standard output %q", command, args, errs.String(), out.String())
			}
		}
	}
}
