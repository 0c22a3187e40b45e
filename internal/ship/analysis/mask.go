package analysis

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

const (
	masked = "*****"
	// valueMax and messageMax bound what one measurement adds to a run, of which the API server takes 1.5 MB: with 10
	// measurements kept there is room for tens of metrics.
	valueMax   = 8 << 10
	messageMax = 2 << 10
)

// mask hides the values of secrets.
type mask struct{ hide []string }

// newMask hides secrets in the forms in which they come back from servers and libraries: as they are, quoted, in URLs and in
// headers of basic authentication.
func newMask(secrets map[string]string) mask {
	var m mask
	for _, s := range secrets {
		for _, form := range []string{s, strings.TrimSpace(s)} {
			if form == "" {
				continue
			}
			quoted := fmt.Sprintf("%q", form)
			m.hide = append(m.hide, form, inJSON(form), quoted[1:len(quoted)-1], url.QueryEscape(form), url.PathEscape(form), (&url.URL{Path: form}).EscapedPath(),
				base64.StdEncoding.EncodeToString([]byte(form)), base64.URLEncoding.EncodeToString([]byte(form)))
		}
	}
	// The longest first: one secret may be a part of another.
	slices.SortFunc(m.hide, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	m.hide = slices.Compact(m.hide)
	return m
}

func (m mask) text(s string) string {
	for _, h := range m.hide {
		s = strings.ReplaceAll(s, h, masked)
	}
	return s
}

func (m mask) all(from map[string]string) map[string]string {
	if from == nil {
		return nil
	}
	out := make(map[string]string, len(from))
	for k, v := range from {
		out[m.text(k)] = shorten(m.text(v), valueMax)
	}
	return out
}

// measurement hides secrets in a measurement and bounds its size. What is cut is masked before, so that no half of a secret
// stays.
func (m mask) measurement(x argo.Measurement) argo.Measurement {
	x.Value, x.Message, x.Metadata = shorten(m.text(x.Value), valueMax), shorten(m.text(x.Message), messageMax), m.all(x.Metadata)
	return x
}

func shorten(s string, bytesMax int) string {
	s = strings.ToValidUTF8(s, "�")
	if len(s) <= bytesMax {
		return s
	}
	cut := bytesMax
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%s… (%d bytes in all)", s[:cut], len(s))
}
