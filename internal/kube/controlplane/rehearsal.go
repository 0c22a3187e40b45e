package controlplane

import "strings"

// Omission is one thing that a Rehearsal plane leaves out, and why no scenario can tell.
type Omission struct{ What, Why string }

// Omitted lists what Rehearsal leaves out or slows down. A tick that changes nothing costs a rehearsal as much as work.
var Omitted = []Omission{
	{"API priority and fairness, limits of requests in flight", "no scenario loads the API server; their clocks tick ten times a second"},
	{"the upkeep of flow schemas, legacy token tracking, the published front-proxy certificates", "their loops write each minute what nothing in a run reads"},
	{"endpoint reconciler, API server identity leases", "one API server"},
	{"etcd compaction and size polls", "the store compacts by itself and grows in memory only"},
	{"OpenAPI aggregation, documents of defined kinds", "its loops poll every second; nothing in a run reads the documents"},
	{"watch time-outs and bookmarks", "one long watch instead of a new list every five to ten minutes"},
	{"watch caches of defined kinds, and of others that hardly change", "their timers cost more than they save"},
	{"the pod garbage collector while every pod has its node", "it walks over all pods every 20 s; it runs from the moment a node goes"},
	{"MutatingAdmissionPolicy while a scenario has none", "it reads the OpenAPI documents every second"},
	{"work-queue metrics", "each queue wakes twice a second"},
	{"controllers without objects in a run", "bootstrap signer, certificate signing, token cleaner, cloud controllers, attach and detach"},
	{"garbage collector's and quota's discovery every 30 s", "kinds change only when a scenario installs some"},
	{"node heartbeats while no fault touches nodes", "nothing reads them; from the first fault on, leases and the usual grace period apply"},
	{"an update of EndpointSlices for each pod", "pods that change within one millisecond are one update"},
	{"Events in the store", "they go to the timeline"},
}

func rehearsalAPIServerArgs() []string {
	off := make([]string, 0, 64)
	for _, r := range strings.Fields(quietResources) {
		off = append(off, r+"#0")
	}
	return []string{
		"--enable-priority-and-fairness=false", "--max-requests-inflight=0", "--max-mutating-requests-inflight=0", "--profiling=false",
		"--endpoint-reconciler-type=none", "--etcd-compaction-interval=0", "--etcd-count-metric-poll-period=0", "--etcd-db-metric-poll-interval=0",
		"--event-ttl=24h", "--min-request-timeout=10000000", "--request-timeout=10m",
		"--watch-cache-sizes=" + strings.Join(off, ","),
	}
}

// rehearsalHooksOff are loops of the API server that a rehearsal does without.
var rehearsalHooksOff = []string{"priority-and-fairness-config-producer", "start-legacy-token-tracking-controller", "start-cluster-authentication-info-controller",
	"start-kube-apiserver-identity-lease-garbage-collector", "start-kube-apiserver-identity-lease-controller", "storage-object-count-tracker-hook"}

var rehearsalFeatures = map[string]bool{
	"HPAOptimizedSelectorStore": true, // else looking for rival autoscalers is quadratic in those of a namespace
	"APIServerIdentity":         false, "UnknownVersionInteroperabilityProxy": false, "SizeBasedListCostEstimate": false, "DetectCacheInconsistency": false,
}

// quietResources hardly change in a run: their watch cache's once-a-second timer costs more than it saves.
const quietResources = `configmaps secrets serviceaccounts namespaces persistentvolumes persistentvolumeclaims limitranges resourcequotas
podtemplates replicationcontrollers endpoints daemonsets.apps statefulsets.apps controllerrevisions.apps jobs.batch cronjobs.batch
poddisruptionbudgets.policy ingresses.networking.k8s.io ingressclasses.networking.k8s.io networkpolicies.networking.k8s.io
ipaddresses.networking.k8s.io servicecidrs.networking.k8s.io roles.rbac.authorization.k8s.io rolebindings.rbac.authorization.k8s.io
clusterroles.rbac.authorization.k8s.io clusterrolebindings.rbac.authorization.k8s.io storageclasses.storage.k8s.io
volumeattachments.storage.k8s.io csidrivers.storage.k8s.io csinodes.storage.k8s.io csistoragecapacities.storage.k8s.io
volumeattributesclasses.storage.k8s.io priorityclasses.scheduling.k8s.io runtimeclasses.node.k8s.io leases.coordination.k8s.io
leasecandidates.coordination.k8s.io validatingadmissionpolicies.admissionregistration.k8s.io
validatingadmissionpolicybindings.admissionregistration.k8s.io mutatingadmissionpolicies.admissionregistration.k8s.io
mutatingadmissionpolicybindings.admissionregistration.k8s.io validatingwebhookconfigurations.admissionregistration.k8s.io
mutatingwebhookconfigurations.admissionregistration.k8s.io apiservices.apiregistration.k8s.io
customresourcedefinitions.apiextensions.k8s.io certificatesigningrequests.certificates.k8s.io clustertrustbundles.certificates.k8s.io
podcertificaterequests.certificates.k8s.io flowschemas.flowcontrol.apiserver.k8s.io prioritylevelconfigurations.flowcontrol.apiserver.k8s.io
resourceclaims.resource.k8s.io resourceclaimtemplates.resource.k8s.io deviceclasses.resource.k8s.io resourceslices.resource.k8s.io
devicetaintrules.resource.k8s.io events horizontalpodautoscalers.autoscaling storageversions.internal.apiserver.k8s.io
storageversionmigrations.storagemigration.k8s.io workloads.scheduling.k8s.io podgroups.scheduling.k8s.io`
