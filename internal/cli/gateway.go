package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairway-dev/fairway/internal/gateway/admin"
	"github.com/fairway-dev/fairway/internal/gateway/match"
	"github.com/fairway-dev/fairway/internal/gateway/proxy"
)

func gatewayCommand(s Streams) *cobra.Command {
	c := &cobra.Command{
		Use:   "gateway",
		Short: "Look into the gateway: what it serves, by whom, and why a request goes where it goes",
		Long: `Look into the gateway of a running Fairway: what it serves, by whom, and why a request goes where it goes.

It asks the process of "fairway up" on this machine, with the key that lies beside the cluster's kubeconfig.`,
		Example: `  fairway gateway status                                  # sockets, backends and their endpoints
  fairway gateway routes                                  # routes with the weights in force, and how each revision does
  fairway gateway weights HTTPRoute/shop/web
  fairway gateway explain http://shop.example/cart -H 'X-Beta: 1'
  fairway gateway tap --route shop/web --failed           # requests as they end`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(gatewayStatus(s), gatewayRoutes(s), gatewayWeights(s), gatewayExplain(s), gatewayTap(s))
	return c
}

// gatewayFlags say which gateway is asked: that of the embedded cluster whose directory holds the kubeconfig in use.
type gatewayFlags struct{ clusterFlags }

// access finds the gateway of the cluster.
func (f *gatewayFlags) access() (admin.Access, error) {
	files := clientcmd.NewDefaultClientConfigLoadingRules()
	files.ExplicitPath = f.kubeconfig
	for _, file := range files.GetLoadingPrecedence() {
		if a, err := admin.ReadAccess(filepath.Dir(file)); err == nil {
			return a, nil
		}
	}
	dir, err := f.data.path()
	if err != nil {
		return admin.Access{}, err
	}
	return admin.ReadAccess(dir)
}

// answer asks and reads the JSON of the answer.
func (f *gatewayFlags) answer(ctx context.Context, method, path string, question, into any) error {
	a, err := f.access()
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	var body []byte
	if question != nil {
		if body, err = json.Marshal(question); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	stream, err := a.Ask(ctx, method, path, nil, body)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	defer stream.Close()
	return json.NewDecoder(stream).Decode(into)
}

func gatewayStatus(s Streams) *cobra.Command {
	var f gatewayFlags
	var output outputFlag
	c := &cobra.Command{
		Use: "status", Short: "Sockets, backends and their endpoints", Args: noArguments,
		Example: "  fairway gateway status\n  fairway gateway status -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			var a admin.Status
			if err := f.answer(c.Context(), "GET", admin.PathStatus, nil, &a); err != nil {
				return err
			}
			return output.print(s.Out, &a, func(t *table) { printGatewayStatus(t, &a) })
		},
	}
	f.add(c.Flags())
	output.add(c.Flags())
	return c
}

func printGatewayStatus(t *table, a *admin.Status) {
	if a.Draining {
		t.line("draining: no new connections")
	}
	if len(a.Sockets) == 0 {
		t.line("Nothing is served: there is no Gateway of class fairway with a route, and no Ingress.")
		return
	}
	t.row("SOCKET", "PROTOCOL", "GATEWAY", "HOSTS", "CONNECTIONS")
	for _, x := range a.Sockets {
		connections := fmt.Sprint(x.Connections)
		if !x.Bound {
			connections = "not open"
		}
		t.row(x.Address, x.Protocol, strings.Join(x.Gateways, ","), fmt.Sprint(x.Hosts), connections)
	}
	for _, r := range a.Stale {
		t.line("%s is served in its last good version: its present one is not valid", r)
	}
	if len(a.Backends) == 0 {
		return
	}
	t.line("")
	t.row("BACKEND", "POD", "REVISION", "ADDRESS", "IN FLIGHT", "LATENCY", "STATE")
	for _, b := range a.Backends {
		name := fmt.Sprintf("%s:%d", b.Name, b.Port)
		if len(b.Endpoints) == 0 {
			state := "no endpoints"
			if b.Held > 0 {
				state = fmt.Sprintf("no endpoints, %d requests held", b.Held)
			}
			t.row(name, "-", "-", "-", "-", "-", state)
		}
		for _, e := range b.Endpoints {
			state := "serving"
			switch {
			case e.Ejected > 0:
				state = fmt.Sprintf("ejected for %v", e.Ejected.Round(time.Second))
			case e.Unhealthy != "":
				state = "unhealthy: " + e.Unhealthy
			case e.Leaving:
				state = "terminating"
			}
			t.row(name, orDash(e.Pod), orDash(e.Revision), e.Address, fmt.Sprint(e.InFlight), milliseconds(e.Latency.Seconds()), state)
		}
	}
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func milliseconds(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", seconds*1000)
}

func gatewayRoutes(s Streams) *cobra.Command {
	var f gatewayFlags
	var output outputFlag
	c := &cobra.Command{
		Use: "routes", Short: "Routes with the weights in force, and how each revision did in the last minute", Args: noArguments,
		Example: "  fairway gateway routes\n  fairway gateway routes -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			var a []admin.Route
			if err := f.answer(c.Context(), "GET", admin.PathRoutes, nil, &a); err != nil {
				return err
			}
			return output.print(s.Out, a, func(t *table) { printRoutes(t, a) })
		},
	}
	f.add(c.Flags())
	output.add(c.Flags())
	return c
}

func printRoutes(t *table, routes []admin.Route) {
	if len(routes) == 0 {
		t.line("No route is served.")
		return
	}
	for i, r := range routes {
		if i > 0 {
			t.line("")
		}
		t.line("%s %s/%s rule %s", r.Kind, r.Namespace, r.Name, r.Rule)
		t.row("  hosts", strings.Join(r.Hosts, ", "))
		t.row("  matches", strings.Join(r.Matches, " or "))
		if r.Broken != "" {
			t.row("  broken", r.Broken)
		}
		for _, x := range r.Shares {
			t.row("  to", fmt.Sprintf("%s  weight %d (%.3g %%) %s", x.Service, x.Weight, 100*x.Part, x.Why))
		}
		for _, v := range r.Revisions {
			t.row("  revision", fmt.Sprintf("%s  %.1f requests a second, %.4g %% answered well, p50 %s, p99 %s", v.Hash, v.Rate, 100*v.Success, milliseconds(v.P50), milliseconds(v.P99)))
		}
	}
}

func gatewayWeights(s Streams) *cobra.Command {
	var f gatewayFlags
	var output outputFlag
	c := &cobra.Command{
		Use: "weights [KIND/]NAMESPACE/NAME", Short: "The weights that new requests of a route follow",
		Long:    "The weights that new requests of a route follow: those the gateway has loaded, which a Rollout's may be ahead of the object.",
		Example: "  fairway gateway weights shop/web\n  fairway gateway weights HTTPRoute/shop/web -o json",
		Args:    oneArgument("gateway weights", "a route, as in `fairway gateway weights HTTPRoute/shop/web`"),
		RunE: func(c *cobra.Command, args []string) error {
			var all []admin.Route
			if err := f.answer(c.Context(), "GET", admin.PathRoutes, nil, &all); err != nil {
				return err
			}
			var found []admin.Route
			for _, r := range all {
				if name := r.Namespace + "/" + r.Name; args[0] == name || strings.EqualFold(args[0], r.Kind+"/"+name) {
					found = append(found, r)
				}
			}
			if len(found) == 0 {
				return fmt.Errorf("gateway weights: no route %s is served; `fairway gateway routes` lists them", args[0])
			}
			return output.print(s.Out, found, func(t *table) {
				t.row("RULE", "SERVICE", "WEIGHT", "SHARE")
				for _, r := range found {
					for _, x := range r.Shares {
						t.row(r.Rule, x.Service, fmt.Sprint(x.Weight), fmt.Sprintf("%.3g %%", 100*x.Part))
					}
				}
			})
		},
	}
	f.add(c.Flags())
	output.add(c.Flags())
	return c
}

func oneArgument(command, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage(fmt.Errorf("%s: write %s", command, what))
		}
		return nil
	}
}

func gatewayExplain(s Streams) *cobra.Command {
	var f gatewayFlags
	var output outputFlag
	var q admin.Question
	var headers []string
	c := &cobra.Command{
		Use: "explain URL", Short: "Say what would become of a request, and why",
		Example: `  fairway gateway explain http://shop.example/cart
  fairway gateway explain https://shop.example/cart -X POST -H 'X-Beta: 1' --to 127.32.0.1:8443`,
		Args: oneArgument("gateway explain", "a URL, as in `fairway gateway explain http://shop.example/cart`"),
		RunE: func(c *cobra.Command, args []string) error {
			parsed, err := headerFlags(headers)
			if err != nil {
				return usage(fmt.Errorf("gateway explain: -H: %w", err))
			}
			for name, values := range parsed {
				for _, v := range values {
					q.Headers = append(q.Headers, match.Header{Name: name, Value: v})
				}
			}
			q.URL = args[0]
			var a admin.Explanation
			if err := f.answer(c.Context(), "POST", admin.PathExplain, &q, &a); err != nil {
				return err
			}
			return output.print(s.Out, &a, func(t *table) { printExplanation(t, &a) })
		},
	}
	c.Flags().StringVarP(&q.Method, "method", "X", "GET", "method")
	c.Flags().StringArrayVarP(&headers, "header", "H", nil, "header `'Name: value'`; may be repeated")
	c.Flags().StringVar(&q.Address, "to", "", "`address:port` that the request is sent to (default: the URL's, or any that serves its host)")
	f.add(c.Flags())
	output.add(c.Flags())
	return c
}

func printExplanation(t *table, a *admin.Explanation) {
	switch {
	case a.Route != "" && a.Status == 0:
		t.line("Served by %s (%s)", a.Route, a.Match)
	default:
		t.line("Answered %d by the gateway: %s", a.Status, a.Why)
	}
	t.row("  socket", a.Socket)
	if a.Gateway != "" {
		t.row("  listener", a.Gateway+" "+a.Listener)
	}
	for _, x := range a.Filters {
		t.row("  filter", x)
	}
	for _, x := range a.Shares {
		t.row("  to", fmt.Sprintf("%s with probability %.3g %% %s", x.Service, 100*x.Part, x.Why))
	}
	for _, x := range a.Policies {
		t.row("  policy", x)
	}
	for _, x := range a.Tried {
		t.row("  tried", x)
	}
}

func gatewayTap(s Streams) *cobra.Command {
	var f gatewayFlags
	var route, slower string
	var failed, asJSON bool
	most := 0
	c := &cobra.Command{
		Use: "tap", Short: "Show requests as they end",
		Example: `  fairway gateway tap --route shop/web
  fairway gateway tap --failed --max 20
  fairway gateway tap --slower 500ms --json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := time.ParseDuration(slower); err != nil && slower != "" {
				return usage(fmt.Errorf("gateway tap: --slower: %w; write 500ms", err))
			}
			a, err := f.access()
			if err != nil {
				return fmt.Errorf("gateway tap: %w", err)
			}
			query := url.Values{}
			for name, value := range map[string]string{"route": route, "slower": slower, "failed": strconv.FormatBool(failed)} {
				if value != "" {
					query.Set(name, value)
				}
			}
			stream, err := a.Ask(c.Context(), "GET", admin.PathTap, query, nil)
			if err != nil {
				return fmt.Errorf("gateway tap: %w", err)
			}
			defer stream.Close()
			return printTap(c.Context(), s.Out, stream, asJSON, most)
		},
	}
	c.Flags().StringVar(&route, "route", "", "requests of this route only: [KIND/]NAMESPACE/NAME")
	c.Flags().StringVar(&slower, "slower", "", "requests that took at least this long only, such as 500ms")
	c.Flags().BoolVar(&failed, "failed", false, "answers of 500 and above only, with tries that were followed by another")
	c.Flags().IntVar(&most, "max", 0, "end after so many (default: at Ctrl-C)")
	c.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON for each")
	f.add(c.Flags())
	return c
}

// maxTapLine bounds a line of the stream: heads have limits, so it has one.
const maxTapLine = 256 << 10

func printTap(ctx context.Context, out io.Writer, stream io.Reader, asJSON bool, most int) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, maxTapLine)
	for n := 0; (most == 0 || n < most) && lines.Scan(); n++ {
		if asJSON {
			fmt.Fprintf(out, "%s\n", lines.Bytes())
			continue
		}
		var r proxy.Summary
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("gateway tap: %w", err)
		}
		target := &url.URL{Scheme: "http", Host: r.Host, Path: r.Path}
		fmt.Fprintf(out, "%s %d %s %s %8s  %s %s %s\n", r.Began.Add(r.Latency).Local().Format("15:04:05.000"), r.Status, r.Method, target,
			milliseconds(r.Latency.Seconds()), orDash(r.Pod), orDash(r.Revision), tapNotes(&r))
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("gateway tap: %w", err)
	}
	return nil
}

// tapNotes are what is unusual of a request.
func tapNotes(r *proxy.Summary) string {
	var notes []string
	if r.Reason != "" {
		notes = append(notes, string(r.Reason))
	}
	if r.Retries > 0 {
		notes = append(notes, fmt.Sprintf("%d retries", r.Retries))
	}
	for _, note := range []struct {
		text  string
		there bool
	}{{"mirror", r.Mirror}, {"tried again", r.Retried}, {"held", r.Held}} {
		if note.there {
			notes = append(notes, note.text)
		}
	}
	return strings.Join(notes, ", ")
}
