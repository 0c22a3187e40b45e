package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

// asked is a request that a stub has had.
type asked struct {
	method, path, body string
	header             http.Header
	query, form        map[string][]string
}

// stub answers every request with a status and a body and keeps what it was asked.
func stub(t *testing.T, status int, body string) (url string, requests *[]asked) {
	t.Helper()
	requests = &[]asked{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		a := asked{method: r.Method, path: r.URL.Path, body: string(b), header: r.Header.Clone(), query: r.URL.Query()}
		r.Body = io.NopCloser(strings.NewReader(string(b)))
		_ = r.ParseForm()
		a.form = r.PostForm
		*requests = append(*requests, a)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL, requests
}

func none(string) string { return "" }

// secrets of a cluster by namespace/name.
func secrets(all map[string]map[string]string) func(context.Context, string, string) (map[string][]byte, error) {
	return func(_ context.Context, namespace, name string) (map[string][]byte, error) {
		data, ok := all[namespace+"/"+name]
		if !ok {
			return nil, fmt.Errorf("secrets %q not found", name)
		}
		out := map[string][]byte{}
		for k, v := range data {
			out[k] = []byte(v)
		}
		return out, nil
	}
}

func measure(t *testing.T, c Config, p argo.MetricProvider) (analysis.Reading, error) {
	t.Helper()
	if c.Getenv == nil {
		c.Getenv = none
	}
	m := &argo.Metric{Name: "m", Provider: p}
	kind := analysis.Kind(m)
	for name := range p.Plugin {
		kind = name
	}
	run := &argo.AnalysisRun{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "run"}}
	return All(c)[kind].Measure(t.Context(), analysis.Request{Run: run, Metric: m})
}

func expect(t *testing.T, got analysis.Reading, err error, result any, value string) {
	t.Helper()
	if err != nil || !reflect.DeepEqual(got.Result, result) || got.Value != value {
		t.Errorf("%#v %q, %v; want %#v %q", got.Result, got.Value, err, result, value)
	}
}

func expectFault(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want %q", err, text)
	}
}

func TestWebReadsTheValueAtAPathOfAJSONAnswer(t *testing.T) {
	t.Parallel()
	body := `{"data":{"ok":true,"n":3,"text":"7","none":null,"list":[1,2]}}`
	for _, c := range []struct {
		body, path string
		result     any
		value      string
	}{
		{body, "{$.data.ok}", true, "true"},
		{body, "{$.data.n}", 3.0, "3"},
		{body, "{$.data.text}", "7", `"7"`},
		{body, "{$.data.list}", []any{1.0, 2.0}, "[1,2]"},
		{body, "{$.data.list[*]}", 1.0, "1"},
		{`{"a":1}`, "", map[string]any{"a": 1.0}, `{"a":1}`},
		{"all is well\n", "{$.data}", "all is well\n", "all is well\n"},
	} {
		url, _ := stub(t, 200, c.body)
		got, err := measure(t, Config{}, argo.MetricProvider{Web: &argo.WebMetric{URL: url, JSONPath: c.path}})
		expect(t, got, err, c.result, c.value)
	}
}

func TestWebSendsWhatTheMetricSays(t *testing.T) {
	t.Parallel()
	url, requests := stub(t, 201, "1")
	_, err := measure(t, Config{}, argo.MetricProvider{Web: &argo.WebMetric{Method: argo.WebMetricMethodPost, URL: url + "/p?q=1", JSONBody: json.RawMessage(`{"a":"b"}`),
		Headers: []argo.WebMetricHeader{{Key: "X-Team", Value: "shop"}}}})
	if err != nil {
		t.Fatal(err)
	}
	r := (*requests)[0]
	if r.method != "POST" || r.path != "/p" || r.body != `{"a":"b"}` || r.header.Get("Content-Type") != "application/json" || r.header.Get("X-Team") != "shop" {
		t.Errorf("%+v", r)
	}
	if _, err := measure(t, Config{}, argo.MetricProvider{Web: &argo.WebMetric{Method: argo.WebMetricMethodPut, URL: url, Body: "x=y"}}); err != nil {
		t.Fatal(err)
	}
	if r := (*requests)[1]; r.method != "PUT" || r.body != "x=y" {
		t.Errorf("%+v", r)
	}
}

func TestWebFailsInWords(t *testing.T) {
	t.Parallel()
	url, _ := stub(t, 503, "down")
	good, _ := stub(t, 200, `{"a":1}`)
	for text, w := range map[string]argo.WebMetric{
		"received non 2xx response code: 503":                      {URL: url},
		"body and jsonBody can only be used with the methods POST": {URL: good, Body: "x"},
		"use either body or jsonBody":                              {URL: good, Method: "POST", Body: "x", JSONBody: json.RawMessage("1")},
		"jsonPath: ":                                               {URL: good, JSONPath: "{$.a"},
		"nothing at jsonPath: b is not found":                      {URL: good, JSONPath: "{$.b}"},
		"missing mandatory parameter in metric for OAuth2 setup":   {URL: good, Authentication: argo.Authentication{OAuth2: argo.OAuth2Config{TokenURL: "http://x"}}},
		"unsupported protocol scheme":                              {URL: "gopher://x"},
	} {
		_, err := measure(t, Config{}, argo.MetricProvider{Web: &w})
		expectFault(t, err, text)
	}
}

func TestAnswersThatAreTooLargeAreRefused(t *testing.T) {
	t.Parallel()
	url, _ := stub(t, 200, strings.Repeat("x", answerMax+1))
	_, err := measure(t, Config{}, argo.MetricProvider{Web: &argo.WebMetric{URL: url}})
	expectFault(t, err, "larger than 8 MiB")
}

func TestAServerThatDoesNotAnswerIsGivenUp(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, err := measure(t, Config{Dial: hang}, argo.MetricProvider{Web: &argo.WebMetric{URL: "http://web.shop", TimeoutSeconds: 1}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestEveryConnectionGoesThroughTheDialerHandedIn(t *testing.T) {
	t.Parallel()
	url, _ := stub(t, 200, "1")
	var to string
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		to = address
		return (&net.Dialer{}).DialContext(ctx, network, strings.TrimPrefix(url, "http://"))
	}
	got, err := measure(t, Config{Dial: dial}, argo.MetricProvider{Web: &argo.WebMetric{URL: "http://web.shop.svc:8080/x"}})
	expect(t, got, err, 1.0, "1")
	if to != "web.shop.svc:8080" {
		t.Errorf("dialled %q", to)
	}
}

func TestInsecureSkipsTheCertificateAndNothingElseDoes(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "1") }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	got, err := measure(t, Config{}, argo.MetricProvider{Web: &argo.WebMetric{URL: s.URL, Insecure: true}})
	expect(t, got, err, 1.0, "1")
	_, err = measure(t, Config{}, argo.MetricProvider{Web: &argo.WebMetric{URL: s.URL}})
	expectFault(t, err, "certificate")
}

// The exchange is that of https://datatracker.ietf.org/doc/html/rfc6749#section-4.4.
func TestTokensAreFetchedWithClientCredentials(t *testing.T) {
	t.Parallel()
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		id, secret, _ := r.BasicAuth()
		if r.Form.Get("grant_type") != "client_credentials" || r.Form.Get("scope") != "a b" || id+secret != "idsecret" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"tok","token_type":"Bearer","expires_in":60}`)
	}))
	t.Cleanup(tokens.Close)
	auth := argo.Authentication{OAuth2: argo.OAuth2Config{TokenURL: tokens.URL, ClientID: "id", ClientSecret: "secret", Scopes: []string{"a", "b"}}}
	url, requests := stub(t, 200, `{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}`)
	if _, err := measure(t, Config{}, argo.MetricProvider{Web: &argo.WebMetric{URL: url, Authentication: auth}}); err != nil {
		t.Fatal(err)
	}
	if _, err := measure(t, Config{}, argo.MetricProvider{Prometheus: &argo.PrometheusMetric{Address: url, Authentication: auth}}); err != nil {
		t.Fatal(err)
	}
	for _, r := range *requests {
		if r.header.Get("Authorization") != "Bearer tok" {
			t.Errorf("%+v", r)
		}
	}
}

// The answers have the shapes of https://prometheus.io/docs/prometheus/latest/querying/api/#expression-query-result-formats.
func TestPrometheusResultsBecomeNumbers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		data   string
		result any
		value  string
	}{
		{`{"resultType":"scalar","result":[1435781451.781,"0.25"]}`, 0.25, "0.25"},
		{`{"resultType":"vector","result":[]}`, []float64{}, "[]"},
		{`{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1,"1"]},{"metric":{},"value":[1,"2.5"]}]}`, []float64{1, 2.5}, "[1,2.5]"},
		{`{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[2,"2"]]},{"metric":{},"values":[[1,"1000000"]]}]}`, []float64{1, 2, 1e6}, "[1,2,1000000]"},
	} {
		url, requests := stub(t, 200, `{"status":"success","data":`+c.data+`}`)
		got, err := measure(t, Config{}, argo.MetricProvider{Prometheus: &argo.PrometheusMetric{Address: url + "/prefix", Query: "up"}})
		expect(t, got, err, c.result, c.value)
		if r := (*requests)[0]; r.method != "POST" || r.path != "/prefix/api/v1/query" || r.form["query"][0] != "up" || r.form["time"] == nil || r.form["timeout"] == nil {
			t.Errorf("%+v", r)
		}
	}
	url, _ := stub(t, 200, `{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"NaN"]},{"value":[1,"+Inf"]}]},"warnings":["slow","old"]}`)
	got, err := measure(t, Config{}, argo.MetricProvider{Prometheus: &argo.PrometheusMetric{Address: url}})
	if err != nil || got.Value != "[NaN,+Inf]" || got.Metadata["warnings"] != `"slow", "old"` {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestPrometheusRangesHeadersAndAddresses(t *testing.T) {
	t.Parallel()
	url, requests := stub(t, 200, `{"status":"success","data":{"resultType":"matrix","result":[]}}`)
	p := &argo.PrometheusMetric{Address: url, Query: "rate(x[1m])", Headers: []argo.WebMetricHeader{{Key: "X-Scope-OrgID", Value: "shop"}},
		RangeQuery: &argo.PrometheusRangeQueryArgs{Start: `now() - duration("1h")`, End: "now()", Step: "90s"}}
	if _, err := measure(t, Config{}, argo.MetricProvider{Prometheus: p}); err != nil {
		t.Fatal(err)
	}
	r := (*requests)[0]
	if r.path != "/api/v1/query_range" || r.form["step"][0] != "90" || r.header.Get("X-Scope-OrgID") != "shop" {
		t.Errorf("%+v", r)
	}
	var from, to float64
	fmt.Sscan(r.form["start"][0], &from)
	fmt.Sscan(r.form["end"][0], &to)
	if hour := to - from; hour < 3599 || hour > 3660 {
		t.Errorf("a range of %v s", hour)
	}
	env := Config{Getenv: func(n string) string { return map[string]string{PrometheusAddressVariable: url}[n] }, PrometheusAddress: "http://not-asked"}
	if _, err := measure(t, env, argo.MetricProvider{Prometheus: &argo.PrometheusMetric{}}); err != nil || len(*requests) != 2 {
		t.Errorf("the environment's address: %v", err)
	}
	if _, err := measure(t, Config{PrometheusAddress: url}, argo.MetricProvider{Prometheus: &argo.PrometheusMetric{}}); err != nil || len(*requests) != 3 {
		t.Errorf("the process's own: %v", err)
	}
}

func TestPrometheusIsAskedByGETWherePOSTIsNotAllowed(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"scalar","result":[1,"%d"]}}`, len(r.URL.Query().Get("query")))
	}))
	t.Cleanup(s.Close)
	got, err := measure(t, Config{}, argo.MetricProvider{Prometheus: &argo.PrometheusMetric{Address: s.URL, Query: "up{a=\"b\"}"}})
	expect(t, got, err, 9.0, "9")
}

func TestPrometheusFailsInWords(t *testing.T) {
	t.Parallel()
	at := func(status int, body string) string {
		url, _ := stub(t, status, body)
		return url
	}
	step := &argo.PrometheusRangeQueryArgs{Start: "now()", End: "now()", Step: "x"}
	good := at(200, `{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}`)
	for text, m := range map[string]argo.PrometheusMetric{
		"bad_data: parse error":                            {Address: at(400, `{"status":"error","errorType":"bad_data","error":"parse error"}`)},
		"server_error: server error: 502":                  {Address: at(502, "<html>")},
		"client_error: client error: 404":                  {Address: at(404, "")},
		"the answer is not one of Prometheus":              {Address: at(200, "<html>")},
		`type "string" cannot be judged`:                   {Address: at(200, `{"status":"success","data":{"resultType":"string","result":[1,"x"]}}`)},
		"native histograms":                                {Address: at(200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}`)},
		"prometheus address is not configured":             {},
		"prometheus address is not is url format":          {Address: "prometheus:9090"},
		"prometheus timeout should not be negative":        {Address: good, Timeout: ptr.To[int64](-1)},
		"failed to parse rangeQuery.step as duration":      {Address: good, RangeQuery: step},
		"failed to parse rangeQuery.start as time":         {Address: good, RangeQuery: &argo.PrometheusRangeQueryArgs{Start: "1", End: "now()", Step: "1s"}},
		"missing mandatory parameter in metric for OAuth2": {Address: good, Authentication: argo.Authentication{OAuth2: argo.OAuth2Config{TokenURL: "http://x"}}},
		"no AWS region":                                    {Address: good + "/aps-workspaces/w", Authentication: argo.Authentication{Sigv4: argo.Sigv4Config{Profile: "p"}}},
	} {
		_, err := measure(t, Config{}, argo.MetricProvider{Prometheus: &m})
		expectFault(t, err, text)
	}
}

// The headers are those of https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-APIReference-QueryMetrics.html.
func TestPrometheusOfAmazonIsAskedWithASignature(t *testing.T) {
	t.Parallel()
	url, requests := stub(t, 200, `{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}`)
	c := Config{Getenv: func(n string) string {
		return map[string]string{"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s"}[n]
	}}
	p := argo.PrometheusMetric{Address: url + "/aps-workspaces/ws", Authentication: argo.Authentication{Sigv4: argo.Sigv4Config{Region: "eu-west-1"}}}
	if _, err := measure(t, c, argo.MetricProvider{Prometheus: &p}); err != nil {
		t.Fatal(err)
	}
	auth := (*requests)[0].header.Get("Authorization")
	if !strings.HasPrefix(auth, "AWS4-HMAC-SHA256 Credential=AKID/") || !strings.Contains(auth, "/eu-west-1/aps/aws4_request") {
		t.Errorf("Authorization %q", auth)
	}
}
