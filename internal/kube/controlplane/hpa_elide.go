package controlplane

import (
	"container/heap"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"time"
	"unsafe"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	autoscalinglisters "k8s.io/client-go/listers/autoscaling/v2"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/controller/podautoscaler"
)

// Fingerprinter is a metrics client that can say cheaply whether what it would answer has changed.
type Fingerprinter interface {
	// Fingerprint of the cpu metrics of pods, and of memory if asked, as GetResourceMetric would answer now; false when a
	// pod has none.
	Fingerprint(pods []*corev1.Pod, memory bool) (uint64, bool)
}

// The controller's own evaluation of one autoscaler, and its memory of recommendations.
//
//go:linkname evaluateHPA k8s.io/kubernetes/pkg/controller/podautoscaler.(*HorizontalController).reconcileKey
func evaluateHPA(a *podautoscaler.HorizontalController, ctx context.Context, key string) (deleted bool, err error)

//go:linkname remember k8s.io/kubernetes/pkg/controller/podautoscaler.(*HorizontalController).stabilizeRecommendation
func remember(a *podautoscaler.HorizontalController, key string, recommendation int32) int32

// recommendation mirrors the controller's record, to read the last one. newest checks the shape.
type recommendation struct {
	replicas int32
	at       time.Time
}

// checkOneIn evaluations that could be left out are made all the same, to prove that they would have done nothing.
const checkOneIn = 50

// settledAfter is how old a pod must be for its part in an evaluation no longer to depend on the time: upstream's CPU
// initialisation period and two scrapes.
const settledAfter = 5*time.Minute + 45*time.Second

// hpaLoop runs each autoscaler at its period, as the controller's queue would, and leaves out evaluations that provably
// give what the last one gave: it wrote nothing and held nothing back by stabilisation, and since then neither the
// autoscaler, its target's scale, its pods nor their metrics changed. What the controller would have remembered of an
// evaluation left out (its recommendation) it is told.
type hpaLoop struct {
	h       *HPA
	period  time.Duration
	hpas    autoscalinglisters.HorizontalPodAutoscalerLister
	pods    corelisters.PodLister
	changes *podChanges
	scales  *scales
	metrics Fingerprinter
	due     dueHeap
	known   map[string]*hpaState
	added   chan string
	Made    int64
	Elided  int64
	Wrong   int64
}

type hpaState struct {
	key    string
	due    time.Time
	index  int
	print  uint64 // of the last evaluation; 0 when the next must be made
	elided int

	// Of the target's pods, kept while no event touched one.
	target  types.UID
	label   string // of its selector, as podChanges counts it
	counted uint64
	pods    []*corev1.Pod
	podSum  uint64
	settled time.Time // from when the age of none of them matters
}

// newestRecommendation is what the controller recorded last for an autoscaler.
func newestRecommendation(a *podautoscaler.HorizontalController, key string) (recommendation, bool) {
	f := reflect.ValueOf(a).Elem().FieldByName("recommendations")
	list := (*(*map[string][]recommendation)(unsafe.Pointer(f.UnsafeAddr())))[key]
	var last recommendation
	for _, r := range list {
		if r.at.After(last.at) {
			last = r
		}
	}
	return last, len(list) > 0
}

// checkShape fails when upstream's record is not what recommendation mirrors.
func checkShape(a *podautoscaler.HorizontalController) error {
	f, ok := reflect.TypeOf(a).Elem().FieldByName("recommendations")
	if !ok || f.Type.Kind() != reflect.Map || f.Type.Elem().Kind() != reflect.Slice {
		return fmt.Errorf("the HPA controller has no map of recommendations; has upstream changed?")
	}
	e, mine := f.Type.Elem().Elem(), reflect.TypeFor[recommendation]()
	if e.NumField() != mine.NumField() || e.Field(0).Type.Kind() != reflect.Int32 || e.Field(1).Type != mine.Field(1).Type {
		return fmt.Errorf("the HPA controller's recommendations are %s; has upstream changed?", e)
	}
	return nil
}

func (l *hpaLoop) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		for len(l.due) > 0 && !l.due[0].due.After(now) {
			l.turn(ctx, l.due[0], now)
		}
		if len(l.due) > 0 {
			timer.Reset(time.Until(l.due[0].due))
		}
		select {
		case <-ctx.Done():
			return
		case key := <-l.added:
			if l.known[key] == nil {
				s := &hpaState{key: key, due: time.Now().Add(l.period)}
				l.known[key] = s
				heap.Push(&l.due, s)
			}
		case <-timer.C:
		}
	}
}

func (l *hpaLoop) turn(ctx context.Context, s *hpaState, now time.Time) {
	print, same := l.fingerprint(s, now)
	check := false
	if same && print == s.print && s.print != 0 {
		s.elided++
		if check = s.elided%checkOneIn == 0; !check {
			if last, ok := newestRecommendation(l.h.controller, s.key); ok {
				remember(l.h.controller, s.key, last.replicas)
			}
			l.Elided++
			l.later(s, now)
			return
		}
	}
	l.Made++
	deleted, err := evaluateHPA(l.h.controller, ctx, s.key)
	if deleted {
		heap.Remove(&l.due, s.index)
		delete(l.known, s.key)
		return
	}
	s.print = 0
	if err == nil {
		after, ok := l.fingerprint(s, now)
		if ok && after == print && same && l.quiet(s.key) {
			s.print = after
		} else if check {
			l.Wrong++
			slog.Error("an evaluation that would have been left out changed something", "hpa", s.key)
		}
	}
	l.later(s, now)
}

func (l *hpaLoop) later(s *hpaState, now time.Time) {
	s.due = now.Add(l.period)
	heap.Fix(&l.due, s.index)
}

// quiet tells that the last evaluation left nothing pending: the recommendation is the present size, not one held back.
func (l *hpaLoop) quiet(key string) bool {
	hpa := l.get(key)
	if hpa == nil || hpa.Spec.Behavior != nil {
		return false // with policies, time alone may change the outcome
	}
	ready, limited := false, false
	for _, c := range hpa.Status.Conditions {
		switch c.Type {
		case autoscalingv2.AbleToScale:
			ready = c.Reason == "ReadyForNewScale"
		case autoscalingv2.ScalingLimited:
			limited = c.Reason == "DesiredWithinRange" || c.Reason == "TooFewReplicas" || c.Reason == "TooManyReplicas"
		}
	}
	return ready && limited && hpa.Status.CurrentReplicas == hpa.Status.DesiredReplicas
}

func (l *hpaLoop) get(key string) *autoscalingv2.HorizontalPodAutoscaler {
	ns, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return nil
	}
	hpa, err := l.hpas.HorizontalPodAutoscalers(ns).Get(name)
	if err != nil {
		return nil
	}
	return hpa
}

// fingerprint covers everything an evaluation reads; false when it cannot, or when the outcome also depends on the time.
func (l *hpaLoop) fingerprint(s *hpaState, now time.Time) (uint64, bool) {
	hpa := l.get(s.key)
	if hpa == nil || hpa.Spec.ScaleTargetRef.Kind != "Deployment" {
		return 0, false
	}
	memory := false
	for i := range hpa.Spec.Metrics {
		r := hpa.Spec.Metrics[i].Resource
		if r == nil {
			return 0, false
		}
		memory = memory || r.Name == corev1.ResourceMemory
	}
	d, err := l.scales.deployments.Deployments(hpa.Namespace).Get(hpa.Spec.ScaleTargetRef.Name)
	if err != nil || d.Spec.Replicas == nil || d.Spec.Selector == nil {
		return 0, false
	}
	if !l.readPods(s, d) || now.Before(s.settled) {
		return 0, false
	}
	m, ok := l.metrics.Fingerprint(s.pods, memory)
	if !ok {
		return 0, false
	}
	h := newPrint()
	h.text(hpa.ResourceVersion)
	h.number(uint64(*d.Spec.Replicas))
	h.number(uint64(d.Status.Replicas))
	h.number(uint64(d.Generation))
	h.number(s.podSum)
	h.number(m)
	return h.value() | 1, true
}

// readPods lists the pods of a selector anew if one of them may have changed; false when one of them is going, or has not
// started, or the selector is more than labels.
func (l *hpaLoop) readPods(s *hpaState, d *appsv1.Deployment) bool {
	ns, selector := d.Namespace, d.Spec.Selector
	if len(selector.MatchExpressions) > 0 || len(selector.MatchLabels) == 0 {
		return false
	}
	if s.target != d.UID { // its selector cannot change
		s.target, s.pods = d.UID, nil
		k := slices.Min(slices.Collect(maps.Keys(selector.MatchLabels)))
		s.label = labelKey(ns, k, selector.MatchLabels[k])
	}
	if n := l.changes.count(s.label); n != s.counted || s.pods == nil {
		pods, err := l.pods.Pods(ns).List(labels.SelectorFromValidatedSet(selector.MatchLabels))
		if err != nil {
			return false
		}
		s.counted, s.pods = n, pods
		s.podSum, s.settled = 0, time.Time{}
		for _, p := range pods {
			if p.Status.StartTime == nil || p.DeletionTimestamp != nil {
				s.pods = nil
				return false
			}
			if t := p.Status.StartTime.Add(settledAfter); t.After(s.settled) {
				s.settled = t
			}
			s.podSum += sumOf(p.ResourceVersion)
		}
	}
	return s.pods != nil
}

// print is an FNV-1a hash.
type print uint64

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func newPrint() *print {
	p := print(fnvOffset)
	return &p
}

func (p *print) text(s string) {
	for i := range len(s) {
		*p = (*p ^ print(s[i])) * fnvPrime
	}
	*p *= fnvPrime
}

func (p *print) number(n uint64) {
	for range 8 {
		*p = (*p ^ print(n&0xff)) * fnvPrime
		n >>= 8
	}
}

func (p *print) value() uint64 { return uint64(*p) }

// sumOf hashes one of several texts whose order does not matter and whose hashes are added.
func sumOf(s string) uint64 {
	p := newPrint()
	p.text(s)
	h := p.value()
	return h ^ h>>29
}

// dueHeap orders autoscalers by the time of their next evaluation, then by name.
type dueHeap []*hpaState

func (d dueHeap) Len() int { return len(d) }
func (d dueHeap) Less(i, j int) bool {
	if d[i].due.Equal(d[j].due) {
		return d[i].key < d[j].key
	}
	return d[i].due.Before(d[j].due)
}
func (d dueHeap) Swap(i, j int) { d[i], d[j] = d[j], d[i]; d[i].index, d[j].index = i, j }
func (d *dueHeap) Push(x any)   { s := x.(*hpaState); s.index = len(*d); *d = append(*d, s) }
func (d *dueHeap) Pop() any {
	old := *d
	s := old[len(old)-1]
	*d = old[:len(old)-1]
	return s
}
