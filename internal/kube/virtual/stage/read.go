package stage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	yamlv3 "go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kwok/pkg/apis/v1alpha1"
	"sigs.k8s.io/yaml"
)

// otherKinds are KWOK's kinds that are not built here; a file may hold them, and the caller hears of it.
var otherKinds = []string{"Metric", "ResourceUsage", "ClusterResourceUsage", "Logs", "ClusterLogs", "Exec", "ClusterExec", "Attach",
	"ClusterAttach", "PortForward", "ClusterPortForward"}

// Read reads the stages of a YAML file (`--stages FILE`). Kinds of KWOK that are not built are returned in ignored, with
// their line. Other kinds, unknown fields and bad values are errors that name file and line.
func Read(file string, data []byte) (stages []*v1alpha1.Stage, ignored []string, err error) {
	decoder := yamlv3.NewDecoder(bytes.NewReader(data))
	for {
		var node yamlv3.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return stages, ignored, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: not valid YAML: %w", file, err)
		}
		if len(node.Content) == 0 || node.Content[0].Tag == "!!null" {
			continue
		}
		at := fmt.Sprintf("%s:%d", file, node.Content[0].Line)
		var head metav1.TypeMeta
		text, err := yamlv3.Marshal(&node)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", at, err)
		}
		if err := yaml.Unmarshal(text, &head); err != nil {
			return nil, nil, fmt.Errorf("%s: not an object: %w", at, err)
		}
		switch {
		case head.APIVersion != v1alpha1.GroupVersion.String() || head.Kind != v1alpha1.StageKind && !slices.Contains(otherKinds, head.Kind):
			return nil, nil, fmt.Errorf("%s: apiVersion %q, kind %q: this file holds apiVersion %s, kind %s", at, head.APIVersion, head.Kind,
				v1alpha1.GroupVersion, v1alpha1.StageKind)
		case head.Kind != v1alpha1.StageKind:
			ignored = append(ignored, fmt.Sprintf("%s: kind %s is not built yet and has no effect", at, head.Kind))
			continue
		}
		st := &v1alpha1.Stage{}
		if err := yaml.UnmarshalStrict(text, st); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", at, err)
		}
		if st.Name == "" {
			return nil, nil, fmt.Errorf("%s: metadata.name is missing", at)
		}
		stages = append(stages, st)
	}
}

// Available is the condition of a Stage object: true, or why it is left out. now is the time of the transition.
func Available(p *Problem, now metav1.Time) v1alpha1.Condition {
	c := v1alpha1.Condition{Type: "Available", Status: v1alpha1.ConditionTrue, LastTransitionTime: now,
		Reason: "Compiled", Message: "the stage is in use"}
	if p != nil {
		c.Status, c.Reason, c.Message = v1alpha1.ConditionFalse, p.Reason, p.Message
	}
	return c
}
