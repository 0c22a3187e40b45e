package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
)

func TestPodStartIsATimeOrModelled(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"2s": 2 * time.Second, "0": 0, "150ms": 150 * time.Millisecond, "modelled": virtual.Modelled} {
		var p podStart
		if err := p.Set(text); err != nil || time.Duration(p) != want {
			t.Errorf("%s is read as %v, %v; want %v", text, time.Duration(p), err, want)
		}
		var again podStart
		if err := again.Set(p.String()); err != nil || again != p {
			t.Errorf("%s is shown as %s, which is read as %v, %v", text, p.String(), time.Duration(again), err)
		}
	}
	for _, text := range []string{"-1s", "soon", "2", ""} {
		var p podStart
		if err := p.Set(text); err == nil || !strings.Contains(err.Error(), "modelled") {
			t.Errorf("%q is refused by %v, which is to name what is possible", text, err)
		}
	}
}
