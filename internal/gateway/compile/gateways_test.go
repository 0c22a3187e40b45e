package compile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	gw "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

func gateway(name, rest string) string {
	return "kind: Gateway\nmetadata: {name: " + name + "}\nspec:\n  gatewayClassName: fairway\n" + rest + "\n---\n"
}

func TestEveryFeatureThatIsClaimedIsOneOfTheSuite(t *testing.T) {
	t.Parallel()
	known := features.SetsToNamesSet(features.AllFeatures)
	for _, name := range Features {
		if !known.Has(features.FeatureName(name)) {
			t.Errorf("the suite of v1.6.3 knows no feature %s", name)
		}
	}
	if !slices.IsSorted(Features) {
		t.Error("supportedFeatures must be sorted")
	}
}

func TestClassesOfOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	in := load(t, "kind: GatewayClass\nmetadata: {name: other}\nspec: {controllerName: example.com/other}\n---\n"+strings.ReplaceAll(plainGateway, "fairway", "other"),
		"kind: GatewayClass\nmetadata: {name: odd}\nspec: {controllerName: fairway.dev/gateway, parametersRef: {group: x, kind: Y, name: z}}", httpRoute("r", "  rules: [{}]"))
	out := Compile(in)
	if len(out.Statuses.Gateways) != 0 || len(out.Statuses.HTTPRoutes) != 0 || len(out.Config.Sockets) != 1 {
		t.Errorf("a Gateway of another class is served: %+v", out.Statuses.Gateways)
	}
	if got := conditionOf(out.Statuses.GatewayClasses["odd"].Conditions, "Accepted"); got != "False InvalidParameters" || len(out.Statuses.GatewayClasses) != 2 {
		t.Errorf("class with parameters: %s", got)
	}
}

// listenerState of all listeners: "name accepted programmed resolved conflicted attached".
func listenerState(status gw.GatewayStatus) string {
	var out []string
	for _, l := range status.Listeners {
		reason := func(kind string) string { return strings.Fields(conditionOf(l.Conditions, kind) + " ?")[1] }
		out = append(out, fmt.Sprintf("%s %s %s %s %s %d", l.Name, reason("Accepted"), reason("Programmed"), reason("ResolvedRefs"), reason("Conflicted"), l.AttachedRoutes))
	}
	return strings.Join(out, "; ")
}

// TestListenersInConflictAreNotServed: GatewayListenerProtocolAndRouteKindConflicts and its kin.
func TestListenersInConflictAreNotServed(t *testing.T) {
	t.Parallel()
	const certs = "tls: {certificateRefs: [{name: cert}]}"
	for name, tc := range map[string]struct{ listeners, want, gateway string }{
		"alone":            {"{name: a, port: 80, protocol: HTTP}", "a Accepted Programmed ResolvedRefs NoConflicts 1", "True Accepted"},
		"the same host":    {"{name: a, port: 80, protocol: HTTP, hostname: x.com}, {name: b, port: 80, protocol: HTTP, hostname: x.com}, {name: c, port: 80, protocol: HTTP}", "a HostnameConflict HostnameConflict ResolvedRefs HostnameConflict 0; b HostnameConflict HostnameConflict ResolvedRefs HostnameConflict 0; c Accepted Programmed ResolvedRefs NoConflicts 1", "True ListenersNotValid"},
		"protocols":        {"{name: a, port: 443, protocol: HTTPS, " + certs + "}, {name: b, port: 443, protocol: TLS, hostname: x.com, tls: {mode: Passthrough}}", "a ProtocolConflict ProtocolConflict ResolvedRefs ProtocolConflict 0; b ProtocolConflict ProtocolConflict ResolvedRefs ProtocolConflict 0", "False ListenersNotValid"},
		"different ports":  {"{name: a, port: 80, protocol: HTTP}, {name: b, port: 8080, protocol: HTTP}", "a Accepted Programmed ResolvedRefs NoConflicts 1; b Accepted Programmed ResolvedRefs NoConflicts 1", "True Accepted"},
		"TCP":              {"{name: a, port: 80, protocol: TCP}", "a UnsupportedProtocol Invalid ResolvedRefs NoConflicts 0", "False ListenersNotValid"},
		"kind":             {"{name: a, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: TLSRoute}, {kind: HTTPRoute}]}}", "a Accepted Programmed InvalidRouteKinds NoConflicts 1", "True Accepted"},
		"HTTPS passed":     {"{name: a, port: 443, protocol: HTTPS, tls: {mode: Passthrough}}", "a UnsupportedValue Invalid InvalidCertificateRef NoConflicts 1", "False ListenersNotValid"},
		"no such Secret":   {"{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: none}]}}", "a Accepted Invalid InvalidCertificateRef NoConflicts 1", "True Accepted"},
		"malformed Secret": {"{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: broken}]}}", "a Accepted Invalid InvalidCertificateRef NoConflicts 1", "True Accepted"},
		"kind of Secret":   {"{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{kind: ConfigMap, name: cert}]}}", "a Accepted Invalid InvalidCertificateRef NoConflicts 1", "True Accepted"},
		"other namespace":  {"{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{namespace: infra, name: cert}]}}", "a Accepted Invalid RefNotPermitted NoConflicts 1", "True Accepted"},
		"good certificate": {"{name: a, port: 443, protocol: HTTPS, " + certs + "}", "a Accepted Programmed ResolvedRefs NoConflicts 1", "True Accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := withTrust(load(t, gateway("gate", "  listeners: ["+tc.listeners+"]"), httpRoute("r", "  rules: [{}]")), "shop")
			s := Compile(in).Statuses.Gateways[shop("gate")]
			if got := listenerState(s); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if got := conditionOf(s.Conditions, "Accepted"); got != tc.gateway {
				t.Errorf("Accepted of the Gateway: %s, want %s", got, tc.gateway)
			}
		})
	}
}

// TestGatewaysSayWhatKeepsThemFromBeingServed: GatewayStaticAddresses, GatewayInvalidParametersRef.
func TestGatewaysSayWhatKeepsThemFromBeingServed(t *testing.T) {
	t.Parallel()
	const listener = "  listeners: [{name: a, port: 80, protocol: HTTP}]\n"
	for name, tc := range map[string]struct {
		rest               string
		change             func(*Input)
		accepted, programm string
	}{
		"parameters":   {listener + "  infrastructure: {parametersRef: {group: x, kind: Y, name: z}}", nil, "False InvalidParameters", "False Invalid"},
		"address type": {listener + "  addresses: [{type: Hostname, value: a.b}]", nil, "False UnsupportedAddress", "False Invalid"},
		"no address":   {listener, func(in *Input) { clear(in.Addresses) }, "True Accepted", "False AddressNotAssigned"},
		"not usable": {listener, func(in *Input) {
			clear(in.Addresses)
			in.AddressProblems = map[config.Name]string{shop("gate"): "no"}
		}, "True Accepted", "False AddressNotUsable"},
		"port": {listener, func(in *Input) {
			in.Unavailable = map[netip.AddrPort]string{netip.MustParseAddrPort("127.32.0.1:80"): "allow it"}
		}, "False ListenersNotValid", "False Invalid"},
		"good": {listener, nil, "True Accepted", "True Programmed"},
	} {
		in := load(t, gateway("gate", tc.rest))
		if tc.change != nil {
			tc.change(&in)
		}
		s := Compile(in).Statuses.Gateways[shop("gate")]
		if a, p := conditionOf(s.Conditions, "Accepted"), conditionOf(s.Conditions, "Programmed"); a != tc.accepted || p != tc.programm {
			t.Errorf("%s: Accepted %s, Programmed %s", name, a, p)
		}
	}
}

// TestListenerSetsAreMergedInOrder: ListenerSet, with the cases of the suite's test of conflicts in host names.
func TestListenerSetsAreMergedInOrder(t *testing.T) {
	t.Parallel()
	set := func(name string, hosts ...string) string {
		text := "kind: ListenerSet\nmetadata: {name: " + name + "}\nspec:\n  parentRef: {name: gate}\n  listeners:\n"
		for _, h := range hosts {
			text += "  - {name: " + strings.TrimSuffix(h, ".com") + ", port: 80, protocol: HTTP, hostname: " + h + "}\n"
		}
		return text + "---\n"
	}
	gate := gateway("gate", "  allowedListeners: {namespaces: {from: Same}}\n  listeners: [{name: own, port: 80, protocol: HTTP, hostname: own.com}]")
	out := Compile(load(t, gate, set("first", "one.com", "own.com"), set("second", "one.com", "two.com"), set("third", "two.com"),
		"kind: HTTPRoute\nmetadata: {name: r}\nspec:\n  parentRefs: [{kind: ListenerSet, name: second, sectionName: two}, {kind: ListenerSet, name: third}]\n  rules: [{}]"))
	for name, want := range map[string]string{"first": "True ListenersNotValid", "second": "True ListenersNotValid", "third": "False ListenersNotValid"} {
		if got := conditionOf(out.Statuses.ListenerSets[shop(name)].Conditions, "Accepted"); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if n := *out.Statuses.Gateways[shop("gate")].AttachedListenerSets; n != 2 {
		t.Errorf("%d sets are attached, want 2", n)
	}
	for host, want := range map[string]string{"one.com": "404", "two.com": "r#0", "own.com": "404"} {
		if got := answered(t, out, 80, get(host, "/")); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
	if l := out.Statuses.ListenerSets[shop("second")].Listeners; l[0].AttachedRoutes != 0 || l[1].AttachedRoutes != 1 || conditionOf(l[0].Conditions, "Conflicted") != "True HostnameConflict" {
		t.Errorf("listeners of the second set: %+v", l)
	}
	refused := Compile(load(t, plainGateway, set("s", "x.com")))
	if s := refused.Statuses.ListenerSets[shop("s")]; conditionOf(s.Conditions, "Accepted") != "False NotAllowed" || conditionOf(s.Conditions, "Programmed") != "False NotAllowed" {
		t.Errorf("a set that the Gateway does not let in: %+v", s.Conditions)
	}
}

func TestRoutesAreToldWhyNoListenerTakesThem(t *testing.T) {
	t.Parallel()
	gate := gateway("gate", "  listeners:\n  - {name: a, port: 80, protocol: HTTP, hostname: '*.example.com'}\n  - {name: b, port: 8080, protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}\n"+
		"  - {name: c, port: 81, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: infra}}}}}")
	for name, tc := range map[string]struct{ namespace, ref, hosts, want string }{
		"a host of it":       {"shop", "{name: gate, namespace: shop}", "[x.example.com]", "True Accepted"},
		"no host of it":      {"shop", "{name: gate, namespace: shop}", "[example.com]", "False NoMatchingListenerHostname"},
		"no section":         {"shop", "{name: gate, namespace: shop, sectionName: z}", "[]", "False NoMatchingParent"},
		"no port":            {"shop", "{name: gate, namespace: shop, port: 82}", "[]", "False NoMatchingParent"},
		"a port":             {"shop", "{name: gate, namespace: shop, port: 80}", "[]", "True Accepted"},
		"port and section":   {"shop", "{name: gate, namespace: shop, port: 80, sectionName: b}", "[]", "False NoMatchingParent"},
		"kind":               {"shop", "{name: gate, namespace: shop, sectionName: b}", "[]", "False NotAllowedByListeners"},
		"namespace":          {"shop", "{name: gate, namespace: shop, sectionName: c}", "[]", "False NotAllowedByListeners"},
		"selected namespace": {"infra", "{name: gate, namespace: shop, sectionName: c}", "[]", "True Accepted"},
	} {
		out := Compile(load(t, gate, "kind: HTTPRoute\nmetadata: {name: r, namespace: "+tc.namespace+"}\nspec:\n  parentRefs: ["+tc.ref+"]\n  hostnames: "+tc.hosts+"\n  rules: [{}]"))
		p := out.Statuses.HTTPRoutes[config.Name{Namespace: tc.namespace, Name: "r"}].Parents[0]
		if got := conditionOf(p.Conditions, "Accepted"); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
		if !out.Needs.NamespaceLabels {
			t.Errorf("%s: labels of namespaces are not said to be needed", name)
		}
	}
}

func TestRoutesOfL4AreRefused(t *testing.T) {
	t.Parallel()
	out := Compile(load(t, plainGateway, "kind: TCPRoute\nmetadata: {name: r}\nspec:\n  parentRefs: [{name: gate}]\n  rules: [{backendRefs: [{name: web, port: 80}]}]"))
	if p := out.Statuses.TCPRoutes[shop("r")].Parents; len(p) != 1 || conditionOf(p[0].Conditions, "Accepted") != "False NotAllowedByListeners" {
		t.Errorf("%+v", p)
	}
}

func TestARouteThatLeavesItsGatewayHasItsStatusCleared(t *testing.T) {
	t.Parallel()
	in := load(t, plainGateway, httpRoute("r", "  rules: [{}]"))
	first := Compile(in)
	in.HTTPRoutes[0] = in.HTTPRoutes[0].DeepCopy()
	in.HTTPRoutes[0].Spec.ParentRefs[0].Name, in.Previous = "other", &first
	if s, ok := Compile(in).Statuses.HTTPRoutes[shop("r")]; !ok || len(s.Parents) != 0 {
		t.Errorf("%+v, %v", s, ok)
	}
}

func TestAnUnreadableSecretLeavesTheLastCertificateServedUntilItEnds(t *testing.T) {
	t.Parallel()
	in := withTrust(load(t, gateway("gate", "  listeners: [{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}]")), "shop")
	good := Compile(in)
	if len(good.Needs.Secrets) != 1 || good.Needs.Secrets[0] != shop("cert") {
		t.Errorf("needs %+v", good.Needs)
	}
	in.Secrets[0] = in.Secrets[0].DeepCopy()
	in.Secrets[0].Data["tls.crt"], in.Secrets[0].ResourceVersion, in.Previous = []byte("no"), "2", &good
	kept := Compile(in)
	l := kept.Statuses.Gateways[shop("gate")].Listeners[0]
	if conditionOf(l.Conditions, "Programmed") != "True Programmed" || conditionOf(l.Conditions, "ResolvedRefs") != "False InvalidCertificateRef" || !strings.Contains(messageOf(l.Conditions, "ResolvedRefs"), "until it ends") {
		t.Errorf("%+v", l.Conditions)
	}
	in.Previous, in.Now = &kept, now.Add(2*time.Hour)
	if ended := Compile(in); ended.socketsOf(443) != 0 {
		t.Error("an ended certificate is still served")
	}
	in.Now, in.Secrets = now, in.Secrets[1:]
	if deleted := Compile(in); deleted.socketsOf(443) != 0 {
		t.Error("the certificate of a deleted Secret is still served")
	}
}

func (o *Output) socketsOf(port uint16) int {
	n := 0
	for _, s := range o.Config.Sockets {
		if s.Address.Port() == port {
			n++
		}
	}
	return n
}

// TestClientsAreValidatedByPort: GatewayFrontendClientCertificateValidation and its InsecureFallback.
func TestClientsAreValidatedByPort(t *testing.T) {
	t.Parallel()
	listeners := "  listeners:\n  - {name: plain, port: 80, protocol: HTTP}\n  - {name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}\n  - {name: b, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}\n"
	ca := func(name, more string) string {
		return "{validation: {" + more + "caCertificateRefs: [{group: '', kind: ConfigMap, name: " + name + "}]}}"
	}
	for name, tc := range map[string]struct{ tls, want, insecure string }{
		"by default":      {"{default: " + ca("ca", "") + "}", "plain Accepted ResolvedRefs; a Accepted ResolvedRefs; b Accepted ResolvedRefs", ""},
		"bad by default":  {"{default: " + ca("bad-ca", "") + ", perPort: [{port: 8443, tls: " + ca("ca", "mode: AllowInsecureFallback, ") + "}]}", "plain Accepted ResolvedRefs; a NoValidCACertificate InvalidCACertificateRef; b Accepted ResolvedRefs", "True ConfigurationChanged"},
		"missing":         {"{default: " + ca("none", "") + "}", "plain Accepted ResolvedRefs; a NoValidCACertificate InvalidCACertificateRef; b NoValidCACertificate InvalidCACertificateRef", ""},
		"kind":            {"{default: {validation: {caCertificateRefs: [{group: '', kind: Secret, name: ca}]}}}", "plain Accepted ResolvedRefs; a NoValidCACertificate InvalidCACertificateKind; b NoValidCACertificate InvalidCACertificateKind", ""},
		"other namespace": {"{default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, namespace: infra, name: ca}]}}}", "plain Accepted ResolvedRefs; a NoValidCACertificate RefNotPermitted; b NoValidCACertificate RefNotPermitted", ""},
	} {
		out := Compile(withTrust(load(t, gateway("gate", listeners+"  tls: {frontend: "+tc.tls+"}")), "shop"))
		s := out.Statuses.Gateways[shop("gate")]
		var got []string
		for _, l := range s.Listeners {
			got = append(got, fmt.Sprint(l.Name, " ", strings.Fields(conditionOf(l.Conditions, "Accepted"))[1], " ", strings.Fields(conditionOf(l.Conditions, "ResolvedRefs"))[1]))
		}
		if g := strings.Join(got, "; "); g != tc.want || conditionOf(s.Conditions, "InsecureFrontendValidationMode") != tc.insecure {
			t.Errorf("%s: got %s, want %s", name, g, tc.want)
		}
		for _, socket := range out.Config.Sockets {
			if l := socket.Listeners[0]; socket.Protocol == config.HTTPS && l.Clients == nil {
				t.Errorf("%s: listener %s lets all clients in", name, l.Section)
			}
		}
	}
}

func TestOverlappingHostNamesWithinTLSAreTold(t *testing.T) {
	t.Parallel()
	out := Compile(withTrust(load(t, gateway("gate", `  listeners:
  - {name: a, port: 443, protocol: HTTPS, hostname: foo.example.com, tls: {certificateRefs: [{name: cert}]}}
  - {name: b, port: 443, protocol: HTTPS, hostname: foo.example.org, tls: {certificateRefs: [{name: cert}]}}
  - {name: c, port: 443, protocol: HTTPS, hostname: "*.example.com", tls: {certificateRefs: [{name: cert}]}}`)), "shop"))
	for i, want := range []string{"True OverlappingHostnames", "", "True OverlappingHostnames"} {
		if got := conditionOf(out.Statuses.Gateways[shop("gate")].Listeners[i].Conditions, "OverlappingTLSConfig"); got != want {
			t.Errorf("listener %d: %q, want %q", i, got, want)
		}
	}
}

func TestGatewaysThatShareAnAddressShareItsSocketsByHostName(t *testing.T) {
	t.Parallel()
	in := load(t, gateway("old", "  listeners: [{name: a, port: 80, protocol: HTTP, hostname: a.com}]"),
		gateway("young", "  listeners: [{name: a, port: 80, protocol: HTTP, hostname: a.com}, {name: b, port: 80, protocol: HTTP, hostname: b.com}]"),
		"kind: HTTPRoute\nmetadata: {name: r}\nspec:\n  parentRefs: [{name: old}, {name: young}]\n  rules: [{}]")
	in.Addresses[shop("young")] = in.Addresses[shop("old")]
	out := Compile(in)
	if got, want := listenerState(out.Statuses.Gateways[shop("young")]), "a PortUnavailable PortUnavailable ResolvedRefs NoConflicts 1; b Accepted Programmed ResolvedRefs NoConflicts 1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	a, _ := ask(t, out, 80, get("a.com", "/"))
	b, _ := ask(t, out, 80, get("b.com", "/"))
	if a.Listener.Gateway != shop("old") || b.Listener.Gateway != shop("young") || a.Rule != b.Rule || len(out.Config.Rules) != 1 {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestARuleDiffersWhereAGatewayShowsACertificateOfItsOwn(t *testing.T) {
	t.Parallel()
	const listener = "  listeners: [{name: a, port: %, protocol: HTTP}]"
	out := Compile(withTrust(load(t, gateway("plain", replace(listener, "%", "80")), gateway("shows", replace(listener, "%", "81")+"\n  tls: {backend: {clientCertificateRef: {name: cert}}}"),
		gateway("broken", replace(listener, "%", "82")+"\n  tls: {backend: {clientCertificateRef: {name: none}}}"),
		"kind: HTTPRoute\nmetadata: {name: r}\nspec:\n  parentRefs: [{name: plain}, {name: shows}, {name: broken}]\n  rules: [{name: main, backendRefs: [{name: ports, port: 443}]}]",
		"kind: BackendTLSPolicy\nmetadata: {name: p}\nspec: {targetRefs: [{group: '', kind: Service, name: ports}], validation: {wellKnownCACertificates: System, hostname: inner.example}}"), "shop"))
	plain, _ := ask(t, out, 80, get("h", "/"))
	shows, _ := ask(t, out, 81, get("h", "/"))
	if plain.Rule == shows.Rule || plain.Rule.Backends[0].Backend.TLS.Certificate != nil || shows.Rule.Backends[0].Backend.TLS.Certificate == nil ||
		plain.Rule.Key.Gateway != (config.Name{}) || shows.Rule.Key.Gateway != shop("shows") {
		t.Errorf("%+v, %+v", plain.Rule, shows.Rule)
	}
	for name, want := range map[string]string{"plain": "True ResolvedRefs", "shows": "True ResolvedRefs", "broken": "False InvalidClientCertificateRef"} {
		if got := conditionOf(out.Statuses.Gateways[shop(name)].Conditions, "ResolvedRefs"); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestDefaultGatewaysTakeTheRoutesThatAskForOne(t *testing.T) {
	t.Parallel()
	out := Compile(load(t, gateway("all", "  defaultScope: All\n  listeners: [{name: a, port: 80, protocol: HTTP}]"), gateway("none", "  listeners: [{name: a, port: 81, protocol: HTTP}]"),
		"kind: HTTPRoute\nmetadata: {name: r}\nspec:\n  useDefaultGateways: All\n  rules: [{}]"))
	if p := out.Statuses.HTTPRoutes[shop("r")].Parents; len(p) != 1 || p[0].ParentRef.Name != "all" || answered(t, out, 80, get("h", "/")) != "r#0" || answered(t, out, 81, get("h", "/")) != "404" {
		t.Errorf("%+v", p)
	}
}
