package rolloutview

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/duration"
)

// keyWidth is the width of the names in the header.
const keyWidth = 17

// Text is the header, an empty line and the tree, at a moment. With colour it has codes for terminals in it.
func (v *Rollout) Text(now time.Time, colour bool) string {
	p := page{now: now, colour: colour}
	p.key("Name:", v.Name)
	p.key("Namespace:", v.Namespace)
	p.key("Status:", p.paint(rolloutGlyph(v.Phase))+" "+v.Phase)
	if v.Message != "" {
		p.key("Message:", v.Message)
	}
	p.key("Strategy:", v.Strategy)
	if v.Strategy == "Canary" {
		p.key("  Step:", v.Step)
		p.key("  SetWeight:", v.SetWeight)
		p.key("  ActualWeight:", v.ActualWeight)
	}
	p.images(v.Images)
	p.head.WriteString("Replicas:\n")
	p.key("  Desired:", v.Desired)
	p.key("  Current:", v.Current)
	p.key("  Updated:", v.Updated)
	p.key("  Ready:", v.Ready)
	p.key("  Available:", v.Available)

	p.row("", glyphRollout, v.Name, "Rollout", rolloutGlyph(v.Phase), v.Phase, v.Created)
	for i, r := range v.Revisions {
		here, below := branch("", i == len(v.Revisions)-1)
		p.rows = append(p.rows, []string{fmt.Sprintf("%s%s revision:%d", here, glyphRevision, r.Number), "", "", "", ""})
		p.children(below, r.ReplicaSets, r.Experiments, r.Runs)
	}
	return p.String()
}

// Text is the header, an empty line and the tree, at a moment. With colour it has codes for terminals in it.
func (v *Experiment) Text(now time.Time, colour bool) string {
	p := page{now: now, colour: colour}
	p.key("Name:", v.Name)
	p.key("Namespace:", v.Namespace)
	p.key("Status:", p.paint(analysisGlyph(v.Phase))+" "+v.Phase)
	if v.Message != "" {
		p.key("Message:", v.Message)
	}
	p.images(v.Images)
	p.experiment("", "", v)
	return p.String()
}

// page is a text in the making.
type page struct {
	now    time.Time
	colour bool
	head   strings.Builder
	rows   [][]string
}

func (p *page) String() string {
	table := &strings.Builder{}
	align(table, append([][]string{{"NAME", "KIND", "STATUS", "AGE", "INFO"}}, p.rows...), nil)
	return p.head.String() + "\n" + table.String()
}

func (p *page) key(name string, value any) {
	fmt.Fprintf(&p.head, "%-*s%v\n", keyWidth, name, value)
}

func (p *page) images(images []Image) {
	key := "Images:"
	for _, image := range images {
		line := image.Name
		if len(image.Tags) > 0 {
			tags := make([]string, len(image.Tags))
			for i, t := range image.Tags {
				tags[i] = p.paint(t)
			}
			line += " (" + strings.Join(tags, ", ") + ")"
		}
		p.key(key, line)
		key = ""
	}
}

// row of the tree: name has its glyph before it, and so has the status.
func (p *page) row(prefix, glyph, name, kind, statusGlyph, status string, created time.Time, info ...string) {
	p.rows = append(p.rows, []string{prefix + glyph + " " + name, kind, p.paint(statusGlyph) + " " + status,
		duration.HumanDuration(p.now.Sub(created)), strings.Join(info, ",")})
}

// children of a revision or an experiment: ReplicaSets, experiments, runs.
func (p *page) children(prefix string, sets []ReplicaSet, experiments []Experiment, runs []Run) {
	left := len(sets) + len(experiments) + len(runs)
	next := func() (here, below string) {
		left--
		return branch(prefix, left == 0)
	}
	for i := range sets {
		here, below := next()
		p.replicaSet(here, below, &sets[i])
	}
	for i := range experiments {
		here, below := next()
		p.experiment(here, below, &experiments[i])
	}
	for i := range runs {
		here, below := next()
		p.run(here, below, &runs[i])
	}
}

func (p *page) experiment(here, below string, e *Experiment) {
	p.row(here, glyphExperiment, p.paintAs(e.Name, e.Phase), "Experiment", analysisGlyph(e.Phase), e.Phase, e.Created)
	p.children(below, e.ReplicaSets, nil, e.Runs)
}

func (p *page) replicaSet(here, below string, rs *ReplicaSet) {
	name := rs.Name
	var info []string
	for _, t := range rs.Tags {
		info = append(info, p.paint(t))
		name = p.paintAs(name, t)
	}
	if rs.ScaleDownAt != "" {
		info = append(info, "delay:"+rs.Delay(p.now))
	}
	p.row(here, glyphReplicaSet, name, "ReplicaSet", replicaSetGlyph(rs.Status), rs.Status, rs.Created, info...)
	for i, pod := range rs.Pods {
		here, _ := branch(below, i == len(rs.Pods)-1)
		info := []string{"ready:" + pod.Ready}
		if pod.Restarts > 0 {
			info = append(info, fmt.Sprintf("restarts:%d", pod.Restarts))
		}
		p.row(here, glyphPod, pod.Name, "Pod", podGlyph(pod.Status), pod.Status, pod.Created, info...)
	}
}

func (p *page) run(here, below string, r *Run) {
	var info []string
	for _, n := range []struct {
		glyph string
		count int32
	}{{glyphOK, r.Successful}, {glyphBad, r.Failed}, {glyphUnknown, r.Inconclusive}, {glyphWarning, r.Errors}} {
		if n.count > 0 {
			info = append(info, fmt.Sprintf("%s %d", p.paint(n.glyph), n.count))
		}
	}
	p.row(here, glyphRun, p.paintAs(r.Name, r.Phase), "AnalysisRun", analysisGlyph(r.Phase), r.Phase, r.Created, info...)
	for i, job := range r.Jobs {
		here, _ := branch(below, i == len(r.Jobs)-1)
		p.row(here, glyphJob, p.paintAs(job.Name, job.Phase), "Job", analysisGlyph(job.Phase), job.Phase, job.Started)
	}
}

// branch is what stands before a child and before its children.
func branch(prefix string, last bool) (here, below string) {
	if last {
		return prefix + "└──", prefix + "   "
	}
	return prefix + "├──", prefix + "│  "
}

// paint a glyph, a tag or a state in its own colour.
func (p *page) paint(s string) string { return p.paintAs(s, s) }

// paintAs paints s in the colour of what it stands for.
func (p *page) paintAs(s, as string) string {
	if !p.colour {
		return s
	}
	code, ok := colours[as]
	if !ok {
		code = plain
	}
	return escape + code + "m" + s + escape + plain + "m"
}

// escape begins a colour, which ends with m.
const escape = "\x1b["

// columnGap is the space between two columns.
const columnGap = 2

// align writes rows in columns, each as wide as its widest cell and at least as wide as widths say; it returns the widths. Of
// the last column nothing is padded. Colours take no room.
func align(b *strings.Builder, rows [][]string, widths []int) []int {
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], visible(cell))
		}
	}
	for _, row := range rows {
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-visible(cell)+columnGap))
			}
		}
		b.WriteByte('\n')
	}
	return widths
}

// visible is the number of characters that a terminal shows.
func visible(s string) int {
	n := utf8.RuneCountInString(s)
	for {
		_, rest, found := strings.Cut(s, escape)
		if !found {
			return n
		}
		code, after, _ := strings.Cut(rest, "m")
		n -= len(escape) + len(code) + 1
		s = after
	}
}
