package virtual

import (
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestRankPutsExcessThenPriorityThenSizeFirst(t *testing.T) {
	t.Parallel()
	pod := func(name string, priority int32, use, request int64) PodUse {
		p := simplePod(name, "app")
		p.Spec.Priority = &priority
		return PodUse{Pod: p, Use: use, Request: request}
	}
	const critical = 2000000000
	got := Rank([]PodUse{
		pod("within, low", -1, 5, 10), pod("critical", critical, 100, 1), pod("above, high", 10, 90, 10),
		pod("above, low, small", 0, 20, 10), pod("above, low, large", 0, 40, 10), pod("within, high", 10, 1, 10),
	})
	want := []string{"above, low, large", "above, low, small", "above, high", "within, low", "within, high"}
	if len(got) != len(want) {
		t.Fatalf("%d victims, want %d: critical pods are never evicted", len(got), len(want))
	}
	for i, name := range want {
		if got[i].Pod.Name != name {
			t.Errorf("place %d is %q, want %q", i, got[i].Pod.Name, name)
		}
	}
}

func TestPressureConditionStaysFiveMinutes(t *testing.T) {
	t.Parallel()
	var p Pressure
	now := time.Unix(0, 0)
	if !p.observe(true, now) || p.observe(false, now.Add(4*time.Minute)) || !p.On {
		t.Error("the condition must come at once and stay for five minutes")
	}
	if !p.observe(false, now.Add(5*time.Minute)) || p.On {
		t.Error("the condition must end after five minutes")
	}
}

func TestLedgerNeverExceedsAllocatable(t *testing.T) {
	t.Parallel()
	l := newLedger()
	g, err := NodeGroup{Name: "g", MaxPods: 3}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	half := g.allocatable()[v1.ResourceCPU]
	half.SetMilli(half.MilliValue()/2 + 1)
	key := func(n string) types.NamespacedName { return types.NamespacedName{Name: n} }
	want := v1.ResourceList{v1.ResourceCPU: half}
	if s, short := l.lacks(key("a"), want, g.allocatable()); short {
		t.Fatal(s)
	}
	l.grant(key("a"), want)
	if _, short := l.lacks(key("b"), want, g.allocatable()); !short {
		t.Error("two pods of more than half a node fit")
	}
	if s, short := l.lacks(key("a"), want, g.allocatable()); short {
		t.Errorf("what a pod holds itself counts against it: %v", s)
	}
	l.release(key("a"))
	for _, n := range []string{"a", "b", "c"} {
		l.grant(key(n), v1.ResourceList{})
	}
	if s, short := l.lacks(key("d"), v1.ResourceList{}, g.allocatable()); !short || s.name != v1.ResourcePods {
		t.Error("a fourth pod fits where three are allowed")
	}
}

func TestInstanceTypeGivesCapacityPodsAndPrice(t *testing.T) {
	t.Parallel()
	g, err := NodeGroup{Name: "g", InstanceType: "m5.large"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if cpu := g.Capacity[v1.ResourceCPU]; cpu.Value() != 2 || g.MaxPods != 29 || g.PricePerHour <= 0 {
		t.Errorf("m5.large: %v CPU, %d pods, %v $/h", cpu, g.MaxPods, g.PricePerHour)
	}
	if a := g.allocatable(); a.Memory().Cmp(*g.Capacity.Memory()) >= 0 {
		t.Error("nothing is reserved")
	}
	if _, err := (NodeGroup{Name: "g", InstanceType: "m5.lagre"}).withDefaults(); err == nil {
		t.Error("a misspelt instance type is accepted")
	}
}
