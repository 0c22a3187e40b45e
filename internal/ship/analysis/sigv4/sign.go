// Package sigv4 signs requests to AWS and finds the credentials to sign with. It follows AWS's documented algorithm
// (Signature Version 4) and its documented order of places where credentials are, in place of AWS's large SDK.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	dayFormat  = "20060102"
)

// Credentials to sign with.
type Credentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Expires                                    time.Time // zero = never
}

// Sign adds to a request whose body is given the headers that prove who sends it: X-Amz-Date, X-Amz-Security-Token where
// the credentials have a token, and Authorization. Headers that are set already and that AWS wants signed (Host,
// Content-Type, X-Amz-*) are covered.
//
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func Sign(r *http.Request, body []byte, c Credentials, region, service string, now time.Time) {
	at := now.UTC().Format(timeFormat)
	r.Header.Set("X-Amz-Date", at)
	if c.SessionToken != "" {
		r.Header.Set("X-Amz-Security-Token", c.SessionToken)
	}
	names, headers := canonicalHeaders(r)
	request := strings.Join([]string{r.Method, canonicalPath(r.URL), canonicalQuery(r.URL), headers, names, hash(body)}, "\n")
	scope := strings.Join([]string{now.UTC().Format(dayFormat), region, service, "aws4_request"}, "/")
	toSign := strings.Join([]string{algorithm, at, scope, hash([]byte(request))}, "\n")
	key := []byte("AWS4" + c.SecretAccessKey)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	r.Header.Set("Authorization", algorithm+" Credential="+c.AccessKeyID+"/"+scope+", SignedHeaders="+names+", Signature="+hex.EncodeToString(mac(key, toSign)))
}

func canonicalHeaders(r *http.Request) (names, lines string) {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	values := map[string]string{"host": host}
	for name, all := range r.Header {
		if n := strings.ToLower(name); n == "content-type" || strings.HasPrefix(n, "x-amz-") {
			trimmed := make([]string, len(all))
			for i, v := range all {
				trimmed[i] = strings.Join(strings.Fields(v), " ")
			}
			values[n] = strings.Join(trimmed, ",")
		}
	}
	var sorted []string
	for n := range values {
		sorted = append(sorted, n)
	}
	slices.Sort(sorted)
	var b strings.Builder
	for _, n := range sorted {
		b.WriteString(n + ":" + values[n] + "\n")
	}
	return strings.Join(sorted, ";"), b.String()
}

// canonicalPath is the path encoded once more than it is sent, as all services but S3 want it.
func canonicalPath(u *url.URL) string {
	path := u.EscapedPath()
	if path == "" {
		return "/"
	}
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i] = encode(parts[i])
	}
	return strings.Join(parts, "/")
}

func canonicalQuery(u *url.URL) string {
	var pairs []string
	for name, values := range u.Query() {
		for _, v := range values {
			pairs = append(pairs, encode(name)+"="+encode(v))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// encode is AWS's UriEncode: everything but letters, digits and -._~ becomes %XX.
func encode(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}
