package e2e

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "render the chart anew; needs the network once")

const (
	chart    = "../../charts/fairway"
	rendered = "testdata/chart.yaml"
	// renderedNamespaced is the chart for one namespace, called team, where AWS is asked.
	renderedNamespaced = "testdata/chart-namespaced.yaml"
	// renderedSecond is the chart as a second release in a cluster, for the objects of an instance.
	renderedSecond = "testdata/chart-second.yaml"
	// renderedTwin is a second release of one namespace alone, which another namespaced one carries Rollouts out in, too.
	renderedTwin = "testdata/chart-twin.yaml"
	// helm renders the chart, outside of this module.
	helm = "helm.sh/helm/v3/cmd/helm@v3.19.2"
)

// chartSum is a hash of all files of the chart.
func chartSum(t *testing.T) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(chart, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(sum, "%s %d\n%s", strings.TrimPrefix(path, chart), len(b), b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// releases are what is rendered of the chart.
var releases = []struct{ file, name, namespace, values string }{
	{rendered, "fairway", "fairway-system", ""},
	{renderedNamespaced, "fairway", "fairway-system", "namespaced=true,namespace=team,rollouts.awsVerifyTargetGroup=true"},
	{renderedSecond, "fairway", "blue", "rollouts.instanceID=blue,rollouts.awsVerifyTargetGroup=true"},
	{renderedTwin, "green", "green", "namespaced=true,namespace=team,rollouts.awsVerifyTargetGroup=true,fullnameOverride=twin"},
}

func TestRenderedChartIsThatOfTheTemplates(t *testing.T) {
	t.Parallel()
	for _, r := range releases {
		head := "# go test ./test/e2e -run Chart -update\n# rendered by " + helm + " from the chart with the hash " + chartSum(t) + "\n"
		if *update {
			c := exec.Command("go", "run", helm, "template", r.name, chart, "--namespace", r.namespace, "--kube-version", "1.37.1", "--set", r.values)
			c.Stderr = os.Stderr
			out, err := c.Output()
			if err != nil {
				t.Fatalf("helm: %v", err)
			}
			if err := os.WriteFile(r.file, append([]byte(head), out...), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(r.file)
		if err != nil || !strings.HasPrefix(string(b), head) {
			t.Errorf("%s is not rendered from the chart as it is now (%v); run the test with -update", r.file, err)
		}
	}
}

// Two releases with an object of the same name would take it from each other.
func TestReleasesOfTheChartInOneClusterShareNoObject(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{rendered, renderedSecond}, {rendered, renderedTwin}, {renderedSecond, renderedTwin}, {renderedNamespaced, renderedTwin}} {
		one, other := objects(t, pair[0]), objects(t, pair[1])
		for name := range one {
			if other[name] {
				t.Errorf("%s and %s both have %s", pair[0], pair[1], name)
			}
		}
	}
}

// Names that a release's objects refer to each other by must be those they have.
func TestEveryBindingOfTheChartBindsARoleOfItsRelease(t *testing.T) {
	t.Parallel()
	for _, r := range releases {
		all := objects(t, r.file)
		for _, o := range documents(t, r.file) {
			if !strings.HasSuffix(o.Kind, "Binding") {
				continue
			}
			role := name(o.RoleRef.Kind, o.Metadata.Namespace, o.RoleRef.Name)
			if !all[role] || len(o.Subjects) != 1 || !all[name(o.Subjects[0].Kind, o.Subjects[0].Namespace, o.Subjects[0].Name)] {
				t.Errorf("%s: %s %s binds %s to %v, which are not both of the release", r.file, o.Kind, o.Metadata.Name, role, o.Subjects)
			}
		}
	}
}

// A namespace's webhooks go with a ClusterRole of their release, which its controller may read.
func TestWebhooksOfAReleaseBelongToItsOwnClusterRole(t *testing.T) {
	t.Parallel()
	for file, owner := range map[string]string{rendered: "fairway-rollouts", renderedSecond: "fairway-blue-rollouts"} {
		told, readable := false, false
		for _, o := range documents(t, file) {
			for _, c := range o.Spec.Template.Spec.Containers {
				told = told || slices.Contains(c.Args, "--webhook-owner="+owner)
			}
			for _, r := range o.Rules {
				readable = readable || o.Metadata.Name == owner && slices.Contains(r.Resources, "clusterroles") && slices.Contains(r.ResourceNames, owner)
			}
		}
		if !told || !readable || !objects(t, file)[name("ClusterRole", "", owner)] {
			t.Errorf("%s: of the ClusterRole %s the controller is told: %t, and may read it: %t", file, owner, told, readable)
		}
	}
}

// document is what the tests look at of an object.
type document struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	RoleRef  struct{ Kind, Name string }
	Subjects []struct{ Kind, Name, Namespace string }
	Rules    []struct{ Resources, ResourceNames []string }
	Spec     struct {
		Template struct {
			Spec struct{ Containers []struct{ Args []string } }
		}
	}
}

func documents(t *testing.T, file string) []document {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []document
	for _, text := range strings.Split(string(b), "\n---\n") {
		var d document
		if err := yaml.Unmarshal([]byte(text), &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d.Kind != "" {
			all = append(all, d)
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s: no objects", file)
	}
	return all
}

// name of an object in its cluster.
func name(kind, namespace, name string) string {
	if strings.HasPrefix(kind, "Cluster") {
		namespace = ""
	}
	return kind + " " + namespace + "/" + name
}

// objects of a release, by name.
func objects(t *testing.T, file string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, d := range documents(t, file) {
		all[name(d.Kind, d.Metadata.Namespace, d.Metadata.Name)] = true
	}
	return all
}
