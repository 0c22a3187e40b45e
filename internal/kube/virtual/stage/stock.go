package stage

import (
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	nodeheartbeat "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat"
	nodelease "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat-with-lease"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/kwok/pkg/apis/v1alpha1"
)

// stock returns the specs of KWOK's default stages by kind and name.
var stock = sync.OnceValue(func() map[schema.GroupVersionKind]map[string][]v1alpha1.StageSpec {
	out := map[schema.GroupVersionKind]map[string][]v1alpha1.StageSpec{Pod: {}, Node: {}}
	for gvk, texts := range map[schema.GroupVersionKind][]string{
		Pod:  {podfast.DefaultPodReady, podfast.DefaultPodComplete, podfast.DefaultPodDelete},
		Node: {nodefast.DefaultNodeInit, nodeheartbeat.DefaultNodeHeartbeat, nodelease.DefaultNodeHeartbeatWithLease},
	} {
		for _, text := range texts {
			stages, _, err := Read("stock", []byte(text))
			for _, st := range stages {
				if err == nil {
					out[gvk][st.Name] = append(out[gvk][st.Name], st.Spec)
				}
			}
		}
	}
	return out
})

// isStock reports whether all stages are KWOK's default ones, and those that create the usual life are there.
func isStock(gvk schema.GroupVersionKind, stages []*v1alpha1.Stage) bool {
	known := stock()[gvk]
	for _, st := range stages {
		same := false
		for i := range known[st.Name] {
			same = same || reflect.DeepEqual(known[st.Name][i], st.Spec)
		}
		if !same {
			return false
		}
	}
	switch gvk {
	case Pod:
		return len(stages) == len(known)
	case Node:
		return len(stages) >= 1
	}
	return false
}
