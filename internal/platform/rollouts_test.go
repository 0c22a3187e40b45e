package platform

import (
	"fmt"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/rehearse/play"
)

// rolloutsAreCarriedOut makes a Rollout whose canary a Job judges, with Fairway's own rights, as a user who may edit.
func rolloutsAreCarriedOut(t *testing.T, c *Cluster) {
	client := kubernetes.NewForConfigOrDie(c.Plane.Config())
	_, err := client.RbacV1().RoleBindings("default").Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "team"},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"}, Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "dev"}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := c.Plane.ConfigAs("dev")
	cfg.ContentType, cfg.AcceptContentTypes = "", ""
	d := dynamic.NewForConfigOrDie(cfg)
	templates := d.Resource(rollouts.GroupVersion.WithResource("analysistemplates")).Namespace("default")
	ros := d.Resource(rollouts.GroupVersion.WithResource("rollouts")).Namespace("default")
	template := object(`{"apiVersion":"argoproj.io/v1alpha1","kind":"AnalysisTemplate","metadata":{"name":"works"},"spec":{"metrics":[{"name":"job","provider":{"job":{"spec":{
		"backoffLimit":0,"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"busybox","command":["sh","-c","exit 0"]}]}}}}}}]}}`)
	ro := object(`{"apiVersion":"argoproj.io/v1alpha1","kind":"Rollout","metadata":{"name":"shipped"},"spec":{"replicas":2,"selector":{"matchLabels":{"app":"shipped"}},
		"template":{"metadata":{"labels":{"app":"shipped"}},"spec":{"containers":[{"name":"app","image":"nginx:1"}]}},
		"strategy":{"canary":{"steps":[{"setWeight":50},{"analysis":{"templates":[{"templateName":"works"}]}}]}}}}`)
	eventually(t, func() string { // the role takes up the rules of others a moment after they are there
		_, err := templates.Create(t.Context(), template, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err.Error()
		}
		return ""
	})
	if _, err := ros.Create(t.Context(), ro, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	healthy := func(tag string) {
		t.Helper()
		eventually(t, func() string {
			got, err := ros.Get(t.Context(), "shipped", metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			st, _, _ := unstructured.NestedMap(got.Object, "status")
			if st["phase"] != "Healthy" || st["observedGeneration"] != fmt.Sprint(got.GetGeneration()) || st["stableRS"] != st["currentPodHash"] {
				return fmt.Sprintf("with image %s the Rollout is %v (%v)", tag, st["phase"], st["message"])
			}
			return ""
		})
	}
	healthy("1")
	body := `{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"nginx:2"}]}}}}`
	if _, err := ros.Patch(t.Context(), "shipped", types.MergePatchType, []byte(body), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	healthy("2")
	runs, err := d.Resource(rollouts.GroupVersion.WithResource("analysisruns")).Namespace("default").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(runs.Items) != 1 {
		t.Fatalf("%d analysis runs, %v; want one", len(runs.Items), err)
	}
	if phase, _, _ := unstructured.NestedString(runs.Items[0].Object, "status", "phase"); phase != "Successful" {
		t.Errorf("the analysis run is %s", phase)
	}
	as := c.Plane.ConfigAs("nobody")
	as.ContentType, as.AcceptContentTypes = "", ""
	if _, err := dynamic.NewForConfigOrDie(as).Resource(rollouts.GroupVersion.WithResource("rollouts")).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a user without rights gets %v, want Forbidden", err)
	}
}

func TestRehearsalRunsTheCapabilitiesThatItsObjectsNeedAndNoOthers(t *testing.T) {
	t.Parallel()
	plain := &play.Document{Objects: []play.Object{{Object: []byte(`{"apiVersion":"apps/v1","kind":"Deployment"}`)}}}
	if on := rehearsed(plain); len(on) > 0 {
		t.Errorf("a scenario without Rollouts runs %s", names(on))
	}
	shipped := &play.Document{Objects: []play.Object{{Object: []byte(`{"apiVersion":"argoproj.io/v1alpha1","kind":"Rollout"}`)}}}
	if on := rehearsed(shipped); names(on) != "rollouts" {
		t.Errorf("a scenario with a Rollout runs %q", names(on))
	}
}
