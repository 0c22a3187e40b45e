package platform

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/fairway-dev/fairway/internal/kube/controlplane"
)

// furnish makes what users find in every cluster and the API server does not make itself: the name
// server's Service (the engine brings the default StorageClass). What is there already, changed or not, is left alone.
func furnish(ctx context.Context, c kubernetes.Interface) error {
	dns := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "kube-dns", Labels: map[string]string{
			"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}},
		Spec: corev1.ServiceSpec{ClusterIP: controlplane.DNSServiceIP, Ports: []corev1.ServicePort{
			{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromInt32(53)},
			{Name: "dns-tcp", Port: 53, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(53)},
		}},
	}
	services := c.CoreV1().Services(metav1.NamespaceSystem)
	_, err := services.Create(ctx, dns, metav1.CreateOptions{})
	if ignoreExists(err) == nil {
		return nil
	}
	// At a second start the address is taken by the Service itself, which is refused before its name is looked at.
	if _, err := services.Get(ctx, dns.Name, metav1.GetOptions{}); err == nil {
		return nil
	}
	return fmt.Errorf("making the Service of the name server, for which the range of Service addresses must hold %s: %w", controlplane.DNSServiceIP, err)
}

func ignoreExists(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
