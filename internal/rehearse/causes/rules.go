package causes

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// Windows of the rules: the acting controller's period plus 30 s for its reaction to arrive.
const (
	slack        = 30 * time.Second
	hpaUp        = 15*time.Second + slack // the HPA's sync period
	hpaDown      = 5*time.Minute + hpaUp  // its stabilisation before scaling down
	nodeGrace    = 50*time.Second + slack // node-monitor-grace-period until Ready turns Unknown
	tolerance    = 5*time.Minute + slack  // default NoExecute tolerations
	control      = 10*time.Second + slack // replica sets, endpoints, scheduler: seconds
	probing      = time.Minute + slack    // default readiness failures add up to 30 s; slow probes to a minute
	rollingOut   = 30 * time.Minute       // a rollout without an end is the cause this long
	provisioning = 10 * time.Minute       // launch to joined, the slowest pools
	modelWindow  = 2*time.Minute + slack  // two samples of the model

	// longestCondition ends the search backwards: no window is longer.
	longestCondition = 26 * time.Hour
	inForce          = longestCondition // a level that holds until the next entry of its object
)

// relation tells whether c can be the cause of e; a higher depth is preferred (0: take the latest).
type relation func(x *Index, e, c record.Entry) (depth int, ok bool)

type rule struct {
	cause    string
	relation relation
	window   time.Duration
	when     func(e record.Entry) bool // restricts the effect
	only     func(c record.Entry) bool // restricts the cause
}

// byStep holds for anything that carries its step: the most specific evidence there is.
var byStep = rule{cause: record.KindStep, relation: sameStep, window: inForce}

// acted is a step that names the object among its targets.
func acted(window time.Duration) rule {
	return rule{cause: record.KindStep, relation: targeted, window: window}
}

// nodeStep is a fault of nodes that hits this node by name, zone or pool.
var nodeStep = rule{cause: record.KindStep, relation: targetsNode, window: nodeGrace, only: nodeAction}

// rulesFor lists the rules of each kind of effect, most specific first.
var rulesFor = map[string][]rule{
	record.KindScale: {
		byStep, acted(control),
		{cause: record.KindRollout, relation: sameWorkload, window: rollingOut, when: grows, only: advances},
		{cause: record.KindPodUnready, relation: sameWorkload, window: hpaUp, when: grows},
		{cause: record.KindPodGone, relation: sameWorkload, window: hpaUp, when: grows},
		{cause: record.KindSaturation, relation: sameService, window: hpaUp, when: grows, only: begins},
		{cause: record.KindLoad, relation: reaches, window: inForce, when: grows, only: grows},
		{cause: record.KindSaturation, relation: sameService, window: hpaDown, when: shrinks, only: ends},
		{cause: record.KindLoad, relation: reaches, window: inForce, when: shrinks, only: shrinks},
		{cause: record.KindScale, relation: sameWorkload, window: rollingOut, when: shrinks, only: grows}, // it had gone too far
	},
	record.KindRollout: {
		byStep,
		{cause: record.KindAnalysis, relation: sameWorkload, window: control, when: aborts, only: fails},
		{cause: record.KindStep, relation: targeted, window: control, when: continues, only: steers},
		{cause: record.KindRollout, relation: sameWorkload, window: control, when: aborts, only: stalls},
		{cause: record.KindRollout, relation: sameWorkload, window: rollingOut, when: reverts, only: aborts},
		{cause: record.KindImage, relation: sameWorkload, window: rollingOut, when: stuck},
		{cause: record.KindCrash, relation: sameWorkload, window: rollingOut, when: stuck},
		{cause: record.KindPodPending, relation: sameWorkload, window: rollingOut, when: stuck},
		{cause: record.KindRefused, relation: sameWorkload, window: rollingOut, when: stuck},
		{cause: record.KindAnalysis, relation: sameWorkload, window: control, when: comesFurther, only: ends},
		{cause: record.KindRollout, relation: sameWorkload, window: inForce, when: continues, only: begins},
		acted(control),
	},
	record.KindAnalysis: {
		byStep,
		{cause: record.KindErrors, relation: sameService, window: modelWindow, when: fails, only: begins},
		{cause: record.KindSaturation, relation: sameService, window: modelWindow, when: fails, only: begins},
		{cause: record.KindAnalysis, relation: owned, window: control, when: fails, only: fails}, // of an experiment
		{cause: record.KindCrash, relation: owned, window: control, when: fails},
		{cause: record.KindImage, relation: owned, window: rollingOut, when: fails},
		{cause: record.KindPodPending, relation: owned, window: rollingOut, when: fails},
		{cause: record.KindAnalysis, relation: sameObject, window: inForce, when: continues, only: begins},
		{cause: record.KindAnalysis, relation: ofOwner, window: inForce, only: begins},
		{cause: record.KindRollout, relation: sameWorkload, window: inForce, only: advances},
	},
	record.KindPodCreated: {
		byStep,
		{cause: record.KindScale, relation: sameWorkload, window: control, only: grows},
		{cause: record.KindEviction, relation: sameWorkload, window: control},
		{cause: record.KindPodGone, relation: sameWorkload, window: control},
		{cause: record.KindRollout, relation: sameWorkload, window: rollingOut, only: advances},
		{cause: record.KindNodeGone, relation: anything, window: control},
		{cause: record.KindNodeAdded, relation: anything, window: control}, // a DaemonSet's pod
		acted(control),
		{cause: record.KindAnalysis, relation: ofOwner, window: rollingOut, only: begins}, // of a check
		{cause: record.KindRefused, relation: sameWorkload, window: refusing},             // tried again
		{cause: record.KindScale, relation: sameWorkload, window: rollingOut, only: grows},
	},
	record.KindPodPending: {
		byStep,
		{cause: record.KindNodeUnready, relation: anything, window: tolerance},
		{cause: record.KindNodeGone, relation: anything, window: provisioning},
		{cause: record.KindPodCreated, relation: sameWorkload, window: rollingOut},
	},
	record.KindPodReady: {
		{cause: record.KindNodeAdded, relation: sameNode, window: provisioning},
		{cause: record.KindPodCreated, relation: sameWorkload, window: rollingOut},
		{cause: record.KindPodUnready, relation: sameWorkload, window: rollingOut},
		{cause: record.KindNodeReady, relation: sameNode, window: control},
		{cause: record.KindSaturation, relation: sameService, window: probing, only: ends},
		byStep,
	},
	record.KindPodUnready: {
		byStep,
		{cause: record.KindCrash, relation: sameObjectOrOwner, window: probing},
		{cause: record.KindOOM, relation: sameObjectOrOwner, window: probing},
		{cause: record.KindNodeUnready, relation: sameNode, window: control},
		{cause: record.KindNodeUnready, relation: withoutNode, window: control},
		{cause: record.KindSaturation, relation: sameService, window: probing, only: begins},
		{cause: record.KindEviction, relation: sameWorkload, window: control},
		{cause: record.KindScale, relation: sameWorkload, window: control, only: shrinks},
		{cause: record.KindRollout, relation: sameWorkload, window: rollingOut, only: advances},
		nodeStep, acted(probing),
	},
	record.KindPodGone: {
		byStep,
		{cause: record.KindEviction, relation: sameWorkload, window: tolerance},
		{cause: record.KindNodeGone, relation: sameNode, window: tolerance},
		{cause: record.KindNodeUnready, relation: sameNode, window: tolerance},
		{cause: record.KindScale, relation: sameWorkload, window: tolerance, only: shrinks},
		{cause: record.KindRollout, relation: sameWorkload, window: rollingOut, only: advances},
		{cause: record.KindNodeGone, relation: withoutNode, window: control},
		{cause: record.KindNodeUnready, relation: withoutNode, window: tolerance},
		acted(control),
	},
	record.KindCrash: {
		byStep,
		{cause: record.KindOOM, relation: sameObjectOrOwner, window: control},
		{cause: record.KindAnalysis, relation: ofOwner, window: rollingOut, only: begins},
		{cause: record.KindRollout, relation: sameWorkload, window: rollingOut, only: advances},
		{cause: record.KindErrors, relation: callee, window: modelWindow, only: begins},
		{cause: record.KindCrash, relation: sameObjectOrOwner, window: tolerance},
		acted(control),
	},
	record.KindOOM: {
		byStep,
		{cause: record.KindSaturation, relation: sameService, window: modelWindow, only: begins},
		{cause: record.KindRollout, relation: sameWorkload, window: rollingOut, only: advances},
		{cause: record.KindLoad, relation: reaches, window: inForce, only: grows},
		{cause: record.KindPodReady, relation: sameWorkload, window: inForce}, // a leak: it ran long enough
	},
	record.KindImage: {
		byStep,
		{cause: record.KindRollout, relation: sameWorkload, window: rollingOut, only: advances},
		{cause: record.KindStep, relation: anything, window: rollingOut, only: registryAction},
		{cause: record.KindPodCreated, relation: sameWorkload, window: rollingOut},
	},
	record.KindEviction: {
		byStep,
		{cause: record.KindNodeUnready, relation: sameNode, window: tolerance},
		{cause: record.KindNodeGone, relation: sameNode, window: tolerance},
		{cause: record.KindPodPending, relation: anything, window: control, when: preempts},
		{cause: record.KindPodCreated, relation: anything, window: control, when: preempts},
		nodeStep,
		{cause: record.KindNodeUnready, relation: withoutNode, window: tolerance},
		{cause: record.KindSaturation, relation: anything, window: modelWindow, when: pressed, only: begins},
		acted(control),
	},
	record.KindNodeAdded: {
		byStep,
		{cause: record.KindNodeGone, relation: samePool, window: provisioning},
		{cause: record.KindPodPending, relation: anything, window: provisioning},
		{cause: record.KindStep, relation: targetsNode, window: provisioning, only: nodeAction},
		{cause: record.KindStep, relation: anything, window: provisioning, only: nodeLoss}, // launched in place of one that is lost
	},
	record.KindNodeUnready: {byStep, nodeStep, {cause: record.KindNodeAdded, relation: sameNode, window: control}},
	record.KindNodeGone: {
		byStep,
		{cause: record.KindNodeUnready, relation: sameNode, window: tolerance},
		nodeStep,
	},
	record.KindNodeReady: {
		{cause: record.KindNodeAdded, relation: sameNode, window: provisioning},
		{cause: record.KindNodeUnready, relation: sameNode, window: inForce},
		byStep,
	},
	record.KindSaturation: {
		byStep,
		{cause: record.KindSaturation, relation: callee, window: modelWindow, when: begins, only: begins},
		{cause: record.KindRollout, relation: sameWorkload, window: rollingOut, when: begins, only: advances},
		{cause: record.KindPodGone, relation: sameService, window: modelWindow, when: begins},
		{cause: record.KindPodUnready, relation: sameService, window: modelWindow, when: begins},
		{cause: record.KindEviction, relation: sameService, window: modelWindow, when: begins},
		{cause: record.KindNodeUnready, relation: anything, window: modelWindow, when: begins},
		{cause: record.KindNodeGone, relation: anything, window: modelWindow, when: begins},
		{cause: record.KindLoad, relation: reaches, window: inForce, when: begins, only: grows},
		{cause: record.KindStep, relation: targeted, window: modelWindow},
		{cause: record.KindPodReady, relation: sameService, window: modelWindow, when: ends},
		{cause: record.KindScale, relation: sameService, window: provisioning, when: ends, only: grows},
		{cause: record.KindLoad, relation: reaches, window: inForce, when: ends, only: shrinks},
		{cause: record.KindRollout, relation: sameWorkload, window: rollingOut, when: ends},
		{cause: record.KindSaturation, relation: callee, window: modelWindow, when: ends, only: ends},
		{cause: record.KindSaturation, relation: sameService, window: inForce, when: ends, only: begins},
	},
	record.KindErrors: {
		byStep,
		{cause: record.KindErrors, relation: callee, window: modelWindow, when: begins, only: begins},
		{cause: record.KindSaturation, relation: callee, window: provisioning, when: begins, only: begins},
		{cause: record.KindSaturation, relation: sameService, window: provisioning, when: begins, only: begins},
		{cause: record.KindCrash, relation: sameService, window: modelWindow, when: begins},
		{cause: record.KindOOM, relation: sameService, window: modelWindow, when: begins},
		{cause: record.KindRollout, relation: sameWorkload, window: rollingOut, when: begins, only: advances},
		{cause: record.KindPodUnready, relation: sameService, window: modelWindow, when: begins},
		{cause: record.KindPodGone, relation: sameService, window: modelWindow, when: begins},
		{cause: record.KindEviction, relation: sameService, window: modelWindow, when: begins},
		{cause: record.KindNodeUnready, relation: anything, window: modelWindow, when: begins},
		{cause: record.KindStep, relation: targeted, window: modelWindow},
		{cause: record.KindStep, relation: anything, window: nodeGrace, when: begins, only: nodeAction},
		{cause: record.KindErrors, relation: callee, window: modelWindow, when: ends, only: ends},
		{cause: record.KindSaturation, relation: sameService, window: modelWindow, when: ends, only: ends},
		{cause: record.KindPodReady, relation: sameService, window: modelWindow, when: ends},
		{cause: record.KindRollout, relation: sameWorkload, window: rollingOut, when: ends},
		{cause: record.KindNodeUnready, relation: anything, window: modelWindow, when: ends},
		{cause: record.KindErrors, relation: sameService, window: inForce, when: ends, only: begins},
	},
	record.KindThrottle: {
		byStep,
		{cause: record.KindScale, relation: sameService, window: modelWindow, when: begins, only: shrinks},
		{cause: record.KindScale, relation: sameService, window: modelWindow, when: ends, only: grows},
		{cause: record.KindRollout, relation: sameWorkload, window: rollingOut, only: advances},
		{cause: record.KindPodUnready, relation: sameService, window: modelWindow},
		{cause: record.KindPodGone, relation: sameService, window: modelWindow},
		{cause: record.KindLoad, relation: reaches, window: inForce, only: grows},
		{cause: record.KindLoad, relation: reaches, window: inForce, when: ends, only: shrinks},
	},
	record.KindRefused: {
		byStep,
		{cause: record.KindStep, relation: anything, window: inForce, when: quota, only: quotaAction},
		{cause: record.KindScale, relation: sameWorkload, window: rollingOut, only: grows},
		{cause: record.KindEviction, relation: sameWorkload, window: control},
		{cause: record.KindPodGone, relation: sameWorkload, window: control},
		{cause: record.KindRollout, relation: sameWorkload, window: rollingOut, only: advances},
		acted(control),
	},
	record.KindEvent: {
		byStep,
		{cause: record.KindNodeGone, relation: anything, window: tolerance, when: nodeNotFound},
		{cause: record.KindCrash, relation: sameObjectOrOwner, window: tolerance},
		{cause: record.KindOOM, relation: sameObjectOrOwner, window: tolerance},
		{cause: record.KindImage, relation: sameObjectOrOwner, window: tolerance},
		{cause: record.KindRefused, relation: sameObjectOrOwner, window: tolerance},
		{cause: record.KindPodUnready, relation: sameObjectOrOwner, window: probing},
		{cause: record.KindSaturation, relation: sameService, window: probing, only: begins},
		{cause: record.KindEviction, relation: sameWorkload, window: tolerance},
		{cause: record.KindNodeUnready, relation: sameNode, window: tolerance},
		{cause: record.KindNodeGone, relation: sameNode, window: tolerance},
		{cause: record.KindPodGone, relation: sameObjectOrOwner, window: control},
		{cause: record.KindPodCreated, relation: sameObjectOrOwner, window: control},
		{cause: record.KindRollout, relation: sameWorkload, window: rollingOut, only: advances},
		nodeStep, acted(control),
	},
	record.KindExpectation: {
		{cause: record.KindStep, relation: failedStep, window: control, when: aboutSteps},
		{cause: record.KindErrors, relation: sameSubjectOrCallee, window: provisioning, when: begins, only: begins},
		{cause: record.KindSaturation, relation: sameSubjectOrCallee, window: provisioning, when: begins, only: begins},
		{cause: record.KindPodPending, relation: sameWorkload, window: provisioning, when: aboutPending},
		{cause: record.KindPodPending, relation: anything, window: provisioning, when: aboutPending},
		{cause: record.KindNodeUnready, relation: anything, window: provisioning, when: aboutPending},
		{cause: record.KindNodeGone, relation: anything, window: provisioning, when: aboutPending},
		{cause: record.KindPodCreated, relation: sameWorkload, window: provisioning, when: aboutPending},
		{cause: record.KindEviction, relation: anything, window: control, when: aboutDisruption},
		{cause: record.KindScale, relation: sameWorkload, window: control},
		{cause: record.KindPodUnready, relation: sameWorkload, window: modelWindow},
		{cause: record.KindLoad, relation: reaches, window: inForce, when: aboutService, only: grows},
		{cause: record.KindErrors, relation: sameSubjectOrCallee, window: provisioning, when: ends, only: ends},
		{cause: record.KindSaturation, relation: sameSubjectOrCallee, window: provisioning, when: ends, only: ends},
		{cause: record.KindRollout, relation: sameWorkload, window: inForce, when: aboutRollout},
		byStep, // the chain through what went wrong says more than the step alone
	},
}

// besideFor lists what did not set an effect off but keeps it from being mended; it is the second cause.
var besideFor = map[string][]rule{
	record.KindSaturation: {{cause: record.KindRefused, relation: sameService, window: refusing, when: begins, only: quota}},
	record.KindErrors: {
		{cause: record.KindRefused, relation: sameService, window: refusing, when: begins, only: quota},
		{cause: record.KindRefused, relation: callee, window: refusing, when: begins, only: quota},
	},
}

func begins(e record.Entry) bool {
	s := e.Data["state"]
	return s == "begins" || s == "" && e.Severity != record.Info
}

// advances tells whether an entry changes how much of a new revision there is: its beginning, a step, a promotion, its end by
// abort.
func advances(e record.Entry) bool {
	return begins(e) || slices.Contains([]string{"step", "weight", "switched", "promoted", "goes on", "aborts"}, e.Data["state"])
}

// comesFurther tells whether an update comes further.
func comesFurther(e record.Entry) bool { return advances(e) && !begins(e) && !aborts(e) }

// steers tells whether a step says how an update goes on.
func steers(c record.Entry) bool {
	return slices.Contains([]string{"promote", "abort", "pause", "resume", "retry"}, c.Data["action"])
}

func aborts(e record.Entry) bool { return e.Data["state"] == "aborts" }

// stuck tells whether an update does not come further for want of pods, or was aborted for it.
func stuck(e record.Entry) bool {
	return stalls(e) || aborts(e) && strings.Contains(e.Why, "timed out progressing")
}

func reverts(e record.Entry) bool   { return e.Data["state"] == "reverted" }
func fails(e record.Entry) bool     { return e.Data["state"] == "fails" }
func ends(e record.Entry) bool      { return e.Data["state"] == "ends" }
func stalls(e record.Entry) bool    { return e.Data["state"] == "stalls" }
func continues(e record.Entry) bool { return e.Data["state"] != "" && e.Data["state"] != "begins" }
func preempts(e record.Entry) bool  { return e.Data["by"] == "preemption" }
func pressed(e record.Entry) bool   { return e.Data["by"] == "pressure" }
func quota(e record.Entry) bool     { return strings.Contains(e.What+e.Why, "quota") }

func aboutSteps(e record.Entry) bool      { return e.Data["metric"] == "steps" }
func aboutPending(e record.Entry) bool    { return e.Data["metric"] == "pending" }
func aboutService(e record.Entry) bool    { return e.Data["metric"] == "" && e.Data["workload"] == "" }
func aboutRollout(e record.Entry) bool    { return e.Data["metric"] == "rollout" }
func aboutDisruption(e record.Entry) bool { return e.Data["metric"] == "disruption" }
func quotaAction(c record.Entry) bool     { return c.Data["action"] == "quota" }
func registryAction(c record.Entry) bool  { return c.Data["action"] == "registry" }
func nodeAction(c record.Entry) bool {
	return slices.Contains([]string{"nodeCrash", "nodeNotReady", "zoneOutage", "spotReclaim", "drain", "cordon", "noCapacity"}, c.Data["action"])
}

// nodeLoss tells the faults after which a pool launches another instance.
func nodeLoss(c record.Entry) bool {
	return slices.Contains([]string{"nodeCrash", "zoneOutage", "spotReclaim"}, c.Data["action"]) && !ends(c)
}

// nodeNotFound tells what the endpoints controller says of pods whose node is gone.
func nodeNotFound(e record.Entry) bool {
	return e.Data["reason"] == "FailedToUpdateEndpointSlices" && strings.Contains(e.Why, "Not Found")
}

func grows(e record.Entry) bool {
	from, to, ok := change(e)
	return !ok || to > from
}

func shrinks(e record.Entry) bool {
	from, to, ok := change(e)
	return ok && to < from
}

func change(e record.Entry) (from, to float64, ok bool) {
	from, err1 := strconv.ParseFloat(e.Data["from"], 64)
	to, err2 := strconv.ParseFloat(e.Data["to"], 64)
	return from, to, err1 == nil && err2 == nil
}
