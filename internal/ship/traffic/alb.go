package traffic

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	albField       = "spec.strategy.canary.trafficRouting.alb"
	albPrefix      = "alb.ingress.kubernetes.io"
	albActions     = "/actions."
	albConditions  = "/conditions."
	albBookkeeping = "rollouts.argoproj.io/managed-alb-annotations"
	albOldBooks    = "rollouts.argoproj.io/managed-alb-actions"

	albStickySecondsMax = 604800 // 7 days, AWS's limit on the stickiness of target groups
)

// alb drives the AWS Load Balancer Controller by annotations on the user's Ingresses.
// https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/#actions
type alb struct {
	namespace string
	config    *argo.ALBTrafficRouting
}

// The JSON of an action, with the capitals that the peer writes; the controller reads either.
type (
	albAction struct {
		Type          string     `json:"Type"`
		ForwardConfig albForward `json:"ForwardConfig"`
	}
	albForward struct {
		TargetGroups                []albTarget `json:"TargetGroups"`
		TargetGroupStickinessConfig *albSticky  `json:"TargetGroupStickinessConfig,omitempty"`
	}
	albTarget struct {
		ServiceName string `json:"ServiceName,omitempty"`
		ServicePort string `json:"ServicePort,omitempty"`
		Weight      *int64 `json:"Weight,omitempty"`
	}
	albSticky struct {
		Enabled         bool  `json:"Enabled"`
		DurationSeconds int64 `json:"DurationSeconds"`
	}
	albCondition struct {
		Field            string    `json:"field"`
		HTTPHeaderConfig albHeader `json:"httpHeaderConfig"`
	}
	albHeader struct {
		HTTPHeaderName string   `json:"httpHeaderName"`
		Values         []string `json:"values"`
	}
)

// albBooks are the annotations that each Rollout manages on an Ingress, by the Rollout's name.
type albBooks map[string][]string

func (alb) Kind() string { return "ALB" }

func (r alb) Refs(Intent) []Ref {
	var refs []Ref
	ingresses, _ := r.ingresses()
	for _, name := range ingresses {
		refs = append(refs, ingressRef(r.namespace, name))
	}
	return refs
}

// ingresses are the user's Ingresses, and the field they come from.
func (r alb) ingresses() ([]string, string) {
	if len(r.config.Ingresses) > 0 {
		return r.config.Ingresses, albField + ".ingresses"
	}
	if r.config.Ingress != "" {
		return []string{r.config.Ingress}, albField + ".ingress"
	}
	return nil, ""
}

func (r alb) Translate(in Intent, objects Objects) (Result, error) {
	ingresses, field := r.ingresses()
	if len(ingresses) == 0 {
		return Result{}, fmt.Errorf("%s names no ingress; name one", albField)
	}
	want, err := r.annotations(in)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", albField, err)
	}
	root := or(r.config.RootService, in.StableService)
	var changes []Change
	for _, name := range ingresses {
		ref := ingressRef(r.namespace, name)
		ingress, err := objects.copyOf(ref, field)
		if err != nil {
			return Result{}, err
		}
		if !ingressServes(ingress, root) {
			return Result{}, fmt.Errorf("%s: ingress `%s` has no rules using service %s backend; add a path with that service and the port name use-annotation, or correct %s",
				ref, name, root, albField)
		}
		if err := r.write(in, ingress, want); err != nil {
			return Result{}, fmt.Errorf("%s: %w", ref, err)
		}
		changes = changed(changes, objects[ref], ingress, "PatchingALBIngress", fmt.Sprintf("Updating Ingress `%s` to desiredWeight '%d'", name, in.Weight))
	}
	return Result{Changes: changes}, nil
}

// write sets the annotations that are wanted, takes away those that this Rollout wrote and wants no more, and keeps the paths
// of header routes and the books in step with them.
func (r alb) write(in Intent, ingress *unstructured.Unstructured, want []albAnnotation) error {
	books, err := readBooks(ingress)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, a := range want {
		wanted[a.key] = true
	}
	if err := takeBack(ingress, books[in.Name], wanted); err != nil {
		return err
	}
	keys := slices.DeleteFunc(books[in.Name], func(k string) bool { return !wanted[k] })
	for _, a := range want {
		if a.value != ingress.GetAnnotations()[a.key] {
			setAnnotation(ingress, a.key, a.value)
		}
		if !slices.Contains(keys, a.key) {
			keys = append(keys, a.key)
		}
	}
	books[in.Name] = keys
	if err := books.write(ingress); err != nil {
		return err
	}
	return r.paths(in, ingress)
}

// paths puts a path for each header route in force at the front of each rule, in the order of managedRoutes.
func (r alb) paths(in Intent, ingress *unstructured.Unstructured) error {
	var names []string
	for _, h := range r.headers(in) {
		names = append(names, h.Name)
	}
	return ingressPaths(ingress, func(paths []map[string]any) []map[string]any {
		var others, front []map[string]any
		existing := map[string]map[string]any{}
		for _, p := range paths {
			if service := backendService(p); in.managed(service) {
				existing[service] = p
			} else {
				others = append(others, p)
			}
		}
		for _, name := range names {
			if existing[name] == nil {
				existing[name] = map[string]any{
					"path": "/*", "pathType": "ImplementationSpecific",
					"backend": map[string]any{"service": map[string]any{"name": name, "port": map[string]any{"name": "use-annotation"}}},
				}
			}
			front = append(front, existing[name])
		}
		return append(front, others...)
	})
}

// headers are the header routes in force, in the order of managedRoutes.
func (r alb) headers(in Intent) []argo.SetHeaderRoute {
	var out []argo.SetHeaderRoute
	if in.Remove || in.Routing == nil {
		return nil
	}
	for _, m := range in.Routing.ManagedRoutes {
		for _, h := range in.Headers {
			if h.Name == m.Name && h.Match != nil {
				out = append(out, h)
			}
		}
	}
	return out
}

type albAnnotation struct{ key, value string }

// annotations that an Ingress must have, the weighted action first.
func (r alb) annotations(in Intent) ([]albAnnotation, error) {
	stable, err := in.stableWeight()
	if err != nil {
		return nil, err
	}
	prefix := or(r.config.AnnotationPrefix, albPrefix)
	targets := []albTarget{r.target(in.CanaryService, in.Weight)}
	for _, d := range in.Additional {
		targets = append(targets, r.target(d.ServiceName, d.Weight))
	}
	action, err := r.action(append(targets, r.target(in.StableService, stable)))
	if err != nil {
		return nil, err
	}
	out := []albAnnotation{{prefix + albActions + or(r.config.RootService, in.StableService), action}}
	for _, h := range r.headers(in) {
		action, err := r.action([]albTarget{r.target(in.CanaryService, 100)})
		if err != nil {
			return nil, err
		}
		condition, err := headerConditions(h)
		if err != nil {
			return nil, err
		}
		out = append(out, albAnnotation{prefix + albActions + h.Name, action}, albAnnotation{prefix + albConditions + h.Name, condition})
	}
	return out, nil
}

func (r alb) target(service string, weight int32) albTarget {
	w := int64(weight)
	return albTarget{ServiceName: service, ServicePort: strconv.Itoa(int(r.config.ServicePort)), Weight: &w}
}

func (r alb) action(targets []albTarget) (string, error) {
	action := albAction{Type: "forward", ForwardConfig: albForward{TargetGroups: targets}}
	if s := r.config.StickinessConfig; s != nil && s.Enabled {
		if s.DurationSeconds < 1 || s.DurationSeconds > albStickySecondsMax {
			return "", fmt.Errorf("stickinessConfig.durationSeconds is %d: it must be from 1 to %d (7 days)",
				s.DurationSeconds, albStickySecondsMax)
		}
		action.ForwardConfig.TargetGroupStickinessConfig = &albSticky{Enabled: true, DurationSeconds: s.DurationSeconds}
	}
	return marshal(action)
}

// headerConditions is the JSON of the conditions of a header route; values of one header are alternatives in one condition.
func headerConditions(h argo.SetHeaderRoute) (string, error) {
	var conditions []albCondition
	for i, m := range h.Match {
		if m.HeaderValue == nil || m.HeaderValue.Exact == "" {
			return "", fmt.Errorf("setHeaderRoute %q match[%d]: ALB compares headers exactly; set headerValue.exact", h.Name, i)
		}
		same := slices.IndexFunc(conditions, func(c albCondition) bool { return c.HTTPHeaderConfig.HTTPHeaderName == m.HeaderName })
		if same < 0 {
			same = len(conditions)
			conditions = append(conditions, albCondition{Field: "http-header", HTTPHeaderConfig: albHeader{HTTPHeaderName: m.HeaderName}})
		}
		config := &conditions[same].HTTPHeaderConfig
		config.Values = append(config.Values, m.HeaderValue.Exact)
	}
	return marshal(conditions)
}

func marshal(value any) (string, error) {
	b, err := json.Marshal(value)
	return string(b), err
}

func readBooks(ingress *unstructured.Unstructured) (albBooks, error) {
	books := albBooks{}
	text := ingress.GetAnnotations()[albBookkeeping]
	if text == "" {
		return books, nil
	}
	if err := json.Unmarshal([]byte(text), &books); err != nil || books == nil {
		return nil, fmt.Errorf("annotation %s is not a JSON object of lists (%v); correct or remove it", albBookkeeping, err)
	}
	return books, nil
}

func (b albBooks) write(ingress *unstructured.Unstructured) error {
	if len(b) == 0 {
		setAnnotation(ingress, albBookkeeping, "")
		return nil
	}
	if have, err := readBooks(ingress); err == nil && sameBooks(have, b) {
		return nil
	}
	text, err := marshal(b)
	if err != nil {
		return err
	}
	setAnnotation(ingress, albBookkeeping, text)
	return nil
}

func sameBooks(a, b albBooks) bool {
	if len(a) != len(b) {
		return false
	}
	for name, keys := range a {
		if other, ok := b[name]; !ok || !slices.Equal(keys, other) {
			return false
		}
	}
	return true
}

// takeBack undoes the annotations of the books that are not wanted: those of header routes go, together with their paths; a
// weighted action sends all traffic to the Service it is named after.
func takeBack(ingress *unstructured.Unstructured, keys []string, wanted map[string]bool) error {
	for _, key := range keys {
		prefix, name, isAction := strings.Cut(key, albActions)
		if wanted[key] || !isAction {
			continue
		}
		condition := prefix + albConditions + name
		if slices.Contains(keys, condition) {
			setAnnotation(ingress, key, "")
			setAnnotation(ingress, condition, "")
			if err := ingressPaths(ingress, func(paths []map[string]any) []map[string]any {
				return slices.DeleteFunc(paths, func(p map[string]any) bool { return backendService(p) == name })
			}); err != nil {
				return err
			}
			continue
		}
		action, err := allTo(name, ingress.GetAnnotations()[key])
		if err != nil {
			return fmt.Errorf("annotation %s: %w", key, err)
		}
		setAnnotation(ingress, key, action)
	}
	return nil
}

// allTo is the JSON of an action that forwards to one Service alone, on the port and with the stickiness of the action before.
// "" when the action before is gone, or tells no port.
func allTo(service, before string) (string, error) {
	if before == "" {
		return "", nil
	}
	var action albAction
	if err := json.Unmarshal([]byte(before), &action); err != nil {
		return "", fmt.Errorf("not the JSON of an action (%w); correct or remove it", err)
	}
	all := int64(100)
	for _, t := range action.ForwardConfig.TargetGroups {
		if t.ServiceName == service || len(action.ForwardConfig.TargetGroups) == 1 {
			action.ForwardConfig.TargetGroups = []albTarget{{ServiceName: service, ServicePort: t.ServicePort, Weight: &all}}
			return marshal(action)
		}
	}
	if n := len(action.ForwardConfig.TargetGroups); n > 0 { // named after a root service: the stable is the last of its targets
		stable := action.ForwardConfig.TargetGroups[n-1]
		stable.Weight = &all
		action.ForwardConfig.TargetGroups = []albTarget{stable}
		return marshal(action)
	}
	return "", nil
}

// releaseIngress takes from an Ingress what a Rollout put there.
func releaseIngress(ingress *unstructured.Unstructured, rollout string) error {
	books, err := readBooks(ingress)
	if err != nil {
		return err
	}
	keys, ok := books[rollout]
	if !ok {
		return nil
	}
	if err := takeBack(ingress, keys, nil); err != nil {
		return err
	}
	delete(books, rollout)
	setAnnotation(ingress, albOldBooks, "")
	return books.write(ingress)
}
