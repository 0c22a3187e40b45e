package platform

import (
	"flag"
	"os"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the chart's rights anew")

// chartRights renders what the chart has to grant: the rights of every capability and those of the controller itself.
func chartRights(t *testing.T) string {
	t.Helper()
	cluster, roles := rules(Capabilities())
	in := byNamespace(append(roles, controllerRoles...))
	var out strings.Builder
	out.WriteString("# Generated from the capabilities: go test ./internal/platform -run Chart -update\n")
	write := func(kind, namespace string, rules []rbacv1.PolicyRule) {
		b, err := yaml.Marshal(map[string]any{"rules": rules})
		if err != nil {
			t.Fatal(err)
		}
		place := ""
		if namespace != "" {
			place = "\n  namespace: " + namespace
		}
		out.WriteString("---\napiVersion: rbac.authorization.k8s.io/v1\nkind: " + kind + "\nmetadata:\n  name: fairway" + place + "\n" + string(b))
		out.WriteString("---\napiVersion: rbac.authorization.k8s.io/v1\nkind: " + kind + "Binding\nmetadata:\n  name: fairway" + place +
			"\nroleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: " + kind + "\n  name: fairway\n" +
			"subjects:\n- kind: ServiceAccount\n  name: fairway\n  namespace: {{ .Release.Namespace }}\n")
	}
	write("ClusterRole", "", cluster)
	write("Role", "kube-system", in["kube-system"])
	write("Role", "{{ .Release.Namespace }}", in[Namespace])
	return out.String()
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
