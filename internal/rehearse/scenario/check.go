package scenario

import (
	"fmt"
	"path"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/manifest"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/spelling"
)

// Check holds a scenario against the objects it is played on: every Service, workload, container and quota it names
// must exist. Objects that steps apply count as existing.
func Check(s *v1alpha1.Scenario, objects []manifest.Object) []Diagnostic {
	return New(*s, "").Check(objects)
}

// Check is the function of that name, with places as precise as Load's. When not all objects could be read it says nothing.
func (l *Loaded) Check(objects []manifest.Object) []Diagnostic {
	if l.unread {
		return nil
	}
	c := &checker{validator: &validator{scenario: &l.Scenario, places: l.places, broken: l.broken}, names: index(&l.Scenario, objects)}
	spec := &l.Scenario.Spec
	c.cluster(&spec.Cluster)
	for i := range spec.Load {
		c.load(&spec.Load[i])
	}
	for i := range spec.Services {
		c.service(&spec.Services[i], "")
	}
	for i := range spec.Steps {
		c.step(&spec.Steps[i])
	}
	for i := range spec.Expect {
		c.expectation(&spec.Expect[i])
	}
	return l.shown(c.diags)
}

// workloadKinds are the kinds a name without a kind may mean.
var workloadKinds = map[string]bool{"Deployment": true, "StatefulSet": true, "DaemonSet": true, "ReplicaSet": true, "ReplicationController": true,
	"Job": true, "CronJob": true, "Rollout": true}

// madeByControllers are kinds whose objects may exist without a manifest.
var madeByControllers = map[string]bool{"Pod": true, "ReplicaSet": true, "Job": true, "Endpoints": true, "EndpointSlice": true,
	"ServiceAccount": true, "ControllerRevision": true, "Node": true, "Event": true, "Lease": true, "ConfigMap": true, "Secret": true, "Namespace": true}

// names is what can be referred to, all as Kind/namespace/name.
type names struct {
	objects    map[string]*unstructured.Unstructured
	ordered    []string
	namespaces map[string]bool
}

func index(s *v1alpha1.Scenario, objects []manifest.Object) *names {
	n := &names{objects: map[string]*unstructured.Unstructured{}, namespaces: map[string]bool{}}
	for _, o := range objects {
		n.add(o.Object)
	}
	for i := range s.Spec.Steps {
		for _, item := range s.Spec.Steps[i].Apply {
			object := &unstructured.Unstructured{}
			if item.Object != nil && object.UnmarshalJSON(item.Object) == nil {
				n.add(object)
			}
		}
	}
	sort.Strings(n.ordered)
	return n
}

func (n *names) add(o *unstructured.Unstructured) {
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = "default"
	}
	key := o.GetKind() + "/" + namespace + "/" + o.GetName()
	if n.objects[key] == nil {
		n.ordered = append(n.ordered, key)
	}
	n.objects[key] = o
	n.namespaces[namespace] = true
}

// short lists the namespace/name of objects of the kinds accepted.
func (n *names) short(accept func(kind string) bool) []string {
	var list []string
	seen := map[string]bool{}
	for _, key := range n.ordered {
		kind, name, _ := strings.Cut(key, "/")
		if accept(kind) && !seen[name] {
			seen[name] = true
			list = append(list, name)
		}
	}
	return list
}

func isService(kind string) bool  { return kind == "Service" }
func isWorkload(kind string) bool { return workloadKinds[kind] }
func isTarget(kind string) bool   { return isService(kind) || isWorkload(kind) }

// find gives the object of a workload reference.
func (n *names) find(w v1alpha1.Workload, accept func(kind string) bool) *unstructured.Unstructured {
	kind, namespace, name, ok := w.Split()
	if !ok {
		return nil
	}
	for _, key := range n.ordered {
		k, rest, _ := strings.Cut(key, "/")
		if rest == namespace+"/"+name && (kind == k || kind == "" && accept(k)) {
			return n.objects[key]
		}
	}
	return nil
}

type checker struct {
	*validator
	names *names
}

func (c *checker) warn(at v1alpha1.Source, field, hint, format string, args ...any) {
	c.diags.add(Warning, c.places.of(at, field), hint, format, args...)
}

// target reports a reference to nothing.
func (c *checker) target(at v1alpha1.Source, field, what string, w v1alpha1.Workload, accept func(string) bool) *unstructured.Unstructured {
	found := c.names.find(w, accept)
	if _, namespace, name, ok := w.Split(); found == nil && ok { // what is no reference has been refused before
		c.fail(at, field, suggestObject(namespace, name, c.names.short(accept)), "there is no %s %s", what, w)
	}
	return found
}

// suggestObject is the hint for namespace/name: the same name elsewhere is meant more often than a similar one.
func suggestObject(namespace, name string, known []string) string {
	for _, one := range known {
		if strings.HasSuffix(one, "/"+name) {
			return fmt.Sprintf("did you mean %s?", one)
		}
	}
	return spelling.Suggest(namespace+"/"+name, known)
}

func (c *checker) cluster(cluster *v1alpha1.Cluster) {
	none := v1alpha1.Source{}
	for _, name := range sortedKeys(cluster.Replicas) {
		c.target(none, "spec.cluster.replicas["+name+"]", "workload", v1alpha1.Workload(name), isWorkload)
	}
	for i := range cluster.Patch {
		c.object(cluster.Patch[i].Source, "object", cluster.Patch[i].Object)
	}
	for i, pattern := range cluster.Drop {
		if len(c.names.ordered) > 0 && !c.names.dropped(pattern) {
			c.warn(none, indexed("spec.cluster.drop", i), "remove it", "drop: nothing matches %q", pattern)
		}
	}
}

func (n *names) dropped(pattern string) bool {
	for _, key := range n.ordered {
		if Dropped(pattern, n.objects[key]) {
			return true
		}
	}
	return false
}

// Dropped tells whether an entry of cluster.drop matches an object: Kind/namespace/name or namespace/name with * and ?,
// or a label selector.
func Dropped(pattern string, o *unstructured.Unstructured) bool {
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = "default"
	}
	switch strings.Count(pattern, "/") {
	case 1:
		if !strings.ContainsAny(pattern, "=!") {
			ok, err := path.Match(pattern, namespace+"/"+o.GetName())
			return err == nil && ok
		}
	case 2:
		ok, err := path.Match(pattern, o.GetKind()+"/"+namespace+"/"+o.GetName())
		return err == nil && ok
	}
	selector, err := labels.Parse(pattern)
	return err == nil && selector.Matches(labels.Set(o.GetLabels()))
}

func (c *checker) load(l *v1alpha1.Load) {
	if c.routedLoad(l) {
		return
	}
	o := c.target(l.Source, "to", "Service, Deployment or Rollout", v1alpha1.Workload(l.To), func(kind string) bool { return isService(kind) || kind == "Deployment" || kind == rolloutKind })
	if o == nil || !isService(o.GetKind()) {
		return
	}
	selector, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector")
	if !c.names.selected(o.GetNamespace(), selector) {
		c.fail(l.Source, "to", "make its selector that of a workload's pods", "nothing answers at Service %s: no workload's pods have the labels %s", l.To, labels.Set(selector))
	}
}

// selected tells whether a Service's selector matches the pods of a workload, or may do so: what kinds of other groups make
// is not known.
func (n *names) selected(namespace string, selector map[string]string) bool {
	match := labels.SelectorFromSet(selector)
	for _, key := range n.ordered {
		o := n.objects[key]
		switch group := o.GroupVersionKind().Group; {
		case group == rollouts.GroupVersion.Group && o.GetKind() != "Experiment": // a Rollout has a template as a Deployment has
		case !scheme.Scheme.IsGroupRegistered(group):
			return true
		}
		made := o.GetLabels()
		if o.GetKind() != "Pod" {
			var ok bool
			if made, ok, _ = unstructured.NestedStringMap(o.Object, "spec", "template", "metadata", "labels"); !ok {
				continue
			}
		}
		if o.GetNamespace() == namespace && len(selector) > 0 && match.Matches(labels.Set(made)) {
			return true
		}
	}
	return false
}

func (c *checker) service(s *v1alpha1.Service, prefix string) {
	namespace := ""
	switch {
	case s.Match.Name == "":
		namespace = s.Match.Namespace
	case strings.ContainsAny(s.Match.Name, "*?["):
		if !c.names.globMatches(s.Match.Name) {
			c.warn(s.Source, prefix+"match", spelling.Suggest(s.Match.Name, c.names.short(isTarget)), "match: nothing matches %q", s.Match.Name)
		}
		namespace = literalNamespace(s.Match.Name)
	default:
		c.target(s.Source, prefix+"match", "Service or workload", v1alpha1.Workload(s.Match.Name), isTarget)
		_, namespace, _, _ = v1alpha1.Workload(s.Match.Name).Split()
	}
	c.calls(s.Source, prefix+"calls", namespace, s.Calls)
	for _, route := range sortedKeys(s.Routes) {
		c.calls(s.Source, prefix+"routes["+route+"].calls", namespace, s.Routes[route].Calls)
	}
}

// literalNamespace is the namespace of a glob, when that part is no glob.
func literalNamespace(glob string) string {
	parts := strings.Split(glob, "/")
	namespace := parts[len(parts)-2]
	if strings.ContainsAny(namespace, "*?[") {
		return ""
	}
	return namespace
}

func (n *names) globMatches(glob string) bool {
	for _, key := range n.ordered {
		kind, name, _ := strings.Cut(key, "/")
		text := name
		if strings.Count(glob, "/") == 2 {
			text = key
		}
		if ok, err := path.Match(glob, text); err == nil && ok && isTarget(kind) {
			return true
		}
	}
	return false
}

func (c *checker) calls(at v1alpha1.Source, field, namespace string, calls v1alpha1.Calls) {
	if namespace == "" {
		return // matched in several namespaces: each call resolves in its caller's own
	}
	exists := func(ns, name string) bool { return c.names.objects["Service/"+ns+"/"+name] != nil }
	for i, group := range calls {
		for _, call := range group {
			ns, service, _ := call.Resolve(namespace, exists)
			if !exists(ns, service) {
				c.fail(at, indexed(field, i), spelling.Suggest(service, c.names.inNamespace(ns)), "calls: there is no Service %s/%s", ns, service)
			}
		}
	}
}

func (n *names) inNamespace(namespace string) []string {
	var list []string
	for _, name := range n.short(isService) {
		if own, ok := strings.CutPrefix(name, namespace+"/"); ok {
			list = append(list, own)
		}
	}
	return list
}

func (c *checker) object(at v1alpha1.Source, field string, r v1alpha1.ObjectRef) {
	kind, _, _ := strings.Cut(r.Kind, ".")
	namespace := r.Namespace
	if namespace == "" {
		namespace = "default"
	}
	if c.names.objects[kind+"/"+namespace+"/"+r.Name] != nil {
		return
	}
	hint := suggestObject(namespace, r.Name, c.names.short(func(k string) bool { return k == kind }))
	if madeByControllers[kind] {
		c.warn(at, field, hint, "no manifest holds %s; it must exist when the step comes", r)
		return
	}
	c.fail(at, field, hint, "there is no %s", r)
}

func (c *checker) step(s *v1alpha1.Step) {
	at := s.Source
	for i, r := range s.Delete {
		c.object(at, indexed("delete", i), r)
	}
	if s.Patch != nil {
		c.object(at, "patch.object", s.Patch.Object)
	}
	if a := s.Scale; a != nil {
		c.target(at, "scale.workload", "workload", a.Workload, isWorkload)
	}
	if a := s.SetImage; a != nil {
		if w := c.target(at, "setImage.workload", "workload", a.Workload, isWorkload); w != nil {
			c.container(at, w, a)
		}
	}
	if a := s.Restart; a != nil {
		c.target(at, "restart", "workload", a.Workload, isWorkload)
	}
	if a := s.Undo; a != nil {
		c.target(at, "undo", "workload", a.Workload, isWorkload)
	}
	c.rolloutStep(s)
	if s.Set != nil {
		c.service(s.Set, "")
	}
	if k := s.KillPods; k != nil && k.Workload != "" {
		c.target(at, "killPods.workload", "workload", k.Workload, isWorkload)
	}
	if q := s.Quota; q != nil && c.names.objects["ResourceQuota/"+q.Namespace+"/"+q.Name] == nil {
		c.fail(at, "quota.name", suggestObject(q.Namespace, q.Name, c.names.short(func(k string) bool { return k == "ResourceQuota" })),
			"there is no ResourceQuota %s/%s", q.Namespace, q.Name)
	}
}

// container checks that it is clear which container gets the new image.
func (c *checker) container(at v1alpha1.Source, w *unstructured.Unstructured, a *v1alpha1.SetImageAction) {
	list, _, _ := unstructured.NestedSlice(w.Object, "spec", "template", "spec", "containers")
	if _, ok, _ := unstructured.NestedMap(w.Object, "spec", "workloadRef"); ok {
		return // the containers stand in the workload it refers to
	}
	var names, same []string
	for _, item := range list {
		fields, ok := item.(map[string]any)
		if !ok {
			continue
		}
		name, _ := fields["name"].(string)
		image, _ := fields["image"].(string)
		names = append(names, name)
		if repository(image) == repository(a.Image) {
			same = append(same, name)
		}
	}
	switch {
	case a.Container != "":
		for _, name := range names {
			if name == a.Container {
				return
			}
		}
		c.fail(at, "setImage.container", spelling.Suggest(a.Container, names), "%s has no container %q", a.Workload, a.Container)
	case len(names) > 1 && len(same) != 1:
		c.fail(at, "setImage", "write container: "+strings.Join(names, " or "), "%s has %d containers, and the image does not tell which is meant", a.Workload, len(names))
	}
}

// repository is an image without its tag and digest.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
		image = image[:i]
	}
	return image
}

func (c *checker) expectation(e *v1alpha1.Expectation) {
	at := e.Source
	service := func(field, text string) {
		if text == "" {
			return
		}
		parts := strings.SplitN(text, "/", 3)
		if len(parts) >= 2 {
			c.target(at, field, "Service", v1alpha1.Workload(parts[0]+"/"+parts[1]), isTarget)
		}
	}
	if e.SLO != nil {
		service("slo.service", e.SLO.Service)
	}
	if e.Recovery != nil {
		service("recovery.service", e.Recovery.Service)
	}
	if e.Replicas != nil {
		c.target(at, "replicas.workload", "workload", e.Replicas.Workload, isWorkload)
	}
	if e.Rollout != nil {
		c.rolloutExpectation(at, e.Rollout)
	}
	if e.Cost != nil && e.Cost.Of != "" {
		c.target(at, "cost.of", "workload", e.Cost.Of, isWorkload)
	}
}

// Entrance finds the one Service that is reachable from outside the cluster, for load without a target: behind an
// Ingress, or of type LoadBalancer or NodePort. With none or several it fails and lists them.
func Entrance(objects []manifest.Object) (string, error) {
	found := map[string]bool{}
	for _, o := range objects {
		namespace := o.Object.GetNamespace()
		if namespace == "" {
			namespace = "default"
		}
		switch o.Object.GetKind() {
		case "Service":
			if t, _, _ := unstructured.NestedString(o.Object.Object, "spec", "type"); t == "LoadBalancer" || t == "NodePort" {
				found[namespace+"/"+o.Object.GetName()] = true
			}
		case "Ingress", "HTTPRoute", "GRPCRoute":
			for _, name := range backends(o.Object.Object) {
				found[namespace+"/"+name] = true
			}
		}
	}
	list := sortedKeys(found)
	if len(list) == 1 {
		return list[0], nil
	}
	if len(list) == 0 {
		return "", fmt.Errorf("no Service is reachable from outside (Ingress, route, LoadBalancer or NodePort), so the load has no target; " +
			"add a column target with namespace/service to the file, or write a scenario with load[].to")
	}
	return "", fmt.Errorf("the load could go to %s; add a column target to the file, or write a scenario with load[].to", strings.Join(list, " or "))
}

// backends collects the Services an Ingress or a route names, wherever they stand in it.
func backends(value any) []string {
	var names []string
	switch value := value.(type) {
	case map[string]any:
		for _, key := range sortedKeys(value) {
			inner := value[key]
			if service, ok := inner.(map[string]any); ok && key == "service" {
				if name, ok := service["name"].(string); ok {
					names = append(names, name)
				}
			}
			if list, ok := inner.([]any); ok && key == "backendRefs" {
				for _, item := range list {
					if ref, ok := item.(map[string]any); ok {
						if name, ok := ref["name"].(string); ok {
							names = append(names, name)
						}
					}
				}
				continue
			}
			names = append(names, backends(inner)...)
		}
	case []any:
		for _, inner := range value {
			names = append(names, backends(inner)...)
		}
	}
	return names
}
