package proxy

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

func TestClientsInHTTP1ThatLeaveWhileTheyWaitAreNoticed(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	pair, _, _ := a.sign("shop.example")
	const get, post = "GET /quiet HTTP/1.1\r\nHost: shop.example\r\n\r\n", "POST /quiet HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\n\r\nhello"
	for name, c := range map[string]struct {
		request     string
		secure, h2c bool
	}{
		"before the answer":             {get, false, false},
		"after a body":                  {post, false, false},
		"within the answer":             {strings.Replace(get, "quiet", "slow", 1), false, false},
		"within TLS":                    {get, true, false},
		"with a backend in HTTP/2":      {get, false, true},
		"with a body, backend HTTP/2":   {post, false, true},
		"within the answer, of HTTP/2":  {strings.Replace(get, "quiet", "slow", 1), false, true},
		"within TLS, within the answer": {strings.Replace(get, "quiet", "slow", 1), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			came, ended := make(chan struct{}), make(chan struct{})
			backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if r.URL.Path == "/slow" {
					_, _ = io.WriteString(w, "begun")
					_ = http.NewResponseController(w).Flush()
				}
				close(came)
				<-r.Context().Done()
				close(ended)
			})
			h := newHouse(t, Options{}, backend)
			if c.h2c {
				h.speak(config.SpeakH2C, h2cServer(t, backend), nil)
			}
			var nc net.Conn
			var err error
			if c.secure {
				h.secure(&config.Listener{Section: "https", Certificates: []tls.Certificate{pair}})
				nc, err = tls.Dial("tcp", h.address(), &tls.Config{RootCAs: a.pool(), ServerName: "shop.example"})
			} else {
				nc, err = net.Dial("tcp", h.address())
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(nc, c.request); err != nil {
				t.Fatal(err)
			}
			<-came
			nc.Close()
			<-ended
			r := h.seen.wait(t, func(r Record) bool { return r.Reason == ClientGone })
			if want := map[bool]int{true: 200, false: statusClientGone}[strings.Contains(c.request, "slow")]; r.Status != want {
				t.Errorf("status %d, want %d", r.Status, want)
			}
			for _, b := range h.State().Backends {
				for _, e := range b.Endpoints {
					if e.Ejected > 0 || e.InFlight > 0 {
						t.Errorf("%+v", e)
					}
				}
			}
		})
	}
}

func TestClientsThatWaitLongGetTheirAnswers(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(4 * goneAfter) // until it has been looked twice
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	r := dialRaw(t, h.address())
	for _, path := range []string{"/1", "/2"} {
		r.send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, body := r.answer("GET"); body != path {
			t.Errorf("answered %q", body)
		}
	}
	r.send("GET /3 HTTP/1.1\r\nHost: a\r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\n\r\n")
	for _, path := range []string{"/3", "/4"} {
		if _, body := r.answer("GET"); body != path {
			t.Errorf("answered %q", body)
		}
	}
}
