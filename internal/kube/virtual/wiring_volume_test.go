package virtual_test

import (
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestClaimIsProvisionedInThePodsZoneExpandedAndReclaimed(t *testing.T) {
	t.Parallel()
	p, ns := cluster(t)
	claims := p.client.CoreV1().PersistentVolumeClaims(ns)
	claim := &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: v1.PersistentVolumeClaimSpec{
		AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce},
		Resources:   v1.VolumeResourceRequirements{Requests: v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}}}}
	eventually(t, func() string { // the default class is filled in once it exists
		_, err := p.client.StorageV1().StorageClasses().Get(t.Context(), "virtual", metav1.GetOptions{})
		return errorText(err)
	})
	if _, err := claims.Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	spec := podTemplate(nil).Spec
	spec.Volumes = []v1.Volume{{Name: "data", VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
	p.create(t, ns, "db", spec)
	p.waitReady(t, ns, "db")
	bound, err := claims.Get(t.Context(), "data", metav1.GetOptions{})
	if err != nil || bound.Spec.VolumeName == "" {
		t.Fatalf("claim %+v, error %v", bound, err)
	}
	pv, err := p.client.CoreV1().PersistentVolumes().Get(t.Context(), bound.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node, err := p.client.CoreV1().Nodes().Get(t.Context(), p.pod(t, ns, "db").Spec.NodeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if zone := pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0]; zone != node.Labels[v1.LabelTopologyZone] {
		t.Errorf("volume is in zone %q, the pod's node in %q", zone, node.Labels[v1.LabelTopologyZone])
	}
	bound.Spec.Resources.Requests[v1.ResourceStorage] = resource.MustParse("2Gi")
	if _, err := claims.Update(t.Context(), bound, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		c, err := claims.Get(t.Context(), "data", metav1.GetOptions{})
		if q := c.Status.Capacity[v1.ResourceStorage]; err != nil || q.Cmp(resource.MustParse("2Gi")) != 0 {
			return fmt.Sprintf("capacity is %s, error %v", q.String(), err)
		}
		return ""
	})
	if err := p.client.CoreV1().Pods(ns).Delete(t.Context(), "db", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := claims.Delete(t.Context(), "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		_, err := p.client.CoreV1().PersistentVolumes().Get(t.Context(), pv.Name, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Sprintf("the volume is still there, error %v", err)
		}
		return ""
	})
}

func errorText(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}
