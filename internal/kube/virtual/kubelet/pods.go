package kubelet

import (
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"

	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
)

// sorted returns the node's pods by namespace and name.
func (s *Server) sorted(node *corev1.Node) []*corev1.Pod {
	pods := slices.Clone(s.opts.Pods(node.Name))
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return pods
}

func podList(pods []*corev1.Pod) *corev1.PodList {
	out := &corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{}}
	for _, p := range pods {
		out.Items = append(out.Items, *p)
	}
	return out
}

// pods lists the pods bound to the node.
func (s *Server) pods(w http.ResponseWriter, _ *http.Request, node *corev1.Node) {
	writeJSON(w, podList(s.sorted(node)))
}

// runningPods lists the pods of which a container runs, reduced to what a runtime knows.
func (s *Server) runningPods(w http.ResponseWriter, _ *http.Request, node *corev1.Node) {
	var out []*corev1.Pod
	for _, p := range s.sorted(node) {
		known := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID}}
		for i := range p.Spec.Containers {
			c := &p.Spec.Containers[i]
			if st := containerStatus(p, c.Name); st != nil && st.State.Running != nil {
				known.Spec.Containers = append(known.Spec.Containers, corev1.Container{Name: c.Name, Image: c.Image})
			}
		}
		if known.Spec.Containers != nil {
			out = append(out, known)
		}
	}
	writeJSON(w, podList(out))
}

// configz shows the settings of the node's kubelet that clients read.
func (s *Server) configz(w http.ResponseWriter, _ *http.Request, node *corev1.Node) {
	maxPods := int32(node.Status.Capacity.Pods().Value())
	config := kubeletconfig.KubeletConfiguration{
		TypeMeta:                         metav1.TypeMeta{Kind: "KubeletConfiguration", APIVersion: kubeletconfig.SchemeGroupVersion.String()},
		Address:                          "0.0.0.0",
		Port:                             vnet.KubeletPort,
		ClusterDomain:                    vnet.ClusterDomain,
		ClusterDNS:                       []string{vnet.DNS.String()},
		MaxPods:                          maxPods,
		PodCIDR:                          node.Spec.PodCIDR,
		ContainerLogMaxSize:              "256Ki",
		NodeStatusReportFrequency:        metav1.Duration{Duration: 5 * time.Minute},
		NodeLeaseDurationSeconds:         40,
		CgroupDriver:                     "systemd",
		ContainerRuntimeEndpoint:         "virtual://",
		ShutdownGracePeriod:              metav1.Duration{},
		NodeStatusUpdateFrequency:        metav1.Duration{Duration: 10 * time.Second},
		EvictionPressureTransitionPeriod: metav1.Duration{Duration: 5 * time.Minute},
	}
	writeJSON(w, map[string]any{"kubeletconfig": config})
}
