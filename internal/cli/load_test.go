package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLoadSaysHowRequestsWereAnswered(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Test") != "yes" {
			w.WriteHeader(http.StatusBadRequest)
		} else if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer server.Close()
	run := func(args ...string) (code int, out, err string) {
		var o, e bytes.Buffer
		code = Run(t.Context(), append([]string{"load", "-H", "X-Test: yes", "--for", "100ms"}, args...), Streams{Out: &o, Err: &e})
		return code, o.String(), e.String()
	}
	if code, out, err := run(server.URL, "--rate", "6000/m"); code != ExitOK || !strings.Contains(out, "10 requests in") || !strings.Contains(out, "answer 200: 10 (100 %)") {
		t.Errorf("exit %d: %s%s", code, out, err)
	}
	code, out, _ := run(server.URL+"/broken", "--rate", "100/s", "--json", "--max-failed", "50")
	var r struct {
		Done, Failed int
		Codes        map[string]int
	}
	if json.Unmarshal([]byte(out), &r) != nil || r.Done != 10 || r.Failed != 10 || r.Codes["502"] != 10 || code != ExitFailed {
		t.Errorf("exit %d: %s", code, out)
	}
	for want, args := range map[string][]string{
		"--rate: it is required":          {server.URL},
		`"fast" is not a rate`:            {server.URL, "--rate", "fast"},
		"is not a URL of HTTP":            {"shop", "--rate", "1"},
		`"nonsense" is not 'Name: value'`: {server.URL, "--rate", "1", "-H", "nonsense"},
		"write one URL":                   {"--rate", "1"},
	} {
		if code, _, err := run(args...); code != ExitUsage || !strings.Contains(err, want) {
			t.Errorf("exit %d: %s; want %q", code, err, want)
		}
	}
}
