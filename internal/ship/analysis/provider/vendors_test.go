package provider

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// Request and answer are those of https://docs.datadoghq.com/api/latest/metrics/#query-timeseries-points.
func TestDatadogV1TakesTheLastPoint(t *testing.T) {
	t.Parallel()
	url, requests := stub(t, 200, `{"status":"ok","series":[{"metric":"m","pointlist":[[1575317847000,0.5],[1575317848000,0.75]]}]}`)
	c := Config{Namespace: "fairway", Secret: secrets(map[string]map[string]string{"fairway/datadog": {"address": url, "api-key": "AK", "app-key": "PK"}})}
	got, err := measure(t, c, argo.MetricProvider{Datadog: &argo.DatadogMetric{Query: "avg:x{*}", Interval: "10m", ApiVersion: "v1"}})
	expect(t, got, err, 0.75, "0.75")
	r := (*requests)[0]
	var from, to int64
	fmt.Sscan(r.query["from"][0], &from)
	fmt.Sscan(r.query["to"][0], &to)
	if r.method != "GET" || r.path != "/api/v1/query" || r.query["query"][0] != "avg:x{*}" || to-from != 600 || r.header.Get("DD-API-KEY") != "AK" || r.header.Get("DD-APPLICATION-KEY") != "PK" {
		t.Errorf("%+v", r)
	}
	empty, _ := stub(t, 200, `{"series":[]}`)
	c.Secret = secrets(map[string]map[string]string{"shop/mine": {"address": empty, "api-key": "AK", "app-key": "PK"}})
	got, err = measure(t, c, argo.MetricProvider{Datadog: &argo.DatadogMetric{Query: "q", SecretRef: argo.SecretRef{Name: "mine", Namespaced: true}}})
	expect(t, got, err, nil, "[]")
}

// Request and answer are those of https://docs.datadoghq.com/api/latest/metrics/#query-scalar-data-across-multiple-products.
func TestDatadogV2AsksForAScalar(t *testing.T) {
	t.Parallel()
	url, requests := stub(t, 200, `{"data":{"type":"scalar_response","attributes":{"columns":[{"name":"a / b","type":"number","values":[0.125]}]}}}`)
	c := Config{Getenv: func(n string) string {
		return map[string]string{"DD_API_KEY": "AK", "DD_APP_KEY": "PK", "DD_ADDRESS": url}[n]
	}}
	got, err := measure(t, c, argo.MetricProvider{Datadog: &argo.DatadogMetric{ApiVersion: "v2", Queries: map[string]string{"b": "sum:y", "a": "sum:x"}, Formula: "a / b", Aggregator: "sum"}})
	expect(t, got, err, 0.125, "0.125")
	var sent struct {
		Data struct {
			Type       string
			Attributes struct {
				From, To int64
				Queries  []map[string]string
				Formulas []map[string]string
			}
		}
	}
	r := (*requests)[0]
	if err := json.Unmarshal([]byte(r.body), &sent); err != nil {
		t.Fatal(err)
	}
	a := sent.Data.Attributes
	if r.path != "/api/v2/query/scalar" || sent.Data.Type != "scalar_request" || a.To-a.From != 300000 || len(a.Queries) != 2 || a.Queries[0]["name"] != "a" || a.Queries[0]["aggregator"] != "sum" ||
		a.Queries[0]["data_source"] != "metrics" || a.Formulas[0]["formula"] != "a / b" {
		t.Errorf("%s", r.body)
	}
}

func TestDatadogFailsInWords(t *testing.T) {
	t.Parallel()
	denied, _ := stub(t, 403, `{"errors":["Forbidden"]}`)
	down, _ := stub(t, 500, "oops")
	faulty, _ := stub(t, 200, `{"data":{},"errors":"bad formula"}`)
	at := func(url string) Config {
		return Config{Getenv: func(n string) string {
			return map[string]string{"DD_API_KEY": "AK", "DD_APP_KEY": "PK", "DD_ADDRESS": url}[n]
		}}
	}
	for text, c := range map[string]struct {
		config Config
		metric argo.DatadogMetric
	}{
		"received authentication error response code: 403": {at(denied), argo.DatadogMetric{Query: "q"}},
		"received non 2xx response code: 500 oops":         {at(down), argo.DatadogMetric{Query: "q"}},
		"refused by Datadog: bad formula":                  {at(faulty), argo.DatadogMetric{ApiVersion: "v2", Query: "q"}},
		"there is no query":                                {at(down), argo.DatadogMetric{}},
		"exclude each other":                               {at(down), argo.DatadogMetric{ApiVersion: "v2", Query: "q", Queries: map[string]string{"a": "b"}}},
		"v1 takes one query":                               {at(down), argo.DatadogMetric{Queries: map[string]string{"a": "b"}}},
		"has no aggregator":                                {at(down), argo.DatadogMetric{Query: "q", Aggregator: "sum"}},
		"a formula joins several queries":                  {at(down), argo.DatadogMetric{ApiVersion: "v2", Query: "q", Formula: "f"}},
		"several queries need a formula":                   {at(down), argo.DatadogMetric{ApiVersion: "v2", Queries: map[string]string{"a": "b", "c": "d"}}},
		"is not a positive duration":                       {at(down), argo.DatadogMetric{Query: "q", RequestTimeout: "-1s"}},
		"failed to find the credentials":                   {Config{Secret: secrets(nil)}, argo.DatadogMetric{Query: "q"}},
		"secret name is required":                          {Config{Secret: secrets(nil)}, argo.DatadogMetric{Query: "q", SecretRef: argo.SecretRef{Namespaced: true}}},
	} {
		_, err := measure(t, c.config, argo.MetricProvider{Datadog: &c.metric})
		expectFault(t, err, text)
	}
}

// Request and answer are those of https://docs.newrelic.com/docs/apis/nerdgraph/examples/nerdgraph-nrql-tutorial/.
func TestNewRelicRunsAQuery(t *testing.T) {
	t.Parallel()
	url, requests := stub(t, 200, `{"data":{"actor":{"account":{"nrql":{"results":[{"average.duration":0.2,"count":3}]}}}}}`)
	c := Config{Namespace: "fairway", Secret: secrets(map[string]map[string]string{"fairway/newrelic": {"personal-api-key": "NRAK", "account-id": "12345", "base-url-nerdgraph": url}})}
	got, err := measure(t, c, argo.MetricProvider{NewRelic: &argo.NewRelicMetric{Query: "SELECT 1", Timeout: ptr.To[int64](7)}})
	expect(t, got, err, map[string]any{"average.duration": 0.2, "count": 3.0}, `{"average.duration":0.2,"count":3}`)
	var sent struct {
		Query     string
		Variables struct {
			AccountId int
			Query     string
			Timeout   int
		}
	}
	r := (*requests)[0]
	_ = json.Unmarshal([]byte(r.body), &sent)
	if r.method != "POST" || r.header.Get("API-Key") != "NRAK" || sent.Variables.AccountId != 12345 || sent.Variables.Query != "SELECT 1" || sent.Variables.Timeout != 7 || !strings.Contains(sent.Query, "nrql(") {
		t.Errorf("%+v", r)
	}
	for text, body := range map[string]string{
		"no results returned from NRQL query": `{"data":{"actor":{"account":{"nrql":{"results":[]}}}}}`,
		"New Relic: NRQL Syntax Error":        `{"errors":[{"message":"NRQL Syntax Error"}]}`,
	} {
		url, _ := stub(t, 200, body)
		c.Secret = secrets(map[string]map[string]string{"fairway/p": {"personal-api-key": "NRAK", "account-id": "12345", "base-url-nerdgraph": url}, "fairway/bad": {"personal-api-key": "k", "account-id": "1", "region": "mars"}})
		_, err := measure(t, c, argo.MetricProvider{NewRelic: &argo.NewRelicMetric{Query: "q", Profile: "p"}})
		expectFault(t, err, text)
	}
	_, err = measure(t, c, argo.MetricProvider{NewRelic: &argo.NewRelicMetric{Query: "q", Profile: "bad"}})
	expectFault(t, err, `region "mars"`)
}

// Request and answer are those of https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html.
func TestCloudWatchReadsMetricData(t *testing.T) {
	t.Parallel()
	url, requests := stub(t, 200, `<GetMetricDataResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"><GetMetricDataResult>
<MetricDataResults><member><Id>rate</Id><Label>Rate</Label><StatusCode>Complete</StatusCode>
<Timestamps><member>2026-01-02T03:04:00Z</member><member>2026-01-02T03:03:00Z</member></Timestamps><Values><member>0.1</member><member>0.2</member></Values></member></MetricDataResults>
<Messages><member><Code>Partial</Code><Value>some</Value></member></Messages></GetMetricDataResult></GetMetricDataResponse>`)
	env := map[string]string{"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL_CLOUDWATCH": url}
	c := Config{Getenv: func(n string) string { return env[n] }}
	m := &argo.CloudWatchMetric{Interval: "30m", MetricDataQueries: []argo.CloudWatchMetricDataQuery{
		{Id: "rate", Expression: ptr.To("errors / requests")},
		{Id: "errors", ReturnData: ptr.To(false), MetricStat: &argo.CloudWatchMetricStat{Period: intstr.FromInt32(300), Stat: "Sum", Unit: "Count",
			Metric: argo.CloudWatchMetricStatMetric{Namespace: ptr.To("app"), MetricName: "Errors", Dimensions: []argo.CloudWatchMetricStatMetricDimension{{Name: "svc", Value: "web"}}}}},
	}}
	got, err := measure(t, c, argo.MetricProvider{CloudWatch: m})
	if err != nil || got.Value != "[[0.1 0.2]]" || got.Metadata["messages"] != "Partial: some" {
		t.Fatalf("%+v, %v", got, err)
	}
	if r := got.Result.([]MetricDataResult)[0]; r.Id != "rate" || r.Values[1] != 0.2 || r.Timestamps[0].Hour() != 3 || r.StatusCode != "Complete" {
		t.Errorf("%+v", r)
	}
	f := (*requests)[0].form
	for name, want := range map[string]string{
		"Action": "GetMetricData", "Version": "2010-08-01", "MetricDataQueries.member.1.Expression": "errors / requests",
		"MetricDataQueries.member.2.ReturnData": "false", "MetricDataQueries.member.2.MetricStat.Period": "300", "MetricDataQueries.member.2.MetricStat.Stat": "Sum",
		"MetricDataQueries.member.2.MetricStat.Unit": "Count", "MetricDataQueries.member.2.MetricStat.Metric.Namespace": "app",
		"MetricDataQueries.member.2.MetricStat.Metric.MetricName":                "Errors",
		"MetricDataQueries.member.2.MetricStat.Metric.Dimensions.member.1.Name":  "svc",
		"MetricDataQueries.member.2.MetricStat.Metric.Dimensions.member.1.Value": "web",
	} {
		if len(f[name]) != 1 || f[name][0] != want {
			t.Errorf("%s is %v, want %s", name, f[name], want)
		}
	}
	from, _ := time.Parse(time.RFC3339, f["StartTime"][0])
	to, _ := time.Parse(time.RFC3339, f["EndTime"][0])
	if to.Sub(from) != 30*time.Minute || !strings.Contains((*requests)[0].header.Get("Authorization"), "/eu-west-1/monitoring/aws4_request") {
		t.Errorf("%v to %v", from, to)
	}
	env["AWS_ENDPOINT_URL_CLOUDWATCH"], _ = stub(t, 400, `<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>bad id</Message></Error></ErrorResponse>`)
	_, err = measure(t, c, argo.MetricProvider{CloudWatch: m})
	expectFault(t, err, "CloudWatch answered 400 ValidationError: bad id")
}

// Request and answer are those of https://graphite.readthedocs.io/en/stable/render_api.html#json.
func TestGraphiteListsThePointsOfTheFirstSeries(t *testing.T) {
	t.Parallel()
	url, requests := stub(t, 200, `[{"target":"entries","datapoints":[[1.0,1311836008],[null,1311836009],["3.5",1311836010]]},{"target":"other","datapoints":[[9,1]]}]`)
	got, err := measure(t, Config{}, argo.MetricProvider{Graphite: &argo.GraphiteMetric{Address: url + "/g", Query: "target=sumSeries(\n  app.*)&from=-5min"}})
	expect(t, got, err, []float64{1, 3.5}, "[1.000000,3.500000]")
	if r := (*requests)[0]; r.path != "/g/render" || r.query["format"][0] != "json" || r.query["target"][0] != "sumSeries(app.*)" || r.query["from"][0] != "-5min" {
		t.Errorf("%+v", r)
	}
	empty, _ := stub(t, 200, "[]")
	_, err = measure(t, Config{}, argo.MetricProvider{Graphite: &argo.GraphiteMetric{Address: empty, Query: "target=x"}})
	expectFault(t, err, "no values found")
	bad, _ := stub(t, 400, "what?")
	_, err = measure(t, Config{}, argo.MetricProvider{Graphite: &argo.GraphiteMetric{Address: bad, Query: "target=x"}})
	expectFault(t, err, "error response: what?")
	_, err = measure(t, Config{}, argo.MetricProvider{Graphite: &argo.GraphiteMetric{}})
	expectFault(t, err, "is no URL")
}
