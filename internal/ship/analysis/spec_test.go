package analysis

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
)

// template has metrics by these names.
func template(metrics ...string) *argo.AnalysisTemplate {
	t := &argo.AnalysisTemplate{}
	for _, m := range metrics {
		t.Spec.Metrics = append(t.Spec.Metrics, argo.Metric{Name: m})
	}
	return t
}

func clusterTemplate(metrics ...string) *argo.ClusterAnalysisTemplate {
	return &argo.ClusterAnalysisTemplate{Spec: template(metrics...).Spec}
}

func refs(names ...string) (out []argo.AnalysisTemplateRef) {
	for _, n := range names {
		name, cluster := strings.CutPrefix(n, "cluster/")
		out = append(out, argo.AnalysisTemplateRef{TemplateName: name, ClusterScope: ptr.To(cluster)})
	}
	return out
}

func arg(name, value string) argo.Argument { return argo.Argument{Name: name, Value: &value} }

func secretArg(name, secret, key string) argo.Argument {
	return argo.Argument{Name: name, ValueFrom: &argo.ValueFrom{SecretKeyRef: &argo.SecretKeyRef{Name: secret, Key: key}}}
}

func metricNames(ms []argo.Metric) (out []string) {
	for i := range ms {
		out = append(out, ms[i].Name)
	}
	return out
}

func TestSpecListsNestedTemplatesOnceAndThoseOfTheClusterLast(t *testing.T) {
	t.Parallel()
	a, b, c := template("a"), template("b"), clusterTemplate("c")
	a.Spec.Templates = refs("cluster/c", "b", "b")
	c.Spec.Templates = refs("b", "cluster/d")
	templates := Templates{Namespaced: map[string]*argo.AnalysisTemplate{"a": a, "b": b},
		Cluster: map[string]*argo.ClusterAnalysisTemplate{"c": c, "d": clusterTemplate("d")}}
	spec, err := Spec(refs("a", "cluster/d", "a"), templates, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := metricNames(spec.Metrics); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("metrics %v", got)
	}
}

func TestSpecRefusesWhatCannotBeMerged(t *testing.T) {
	t.Parallel()
	circle, back := template("m"), template("n")
	circle.Spec.Templates, back.Spec.Templates = refs("back"), refs("circle")
	withArg := func(m string, a argo.Argument) *argo.AnalysisTemplate {
		x := template(m)
		x.Spec.Args = []argo.Argument{a}
		return x
	}
	withDry := func(m, rule string) *argo.AnalysisTemplate {
		x := template(m)
		x.Spec.DryRun = []argo.DryRun{{MetricName: rule}}
		return x
	}
	templates := Templates{Namespaced: map[string]*argo.AnalysisTemplate{
		"circle": circle, "back": back, "m": template("m"), "m2": template("m"), "one": withArg("1", arg("x", "1")), "two": withArg("2", arg("x", "2")),
		"open": withArg("o", argo.Argument{Name: "x"}), "dry": withDry("d", "d"), "dry2": withDry("e", "d"),
		"field": withArg("f", argo.Argument{Name: "x", ValueFrom: &argo.ValueFrom{FieldRef: &argo.FieldRef{FieldPath: "metadata.name"}}}),
	}}
	for name, c := range map[string]struct {
		refs   []argo.AnalysisTemplateRef
		dry    []argo.DryRun
		keep   []argo.MeasurementRetention
		reason string
	}{
		"a template that does not exist":         {refs: refs("gone"), reason: `analysistemplate.argoproj.io "gone" not found`},
		"a cluster template that does not exist": {refs: refs("cluster/gone"), reason: `clusteranalysistemplate.argoproj.io "gone" not found`},
		"a circle":                               {refs: refs("circle"), reason: "AnalysisTemplate circle → AnalysisTemplate back → AnalysisTemplate circle"},
		"two metrics of one name":                {refs: refs("m", "m2"), reason: "two metrics have the same name 'm'"},
		"two values of one argument":             {refs: refs("one", "two"), reason: "Argument `x` specified multiple times with different values: '1', '2'"},
		"an argument without a value":            {refs: refs("open"), reason: "args.x was not resolved"},
		"a field where there is no owner":        {refs: refs("field"), reason: "args.x was not resolved"},
		"two dry-run rules of one name":          {refs: refs("dry", "dry2"), reason: "two Dry-Run metric rules have the same name 'd'"},
		"a dry-run rule that matches nothing":    {refs: refs("m"), dry: []argo.DryRun{{MetricName: "q"}}, reason: "dryRun[0]: Rule didn't match any metric name(s)"},
		"a retention rule that matches nothing":  {refs: refs("m"), keep: []argo.MeasurementRetention{{MetricName: "^q"}}, reason: "measurementRetention[0]: Rule didn't match any metric name(s)"},
		"a rule that is no regular expression":   {refs: refs("m"), dry: []argo.DryRun{{MetricName: "("}}, reason: "is not a regular expression"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Spec(c.refs, templates, nil, c.dry, c.keep)
			if err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("error %v, want %q", err, c.reason)
			}
			if strings.Contains(c.reason, "not found") != apierrors.IsNotFound(err) {
				t.Errorf("IsNotFound is wrong about %v", err)
			}
		})
	}
}

func TestSpecBoundsHowDeepTemplatesNest(t *testing.T) {
	t.Parallel()
	all := map[string]*argo.AnalysisTemplate{}
	for i := range depthMax + 3 {
		x := template(fmt.Sprint("m", i))
		x.Spec.Templates = refs(fmt.Sprint(i + 1))
		all[fmt.Sprint(i)] = x
	}
	if _, err := Spec(refs("0"), Templates{Namespaced: all}, nil, nil, nil); err == nil || !strings.Contains(err.Error(), "nest more than") {
		t.Errorf("error %v", err)
	}
}

func TestSpecGivesArgumentsTheValueOfTheCallerThenOfTheTemplate(t *testing.T) {
	t.Parallel()
	x, y := template("x"), template("y")
	x.Spec.Args = []argo.Argument{{Name: "open"}, arg("default", "d"), secretArg("token", "s", "k"), arg("literal", "l")}
	y.Spec.Args = []argo.Argument{arg("open", "filled by y"), {Name: "default"}}
	spec, err := Spec(refs("x", "y"), Templates{Namespaced: map[string]*argo.AnalysisTemplate{"x": x, "y": y}},
		[]argo.Argument{arg("default", "given"), arg("unknown", "u"), secretArg("literal", "s", "k2"), {Name: "open"}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []argo.Argument{arg("open", "filled by y"), arg("default", "given"), secretArg("token", "s", "k"), secretArg("literal", "s", "k2")}
	if fmt.Sprint(describeArgs(spec.Args)) != fmt.Sprint(describeArgs(want)) {
		t.Errorf("args %v, want %v", describeArgs(spec.Args), describeArgs(want))
	}
	if *x.Spec.Args[1].Value != "d" {
		t.Error("the template itself was changed")
	}
}

func describeArgs(args []argo.Argument) (out []string) {
	for _, a := range args {
		text := a.Name + "=" + ptr.Deref(a.Value, "<nil>")
		if a.ValueFrom != nil && a.ValueFrom.SecretKeyRef != nil {
			text += " from " + a.ValueFrom.SecretKeyRef.Key
		}
		out = append(out, text)
	}
	return out
}

func TestRulesMatchNamesWithTheirArgumentsInPlace(t *testing.T) {
	t.Parallel()
	x := template("rate-{{ args.service }}")
	x.Spec.Args = []argo.Argument{{Name: "service"}}
	spec, err := Spec(refs("x"), Templates{Namespaced: map[string]*argo.AnalysisTemplate{"x": x}}, []argo.Argument{arg("service", "web")},
		[]argo.DryRun{{MetricName: "rate-w.b$"}}, nil)
	if err != nil || len(spec.DryRun) != 1 {
		t.Errorf("%v, %v", spec.DryRun, err)
	}
}

func TestArgsReadHashesAndFieldsOfTheRollout(t *testing.T) {
	t.Parallel()
	owner := map[string]any{
		"metadata": map[string]any{"name": "web", "namespace": "shop", "uid": "u1", "labels": map[string]any{"app": "web", "a/b.c": "d"}, "annotations": map[string]any{"x": "y"}},
		"spec":     map[string]any{"replicas": float64(1000000), "list": []any{map[string]any{"name": "first"}, int64(7)}, "ratio": 0.25, "on": true},
	}
	from := func(path string) *argo.ArgumentValueFrom {
		return &argo.ArgumentValueFrom{FieldRef: &argo.FieldRef{FieldPath: path}}
	}
	hash := func(which argo.ValueFromPodTemplateHash) *argo.ArgumentValueFrom {
		return &argo.ArgumentValueFrom{PodTemplateHashValue: &which}
	}
	for _, c := range []struct {
		from       *argo.ArgumentValueFrom
		want, fail string
	}{
		{nil, "literal", ""},
		{hash(argo.Stable), "sss", ""},
		{hash(argo.Latest), "lll", ""},
		{hash("Other"), "", "use Stable or Latest"},
		{from("metadata.name"), "web", ""},
		{from("metadata.labels['a/b.c']"), "d", ""},
		{from("metadata.labels['none']"), "", ""},
		{from("metadata.labels"), "a/b.c=\"d\"\napp=\"web\"", ""},
		{from("metadata.generation"), "", "unsupported fieldPath"},
		{from("spec.replicas"), "1000000", ""},
		{from("spec.list[0].name"), "first", ""},
		{from("spec.list[1]"), "7", ""},
		{from("spec.ratio"), "0.25", ""},
		{from("spec.on"), "true", ""},
		{from("spec.list[2]"), "", "index 2 out of range"},
		{from("spec.list[-1]"), "", "invalid index '-1'"},
		{from("spec.list"), "", "must terminate in a primitive value"},
		{from("spec.none"), "", "invalid path spec.none in rollout"},
		{from("spec.replicas.deeper"), "", "invalid path spec.replicas.deeper in rollout"},
	} {
		got, err := Args([]argo.AnalysisRunArgument{{Name: "x", Value: "literal", ValueFrom: c.from}}, owner, "sss", "lll")
		switch {
		case c.fail != "":
			if err == nil || !strings.Contains(err.Error(), c.fail) {
				t.Errorf("%v: error %v, want %q", c.from, err, c.fail)
			}
		case err != nil:
			t.Errorf("%v: %v", c.from, err)
		case *got[0].Value != c.want:
			t.Errorf("%v: %q, want %q", c.from, *got[0].Value, c.want)
		}
	}
}

func TestSubstitutionReachesEveryFieldAndFailsOnWhatNobodyGave(t *testing.T) {
	t.Parallel()
	m := argo.Metric{Name: "{{args.n}}", Interval: "{{ args.i }}", SuccessCondition: `result < {{args.limit}} && "{{args.q}}" != ""`}
	got, err := resolve(&m, values{"args.n": "rate", "args.i": "5s", "args.limit": "0.5", "args.q": "a\"b\n\x00\u2028{{args.n}}"})
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "rate" || got.Interval != "5s" || got.SuccessCondition != "result < 0.5 && \"a\"b\n\x00\u2028{{args.n}}\" != \"\"" {
		t.Errorf("%+v", got)
	}
	for text, reason := range map[string]string{"{{args.none}}": "failed to resolve {{args.none}}", "{{other}}": "failed to resolve {{other}}", "a {{args.n": "{{ without }}"} {
		if _, err := resolve(&argo.Metric{Name: text}, values{"args.n": "x"}); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v, want %q", text, err, reason)
		}
	}
}

func TestAnyValueOfAnArgumentArrivesUnchanged(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := strings.ToValidUTF8(rapid.String().Draw(t, "value"), "")
		got, err := resolve(&argo.Metric{Name: "m", Provider: argo.MetricProvider{Web: &argo.WebMetric{URL: "x{{args.v}}y"}}}, values{"args.v": v})
		if err != nil {
			t.Fatal(err)
		}
		if got.Provider.Web.URL != "x"+v+"y" {
			t.Fatalf("%q became %q", v, got.Provider.Web.URL)
		}
	})
}
