package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// Sizes of the call graph, in pixels of its view box.
const (
	boxWidth   = 168
	boxHeight  = 38
	columnStep = 236
	rowStep    = 50
	graphEdge  = 10
	boxText    = 23 // characters that fit
)

type graph struct {
	Width, Height int
	Boxes         []graphBox
	Edges         []graphLine
}

type graphBox struct {
	X, Y, W, H, TX, TY, SY int
	Name, Sub              string
	Hot                    bool
}

type graphLine struct {
	Path string
	Hot  bool
}

// drawGraph lays the call graph out in columns by distance from a load, callers left of callees; within a column boxes
// follow the mean height of their callers, which keeps lines from crossing much.
func drawGraph(r *Report) graph {
	edges := r.edges()
	depth := depths(edges)
	columns := map[int][]string{}
	for _, name := range slices.Sorted(maps.Keys(depth)) {
		columns[depth[name]] = append(columns[depth[name]], name)
	}
	hot := map[string]bool{}
	failed, asked := map[string]float64{}, map[string]float64{}
	for _, c := range edges {
		hot[c.To] = hot[c.To] || c.Bottleneck
		failed[c.To] += float64(c.Failed)
		asked[c.To] += float64(c.Attempts)
	}
	row := map[string]float64{}
	g := graph{}
	place := map[string]graphBox{}
	for _, d := range slices.Sorted(maps.Keys(columns)) {
		names := columns[d]
		slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(callersHeight(edges, row, a), callersHeight(edges, row, b)) })
		for i, name := range names {
			row[name] = float64(i)
			b := graphBox{X: graphEdge + d*columnStep, Y: graphEdge + i*rowStep, W: boxWidth, H: boxHeight, Hot: hot[name], Name: name}
			b.TX, b.TY, b.SY = b.X+9, b.Y+16, b.Y+31
			if utf8.RuneCountInString(name) > boxText {
				b.Name = "…" + string([]rune(name)[utf8.RuneCountInString(name)-boxText+1:])
			}
			if n := asked[name]; n > 0 {
				b.Sub = count(n) + " calls"
				if failed[name] > 0 && !b.Hot {
					b.Sub += ", " + percent(significant(failed[name]/n, 2)) + " failed"
				}
			} else if d == 0 && slices.ContainsFunc(r.Loads, func(l record.Load) bool { return l.Name == name && !l.Service }) {
				b.Sub = "load"
			}
			if b.Hot {
				b.Sub = "bottleneck, " + b.Sub
			}
			place[name] = b
			g.Boxes = append(g.Boxes, b)
			g.Width, g.Height = max(g.Width, b.X+boxWidth+graphEdge), max(g.Height, b.Y+boxHeight+graphEdge)
		}
	}
	for _, c := range edges {
		a, b := place[c.From], place[c.To]
		x1, y1, x2, y2 := a.X+boxWidth, a.Y+boxHeight/2, b.X, b.Y+boxHeight/2
		bend := (columnStep - boxWidth) / 2
		if x2 <= x1 {
			bend = columnStep / 2 // back to an earlier column
		}
		g.Edges = append(g.Edges, graphLine{Path: fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1+bend, y1, x2-bend, y2, x2, y2), Hot: c.Bottleneck})
	}
	return g
}

// edges are the calls, and one from each load to where it enters.
func (r *Report) edges() []Call {
	edges := slices.Clone(r.Calls)
	for _, l := range r.Loads {
		known := slices.ContainsFunc(edges, func(c Call) bool { return c.From == l.Name })
		if !l.Service && !known && strings.Count(l.To, "/") == 1 {
			edges = append(edges, Call{Call: record.Call{From: l.Name, To: l.To, Attempts: l.Offered, Failed: l.Failed + l.Rejected + l.Abandoned}})
		}
	}
	return edges
}

// depths is the longest simple distance of each node from those nobody calls, cut at the number of nodes for cycles.
func depths(edges []Call) map[string]int {
	depth := map[string]int{}
	for _, c := range edges {
		depth[c.From], depth[c.To] = 0, 0
	}
	const deepest = 8 // columns; deeper graphs share the last
	for range min(deepest, len(depth)) {
		for _, c := range edges {
			if c.From != c.To && depth[c.To] <= depth[c.From] {
				depth[c.To] = min(deepest, depth[c.From]+1)
			}
		}
	}
	return depth
}

func callersHeight(edges []Call, row map[string]float64, name string) float64 {
	sum, n := 0.0, 0.0
	for _, c := range edges {
		if c.To == name {
			sum, n = sum+row[c.From], n+1
		}
	}
	if n == 0 {
		return 0
	}
	return sum / n
}
