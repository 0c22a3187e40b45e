package proxy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

func text(s string) *string { return &s }

func TestFiltersChangeRequestsAndResponsesInTheirOrder(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Drop", "1")
		w.Header().Set("X-Over", "backend")
		says("").ServeHTTP(w, r)
	}))
	h.change(func(r *config.Rule) {
		r.Filters = []config.Filter{
			{RequestHeaders: &config.Headers{Set: []config.Header{{Name: "x-a", Value: "rule"}, {Name: "host", Value: "other.example"}}, Remove: []string{"x-gone"}}},
			{ResponseHeaders: &config.Headers{Set: []config.Header{{Name: "x-over", Value: "rule"}}, Remove: []string{"x-drop"}}}}
		r.Backends = append([]config.Share(nil), r.Backends...)
		r.Backends[0].Filters = []config.Filter{
			{RequestHeaders: &config.Headers{Add: []config.Header{{Name: "x-a", Value: "share"}, {Name: "x-bad", Value: "a\r\nb: c"}}}},
			{ResponseHeaders: &config.Headers{Set: []config.Header{{Name: "x-over", Value: "share"}}, Add: []config.Header{{Name: "x-more", Value: "1"}}}}}
	})
	resp, _ := get(t, newClient(t), h.url("/"), "X-A", "client", "X-Gone", "1")
	if got := strings.Join(resp.Header["Seen-X-A"], ","); got != "rule,share" {
		t.Errorf("the backend sees X-A %q", got)
	}
	for name, want := range map[string]string{"Seen-X-Gone": "", "Seen-Host": "other.example", "Seen-X-Bad": "", "X-Drop": "", "X-Over": "rule", "X-More": "1"} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if host := resp.Header.Get("Seen-X-Forwarded-Host"); host != h.address() {
		t.Errorf("X-Forwarded-Host is %q", host)
	}
}

func TestRewritesAndRedirectsReplaceThePathOrItsMatchedPrefix(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		prefix    string
		path      config.Path
		ask, want string
	}{
		{"/foo", config.Path{Prefix: text("/bar")}, "/foo/x?q=1", "/bar/x?q=1"},
		{"/foo", config.Path{Prefix: text("/bar")}, "/foo", "/bar"},
		{"/foo", config.Path{Prefix: text("/bar/")}, "/foo/x", "/bar/x"},
		{"/foo", config.Path{Prefix: text("/")}, "/foo/x", "/x"},
		{"/foo", config.Path{Prefix: text("")}, "/foo", "/"},
		{"", config.Path{Prefix: text("/bar")}, "/x", "/bar/x"},
		{"/foo", config.Path{Full: text("/all")}, "/foo/x?q=1", "/all?q=1"},
		{"/foo", config.Path{Full: text("/a b\r\nX: y")}, "/foo", "/a%20b%0D%0AX:%20y"},
		{"/foo", config.Path{}, "/foo/x", "/foo/x"},
	} {
		h := newHouse(t, Options{}, says(""))
		rule := *h.rule()
		h.config.Rules = []*config.Rule{&rule}
		h.config.Sockets[0].Listeners[0].Hosts = []*config.Host{{Matches: []config.Match{{Path: config.PathMatch{Kind: config.PathPrefix, Value: c.prefix}, Rule: &rule}}}}
		rule.Filters = []config.Filter{{Rewrite: &config.Rewrite{Path: c.path, Host: "new.example"}}}
		h.publish()
		client := newClient(t)
		if resp, _ := get(t, client, h.url(c.ask)); resp.Header.Get("Seen-Uri") != c.want || resp.Header.Get("Seen-Host") != "new.example" {
			t.Errorf("%s rewritten: the backend sees %q of %q, want %q", c.ask, resp.Header.Get("Seen-Uri"), resp.Header.Get("Seen-Host"), c.want)
		}
		h.change(func(r *config.Rule) {
			r.Filters = []config.Filter{{Redirect: &config.Redirect{Scheme: "https", Host: "new.example", Path: c.path, Status: 308}}}
		})
		h.config.Sockets[0].Listeners[0].Hosts[0].Matches[0].Path.Value = c.prefix
		h.publish()
		if resp, _ := get(t, client, h.url(c.ask)); resp.StatusCode != 308 || resp.Header.Get("Location") != "https://new.example"+c.want {
			t.Errorf("%s redirected: %d to %q, want %q", c.ask, resp.StatusCode, resp.Header.Get("Location"), c.want)
		}
	}
}

func TestRedirectsKeepThePortOfTheListenerUnlessTheSchemeOrThePortIsSet(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says(""))
	_, port, _ := strings.Cut(h.address(), ":")
	for _, c := range []struct {
		redirect config.Redirect
		want     string
	}{
		{config.Redirect{Status: 302}, "http://a.example:" + port + "/x"},
		{config.Redirect{Scheme: "https", Status: 301}, "https://a.example/x"},
		{config.Redirect{Port: 8443, Status: 303}, "http://a.example:8443/x"},
		{config.Redirect{Port: 80, Status: 307}, "http://a.example/x"},
		{config.Redirect{Scheme: "https", Port: 443, Host: "b.example"}, "https://b.example/x"},
	} {
		redirect := c.redirect
		h.change(func(r *config.Rule) { r.Filters = []config.Filter{{Redirect: &redirect}} })
		resp, _ := get(t, newClient(t), h.url("/x"), "Host", "a.example:99")
		if c.redirect.Status == 0 {
			c.redirect.Status = 302
		}
		if got := resp.Header.Get("Location"); got != c.want || resp.StatusCode != c.redirect.Status {
			t.Errorf("%+v: %d to %q, want %q", c.redirect, resp.StatusCode, got, c.want)
		}
	}
}

func TestOriginsAreAllowedAsTheRuleSays(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "backend")
	}))
	h.change(func(r *config.Rule) {
		r.CORS = &config.CORS{Origins: []string{"https://a.example", "https://*.b.example"}, Credentials: true, Methods: []string{"GET", "PUT"},
			Headers: []string{"*"}, Expose: []string{"X-One"}, MaxAge: 60e9}
	})
	c := newClient(t)
	for origin, allowed := range map[string]bool{"https://a.example": true, "https://x.b.example": true, "https://b.example": false, "https://evil.example": false,
		"https://a.example.evil": false, "https://evil/.b.example": false} {
		want := ""
		if allowed {
			want = origin
		}
		resp, _ := ask(t, c, "OPTIONS", h.url("/"), nil, "Origin", origin, "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "x-y")
		if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != want {
			t.Errorf("preflight of %s: %d %v", origin, resp.StatusCode, resp.Header)
		}
		if allowed && (resp.Header.Get("Access-Control-Allow-Methods") != "GET, PUT" || resp.Header.Get("Access-Control-Allow-Headers") != "x-y" ||
			resp.Header.Get("Access-Control-Max-Age") != "60" || resp.Header.Get("Access-Control-Allow-Credentials") != "true") {
			t.Errorf("preflight of %s: %v", origin, resp.Header)
		}
		resp, _ = get(t, c, h.url("/"), "Origin", origin)
		if got := strings.Join(resp.Header["Access-Control-Allow-Origin"], ","); got != want || resp.Header.Get("Vary") != "Origin" {
			t.Errorf("request of %s: %v", origin, resp.Header)
		}
	}
}

func TestFaultsHitTheirExactShareOfRequests(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, says("fine"))
	h.change(func(r *config.Rule) { r.Fault = &config.Fault{AbortPercent: 25, AbortStatus: 418} })
	c := newClient(t)
	n := 0
	for range 40 {
		if resp, _ := get(t, c, h.url("/")); resp.StatusCode == 418 {
			n++
		}
	}
	if n != 10 {
		t.Errorf("25 %% of 40 requests are %d", n)
	}
}
