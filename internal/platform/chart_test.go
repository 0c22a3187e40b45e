package platform

import (
	"flag"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the chart's rights anew")

// What the chart's templates say in place of values.
const (
	release    = "{{ .Release.Namespace }}"                                // the namespace that the chart is installed in
	watched    = "{{ .Values.namespace | default .Release.Namespace }}"    // the one namespace, where only one is seen
	instanceID = "{{ with .Values.rollouts.instanceID }}-{{ . }}{{ end }}" // after a name
	noInstance = "INSTANCE"                                                // what the rights are made with in its place
	fullName   = `{{ include "fairway.fullname" . }}`                      // begins the names of what is outside of the release's namespace
	noName     = "FULLNAME"                                                // what the rights are made with in its place
	verifying  = "{{- if .Values.rollouts.awsVerifyTargetGroup }}\n"
	bindings   = `{{ .Values.rollouts.awsTargetGroupBindingAPIVersion | default "elbv2.k8s.aws" | splitList "/" | first }}` // the group of TargetGroupBindings
	noBindings = "BINDINGS"                                                                                                 // what the rights are made with in its place
	forCluster = "{{- if not .Values.namespaced }}\n"
	end        = "{{- end }}\n"
)

// chartRights renders what the chart has to grant: the rights of the controller itself, and those of each capability
// that runs on existing clusters, unless the values switch it off.
func chartRights(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	out.WriteString("# Generated from the capabilities: go test ./internal/platform -run Chart -update\n")
	grantChart(t, &out, "fairway", nil, controllerRoles)
	o := RolloutOptions{InstanceID: noInstance, WebhookOwner: noName + "-rollouts"}
	on := chosen(t, o)
	o.VerifyTargetGroups, o.TargetGroupBindings = true, schema.GroupVersion{Group: noBindings, Version: "v1"}
	verify := chosen(t, o)
	for i := range on {
		c := &on[i]
		off := `{{- if not (has "-` + c.Name + `" .Values.capabilities) }}`
		if !c.Default {
			off = `{{- if has "` + c.Name + `" .Values.capabilities }}`
		}
		out.WriteString(off + "\n" + forCluster)
		name := "fairway-" + c.Name
		grantChart(t, &out, name, append(slices.Clone(c.Rules), installing(c)...), c.Roles)
		if len(c.Readers) > 0 {
			write(t, &out, map[string]any{"apiVersion": rbacv1.SchemeGroupVersion.String(), "kind": "ClusterRole",
				"metadata": map[string]any{"name": outside(readerRole(c)), "labels": aggregated}, "rules": c.Readers})
		}
		if len(c.Writers) > 0 {
			write(t, &out, map[string]any{"apiVersion": rbacv1.SchemeGroupVersion.String(), "kind": "ClusterRole",
				"metadata": map[string]any{"name": outside(writerRole(c)), "labels": editing}, "rules": c.Writers})
		}
		more := slices.DeleteFunc(slices.Clone(verify[i].Rules), func(r rbacv1.PolicyRule) bool {
			return slices.ContainsFunc(c.Rules, func(have rbacv1.PolicyRule) bool { return reflect.DeepEqual(r, have) })
		})
		if len(more) > 0 {
			out.WriteString(verifying)
			grantChart(t, &out, name+"-aws", more, nil)
			out.WriteString(end)
		}
		if c.Namespaced {
			out.WriteString("{{- else }}\n")
			own := slices.DeleteFunc(slices.Clone(c.Roles), func(r RoleRule) bool { return r.Whole })
			grantChart(t, &out, name, nil, own)
			grantChart(t, &out, name+"-namespaced", nil, inWatched(c.Rules))
			if len(more) > 0 {
				out.WriteString(verifying)
				grantChart(t, &out, name+"-aws", nil, inWatched(more))
				out.WriteString(end)
			}
		}
		out.WriteString(end + end)
	}
	return strings.NewReplacer("-"+noInstance, instanceID, noName, fullName, noBindings, "'"+bindings+"'").Replace(out.String())
}

// chosen are the capabilities on existing clusters.
func chosen(t *testing.T, o RolloutOptions) []Capability {
	t.Helper()
	on, err := Switches(nil).choose(Capabilities(o), false)
	if err != nil {
		t.Fatal(err)
	}
	return on
}

// inWatched are rights within the one namespace that is seen.
func inWatched(rules []rbacv1.PolicyRule) []RoleRule {
	var all []RoleRule
	for _, r := range within(rules) {
		all = append(all, RoleRule{Namespace: watched, Rule: r})
	}
	return all
}

// installing are the rights to install a capability's definitions. An embedded cluster needs none: there an administrator
// does it.
func installing(c *Capability) []rbacv1.PolicyRule {
	if len(c.CRDs) == 0 {
		return nil
	}
	group, resources := []string{"apiextensions.k8s.io"}, []string{"customresourcedefinitions"}
	return []rbacv1.PolicyRule{{APIGroups: group, Resources: resources, Verbs: []string{"create"}},
		{APIGroups: group, Resources: resources, ResourceNames: c.CRDs, Verbs: []string{"get", "watch", "patch"}}}
}

func grantChart(t *testing.T, out *strings.Builder, name string, cluster []rbacv1.PolicyRule, roles []RoleRule) {
	t.Helper()
	grant := func(kind, namespace string, rules []rbacv1.PolicyRule) {
		name := name
		if namespace != release {
			name = outside(name)
		}
		meta := map[string]any{"name": name}
		if namespace != "" {
			meta["namespace"] = namespace
		}
		group := rbacv1.SchemeGroupVersion.String()
		write(t, out, map[string]any{"apiVersion": group, "kind": kind, "metadata": meta, "rules": rules})
		write(t, out, map[string]any{"apiVersion": group, "kind": kind + "Binding", "metadata": meta,
			"roleRef":  map[string]any{"apiGroup": rbacv1.GroupName, "kind": kind, "name": name},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": ServiceAccount, "namespace": release}}})
	}
	if len(cluster) > 0 {
		grant("ClusterRole", "", cluster)
	}
	in := byNamespace(roles)
	for _, namespace := range slices.Sorted(maps.Keys(in)) {
		place := namespace
		if namespace == Namespace {
			place = release
		}
		grant("Role", place, in[namespace])
	}
}

// outside is the name, in the chart, of an object outside of the release's namespace, where another release's may lie beside it.
func outside(name string) string { return noName + strings.TrimPrefix(name, ServiceAccount) }

func write(t *testing.T, out *strings.Builder, object map[string]any) {
	t.Helper()
	b, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, value := range []string{release, watched} {
		text = strings.ReplaceAll(text, "'"+value+"'", value)
	}
	out.WriteString("---\n" + text)
}

func TestChartGrantsExactlyWhatCapabilitiesDeclare(t *testing.T) {
	const file = "../../charts/fairway/templates/rights.yaml"
	want := chartRights(t)
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != want {
		t.Errorf("%s differs from what the capabilities declare (%v); run the test with -update", file, err)
	}
}
