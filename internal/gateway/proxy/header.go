package proxy

import (
	"encoding/hex"
	"strconv"
	"unsafe"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
	"github.com/fairway-dev/fairway/internal/gateway/wire"
)

// bytesText is the bytes as a string, and textBytes a string as bytes, without a copy: good as long as those.
func bytesText(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
func textBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// header is the first field of that name, which is in lower case; "" when there is none.
func header(headers []match.Header, lower string) string {
	for i := range headers {
		if wire.EqualFold(headers[i].Name, lower) {
			return headers[i].Value
		}
	}
	return ""
}

// removeHeader removes all fields of that name, which is in lower case, in place.
func removeHeader(headers []match.Header, lower string) []match.Header {
	for i := range headers {
		if wire.EqualFold(headers[i].Name, lower) {
			kept := headers[:i]
			for _, h := range headers[i+1:] {
				if !wire.EqualFold(h.Name, lower) {
					kept = append(kept, h)
				}
			}
			return kept
		}
	}
	return headers
}

func setHeader(headers []match.Header, lower, value string) []match.Header {
	return append(removeHeader(headers, lower), match.Header{Name: lower, Value: value})
}

// changeHeaders does what a filter says, in place. Host is a header to its author, and not to HTTP/2: it is handed to host.
// Fields that frame the message, and those that would break it, are left out.
func changeHeaders(headers []match.Header, f *config.Headers, host *string) []match.Header {
	for _, name := range f.Remove {
		headers = removeHeader(headers, name)
	}
	for _, h := range f.Set {
		if host != nil && h.Name == "host" {
			*host = h.Value
		} else if changeable(h) {
			headers = setHeader(headers, h.Name, h.Value)
		}
	}
	for _, h := range f.Add {
		if changeable(h) {
			headers = append(headers, match.Header(h))
		}
	}
	return headers
}

func changeable(h config.Header) bool {
	switch h.Name {
	case "host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "keep-alive", "proxy-connection":
		return false
	}
	return wire.ValidName(h.Name) && wire.ValidValue(h.Value)
}

// prepare makes the request that the backend gets from the one that came: who asked is added, as X-Forwarded-For, -Proto and
// -Host, and an X-Request-Id. What an untrusted client says of these itself is left out.
func (x *exchange) prepare() {
	x.method, x.host, x.path, x.query = x.head.Method, x.head.Host, x.head.Path, x.head.Query
	headers := x.headers[:0]
	before, proto, host, id := "", "", "", ""
	for _, h := range x.head.Headers {
		if c := h.Name[0]; (c == 'x' || c == 'X') && len(h.Name) >= 12 {
			switch {
			case wire.EqualFold(h.Name, "x-forwarded-for"):
				if before != "" && x.peer.trusted {
					before += ", " + h.Value
				} else {
					before = h.Value
				}
				continue
			case wire.EqualFold(h.Name, "x-forwarded-proto"):
				proto = h.Value
				continue
			case wire.EqualFold(h.Name, "x-forwarded-host"):
				host = h.Value
				continue
			case wire.EqualFold(h.Name, "x-request-id"):
				if id == "" {
					id = h.Value
				}
				continue
			}
		}
		headers = append(headers, h)
	}
	if !x.peer.trusted {
		before, proto, host = "", "", ""
	}
	address := x.peer.address
	if before != "" && address != "" {
		address = before + ", " + address
	} else if before != "" {
		address = before
	}
	if address != "" {
		headers = append(headers, match.Header{Name: "X-Forwarded-For", Value: address})
	}
	if proto == "" {
		proto = x.scheme()
	}
	headers = append(headers, match.Header{Name: "X-Forwarded-Proto", Value: proto})
	if host == "" {
		host = x.head.Host
	}
	if host != "" {
		headers = append(headers, match.Header{Name: "X-Forwarded-Host", Value: host})
	}
	if id == "" {
		id = x.newID()
	}
	x.headers = append(headers, match.Header{Name: "X-Request-Id", Value: id})
}

func (x *exchange) scheme() string {
	if x.peer.tls {
		return "https"
	}
	return "http"
}

// newID is a UUIDv7 (RFC 9562): the time in milliseconds, then draws. It is good until the next request.
func (x *exchange) newID() string {
	ms := uint64(x.g.epoch.UnixMilli() + x.began/1e6)
	a, b := x.random(), x.random()
	var raw [16]byte
	for i := range 6 {
		raw[i] = byte(ms >> (40 - 8*i))
	}
	for i := range 2 {
		raw[6+i] = byte(a >> (8 * i))
	}
	for i := range 8 {
		raw[8+i] = byte(b >> (8 * i))
	}
	raw[6] = raw[6]&0x0f | 0x70
	raw[8] = raw[8]&0x3f | 0x80
	id := x.requestID[:]
	hex.Encode(id[0:8], raw[0:4])
	hex.Encode(id[9:13], raw[4:6])
	hex.Encode(id[14:18], raw[6:8])
	hex.Encode(id[19:23], raw[8:10])
	hex.Encode(id[24:36], raw[10:16])
	id[8], id[13], id[18], id[23] = '-', '-', '-', '-'
	return bytesText(id)
}

// portText is ":8080", or nothing for the port that the scheme has anyway.
func portText(scheme string, port int) string {
	if port == 0 || scheme == "http" && port == 80 || scheme == "https" && port == 443 {
		return ""
	}
	return ":" + strconv.Itoa(port)
}
