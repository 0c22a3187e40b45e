package model

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/spelling"
)

// CheckAnnotation on the pods of a job says what requests it sends and how many of them may fail; its exit code follows from
// how the pods that it asks fail requests.
const CheckAnnotation = v1alpha1.Prefix + "rehearse-check"

// Defaults and bounds of a check.
const (
	checkRequests    = 100
	checkRequestsMax = 100_000 // each is a draw of its own
)

// Check is a job that sends requests.
type Check struct {
	Service  string  // [namespace/]name of a Service; its namespace is the job's unless given
	Route    string  // "" = any
	Revision string  // the pods of this revision alone, by the value of their label; "" = all that serve
	Requests int     // default 100
	Errors   float64 // the share that may fail; default 0
}

// checkKeys are what an annotation may say.
var checkKeys = []string{"service", "route", "revision", "requests", "errors"}

// ParseCheck reads "service=shop/web revision=6b56c8cdb4 requests=200 errors=1%". Values that hold arguments of a template
// ("{{args.revision}}") are left as they are.
func ParseCheck(text string) (Check, error) {
	c := Check{Requests: checkRequests}
	for _, part := range strings.Fields(text) {
		key, value, _ := strings.Cut(part, "=")
		if !slices.Contains(checkKeys, key) {
			return c, fmt.Errorf("%s: %q is not known; %s", CheckAnnotation, key, spelling.Suggest(key, checkKeys))
		}
		open := strings.Contains(value, "{{")
		switch key {
		case "service":
			c.Service = value
		case "route":
			c.Route = value
		case "revision":
			c.Revision = value
		case "requests":
			n, err := strconv.Atoi(value)
			if !open && (err != nil || n < 1 || n > checkRequestsMax) {
				return c, fmt.Errorf("%s: requests=%s is not a number from 1 to %d", CheckAnnotation, value, checkRequestsMax)
			}
			c.Requests = n
		case "errors":
			var s v1alpha1.Share
			if err := s.UnmarshalText([]byte(value)); !open && (err != nil || s > 1) {
				return c, fmt.Errorf("%s: errors=%s is not a share; write errors=1%%", CheckAnnotation, value)
			}
			c.Errors = float64(s)
		}
	}
	if c.Service == "" {
		return c, fmt.Errorf("%s: it does not say whom it asks; write service=namespace/name", CheckAnnotation)
	}
	return c, nil
}

// ServiceNamed is the index of the service behind a Service or workload, by namespace/name.
func (t *Topology) ServiceNamed(name string) (int, bool) { return t.loadTarget(name) }

// MisreadCheck says what is wrong with the checks of a template's jobs; "" when nothing is.
func MisreadCheck(o *unstructured.Unstructured) string {
	for _, m := range metricsOf(typed(o)) {
		if m.Provider.Job == nil {
			continue
		}
		if text, ok := m.Provider.Job.Spec.Template.Annotations[CheckAnnotation]; ok {
			if _, err := ParseCheck(text); err != nil {
				return fmt.Sprintf("metric %q: %v", m.Name, err)
			}
		}
	}
	return ""
}

func metricsOf(o runtime.Object) []argo.Metric {
	switch o := o.(type) {
	case *argo.AnalysisTemplate:
		return o.Spec.Metrics
	case *argo.ClusterAnalysisTemplate:
		return o.Spec.Metrics
	case *argo.AnalysisRun:
		return o.Spec.Metrics
	}
	return nil
}
