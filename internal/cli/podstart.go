package cli

import (
	"fmt"
	"time"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
)

// podStart is how long pods take from bound to Running: a time for all, or what their sandbox, image pulls and containers take,
// as in a rehearsal.
type podStart time.Duration

// modelled is the word for what virtual.Modelled means.
const modelled = "modelled"

// String implements pflag.Value.
func (p *podStart) String() string {
	if time.Duration(*p) == virtual.Modelled {
		return modelled
	}
	return time.Duration(*p).String()
}

// Set implements pflag.Value.
func (p *podStart) Set(text string) error {
	if text == modelled {
		*p = podStart(virtual.Modelled)
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is neither a time, such as 2s or 0, nor %s: what sandbox, image pulls and containers take, as in a rehearsal", text, modelled)
	}
	*p = podStart(d)
	return nil
}

// Type implements pflag.Value.
func (p *podStart) Type() string { return "duration|modelled" }
