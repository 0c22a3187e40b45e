package manifest

import "sort"

// installOrder is the order in which kinds are applied, what others need first. It is the order Helm installs in, with
// what Kubernetes has gained since; definitions come before everything made of them, and admission webhooks last, lest
// they refuse what is applied beside them.
var installOrder = rank(
	"Namespace", "CustomResourceDefinition", "PriorityClass", "RuntimeClass", "Program", "NetworkPolicy", "ResourceQuota", "LimitRange",
	"PodDisruptionBudget", "ServiceAccount", "Secret", "ConfigMap", "StorageClass", "CSIDriver", "PersistentVolume", "PersistentVolumeClaim",
	"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Service", "EndpointSlice", "Endpoints",
	"DaemonSet", "Pod", "ReplicationController", "ReplicaSet", "Deployment", "StatefulSet", "Job", "CronJob",
	"ClusterAnalysisTemplate", "AnalysisTemplate", "Rollout", "AnalysisRun", "Experiment", "HorizontalPodAutoscaler",
	"IngressClass", "Ingress", "APIService",
)

var lastOrder = rank("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")

func rank(kinds ...string) map[string]int {
	order := make(map[string]int, len(kinds))
	for i, kind := range kinds {
		order[kind] = i + 1
	}
	return order
}

// place of a kind: known ones by the table, others after them in the order given, webhooks at the very end.
func place(kind string) int {
	if i, ok := installOrder[kind]; ok {
		return i
	}
	if i, ok := lastOrder[kind]; ok {
		return len(installOrder) + 1 + i
	}
	return len(installOrder) + 1
}

// InstallOrder sorts objects for applying: by kind, and within a kind as they came.
func InstallOrder(objects []Object) {
	sort.SliceStable(objects, func(i, j int) bool {
		return place(objects[i].Object.GetKind()) < place(objects[j].Object.GetKind())
	})
}
