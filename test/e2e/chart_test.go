package e2e

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "render the chart anew; needs the network once")

const (
	chart    = "../../charts/fairway"
	rendered = "testdata/chart.yaml"
	// renderedNamespaced is the chart for one namespace, called team, where AWS is asked.
	renderedNamespaced = "testdata/chart-namespaced.yaml"
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

func TestRenderedChartIsThatOfTheTemplates(t *testing.T) {
	t.Parallel()
	for file, values := range map[string]string{rendered: "", renderedNamespaced: "namespaced=true,namespace=team,rollouts.awsVerifyTargetGroup=true"} {
		head := "# go test ./test/e2e -run Chart -update\n# rendered by " + helm + " from the chart with the hash " + chartSum(t) + "\n"
		if *update {
			c := exec.Command("go", "run", helm, "template", "fairway", chart, "--namespace", "fairway-system", "--kube-version", "1.37.1", "--set", values)
			c.Stderr = os.Stderr
			out, err := c.Output()
			if err != nil {
				t.Fatalf("helm: %v", err)
			}
			if err := os.WriteFile(file, append([]byte(head), out...), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(b), head) {
			t.Errorf("%s is not rendered from the chart as it is now (%v); run the test with -update", file, err)
		}
	}
}
