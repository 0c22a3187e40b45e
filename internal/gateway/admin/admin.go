// Package admin answers questions about the gateway over HTTP: what is served, by whom, and why a request would go where it
// goes. The types are those of its JSON, for whoever asks. Whoever asks needs a key (access.go).
package admin

import (
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway"
	"github.com/fairway-dev/fairway/internal/gateway/proxy"
)

// Paths of the questions.
const (
	PathStatus  = "/status"
	PathRoutes  = "/routes"
	PathExplain = "/explain"
	PathTap     = "/tap"
)

// Handler answers for a gateway.
func Handler(c *gateway.Controller) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET "+PathStatus, func(w http.ResponseWriter, _ *http.Request) { write(w, statusOf(c)) })
	m.HandleFunc("GET "+PathRoutes, func(w http.ResponseWriter, _ *http.Request) { write(w, routesOf(c)) })
	m.HandleFunc("POST "+PathExplain, func(w http.ResponseWriter, r *http.Request) {
		var q Question
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxQuestion))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&q); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer, err := explain(c, &q)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		write(w, answer)
	})
	m.HandleFunc("GET "+PathTap, func(w http.ResponseWriter, r *http.Request) { tap(c, w, r) })
	return m
}

// maxQuestion bounds the body of a question.
const maxQuestion = 128 << 10

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client has gone
}

// tap streams a line of JSON for each request until the client goes.
func tap(c *gateway.Controller, w http.ResponseWriter, r *http.Request) {
	summaries, stop := c.Data().Tap(filter(r.URL.Query()))
	defer stop()
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush := http.NewResponseController(w)
	_ = flush.Flush()
	encoder := json.NewEncoder(w)
	for {
		select {
		case <-r.Context().Done():
			return
		case s := <-summaries:
			if encoder.Encode(s) != nil || len(summaries) == 0 && flush.Flush() != nil {
				return
			}
		}
	}
}

// filter takes the requests that fit ?route=kind/namespace/name, ?failed=true and ?slower=100ms.
func filter(q url.Values) func(*proxy.Record) bool {
	route, failed := q.Get("route"), q.Get("failed") == "true"
	slower, _ := time.ParseDuration(q.Get("slower"))
	return func(r *proxy.Record) bool {
		switch {
		case r.Retried && !failed:
			return false
		case route != "" && (r.Rule == nil || route != r.Rule.Key.Kind+"/"+r.Rule.Key.Name.String() && route != r.Rule.Key.Name.String()):
			return false
		case failed && r.Status < 500:
			return false
		}
		return r.Latency >= slower
	}
}
