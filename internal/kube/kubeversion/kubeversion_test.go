package kubeversion_test

import (
	"os"
	"strings"
	"testing"

	"k8s.io/component-base/version"

	"github.com/fairway-dev/fairway/internal/kube/kubeversion"
)

func TestVersionIsThatOfGoMod(t *testing.T) {
	b, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if want := "k8s.io/kubernetes " + kubeversion.Kubernetes + "\n"; !strings.Contains(string(b), want) {
		t.Errorf("go.mod has no line %q; change kubeversion.Kubernetes with it", strings.TrimSpace(want))
	}
	if g := version.Get(); g.GitVersion != kubeversion.Kubernetes || !strings.HasPrefix(g.GitVersion, "v"+g.Major+"."+g.Minor+".") {
		t.Errorf("upstream sees %s, %s.%s", g.GitVersion, g.Major, g.Minor)
	}
}
