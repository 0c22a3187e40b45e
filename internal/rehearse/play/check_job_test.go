package play

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario"
)

// prepared is a run of a service with an old and a new revision, whose cluster is not booted.
func prepared(t *testing.T) *run {
	t.Helper()
	s, diags := scenario.Parse([]byte(`
apiVersion: fairway.dev/v1alpha1
kind: Scenario
spec:
  duration: 1h
  load: [{to: shop/web, rate: 10}]
  services: [{match: shop/web, cpu: 1ms}, {match: shop/web, image: "*:2", errors: 100%}]
`), "s.yaml")
	if scenario.HasErrors(diags) {
		t.Fatal(diags)
	}
	scenario.Default(&s)
	doc := &Document{Scenario: s, Seed: 1}
	for _, text := range []string{
		`{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: web, namespace: shop}, spec: {template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: "web:1"}]}}}}`,
		`{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {selector: {app: web}, ports: [{port: 80}]}}`,
	} {
		b, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		doc.Objects = append(doc.Objects, Object{Object: json.RawMessage(b)})
	}
	r := &run{doc: doc, wake: make(chan struct{}, 1), holds: holds{}}
	if err := r.prepare(); err != nil {
		t.Fatal(err)
	}
	service, ok := r.topology.ServiceNamed("shop/web")
	if !ok {
		t.Fatal("no service shop/web")
	}
	for name, image := range map[string]string{"old": "web:1", "new": "web:2"} {
		o := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app": "web"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: image}}}}
		r.cluster.order = append(r.cluster.order, &pod{obj: o, ready: true, rec: record.Pod{Namespace: "shop", Name: name, Revision: name}, demand: demandPod{known: true, service: service}})
	}
	return r
}

// ends is a container that ends well after a minute, unless something says otherwise.
type ends struct{}

func (ends) Choose(virtual.Choice) virtual.Model {
	return virtual.Model{Exits: true, RunsFor: time.Minute}
}

func TestAJobThatSendsRequestsEndsAsThePodsItAsksAnswer(t *testing.T) {
	t.Parallel()
	r := prepared(t)
	c := &checks{Behaviour: ends{}, r: r, done: map[string]virtual.Model{}}
	for _, k := range []struct {
		name, check string
		policy      corev1.RestartPolicy
		code        int32
		says        string
	}{
		{"the sound revision", "service=web revision=old requests=20", corev1.RestartPolicyNever, 0, "0 of 20 requests to web failed, 0 may"},
		{"the faulty one", "service=shop/web revision=new requests=20 errors=10%", corev1.RestartPolicyNever, 1, "20 of 20 requests to shop/web failed, 2 may"},
		{"both at once", "service=web requests=100 errors=90%", corev1.RestartPolicyNever, 0, "requests to web failed, 90 may"},
		{"a revision without pods", "service=web revision=none", corev1.RestartPolicyNever, 2, "no pod of web none answers"},
		{"a service that is not there", "service=api", corev1.RestartPolicyNever, 2, "no pod of api answers"},
		{"an annotation nobody can read", "service=web requests=some", corev1.RestartPolicyNever, 2, "not a number"},
		{"a container that serves", "service=web revision=new", corev1.RestartPolicyAlways, 0, ""},
		{"no annotation", "", corev1.RestartPolicyNever, 0, ""},
	} {
		o := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: k.name}, Spec: corev1.PodSpec{RestartPolicy: k.policy}}
		if k.check != "" {
			o.Annotations = map[string]string{"fairway.dev/rehearse-check": k.check}
		}
		o.UID = "uid"
		q := virtual.Choice{Pod: o, Container: &corev1.Container{Name: k.name}}
		m := c.Choose(q)
		if m.ExitCode != k.code || !strings.Contains(m.Message, k.says) || k.says == "" && m.Message != "" {
			t.Errorf("%s: exit code %d, %q; want %d, %q", k.name, m.ExitCode, m.Message, k.code, k.says)
		}
		if again := c.Choose(q); again != m {
			t.Errorf("%s: asked again it answers %+v, not %+v", k.name, again, m)
		}
	}
}
