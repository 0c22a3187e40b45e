package analysis

import (
	"context"
	"errors"
	"fmt"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SecretReader reads the data of a Secret.
type SecretReader func(ctx context.Context, namespace, name string) (map[string][]byte, error)

// meter makes measurements.
type meter struct {
	secrets   SecretReader
	providers map[string]Provider // by Kind, or by the name of a plugin
	external  External            // nil = none
}

// unresolved is a fault of a run's arguments that measuring again cannot mend.
type unresolved struct{ error }

// ready is a metric as providers need it: with every argument in place. The mask hides what came from Secrets.
func (c *meter) ready(ctx context.Context, run *argo.AnalysisRun, index int) (argo.Metric, mask, error) {
	secrets := map[string]string{}
	for i := range run.Spec.Args {
		a := &run.Spec.Args[i]
		if a.ValueFrom == nil || a.ValueFrom.SecretKeyRef == nil {
			continue
		}
		ref := a.ValueFrom.SecretKeyRef
		data, err := c.secrets(ctx, run.Namespace, ref.Name)
		if apierrors.IsNotFound(err) {
			return argo.Metric{}, mask{}, unresolved{err}
		}
		if err != nil {
			return argo.Metric{}, mask{}, fmt.Errorf("reading the secret of argument %q: %w", a.Name, err)
		}
		value, ok := data[ref.Key]
		if !ok {
			return argo.Metric{}, mask{}, unresolved{fmt.Errorf("key '%s' does not exist in secret '%s'", ref.Key, ref.Name)}
		}
		secrets[a.Name] = string(value)
	}
	hide := newMask(secrets)
	v, err := valuesOf(run.Spec.Args, secrets)
	if err != nil {
		return argo.Metric{}, hide, unresolved{err}
	}
	m, err := resolve(&run.Spec.Metrics[index], v)
	if err != nil {
		return argo.Metric{}, hide, unresolved{errors.New(hide.text(err.Error()))}
	}
	return m, hide, nil
}

// take does a task that is not a Job's and returns what came of it. It never returns a secret.
func (c *meter) take(ctx context.Context, run *argo.AnalysisRun, task Task) Result {
	out := Result{Metric: task.Name, Number: task.Number}
	started := metav1.Time{Time: time.Now()}
	if task.Begun != nil {
		out.Measurement = *task.Begun.DeepCopy()
	} else {
		out.Measurement.StartedAt = &started
	}
	m, hide, err := c.ready(ctx, run, task.Index)
	if err != nil {
		out.fail(err)
		return out
	}
	if provider := c.providers[providerName(&m)]; provider != nil {
		if task.Do == Terminate { // begun by another controller: there is nothing here to end
			out.Measurement.Phase = argo.AnalysisPhaseInconclusive
			out.settle(task)
			return out
		}
		out.Metadata = hide.all(aboutMetric(&m))
		c.read(ctx, provider, Request{Run: run, Metric: &m}, &out)
	} else if task.Kind == Plugin && c.external != nil {
		c.plug(ctx, run, &m, task, hide, &out)
	} else {
		out.fail(fmt.Errorf("no provider for metric %q: plugins are configured in the ConfigMap argo-rollouts-config", m.Name))
	}
	out.Measurement = hide.measurement(out.Measurement)
	return out
}

// providerName is the key of a metric's provider.
func providerName(m *argo.Metric) string {
	for name := range m.Provider.Plugin { // validated: exactly one
		return name
	}
	return Kind(m)
}

// read asks a provider and judges what it answers.
func (c *meter) read(ctx context.Context, p Provider, r Request, out *Result) {
	// Paths and conditions are programs that users write for libraries that were not made to withstand all of them; one
	// that makes its library panic must not end the process.
	defer func() {
		if broke := recover(); broke != nil {
			out.fail(fmt.Errorf("measuring broke off: %v", broke))
		}
	}()
	reading, err := p.Measure(ctx, r)
	if err != nil {
		out.fail(err)
		return
	}
	x := &out.Measurement
	x.Value, x.Metadata, x.Phase, x.Message = reading.Value, reading.Metadata, reading.Phase, reading.Message
	if x.Phase == "" {
		if x.Phase, err = judge(r.Metric, reading.Result); err != nil {
			out.fail(err)
			return
		}
	}
	x.FinishedAt = &metav1.Time{Time: time.Now()}
}

// plug does a task by a plugin outside of this process.
func (c *meter) plug(ctx context.Context, run *argo.AnalysisRun, m *argo.Metric, task Task, hide mask, out *Result) {
	name := providerName(m)
	var err error
	switch task.Do {
	case Measure:
		if r := resultOf(&run.Status, task.Name); r != nil && len(r.Measurements) >= task.Keep {
			if err := c.external.GarbageCollect(ctx, name, run, *m, task.Keep); err != nil {
				out.fail(fmt.Errorf("plugin %s: forgetting old measurements: %w", name, err))
				return
			}
		}
		if task.Number == 1 {
			about, err := c.external.Metadata(ctx, name, *m)
			if err != nil {
				out.fail(err)
				return
			}
			out.Metadata = hide.all(about)
		}
		out.Measurement, err = c.external.Run(ctx, name, run, *m)
	case Resume:
		out.Measurement, err = c.external.Resume(ctx, name, run, *m, *task.Begun)
	case Terminate:
		out.Measurement, err = c.external.Terminate(ctx, name, run, *m, *task.Begun)
	}
	if err != nil {
		out.fail(err)
		return
	}
	out.settle(task)
}

// settle makes a plugin's measurement one that a run can go on from.
func (r *Result) settle(task Task) {
	x, now := &r.Measurement, metav1.Time{Time: time.Now()}
	if x.StartedAt == nil {
		x.StartedAt = &now
	}
	switch {
	case x.Phase.Completed() && x.FinishedAt == nil:
		x.FinishedAt = &now
	case !x.Phase.Completed() && task.Do == Terminate:
		x.FinishedAt, x.Phase = &now, argo.AnalysisPhaseInconclusive
	case !x.Phase.Completed():
		if x.FinishedAt, x.Phase = nil, argo.AnalysisPhaseRunning; x.ResumeAt == nil {
			x.ResumeAt = &metav1.Time{Time: now.Add(errorInterval)}
		}
	}
	if task.Do == Terminate && (x.Phase == argo.AnalysisPhaseSuccessful || x.Phase == argo.AnalysisPhaseInconclusive) {
		x.Message = metricTerminated
	}
}

// metricTerminated is the message of a measurement that was ended before it was finished.
const metricTerminated = "Metric Terminated"

// fail makes an Error of a measurement, or of the whole run where its arguments can never be put in place.
func (r *Result) fail(err error) {
	var never unresolved
	if errors.As(err, &never) {
		r.Fatal = "Unable to resolve metric arguments: " + err.Error()
	}
	now := metav1.Time{Time: time.Now()}
	r.Measurement.Phase, r.Measurement.Message, r.Measurement.FinishedAt = argo.AnalysisPhaseError, err.Error(), &now
}
