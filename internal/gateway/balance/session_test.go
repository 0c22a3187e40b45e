package balance

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestATokenSaysWhatWasSealed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := NewSealer([32]byte{1})
		now := time.Unix(1_800_000_000, 0)
		v := Sticky{Rule: rapid.Uint64().Draw(t, "rule"), Backend: rapid.String().Draw(t, "backend"), Endpoint: rapid.String().Draw(t, "endpoint"),
			Revision: rapid.String().Draw(t, "revision"), Began: now.Unix() - 100, Seen: now.Unix() - 10}
		token := s.Seal(v)
		got, ok := s.Open(token, v.Rule, 0, 0, now)
		if !ok || got != v {
			t.Fatalf("opened %+v %v, want %+v", got, ok, v)
		}
		if _, ok := s.Open(token, v.Rule+1, 0, 0, now); ok {
			t.Fatal("a token of another rule is accepted")
		}
		if _, ok := NewSealer([32]byte{2}).Open(token, v.Rule, 0, 0, now); ok {
			t.Fatal("a token sealed with another key is accepted")
		}
		at := rapid.IntRange(0, len(token)-1).Draw(t, "at")
		changed := []byte(token)
		changed[at] = 'A' + (changed[at]-'A'+7)%26
		if got, ok := s.Open(string(changed), v.Rule, 0, 0, now); ok && string(changed) != token && got != v {
			t.Fatalf("a changed token is accepted: %+v", got)
		}
	})
}

func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	s := NewSealer([32]byte{})
	now := time.Unix(1_800_000_000, 0)
	token := s.Seal(Sticky{Began: now.Unix(), Seen: now.Unix() + 60})
	for _, c := range []struct {
		absolute, idle, after time.Duration
		want                  bool
	}{
		{0, 0, 1000 * time.Hour, true},
		{time.Hour, 0, time.Hour - time.Second, true},
		{time.Hour, 0, time.Hour, false},
		{time.Hour, time.Minute, 119 * time.Second, true},
		{time.Hour, time.Minute, 120 * time.Second, false},
	} {
		if _, ok := s.Open(token, 0, c.absolute, c.idle, now.Add(c.after)); ok != c.want {
			t.Errorf("absolute %v, idle %v: after %v accepted = %v, want %v", c.absolute, c.idle, c.after, ok, c.want)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s := NewSealer([32]byte{})
	f.Add(s.Seal(Sticky{Endpoint: "a", Revision: "b", Began: 1, Seen: 2}))
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		if v, ok := s.Open(token, 0, 0, 0, time.Unix(0, 0)); ok && s.Seal(v) == "" {
			t.Error("accepted and not sealed again")
		}
	})
}
