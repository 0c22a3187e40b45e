package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	yamlv3 "go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
)

// nodeGroupFile is one NodeGroup of a --nodes file: what `up` builds of it.
type nodeGroupFile struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Provider     string         `json:"provider"`
		MinSize      int            `json:"minSize"`
		MaxSize      int            `json:"maxSize"`
		InstanceType string         `json:"instanceType"`
		Zones        []string       `json:"zones"`
		CapacityType string         `json:"capacityType"`
		PricePerHour *numberOrText  `json:"pricePerHour"`
		Template     groupTemplate  `json:"template"`
		Virtual      virtualSection `json:"virtual"`
	} `json:"spec"`
}

type groupTemplate struct {
	Labels         map[string]string   `json:"labels"`
	Annotations    map[string]string   `json:"annotations"`
	Taints         []corev1.Taint      `json:"taints"`
	Capacity       corev1.ResourceList `json:"capacity"`
	KubeReserved   corev1.ResourceList `json:"kubeReserved"`
	SystemReserved corev1.ResourceList `json:"systemReserved"`
	EvictionHard   corev1.ResourceList `json:"evictionHard"`
}

type virtualSection struct {
	JoinDelay  string   `json:"joinDelay"`
	ReadyDelay string   `json:"readyDelay"`
	MaxPods    int64    `json:"maxPods"`
	Images     []string `json:"images"`
}

// numberOrText is a price as a number or as a quantity's text.
type numberOrText float64

// UnmarshalJSON implements json.Unmarshaler.
func (n *numberOrText) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64)
	if err != nil || f < 0 {
		return fmt.Errorf("%s is not an amount of US dollars an hour", b)
	}
	*n = numberOrText(f)
	return nil
}

// readNodeGroups reads a file of NodeGroups. Errors name the file and the line of the document.
func readNodeGroups(file string, b []byte) ([]virtual.NodeGroup, error) {
	var out []virtual.NodeGroup
	d := yamlv3.NewDecoder(bytes.NewReader(b))
	for {
		var node yamlv3.Node
		err := d.Decode(&node)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: not valid YAML: %w", file, err)
		}
		if len(node.Content) == 0 || node.Content[0].Tag == "!!null" {
			continue
		}
		where := fmt.Sprintf("%s:%d", file, node.Content[0].Line)
		text, err := yamlv3.Marshal(&node)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		var g nodeGroupFile
		if err := yaml.UnmarshalStrict(text, &g); err != nil {
			return nil, fmt.Errorf("%s: NodeGroup: %w", where, err)
		}
		group, err := g.group(where)
		if err != nil {
			return nil, err
		}
		out = append(out, group)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: holds no NodeGroup", file)
	}
	return out, nil
}

func (g *nodeGroupFile) group(where string) (virtual.NodeGroup, error) {
	if want := fairway.GroupVersion.String(); g.Kind != "NodeGroup" || g.APIVersion != want {
		return virtual.NodeGroup{}, fmt.Errorf("%s: apiVersion %q, kind %q: a --nodes file holds apiVersion %s, kind NodeGroup", where, g.APIVersion, g.Kind, want)
	}
	s := &g.Spec
	if s.Provider != "" && s.Provider != "virtual" {
		return virtual.NodeGroup{}, fmt.Errorf("%s: provider %q: the embedded cluster has virtual nodes only", where, s.Provider)
	}
	if s.MaxSize != 0 && s.MaxSize < s.MinSize {
		return virtual.NodeGroup{}, fmt.Errorf("%s: maxSize %d is below minSize %d", where, s.MaxSize, s.MinSize)
	}
	join, err := duration(where, "joinDelay", s.Virtual.JoinDelay)
	if err != nil {
		return virtual.NodeGroup{}, err
	}
	ready, err := duration(where, "readyDelay", s.Virtual.ReadyDelay)
	if err != nil {
		return virtual.NodeGroup{}, err
	}
	out := virtual.NodeGroup{
		Name: g.Name, Size: s.MinSize, InstanceType: s.InstanceType, Zones: s.Zones, CapacityType: s.CapacityType,
		Labels: s.Template.Labels, Annotations: s.Template.Annotations, Taints: s.Template.Taints,
		Capacity: s.Template.Capacity, KubeReserved: s.Template.KubeReserved, SystemReserved: s.Template.SystemReserved, EvictionHard: s.Template.EvictionHard,
		MaxPods: s.Virtual.MaxPods, Join: virtual.Spread{P50: join, P99: join}, ReadyDelay: ready, PrePulled: s.Virtual.Images,
	}
	if s.PricePerHour != nil {
		out.PricePerHour = float64(*s.PricePerHour)
	}
	return out, checkGroup(where, &out)
}

func duration(where, field, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s: spec.virtual.%s %q is not a duration such as 30s", where, field, text)
	}
	return d, nil
}
