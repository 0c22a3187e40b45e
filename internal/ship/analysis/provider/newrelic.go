package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

const (
	newRelicSecret = "newrelic"
	// newRelicQueryTimeout is how long New Relic itself may work on a query; the answer may take the network's time more.
	newRelicQueryTimeout = 5 * time.Second
	newRelicNetwork      = 10 * time.Second
)

// newRelicEndpoints by the region in the Secret.
var newRelicEndpoints = map[string]string{
	"us": "https://api.newrelic.com/graphql", "eu": "https://api.eu.newrelic.com/graphql", "staging": "https://staging-api.newrelic.com/graphql",
}

const newRelicQuery = `query ($accountId: Int!, $query: Nrql!, $timeout: Seconds!) {
  actor { account(id: $accountId) { nrql(query: $query, timeout: $timeout) { results } } }
}`

// newRelic asks New Relic's GraphQL API, NerdGraph, to run an NRQL query. The result is the one row of the answer as a map,
// or a list of maps when there are several.
//
// Source: https://docs.newrelic.com/docs/apis/nerdgraph/examples/nerdgraph-nrql-tutorial/
type newRelic struct {
	clients
	Config
}

func (p newRelic) Measure(ctx context.Context, r analysis.Request) (analysis.Reading, error) {
	n := r.Metric.Provider.NewRelic
	wait := newRelicQueryTimeout
	if n.Timeout != nil {
		if *n.Timeout < 0 {
			return analysis.Reading{}, errors.New("timeout value needs to be a positive value")
		}
		wait = min(time.Duration(min(*n.Timeout, int64(timeoutMax/time.Second)))*time.Second, timeoutMax)
	}
	ctx, cancel := context.WithTimeout(ctx, wait+newRelicNetwork)
	defer cancel()
	endpoint, key, account, err := p.access(ctx, n.Profile)
	if err != nil {
		return analysis.Reading{}, err
	}
	body, err := json.Marshal(map[string]any{"query": newRelicQuery,
		"variables": map[string]any{"accountId": account, "query": n.Query, "timeout": int64(wait / time.Second)}})
	if err != nil {
		return analysis.Reading{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return analysis.Reading{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("API-Key", key)
	status, answer, err := ask(p.secure, request)
	if err != nil {
		return analysis.Reading{}, err
	}
	if status != http.StatusOK {
		return analysis.Reading{}, fmt.Errorf("the answer of New Relic is %d: %s", status, quote(answer))
	}
	return newRelicReading(answer)
}

// access reads the key of a profile's Secret in the controller's namespace.
func (p newRelic) access(ctx context.Context, profile string) (endpoint, key string, account int, err error) {
	if profile == "" {
		profile = newRelicSecret
	}
	data, err := p.Secret(ctx, p.Namespace, profile)
	if err != nil {
		return "", "", 0, err
	}
	key = text(data["personal-api-key"])
	if key == "" || text(data["account-id"]) == "" {
		return "", "", 0, fmt.Errorf("account ID or personal API key not found: Secret %s/%s needs the keys personal-api-key and account-id", p.Namespace, profile)
	}
	if account, err = strconv.Atoi(text(data["account-id"])); err != nil {
		return "", "", 0, fmt.Errorf("could not parse account ID: %w", err)
	}
	if base := text(data["base-url-nerdgraph"]); base != "" {
		return base, key, account, nil
	}
	region := strings.ToLower(text(data["region"]))
	if region == "" {
		region = "us"
	}
	if endpoint = newRelicEndpoints[region]; endpoint == "" {
		return "", "", 0, fmt.Errorf("region %q of Secret %s/%s is not one of New Relic's: us, eu, staging", region, p.Namespace, profile)
	}
	return endpoint, key, account, nil
}

func newRelicReading(body []byte) (analysis.Reading, error) {
	var answer struct {
		Data struct {
			Actor struct {
				Account struct {
					NRQL struct {
						Results []map[string]any `json:"results"`
					} `json:"nrql"`
				} `json:"account"`
			} `json:"actor"`
		} `json:"data"`
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return analysis.Reading{}, fmt.Errorf("the answer is not one of New Relic: %w", err)
	}
	if len(answer.Errors) > 0 {
		return analysis.Reading{}, fmt.Errorf("the query is refused by New Relic: %s", quote([]byte(answer.Errors[0].Message)))
	}
	results := answer.Data.Actor.Account.NRQL.Results
	var result any = results
	switch {
	case len(results) == 0, len(results) == 1 && len(results[0]) == 0:
		return analysis.Reading{}, errors.New("no results returned from NRQL query")
	case len(results) == 1:
		result = results[0]
	}
	text, err := json.Marshal(result)
	return analysis.Reading{Result: result, Value: string(text)}, err
}
