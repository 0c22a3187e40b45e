package causes

import (
	"slices"
	"strings"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// workloadOf is the top-most owner an entry is about, "" when it is about none.
func workloadOf(e record.Entry) string {
	switch {
	case e.Data["workload"] != "":
		return e.Data["workload"]
	case e.Owner != "":
		return e.Owner
	}
	switch kind, _, _ := strings.Cut(e.Object, "/"); kind {
	case "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicaSet", "Rollout", "ReplicationController", "Pod":
		return e.Object
	}
	return ""
}

// ServiceOf is the service an entry names, "" when it names none: Data, or an object written as namespace/name or
// Service/namespace/name.
func ServiceOf(e record.Entry) string {
	if s := e.Data["service"]; s != "" {
		return s
	}
	if rest, ok := strings.CutPrefix(e.Object, "Service/"); ok {
		return rest
	}
	if strings.Count(e.Object, "/") == 1 && !strings.HasPrefix(e.Object, "Node/") {
		return e.Object
	}
	return ""
}

func (x *Index) service(e record.Entry) string {
	if s := ServiceOf(e); s != "" {
		return s
	}
	return x.serviceOf[workloadOf(e)]
}

func (x *Index) workload(e record.Entry) string {
	if w := workloadOf(e); w != "" {
		return w
	}
	return x.workloads[ServiceOf(e)]
}

// nodeName is the node an entry is about, "".
func nodeName(e record.Entry) string {
	if n := e.Data["node"]; n != "" {
		return n
	}
	if n, ok := strings.CutPrefix(e.Object, "Node/"); ok {
		return n
	}
	return ""
}

func anything(*Index, record.Entry, record.Entry) (int, bool) { return 0, true }

func sameStep(_ *Index, e, c record.Entry) (int, bool) {
	return 0, e.Data["step"] != "" && e.Data["step"] == c.Object
}

// failedStep holds when the cause is the step that the effect names, and it failed.
func failedStep(_ *Index, e, c record.Entry) (int, bool) {
	return 0, c.Severity == record.Warning && c.Object == e.Data["step"]
}

func sameWorkload(x *Index, e, c record.Entry) (int, bool) {
	w := x.workload(e)
	return 0, w != "" && w == x.workload(c)
}

func sameObjectOrOwner(x *Index, e, c record.Entry) (int, bool) {
	if e.Object != "" && e.Object == c.Object {
		return 0, true
	}
	return sameWorkload(x, e, c)
}

func sameObject(_ *Index, e, c record.Entry) (int, bool) { return 0, e.Object == c.Object }

// owned holds when the effect's object owns the cause's: an analysis and the pods of its jobs.
func owned(_ *Index, e, c record.Entry) (int, bool) { return 0, c.Owner == e.Object }

// ofOwner holds when the cause is about the owner of the effect's object.
func ofOwner(_ *Index, e, c record.Entry) (int, bool) { return 0, e.Owner != "" && e.Owner == c.Object }

func sameService(x *Index, e, c record.Entry) (int, bool) {
	s := x.service(e)
	return 0, s != "" && s == x.service(c)
}

func sameNode(_ *Index, e, c record.Entry) (int, bool) {
	n := nodeName(e)
	return 0, n != "" && n == nodeName(c)
}

// withoutNode holds when the effect does not say its node (it was folded): the latest node event is the best evidence.
func withoutNode(_ *Index, e, _ record.Entry) (int, bool) { return 0, nodeName(e) == "" }

func samePool(x *Index, e, c record.Entry) (int, bool) {
	a, b := x.pool(e), x.pool(c)
	return 0, a != "" && a == b
}

func (x *Index) pool(e record.Entry) string {
	if p := e.Data["pool"]; p != "" {
		return p
	}
	return x.poolOf[nodeName(e)]
}

// targeted holds when a step lists the effect's object, owner, service or node among its targets.
func targeted(x *Index, e, c record.Entry) (int, bool) {
	targets := targetsOf(c)
	for _, name := range []string{e.Object, e.Owner, workloadOf(e), x.service(e), nodeName(e)} {
		if name != "" && slices.Contains(targets, name) {
			return 0, true
		}
	}
	return 0, false
}

func targetsOf(c record.Entry) []string {
	var list []string
	for t := range strings.SplitSeq(c.Data["target"], ",") {
		if t = strings.TrimSpace(t); t != "" {
			list = append(list, t, strings.TrimPrefix(t, "Node/"))
		}
	}
	return list
}

// targetsNode holds when a fault names the effect's node, its zone or its pool, or names nothing at all.
func targetsNode(x *Index, e, c record.Entry) (int, bool) {
	if _, ok := targeted(x, e, c); ok {
		return 0, true
	}
	n := nodeName(e)
	zone, pool := c.Data["zone"], c.Data["pool"]
	if zone == "" && pool == "" && c.Data["target"] == "" {
		return 0, true
	}
	eZone, ePool := e.Data["zone"], e.Data["pool"]
	if n != "" {
		eZone, ePool = or(eZone, x.zoneOf[n]), or(ePool, x.poolOf[n])
	}
	return 0, zone != "" && (zone == eZone || eZone == "") || pool != "" && (pool == ePool || ePool == "")
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// callee holds when the cause's service is called, over however many hops, by the effect's; deeper is better, since the
// station deepest in the graph is what the others wait for.
func callee(x *Index, e, c record.Entry) (int, bool) {
	from, to := x.service(e), x.service(c)
	if from == "" {
		from = e.Object // a load
	}
	d := x.hops(from, to)
	return d, d > 0
}

// sameSubjectOrCallee also holds for effects without a subject, which are about all users.
func sameSubjectOrCallee(x *Index, e, c record.Entry) (int, bool) {
	if x.service(e) == "" && e.Object == "" && workloadOf(e) == "" {
		return 0, true
	}
	if d, ok := callee(x, e, c); ok {
		return d, true
	}
	return sameService(x, e, c)
}

// reaches holds when the cause is a load whose requests arrive, directly or through calls, at the effect's service. A load
// of which nothing is known reaches everything.
func reaches(x *Index, e, c record.Entry) (int, bool) {
	s := x.service(e)
	load := c.Data["load"]
	if load == "" {
		load = c.Object
	}
	if _, known := x.callees[load]; !known || s == "" {
		return 0, true
	}
	return 0, x.hops(load, s) > 0
}

// hopsMax bounds the walk through the call graph; deeper graphs than 32 are refused when scenarios are read.
const hopsMax = 32

// hops is the shortest number of calls from one service (or load) to another, 0 when there is no path.
func (x *Index) hops(from, to string) int {
	if from == "" || to == "" || from == to {
		return 0
	}
	seen := map[string]bool{from: true}
	frontier := []string{from}
	for depth := 1; depth <= hopsMax && len(frontier) > 0; depth++ {
		var next []string
		for _, s := range frontier {
			for _, t := range x.callees[s] {
				if t == to {
					return depth
				}
				if !seen[t] {
					seen[t] = true
					next = append(next, t)
				}
			}
		}
		frontier = next
	}
	return 0
}

// below counts the services that one (or a load) reaches through calls.
func (x *Index) below(from string) int {
	seen := map[string]bool{from: true}
	frontier := []string{from}
	for len(frontier) > 0 {
		var next []string
		for _, s := range frontier {
			for _, t := range x.callees[s] {
				if !seen[t] {
					seen[t] = true
					next = append(next, t)
				}
			}
		}
		frontier = next
	}
	return len(seen) - 1
}
