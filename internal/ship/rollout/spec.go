package rollout

import (
	"math"
	"strconv"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// Defaults of Argo Rollouts.
const (
	defaultReplicas         = 1
	defaultHistoryLimit     = 10
	defaultRunHistoryLimit  = 5
	defaultScaleDownDelay   = 30 * time.Second
	defaultProgressDeadline = 600 * time.Second
	defaultMaxTraffic       = 100
	quarter                 = "25%" // of maxSurge and maxUnavailable
)

// How long numbers of pods alone wait to be written down together with what comes next, at most. A pod that was made is ready
// after a while, and then there is something to decide and to write anyway: without the wait each update of a small Rollout is
// written once more. Clients see the phase, and the final numbers, at once.
const (
	countsLag = 3 * time.Second  // of pods that are ready
	madeLag   = 10 * time.Second // of pods that were only made: most have pulled their image and are ready by then
	// lagShare of the time that an update may go without progress, as its divisor, is not exceeded: what is written is when there was progress last.
	lagShare = 10
)

// How often what cannot be watched is looked at again.
const (
	invalidRetry = 20 * time.Second // what an invalid spec refers to may come
	verifyRetry  = 10 * time.Second // a router has yet to follow
	// loadedRetry is the first wait for a data path of this process, which follows within some 50 ms, and of which no event tells.
	loadedRetry  = 50 * time.Millisecond
	restartRetry = 30 * time.Second // a budget refused an eviction
	pluginRetry  = 30 * time.Second // a plugin could not be asked
)

func replicasOf(ro *rollouts.Rollout) int32 {
	if ro.Spec.Replicas == nil {
		return defaultReplicas
	}
	return *ro.Spec.Replicas
}

func orDefault(v *int32, d int32) int32 {
	if v == nil {
		return d
	}
	return *v
}

func progressDeadline(ro *rollouts.Rollout) time.Duration {
	if s := ro.Spec.ProgressDeadlineSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return defaultProgressDeadline
}

// routed is whether traffic is routed by weights, and not spread over pods by their number.
func routed(ro *rollouts.Rollout) bool {
	return ro.Spec.Strategy.Canary != nil && ro.Spec.Strategy.Canary.TrafficRouting != nil
}

func dynamicStable(ro *rollouts.Rollout) bool {
	return routed(ro) && ro.Spec.Strategy.Canary.DynamicStableScale
}

// maxTraffic is the weight that means all traffic.
func maxTraffic(ro *rollouts.Rollout) int32 {
	if routed(ro) {
		return orDefault(ro.Spec.Strategy.Canary.TrafficRouting.MaxTrafficWeight, defaultMaxTraffic)
	}
	return defaultMaxTraffic
}

// surgeAndUnavailable in pods: surge rounded up, unavailable rounded down, and unavailable 1 where both come to nothing. A
// blue-green strategy has no surge, and may have no unavailable pods.
func surgeAndUnavailable(ro *rollouts.Rollout) (surge, unavailable int32) {
	n := replicasOf(ro)
	switch st := ro.Spec.Strategy; {
	case st.Canary != nil:
		surge, unavailable = scaled(st.Canary.MaxSurge, n, true), scaled(st.Canary.MaxUnavailable, n, false)
		if surge == 0 && unavailable == 0 {
			unavailable = 1
		}
	case st.BlueGreen != nil:
		unavailable = scaled(st.BlueGreen.MaxUnavailable, n, false)
	}
	return surge, min(unavailable, n)
}

// scaled is v pods, or v percent of n. A string is a percentage even without its sign, as Argo Rollouts reads it.
func scaled(v *intstr.IntOrString, n int32, up bool) int32 {
	if v == nil {
		v = &intstr.IntOrString{Type: intstr.String, StrVal: quarter}
	}
	if v.Type == intstr.Int {
		return max(v.IntVal, 0)
	}
	percent, err := strconv.ParseInt(strings.TrimSuffix(v.StrVal, "%"), 10, 32)
	if err != nil || percent < 0 {
		return 0 // the validators refuse it
	}
	hundredths := percent * int64(n)
	if up {
		hundredths += 99
	}
	return int32(min(hundredths/100, math.MaxInt32))
}

// scaleDownDelay of a ReplicaSet that no longer gets traffic.
func scaleDownDelay(ro *rollouts.Rollout) time.Duration {
	var s *int32
	switch st := ro.Spec.Strategy; {
	case st.BlueGreen != nil:
		s = st.BlueGreen.ScaleDownDelaySeconds
	case routed(ro):
		s = st.Canary.ScaleDownDelaySeconds
	default:
		return 0
	}
	if s == nil {
		return defaultScaleDownDelay
	}
	return time.Duration(*s) * time.Second
}

// scaleDownLimit is how many ReplicaSets may wait for their delay.
func scaleDownLimit(ro *rollouts.Rollout) int32 {
	switch st := ro.Spec.Strategy; {
	case st.BlueGreen != nil:
		return orDefault(st.BlueGreen.ScaleDownDelayRevisionLimit, math.MaxInt32)
	case st.Canary != nil:
		return orDefault(st.Canary.ScaleDownDelayRevisionLimit, math.MaxInt32)
	}
	return math.MaxInt32
}

// abortDelay of an aborted revision until it is scaled down. never: the user wants it to stay. set: the user has said so, and
// it is not the default.
func abortDelay(ro *rollouts.Rollout) (delay time.Duration, never, set bool) {
	var s *int32
	switch st := ro.Spec.Strategy; {
	case st.BlueGreen != nil:
		s = st.BlueGreen.AbortScaleDownDelaySeconds
	case routed(ro):
		s = st.Canary.AbortScaleDownDelaySeconds
	default:
		return 0, false, false
	}
	if s == nil {
		return defaultScaleDownDelay, false, false
	}
	return time.Duration(*s) * time.Second, *s == 0, true
}

func autoPromotes(b *argo.BlueGreenStrategy) bool {
	return b.AutoPromotionEnabled == nil || *b.AutoPromotionEnabled
}

// PauseDuration of a pause step; ok is false when it lasts until somebody promotes. A number is seconds, also as a string.
func PauseDuration(pause *argo.RolloutPause) (d time.Duration, ok bool) {
	if pause.Duration == nil {
		return 0, false
	}
	if pause.Duration.Type == intstr.Int {
		return time.Duration(pause.Duration.IntVal) * time.Second, true
	}
	if n, err := strconv.ParseInt(pause.Duration.StrVal, 10, 32); err == nil {
		return time.Duration(n) * time.Second, true
	}
	d, err := time.ParseDuration(pause.Duration.StrVal)
	if err != nil {
		return 0, false // the validators refuse it; until then it waits for somebody
	}
	return d.Truncate(time.Second), true
}
