package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairway-dev/fairway/internal/load"
)

func loadCommand(s Streams) *cobra.Command {
	var o load.Options
	var rate, body string
	var headers []string
	var asJSON bool
	maxFailed := 100.0
	c := &cobra.Command{
		Use:   "load URL --rate N",
		Short: "Send requests at a steady rate and say how they were answered",
		Long: `Send requests at a rate that does not depend on the answers, and say how they went.

A latency counts from when the request was planned: when a server stalls, the requests it keeps from being sent are
seen to wait. A request fails that has no answer, or one of 500 and above. Redirects are not followed. Ctrl-C ends the run with the figures so far.`,
		Example: `  fairway load http://127.32.0.1:8080/ --rate 200/s --for 1m
  fairway load http://127.32.0.1:8080/cart -H 'Host: shop.example' --rate 50 --by X-Revision   # who answered
  fairway load https://shop.example/ --connect-to 127.32.0.1:8443 --insecure --rate 10
  fairway load http://127.32.0.1:8080/ --rate 500 --for 30s --json > load.json
  fairway load http://127.32.0.1:8080/ --rate 500 --for 30s --max-failed 0.1   # exit code 1 if more than 0.1 % fail`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage(errors.New("load: write one URL, for example `fairway load http://127.0.0.1:8080/ --rate 100`"))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			o.URL = args[0]
			var err error
			if o.Rate, err = perSecond(rate); err != nil {
				return usage(fmt.Errorf("load: --rate: %w", err))
			}
			if o.Header, err = headerFlags(headers); err != nil {
				return usage(fmt.Errorf("load: -H: %w", err))
			}
			if o.Body, err = bodyFlag(body); err != nil {
				return fmt.Errorf("load: --data: %w", err)
			}
			if err := o.Check(); err != nil {
				return usage(fmt.Errorf("load: %w", err))
			}
			if !asJSON {
				o.Progress = func(p load.Progress) {
					fmt.Fprintf(s.Err, "%4.0f s  %d answered, %d failed\n", p.Elapsed.Seconds(), p.Done, p.Failed)
				}
			}
			r, err := load.Run(c.Context(), o)
			if err != nil {
				return fmt.Errorf("load: %w", err)
			}
			if asJSON {
				e := json.NewEncoder(s.Out)
				e.SetIndent("", "  ")
				err = e.Encode(r)
			} else {
				err = r.Print(s.Out)
			}
			if share := 100 * float64(r.Failed) / float64(max(r.Done, 1)); err == nil && share > maxFailed {
				return fmt.Errorf("load: %.3g %% of the requests failed, more than %g %%", share, maxFailed)
			}
			return err
		},
	}
	fs := c.Flags()
	fs.StringVar(&rate, "rate", "", "requests a second: 200, 200/s, 12000/m (required)")
	fs.DurationVar(&o.For, "for", 10*time.Second, "how long")
	fs.IntVar(&o.Connections, "connections", load.DefaultConnections, "requests under way at once; when all are busy further ones wait, and their wait counts")
	fs.DurationVar(&o.Timeout, "timeout", load.DefaultTimeout, "of a request, from when it is sent")
	fs.StringVarP(&o.Method, "method", "X", "", "method (default GET, with --data POST)")
	fs.StringVarP(&body, "data", "d", "", "body of the requests; @FILE reads it from a file")
	fs.StringArrayVarP(&headers, "header", "H", nil, "header `'Name: value'`; may be repeated")
	fs.BoolVar(&o.Poisson, "poisson", false, "draw the times between requests, as of independent users; otherwise they are equal")
	fs.Uint64Var(&o.Seed, "seed", 1, "of what is drawn")
	fs.BoolVar(&o.HTTP2, "http2", false, "speak HTTP/2; to http:// URLs by prior knowledge")
	fs.BoolVarP(&o.Insecure, "insecure", "k", false, "take any certificate")
	fs.StringVar(&o.ConnectTo, "connect-to", "", "`host:port` that is dialled, whatever the URL says")
	fs.StringVar(&o.By, "by", "", "response header whose values are counted apart")
	fs.BoolVar(&asJSON, "json", false, "print the result as JSON, and no progress")
	fs.Float64Var(&maxFailed, "max-failed", maxFailed, "exit with code 1 when more than this percentage fails")
	return c
}

// perSecond reads 200, 200/s, 12000/m or 3600/h.
func perSecond(text string) (float64, error) {
	if text == "" {
		return 0, errors.New("it is required: requests a second, as in 200 or 12000/m")
	}
	number, unit, _ := strings.Cut(text, "/")
	n, err := strconv.ParseFloat(number, 64)
	per, ok := map[string]float64{"": 1, "s": 1, "m": 60, "h": 3600}[unit]
	if err != nil || !ok {
		return 0, fmt.Errorf("%q is not a rate; write 200, 200/s or 12000/m", text)
	}
	return n / per, nil
}

func headerFlags(lines []string) (http.Header, error) {
	h := http.Header{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.TrimSpace(name) != name {
			return nil, fmt.Errorf("%q is not 'Name: value'", line)
		}
		h.Add(name, strings.TrimSpace(value))
	}
	return h, nil
}

func bodyFlag(text string) ([]byte, error) {
	if file, ok := strings.CutPrefix(text, "@"); ok {
		return os.ReadFile(file)
	}
	if text == "" {
		return nil, nil
	}
	return []byte(text), nil
}
