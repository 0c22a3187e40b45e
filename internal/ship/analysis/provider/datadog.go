package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

const (
	datadogAddress    = "https://api.datadoghq.com"
	datadogSecret     = "datadog"
	datadogWindow     = 5 * time.Minute
	datadogTimeout    = 10 * time.Second
	datadogAggregator = "last"
)

// datadog asks Datadog for a timeseries of which the last point counts (v1), or for a scalar (v2). The result is a float,
// or nil when there is no point.
//
// Source: https://docs.datadoghq.com/api/latest/metrics/
type datadog struct {
	clients
	Config
}

// datadogKeys and where to use them.
type datadogKeys struct{ address, api, app string }

func (p datadog) Measure(ctx context.Context, r analysis.Request) (analysis.Reading, error) {
	d := r.Metric.Provider.Datadog
	keys, err := p.keys(ctx, r.Run.Namespace, d.SecretRef)
	if err != nil {
		return analysis.Reading{}, err
	}
	window, err := duration(d.Interval, datadogWindow)
	if err != nil {
		return analysis.Reading{}, fmt.Errorf("interval: %w", err)
	}
	timeout, err := duration(d.RequestTimeout, datadogTimeout)
	if err != nil || timeout <= 0 {
		return analysis.Reading{}, fmt.Errorf("requestTimeout %q is not a positive duration such as 30s", d.RequestTimeout)
	}
	if err := datadogFields(d); err != nil {
		return analysis.Reading{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, min(timeout, timeoutMax))
	defer cancel()
	to := time.Now().Unix()
	from := to - int64(window.Seconds())
	request, err := datadogRequest(ctx, d, keys.address, from, to)
	if err != nil {
		return analysis.Reading{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("DD-API-KEY", keys.api)
	request.Header.Set("DD-APPLICATION-KEY", keys.app)
	status, body, err := ask(p.secure, request)
	switch {
	case err != nil:
		return analysis.Reading{}, err
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return analysis.Reading{}, fmt.Errorf("received authentication error response code: %d %s", status, quote(body))
	case status != http.StatusOK:
		return analysis.Reading{}, fmt.Errorf("received non 2xx response code: %d %s", status, quote(body))
	case d.ApiVersion == "v2":
		return datadogScalar(body)
	}
	return datadogSeries(body)
}

// duration of a field, or unset when it is empty.
func duration(d argo.DurationString, unset time.Duration) (time.Duration, error) {
	if d == "" {
		return unset, nil
	}
	return d.Duration()
}

// datadogFields checks what goes together.
func datadogFields(d *argo.DatadogMetric) error {
	v2 := d.ApiVersion == "v2"
	switch {
	case d.Query == "" && len(d.Queries) == 0:
		return errors.New("there is no query: write one in query, or several in queries")
	case d.Query != "" && len(d.Queries) > 0:
		return errors.New("query and queries exclude each other: leave one of them out")
	case !v2 && d.Query == "":
		return errors.New("apiVersion v1 takes one query: write it in query")
	case !v2 && d.Aggregator != "":
		return errors.New("apiVersion v1 has no aggregator: leave it out, or set apiVersion to v2")
	case d.Formula != "" && len(d.Queries) == 0:
		return errors.New("a formula joins several queries: write them in queries, or leave it out")
	case d.Formula == "" && len(d.Queries) > 1:
		return errors.New("several queries need a formula that joins them: write it in formula")
	}
	return nil
}

// keys are those of the Secret that a metric names, else those of the environment, else those of the Secret "datadog".
func (p datadog) keys(ctx context.Context, namespace string, ref argo.SecretRef) (datadogKeys, error) {
	name, in := ref.Name, p.Namespace
	if ref.Namespaced {
		if in = namespace; name == "" {
			return datadogKeys{}, errors.New("secret name is required for namespaced credentials")
		}
	}
	if name == "" {
		env := datadogKeys{p.Getenv("DD_ADDRESS"), p.Getenv("DD_API_KEY"), p.Getenv("DD_APP_KEY")}
		if env.api != "" && env.app != "" {
			return env, nil
		}
		name = datadogSecret
	}
	data, err := p.Secret(ctx, in, name)
	if err != nil {
		return datadogKeys{}, fmt.Errorf("failed to find the credentials for datadog metrics provider: %w", err)
	}
	keys := datadogKeys{text(data["address"]), text(data["api-key"]), text(data["app-key"])}
	if keys.api == "" || keys.app == "" {
		return datadogKeys{}, fmt.Errorf("failed to find the credentials for datadog metrics provider: Secret %s/%s needs the keys api-key and app-key", in, name)
	}
	return keys, nil
}

// text of a Secret's key; many have a newline at the end, which no header may have.
func text(b []byte) string { return strings.TrimSpace(string(b)) }

func datadogRequest(ctx context.Context, d *argo.DatadogMetric, address string, from, to int64) (*http.Request, error) {
	if address == "" {
		address = datadogAddress
	}
	address = strings.TrimSuffix(address, "/")
	if d.ApiVersion != "v2" {
		q := url.Values{"query": {d.Query}, "from": {strconv.FormatInt(from, 10)}, "to": {strconv.FormatInt(to, 10)}}
		return http.NewRequestWithContext(ctx, http.MethodGet, address+"/api/v1/query?"+q.Encode(), nil)
	}
	queries, aggregator := d.Queries, d.Aggregator
	if d.Query != "" {
		queries = map[string]string{"query": d.Query}
	}
	if aggregator == "" {
		aggregator = datadogAggregator
	}
	list := []map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(queries)) {
		list = append(list, map[string]string{"aggregator": aggregator, "data_source": "metrics", "name": name, "query": queries[name]})
	}
	formulas := []map[string]string{}
	if d.Formula != "" {
		formulas = append(formulas, map[string]string{"formula": d.Formula})
	}
	body, err := json.Marshal(map[string]any{"data": map[string]any{"type": "scalar_request",
		"attributes": map[string]any{"from": from * 1000, "to": to * 1000, "queries": list, "formulas": formulas}}})
	if err != nil {
		return nil, err
	}
	return http.NewRequestWithContext(ctx, http.MethodPost, address+"/api/v2/query/scalar", bytes.NewReader(body))
}

// datadogSeries takes the last point of the first series.
func datadogSeries(body []byte) (analysis.Reading, error) {
	var answer struct {
		Series []struct {
			Pointlist [][]*float64 `json:"pointlist"`
		} `json:"series"`
		Error string `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return analysis.Reading{}, fmt.Errorf("the answer is no JSON: %w", err)
	}
	if answer.Error != "" {
		return analysis.Reading{}, fmt.Errorf("the query is refused by Datadog: %s", quote([]byte(answer.Error)))
	}
	if len(answer.Series) == 0 || len(answer.Series[0].Pointlist) == 0 {
		return analysis.Reading{Value: "[]"}, nil
	}
	points := answer.Series[0].Pointlist
	point := points[len(points)-1]
	if len(point) != 2 {
		return analysis.Reading{}, errors.New("a point of the answer has no two values")
	}
	return number(point[1]), nil
}

// datadogScalar takes the first value of the first column.
func datadogScalar(body []byte) (analysis.Reading, error) {
	var answer struct {
		Data struct {
			Attributes struct {
				Columns []struct {
					Values []*float64 `json:"values"`
				} `json:"columns"`
			} `json:"attributes"`
			Errors string `json:"errors"`
		} `json:"data"`
		Errors string `json:"errors"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return analysis.Reading{}, fmt.Errorf("the answer is no JSON: %w", err)
	}
	if fault := answer.Errors + answer.Data.Errors; fault != "" {
		return analysis.Reading{}, fmt.Errorf("the query is refused by Datadog: %s", quote([]byte(fault)))
	}
	columns := answer.Data.Attributes.Columns
	if len(columns) == 0 || len(columns[0].Values) == 0 {
		return analysis.Reading{Value: "[]"}, nil
	}
	return number(columns[0].Values[0]), nil
}

// number is a float, or nil for a point without a value.
func number(v *float64) analysis.Reading {
	if v == nil {
		return analysis.Reading{Value: "[null]"}
	}
	return analysis.Reading{Result: *v, Value: formatValue(*v)}
}
