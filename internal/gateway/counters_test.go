package gateway

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/evidence"
	"github.com/fairway-dev/fairway/internal/gateway/proxy"
)

func TestWhatCountsARequestStaysFoundUntilTheConfigIsAnother(t *testing.T) {
	t.Parallel()
	c := newCounters(evidence.New())
	r := &proxy.Record{Rule: &config.Rule{}, Endpoint: &config.Endpoint{Revision: "abc"}, Status: 200, Protocol: "HTTP/1.1", Began: time.Now(), GRPC: -1}
	found := func() (n int) {
		c.quick.Load().Range(func(any, any) bool { n++; return true })
		return n
	}
	c.version(1, 0)
	c.Observe(r)
	c.version(1, 2)
	if found() != 1 || testutil.ToFloat64(c.staleRoutes) != 2 {
		t.Errorf("after a step with the same Config %d series are found, %v routes are stale", found(), testutil.ToFloat64(c.staleRoutes))
	}
	c.forget(time.Now())
	if found() != 1 {
		t.Error("nothing was forgotten, and nothing is found any more")
	}
	c.version(2, 0)
	if found() != 0 || testutil.ToFloat64(c.configVersion) != 2 {
		t.Errorf("with another Config %d series are found", found())
	}
	c.Observe(r)
	c.forget(time.Now().Add(2 * evidence.Depth))
	if found() != 0 || testutil.CollectAndCount(c.requests) != 0 {
		t.Errorf("of a revision without requests %d series are found", found())
	}
}

func TestProbesAreCountedUntilABackendIsNotProbedAnyMore(t *testing.T) {
	t.Parallel()
	c := newCounters(evidence.New())
	var told proxy.Observer = c
	probes, ok := told.(proxy.ProbeObserver)
	if !ok {
		t.Fatal("the data path tells nobody of probes")
	}
	web := config.BackendKey{Name: config.Name{Namespace: "shop", Name: "web"}, Port: 80}
	subset := web
	subset.Subset = "v2"
	probes.Probed(web, true, 0)
	probes.Probed(web, false, 1)
	probes.Probed(subset, false, 2)
	if got := testutil.ToFloat64(c.unhealthy.With(prometheus.Labels{"backend": "shop/web/v2", "port": "80"})); got != 2 {
		t.Errorf("%v are unhealthy, want 2", got)
	}
	if got := testutil.ToFloat64(c.probes.WithLabelValues("shop/web", "80", "bad")); got != 1 {
		t.Errorf("%v bad probes, want 1", got)
	}
	probes.NotProbed(web)
	probes.NotProbed(subset)
	if n := testutil.CollectAndCount(c.unhealthy) + testutil.CollectAndCount(c.probes); n != 0 {
		t.Errorf("%d series are left", n)
	}
}

func TestConditionsOfListenersKeepTheTimeSinceWhichTheyAreSo(t *testing.T) {
	t.Parallel()
	early, late := metav1.Unix(1000, 0), metav1.Unix(2000, 0)
	with := func(name gw.SectionName, at metav1.Time, status metav1.ConditionStatus) gw.ListenerEntryStatus {
		return gw.ListenerEntryStatus{Name: name, Conditions: []metav1.Condition{{Type: "Programmed", Status: status, LastTransitionTime: at}}}
	}
	none := metav1.Time{}
	was := []gw.ListenerEntryStatus{with("a", early, metav1.ConditionTrue), with("b", early, metav1.ConditionTrue)}
	set := []gw.ListenerEntryStatus{with("b", none, metav1.ConditionFalse), with("a", none, metav1.ConditionTrue), with("c", none, metav1.ConditionTrue)}
	var got []metav1.Time
	for _, l := range datedListeners(set, was, late, partsOfEntry) {
		got = append(got, l.Conditions[0].LastTransitionTime)
	}
	if !slices.Equal(got, []metav1.Time{late, early, late}) {
		t.Errorf("%v", got)
	}
	if set[1].Conditions[0].LastTransitionTime != none {
		t.Error("what was compiled is changed")
	}
}
