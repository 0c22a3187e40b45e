package stage

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/utils/gotpl"
	"sigs.k8s.io/kwok/pkg/utils/lifecycle"
)

// Effect is one thing a stage does; exactly one of Event, Patch and Delete is set. They are to be carried out in order.
type Effect struct {
	Event  *Event
	Patch  *Patch
	Delete bool
}

// Event is recorded about the object.
type Event struct {
	Type, Reason, Message string
}

// Patch is sent to the API server.
type Patch struct {
	Type        types.PatchType // json, merge or strategic patch, or server-side apply
	Data        []byte          // JSON
	Subresource string          // "", status, …
	User        string          // to be sent as this user; "" = the engine's own
}

// Effects renders what the move does to the object. A template that fails gives an error and no effects: the native
// engine goes on with the object.
func (m *Move) Effects(object metav1.Object) ([]Effect, error) {
	m.kind.mu.Lock()
	defer m.kind.mu.Unlock()
	var out []Effect
	_, err := m.stage.DoSteps(0, object.GetFinalizers(), object, m.kind.renderer,
		func(e *internalversion.StageEvent) error {
			out = append(out, Effect{Event: &Event{e.Type, e.Reason, e.Message}})
			return nil
		},
		func() error {
			out = append(out, Effect{Delete: true})
			return nil
		},
		func(p *lifecycle.Patch) error {
			out = append(out, Effect{Patch: &Patch{Type: p.Type, Data: p.Data, Subresource: p.Subresource, User: user(p.Impersonation)}})
			return nil
		},
		func(a *lifecycle.Apply) error {
			out = append(out, Effect{Patch: &Patch{Type: a.Type, Data: a.Data, Subresource: a.Subresource, User: user(a.Impersonation)}})
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("stage %s on %s/%s: %w", m.Stage, object.GetNamespace(), object.GetName(), err)
	}
	return out, nil
}

func user(i *internalversion.ImpersonationConfig) string {
	if i == nil {
		return ""
	}
	return i.Username
}

// nodePort is what the template function NodePort returns: the kubelet's.
const nodePort = 10250

// newRenderer returns KWOK's template renderer with the functions its controllers add.
func newRenderer(a Addresses) gotpl.Renderer {
	nodeIPs := func(node string) []string {
		if a == nil {
			return []string{}
		}
		return a.NodeIPs(node)
	}
	first := func(ips []string) string {
		if len(ips) == 0 {
			return ""
		}
		return ips[0]
	}
	podIPs := func(node string, hostNetwork bool, uid, name, namespace string) ([]string, error) {
		if a == nil {
			return []string{}, nil
		}
		return a.PodIPs(node, hostNetwork, uid, name, namespace)
	}
	return gotpl.NewRenderer(gotpl.FuncMap{
		"NodeIP":      func() string { return "" },
		"NodeName":    func() string { return "fairway" },
		"NodePort":    func() int { return nodePort },
		"PodIP":       func() string { return "" },
		"NodeIPWith":  func(node string) string { return first(nodeIPs(node)) },
		"NodeIPsWith": nodeIPs,
		"PodIPWith": func(node string, hostNetwork bool, uid, name, namespace string) (string, error) {
			ips, err := podIPs(node, hostNetwork, uid, name, namespace)
			return first(ips), err
		},
		"PodIPsWith": podIPs,
	})
}
