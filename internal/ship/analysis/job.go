package analysis

import (
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// Labels and annotations of the Jobs of metrics, as the peer has them.
const (
	JobRunUIDLabel         = "analysisrun.argoproj.io/uid" // of Jobs and their pods
	jobRunNameAnnotation   = "analysisrun.argoproj.io/name"
	jobNamespaceAnnotation = "analysisrun.argoproj.io/namespace"
	jobMetricAnnotation    = "analysisrun.argoproj.io/metric-name"
)

// Keys of a measurement's metadata that name its Job.
const (
	jobNameKey      = "job-name"
	jobNamespaceKey = "job-namespace"
)

// jobNameMax is the longest name whose Job can label its pods with it.
const jobNameMax = 63

// newJob is the Job that makes the n-th measurement of a metric.
func newJob(run *argo.AnalysisRun, m *argo.Metric, index, n int) *batchv1.Job {
	from := m.Provider.Job.DeepCopy()
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: jobName(run, index, n), Namespace: run.Namespace, Labels: from.Metadata.Labels, Annotations: from.Metadata.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(run, rollouts.GroupVersion.WithKind("AnalysisRun"))}},
		Spec: from.Spec,
	}
	metav1.SetMetaDataLabel(&job.ObjectMeta, JobRunUIDLabel, string(run.UID))
	metav1.SetMetaDataLabel(&job.Spec.Template.ObjectMeta, JobRunUIDLabel, string(run.UID))
	metav1.SetMetaDataAnnotation(&job.ObjectMeta, jobRunNameAnnotation, run.Name)
	metav1.SetMetaDataAnnotation(&job.ObjectMeta, jobNamespaceAnnotation, run.Namespace)
	metav1.SetMetaDataAnnotation(&job.ObjectMeta, jobMetricAnnotation, m.Name)
	return job
}

// jobName is the run's UID, the metric's name as far as there is room, and the number. Where two metrics of a run are the
// same as far as there is room, the later one has a hash of its name at the end.
func jobName(run *argo.AnalysisRun, index, n int) string {
	v := placeholders(run.Spec.Args)
	room := jobNameMax - len(fmt.Sprintf("%s..%d", run.UID, n))
	cut := func(i int) (whole, short string) {
		whole, err := substitute(run.Spec.Metrics[i].Name, v, plain)
		if err != nil {
			whole = run.Spec.Metrics[i].Name
		}
		return whole, whole[:max(0, min(len(whole), room))]
	}
	whole, short := cut(index)
	for i := range index {
		if other, same := cut(i); same == short && other != whole {
			h := fnv.New32a()
			h.Write([]byte(whole))
			short = fmt.Sprintf("%s-%04x", short[:max(0, len(short)-5)], h.Sum32()&0xffff)
			break
		}
	}
	return fmt.Sprintf("%s.%s.%d", run.UID, short, n)
}

// jobKey is the Job that a measurement waits for.
func jobKey(x *argo.Measurement, namespace string) (in, name string, err error) {
	if in = x.Metadata[jobNamespaceKey]; in == "" {
		in = namespace
	}
	if name = x.Metadata[jobNameKey]; name == "" {
		return "", "", errors.New("job metadata reference missing")
	}
	return in, name, nil
}

// watchJob is a measurement as its Job and the Job's pods have it; changed says whether it is another than before.
func watchJob(begun argo.Measurement, job *batchv1.Job, pods []corev1.Pod, now time.Time) (out argo.Measurement, changed bool) {
	out = begun
	for _, c := range job.Status.Conditions {
		switch {
		case c.Status != corev1.ConditionTrue:
		case c.Type == batchv1.JobComplete:
			out.Phase = argo.AnalysisPhaseSuccessful
		case c.Type == batchv1.JobFailed:
			out.Phase = argo.AnalysisPhaseFailed
		}
	}
	if !out.Phase.Completed() {
		why := stuck(pods)
		if why == "" {
			return begun, false
		}
		out.Phase, out.Message = argo.AnalysisPhaseInconclusive, why
	}
	out.FinishedAt = &metav1.Time{Time: now}
	return out, true
}

// stuck says which container waits for an image that will not come without somebody's doing, "" when none does. That says
// nothing about what the Job was to measure.
func stuck(pods []corev1.Pod) string {
	for i := range pods {
		for _, list := range [][]corev1.ContainerStatus{pods[i].Status.InitContainerStatuses, pods[i].Status.ContainerStatuses} {
			for _, c := range list {
				w := c.State.Waiting
				if w == nil {
					continue
				}
				switch w.Reason {
				case "ErrImagePull", "ImagePullBackOff", "InvalidImageName":
					return fmt.Sprintf("Pod %s, container %s has terminal error (%s): %s", pods[i].Name, c.Name, w.Reason, w.Message)
				}
			}
		}
	}
	return ""
}
