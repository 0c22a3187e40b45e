package platform

import (
	"strings"
	"testing"

	"github.com/fairway-dev/fairway/config/crd"
)

func TestSwitchesChooseCapabilities(t *testing.T) {
	t.Parallel()
	all := []Capability{{Name: "a", Default: true}, {Name: "b", Default: true}, {Name: "c"}, {Name: "v", Default: true, Virtual: true}}
	for _, c := range []struct {
		switches Switches
		virtual  bool
		want     string
	}{
		{nil, true, "a, b, v"},
		{nil, false, "a, b"},
		{Switches{"-a"}, true, "b, v"},
		{Switches{"-a,c"}, true, "b, c, v"},
		{Switches{"+c", "-c"}, false, "a, b"},
		{Switches{"-b", "b"}, false, "a, b"},
	} {
		got, err := c.switches.choose(all, c.virtual)
		if err != nil || names(got) != c.want {
			t.Errorf("%q, virtual %t: %s, %v; want %s", c.switches, c.virtual, names(got), err, c.want)
		}
	}
	if _, err := (Switches{"-d"}).choose(all, true); err == nil || !strings.Contains(err.Error(), "a, b, c, v") {
		t.Errorf("an unknown name gives %v, which does not list those there are", err)
	}
}

func TestSwitchedOffCapabilityLeavesNoRight(t *testing.T) {
	t.Parallel()
	on, err := Switches{"-metrics,-rollouts"}.choose(Capabilities(RolloutOptions{}), true)
	if err != nil {
		t.Fatal(err)
	}
	cluster, roles := rules(on)
	for _, r := range cluster {
		for _, resource := range r.Resources {
			if resource == "apiservices" || resource == "subjectaccessreviews" || resource == "rollouts" {
				t.Errorf("the right to %s is left", resource)
			}
		}
	}
	if len(roles) > 0 {
		t.Errorf("rights in namespaces are left: %v", roles)
	}
}

func TestEveryCapabilityIsDescribedAndItsKindsAreCarried(t *testing.T) {
	t.Parallel()
	for _, c := range Capabilities(RolloutOptions{}) {
		if c.Purpose == "" || c.Setup == nil {
			t.Errorf("%s has no purpose or no setup", c.Name)
		}
		for _, name := range c.CRDs {
			if _, err := crd.Definition(name, false); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
		}
	}
}
