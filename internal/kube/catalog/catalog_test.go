package catalog

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestLookupKnowsShapeAndPriceOfCommonTypes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		cores    int64
		memory   int64
		arch     string
		pods     int
		prefixes int
	}{
		{"m5.large", 2, 8 * gibi, "amd64", 29, 110},
		{"m5.xlarge", 4, 16 * gibi, "amd64", 58, 110},
		{"m5.16xlarge", 64, 256 * gibi, "amd64", 737, 250},
		{"m6g.large", 2, 8 * gibi, "arm64", 29, 110},
		{"c4.large", 2, 3840 * mebi, "amd64", 29, 29}, // 3.75 GiB; Xen cannot delegate prefixes
	} {
		got, ok := Lookup(c.name)
		if !ok {
			t.Errorf("%s is not in the catalog", c.name)
			continue
		}
		if got.CPUCores != c.cores || got.MemoryBytes != c.memory || got.Arch != c.arch || MaxPods(got) != c.pods || MaxPodsWithPrefixes(got) != c.prefixes {
			t.Errorf("%s = %+v, pods %d, with prefixes %d", c.name, got, MaxPods(got), MaxPodsWithPrefixes(got))
		}
	}
	m5, _ := Lookup("m5.xlarge")
	if price, estimated := m5.Price(OnDemand); price != 0.192 || estimated {
		t.Errorf("m5.xlarge on demand = %v, estimated %v; us-east-1 lists 0.192", price, estimated)
	}
	if price, estimated := m5.Price(Spot); price >= 0.192 || !estimated {
		t.Errorf("m5.xlarge spot = %v, estimated %v; want less than on demand, marked as an estimate", price, estimated)
	}
	if _, ok := Lookup("m5.xlarg"); ok {
		t.Error("a misspelt type was found")
	}
}

func TestNearestSuggestsTheTypeMeant(t *testing.T) {
	t.Parallel()
	for wrong, want := range map[string]string{"m5.xlarg": "m5.xlarge", "M5.XLARGE": "m5.xlarge", "m5xlarge": "m5.xlarge", "c5.2xlrage": "c5.2xlarge"} {
		if got := Nearest(wrong); len(got) == 0 || got[0] != want {
			t.Errorf("Nearest(%q) = %v, want %s first", wrong, got, want)
		}
	}
	if got := Nearest("standard_d4s_v3"); slices.Contains(got, "m5.large") {
		t.Errorf("a name of another cloud suggested %v", got)
	}
}

func TestKubeReservedFollowsTheTableOfEKS(t *testing.T) {
	t.Parallel()
	for cores, want := range map[int64]int64{1: 60, 2: 70, 4: 80, 8: 90, 16: 110} {
		if got := KubeReserved(cores, 58); got.CPUMillicores != want || got.MemoryBytes != (255+11*58)*mebi {
			t.Errorf("KubeReserved(%d cores) = %+v, want %d millicores", cores, got, want)
		}
	}
}

func TestEveryTypeIsPlausible(t *testing.T) {
	t.Parallel()
	about := About()
	if about.Types < 800 || about.Date == "" || about.Region == "" || about.Licence == "" || about.Modules == "" {
		t.Fatalf("the catalog does not say what it is: %+v", about)
	}
	for _, ty := range All() {
		a, c := Allocatable(ty), Capacity(ty)
		if ty.CPUCores < 1 || ty.MemoryBytes < 500*mebi || ty.OnDemandPerHour <= 0 || ty.EphemeralStorageBytes <= 0 {
			t.Errorf("%s has an empty column: %+v", ty.Name, ty)
		}
		if a.CPUMillicores >= c.CPUMillicores || a.MemoryBytes >= c.MemoryBytes || a.MemoryBytes < 0 {
			t.Errorf("%s: allocatable %+v is not below capacity %+v", ty.Name, a, c)
		}
	}
}

func TestSmallestTypeHoldsWhatWasAskedAndNothingCheaperDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := Resources{CPUMillicores: rapid.Int64Range(1, 64000).Draw(t, "cpu"), MemoryBytes: rapid.Int64Range(1, 512).Draw(t, "gib") * gibi}
		got, ok := Smallest(want, "amd64")
		if !ok {
			t.Fatalf("nothing holds %+v", want)
		}
		for _, other := range All() {
			a := Allocatable(other)
			if other.Arch == "amd64" && a.CPUMillicores >= want.CPUMillicores && a.MemoryBytes >= want.MemoryBytes && other.OnDemandPerHour < got.OnDemandPerHour {
				t.Fatalf("%s is cheaper than %s and holds %+v", other.Name, got.Name, want)
			}
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	for b.Loop() {
		if _, ok := Lookup("m5.xlarge"); !ok {
			b.Fatal("m5.xlarge is gone")
		}
	}
}
