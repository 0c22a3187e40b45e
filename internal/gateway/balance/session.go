package balance

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// Sticky is whom a session belongs to.
type Sticky struct {
	// Rule and Backend it was made for (a hash, and a name): a token is worth nothing elsewhere.
	Rule    uint64
	Backend string
	// Endpoint is the ID of the endpoint; Revision that of its pod: when the endpoint has gone, the client goes on with another of
	// the same revision.
	Endpoint, Revision string
	// Began and Seen are when the session began, and its last request; in seconds since 1970.
	Began, Seen int64
}

// Sealer makes tokens of sessions that a client can carry and not change. Gateways with the same key accept each other's.
type Sealer struct{ key [32]byte }

// NewSealer returns a sealer with the key.
func NewSealer(key [32]byte) *Sealer { return &Sealer{key: key} }

// macLength of a token in bytes: 128 bits of HMAC-SHA256.
const macLength = 16

// Seal returns the token: letters, digits, "-" and "_".
func (s *Sealer) Seal(v Sticky) string {
	b := binary.BigEndian.AppendUint64(nil, v.Rule)
	b = binary.AppendVarint(b, v.Began)
	b = binary.AppendVarint(b, v.Seen-v.Began)
	for _, part := range []string{v.Backend, v.Endpoint, v.Revision} {
		b = append(binary.AppendUvarint(b, uint64(len(part))), part...)
	}
	return base64.RawURLEncoding.EncodeToString(append(b, s.mac(b)...))
}

// Open returns what a token says, if it is one of ours, for this rule, and neither too old nor unused for too long (0 = no
// limit).
func (s *Sealer) Open(token string, rule uint64, absolute, idle time.Duration, now time.Time) (v Sticky, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < macLength+8 {
		return Sticky{}, false
	}
	b, mac := b[:len(b)-macLength], b[len(b)-macLength:]
	if !hmac.Equal(mac, s.mac(b)) {
		return Sticky{}, false
	}
	v.Rule, b = binary.BigEndian.Uint64(b), b[8:]
	var n int
	if v.Began, n = binary.Varint(b); n <= 0 {
		return Sticky{}, false
	}
	b = b[n:]
	since, n := binary.Varint(b)
	if n <= 0 {
		return Sticky{}, false
	}
	v.Seen, b = v.Began+since, b[n:]
	for _, part := range []*string{&v.Backend, &v.Endpoint, &v.Revision} {
		length, n := binary.Uvarint(b)
		if n <= 0 || uint64(len(b)-n) < length {
			return Sticky{}, false
		}
		*part, b = string(b[n:n+int(length)]), b[n+int(length):]
	}
	at := now.Unix()
	expired := absolute > 0 && at-v.Began >= seconds(absolute) || idle > 0 && at-v.Seen >= seconds(idle)
	return v, v.Rule == rule && !expired
}

// seconds rounds up: a session of half a second lives for one.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

func (s *Sealer) mac(b []byte) []byte {
	h := hmac.New(sha256.New, s.key[:])
	h.Write(b)
	return h.Sum(nil)[:macLength]
}
