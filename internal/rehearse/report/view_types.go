package report

import (
	"github.com/fairway-dev/fairway/internal/rehearse/expect"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// view is what the page's template reads: everything already in words.
type view struct {
	R                          *Report
	data                       pageData
	Title, When, Result        string
	SeedLine                   string
	Expectations               []viewExpectation
	Moments                    []viewMoment
	Plots                      []viewPlot
	Entries                    []viewEntry
	Sections                   []viewLink
	Cards                      []viewCard
	Differences, Alike         []viewDifference
	DifferenceNote             string
	Divergent                  []string
	Seeds                      []viewSeed
	FanNote                    string
	Money                      []fact
	Spending                   []viewSpending
	Graph                      graph
	Steps                      []viewStep
	Updates                    []viewUpdate
	Pending                    []viewPending
	Evictions                  []viewEviction
	Assumptions                []viewAssumption
	CauseNote, Dropped, Repeat string
	Provenance                 []fact
}

type fact struct{ Name, Value, Class string }

type viewExpectation struct {
	E                        expect.Result
	Index, Entry             int
	Class, Mark, Word, Value string
	First, Total             string
	Chain                    []viewCause
	Evidence                 []string
}

type viewCause struct {
	ID   int
	Text string
}
type viewLink struct{ ID, Title string }
type viewMoment struct {
	From, To int64
	Entry    int
	Title    string
}
type viewPlot struct {
	ID, Title, Select, SelectLabel, Summary string
	Last                                    bool
}
type viewEntry struct {
	E                      Entry
	ISO, Clock, Mark, Text string
}
type viewCard struct {
	Name  string
	Spark bool
	Facts []fact
	Notes []string
}
type viewDifference struct{ Name, A, B, D, Interval, Verdict, Class string }
type viewSeed struct{ Name, Result, Class, Availability, P95, Cost, Failed string }
type viewSpending struct {
	Name           string
	Used, Idle     int
	Cost, IdleCost string
}
type viewStep struct{ At, Name, Action, State, Class, Recovery string }
type viewUpdate struct{ At, Name, Image, Ended, Class, Took, Step, Weight string }
type viewPending struct{ Pod, Since, Waited, Reason, Class string }
type viewEviction struct{ At, Pod, Node, By, Budget, Class string }
type viewAssumption struct {
	record.Assumed
	Share string
}
