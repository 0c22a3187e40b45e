package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/internal/platform/why"
)

// askWithin bounds the questions to the API server.
const askWithin = 30 * time.Second

func whyCommand(s Streams) *cobra.Command {
	var f clusterFlags
	var output outputFlag
	c := &cobra.Command{
		Use:   "why KIND/NAME",
		Short: "Say why an object is not as wanted: one reason, the evidence, and what happens next",
		Long: `Say what blocks an object: the one reason, where it was read, and when something will happen by itself.

It only reads, from the API server alone, and works with any cluster.`,
		Example: `  fairway why pod/web-7d967dfd5d-rcx4h
  fairway why deploy/web -n shop
  fairway why node/node-001
  fairway why hpa/web -o json
  fairway why rollout/web`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return usage(errors.New("why: write KIND/NAME, for example `fairway why pod/web`"))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			kind, name, ok := strings.Cut(strings.Join(args, "/"), "/")
			if !ok || kind == "" || name == "" {
				return usage(fmt.Errorf("why: %q is not KIND/NAME, for example pod/web", strings.Join(args, " ")))
			}
			explainer, err := why.Find(kind)
			if err != nil {
				return usage(err)
			}
			reader, namespace, err := f.reader()
			if err != nil {
				return err
			}
			if !explainer.Namespaced {
				namespace = ""
			}
			ctx, cancel := context.WithTimeout(c.Context(), askWithin)
			defer cancel()
			a, err := explainer.Explain(ctx, reader, client.ObjectKey{Namespace: namespace, Name: name}, time.Now())
			if meta.IsNoMatchError(err) {
				return fmt.Errorf("why: this cluster has no kind %s; %s", explainer.Kind, installKinds)
			}
			if err != nil {
				return err
			}
			return output.print(s.Out, a, func(t *table) { printAnswer(t, a) })
		},
	}
	f.add(c.Flags())
	f.addNamespace(c.Flags())
	output.add(c.Flags())
	return c
}

func printAnswer(t *table, a *why.Answer) {
	t.line("%s: %s", a.Object, a.Reason)
	for _, e := range a.Evidence {
		t.row("  "+e.Source, strings.TrimSpace(e.Detail))
	}
	switch {
	case a.NextAt != nil:
		t.line("Next: %s, at %s", a.Next, a.NextAt.Local().Format(time.TimeOnly))
	case a.Next != "":
		t.line("Next: %s", a.Next)
	case a.Blocked:
		t.line("Next: nothing happens by itself")
	}
	for _, command := range a.Try {
		t.line("Try:  %s", command)
	}
}
