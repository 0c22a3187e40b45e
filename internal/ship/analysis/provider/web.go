package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/client-go/util/jsonpath"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

const (
	webTimeout  = 10 * time.Second
	webJSONPath = "{$}"
)

// webMetric asks a web server. The result is what jsonPath finds in a JSON answer, or the text of any other.
type webMetric struct{ clients }

func (p webMetric) Measure(ctx context.Context, r analysis.Request) (analysis.Reading, error) {
	w := r.Metric.Provider.Web
	ctx, cancel := within(ctx, w.TimeoutSeconds, webTimeout)
	defer cancel()
	path := jsonpath.New(r.Metric.Name)
	expression := w.JSONPath
	if expression == "" {
		expression = webJSONPath
	}
	if err := path.Parse(expression); err != nil {
		return analysis.Reading{}, fmt.Errorf("jsonPath: %w", err)
	}
	request, err := webRequest(ctx, w)
	if err != nil {
		return analysis.Reading{}, err
	}
	client, err := authorized(ctx, p.of(w.Insecure), w.Authentication.OAuth2)
	if err != nil {
		return analysis.Reading{}, err
	}
	status, body, err := ask(client, request)
	if err != nil {
		return analysis.Reading{}, err
	}
	if status < 200 || status > 299 {
		return analysis.Reading{}, fmt.Errorf("received non 2xx response code: %d", status)
	}
	var data any
	if json.Unmarshal(body, &data) != nil {
		return analysis.Reading{Result: string(body), Value: string(body)}, nil
	}
	return find(path, data)
}

func webRequest(ctx context.Context, w *argo.WebMetric) (*http.Request, error) {
	method := string(w.Method)
	if method == "" {
		method = http.MethodGet
	}
	var body io.Reader
	switch {
	case w.Body != "" && w.JSONBody != nil:
		return nil, errors.New("use either body or jsonBody; a request has one payload")
	case (w.Body != "" || w.JSONBody != nil) && method == http.MethodGet:
		return nil, errors.New("body and jsonBody can only be used with the methods POST and PUT")
	case w.Body != "":
		body = strings.NewReader(w.Body)
	case w.JSONBody != nil:
		body = bytes.NewReader(w.JSONBody)
	}
	r, err := http.NewRequestWithContext(ctx, method, w.URL, body)
	if err != nil {
		return nil, err
	}
	setHeaders(r, w.Headers)
	if w.JSONBody != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return r, nil
}

// find takes the first value at a path.
func find(path *jsonpath.JSONPath, data any) (analysis.Reading, error) {
	found, err := path.FindResults(data)
	if err != nil {
		return analysis.Reading{}, fmt.Errorf("the answer has nothing at jsonPath: %w", err)
	}
	results := slices.Concat(found...)
	if len(results) == 0 {
		return analysis.Reading{}, errors.New("result of web metric produced no value")
	}
	if !results[0].IsValid() {
		return analysis.Reading{Value: "null"}, nil
	}
	text, err := json.Marshal(results[0].Interface())
	return analysis.Reading{Result: results[0].Interface(), Value: string(text)}, err
}
