package serve

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// maxDelay bounds ?delay=.
	maxDelay = time.Minute
	// maxRetryKeys bounds the uuids of /retry that are remembered.
	maxRetryKeys = 10_000
)

// echo tells what a request looked like when it arrived, as the echo server of the Gateway API's conformance tests does.
type echo struct {
	*server
	what  What
	tries *tries
}

// echoed is the answer.
type echoed struct {
	Path      string              `json:"path"`
	Host      string              `json:"host"`
	Method    string              `json:"method"`
	Proto     string              `json:"proto"`
	Headers   map[string][]string `json:"headers"`
	HTTPPort  string              `json:"httpPort"`
	Namespace string              `json:"namespace"`
	Ingress   string              `json:"ingress"`
	Service   string              `json:"service"`
	Pod       string              `json:"pod"`
	TLS       *echoedTLS          `json:"tls,omitempty"`
}

type echoedTLS struct {
	Version            string   `json:"version"`
	PeerCertificates   []string `json:"peerCertificates,omitempty"`
	ServerName         string   `json:"serverName"`
	NegotiatedProtocol string   `json:"negotiatedProtocol,omitempty"`
	CipherSuite        string   `json:"cipherSuite"`
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.perform(w, r, e.answer) }

func (e *echo) answer(w http.ResponseWriter, r *http.Request) {
	e.what.log("Echoing back request made to " + r.RequestURI + " to client (" + r.RemoteAddr + ")")
	if e.what.Port == portIn(e.what.Env, envH2CPort, defaultH2C) && r.ProtoMajor != 2 {
		http.Error(w, "Expected h2c request", http.StatusBadRequest)
		return
	}
	query := r.URL.Query()
	if d, err := time.ParseDuration(query.Get("delay")); err == nil && d > 0 {
		timer := time.NewTimer(min(d, maxDelay))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	switch rest, status := strings.CutPrefix(r.URL.Path, "/status/"); {
	case r.URL.Path == "/health":
		_, _ = w.Write([]byte("OK"))
		return
	case r.URL.Path == "/ws" || strings.HasPrefix(r.URL.Path, "/ws/"):
		e.websocket(w, r)
		return
	case strings.HasPrefix(r.URL.Path, "/retry") && query.Get("uuid") != "":
		if e.refuseRetry(w, r) {
			return
		}
	case status:
		if code, ok := statusOf(rest); ok {
			w.WriteHeader(code)
			return
		}
	}
	e.tell(w, r)
}

func (e *echo) tell(w http.ResponseWriter, r *http.Request) {
	body, err := json.MarshalIndent(echoed{Path: r.RequestURI, Host: r.Host, Method: r.Method, Proto: r.Proto, Headers: r.Header, HTTPPort: strconv.Itoa(int(e.what.Port)),
		Namespace: e.what.Namespace, Ingress: e.what.Env["INGRESS_NAME"], Service: e.what.Env["SERVICE_NAME"], Pod: e.what.Name, TLS: describeTLS(r.TLS)}, "", " ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	for _, pair := range strings.Split(strings.Join(r.Header.Values("X-Echo-Set-Header"), ","), ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(pair), ":")
		value = strings.TrimSpace(value)
		switch {
		case !ok:
		case len(h[name]) == 0:
			h[name] = []string{value} // in the case it was asked for
		default:
			h[name][0] += "," + value
		}
	}
	_, _ = w.Write(body)
}

func tlsVersion(s *tls.ConnectionState) string {
	return strings.ReplaceAll(tls.VersionName(s.Version), "TLS ", "TLSv")
}

func describeTLS(s *tls.ConnectionState) *echoedTLS {
	if s == nil {
		return nil
	}
	out := &echoedTLS{Version: tlsVersion(s), ServerName: s.ServerName, NegotiatedProtocol: s.NegotiatedProtocol,
		CipherSuite: tls.CipherSuiteName(s.CipherSuite)}
	for _, c := range s.PeerCertificates {
		out.PeerCertificates = append(out.PeerCertificates, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))
	}
	return out
}

// websocket sends back what comes.
func (e *echo) websocket(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	c, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // it has answered
	}
	defer c.Close()
	for {
		kind, message, err := c.ReadMessage()
		if err != nil || c.WriteMessage(kind, message) != nil {
			return
		}
	}
}

// tries counts the requests of each uuid, for all pods: a gateway may send the next to another.
type tries struct {
	mu sync.Mutex
	n  map[string]int
}

func (t *tries) next(key string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil || len(t.n) >= maxRetryKeys {
		t.n = map[string]int{}
	}
	t.n[key]++
	return t.n[key]
}

// refuseRetry fails the first requests with the same uuid, as many as succeedAfter says: with the code that is asked for, or
// else by breaking the connection.
func (e *echo) refuseRetry(w http.ResponseWriter, r *http.Request) bool {
	query := r.URL.Query()
	after, _ := strconv.Atoi(query.Get("succeedAfter"))
	n := e.tries.next(e.of.Namespace + "/" + query.Get("uuid"))
	if n > after {
		w.Header().Set("X-Echo-Attempts", fmt.Sprint(n))
		return false
	}
	if d, err := time.ParseDuration(query.Get("delayRetry")); err == nil {
		time.Sleep(min(d, maxDelay))
	}
	if code, ok := statusOf(query.Get("responseCode")); ok {
		w.WriteHeader(code)
		return true
	}
	panic(http.ErrAbortHandler)
}
