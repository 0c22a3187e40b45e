package analysis

import (
	"strings"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAJobsEndIsTheMeasurementsVerdict(t *testing.T) {
	t.Parallel()
	at := metav1.Time{Time: noon}
	begun := argo.Measurement{Phase: argo.AnalysisPhaseRunning, StartedAt: &at}
	job := func(kind batchv1.JobConditionType, status corev1.ConditionStatus) *batchv1.Job {
		return &batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: kind, Status: status}}}}
	}
	waits := func(reason string, initial bool) []corev1.Pod {
		s := []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "why"}}}}
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{ContainerStatuses: s}}
		if initial {
			p.Status.InitContainerStatuses, p.Status.ContainerStatuses = s, nil
		}
		return []corev1.Pod{p}
	}
	for _, c := range []struct {
		job   *batchv1.Job
		pods  []corev1.Pod
		phase argo.AnalysisPhase
	}{
		{&batchv1.Job{}, nil, argo.AnalysisPhaseRunning},
		{job(batchv1.JobComplete, corev1.ConditionTrue), nil, argo.AnalysisPhaseSuccessful},
		{job(batchv1.JobFailed, corev1.ConditionTrue), nil, argo.AnalysisPhaseFailed},
		{job(batchv1.JobFailed, corev1.ConditionFalse), nil, argo.AnalysisPhaseRunning},
		{job(batchv1.JobSuspended, corev1.ConditionTrue), nil, argo.AnalysisPhaseRunning},
		{&batchv1.Job{}, waits("ErrImagePull", false), argo.AnalysisPhaseInconclusive},
		{&batchv1.Job{}, waits("ImagePullBackOff", true), argo.AnalysisPhaseInconclusive},
		{&batchv1.Job{}, waits("InvalidImageName", false), argo.AnalysisPhaseInconclusive},
		{&batchv1.Job{}, waits("CrashLoopBackOff", false), argo.AnalysisPhaseRunning},
		{job(batchv1.JobComplete, corev1.ConditionTrue), waits("ErrImagePull", false), argo.AnalysisPhaseSuccessful},
	} {
		x, changed := watchJob(begun, c.job, c.pods, noon)
		if x.Phase != c.phase || changed != c.phase.Completed() || (x.FinishedAt != nil) != changed {
			t.Errorf("%+v %+v: %s, want %s", c.job.Status.Conditions, c.pods, x.Phase, c.phase)
		}
		if c.phase == argo.AnalysisPhaseInconclusive && !strings.HasPrefix(x.Message, "Pod p, container c has terminal error (") {
			t.Errorf("message %q", x.Message)
		}
	}
}

func TestJobNamesFitLabelsAndDiffer(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 40)
	run := aRun(web("short", nil), web(long+"1", nil), web(long+"2", nil))
	run.UID = "11111111-2222-3333-4444-555555555555"
	if got := jobName(run, 0, 3); got != "11111111-2222-3333-4444-555555555555.short.3" {
		t.Error(got)
	}
	one, two := jobName(run, 1, 12), jobName(run, 2, 12)
	if one != "11111111-2222-3333-4444-555555555555."+strings.Repeat("a", 23)+".12" || len(one) != jobNameMax || len(two) != jobNameMax || one == two {
		t.Error(one, two)
	}
}

func TestAJobCarriesWhatLeadsBackToItsRun(t *testing.T) {
	t.Parallel()
	run := aRun(argo.Metric{Name: "m", Provider: argo.MetricProvider{Job: &argo.JobMetric{Metadata: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}}}}})
	job := newJob(run, &run.Spec.Metrics[0], 0, 1)
	if job.Labels["a"] != "b" || job.Labels[JobRunUIDLabel] != "uid" || job.Spec.Template.Labels[JobRunUIDLabel] != "uid" || job.Annotations["c"] != "d" ||
		job.Annotations[jobMetricAnnotation] != "m" || !metav1.IsControlledBy(job, run) {
		t.Errorf("%+v", job)
	}
	if got := runOfJob(t.Context(), job); len(got) != 1 || got[0].String() != "shop/run" {
		t.Errorf("%v", got)
	}
	if run.Spec.Metrics[0].Provider.Job.Metadata.Labels[JobRunUIDLabel] != "" {
		t.Error("the run's own spec was changed")
	}
}
