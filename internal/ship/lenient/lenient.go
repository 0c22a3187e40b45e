// Package lenient lets a typed client read objects of argoproj.io of which a field does not decode, such as a container's
// memory request of "invalid", which the kinds' definitions let pass. Without it one such object keeps the caches of a kind
// from ever filling, for everybody's objects. In: the answers of an API server. Out: the same, with what does not decode
// left out of the objects it is in. Argo Rollouts' own caches do so too, but lose what follows the field as well.
package lenient

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// Wrap makes the wrapper of a transport; it is meant for rest.Config.Wrap. scheme has the types to decode to. What was left
// out is logged.
func Wrap(scheme *runtime.Scheme, log *slog.Logger) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return &transport{next: next, mender: mender{scheme, log}}
	}
}

type transport struct {
	next   http.RoundTripper
	mender mender
}

// ours begins the paths of the group's objects.
var ours = "/apis/" + rollouts.GroupVersion.String() + "/"

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.next.RoundTrip(r)
	if err != nil || answer.StatusCode < 200 || answer.StatusCode > 299 || !strings.Contains(r.URL.Path, ours) || !isJSON(answer.Header) {
		return answer, err
	}
	if r.URL.Query().Get("watch") != "" {
		answer.Body = &stream{from: answer.Body, events: json.NewDecoder(answer.Body), mender: &t.mender}
		return answer, nil
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("reading the answer to %s %s: %w", r.Method, r.URL.Path, err)
	}
	body = t.mender.document(body)
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	answer.Header.Del("Content-Length")
	return answer, nil
}

// WrappedRoundTripper lets client-go reach what is under the wrapper, as for cancelling requests.
func (t *transport) WrappedRoundTripper() http.RoundTripper { return t.next }

func isJSON(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && kind == runtime.ContentTypeJSON
}

// stream mends the events of a watch as they are read.
type stream struct {
	from   io.ReadCloser
	events *json.Decoder
	mender *mender
	ready  bytes.Buffer
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	if s.ready.Len() == 0 {
		var raw json.RawMessage
		if err := s.events.Decode(&raw); err != nil {
			return 0, err
		}
		s.ready.Write(s.mender.event(raw))
		s.ready.WriteByte('\n')
	}
	return s.ready.Read(p)
}

// Close implements io.Closer.
func (s *stream) Close() error { return s.from.Close() }

// mender mends what does not decode, and leaves all else as it is to the byte.
type mender struct {
	scheme *runtime.Scheme
	log    *slog.Logger
}

// event of a watch.
func (m *mender) event(raw []byte) []byte {
	var e struct {
		Type   string          `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	if json.Unmarshal(raw, &e) != nil {
		return raw
	}
	mended := m.document(e.Object)
	if bytes.Equal(mended, e.Object) {
		return raw
	}
	e.Object = mended
	return encode(e, raw)
}

// document is an object or a list of objects.
func (m *mender) document(raw []byte) []byte {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if json.Unmarshal(raw, &head) != nil || head.APIVersion != rollouts.GroupVersion.String() {
		return raw
	}
	item, list := strings.CutSuffix(head.Kind, "List")
	if !list {
		return m.object(head.Kind, raw)
	}
	var all map[string]json.RawMessage
	var items []json.RawMessage
	if json.Unmarshal(raw, &all) != nil || json.Unmarshal(all["items"], &items) != nil {
		return raw
	}
	changed := false
	for i := range items {
		if mended := m.object(item, items[i]); !bytes.Equal(mended, items[i]) {
			items[i], changed = mended, true
		}
	}
	if !changed {
		return raw
	}
	all["items"] = encode(items, all["items"])
	return encode(all, raw)
}

// object without what does not decode.
func (m *mender) object(kind string, raw []byte) []byte {
	decodes := func(b []byte) error {
		into, err := m.scheme.New(schema.GroupVersion(rollouts.GroupVersion).WithKind(kind))
		if err != nil {
			return nil // not a kind of ours
		}
		return kjson.UnmarshalCaseSensitivePreserveInts(b, into)
	}
	fault := decodes(raw)
	if fault == nil {
		return raw
	}
	var tree any
	numbers := json.NewDecoder(bytes.NewReader(raw))
	numbers.UseNumber()
	if numbers.Decode(&tree) != nil {
		return raw
	}
	p := pruning{decodes: func(v any) bool { return decodes(encode(v, nil)) == nil }}
	kept, some := p.prune(tree, "", func(v any) any { return v })
	object, ok := kept.(map[string]any)
	if !some || !ok {
		return raw
	}
	name, _, _ := unstructured.NestedString(object, "metadata", "name")
	namespace, _, _ := unstructured.NestedString(object, "metadata", "namespace")
	m.log.Warn("fields of an object do not decode and are taken for absent; correct them", "kind", kind, "namespace", namespace, "name", name,
		"fields", p.left, "err", fault)
	return encode(object, raw)
}

// pruning leaves out of a JSON value the smallest parts that do not decode.
type pruning struct {
	decodes func(v any) bool
	left    []string // paths of what was left out
}

// prune a part of an object. alone makes an object that has this part only, at its place.
func (p *pruning) prune(part any, path string, alone func(any) any) (kept any, some bool) {
	if p.decodes(alone(part)) {
		return part, true
	}
	before := len(p.left)
	switch v := part.(type) {
	case map[string]any:
		out := map[string]any{}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			child, some := p.prune(v[key], path+"."+key, func(x any) any { return alone(map[string]any{key: x}) })
			if some {
				out[key] = child
			}
		}
		kept = out
	case []any:
		out := []any{}
		for i := range v {
			child, some := p.prune(v[i], fmt.Sprintf("%s[%d]", path, i), func(x any) any { return alone([]any{x}) })
			if some {
				out = append(out, child)
			}
		}
		kept = out
	}
	if kept != nil && p.decodes(alone(kept)) {
		return kept, true
	}
	p.left = append(p.left[:before], strings.TrimPrefix(path, "."))
	return nil, false
}

// encode v, or return otherwise when it cannot be.
func encode(v any, otherwise []byte) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return otherwise
	}
	return b
}
