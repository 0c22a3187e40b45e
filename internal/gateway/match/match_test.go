package match

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

func TestIndexAndReferenceAgreeOnDrawnConfigsAndRequests(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t)
		x := NewIndex(c)
		again := x.Next(c)
		for range 8 {
			socket, req := rapid.IntRange(0, len(c.Sockets)-1).Draw(t, "socket"), drawHead(t)
			want := reference(c, socket, req)
			got, ok := x.Match(socket, req)
			if got != want || ok != (want.Rule != nil) {
				t.Fatalf("%+v: got %+v, want %+v", req, got, want)
			}
			if got, _ := again.Match(socket, req); got != want {
				t.Fatalf("%+v: the index made from the last one got %+v, want %+v", req, got, want)
			}
			if l := x.Listener(socket, req.ServerName); l != referenceListener(&c.Sockets[socket], req.ServerName) {
				t.Fatalf("server name %q: got %v", req.ServerName, l)
			}
			explained(t, x.Explain(socket, req), want)
		}
	})
}

// explained holds an explanation against the result that it explains.
func explained(t *rapid.T, e Explanation, want Result) {
	if e.Result != want || (e.Why == "") != (want.Rule != nil) {
		t.Fatalf("explained %+v, want %+v", e, want)
	}
	for i, tried := range e.Tried {
		if fits := i == len(e.Tried)-1 && want.Rule != nil; fits != (tried.Why == "") {
			t.Fatalf("match %d of %d: %q", i, len(e.Tried), tried.Why)
		}
	}
}

// TestRequestsAreServedByTheMostSpecificListenerAlone: GatewayHTTPListenerIsolation.
func TestRequestsAreServedByTheMostSpecificListenerAlone(t *testing.T) {
	t.Parallel()
	x := NewIndex(listeners(config.HTTP, "foo.example.com", "*.foo.example.com", "*.example.com", ""))
	for host, want := range map[string]string{
		"foo.example.com": "foo.example.com", "a.foo.example.com": "*.foo.example.com", "b.a.foo.example.com": "*.foo.example.com",
		"bar.example.com": "*.example.com", "example.com": "", "Foo.Example.com:8080": "foo.example.com", "foo.example.com.": "foo.example.com",
	} {
		r, ok := x.Match(0, &Head{Method: "GET", Host: host, Path: "/any"})
		if !ok || r.Listener.Section != want {
			t.Errorf("%s: served by %+v, want %q", host, r.Listener, want)
		}
		// A path that only the least specific listener has a rule for is not found by the others.
		r, ok = x.Match(0, &Head{Method: "GET", Host: host, Path: "/only-"})
		if ok != (want == "") || !ok && r.Status != 404 {
			t.Errorf("%s: a rule of another listener was found: %+v", host, r)
		}
	}
}

// TestMisdirectedRequestsAreTold covers GatewayHTTPSListenerDetectMisdirectedRequests, with the names of the suite's test.
func TestMisdirectedRequestsAreTold(t *testing.T) {
	t.Parallel()
	c := listeners(config.HTTPS, "second-example.org", "fourth-example.wildcard.org", "*.wildcard.org", "")
	c.Sockets[0].Listeners[3].Hosts[0].Hostname = "example.org"
	x := NewIndex(c)
	for _, tc := range []struct {
		server, host string
		status       int
	}{
		{"example.org", "example.org", 0}, {"example.org", "second-example.org", 421}, {"example.org", "unknown-example.org", 404},
		{"second-example.org", "second-example.org", 0}, {"second-example.org", "example.org", 421}, {"second-example.org", "unknown-example.org", 421},
		{"third-example.wildcard.org", "third-example.wildcard.org", 0}, {"third-example.wildcard.org", "fifth-example.wildcard.org", 0},
		{"third-example.wildcard.org", "fourth-example.wildcard.org", 421}, {"third-example.wildcard.org", "second-example.org", 421},
		{"fourth-example.wildcard.org", "fourth-example.wildcard.org", 0}, {"fourth-example.wildcard.org", "fifth-example.wildcard.org", 421},
		{"unknown-example.org", "example.org", 0}, {"unknown-example.org", "unknown-example.org", 404}, {"", "second-example.org", 421},
	} {
		if r, _ := x.Match(0, &Head{Host: tc.host, ServerName: tc.server, Path: "/any"}); r.Status != tc.status {
			t.Errorf("server name %s, host %s: %d, want %d", tc.server, tc.host, r.Status, tc.status)
		}
	}
}

// listeners with a rule for /any each, and one for /only-NAME.
func listeners(p config.Protocol, names ...string) *config.Config {
	s := config.Socket{Address: netip.MustParseAddrPort("127.0.0.1:80"), Protocol: p}
	for _, name := range names {
		s.Listeners = append(s.Listeners, &config.Listener{Hostname: name, Section: name, Hosts: []*config.Host{{Hostname: name, Matches: []config.Match{
			{Path: config.PathMatch{Kind: config.PathExact, Value: "/only-" + name}, Rule: &config.Rule{}},
			{Path: config.PathMatch{Kind: config.PathPrefix, Value: "/any"}, Rule: &config.Rule{}},
		}}}})
	}
	return &config.Config{Sockets: []config.Socket{s}}
}

func TestHostsFallBackToLessSpecificOnesWhenNoMatchFits(t *testing.T) {
	t.Parallel()
	rule := func(path string) config.Match {
		return config.Match{Path: config.PathMatch{Kind: config.PathPrefix, Value: path}, Rule: &config.Rule{Key: config.RuleKey{Rule: path}}}
	}
	c := &config.Config{Sockets: []config.Socket{{Listeners: []*config.Listener{{Hosts: []*config.Host{
		{Hostname: "a.example.com", Matches: []config.Match{rule("/exact")}}, {Hostname: "*.example.com", Matches: []config.Match{rule("/wild")}},
		{Matches: []config.Match{rule("")}}}}}}}}
	x := NewIndex(c)
	for path, want := range map[string]string{"/exact/1": "/exact", "/wild": "/wild", "/other": ""} {
		if r, ok := x.Match(0, &Head{Host: "a.example.com", Path: path}); !ok || r.Rule.Key.Rule != want {
			t.Errorf("%s: %+v, want the rule of %q", path, r, want)
		}
	}
}

func TestLongPathsAreNotLookedAtBeyondTheDeepestPrefix(t *testing.T) { // not parallel: it counts allocations
	c := listeners(config.HTTP, "")
	x := NewIndex(c)
	deep := "/any" + strings.Repeat("/x", 4000)
	if r, ok := x.Match(0, &Head{Host: "h", Path: deep}); !ok || r.Match.Path.Value != "/any" {
		t.Errorf("a deep path was not found below its prefix: %+v", r)
	}
	if n := testing.AllocsPerRun(100, func() { x.Match(0, &Head{Host: "h", Path: deep}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestServersAreFoundByTheirNames: TLSRoute.
func TestServersAreFoundByTheirNames(t *testing.T) {
	t.Parallel()
	exact, wild := &config.Server{Hostname: "a.example.com"}, &config.Server{Hostname: "*.example.com", Terminate: true}
	c := &config.Config{Sockets: []config.Socket{{Protocol: config.TLS, Listeners: []*config.Listener{{Hostname: "*.example.com", Servers: []*config.Server{exact, wild}}}}}}
	x := NewIndex(c)
	for name, want := range map[string]*config.Server{"a.example.com": exact, "b.example.com": wild, "other.org": nil, "": nil} {
		if _, s := x.Server(0, name); s != want {
			t.Errorf("%q: %+v, want %+v", name, s, want)
		}
	}
}

func TestExplainSaysWhichConditionIsNotMet(t *testing.T) {
	t.Parallel()
	c := listeners(config.HTTP, "")
	h := c.Sockets[0].Listeners[0].Hosts[0]
	h.Matches = []config.Match{
		{Path: config.PathMatch{Kind: config.PathPrefix}, Method: "POST", Rule: &config.Rule{}},
		{Path: config.PathMatch{Kind: config.PathPrefix}, Headers: []config.ValueMatch{{Name: "x-canary", Value: "yes"}}, Rule: &config.Rule{}},
		{Path: config.PathMatch{Kind: config.PathExact, Value: "/b"}, Rule: &config.Rule{}},
	}
	e := NewIndex(c).Explain(0, &Head{Method: "GET", Host: "h", Path: "/a"})
	var why []string
	for _, tried := range e.Tried {
		why = append(why, tried.Why)
	}
	if got, want := strings.Join(why, "; "), `the method is not POST; the header x-canary is not "yes"; the path is not /b`; got != want || e.Found || e.Status != 404 {
		t.Errorf("got %s (%+v), want %s", got, e, want)
	}
}

func FuzzMatchAgreesWithTheReference(f *testing.F) {
	for _, seed := range [][5]string{
		{"GET", "a.example.com", "/a/b", "q=v1", "c=v1"}, {"POST", "EXAMPLE.com:8080", "", "a+b=%7", "c=v1; d"}, {"", "[::1", "/a//b", "&&", ";=;"},
		{"G\x00T", "..", "/a/../b", "%zz=1", ""}, {"GET", ":80", "*", "=", "c"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4])
	}
	var configs []*config.Config
	for seed := range 50 {
		configs = append(configs, rapid.Custom(drawConfig).Example(seed))
	}
	f.Fuzz(func(t *testing.T, method, host, path, query, cookie string) {
		req := &Head{Method: method, Host: host, Path: path, Query: query, ServerName: host, Headers: []Header{{"Cookie", cookie}, {"X-Version", query}}}
		for _, c := range configs {
			got, _ := NewIndex(c).Match(0, req)
			if want := reference(c, 0, req); got != want {
				t.Fatalf("got %+v, want %+v", got, want)
			}
		}
	})
}

// BenchmarkMatch is the target of ≤ 400 ns and no allocation in 10,000 routes: each on a host name of its own, all of them
// on one, and on one with a header each.
func BenchmarkMatch(b *testing.B) {
	const routes = 10_000
	hosts := make([]*config.Host, routes)
	one := &config.Host{Hostname: "one.example.com"}
	for i := range hosts {
		prefix := config.Match{Path: config.PathMatch{Kind: config.PathPrefix, Value: fmt.Sprintf("/api/v1/team-%d/service", i)}, Rule: &config.Rule{}}
		exact := config.Match{Path: config.PathMatch{Kind: config.PathExact, Value: fmt.Sprintf("/health-%d", i)}, Rule: &config.Rule{}}
		one.Matches = append(one.Matches, exact, prefix)
		hosts[i] = &config.Host{Hostname: fmt.Sprintf("h%d.example.com", i), Matches: []config.Match{exact, prefix}}
	}
	x := NewIndex(&config.Config{Sockets: []config.Socket{{Listeners: []*config.Listener{{Hostname: "", Hosts: append(hosts, one)}}}}})
	headers := []Header{{"User-Agent", "curl/8"}, {"Accept", "*/*"}, {"X-Request-Id", "1"}}
	for name, host := range map[string]string{"hosts": "h7777.example.com", "one-host": "one.example.com:8080"} {
		b.Run(name, func(b *testing.B) {
			req := &Head{Method: "GET", Host: host, Path: "/api/v1/team-7777/service/items/1", Headers: headers}
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := x.Match(0, req); !ok {
					b.Fatal("not found")
				}
			}
		})
	}
}

func BenchmarkNextAfterOneHostOf10000Changed(b *testing.B) {
	hosts := make([]*config.Host, 10_000)
	for i := range hosts {
		hosts[i] = &config.Host{Hostname: fmt.Sprintf("h%d.example.com", i), Matches: []config.Match{{Rule: &config.Rule{}}}}
	}
	c := &config.Config{Sockets: []config.Socket{{Listeners: []*config.Listener{{Hosts: hosts}}}}}
	x := NewIndex(c)
	for b.Loop() {
		hosts[7] = &config.Host{Hostname: "h7.example.com", Matches: hosts[7].Matches}
		x = x.Next(c)
	}
}
