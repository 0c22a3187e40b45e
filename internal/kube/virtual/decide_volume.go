package virtual

import (
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations of dynamic provisioning, as upstream's volume controller and scheduler write them.
const (
	annotationProvisioner   = "volume.kubernetes.io/storage-provisioner"
	annotationSelectedNode  = "volume.kubernetes.io/selected-node"
	annotationProvisionedBy = "pv.kubernetes.io/provisioned-by"
	annotationDefaultClass  = "storageclass.kubernetes.io/is-default-class"
	// VirtualProvisioner is the provisioner and CSI driver of the default class.
	VirtualProvisioner = "fairway.dev/virtual"
	virtualClass       = "virtual"
)

// How long the storage of a cloud takes (assumptions).
const (
	provisionTakes = 3 * time.Second
	expandTakes    = 5 * time.Second
	attachTakes    = 5 * time.Second
	detachTakes    = 5 * time.Second
)

// provisionable reports whether a claim waits for its volume to be made now.
func provisionable(pvc *v1.PersistentVolumeClaim, class *storagev1.StorageClass) bool {
	if pvc.Spec.VolumeName != "" || class == nil || pvc.DeletionTimestamp != nil || pvc.Annotations[annotationProvisioner] != class.Provisioner {
		return false
	}
	waits := class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
	return !waits || pvc.Annotations[annotationSelectedNode] != ""
}

// Provision returns the volume for a claim, as an external provisioner would create it. node is the one the scheduler
// selected, nil for classes that bind at once.
func Provision(pvc *v1.PersistentVolumeClaim, class *storagev1.StorageClass, node *v1.Node) *v1.PersistentVolume {
	policy := v1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	name := "pvc-" + string(pvc.UID)
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{annotationProvisionedBy: class.Provisioner}},
		Spec: v1.PersistentVolumeSpec{
			Capacity:    v1.ResourceList{v1.ResourceStorage: pvc.Spec.Resources.Requests[v1.ResourceStorage]},
			AccessModes: slices.Clone(pvc.Spec.AccessModes), PersistentVolumeReclaimPolicy: policy, StorageClassName: class.Name,
			MountOptions: class.MountOptions, VolumeMode: pvc.Spec.VolumeMode,
			ClaimRef: &v1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: pvc.Namespace, Name: pvc.Name,
				UID: pvc.UID, ResourceVersion: pvc.ResourceVersion},
			PersistentVolumeSource: v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: driverName(class.Provisioner), VolumeHandle: name}},
			NodeAffinity:           volumeAffinity(class, node),
		},
	}
}

// driverName makes a CSI driver's name, which is a DNS name, of a provisioner's, which may have a path.
func driverName(provisioner string) string {
	return strings.ToLower(strings.ReplaceAll(provisioner, "/", "."))
}

// volumeAffinity keeps a volume where it can be reached: on the node for local classes, else in the node's zone, else
// where the class says.
func volumeAffinity(class *storagev1.StorageClass, node *v1.Node) *v1.VolumeNodeAffinity {
	in := func(key string, values ...string) v1.NodeSelectorRequirement {
		return v1.NodeSelectorRequirement{Key: key, Operator: v1.NodeSelectorOpIn, Values: values}
	}
	var terms []v1.NodeSelectorTerm
	switch {
	case node != nil && strings.Contains(class.Provisioner, "local"):
		terms = append(terms, v1.NodeSelectorTerm{MatchExpressions: []v1.NodeSelectorRequirement{in(v1.LabelHostname, node.Labels[v1.LabelHostname])}})
	case node != nil && node.Labels[v1.LabelTopologyZone] != "":
		terms = append(terms, v1.NodeSelectorTerm{MatchExpressions: []v1.NodeSelectorRequirement{in(v1.LabelTopologyZone, node.Labels[v1.LabelTopologyZone])}})
	default:
		for _, t := range class.AllowedTopologies {
			var term v1.NodeSelectorTerm
			for _, e := range t.MatchLabelExpressions {
				term.MatchExpressions = append(term.MatchExpressions, in(e.Key, e.Values...))
			}
			terms = append(terms, term)
		}
	}
	if len(terms) == 0 {
		return nil
	}
	return &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: terms}}
}

// expandable returns the size a bound claim asks for beyond what it has.
func expandable(pvc *v1.PersistentVolumeClaim) bool {
	want, have := pvc.Spec.Resources.Requests[v1.ResourceStorage], pvc.Status.Capacity[v1.ResourceStorage]
	return pvc.Status.Phase == v1.ClaimBound && pvc.DeletionTimestamp == nil && want.Cmp(have) > 0
}

// exclusive reports whether a volume can be used from one node only.
func exclusive(pv *v1.PersistentVolume) bool {
	for _, m := range pv.Spec.AccessModes {
		if m == v1.ReadWriteMany || m == v1.ReadOnlyMany {
			return false
		}
	}
	return true
}
