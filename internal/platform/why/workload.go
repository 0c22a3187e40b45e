package why

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func explainDeployment(ctx context.Context, c client.Reader, key client.ObjectKey, now time.Time) (*Answer, error) {
	var d appsv1.Deployment
	if err := c.Get(ctx, key, &d); err != nil {
		return nil, err
	}
	a := &Answer{Object: "deployment/" + d.Name}
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	count := fmt.Sprintf("%d wanted, %d updated, %d ready, %d available", want, d.Status.UpdatedReplicas, d.Status.ReadyReplicas, d.Status.AvailableReplicas)
	switch {
	case d.Spec.Paused:
		return a.block("Paused", "it is paused").saw("status", "%s", count).try("kubectl rollout resume deployment/%s -n %s", d.Name, d.Namespace), nil
	case d.Status.ObservedGeneration < d.Generation:
		return a.block("NotObserved", "the deployment controller has not seen the latest change yet"), nil
	case d.Status.UpdatedReplicas >= want && d.Status.AvailableReplicas >= want && d.Status.Replicas == d.Status.UpdatedReplicas:
		a.Reason = "nothing blocks it: every replica is updated and available"
		return a.saw("status", "%s", count), nil
	}
	a.saw("status", "%s", count)
	newest, err := newestReplicaSet(ctx, c, &d)
	if err != nil {
		return nil, err
	}
	if newest != nil {
		below, err := replicaSet(ctx, c, newest, now)
		if err != nil {
			return nil, err
		}
		if below.Blocked {
			a.inherit(below)
			if d.Status.Replicas > d.Status.UpdatedReplicas { // an older version still runs
				a.try("kubectl rollout undo deployment/%s -n %s", d.Name, d.Namespace)
			}
			return a, nil
		}
	}
	for _, cond := range d.Status.Conditions {
		if cond.Type == appsv1.DeploymentProgressing && cond.Status == corev1.ConditionFalse || cond.Type == appsv1.DeploymentReplicaFailure && cond.Status == corev1.ConditionTrue {
			return a.block(cond.Reason, "%s", cond.Message), nil
		}
	}
	return a.block("RollingOut", "it is replacing pods and waits for new ones to become available or old ones to end"), nil
}

// inherit takes the reason of what the object is made of.
func (a *Answer) inherit(below *Answer) *Answer {
	a.Blocked, a.Code, a.Reason = true, below.Code, below.Object+": "+below.Reason
	a.Evidence = append(a.Evidence, below.Evidence...)
	a.Next, a.NextAt, a.Try = below.Next, below.NextAt, below.Try
	return a
}

func newestReplicaSet(ctx context.Context, c client.Reader, d *appsv1.Deployment) (*appsv1.ReplicaSet, error) {
	var list appsv1.ReplicaSetList
	if err := selected(ctx, c, &list, d.Namespace, d.Spec.Selector); err != nil {
		return nil, err
	}
	mine := slices.DeleteFunc(list.Items, func(r appsv1.ReplicaSet) bool { return !metav1.IsControlledBy(&r, d) })
	if len(mine) == 0 {
		return nil, nil
	}
	newest := slices.MaxFunc(mine, func(a, b appsv1.ReplicaSet) int {
		return cmp.Or(cmp.Compare(revision(&a), revision(&b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return &newest, nil
}

func revision(r *appsv1.ReplicaSet) (n int) {
	_, _ = fmt.Sscan(r.Annotations["deployment.kubernetes.io/revision"], &n)
	return n
}

func selected(ctx context.Context, c client.Reader, list client.ObjectList, namespace string, s *metav1.LabelSelector) error {
	l, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return err
	}
	return c.List(ctx, list, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: l})
}

func explainReplicaSet(ctx context.Context, c client.Reader, key client.ObjectKey, now time.Time) (*Answer, error) {
	var r appsv1.ReplicaSet
	if err := c.Get(ctx, key, &r); err != nil {
		return nil, err
	}
	return replicaSet(ctx, c, &r, now)
}

var (
	quotaText   = regexp.MustCompile(`exceeded quota: ([^,]+),`)
	webhookText = regexp.MustCompile(`(?:admission|failed calling) webhook "([^"]+)"`)
)

// refused says who keeps the API server from taking the pods.
func (a *Answer) refused(namespace string, c *appsv1.ReplicaSetCondition) *Answer {
	a.block(c.Reason, "its pods are refused by the API server").saw("condition ReplicaFailure", "%s", c.Message).
		then("it tries again, later each time, at the latest after 17 minutes", time.Time{})
	if m := quotaText.FindStringSubmatch(c.Message); m != nil {
		a.Reason = "its pods are refused: the quota " + m[1] + " is used up"
		return a.try("kubectl describe quota %s -n %s", m[1], namespace)
	}
	if m := webhookText.FindStringSubmatch(c.Message); m != nil {
		a.Reason = "its pods are refused by the webhook " + m[1]
		return a.try("kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations")
	}
	return a
}

func replicaSet(ctx context.Context, c client.Reader, r *appsv1.ReplicaSet, now time.Time) (*Answer, error) {
	a := &Answer{Object: "replicaset/" + r.Name}
	for _, cond := range r.Status.Conditions {
		if cond.Type == appsv1.ReplicaSetReplicaFailure && cond.Status == corev1.ConditionTrue {
			return a.refused(r.Namespace, &cond), nil
		}
	}
	if r.Spec.Replicas != nil && r.Status.AvailableReplicas >= *r.Spec.Replicas {
		a.Reason = "nothing blocks it: every replica is available"
		return a, nil
	}
	var pods corev1.PodList
	if err := selected(ctx, c, &pods, r.Namespace, r.Spec.Selector); err != nil {
		return nil, err
	}
	slices.SortFunc(pods.Items, func(x, y corev1.Pod) int { return cmp.Compare(x.Name, y.Name) })
	for i := range pods.Items {
		p := &pods.Items[i]
		if !metav1.IsControlledBy(p, r) || p.DeletionTimestamp != nil {
			continue
		}
		below, err := podAnswer(ctx, c, p, now)
		if err != nil {
			return nil, err
		}
		if below.Blocked {
			return a.inherit(below), nil
		}
	}
	if int32(len(pods.Items)) < *r.Spec.Replicas {
		return a.block("Creating", "the replica set controller is making its pods"), nil
	}
	return a.block("MinReadySeconds", "its pods are ready and wait for minReadySeconds (%d s) to count as available", r.Spec.MinReadySeconds), nil
}
