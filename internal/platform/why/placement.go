package why

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
	schedhelper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// nodesCompared bounds the nodes a pod is held against: beyond it the scheduler's own count says enough.
	nodesCompared = 1000
	// nodesShown bounds those that an answer names.
	nodesShown = 4
)

// placement adds what the scheduler's message leaves out: the claim that is missing, or what each node lacks.
func (a *Answer) placement(ctx context.Context, c client.Reader, pod *corev1.Pod) error {
	if done, err := a.claims(ctx, c, pod); done || err != nil {
		return err
	}
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes, client.Limit(nodesCompared)); err != nil {
		return fmt.Errorf("listing nodes: %w", err)
	}
	var pods corev1.PodList
	if len(nodes.Items) > 0 {
		if err := c.List(ctx, &pods); err != nil {
			return fmt.Errorf("listing pods: %w", err)
		}
	}
	a.fits(pod, nodes.Items, requested(pods.Items))
	return nil
}

// claims looks for a PersistentVolumeClaim that keeps the pod waiting.
func (a *Answer) claims(ctx context.Context, c client.Reader, pod *corev1.Pod) (found bool, err error) {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		name := ""
		switch {
		case v.PersistentVolumeClaim != nil:
			name = v.PersistentVolumeClaim.ClaimName
		case v.Ephemeral != nil:
			name = pod.Name + "-" + v.Name
		default:
			continue
		}
		var claim corev1.PersistentVolumeClaim
		err := c.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: name}, &claim)
		if apierrors.IsNotFound(err) {
			a.block("ClaimMissing", "its volume %s needs the PersistentVolumeClaim %s, which does not exist in namespace %s", v.Name, name, pod.Namespace)
			a.Try = []string{"kubectl get pvc -n " + pod.Namespace}
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("reading the PersistentVolumeClaim %s: %w", name, err)
		}
		if claim.Status.Phase == corev1.ClaimLost {
			a.block("ClaimLost", "the PersistentVolume of its claim %s is gone", name)
			a.Try = []string{fmt.Sprintf("kubectl describe pvc %s -n %s", name, pod.Namespace)}
			return true, nil
		}
		if claim.Status.Phase == corev1.ClaimPending && claim.Spec.VolumeName == "" && strings.Contains(a.text(), "PersistentVolumeClaims") {
			a.block("ClaimUnbound", "its claim %s has no volume yet", name)
			class := "the default StorageClass"
			if claim.Spec.StorageClassName != nil {
				class = fmt.Sprintf("StorageClass %q", *claim.Spec.StorageClassName)
			}
			a.saw("pvc "+name, "Pending, of %s", class)
			a.Try = []string{fmt.Sprintf("kubectl describe pvc %s -n %s", name, pod.Namespace), "kubectl get storageclass"}
			return true, nil
		}
	}
	return false, nil
}

func (a *Answer) text() string {
	var b strings.Builder
	for _, e := range a.Evidence {
		b.WriteString(e.Detail)
	}
	return b.String()
}

// requested sums what the pods of each node ask for; "pods" counts them.
func requested(pods []corev1.Pod) map[string]corev1.ResourceList {
	out := map[string]corev1.ResourceList{}
	for i := range pods {
		p := &pods[i]
		if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		sum := out[p.Spec.NodeName]
		if sum == nil {
			sum = corev1.ResourceList{}
			out[p.Spec.NodeName] = sum
		}
		for name, q := range asks(p) {
			have := sum[name]
			have.Add(q)
			sum[name] = have
		}
	}
	return out
}

func asks(p *corev1.Pod) corev1.ResourceList {
	out := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
	out[corev1.ResourcePods] = *resource.NewQuantity(1, resource.DecimalSI)
	return out
}

// obstacle is why one node does not take the pod.
type obstacle struct {
	node string
	kind string // affinity, taint, cordon, small, full; "" = none that is known here
	text string
}

// fits holds the pod against every node and says what they lack.
func (a *Answer) fits(pod *corev1.Pod, nodes []corev1.Node, used map[string]corev1.ResourceList) {
	if len(nodes) == 0 {
		a.block("NoNodes", "the cluster has no nodes")
		a.Try = []string{"kubectl get nodes"}
		return
	}
	found := make([]obstacle, len(nodes))
	kinds := map[string]int{}
	for i := range nodes {
		found[i] = obstacleOf(pod, &nodes[i], used[nodes[i].Name])
		kinds[found[i].kind]++
	}
	// The node that came furthest first: it is the one to change.
	rank := []string{"", "full", "small", "taint", "cordon", "affinity"}
	slices.SortStableFunc(found, func(x, y obstacle) int {
		return cmp.Or(cmp.Compare(slices.Index(rank, x.kind), slices.Index(rank, y.kind)), cmp.Compare(x.node, y.node))
	})
	for i := range min(len(found), nodesShown) {
		if found[i].text != "" {
			a.saw("node "+found[i].node, "%s", found[i].text)
		}
	}
	if more := len(found) - nodesShown; more > 0 {
		a.saw("nodes", "and %d more", more)
	}
	if kinds[""] == 0 {
		a.Reason = "no node fits it: " + tally(kinds)
	}
	a.Try = advice(found[0])
}

var kindWords = map[string]string{"affinity": "outside its node selector or affinity", "taint": "with a taint it does not tolerate",
	"cordon": "cordoned", "small": "too small", "full": "full"}

func tally(kinds map[string]int) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		out = append(out, fmt.Sprintf("%d %s", kinds[k], kindWords[k]))
	}
	return strings.Join(out, ", ")
}

func advice(nearest obstacle) []string {
	switch nearest.kind {
	case "affinity":
		return []string{"kubectl get nodes --show-labels"}
	case "cordon":
		return []string{"kubectl uncordon " + nearest.node}
	case "taint":
		return []string{"kubectl get node " + nearest.node + " -o jsonpath={.spec.taints}"}
	}
	return []string{"kubectl describe node " + nearest.node}
}

// obstacleOf names the first thing in which the node does not fit the pod, in the scheduler's order.
func obstacleOf(pod *corev1.Pod, n *corev1.Node, used corev1.ResourceList) obstacle {
	o := obstacle{node: n.Name}
	if n.Spec.Unschedulable && !schedhelper.TolerationsTolerateTaint(klog.Background(), pod.Spec.Tolerations,
		&corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}, true) {
		o.kind, o.text = "cordon", "it is cordoned"
		return o
	}
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(n); err == nil && !ok {
		o.kind, o.text = "affinity", "does not match its node affinity"
		for _, key := range slices.Sorted(maps.Keys(pod.Spec.NodeSelector)) {
			if want := pod.Spec.NodeSelector[key]; n.Labels[key] != want {
				o.text = fmt.Sprintf("has no label %s=%s", key, want)
				break
			}
		}
		return o
	}
	for i := range n.Spec.Taints {
		t := &n.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !schedhelper.TolerationsTolerateTaint(klog.Background(), pod.Spec.Tolerations, t, true) {
			o.kind, o.text = "taint", "it does not tolerate "+t.ToString()
			return o
		}
	}
	o.kind, o.text = room(asks(pod), n, used)
	return o
}

// room says which resource the node lacks.
func room(want corev1.ResourceList, n *corev1.Node, used corev1.ResourceList) (kind, text string) {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		ask, all, taken := want[name], n.Status.Allocatable[name], used[name]
		free := all.DeepCopy()
		free.Sub(taken)
		switch {
		case ask.IsZero() || ask.Cmp(free) <= 0:
		case ask.Cmp(all) > 0:
			return "small", fmt.Sprintf("it asks for %s %s; the node has %s for pods", ask.String(), name, all.String())
		default:
			return "full", fmt.Sprintf("it asks for %s %s; of the node's %s, %s are requested by others", ask.String(), name, all.String(), taken.String())
		}
	}
	return "", ""
}
