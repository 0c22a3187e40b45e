package compile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"
)

// described is the Services as "name ports labels annotations", of labels those that spec.infrastructure has.
func described(out Output) (all []string) {
	for _, s := range out.Services {
		var ports []int32
		for _, p := range s.Spec.Ports {
			ports = append(ports, p.Port)
		}
		labels := maps.Clone(s.Labels)
		maps.DeleteFunc(labels, func(k, _ string) bool { return strings.Contains(k, "/") })
		all = append(all, fmt.Sprint(s.Name, ports, labels, s.Annotations))
	}
	return all
}

func TestAGatewayHasAServiceWithThePortsThatAreListenedOn(t *testing.T) {
	t.Parallel()
	const two = "  listeners: [{name: a, port: 8080, protocol: HTTP}, {name: b, port: 80, protocol: HTTP, hostname: x.com}, {name: c, port: 80, protocol: HTTP, hostname: y.com}]\n"
	for name, c := range map[string]struct{ objects, want string }{
		"its ports, each once, in order": {gateway("edge", two), "edge-fairway[80 8080] map[] map[]"},
		"what infrastructure says": {gateway("edge", two+"  infrastructure: {labels: {team: shop}, annotations: {note: hello}}\n"),
			"edge-fairway[80 8080] map[team:shop] map[note:hello]"},
		"the ports of its ListenerSets": {gateway("edge", "  allowedListeners: {namespaces: {from: Same}}\n  listeners: [{name: a, port: 8080, protocol: HTTP}]\n") +
			"kind: ListenerSet\nmetadata: {name: more}\nspec:\n  parentRef: {name: edge}\n  listeners: [{name: b, port: 9090, protocol: HTTP}]\n", "edge-fairway[8080 9090] map[] map[]"},
		"none without a port that is served":    {gateway("edge", "  listeners: [{name: a, port: 53, protocol: UDP}]\n"), ""},
		"none when the Gateway is refused":      {gateway("edge", two+"  infrastructure: {parametersRef: {group: x, kind: Y, name: z}}\n"), ""},
		"a name that a Service may have":        {gateway("1.edge", two), "gateway-1-edge-fairway-884ba8ee[80 8080] map[] map[]"},
		"none for a Gateway of another's class": {strings.ReplaceAll(gateway("edge", two), "fairway", "other"), ""},
	} {
		out := Compile(load(t, c.objects))
		if got := strings.Join(described(out), "; "); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		for _, s := range out.Services {
			if s.Labels["gateway.networking.k8s.io/gateway-name"] == "" || s.OwnerReferences[0].Kind != "Gateway" || s.Labels[ManagedByLabel] != ManagedBy {
				t.Errorf("%s: %+v", name, s.ObjectMeta)
			}
		}
	}
}

func TestNamesOfGatewaysServicesAreValidAndApart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9]([-a-z0-9.]{0,80}[a-z0-9])?-fairway`), 2, 5, rapid.ID[string]).Draw(t, "names")
		var seen []string
		for _, name := range names {
			got := serviceName(name)
			if problems := validation.IsDNS1035Label(got); len(problems) > 0 {
				t.Fatalf("%q becomes %q: %v", name, got, problems)
			}
			if slices.Contains(seen, got) {
				t.Fatalf("two of %q become %q", names, got)
			}
			seen = append(seen, got)
		}
	})
}
