package rolloutview

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

// List writes tables of Rollouts or Experiments, a few rows at a time: columns stay where they are when more rows come, and
// only grow. Its zero value has no columns for namespaces and times.
type List struct {
	Namespaces bool // a column for them
	Times      bool // a column for the time of each row

	widths []int
}

// timeFormat is that of the time column, in UTC.
const timeFormat = "2006-01-02T15:04:05Z"

// rolloutColumns are the header of Rollouts.
var rolloutColumns = []string{"NAME", "STRATEGY", "STATUS", "STEP", "SET-WEIGHT", "READY", "DESIRED", "UP-TO-DATE", "AVAILABLE"}

// rolloutWidths leave room for what is often in a column later.
var rolloutWidths = []int{10, 9, 12, 4, 10, 5, 7, 10, 9}

// The header of Experiments, and the room of its columns.
var (
	experimentColumns = []string{"NAME", "STATUS", "DURATION", "REMAINING", "AGE"}
	experimentWidths  = []int{10, 6, 8, 9, 3}
)

// Columns of a Rollout in a list, without namespace and time.
func Columns(ro *rollouts.Rollout) []string {
	phase, _ := rollout.Phase(ro)
	how, at, weight := strategy(ro), "-", "-"
	if how == "" {
		how = "unknown"
	}
	if s := step(ro); s != "" {
		at = s
	}
	if ro.Spec.Strategy.Canary != nil {
		weight = strconv.Itoa(int(setWeight(ro)))
	}
	return []string{ro.Name, how, string(phase), at, weight, fmt.Sprintf("%d/%d", ro.Status.ReadyReplicas, ro.Status.Replicas),
		strconv.Itoa(int(desired(ro))), strconv.Itoa(int(ro.Status.UpdatedReplicas)), strconv.Itoa(int(ro.Status.AvailableReplicas))}
}

// ExperimentColumns of an Experiment in a list, without the namespace.
func ExperimentColumns(e *argo.Experiment, now time.Time) []string {
	lasts, remains := "-", "-"
	if d, err := e.Spec.Duration.Duration(); err == nil && e.Spec.Duration != "" {
		lasts = duration.HumanDuration(d)
		if at := e.Status.AvailableAt; at != nil && !e.Status.Phase.Completed() {
			if left := at.Add(d).Sub(now); left > 0 {
				remains = duration.HumanDuration(left)
			}
		}
	}
	return []string{e.Name, string(e.Status.Phase), lasts, remains, duration.HumanDuration(now.Sub(e.CreationTimestamp.Time))}
}

// Rollouts are rows of Rollouts, with the header above them if wanted.
func (l *List) Rollouts(list []rollouts.Rollout, now time.Time, header bool) string {
	var rows [][]string
	if header {
		rows = append(rows, l.lead("NAMESPACE", "TIMESTAMP", rolloutColumns))
	}
	for i := range list {
		rows = append(rows, l.lead(list[i].Namespace, now.UTC().Format(timeFormat), Columns(&list[i])))
	}
	return l.text(rows, rolloutWidths)
}

// Experiments are rows of Experiments, with the header above them if wanted.
func (l *List) Experiments(list []argo.Experiment, now time.Time, header bool) string {
	var rows [][]string
	if header {
		rows = append(rows, l.lead("NAMESPACE", "TIMESTAMP", experimentColumns))
	}
	for i := range list {
		rows = append(rows, l.lead(list[i].Namespace, now.UTC().Format(timeFormat), ExperimentColumns(&list[i], now)))
	}
	return l.text(rows, experimentWidths)
}

// lead puts time and namespace before the other columns.
func (l *List) lead(namespace, at string, columns []string) []string {
	var out []string
	if l.Times {
		out = append(out, at)
	}
	if l.Namespaces {
		out = append(out, namespace)
	}
	return append(out, columns...)
}

func (l *List) text(rows [][]string, widths []int) string {
	if l.widths == nil {
		for _, least := range l.lead(strings.Repeat("-", len("NAMESPACE")), timeFormat, nil) {
			l.widths = append(l.widths, len(least))
		}
		l.widths = append(l.widths, widths...)
	}
	b := &strings.Builder{}
	l.widths = align(b, rows, l.widths)
	return b.String()
}
