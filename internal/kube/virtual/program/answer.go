package program

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Answer is what a server of the image table answers to the HTTP requests on a port.
type Answer struct {
	Text string // to every request; for Echo the host name
	// JSON answers {"Method": the request's method, "Body": Text} instead of the text alone.
	JSON bool
	// Echo answers as agnhost netexec does: /echo what msg says, /hostname the name, everything else "ok"; each request
	// for an echo is a line in the log.
	Echo bool
}

// handler answers; log takes a line of the container's log.
func (a Answer) handler(log func(string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case a.Echo:
			a.echo(w, r, log)
		case a.JSON:
			body, err := json.Marshal(struct{ Method, Body string }{r.Method, a.Text})
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(body)
		default: // its content type is what it looks like
			_, _ = io.WriteString(w, a.Text)
		}
	})
}

func (a Answer) echo(w http.ResponseWriter, r *http.Request, log func(string)) {
	switch r.URL.Path {
	case "/echo":
		said, code := r.FormValue("msg"), r.FormValue("code")
		log(time.Now().UTC().Format("2006/01/02 15:04:05 ") + "GET /echo?msg=" + said + "&code=" + code)
		if code != "" {
			n, err := strconv.Atoi(code)
			if err != nil || n < 200 || n > 599 {
				http.Error(w, "code must be 200 to 599", http.StatusBadRequest)
				return
			}
			w.WriteHeader(n)
		}
		_, _ = io.WriteString(w, said)
	case "/hostname", "/hostName":
		_, _ = io.WriteString(w, a.Text)
	default:
		_, _ = io.WriteString(w, "ok\n")
	}
}

// hostnameMax is the longest host name of a pod; longer ones are cut, as a kubelet cuts them.
const hostnameMax = 63

// hostname is the pod's name for itself.
func hostname(p *corev1.Pod) string {
	switch {
	case p.Spec.HostNetwork && p.Spec.NodeName != "":
		return p.Spec.NodeName
	case p.Spec.HostnameOverride != nil:
		return *p.Spec.HostnameOverride
	case p.Spec.Hostname != "":
		return p.Spec.Hostname
	case len(p.Name) > hostnameMax:
		return strings.TrimRight(p.Name[:hostnameMax], "-.")
	}
	return p.Name
}

// porterPorts are the prefixes of the variables that give agnhost porter a TCP port and what it says there.
var porterPorts = []string{"SERVE_PORT_", "SERVE_TCP_PORT_", "SERVE_TLS_PORT_"}

// answers are those of agnhost's servers whose answers follow from the pod and the request.
func answers(sub string, args []string, ports []uint16, env map[string]string) map[uint16]Answer {
	out := map[uint16]Answer{}
	switch sub {
	case "netexec":
		for _, p := range ports {
			out[p] = Answer{Text: env["HOSTNAME"], Echo: true}
		}
	case "serve-hostname":
		for _, p := range ports {
			out[p] = Answer{Text: env["HOSTNAME"]}
		}
	case "porter":
		asJSON := slices.Contains(args, "--json-response") || slices.Contains(args, "--json-response=true")
		for name, text := range env {
			for _, prefix := range porterPorts {
				if number, ok := strings.CutPrefix(name, prefix); ok {
					if p, ok := parsePort(number); ok {
						out[p] = Answer{Text: text, JSON: asJSON}
					}
				}
			}
		}
	}
	return out
}
