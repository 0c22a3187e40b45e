package v1alpha1

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Action is what a step does. Exactly one field is set.
type Action struct {
	// Through the API, as user rehearse, admission included.
	Apply    Apply           `json:"apply,omitempty"`
	Delete   ObjectRefs      `json:"delete,omitempty"`
	Patch    *ObjectPatch    `json:"patch,omitempty"`
	Scale    *ScaleAction    `json:"scale,omitempty"`
	SetImage *SetImageAction `json:"setImage,omitempty"`
	Restart  *WorkloadAction `json:"restart,omitempty"`
	Undo     *UndoAction     `json:"undo,omitempty"`
	// Promote lets a Rollout go on: past a pause, or past the step or analysis that it is at.
	Promote *PromoteAction `json:"promote,omitempty"`
	// Abort the update of a Rollout: back to the stable revision.
	Abort *WorkloadAction `json:"abort,omitempty"`
	// Pause the update of a Rollout or Deployment by hand (spec.paused).
	Pause *WorkloadAction `json:"pause,omitempty"`
	// Resume what was paused by hand.
	Resume *WorkloadAction `json:"resume,omitempty"`
	// Retry an aborted update of a Rollout from its first step.
	Retry *WorkloadAction `json:"retry,omitempty"`
	// Set changes the model of services from now on: a config flag, a cache flush, a slow query.
	Set *Service `json:"set,omitempty"`

	KillPods     *KillPodsAction     `json:"killPods,omitempty"`
	NodeCrash    *NodeCrashAction    `json:"nodeCrash,omitempty"`
	NodeNotReady *NodeNotReadyAction `json:"nodeNotReady,omitempty"`
	Drain        *DrainAction        `json:"drain,omitempty"`
	Cordon       *CordonAction       `json:"cordon,omitempty"`
	ZoneOutage   *ZoneOutageAction   `json:"zoneOutage,omitempty"`
	SpotReclaim  *SpotReclaimAction  `json:"spotReclaim,omitempty"`
	NoCapacity   *NoCapacityAction   `json:"noCapacity,omitempty"`
	Registry     *RegistryAction     `json:"registry,omitempty"`
	Quota        *QuotaAction        `json:"quota,omitempty"`
	LoadFactor   *LoadFactorAction   `json:"loadFactor,omitempty"`

	// Note marks the timeline.
	Note string `json:"note,omitempty"`
	// Assert fails the step when this CEL condition is not true now.
	Assert string `json:"assert,omitempty"`
}

// Apply is a list of objects, from files or written in place.
type Apply []ApplyItem

// ApplyItem is a file (or directory) of objects, or one object. Reading a scenario replaces files by their objects.
type ApplyItem struct {
	File   string          `json:"file,omitempty"`
	Line   int             `json:"line,omitempty"`
	Object json.RawMessage `json:"object,omitempty"`
}

// UnmarshalText reads a path.
func (a *ApplyItem) UnmarshalText(text []byte) error {
	*a = ApplyItem{File: string(text)}
	return nil
}

// UnmarshalJSON reads a path, an object, or the form MarshalJSON writes.
func (a *ApplyItem) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, a.UnmarshalText)
	}
	var probe struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(data, &probe); err != nil {
		return err
	}
	if probe.Kind != "" {
		*a = ApplyItem{Object: bytes.Clone(data)}
		return nil
	}
	type plain ApplyItem
	return json.Unmarshal(data, (*plain)(a))
}

// UnmarshalJSON reads one item or a list.
func (a *Apply) UnmarshalJSON(data []byte) error {
	return unmarshalList(data, (*[]ApplyItem)(a))
}

// unmarshalList reads a list, or a single element as a list of one.
func unmarshalList[T any](data []byte, list *[]T) error {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) {
		return json.Unmarshal(data, list)
	}
	*list = make([]T, 1)
	return json.Unmarshal(data, &(*list)[0])
}

// ObjectRef is KIND/NAME or KIND/NAMESPACE/NAME. KIND may carry its group: Rollout.argoproj.io/shop/web.
type ObjectRef struct {
	Kind      string `json:"-"` // with its group, when given
	Namespace string `json:"-"`
	Name      string `json:"-"`
}

// UnmarshalText reads KIND/NAME or KIND/NAMESPACE/NAME.
func (r *ObjectRef) UnmarshalText(text []byte) error {
	parts := strings.Split(string(text), "/")
	for _, p := range parts {
		if p == "" {
			parts = nil
		}
	}
	switch len(parts) {
	case 2:
		*r = ObjectRef{Kind: parts[0], Name: parts[1]}
	case 3:
		*r = ObjectRef{Kind: parts[0], Namespace: parts[1], Name: parts[2]}
	default:
		return fmt.Errorf("%q is not an object; write Kind/namespace/name, for example Deployment/shop/web", text)
	}
	return nil
}

// MarshalText writes the form that UnmarshalText reads.
func (r ObjectRef) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// String is KIND/NAMESPACE/NAME, or KIND/NAME without a namespace.
func (r ObjectRef) String() string {
	if r.Namespace == "" {
		return r.Kind + "/" + r.Name
	}
	return r.Kind + "/" + r.Namespace + "/" + r.Name
}

// ObjectRefs is one reference or a list.
type ObjectRefs []ObjectRef

// UnmarshalJSON reads one reference or a list.
func (r *ObjectRefs) UnmarshalJSON(data []byte) error {
	return unmarshalList(data, (*[]ObjectRef)(r))
}

// Types of patch.
const (
	PatchStrategic = "strategic"
	PatchMerge     = "merge"
	PatchJSON      = "json"
)

// ObjectPatch changes an object.
type ObjectPatch struct {
	Object ObjectRef `json:"object"`
	// Type is strategic (default for kinds of Kubernetes itself), merge (default for others) or json (default for a list).
	Type string `json:"type,omitempty" enum:"strategic,merge,json"`
	// Patch is an object, or for type json a list of operations.
	Patch  json.RawMessage `json:"patch"`
	Source Source          `json:"source,omitzero" scenario:"internal"`
}

// Workload is NAMESPACE/NAME or KIND/NAMESPACE/NAME; without a kind, the Rollout, Deployment, StatefulSet or DaemonSet of that
// name.
type Workload string

// Split into its parts; kind is empty when not given, ok false when the text is neither form.
func (w Workload) Split() (kind, namespace, name string, ok bool) {
	parts := strings.Split(string(w), "/")
	for _, p := range parts {
		if p == "" {
			return "", "", "", false
		}
	}
	switch len(parts) {
	case 2:
		return "", parts[0], parts[1], true
	case 3:
		return parts[0], parts[1], parts[2], true
	}
	return "", "", "", false
}

// ScaleAction sets the replicas of a workload through its scale subresource.
type ScaleAction struct {
	Workload Workload `json:"workload"`
	// Replicas wanted.
	Replicas int32 `json:"replicas"`
}

// SetImageAction changes the image of a container, which starts a rollout.
type SetImageAction struct {
	Workload Workload `json:"workload"`
	// Image wanted.
	Image string `json:"image"`
	// Container by name; needed when the pod has several whose image name differs from Image's.
	Container string `json:"container,omitempty"`
}

// WorkloadAction acts on a workload as a whole.
type WorkloadAction struct {
	Workload Workload `json:"workload"`
}

// UnmarshalText reads the workload alone.
func (a *WorkloadAction) UnmarshalText(text []byte) error {
	*a = WorkloadAction{Workload: Workload(text)}
	return nil
}

// UnmarshalJSON reads the workload alone or the object form.
func (a *WorkloadAction) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, a.UnmarshalText)
	}
	type plain WorkloadAction
	return json.Unmarshal(data, (*plain)(a))
}

// UndoAction brings back an earlier revision.
type UndoAction struct {
	Workload Workload `json:"workload"`
	// ToRevision by number; default 0, the one before the current.
	ToRevision int64 `json:"toRevision,omitempty"`
}

// UnmarshalText reads the workload alone.
func (a *UndoAction) UnmarshalText(text []byte) error {
	*a = UndoAction{Workload: Workload(text)}
	return nil
}

// UnmarshalJSON reads the workload alone or the object form.
func (a *UndoAction) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, a.UnmarshalText)
	}
	type plain UndoAction
	return json.Unmarshal(data, (*plain)(a))
}

// PodTarget selects pods, by workload or by label.
type PodTarget struct {
	// Workload whose pods are meant.
	Workload Workload `json:"workload,omitempty"`
	// Selector over labels, as kubectl -l takes it.
	Selector string `json:"selector,omitempty"`
	// Namespace of Selector; empty means all.
	Namespace string `json:"namespace,omitempty"`
	// Count of the pods selected (default 1 when Share is not given), drawn by seed.
	Count *int32 `json:"count,omitempty"`
	// Share of the pods selected.
	Share *Share `json:"share,omitempty"`
}

// How killPods kills.
const (
	KillDelete = "kill" // the pod is deleted
	KillExit   = "exit" // its containers exit
	KillOOM    = "oom"  // its containers are killed for memory
)

// KillPodsAction deletes pods or ends their containers.
type KillPodsAction struct {
	PodTarget `json:",inline"`
	// Grace given on deletion; default the pod's.
	Grace *Duration `json:"grace,omitempty"`
	// Mode is kill (default), exit or oom.
	Mode string `json:"mode,omitempty" enum:"kill,exit,oom"`
}

// NodeTarget selects nodes by name, by pool or by label.
type NodeTarget struct {
	// Node by name.
	Node string `json:"node,omitempty"`
	// Pool whose nodes are meant.
	Pool string `json:"pool,omitempty"`
	// Selector over labels.
	Selector string `json:"selector,omitempty"`
	// Count of the nodes selected (default: 1 of a pool for nodeCrash, all otherwise), drawn by seed.
	Count *int32 `json:"count,omitempty"`
	// Share of the nodes selected.
	Share *Share `json:"share,omitempty"`
}

// How nodeCrash breaks a node.
const (
	CrashStop    = "stop"    // the instance is gone; a new one joins after back
	CrashReboot  = "reboot"  // everything stops, the node returns after back
	CrashHang    = "hang"    // the node goes silent, its pods stop serving, it returns after back
	CrashKubelet = "kubelet" // the node goes silent, its pods serve on, nothing starts
)

// NodeCrashAction breaks nodes.
type NodeCrashAction struct {
	NodeTarget `json:",inline"`
	// Mode is stop (default), reboot, hang or kubelet.
	Mode string `json:"mode,omitempty" enum:"stop,reboot,hang,kubelet"`
	// Back is the time until a new instance joins or the node returns; default 3m.
	Back *Duration `json:"back,omitempty"`
}

// NodeNotReadyAction makes nodes report Ready False while their pods keep running.
type NodeNotReadyAction struct {
	NodeTarget `json:",inline"`
	// Message of the condition.
	Message string `json:"message,omitempty"`
	// Gap between one node and the next; default 0.
	Gap Duration `json:"gap,omitzero"`
}

// DrainAction cordons nodes and evicts their pods through the eviction API, budgets included.
type DrainAction struct {
	NodeTarget `json:",inline"`
	// Gap between one node's end and the next one's begin; default 0.
	Gap Duration `json:"gap,omitzero"`
	// Grace given to each pod; default the pod's.
	Grace *Duration `json:"grace,omitempty"`
	// Timeout after which the drain of a node has failed; default 1h.
	Timeout *Duration `json:"timeout,omitempty"`
}

// CordonAction makes nodes unschedulable.
type CordonAction struct {
	NodeTarget `json:",inline"`
	// Gap between one node and the next; default 0.
	Gap Duration `json:"gap,omitzero"`
}

// How a zone fails.
const (
	OutagePower   = "power"   // nodes die, launches in the zone are refused
	OutageNetwork = "network" // nodes live but nobody reaches them
)

// ZoneOutageAction takes a whole zone away; the step's for says how long.
type ZoneOutageAction struct {
	Zone string `json:"zone"`
	// Mode is power (default) or network.
	Mode string `json:"mode,omitempty" enum:"power,network"`
}

// SpotReclaimAction takes spot instances back.
type SpotReclaimAction struct {
	Pool string `json:"pool"`
	// Share or Count of the pool's nodes, drawn by seed; default one node.
	Share *Share `json:"share,omitempty"`
	Count *int32 `json:"count,omitempty"`
	// Notice before an instance is gone; default 2m.
	Notice *Duration `json:"notice,omitempty"`
	// Over spreads the notices; default 0.
	Over Duration `json:"over,omitzero"`
	// Rebalance is the lead of a rebalance recommendation before the notice; default none.
	Rebalance Duration `json:"rebalance,omitzero"`
}

// NoCapacityAction makes launches fail for want of instances: of a pool, or of a type in a zone.
type NoCapacityAction struct {
	// Pool whose launches fail.
	Pool string `json:"pool,omitempty"`
	// Type of instance whose launches fail.
	Type string `json:"type,omitempty"`
	// Zone in which launches fail.
	Zone string `json:"zone,omitempty"`
}

// States of the registry.
const (
	RegistryDown    = "down"
	RegistrySlow    = "slow"
	RegistryLimited = "limited"
)

// RegistryAction breaks image pulls; images already on a node start.
type RegistryAction struct {
	// State of the registry: down (pulls fail), slow, or limited (pulls are refused above the limits).
	State string `json:"state" enum:"down,slow,limited"`
	// Factor on the time of a pull when slow; default 10.
	Factor *float64 `json:"factor,omitempty"`
	// Match limits it to images of this glob; default all.
	Match string `json:"match,omitempty"`
}

// UnmarshalText reads the state alone.
func (a *RegistryAction) UnmarshalText(text []byte) error {
	*a = RegistryAction{State: string(text)}
	return nil
}

// UnmarshalJSON reads the state alone or the object form.
func (a *RegistryAction) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, a.UnmarshalText)
	}
	type plain RegistryAction
	return json.Unmarshal(data, (*plain)(a))
}

// QuotaAction replaces limits of a ResourceQuota; limits not named stay.
type QuotaAction struct {
	// Namespace of the quota.
	Namespace string `json:"namespace"`
	// Name of the quota.
	Name string `json:"name"`
	// Hard limits, such as pods: 10.
	Hard map[string]resource.Quantity `json:"hard"`
}

// LoadFactorAction multiplies loads from now on.
type LoadFactorAction struct {
	// Load by name; default all.
	Load string `json:"load,omitempty"`
	// Factor on the rate; 1 is as written.
	Factor float64 `json:"factor"`
}

// UnmarshalText reads a factor on every load.
func (a *LoadFactorAction) UnmarshalText(text []byte) error {
	*a = LoadFactorAction{}
	if err := json.Unmarshal(text, &a.Factor); err != nil {
		return fmt.Errorf("%q is not a factor; write a number, or {load: NAME, factor: 1.8}", text)
	}
	return nil
}

// UnmarshalJSON reads a factor or the object form.
func (a *LoadFactorAction) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, a.UnmarshalText)
	}
	type plain LoadFactorAction
	return json.Unmarshal(data, (*plain)(a))
}

// PromoteAction lets the update of a Rollout go on.
type PromoteAction struct {
	Workload Workload `json:"workload"`
	// Full skips every step, pause and analysis that is left.
	Full bool `json:"full,omitempty"`
}

// UnmarshalText reads the workload alone.
func (a *PromoteAction) UnmarshalText(text []byte) error {
	*a = PromoteAction{Workload: Workload(text)}
	return nil
}

// UnmarshalJSON reads the workload alone or the object form.
func (a *PromoteAction) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, a.UnmarshalText)
	}
	type plain PromoteAction
	return json.Unmarshal(data, (*plain)(a))
}
