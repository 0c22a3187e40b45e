package program

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Answer is what a server of the image table answers to every HTTP request on a port.
type Answer struct {
	Text string
	// JSON answers {"Method": the request's method, "Body": Text} instead of the text alone.
	JSON bool
}

// ServeHTTP implements http.Handler. A text's content type is what it looks like.
func (a Answer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !a.JSON {
		_, _ = io.WriteString(w, a.Text)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	body, err := json.Marshal(struct{ Method, Body string }{r.Method, a.Text})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(body)
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

// answers are those of agnhost's servers that say the same to everybody.
func answers(sub string, args []string, ports []uint16, env map[string]string) map[uint16]Answer {
	out := map[uint16]Answer{}
	switch sub {
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
