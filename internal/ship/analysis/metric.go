//lint:file-ignore ST1005 messages of runs begin with words of Argo Rollouts that people and tools look for

package analysis

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// consecutiveErrorLimit of a metric that gives none.
const consecutiveErrorLimit = 4

// metric is a metric of a run with its arguments in place (those of Secrets as placeholders) and its limits as numbers.
type metric struct {
	argo.Metric
	index                  int           // in the spec
	interval, initialDelay time.Duration // 0 = none given
	count                  int           // of measurements that end it; 0 = without end
	failureLimit           int           // -1 = off
	inconclusiveLimit      int
	errorLimit             int // of errors in a row
	successLimit           int // successes in a row that end it; 0 = off
	dry                    bool
	keep                   int // measurements
}

// read makes the metrics of a spec ready to be judged. Its errors are the messages of runs that cannot start.
func read(spec *argo.AnalysisRunSpec) ([]metric, error) {
	for i := range spec.Args {
		if a := &spec.Args[i]; a.Value == nil && (a.ValueFrom == nil || a.ValueFrom.SecretKeyRef == nil) {
			return nil, fmt.Errorf("Unable to resolve metric arguments: argument \"%s\" was not supplied", a.Name)
		}
	}
	v := placeholders(spec.Args)
	resolved := make([]argo.Metric, len(spec.Metrics))
	names := make([]string, len(spec.Metrics))
	for i := range spec.Metrics {
		m, err := resolve(&spec.Metrics[i], v)
		if err != nil {
			return nil, fmt.Errorf("Unable to resolve metric arguments: %w", err)
		}
		resolved[i], names[i] = m, m.Name
	}
	out, err := parse(resolved)
	if err != nil {
		return nil, fmt.Errorf("Analysis spec invalid: %w", err)
	}
	r, err := newRules(*spec, names)
	if err != nil {
		return nil, fmt.Errorf("Analysis spec invalid: %w", err)
	}
	for i := range out {
		out[i].dry = r.dry[out[i].Name]
		if out[i].keep = r.keep[out[i].Name]; out[i].keep <= 0 {
			out[i].keep = retained
		}
	}
	return out, nil
}

// Validate checks metrics whose arguments are in place. It returns the first problem, with the index of its metric.
func Validate(metrics []argo.Metric) error {
	_, err := parse(metrics)
	return err
}

func parse(metrics []argo.Metric) ([]metric, error) {
	if len(metrics) == 0 {
		return nil, errors.New("no metrics specified")
	}
	out := make([]metric, len(metrics))
	seen := make(map[string]bool, len(metrics))
	for i := range metrics {
		if seen[metrics[i].Name] {
			return nil, fmt.Errorf("metrics[%d]: duplicate name '%s'", i, metrics[i].Name)
		}
		seen[metrics[i].Name] = true
		m, err := parseOne(&metrics[i])
		if err != nil {
			return nil, fmt.Errorf("metrics[%d]: %w", i, err)
		}
		m.index, m.keep = i, retained
		out[i] = m
	}
	return out, nil
}

func parseOne(from *argo.Metric) (metric, error) {
	m := metric{Metric: *from}
	var counts, failures, inconclusives, failing, succeeding error
	m.count, counts = number("count", from.Count, 0)
	m.failureLimit, failures = number("failureLimit", from.FailureLimit, 0)
	m.inconclusiveLimit, inconclusives = number("inconclusiveLimit", from.InconclusiveLimit, 0)
	m.errorLimit, failing = number("consecutiveErrorLimit", from.ConsecutiveErrorLimit, consecutiveErrorLimit)
	m.successLimit, succeeding = number("consecutiveSuccessLimit", from.ConsecutiveSuccessLimit, 0)
	for _, err := range []error{counts, failures, inconclusives, failing, succeeding, m.checkLimits(), m.readTimes()} {
		if err != nil {
			return metric{}, err
		}
	}
	if m.count == 0 && from.Interval == "" {
		m.count = 1
	}
	switch len(fields(&from.Provider)) {
	case 0:
		return metric{}, errors.New("no provider specified")
	case 1:
		return m, errors.Join(Supported(from), checkEvidence(&from.Provider))
	}
	return metric{}, errors.New("multiple providers specified")
}

// checkLimits holds the limits against each other as the peer does.
func (m *metric) checkLimits() error {
	switch {
	case m.count < 0:
		return errors.New("count must be >= 0")
	case m.successLimit < 0:
		return errors.New("consecutiveSuccessLimit must be >= 0")
	case m.failureLimit < -1:
		return errors.New("failureLimit must be >= 0, or -1 to be disabled")
	case m.successLimit == 0 && m.failureLimit == -1:
		return errors.New("failureLimit and consecutiveSuccessLimit cannot both be disabled")
	case m.inconclusiveLimit < 0:
		return errors.New("inconclusiveLimit must be >= 0")
	case m.errorLimit < 0:
		return errors.New("consecutiveErrorLimit must be >= 0")
	case m.count == 0:
		return nil
	case m.failureLimit >= 0 && m.count < m.failureLimit+m.successLimit:
		return fmt.Errorf("count (%d) must be >= failureLimit + consecutiveSuccessLimit (%d + %d) if both >= 0", m.count, m.failureLimit, m.successLimit)
	case m.failureLimit < 0 && m.count < m.successLimit:
		return errors.New("count must be >= consecutiveSuccessLimit")
	case m.count < m.inconclusiveLimit:
		return errors.New("count must be >= inconclusiveLimit")
	case m.count > 1 && m.Interval == "":
		return errors.New("interval must be specified when count > 1")
	}
	return nil
}

func (m *metric) readTimes() error {
	var err error
	if m.Interval != "" {
		if m.interval, err = m.Interval.Duration(); err != nil {
			return fmt.Errorf("invalid interval string: %w", err)
		}
	}
	if m.InitialDelay != "" {
		if m.initialDelay, err = m.InitialDelay.Duration(); err != nil {
			return fmt.Errorf("invalid startDelay string: %w", err)
		}
	}
	return nil
}

// number reads a field that holds a number or, after arguments were put in place, the text of one.
func number(field string, v *intstr.IntOrString, unset int) (int, error) {
	if v == nil {
		return unset, nil
	}
	if v.Type == intstr.Int {
		return int(v.IntVal), nil
	}
	n, err := strconv.ParseInt(v.StrVal, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%s is %q, which is not a whole number", field, v.StrVal)
	}
	return int(n), nil
}
