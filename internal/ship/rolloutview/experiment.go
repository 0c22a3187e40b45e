package rolloutview

import (
	"cmp"
	"slices"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/types"
)

// jobNameKey is where a measurement that a job took has the job's name.
const jobNameKey = "job-name"

// Experiment is what is shown of one.
type Experiment struct {
	Namespace, Name string
	Created         time.Time
	Revision        int64 // of the Rollout it was made for
	Phase           string
	Message         string
	Images          []Image
	ReplicaSets     []ReplicaSet
	Runs            []Run
}

// Run is what is shown of an AnalysisRun.
type Run struct {
	Name     string
	Created  time.Time
	Revision int64
	Phase    string
	Message  string
	// Numbers of measurements, over all metrics.
	Successful, Failed, Inconclusive, Errors int32
	Jobs                                     []Job
}

// Job is a measurement that a job takes.
type Job struct {
	Name    string
	Phase   string
	Started time.Time
}

// OfExperiment shows an Experiment with what belongs to it.
func OfExperiment(e *argo.Experiment, around Around) *Experiment {
	v := experiment(e, around)
	return &v
}

func experiment(e *argo.Experiment, around Around) Experiment {
	sets := replicaSets(e.UID, nil, around)
	return Experiment{Namespace: e.Namespace, Name: e.Name, Created: e.CreationTimestamp.Time, Revision: revision(e),
		Phase: string(e.Status.Phase), Message: e.Status.Message, Images: experimentImages(nil, sets), ReplicaSets: sets, Runs: runs(e.UID, around.Runs)}
}

// experiments of a Rollout: newest revision first, then oldest first.
func experiments(owner types.UID, around Around) []Experiment {
	var out []Experiment
	for i := range around.Experiments {
		if ownedBy(&around.Experiments[i], owner) {
			out = append(out, experiment(&around.Experiments[i], around))
		}
	}
	slices.SortFunc(out, func(a, b Experiment) int {
		return cmp.Or(cmp.Compare(b.Revision, a.Revision), a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// runs of an owner: newest revision first, then oldest first, then by name backwards.
func runs(owner types.UID, all []argo.AnalysisRun) []Run {
	var out []Run
	for i := range all {
		if ownedBy(&all[i], owner) {
			out = append(out, run(&all[i]))
		}
	}
	slices.SortFunc(out, func(a, b Run) int {
		return cmp.Or(cmp.Compare(b.Revision, a.Revision), a.Created.Compare(b.Created), cmp.Compare(b.Name, a.Name))
	})
	return out
}

func run(r *argo.AnalysisRun) Run {
	v := Run{Name: r.Name, Created: r.CreationTimestamp.Time, Revision: revision(r), Phase: string(r.Status.Phase), Message: r.Status.Message}
	for i := range r.Status.MetricResults {
		m := &r.Status.MetricResults[i]
		v.Successful += m.Successful
		v.Failed += m.Failed
		v.Inconclusive += m.Inconclusive
		v.Errors += m.Error
		for j := range m.Measurements {
			if job, ok := jobOf(&m.Measurements[j]); ok {
				v.Jobs = append(v.Jobs, job)
			}
		}
	}
	return v
}

func jobOf(m *argo.Measurement) (Job, bool) {
	name, ok := m.Metadata[jobNameKey]
	if !ok {
		return Job{}, false
	}
	job := Job{Name: name, Phase: string(m.Phase)}
	if m.StartedAt != nil {
		job.Started = m.StartedAt.Time
	}
	return job, true
}
