package provider

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const (
	// answerMax bounds what is read of an answer. A range query over a day at 15 s steps for 10 series is about 1 MB.
	answerMax = 8 << 20
	// timeoutMax bounds the time-outs that metrics ask for.
	timeoutMax = 10 * time.Minute
	// quotedMax bounds what is quoted of an answer that says what went wrong.
	quotedMax = 512
	// handshakeMax bounds the beginning of a TLS connection.
	handshakeMax = 10 * time.Second
)

// clients ask over HTTP. Connections are not kept: measurements are seconds or minutes apart, and a connection that is kept
// would keep goroutines without an owner.
type clients struct{ secure, insecure *http.Client }

func newClients(c Config) clients {
	client := func(skip bool) *http.Client {
		return &http.Client{Transport: &http.Transport{DialContext: c.Dial, Proxy: c.Proxy, DisableKeepAlives: true, TLSHandshakeTimeout: handshakeMax,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: skip}, ForceAttemptHTTP2: true}}
	}
	return clients{client(false), client(true)}
}

func (c clients) of(insecure bool) *http.Client {
	if insecure {
		return c.insecure
	}
	return c.secure
}

// within bounds ctx by a metric's time-out in seconds, or by unset when it gives none.
func within(ctx context.Context, seconds int64, unset time.Duration) (context.Context, context.CancelFunc) {
	wait := unset
	if seconds > 0 {
		wait = min(time.Duration(min(seconds, int64(timeoutMax/time.Second)))*time.Second, timeoutMax)
	}
	return context.WithTimeout(ctx, wait)
}

// authorized is a client whose requests carry a token when the metric asks for one.
func authorized(ctx context.Context, client *http.Client, o argo.OAuth2Config) (*http.Client, error) {
	if o.TokenURL == "" {
		return client, nil
	}
	if o.ClientID == "" || o.ClientSecret == "" {
		return nil, errors.New("missing mandatory parameter in metric for OAuth2 setup")
	}
	c := clientcredentials.Config{ClientID: o.ClientID, ClientSecret: o.ClientSecret, TokenURL: o.TokenURL, Scopes: o.Scopes}
	return c.Client(context.WithValue(ctx, oauth2.HTTPClient, client)), nil
}

// ask sends a request and reads the answer, whatever its status.
func ask(client *http.Client, r *http.Request) (status int, body []byte, err error) {
	answer, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(io.LimitReader(answer.Body, answerMax+1))
	if err == nil && len(body) > answerMax {
		err = fmt.Errorf("the answer of %s is larger than %d MiB; ask for less", r.URL.Host, answerMax>>20)
	}
	return answer.StatusCode, body, err
}

// quote is the beginning of an answer for people.
func quote(body []byte) string {
	text := strings.TrimSpace(strings.ToValidUTF8(string(body), "�"))
	if len(text) > quotedMax {
		return strings.ToValidUTF8(text[:quotedMax], "") + "…"
	}
	return text
}

// setHeaders sets headers as a metric lists them; Host is not one for Go's library.
func setHeaders(r *http.Request, headers []argo.WebMetricHeader) {
	for _, h := range headers {
		if strings.EqualFold(h.Key, "host") {
			r.Host = h.Value
			continue
		}
		r.Header.Set(h.Key, h.Value)
	}
}
