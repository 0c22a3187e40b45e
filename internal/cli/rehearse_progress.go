package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// progress shows how runs go on: one line that is written over on a terminal, a line per tenth elsewhere.
type progress struct {
	mu      sync.Mutex
	out     io.Writer
	live    bool
	quiet   bool
	many    bool
	began   time.Time
	tenths  map[int64]int
	from    map[int64]time.Time
	last    time.Time
	showing bool
}

// redrawEvery keeps the line readable.
const redrawEvery = 100 * time.Millisecond

func newProgress(s Streams, quiet bool, seeds int) *progress {
	p := &progress{out: s.Err, quiet: quiet, many: seeds > 1, began: time.Now(), tenths: map[int64]int{}, from: map[int64]time.Time{}}
	if f, ok := s.Err.(*os.File); ok {
		p.live = term.IsTerminal(int(f.Fd()))
	}
	if !quiet {
		fmt.Fprintln(p.out, "starting the control plane …")
	}
	return p
}

func (p *progress) event(seed int64, e record.Event) {
	if p.quiet {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case e.Entry != nil && p.live && !p.many && e.Entry.Severity == record.Severe:
		p.line("")
		fmt.Fprintf(p.out, "%s  %s\n", e.Entry.Time.Format("Mon 15:04"), e.Entry.What)
	case e.Progress != nil:
		p.progress(seed, e.Progress)
	}
}

func (p *progress) progress(seed int64, g *record.Progress) {
	if g.Settling {
		return
	}
	if p.from[seed].IsZero() {
		p.from[seed] = time.Now()
	}
	took := time.Since(p.from[seed])
	rest := time.Duration(0)
	if g.FinishedShare > 0 {
		rest = time.Duration(float64(took) * (1 - g.FinishedShare) / g.FinishedShare)
	}
	p95 := "–" // nobody was answered
	if g.P95Seconds > 0 {
		p95 = fmt.Sprintf("%.0f ms", 1000*g.P95Seconds)
	}
	text := fmt.Sprintf("%s  %s %3.0f %%  eta %s  nodes %d  pods %d  p95 %s", g.Time.Format("Mon 15:04"), bar(g.FinishedShare), 100*g.FinishedShare, rest.Round(time.Second), g.Nodes, g.Pods, p95)
	if g.LastHeadline != "" {
		text += "  ! " + g.LastHeadline
	}
	if p.many {
		text = fmt.Sprintf("seed %d  %s", seed, text)
	}
	if p.live {
		if time.Since(p.last) >= redrawEvery {
			p.last = time.Now()
			p.line(text)
		}
		return
	}
	every := 1
	if p.many {
		every = 5 // ten lines a seed would bury the result
	}
	if tenth := int(g.FinishedShare * 10); tenth/every > p.tenths[seed]/every {
		p.tenths[seed] = tenth
		fmt.Fprintln(p.out, text)
	}
}

// line replaces the line that is shown.
func (p *progress) line(text string) {
	width := 100
	if f, ok := p.out.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 10 {
			width = w
		}
	}
	if r := []rune(text); len(r) > width-1 {
		text = string(r[:width-1])
	}
	fmt.Fprint(p.out, "\r\x1b[K"+text)
	p.showing = text != ""
}

func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live && p.showing {
		p.line("")
	}
}

const barWidth = 20

func bar(share float64) string {
	full := int(share * barWidth)
	return "▕" + strings.Repeat("█", full) + strings.Repeat(" ", barWidth-full) + "▏"
}
