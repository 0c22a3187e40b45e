package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/analysis/sigv4"
)

const prometheusTimeout = 30 * time.Second

// managedPrometheus is in the address of every workspace of Amazon's Prometheus, the only one that wants signatures.
const managedPrometheus = "aps-workspaces"

// prometheus asks a server that speaks Prometheus's HTTP API. The result is a float for a scalar, else a list of floats.
//
// Source: https://prometheus.io/docs/prometheus/latest/querying/api/
type prometheus struct {
	clients
	aws *sigv4.Source
	// fromEnvironment and inProcess are used by metrics without an address, in this order.
	fromEnvironment, inProcess string
}

func (p prometheus) Measure(ctx context.Context, r analysis.Request) (analysis.Reading, error) {
	m := r.Metric.Provider.Prometheus
	var seconds int64
	if m.Timeout != nil {
		if seconds = *m.Timeout; seconds < 0 {
			return analysis.Reading{}, errors.New("prometheus timeout should not be negative")
		}
	}
	ctx, cancel := within(ctx, seconds, prometheusTimeout)
	defer cancel()
	base, err := p.address(m.Address)
	if err != nil {
		return analysis.Reading{}, err
	}
	path, form, err := prometheusQuery(m)
	if err != nil {
		return analysis.Reading{}, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		form.Set("timeout", strconv.FormatFloat(time.Until(deadline).Round(time.Millisecond).Seconds(), 'f', -1, 64)+"s")
	}
	client, err := authorized(ctx, p.client(m, base), m.Authentication.OAuth2)
	if err != nil {
		return analysis.Reading{}, err
	}
	body, err := postOrGet(ctx, client, base.JoinPath(path), form)
	if err != nil {
		return analysis.Reading{}, err
	}
	return prometheusReading(body)
}

func (p prometheus) address(given string) (*url.URL, error) {
	for _, a := range []string{given, p.fromEnvironment, p.inProcess} {
		if a == "" {
			continue
		}
		u, err := url.Parse(a)
		if err != nil || u.Scheme == "" || u.Host == "" {
			return nil, errors.New("prometheus address is not is url format")
		}
		return u, nil
	}
	return nil, errors.New("prometheus address is not configured: set provider.prometheus.address, or " + PrometheusAddressVariable + " for the controller")
}

// prometheusQuery is the path and the form of a query, at one instant or over a range.
func prometheusQuery(m *argo.PrometheusMetric) (string, url.Values, error) {
	form := url.Values{"query": {m.Query}}
	if m.RangeQuery == nil {
		form.Set("time", unixSeconds(time.Now()))
		return "api/v1/query", form, nil
	}
	for _, bound := range [][2]string{{"start", m.RangeQuery.Start}, {"end", m.RangeQuery.End}} {
		at, err := analysis.Instant(bound[1])
		if err != nil {
			return "", nil, fmt.Errorf("failed to parse rangeQuery.%s as time: %w", bound[0], err)
		}
		form.Set(bound[0], unixSeconds(at))
	}
	step, err := m.RangeQuery.Step.Duration()
	if err != nil {
		return "", nil, fmt.Errorf("failed to parse rangeQuery.step as duration: %w", err)
	}
	form.Set("step", strconv.FormatFloat(step.Seconds(), 'f', -1, 64))
	return "api/v1/query_range", form, nil
}

func unixSeconds(t time.Time) string {
	return strconv.FormatFloat(float64(t.Unix())+float64(t.Nanosecond())/1e9, 'f', -1, 64)
}

// client adds to requests the metric's headers and, for Amazon's Prometheus, a signature.
func (p prometheus) client(m *argo.PrometheusMetric, base *url.URL) *http.Client {
	plain := p.of(m.Insecure)
	sign := m.Authentication.Sigv4
	signed := sign != argo.Sigv4Config{} && strings.Contains(base.String(), managedPrometheus)
	if len(m.Headers) == 0 && !signed {
		return plain
	}
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		setHeaders(r, m.Headers)
		if signed {
			if err := signRequest(r, p.aws, sign.Profile, sign.RoleARN, sign.Region, "aps"); err != nil {
				return nil, err
			}
		}
		return plain.Transport.RoundTrip(r)
	})}
}

// roundTrip is a function as an http.RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// signRequest signs a request with the credentials of a profile or role. It reads the body and puts it back.
func signRequest(r *http.Request, from *sigv4.Source, profile, role, region, service string) error {
	if region == "" {
		if region = from.Region(); region == "" {
			return errors.New("no AWS region: set it in the metric, or AWS_REGION for the controller")
		}
	}
	now := time.Now()
	c, err := from.Credentials(r.Context(), profile, role, region, now)
	if err != nil {
		return err
	}
	var body []byte
	if r.Body != nil {
		if body, err = io.ReadAll(r.Body); err != nil {
			return err
		}
		r.Body.Close()
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	sigv4.Sign(r, body, c, region, service, now)
	return nil
}

// postOrGet asks by POST, which has room for long queries, and where a server or proxy does not allow that by GET.
func postOrGet(ctx context.Context, client *http.Client, at *url.URL, form url.Values) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, body, err := ask(client, r)
	if err == nil && (status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented) {
		get := *at
		get.RawQuery = form.Encode()
		if r, err = http.NewRequestWithContext(ctx, http.MethodGet, get.String(), nil); err != nil {
			return nil, err
		}
		status, body, err = ask(client, r)
	}
	if err != nil {
		return nil, err
	}
	return body, prometheusFault(status, body)
}

// prometheusFault is what an answer says went wrong.
func prometheusFault(status int, body []byte) error {
	var fault struct{ Status, ErrorType, Error string }
	_ = json.Unmarshal(body, &fault)
	switch {
	case fault.Status == "error":
		return fmt.Errorf("%s: %s", fault.ErrorType, quote([]byte(fault.Error)))
	case status >= 500:
		return fmt.Errorf("server_error: server error: %d", status)
	case status < 200 || status > 299:
		return fmt.Errorf("client_error: client error: %d", status)
	}
	return nil
}

// sample is a pair of a time and a value.
type sample [2]json.RawMessage

func (s sample) value() (float64, error) {
	var text string
	if err := json.Unmarshal(s[1], &text); err != nil {
		return 0, err
	}
	return strconv.ParseFloat(text, 64)
}

func prometheusReading(body []byte) (analysis.Reading, error) {
	var answer struct {
		Data struct {
			ResultType string
			Result     json.RawMessage
		}
		Warnings []string
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return analysis.Reading{}, fmt.Errorf("the answer is not one of Prometheus: %w", err)
	}
	var out analysis.Reading
	if len(answer.Warnings) > 0 {
		quoted := make([]string, len(answer.Warnings))
		for i, w := range answer.Warnings {
			quoted[i] = `"` + w + `"`
		}
		out.Metadata = map[string]string{"warnings": strings.Join(quoted, ", ")}
	}
	samples, err := samplesOf(answer.Data.ResultType, answer.Data.Result)
	if err != nil {
		return analysis.Reading{}, err
	}
	values, texts := make([]float64, len(samples)), make([]string, len(samples))
	for i, s := range samples {
		if values[i], err = s.value(); err != nil {
			return analysis.Reading{}, fmt.Errorf("a value in the answer of Prometheus: %w", err)
		}
		texts[i] = formatValue(values[i])
	}
	if answer.Data.ResultType == "scalar" {
		out.Result, out.Value = values[0], texts[0]
		return out, nil
	}
	out.Result, out.Value = values, "["+strings.Join(texts, ",")+"]"
	return out, nil
}

// formatValue writes a value as Prometheus does: NaN, +Inf, and no exponents.
func formatValue(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// samplesOf lists the samples of a result, of a matrix series after series.
func samplesOf(kind string, result json.RawMessage) ([]sample, error) {
	switch kind {
	case "scalar":
		var one sample
		err := json.Unmarshal(result, &one)
		return []sample{one}, err
	case "vector", "matrix":
	default:
		return nil, fmt.Errorf("an answer of the type %q cannot be judged; let the query give a scalar or a vector", kind)
	}
	var series []struct {
		Value      *sample
		Values     []sample
		Histogram  json.RawMessage
		Histograms json.RawMessage
	}
	if err := json.Unmarshal(result, &series); err != nil {
		return nil, err
	}
	var out []sample
	for _, s := range series {
		if s.Histogram != nil || s.Histograms != nil {
			return nil, errors.New("the query returns native histograms; make numbers of them, for example with histogram_quantile")
		}
		if s.Value != nil {
			out = append(out, *s.Value)
		}
		out = append(out, s.Values...)
	}
	return out, nil
}
