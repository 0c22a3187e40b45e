package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

const graphiteTimeout = 10 * time.Second

// graphite asks Graphite's render API. The result is the list of the values of the first series; points without a value are
// left out.
//
// Source: https://graphite.readthedocs.io/en/stable/render_api.html
type graphite struct{ clients }

func (p graphite) Measure(ctx context.Context, r analysis.Request) (analysis.Reading, error) {
	g := r.Metric.Provider.Graphite
	base, err := url.Parse(g.Address)
	if err != nil || g.Address == "" {
		return analysis.Reading{}, fmt.Errorf("the address %s of Graphite is no URL", g.Address)
	}
	// The query is a query string, as in target=sumSeries(a.*)&from=-5min. People break it over lines.
	q, err := url.ParseQuery(strings.Join(strings.Fields(g.Query), ""))
	if err != nil {
		return analysis.Reading{}, fmt.Errorf("query: %w", err)
	}
	q.Set("format", "json")
	at := base.JoinPath("render")
	at.RawQuery = q.Encode()
	ctx, cancel := context.WithTimeout(ctx, graphiteTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return analysis.Reading{}, err
	}
	status, body, err := ask(p.secure, request)
	if err != nil {
		return analysis.Reading{}, err
	}
	if status >= 400 {
		return analysis.Reading{}, fmt.Errorf("error response: %s", quote(body))
	}
	return graphiteReading(body)
}

func graphiteReading(body []byte) (analysis.Reading, error) {
	var series []struct {
		Datapoints [][]json.RawMessage `json:"datapoints"`
	}
	if err := json.Unmarshal(body, &series); err != nil {
		return analysis.Reading{}, fmt.Errorf("the answer is not one of Graphite: %w", err)
	}
	if len(series) == 0 || len(series[0].Datapoints) == 0 {
		return analysis.Reading{}, errors.New("no values found")
	}
	values, texts := []float64{}, []string{}
	for _, point := range series[0].Datapoints {
		if len(point) != 2 {
			return analysis.Reading{}, fmt.Errorf("error unmarshaling data point: %d values instead of 2", len(point))
		}
		text := strings.Trim(string(point[0]), `"`)
		if text == "null" {
			continue
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return analysis.Reading{}, fmt.Errorf("error unmarshaling value: %w", err)
		}
		values, texts = append(values, v), append(texts, strconv.FormatFloat(v, 'f', 6, 64))
	}
	return analysis.Reading{Result: values, Value: "[" + strings.Join(texts, ",") + "]"}, nil
}
