package analysis

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/kubernetes/pkg/fieldpath"
)

// Args gives the arguments of a Rollout's analysis their values. owner is the Rollout as JSON, stable and latest are the
// pod-template hashes of its stable and its newest ReplicaSet. A fieldRef that begins with metadata is one of the downward
// API's; any other is the path of a scalar in the Rollout, as in spec.replicas or status.conditions[0].reason.
func Args(from []argo.AnalysisRunArgument, owner map[string]any, stable, latest string) ([]argo.Argument, error) {
	out := make([]argo.Argument, 0, len(from))
	for i := range from {
		value, err := value(&from[i], owner, stable, latest)
		if err != nil {
			return nil, fmt.Errorf("argument %q: %w", from[i].Name, err)
		}
		out = append(out, argo.Argument{Name: from[i].Name, Value: &value})
	}
	return out, nil
}

func value(arg *argo.AnalysisRunArgument, owner map[string]any, stable, latest string) (string, error) {
	v := arg.ValueFrom
	switch {
	case v != nil && v.PodTemplateHashValue != nil:
		switch *v.PodTemplateHashValue {
		case argo.Stable:
			return stable, nil
		case argo.Latest:
			return latest, nil
		}
		return "", fmt.Errorf("valueFrom.podTemplateHashValue is %q; use %s or %s", *v.PodTemplateHashValue, argo.Stable, argo.Latest)
	case v != nil && v.FieldRef != nil:
		if strings.HasPrefix(v.FieldRef.FieldPath, "metadata") {
			return fieldpath.ExtractFieldPathAsString(&unstructured.Unstructured{Object: owner}, v.FieldRef.FieldPath)
		}
		return scalar(owner, v.FieldRef.FieldPath)
	}
	return arg.Value, nil
}

// scalar is the value at a path whose sections are separated by dots or brackets.
func scalar(object any, path string) (string, error) {
	at := object
	for _, section := range strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune(".[]", r) }) {
		switch in := at.(type) {
		case map[string]any:
			at = in[section]
		case []any:
			i, err := strconv.Atoi(section)
			if err != nil || i < 0 {
				return "", fmt.Errorf("invalid index '%s'", section)
			}
			if i >= len(in) {
				return "", fmt.Errorf("index %d out of range", i)
			}
			at = in[i]
		default:
			return "", fmt.Errorf("invalid path %s in rollout", path)
		}
	}
	switch v := at.(type) {
	case nil:
		return "", fmt.Errorf("invalid path %s in rollout", path)
	case map[string]any, []any:
		return "", fmt.Errorf("path %s in rollout must terminate in a primitive value", path)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 { // JSON has no integers; 1000000 is not 1e+06 to anybody
			return strconv.FormatInt(int64(v), 10), nil
		}
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	default:
		return fmt.Sprint(v), nil
	}
}
