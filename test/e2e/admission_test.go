package e2e

import (
	"context"
	"strconv"
	"strings"
	"testing"
)

const (
	badRollout = `{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: bad}, spec: {selector: {matchLabels: {app: bad}},
  template: {metadata: {labels: {app: bad}}, spec: {containers: [{name: app, image: a:1}]}}, strategy: {canary: {steps: [{setWeight: 110}]}}}}`
	badTemplate = `{apiVersion: argoproj.io/v1alpha1, kind: AnalysisTemplate, metadata: {name: bad}, spec: {metrics: [{name: m, provider: {wavefront: {address: x, query: q}}}]}}`
	oldRollout  = `{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: old}, spec: {selector: {matchLabels: {app: old}},
  template: {metadata: {labels: {app: old}}, spec: {containers: [{name: app, image: a:1}]}}, strategy: {canary: {maxSurge: 1}, steps: [{setWeight: WEIGHT}, {pause: {}}]}}}`
)

// old is the Rollout in the shape of 2019.
func old(weight string) string { return strings.Replace(oldRollout, "WEIGHT", weight, 1) }

// tryWith runs kubectl with a text to read.
func (c *cluster) tryWith(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	k := c.command(ctx, args...)
	k.Stdin = strings.NewReader(stdin)
	out, err := k.CombinedOutput()
	return string(out), err
}

func TestObjectsOfRolloutsAreJudgedWhenTheyAreWritten(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	c := up(t, "--memory", "--data", t.TempDir(), "--nodes", "1", "--capabilities=-metrics", "--metricsPort", strconv.Itoa(port))
	apply := func(objects string) (string, error) { return c.tryWith(objects, "apply", "-f", "-") }
	eventually(t, func() string { // the API server learns of webhooks a moment after its start
		out, err := apply(badRollout)
		if err != nil || !strings.Contains(out, "Warning:") || !strings.Contains(out, "spec.strategy.canary.steps[0].setWeight") {
			c.try("delete", "rollout", "bad", "--wait=false")
			return "no warning of a weight of 110: " + out
		}
		return ""
	})
	if got := c.kubectl("get", "rollout", "bad", "-o", "name"); !strings.Contains(got, "bad") {
		t.Errorf("with a warning it is not let in: %s", got)
	}
	if out, err := apply(badTemplate); err != nil || !strings.Contains(out, "Warning:") || !strings.Contains(strings.ToLower(out), "wavefront") {
		t.Errorf("a provider that is not there is not named: %v, %s", err, out)
	}
	t.Run("the shape of 2019 is stored as it should be, again and again", func(t *testing.T) {
		place := func() string {
			return c.kubectl("get", "rollout", "old", "-o", "jsonpath={.spec.strategy.canary.steps[0].setWeight}/{.spec.strategy.canary.maxSurge}/{.spec.strategy.steps}")
		}
		for i, weight := range []string{"20", "30", "30", "40", "50", "50"} {
			how := []string{"apply", "-f", "-"}
			if i >= 3 {
				how = append(how, "--server-side", "--force-conflicts")
			}
			out, err := c.tryWith(old(weight), how...)
			if err != nil || !strings.Contains(out, "Warning:") || !strings.Contains(out, "moved") {
				t.Errorf("no warning that steps were moved: %v, %s", err, out)
			}
			if got := place(); got != weight+"/1/" {
				t.Errorf("weight/maxSurge/what is left in the old place: %s, want %s/1/", got, weight)
			}
		}
	})
	t.Run("a dry run says the same and writes nothing", func(t *testing.T) {
		out, err := c.tryWith(strings.ReplaceAll(badRollout, "bad", "dry"), "apply", "--dry-run=server", "-f", "-")
		if err != nil || !strings.Contains(out, "setWeight") {
			t.Errorf("%v, %s", err, out)
		}
		if got, err := c.try("get", "rollout", "dry"); err == nil {
			t.Errorf("it is there: %s", got)
		}
	})
	t.Run("metadata and labels of others are not looked at", func(t *testing.T) {
		if out := c.kubectl("annotate", "rollout", "bad", "a=b"); strings.Contains(out, "Warning") {
			t.Errorf("an annotation is warned of: %s", out)
		}
		other := strings.Replace(badRollout, "{name: bad}", "{name: other, labels: {argo-rollouts.argoproj.io/controller-instance-id: team}}", 1)
		if out, err := apply(other); err != nil || strings.Contains(out, "Warning") {
			t.Errorf("an object of another instance is warned of: %v %s", err, out)
		}
	})
	t.Run("metrics are served on the port that was given", func(t *testing.T) {
		if code, body := get("http://127.0.0.1:"+strconv.Itoa(port)+"/metrics", ""); code != 200 || !strings.Contains(body, "rollout_reconcile") {
			t.Errorf("%d %.200s", code, body)
		}
	})
}

func TestStrictRefusesInvalidObjectsOfRollouts(t *testing.T) {
	t.Parallel()
	c := up(t, "--memory", "--data", t.TempDir(), "--nodes", "1", "--capabilities=-metrics", "--strict")
	eventually(t, func() string {
		out, err := c.tryWith(badRollout, "apply", "-f", "-")
		if err == nil {
			c.try("delete", "rollout", "bad", "--wait=false")
			return "a weight of 110 is let in: " + out
		}
		if !strings.Contains(out, "spec.strategy.canary.steps[0].setWeight") {
			return "it is not said why: " + out
		}
		return ""
	})
	if out, err := c.tryWith(badTemplate, "apply", "-f", "-"); err == nil || !strings.Contains(strings.ToLower(out), "wavefront") {
		t.Errorf("a provider that is not there is let in: %s", out)
	}
	if out, err := c.tryWith(old("20"), "apply", "-f", "-"); err != nil || !strings.Contains(out, "moved") {
		t.Errorf("the shape of 2019 is refused: %s", out)
	}
}
