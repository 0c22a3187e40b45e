package analysis

import (
	"context"
	"errors"
	"fmt"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// do carries tasks out. Those of Jobs are done at once and their results returned; the others go to the pool, which wakes
// the run when they are done. wanted is what the pool is to keep once the status is stored; full says that it has no room.
func (c *Controller) do(ctx context.Context, run *argo.AnalysisRun, tasks []Task) (results []Result, wanted map[workKey]bool, full bool, err error) {
	wanted = map[workKey]bool{}
	for _, task := range tasks {
		if task.Kind == Job {
			result, ok, err := c.doJob(ctx, run, task)
			if err != nil {
				return nil, wanted, full, err
			}
			if ok {
				results = append(results, result)
			}
			continue
		}
		key := workKey{run.UID, task.Name, task.Number, task.Do}
		wanted[key] = true
		of := run.DeepCopy() // the goroutine keeps it while this run goes on
		if !c.pool.begin(key, client.ObjectKeyFromObject(run), func(ctx context.Context) Result { return c.meter.take(ctx, of, task) }) {
			full = true
		}
	}
	return results, wanted, full, nil
}

// doJob does a task of a Job metric. ok is false when there is nothing to record: the Job goes on.
func (c *Controller) doJob(ctx context.Context, run *argo.AnalysisRun, task Task) (out Result, ok bool, err error) {
	out = Result{Metric: task.Name, Number: task.Number}
	if task.Do == Measure {
		return c.startJob(ctx, run, task)
	}
	out.Measurement = *task.Begun.DeepCopy()
	namespace, name, err := jobKey(task.Begun, run.Namespace)
	if err != nil {
		out.fail(err)
		return out, true, nil
	}
	if task.Do == Terminate {
		if err := c.deleteJob(ctx, namespace, name); err != nil {
			return out, false, fmt.Errorf("ending Job %s/%s of metric %q: %w", namespace, name, task.Name, err)
		}
		now := metav1.Time{Time: time.Now()}
		out.Measurement.Phase, out.Measurement.FinishedAt, out.Measurement.Message = argo.AnalysisPhaseInconclusive, &now, metricTerminated
		return out, true, nil
	}
	job, err := c.job(ctx, namespace, name)
	if err != nil {
		return out, false, err
	}
	if job == nil {
		out.fail(fmt.Errorf("job.batch %q not found: it was deleted before it had finished", name))
		return out, true, nil
	}
	pods, err := c.podsOf(ctx, job)
	if err != nil {
		return out, false, err
	}
	out.Measurement, ok = watchJob(*task.Begun, job, pods, time.Now())
	return out, ok, nil
}

// startJob makes the Job of a measurement, or takes over the one that was made before the run could say so.
func (c *Controller) startJob(ctx context.Context, run *argo.AnalysisRun, task Task) (Result, bool, error) {
	out := Result{Metric: task.Name, Number: task.Number}
	now := metav1.Time{Time: time.Now()}
	out.Measurement.StartedAt = &now
	m, hide, err := c.meter.ready(ctx, run, task.Index)
	if err != nil {
		out.fail(err)
		return out, true, nil
	}
	job := newJob(run, &m, task.Index, task.Number)
	if err := c.Client.Create(ctx, job, client.FieldOwner(c.FieldOwner)); apierrors.IsAlreadyExists(err) {
		err = c.claim(ctx, run, job)
		if err != nil {
			out.fail(err)
		}
	} else if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err) {
		out.fail(err)
	} else if err != nil {
		return out, false, fmt.Errorf("creating Job %s/%s of metric %q: %s", job.Namespace, job.Name, task.Name, hide.text(err.Error()))
	}
	out.Measurement = hide.measurement(out.Measurement)
	if out.Measurement.Phase == "" {
		out.Measurement.Phase = argo.AnalysisPhaseRunning
		// Not masked: a short secret is easily part of a name by chance, and the name is how the Job is found again.
		out.Measurement.Metadata = map[string]string{jobNameKey: job.Name, jobNamespaceKey: job.Namespace}
	}
	return out, true, nil
}

// claim reads a Job that exists already and returns an error when it is not this run's.
func (c *Controller) claim(ctx context.Context, run *argo.AnalysisRun, job *batchv1.Job) error {
	found := &batchv1.Job{}
	if err := c.Reader.Get(ctx, client.ObjectKeyFromObject(job), found); err != nil {
		return err
	}
	if owner := metav1.GetControllerOf(found); owner == nil || owner.UID != run.UID {
		return fmt.Errorf("a Job %s/%s exists that this run does not own; delete it", job.Namespace, job.Name)
	}
	return nil
}

func (c *Controller) deleteJob(ctx context.Context, namespace, name string) error {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	return client.IgnoreNotFound(c.Client.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationForeground)))
}

// write stores the status of a run in one patch, on condition that the run is still as it was read.
func (c *Controller) write(ctx context.Context, before, after *argo.AnalysisRun) error {
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := c.Client.Patch(ctx, after, patch, client.FieldOwner(c.FieldOwner)); err != nil {
		return fmt.Errorf("writing the status of AnalysisRun %s/%s: %w", before.Namespace, before.Name, err)
	}
	c.written.keep(after)
	return nil
}

// clean deletes the Jobs of measurements that are no longer kept. What is left over goes with the run, which owns it.
func (c *Controller) clean(ctx context.Context, run types.NamespacedName, dropped []argo.Measurement) error {
	var errs []error
	for i := range dropped {
		if namespace, name, err := jobKey(&dropped[i], run.Namespace); err == nil {
			errs = append(errs, c.deleteJob(ctx, namespace, name))
		}
	}
	return errors.Join(errs...)
}
